//! The SQLite storage: what the contract asks, and what a file, several processes and group commit
//! ask beyond it.
#![cfg(feature = "sqlite")]

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use rusqlite::Connection;
use tempfile::TempDir;
use tidings::storage::{
    Appended, Claimed, DeliveryQueue, EventStore, Heartbeat, Leased, NewEvent, Owed, Routed,
    Settled, Settlement, SqliteOptions, SqliteStorage, Sweep, Turn, WebhookStore,
};
use tidings::time::{after, parse_time};
use tidings::{
    Account, Attempt, Cause, Confirmation, DeliveryQuery, DispatcherId, Edit, ErrorKind, Event,
    EventQuery, Fence, Outcome, PageRequest, Policy, Registration, ReplayId, ReplayQuery,
    ReplayRequest, Secret, Seen, State, Timestamp, Webhook, WebhookId, WebhookQuery, advance,
};

#[cfg(feature = "conformance")]
mod conformance {
    use std::sync::Arc;

    use tidings::storage::Storage;
    use tidings::storage::conformance::Case;

    use super::*;

    /// Each case gets a file of its own. What the sync is worth is shown elsewhere.
    fn over_sqlite(case: Case) {
        let folder = TempDir::new().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let options = SqliteOptions::default().dangerously_without_sync(true);
            let path = folder.path().join("tidings.sqlite");
            let store = SqliteStorage::open_with(path, options).await.unwrap();
            case.run(Arc::new(store.clone())).await;
            store.close().await;
        });
    }

    tidings::conformance_tests!(over_sqlite);

    /// Runs the whole suite over databases in memory, where listings take turns with the writes.
    #[tokio::test]
    async fn a_database_in_memory_conforms() {
        tidings::storage::conformance::all(async || {
            Arc::new(SqliteStorage::in_memory().await.unwrap()) as Arc<dyn Storage>
        })
        .await;
    }
}

// --- what the tests are made of ----------------------------------------------------------------

struct File {
    _folder: TempDir,
    path: PathBuf,
}

impl File {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("tidings.sqlite");
        Self { _folder: folder, path }
    }

    async fn open(&self) -> SqliteStorage {
        SqliteStorage::open(&self.path).await.unwrap()
    }

    fn connect(&self) -> Connection {
        Connection::open(&self.path).unwrap()
    }
}

fn now() -> Timestamp {
    parse_time("2026-03-01T10:00:00Z").unwrap()
}

fn later(seconds: u64) -> Timestamp {
    after(now(), Duration::from_secs(seconds))
}

fn uuid(kind: u128, number: u64) -> uuid::Uuid {
    uuid::Uuid::from_u128((kind << 64) | u128::from(number))
}

fn dispatcher(number: u64) -> DispatcherId {
    uuid(0xd, number).into()
}

/// The `number`-th event of `kind`.
fn event_of(kind: u128, number: u64) -> NewEvent {
    let id = uuid(kind, number);
    let payload = format!(
        r#"{{"id":"{id}","type":"order.paid","data":{{"object":{{"id":"{number}","total":29.90}}}}}}"#
    );
    let event = Event::parse(payload, Account::default(), now()).unwrap();
    NewEvent { event, only: None }
}

fn event(number: u64) -> NewEvent {
    event_of(0xe, number)
}

async fn webhook(store: &SqliteStorage, number: u64) -> Webhook {
    let secret = Secret::from_random(&[7; 32]);
    let registration =
        Registration::new(&format!("https://example.com/{number}"), ["order.*"]).unwrap();
    let id = WebhookId::from_uuid(uuid(0xa, number));
    let webhook = registration.enabled(true).into_webhook(id, secret, now()).unwrap();
    store.put(&webhook, now()).await.unwrap()
}

async fn alive(store: &SqliteStorage, number: u64) {
    let beat = Heartbeat {
        dispatcher: dispatcher(number),
        now: now(),
        until: later(1_000),
        abandoned: vec![],
    };
    store.heartbeat(&beat).await.unwrap();
}

