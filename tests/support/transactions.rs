//! What publishing in a host's transaction promises, asked of any driver on either database.
//!
//! A test of a driver implements [`Host`] over one connection and calls these. Transactions are begun
//! and ended by statements, so that one set of tests serves drivers with very different types for
//! them.
#![allow(dead_code)] // Each user of this file needs another part of it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::json;
use serde_json::value::RawValue;
use tidings::outbox::BoxError;
use tidings::storage::Appended::{self, Duplicate, Stored};
use tidings::{
    Account, Change, Event, EventId, Mode, Timestamp, TraceContext, VersionedData, Versions,
};

/// A connection of a host, and its driver.
#[async_trait]
pub(crate) trait Host: Send {
    /// Runs a statement without parameters.
    async fn run(&mut self, sql: &'static str) -> Result<(), BoxError>;

    /// Runs a statement as the outbox does.
    async fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError>;

    /// Publishes.
    async fn publish(&mut self, events: &[Event]) -> tidings::Result<Vec<Appended>>;
}

/// What differs between the databases.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Database {
    begin: &'static str,
    change: &'static str,
    counts: &'static str,
    events: &'static str,
}

pub(crate) const SQLITE: Database = Database {
    begin: "BEGIN IMMEDIATE",
    change: "INSERT INTO shop (change) SELECT 1 WHERE ?1 = '' RETURNING 'x' AS answer",
    counts: "SELECT (SELECT count(*) FROM shop) || ' ' || (SELECT count(*) FROM tidings_event) || ' ' || \
        (SELECT count(*) FROM tidings_mark) AS answer WHERE ?1 = ''",
    events: "SELECT lower(hex(e.id)) || ' ' || e.account || ' ' || e.mode || ' ' || e.type || ' ' || \
        e.created || ' ' || lower(hex(e.digest)) || ' ' || e.payload || ' ' || \
        coalesce(e.renderings, '-') || ' ' || coalesce(e.trace, '-') AS answer \
        FROM tidings_event e JOIN tidings_mark m ON m.account = e.account AND m.seq = e.seq \
        WHERE abs(e.published - unixepoch() * 1000) < 600000 AND ?1 = '' ORDER BY e.seq",
};

pub(crate) const POSTGRES: Database = Database {
    begin: "BEGIN",
    change: "INSERT INTO shop (change) SELECT 1 WHERE $1 = '' RETURNING 'x' AS answer",
    counts: "SELECT concat_ws(' ', (SELECT count(*) FROM shop), (SELECT count(*) FROM tidings.event), \
        (SELECT count(*) FROM tidings.mark)) AS answer WHERE $1 = ''",
    events: "SELECT concat_ws(' ', replace(e.id::text, '-', ''), e.account, e.mode::int, e.type, \
        e.created, encode(e.digest, 'hex'), e.payload, coalesce(e.renderings, '-'), \
        coalesce(e.trace, '-')) AS answer \
        FROM tidings.event e JOIN tidings.mark m ON m.account = e.account AND m.seq = e.seq \
        WHERE abs(e.published - extract(epoch FROM now()) * 1000) < 600000 AND $1 = '' ORDER BY e.seq",
};

/// The host, with the table that its transactions change.
pub(crate) async fn with_shop<H: Host>(mut host: H) -> H {
    host.run("CREATE TABLE shop (change integer NOT NULL)").await.unwrap();
    host
}

/// Commits a change with two events.
pub(crate) async fn a_commit_leaves_all(host: &mut dyn Host, on: Database) {
    let events = [event(1, 0), event(2, 0)];
    host.run(on.begin).await.unwrap();
    change(host, on).await;
    assert_eq!(host.publish(&events).await.unwrap(), [Stored, Stored]);
    host.run("COMMIT").await.unwrap();
    assert_eq!(counts(host, on).await, [1, 2, 2]);
    assert_eq!(listing(host, on).await, events.iter().map(line).collect::<Vec<_>>());
    // A call with nothing in it is none.
    assert_eq!(host.publish(&[]).await.unwrap(), []);
}

/// Rolls a change with an event back.
pub(crate) async fn a_rollback_leaves_nothing(host: &mut dyn Host, on: Database) {
    host.run(on.begin).await.unwrap();
    change(host, on).await;
    assert_eq!(host.publish(&[event(1, 0)]).await.unwrap(), [Stored]);
    host.run("ROLLBACK").await.unwrap();
    assert_eq!(counts(host, on).await, [0, 0, 0]);
}

