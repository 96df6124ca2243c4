//! What each call of the SQLite storage costs for a row, without HTTP: 1 KiB events, one webhook,
//! batches of the engine's sizes, every commit synced.
//!
//! `cargo bench --bench sqlite_parts` prints a line for each part: microseconds of CPU of the whole
//! process (callers, writer, checkpoints), and of wall clock, for a row. CPU is the steadier figure
//! on a shared machine; it is read from `/proc`, and missing elsewhere.
//! `TIDINGS_BENCH_EVENTS` changes how many there are.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tidings::storage::{
    Claimed, DeliveryQueue, EventStore, Heartbeat, Leased, NewEvent, Routed, Settlement,
    SqliteStorage, Turn, WebhookStore,
};
use tidings::time::{after, parse_time};
use tidings::{
    Account, Attempt, DispatcherId, Event, Fence, Outcome, Policy, Registration, Secret, Seen,
    State, Timestamp, WebhookId, advance,
};

const PAYLOAD: usize = 1_024;
const TICK: Duration = Duration::from_millis(10);

fn main() {
    let events = std::env::var("TIDINGS_BENCH_EVENTS").ok().and_then(|text| text.parse().ok());
    let events: usize = events.unwrap_or(50_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(run(events));
}

async fn run(events: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStorage::open(folder.path().join("tidings.db")).await.expect("open");
    let webhooks = std::env::var("TIDINGS_BENCH_WEBHOOKS").ok().and_then(|text| text.parse().ok());
    for number in 0..webhooks.unwrap_or(1) {
        register(&store, number, &format!("order{number}.*")).await;
    }
    let beat = Heartbeat {
        dispatcher: dispatcher(),
        now: now(),
        until: after(now(), Duration::from_secs(86_400)),
        abandoned: vec![],
    };
    store.heartbeat(&beat).await.expect("heartbeat");
    let webhooks = webhooks.unwrap_or(1);

    for batch in [64, 500] {
        let made = make(events, batch as u128, webhooks);
        let part = Part::start("publish", batch);
        for some in made.chunks(batch) {
            store.append(some, now()).await.expect("append");
        }
        part.end(events);
        let (mut leased, mut ticket) = (Vec::with_capacity(events), 0);
        let part = Part::start("route, born leased", batch);
        loop {
            ticket += 1;
            let turn = turn(ticket, batch);
            let Routed { leased: some, more, waiting, .. } =
                store.route(&turn).await.expect("route");
            assert_eq!(waiting, 0);
            leased.extend(some);
            if !more {
                break;
            }
        }
        part.end(leased.len());
        assert_eq!(leased.len(), events);
        settle(&store, &leased, batch, 200).await;
    }

    let made = make(events, 1, webhooks);
    let part = Part::start("publish, 64 callers", 1);
    for some in made.chunks(64) {
        let calls = some.iter().map(|event| store.append(std::slice::from_ref(event), now()));
        futures_util::future::join_all(calls).await;
    }
    part.end(events);
    let part = Part::start("route, born waiting", 500);
    let mut ticket = 1_000_000;
    while {
        ticket += 1;
        store.route(&Turn { total: 0, ..turn(ticket, 500) }).await.expect("route").more
    } {}
    part.end(events);
    for batch in [64, 500] {
        let part = Part::start("claim", batch);
        let mut leased = Vec::new();
        while leased.len() < events / 2 - batch {
            ticket += 1;
            let turn = turn(ticket, batch);
            let Claimed { leased: some, .. } = store.claim(&turn).await.expect("claim");
            assert!(!some.is_empty());
            leased.extend(some);
        }
        part.end(leased.len());
        settle(&store, &leased, batch, 200).await;
    }
    store.close().await;
}

async fn settle(store: &SqliteStorage, leased: &[Leased], batch: usize, status: u16) {
    let settlements: Vec<_> = leased.iter().map(|leased| settlement(leased, status)).collect();
    let part = Part::start("settle", batch);
    for some in settlements.chunks(batch) {
        store.settle(some, now()).await.expect("settle");
    }
    part.end(leased.len());
}

/// One part of the work, while it is measured.
struct Part {
    name: &'static str,
    batch: usize,
    began: Instant,
    cpu: Option<Duration>,
}

impl Part {
    fn start(name: &'static str, batch: usize) -> Self {
        Self { name, batch, began: Instant::now(), cpu: cpu() }
    }

    fn end(self, rows: usize) {
        let per_row = |time: Duration| time.as_secs_f64() * 1e6 / rows.max(1) as f64;
        let wall = per_row(self.began.elapsed());
        let cpu = cpu().zip(self.cpu).map(|(end, start)| per_row(end.saturating_sub(start)));
        let cpu = cpu.map_or("      -".to_owned(), |cpu| format!("{cpu:7.2}"));
        println!(
            "{:<22} batch {:>4}: {cpu} us of CPU, {wall:7.2} us of wall clock",
            self.name, self.batch
        );
    }
}

/// What the process has used so far, of all its threads.
fn cpu() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok();
    Some(TICK * (ticks(11)? + ticks(12)?))
}