fn turn(number: u64, ticket: u64, total: u32) -> Turn {
    Turn {
        dispatcher: dispatcher(number),
        ticket,
        now: later(1),
        marks: 64,
        deliveries: 64,
        total,
        each: 1_000,
        busy: HashMap::new(),
        probe: Duration::from_secs(60),
        held: HashMap::new(),
        holds: 0,
    }
}

fn settlement(leased: &Leased, status: u16) -> Settlement {
    let outcome = Outcome::Answered { status, retry_after: Some(Duration::from_secs(3)) };
    let delivery = &leased.delivery;
    let State::Leased { dispatcher, .. } = delivery.state else { panic!("{delivery:?}") };
    let seen = Seen { failing_since: leased.failing_since, probe: leased.probe };
    let policy = Policy::default();
    let transition = advance(delivery, &leased.webhook, seen, &outcome, &policy, later(2));
    let mut attempt =
        Attempt::new(delivery.attempt, later(1), Duration::from_micros(1_234), outcome);
    attempt.response = b"thanks".to_vec();
    let fence = Fence { delivery: delivery.id, attempt: delivery.attempt, dispatcher };
    Settlement { fence, attempt: Some(attempt), transition, reports: Vec::new() }
}

/// All that can be listed, as text.
async fn everything(store: &SqliteStorage) -> String {
    let page = PageRequest::first(100).unwrap();
    let webhooks = store.webhooks(&WebhookQuery::default(), &page).await.unwrap();
    let events = store.events(&EventQuery::default(), &page).await.unwrap();
    let deliveries = store.deliveries(&DeliveryQuery::default(), &page).await.unwrap();
    let payloads: Vec<_> = events.items.iter().map(Event::payload).collect();
    format!("{webhooks:?}\n{events:?}\n{payloads:?}\n{deliveries:?}")
}

// --- the file ----------------------------------------------------------------------------------

/// Fills a file with every kind of row, closes it, opens it again, and goes on.
#[tokio::test]
async fn reopening_keeps_everything() {
    let file = File::new();
    let store = file.open().await;
    for number in 1..=3 {
        webhook(&store, number).await;
    }
    alive(&store, 1).await;
    store.append(&[event(1), event(2), event(3)], now()).await.unwrap();
    let Routed { leased, waiting, .. } = store.route(&turn(1, 1, 4)).await.unwrap();
    assert_eq!((leased.len(), waiting), (4, 5));
    let settlements: Vec<_> = [(0, 200), (1, 503), (2, 410)]
        .map(|(index, status): (usize, u16)| settlement(&leased[index], status))
        .into();
    store.settle(&settlements, later(2)).await.unwrap();
    store.append(&[event(4)], now()).await.unwrap();
    let before = everything(&store).await;
    for part in ["Delivered", "Leased", "Waiting", "Disabled(Gone)", "29.90", "1.234ms"] {
        assert!(before.contains(part), "{part} is not in {before}");
    }
    store.close().await;
    assert!(!file.path.with_extension("sqlite-wal").exists(), "the file stands alone");

    let store = file.open().await;
    assert_eq!(everything(&store).await, before);
    // The lease still holds, the lanes still wait, the last event still has its mark.
    let answers = store.settle(&[settlement(&leased[3], 200)], later(2)).await.unwrap();
    assert_eq!(answers, [Settled::Applied { turned: None }]);
    let again = store.settle(&settlements[..1], later(2)).await.unwrap();
    assert_eq!(again, [Settled::Applied { turned: None }]);
    assert_eq!(store.append(&[event(1)], now()).await.unwrap(), [Appended::Duplicate]);
    let routed = store.route(&turn(1, 2, 0)).await.unwrap();
    assert_eq!((routed.waiting, routed.more), (2, false), "one of three was disabled before");
    let Claimed { leased, .. } = store.claim(&turn(1, 3, 100)).await.unwrap();
    assert!(!leased.is_empty());
}