/// Rolls back to a savepoint between two publishes, and publishes the same event again.
pub(crate) async fn a_savepoint_rolled_back_leaves_nothing(host: &mut dyn Host, on: Database) {
    host.run(on.begin).await.unwrap();
    assert_eq!(host.publish(&[event(1, 0)]).await.unwrap(), [Stored]);
    host.run("SAVEPOINT a").await.unwrap();
    change(host, on).await;
    assert_eq!(host.publish(&[event(2, 0), event(3, 0)]).await.unwrap(), [Stored, Stored]);
    host.run("ROLLBACK TO SAVEPOINT a").await.unwrap();
    assert_eq!(host.publish(&[event(3, 1)]).await.unwrap(), [Stored]);
    host.run("COMMIT").await.unwrap();
    assert_eq!(counts(host, on).await, [0, 2, 2]);
    assert_eq!(listing(host, on).await, [line(&event(1, 0)), line(&event(3, 1))]);
}

/// Repeats an event in the same call, in the same transaction and in the next one.
pub(crate) async fn a_duplicate_is_told_and_aborts_nothing(host: &mut dyn Host, on: Database) {
    host.run(on.begin).await.unwrap();
    let answers = host.publish(&[event(1, 0), event(2, 0), event(1, 0)]).await;
    assert_eq!(answers.unwrap(), [Stored, Stored, Duplicate]);
    assert_eq!(host.publish(&[event(2, 0)]).await.unwrap(), [Duplicate]);
    host.run("COMMIT").await.unwrap();
    host.run(on.begin).await.unwrap();
    let answers = host.publish(&[event(2, 0), event(3, 0)]).await;
    assert_eq!(answers.unwrap(), [Duplicate, Stored]);
    change(host, on).await;
    host.run("COMMIT").await.unwrap();
    assert_eq!(counts(host, on).await, [1, 3, 3]);
}

/// Publishes other content under an id that is taken: before, in the transaction and in the call.
pub(crate) async fn a_conflict_is_told_and_aborts_nothing(host: &mut dyn Host, on: Database) {
    assert_eq!(host.publish(&[event(1, 0)]).await.unwrap(), [Stored]);
    host.run(on.begin).await.unwrap();
    assert_eq!(host.publish(&[event(2, 0)]).await.unwrap(), [Stored]);
    for conflicting in [
        vec![event(1, 1)],
        vec![event(3, 0), event(2, 1), event(4, 0)],
        vec![event(5, 0), event(5, 1)],
        vec![event(6, 0), event(1, 0), event(2, 1)],
    ] {
        let error = host.publish(&conflicting).await.unwrap_err();
        assert_eq!(error.kind(), tidings::ErrorKind::Conflict, "{error}");
        assert!(
            conflicting.iter().any(|event| error.to_string().contains(&event.id().to_string()))
        );
    }
    assert_eq!(host.publish(&[event(3, 1)]).await.unwrap(), [Stored], "nothing of it was kept");
    change(host, on).await;
    host.run("COMMIT").await.unwrap();
    assert_eq!(counts(host, on).await, [1, 3, 3]);
    let kept = [event(1, 0), event(2, 0), event(3, 1)];
    assert_eq!(listing(host, on).await, kept.iter().map(line).collect::<Vec<_>>());
}