fn now() -> Timestamp {
    parse_time("2026-03-01T10:00:00Z").expect("a time")
}

fn dispatcher() -> DispatcherId {
    uuid::Uuid::from_u128(0xd).into()
}

fn turn(ticket: u64, batch: usize) -> Turn {
    Turn {
        dispatcher: dispatcher(),
        ticket,
        now: now(),
        marks: batch,
        deliveries: 2 * batch,
        total: u32::try_from(batch).expect("a batch"),
        each: 100_000,
        busy: HashMap::new(),
        probe: Duration::from_secs(60),
        held: HashMap::new(),
        holds: 0,
    }
}

async fn register(store: &SqliteStorage, number: u128, filter: &str) {
    let registration = Registration::new("https://example.com/", [filter]).expect("a webhook");
    let id = WebhookId::from_uuid(uuid::Uuid::from_u128(0xa00 + number));
    let secret = Secret::from_random(&[7; 32]);
    let webhook = registration.enabled(true).into_webhook(id, secret, now()).expect("a webhook");
    store.put(&webhook, now()).await.expect("put");
}

/// Events with time-ordered ids, as the crate makes them.
fn make(count: usize, round: u128, webhooks: u128) -> Vec<NewEvent> {
    (0..count as u128)
        .map(|number| {
            let moment = after(now(), Duration::from_micros((number * 20) as u64));
            let mut random = [0; 10];
            let mixed = (number + round).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            random.copy_from_slice(&mixed.to_be_bytes()[..10]);
            let id = tidings::EventId::new(moment, &random);
            let kind = number % webhooks;
            let head =
                format!(r#"{{"id":"{id}","type":"order{kind}.paid","data":{{"object":{{"note":""#);
            let tail = r#""}}}"#;
            let note = "x".repeat(PAYLOAD - head.len() - tail.len());
            let event = Event::parse(format!("{head}{note}{tail}"), Account::default(), now());
            NewEvent { event: event.expect("an event"), only: None }
        })
        .collect()
}

fn settlement(leased: &Leased, status: u16) -> Settlement {
    let outcome = Outcome::Answered { status, retry_after: None };
    let delivery = &leased.delivery;
    let State::Leased { dispatcher, .. } = delivery.state else { panic!("{delivery:?}") };
    let seen = Seen { failing_since: leased.failing_since, probe: leased.probe };
    let policy = Policy::default();
    let transition = advance(delivery, &leased.webhook, seen, &outcome, &policy, now());
    let mut attempt = Attempt::new(delivery.attempt, now(), Duration::from_micros(900), outcome);
    attempt.response = b"ok".to_vec();
    let fence = Fence { delivery: delivery.id, attempt: delivery.attempt, dispatcher };
    Settlement { fence, attempt: Some(attempt), transition, reports: Vec::new() }
}