/// Two storages with a connection each publish, route, claim and settle at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_lease_nothing_twice() {
    const EVENTS: u64 = 150;
    let file = File::new();
    let stores = [file.open().await, file.open().await];
    for number in 1..=3 {
        webhook(&stores[0], number).await;
    }
    let work = stores.iter().zip([1, 2]).map(async |(store, number)| {
        alive(store, number).await;
        let mut sent = Vec::new();
        let (mut ticket, mut published, mut idle) = (0, 0, 0);
        while idle < 3 {
            if published < EVENTS {
                let some = [1, 2, 3].map(|n| event_of(0xe0 + u128::from(number), published + n));
                store.append(&some, now()).await.unwrap();
                published += 3;
            }
            ticket += 2;
            // Few permits, so that a part is born waiting and goes through a claim.
            let mut leased = store.route(&turn(number, ticket, 3)).await.unwrap().leased;
            leased.extend(store.claim(&turn(number, ticket + 1, 6)).await.unwrap().leased);
            idle = if leased.is_empty() && published == EVENTS { idle + 1 } else { 0 };
            let settlements: Vec<_> = leased.iter().map(|leased| settlement(leased, 200)).collect();
            let answers = store.settle(&settlements, later(2)).await.unwrap();
            assert!(answers.iter().all(|answer| matches!(answer, Settled::Applied { .. })));
            sent.extend(leased.iter().map(|leased| leased.delivery.id));
        }
        sent
    });
    let sent: Vec<_> = join_all(work).await.into_iter().flatten().collect();
    let distinct: BTreeSet<_> = sent.iter().collect();
    assert_eq!(distinct.len(), sent.len(), "a delivery was leased twice");
    assert_eq!(sent.len() as u64, 2 * EVENTS * 3);
}

/// Opens a new file from sixteen sides at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_open_a_new_file_one_makes_it() {
    let file = File::new();
    let opened = join_all((0..16).map(|_| SqliteStorage::open(&file.path))).await;
    let stores: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
    stores[15].append(&[event(1)], now()).await.unwrap();
    assert_eq!(stores[0].append(&[event(1)], now()).await.unwrap(), [Appended::Duplicate]);
}

fn refused(path: &Path, opened: tidings::Result<SqliteStorage>, says: &str) {
    let error = opened.expect_err("it was opened");
    assert_eq!(error.kind(), ErrorKind::Schema, "{error}");
    assert!(error.to_string().contains(says), "{error}");
    assert!(path.exists());
}

/// Raises the version in a file, and opens it.
#[tokio::test]
async fn a_newer_schema_is_refused() {
    let file = File::new();
    file.open().await.close().await;
    let conn = file.connect();
    conn.execute("UPDATE tidings_schema SET version = version + 1", []).unwrap();
    drop(conn);
    let before = std::fs::read(&file.path).unwrap();
    refused(&file.path, SqliteStorage::open(&file.path).await, "newer version of tidings");
    assert_eq!(std::fs::read(&file.path).unwrap(), before, "it was changed");
}

/// Opens a database with a table of somebody else, and a file that is no database.
#[tokio::test]
async fn a_foreign_file_is_refused() {
    let file = File::new();
    file.connect().execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY)").unwrap();
    let before = std::fs::read(&file.path).unwrap();
    refused(&file.path, SqliteStorage::open(&file.path).await, "table orders");
    assert_eq!(std::fs::read(&file.path).unwrap(), before, "it was changed");

    let text = File::new();
    std::fs::write(&text.path, "Not a database, but a letter of some length. ".repeat(100))
        .unwrap();
    refused(&text.path, SqliteStorage::open(&text.path).await, "not a SQLite database");
}