/// Publishes texts that a JSON type would rewrite, and reads them back.
pub(crate) async fn payloads_survive_byte_for_byte(host: &mut dyn Host, on: Database) {
    let objects = [
        r#"{"total": 29.90, "many":12345678901234567890,"small":1e-7, "z":1,"a":2,"a":3}"#,
        r#"{"text":"\u0000 \ud83d\ude00 \/ \\ \" \t","emoji":"😀 é 漢字","escape":"\\u0000"}"#,
        "{\n\t\"odd\" : [ ] ,\r\n \"none\":null, \"quote\":\"it's; -- \\\"$1 ?1 %s {s}\\\"\"}",
        "{\"line\":\"\u{2028}\u{7f}\u{feff}\u{fffd}\"}",
    ];
    let account = Account::new("it's \"a\" \\ customer é 😀").unwrap();
    let mut events = Vec::new();
    for (number, object) in (1..).zip(objects) {
        let payload = format!(
            r#"{{"id":"{}", "type":"order.paid","data":{{"object":{object}}}, "liveMode":false}}"#,
            id(number)
        );
        let event = Event::parse(payload, account.clone(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(event.mode(), Mode::Test);
        events.push(event);
    }
    let big = json!({ "text": "\"\\é".repeat(100_000) });
    let big = Change::of("order.paid", &big).unwrap().api_version("2").unwrap();
    let big = big.into_event(id(9), Timestamp::UNIX_EPOCH).unwrap();
    // And one with payloads for older versions, which are such texts as well.
    let mut versions = Versions::new("2").unwrap();
    for (version, object) in [("1", objects[0]), ("0.9", objects[1]), ("0.8", objects[2])] {
        let object = RawValue::from_string(object.to_owned()).unwrap();
        let render = move |_: &Event| VersionedData::of(&object);
        versions = versions.older(version, render).unwrap();
    }
    events.push(versions.render(big).unwrap());
    host.run(on.begin).await.unwrap();
    assert_eq!(host.publish(&events).await.unwrap(), [Stored; 5]);
    host.run("COMMIT").await.unwrap();
    assert_eq!(listing(host, on).await, events.iter().map(line).collect::<Vec<_>>());
}

/// Runs random transactions beside a model of what they leave, and compares after each.
pub(crate) async fn random_transactions_leave_what_they_commit(
    host: &mut dyn Host,
    on: Database,
    transactions: u32,
    seed: u64,
) {
    let mut random = Random(seed);
    let mut committed = Model::default();
    let mut tally = Tally::default();
    for transaction in 0..transactions {
        host.run(on.begin).await.unwrap();
        let mut now = committed.clone();
        let mut savepoints = Vec::new();
        for _ in 0..random.below(10) {
            match random.below(8) {
                0..=2 => publish(host, &mut random, &mut now, &mut tally).await,
                3 => {
                    change(host, on).await;
                    now.changes += 1;
                }
                4 | 5 if savepoints.len() < 3 => {
                    host.run("SAVEPOINT a").await.unwrap();
                    savepoints.push(now.clone());
                }
                _ => {
                    let Some(before) = savepoints.pop() else { continue };
                    if random.below(2) == 0 {
                        host.run("ROLLBACK TO SAVEPOINT a").await.unwrap();
                        tally.undone += u64::from(before.order.len() < now.order.len());
                        now = before;
                    }
                    host.run("RELEASE SAVEPOINT a").await.unwrap();
                }
            }
        }
        if random.below(3) == 0 {
            host.run("ROLLBACK").await.unwrap();
            tally.rolled_back += u64::from(committed.order.len() < now.order.len());
        } else {
            host.run("COMMIT").await.unwrap();
            committed = now;
        }
        let kept = committed.order.len();
        assert_eq!(counts(host, on).await, [committed.changes, kept, kept], "{transaction}");
    }
    let expected: Vec<String> = committed
        .order
        .iter()
        .map(|number| line(&event(*number, committed.contents[number])))
        .collect();
    assert_eq!(listing(host, on).await, expected);
    println!("{transactions} transactions left {} events: {tally:?}", expected.len());
    let Tally { rolled_back, undone, duplicates, conflicts } = tally;
    let least = u64::from(transactions / 50);
    assert!([rolled_back, undone, duplicates, conflicts].iter().all(|count| *count >= least));
}

/// What is in the database.
#[derive(Debug, Clone, Default)]
struct Model {
    changes: usize,
    /// The content under each number, and the numbers in the order of their publishes.
    contents: BTreeMap<u64, u8>,
    order: Vec<u64>,
    next: u64,
}

/// How often something happened that a test without would not deserve its name.
#[derive(Debug, Default)]
struct Tally {
    rolled_back: u64,
    undone: u64,
    duplicates: u64,
    conflicts: u64,
}

/// Publishes one to four events, some of them repetitions, and few with other content.
async fn publish(host: &mut dyn Host, random: &mut Random, model: &mut Model, tally: &mut Tally) {
    let mut after = model.clone();
    let (mut events, mut answers, mut conflict) = (Vec::new(), Vec::new(), false);
    for _ in 0..=random.below(4) {
        let again = after.next > 0 && random.below(4) == 0;
        let number = if again { random.below(after.next) } else { after.next };
        after.next = after.next.max(number + 1);
        let content = u8::from(random.below(8) == 0);
        events.push(event(number, content));
        answers.push(match after.contents.get(&number) {
            Some(there) => {
                conflict |= *there != content;
                Duplicate
            }
            None => {
                after.contents.insert(number, content);
                after.order.push(number);
                Stored
            }
        });
    }
    match host.publish(&events).await {
        Ok(told) => {
            assert!(!conflict, "a conflict was not told: {events:?}");
            assert_eq!(told, answers, "{events:?}");
            tally.duplicates += u64::from(answers.contains(&Duplicate));
            *model = after;
        }
        Err(error) => {
            assert!(conflict, "{error}: {events:?}");
            assert_eq!(error.kind(), tidings::ErrorKind::Conflict, "{error}");
            tally.conflicts += 1;
        }
    }
}

/// The event with this number; another content has another digest.
pub(crate) fn event(number: u64, content: u8) -> Event {
    let object = json!({ "id": number.to_string(), "total": 29.90, "content": content });
    let created = Timestamp::from_timestamp_millis(1_700_000_000_123).unwrap();
    let mut change = Change::of("order.paid", &object).unwrap();
    if number.is_multiple_of(2) {
        let trace = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{:016x}-01", number + 1);
        change = change.trace(TraceContext::parse(&trace).unwrap().with_state("a=1,b=2").unwrap());
    }
    change.into_event(id(number), created).unwrap()
}

fn id(number: u64) -> EventId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    EventId::new(Timestamp::UNIX_EPOCH, &random)
}

/// An event as the database lists it.
fn line(event: &Event) -> String {
    let digest: String =
        event.digest().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{} {} {} {} {} {digest} {} {} {}",
        event.id().uuid().simple(),
        event.account(),
        u8::from(event.mode().is_live()),
        event.event_type(),
        event.created().timestamp_millis(),
        event.payload(),
        event.renderings().unwrap_or("-"),
        event.trace_text().unwrap_or("-")
    )
}

async fn change(host: &mut dyn Host, on: Database) {
    assert_eq!(host.fetch(on.change, "").await.unwrap(), ["x"]);
}

/// Events with their marks, in the order of their numbers.
pub(crate) async fn listing(host: &mut dyn Host, on: Database) -> Vec<String> {
    host.fetch(on.events, "").await.unwrap()
}

/// Changes of the host, events and marks.
pub(crate) async fn counts(host: &mut dyn Host, on: Database) -> [usize; 3] {
    let rows = host.fetch(on.counts, "").await.unwrap();
    let counts: Vec<usize> = rows[0].split(' ').map(|count| count.parse().unwrap()).collect();
    counts.try_into().unwrap()
}

/// SplitMix64.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// One test for each promise: `$open` makes a [`Host`] with a shop over empty tables, and says what
/// must live as long.
macro_rules! promises {
    ($database:expr, $open:expr, $transactions:expr $(, #[$attribute:meta])*) => {
        promises!(@ $database, $open, [$(#[$attribute])*],
            a_commit_leaves_all a_rollback_leaves_nothing a_savepoint_rolled_back_leaves_nothing
            a_duplicate_is_told_and_aborts_nothing a_conflict_is_told_and_aborts_nothing
            payloads_survive_byte_for_byte);

        /// Runs random transactions beside a model.
        #[tokio::test]
        $(#[$attribute])*
        async fn random_transactions_leave_what_they_commit() {
            let (mut host, _kept) = $open.await;
            let test = $crate::transactions::random_transactions_leave_what_they_commit;
            test(&mut host, $database, $transactions, 1).await;
        }
    };
    (@ $database:expr, $open:expr, $attributes:tt, $($name:ident)*) => {
        $(promises!(@@ $database, $open, $attributes, $name);)*
    };
    (@@ $database:expr, $open:expr, [$(#[$attribute:meta])*], $name:ident) => {
        /// Calls the test of this name.
        #[tokio::test]
        $(#[$attribute])*
        async fn $name() {
            let (mut host, _kept) = $open.await;
            $crate::transactions::$name(&mut host, $database).await;
        }
    };
}
pub(crate) use promises;