/// Shares a file with a host, and takes an event from the host's own statement and transaction.
#[tokio::test]
async fn a_host_publishes_with_its_own_statement() {
    let file = File::new();
    file.connect().execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY)").unwrap();
    let options = SqliteOptions::default().shared(true);
    let store = SqliteStorage::open_with(&file.path, options).await.unwrap();
    webhook(&store, 1).await;
    alive(&store, 1).await;
    let mut host = file.connect();
    for (number, commits) in [(1, false), (2, true), (2, true)] {
        let NewEvent { event, .. } = event(number);
        let transaction = host.transaction().unwrap();
        let sql = "INSERT OR IGNORE INTO orders (id) VALUES (?1)";
        transaction.execute(sql, [number as i64]).unwrap();
        transaction
            .execute(
                "INSERT INTO tidings_publish \
                 (id, account, mode, type, created, published, digest, payload) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                rusqlite::params![
                    event.id().uuid().as_bytes().as_slice(),
                    event.account().as_str(),
                    1_i64,
                    event.event_type().as_str(),
                    event.created().timestamp_millis(),
                    now().timestamp_millis(),
                    event.digest().as_bytes().as_slice(),
                    event.payload(),
                ],
            )
            .unwrap();
        if commits {
            transaction.commit().unwrap();
        }
    }
    let routed = store.route(&turn(1, 1, 10)).await.unwrap();
    let ids: Vec<_> = routed.leased.iter().map(|leased| leased.event.clone()).collect();
    assert_eq!(ids, [event(2).event], "not what was rolled back, and what came twice once");
}

// --- group commit ------------------------------------------------------------------------------

/// Queues good and bad calls behind a lock, so that they share a commit, and lets them go.
#[tokio::test]
async fn an_error_in_a_group_is_its_callers_alone() {
    let file = File::new();
    let store = file.open().await;
    let first = webhook(&store, 1).await;
    store.append(&[event(1)], now()).await.unwrap();
    let lock = file.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();

    let nobody = Some(WebhookId::from_uuid(uuid(0xa, 99)));
    let lost = [event(20), NewEvent { only: nobody, ..event(21) }];
    let twins = [event(30), event(1), NewEvent { event: other(1), only: None }];
    let good = [event(40), event(41)];
    let one = [event(42)];
    let owed = Owed { event: event(1).event.id(), webhook: first.id(), cause: Cause::ROUTED };
    let (owed, dead) = ([owed], turn(1, 1, 1));
    let stale = first.edit(Edit::new().description("one")).unwrap();
    let staler = first.edit(Edit::new().description("two")).unwrap();
    let calls = async {
        tokio::join!(
            store.append(&lost, now()),
            store.append(&twins, now()),
            store.append(&good, now()),
            store.put(&stale, now()),
            store.put(&staler, now()),
            store.route(&dead),
            store.append(&one, now()),
            store.enqueue(&owed, now()),
        )
    };
    let release = async {
        // By now every call is queued: the writer waits for the lock inside the first of them.
        lock.execute_batch("ROLLBACK").unwrap();
    };
    let ((lost, twins, good, put, stale, route, one, owed), ()) = tokio::join!(calls, release);

    assert_eq!(lost.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(
        twins.unwrap(),
        [Appended::Stored, Appended::Duplicate, Appended::Conflict],
        "and nothing of it is kept"
    );
    assert_eq!(good.unwrap(), [Appended::Stored; 2]);
    assert_eq!(put.unwrap().description(), "one");
    assert_eq!(stale.unwrap_err().kind(), ErrorKind::Stale);
    assert_eq!(route.unwrap_err().kind(), ErrorKind::NotAlive);
    assert_eq!(one.unwrap(), [Appended::Stored]);
    assert_eq!(owed.unwrap().len(), 1);
    let page = PageRequest::first(100).unwrap();
    let events = store.events(&EventQuery::default(), &page).await.unwrap();
    let kept: Vec<_> = events.items.iter().map(|kept| kept.id()).collect();
    assert_eq!(kept, [42, 41, 40, 1].map(|number| event(number).event.id()));
    // What was undone left nothing in the writer's memory either.
    alive(&store, 1).await;
    let leased = store.claim(&turn(1, 2, 1)).await.unwrap().leased;
    assert_eq!(leased[0].webhook.description(), "one");
    assert!(Confirmation::new("ann", "ann").check().is_ok());
}

/// The event of this number with other content.
fn other(number: u64) -> Event {
    let payload = event(number).event.payload().replace("29.90", "30.90");
    Event::parse(payload, Account::default(), now()).unwrap()
}

/// Begins a call behind a lock, drops its future, and lets the writer go.
#[tokio::test]
async fn a_call_whose_future_was_dropped_may_still_happen() {
    let file = File::new();
    let store = file.open().await;
    let lock = file.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let dropped = [event(1)];
    assert!(store.append(&dropped, now()).now_or_never().is_none(), "it waits for the lock");
    lock.execute_batch("ROLLBACK").unwrap();
    // The queue is in order, so an answer to the second call is news of the first.
    assert_eq!(store.append(&[event(1)], now()).await.unwrap(), [Appended::Duplicate]);
}

/// Holds the file's lock for longer than a storage's patience.
#[tokio::test]
async fn a_file_that_stays_locked_is_unavailable() {
    let file = File::new();
    let options = SqliteOptions::default().busy_timeout(Duration::from_millis(50));
    let store = SqliteStorage::open_with(&file.path, options).await.unwrap();
    let lock = file.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (one, two) = ([event(1)], [event(2)]);
    let (first, second) = tokio::join!(store.append(&one, now()), store.append(&two, now()));
    for answer in [first, second] {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.is_retryable() && error.to_string().contains("locked"), "{error}");
    }
    let events = store.events(&EventQuery::default(), &PageRequest::default()).await.unwrap();
    assert!(events.items.is_empty(), "listings do not wait for the lock");
    lock.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.append(&one, now()).await.unwrap(), [Appended::Stored]);
}

/// Closes a storage with calls under way, and calls it again.
#[tokio::test]
async fn a_closed_storage_has_kept_what_it_answered() {
    let file = File::new();
    let store = file.open().await;
    let events: Vec<_> = (1..=50).map(|number| [event(number)]).collect();
    let calls = join_all(events.iter().map(|event| store.append(event, now())));
    let (answers, ()) = tokio::join!(calls, store.close());
    let kept = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(kept > 0);
    let error = store.append(&[event(99)], now()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(store.events(&EventQuery::default(), &PageRequest::default()).await.is_err());
    store.close().await;
    let store = file.open().await;
    let page = PageRequest::first(100).unwrap();
    let events = store.events(&EventQuery::default(), &page).await.unwrap();
    assert_eq!(events.items.len(), kept);
}

/// Damages the record of one webhook of two.
#[tokio::test]
async fn a_damaged_webhook_does_not_stop_the_others() {
    let file = File::new();
    let store = file.open().await;
    let (good, bad) = (webhook(&store, 1).await, webhook(&store, 2).await);
    alive(&store, 1).await;
    store.close().await;
    let conn = file.connect();
    let sql = "UPDATE tidings_registration SET record = '{' WHERE search LIKE ?1";
    assert_eq!(conn.execute(sql, [format!("{}%", bad.id())]).unwrap(), 1);
    drop(conn);
    let store = file.open().await;
    store.append(&[event(1), event(2)], now()).await.unwrap();
    let routed = store.route(&turn(1, 1, 10)).await.unwrap();
    assert_eq!((routed.leased.len(), routed.waiting), (2, 2));
    assert!(routed.leased.iter().all(|leased| leased.webhook.id() == good.id()));
    assert!(store.claim(&turn(1, 2, 10)).await.unwrap().leased.is_empty());
    assert!(store.delete(bad.id(), now()).await.unwrap(), "it can be deleted");
}

/// Publishes many events by a clock that is ahead, then one by a clock that is right.
#[tokio::test]
async fn a_clock_that_was_ahead_does_not_keep_old_events() {
    let file = File::new();
    let store = file.open().await;
    alive(&store, 1).await;
    let ahead: Vec<_> = (1..=600).map(event).collect();
    store.append(&ahead, later(1_000_000)).await.unwrap();
    store.append(&[event(601)], now()).await.unwrap();
    let all = Turn { marks: 1_000, ..turn(1, 1, 0) };
    assert_eq!(store.route(&all).await.unwrap().unmatched, 601);
    let sweep = Sweep { now: later(60), limit: 10, expire_before: now(), prune_before: later(30) };
    let mut pruned = 0;
    for _ in 0..5 {
        pruned += store.sweep(&sweep).await.unwrap().pruned;
    }
    assert_eq!(pruned, 1);
    let one = EventQuery { id: Some(event(601).event.id()), ..EventQuery::default() };
    let found = store.events(&one, &PageRequest::default()).await.unwrap();
    assert!(found.items.is_empty());
}

/// Publishes, prunes and publishes as much again, three times over: the file does not grow.
#[tokio::test]
async fn what_was_pruned_makes_room() {
    let file = File::new();
    let store = file.open().await;
    alive(&store, 1).await;
    let pages = || {
        let conn = rusqlite::Connection::open(&file.path).unwrap();
        conn.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let (mut sizes, mut ticket) = (Vec::new(), 0);
    for round in 0..4_u32 {
        let events: Vec<_> = (1..=2_000).map(|n| event(u64::from(round) * 2_000 + n)).collect();
        store.append(&events, now()).await.unwrap();
        loop {
            ticket += 1;
            let all = Turn { marks: 1_000, ..turn(1, ticket, 0) };
            if !store.route(&all).await.unwrap().more {
                break;
            }
        }
        sizes.push(pages());
        let sweep =
            Sweep { now: later(60), limit: 500, expire_before: now(), prune_before: later(30) };
        let mut pruned = 0;
        while pruned < 2_000 {
            pruned += store.sweep(&sweep).await.unwrap().pruned;
        }
    }
    let most = sizes[0] + sizes[0] / 20;
    assert!(sizes.iter().all(|size| *size <= most), "{sizes:?}");
    let kept = store.sizes().await.unwrap();
    let events = kept.iter().find(|size| size.name == "tidings_event").unwrap();
    assert_eq!(events.rows, 0);
    assert!(kept.iter().all(|size| size.bytes.is_none_or(|bytes| bytes > 0)), "{kept:?}");
}

/// Damages the record of the replay that is due first: the other one is listed, done and cancelled.
#[tokio::test]
async fn a_damaged_replay_stands_before_no_other() {
    let file = File::new();
    let store = file.open().await;
    alive(&store, 1).await;
    let webhook = webhook(&store, 1).await;
    store.append(&[event(1)], now()).await.unwrap();
    store.route(&turn(1, 1, 0)).await.unwrap();
    let replay = store.replay().unwrap();
    let ids = [1, 2].map(|number| ReplayId::from_uuid(uuid(0xf, number)));
    for (id, seconds) in ids.into_iter().zip([10, 20]) {
        let job = ReplayRequest::all(webhook.id()).into_job(id, &webhook, later(seconds)).unwrap();
        replay.start(&job).await.unwrap();
    }
    let id = ids[0].uuid();
    let sql = "UPDATE tidings_replay SET record = '{' WHERE id = ?1";
    assert_eq!(file.connect().execute(sql, [id.as_bytes().as_slice()]).unwrap(), 1);

    assert!(replay.step(later(30)).await.is_err(), "it says so");
    let stepped = replay.step(later(30)).await.unwrap();
    assert_eq!((stepped.job.map(|job| job.id), stepped.made), (Some(ids[1]), 1));
    let listed = replay.jobs(&ReplayQuery::default(), &PageRequest::default()).await.unwrap();
    assert_eq!(listed.items.iter().map(|job| job.id).collect::<Vec<_>>(), [ids[1]]);
    assert!(replay.cancel(ids[1], later(31)).await.unwrap().is_some());
}
