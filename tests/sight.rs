//! Statistics, and traces over a real socket, over each storage: what is counted equals a recount of what
//! is on record, crashes included.
#![cfg(all(feature = "sqlite", feature = "hyper"))]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tidings::statistics::{AttemptClass, End, Hour, Tally, counted};
use tidings::storage::{MemoryStorage, SqliteStorage, Storage};
use tidings::time::{after, before};
use tidings::transport::{
    HyperOptions, HyperTransport, Request, Response, TransportError, transport_fn,
};
use tidings::{
    Account, Change, Clock, DeliveryQuery, DeliveryView, DispatcherOptions, FailureKind, Mode,
    NetworkPolicy, PageRequest, Policy, Registration, Schedule, StatisticsQuery, SystemClock,
    Tidings, TraceContext, WebhookId,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

#[cfg(feature = "postgres")]
#[path = "support/databases.rs"]
mod databases;

const EVENTS: usize = 300;
const PATIENCE: Duration = Duration::from_secs(120);

fn handle(storage: Arc<dyn Storage>) -> Tidings {
    let schedule = || Schedule::new([Duration::from_millis(20); 3]).unwrap();
    let policy = Policy::default()
        .with_schedule(Mode::Live, schedule())
        .with_schedule(Mode::Test, schedule())
        .with_pause(Duration::from_secs(1), Duration::from_secs(1))
        .with_jitter_percent(0);
    Tidings::builder_shared(storage).policy(policy).build()
}

/// Everything of the last and the next hours.
fn always() -> StatisticsQuery {
    let (now, day) = (SystemClock.now(), Duration::from_secs(86_400));
    StatisticsQuery::new(before(now, day), after(now, day)).unwrap()
}

async fn record(tidings: &Tidings, query: &DeliveryQuery) -> Vec<DeliveryView> {
    let (mut found, mut page) = (Vec::new(), PageRequest::first(100).unwrap());
    loop {
        let part = tidings.deliveries(query, &page).await.unwrap();
        found.extend(part.items);
        match part.next {
            Some(cursor) => page = page.after(cursor),
            None => return found,
        }
    }
}

/// How many are on record.
async fn attempts(tidings: &Tidings) -> usize {
    record(tidings, &DeliveryQuery::default()).await.iter().map(|view| view.attempts.len()).sum()
}

/// Compares the counts with the record of the same.
async fn compare(tidings: &Tidings, views: &[&DeliveryView], query: &StatisticsQuery) -> Tally {
    let mut hours: BTreeMap<Hour, Tally> = BTreeMap::new();
    for view in views {
        let attempts = view.attempts.iter().flat_map(|attempt| counted(Some(attempt), None));
        for (hour, measure) in attempts.chain(counted(None, Some(&view.delivery.state))) {
            hours.entry(hour).or_default().add(measure, 1);
        }
    }
    let report = tidings.statistics(query).await.unwrap();
    let found: BTreeMap<_, _> = report.hours.into_iter().map(|it| (it.hour, it.tally)).collect();
    assert_eq!(found, hours, "{query:?}");
    report.total
}

/// Delivers to four webhooks of two accounts whose receivers fail, answer all kinds of things and take
/// their time; kills the dispatcher three times on the way.
async fn counts_equal_a_recount(storage: Arc<dyn Storage>) {
    let tidings = handle(storage);
    let accounts = ["one", "two"].map(|name| Account::new(name).unwrap());
    let mut webhooks: Vec<(WebhookId, Account)> = Vec::new();
    for number in 0..4 {
        let account = accounts[number % 2].clone();
        let address = format!("https://receiver-{number}.example/hook");
        let registration = Registration::new(&address, ["order.*"]).unwrap().enabled(true);
        let created = tidings.create(registration.account(account.clone())).await.unwrap();
        webhooks.push((created.webhook.id(), account));
    }
    // Nobody routes it yet, and nobody will want it.
    let unwanted = Change::of("stock.counted", &json!({ "id": "1" })).unwrap();
    tidings.publish(&tidings.event(unwanted).unwrap()).await.unwrap();
    let report = tidings.health().await;
    assert!(report.is_ready() && report.oldest_due.is_some(), "{report:?}");
    let count = Arc::new(AtomicU64::new(0));
    let transport = Arc::new(transport_fn(move |_: Request| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::time::sleep(Duration::from_millis(number % 7)).await;
            match number % 16 {
                1 | 9 => Ok(Response::new(500)),
                4 => Ok(Response::new(404)),
                6 => Ok(Response::new(302)),
                8 => Err(TransportError::new(FailureKind::Protocol, "planted")),
                11 => Err(TransportError::new(FailureKind::Local, "planted")),
                _ => Ok(Response::new(204)),
            }
        }
    }));
    let options = || {
        DispatcherOptions::default().in_flight(32).lease(Duration::from_secs(3)).sweep_every(None)
    };
    let start = || {
        let dispatcher = tidings.dispatcher_with(transport.clone(), options()).unwrap();
        tokio::spawn(dispatcher.run(std::future::pending()))
    };
    let mut run = start();
    for part in 0..3 {
        let changes = (0..EVENTS / 3).map(|number| {
            let order = json!({ "id": format!("{part}-{number}") });
            Change::of("order.paid", &order).unwrap().account(accounts[number % 2].clone())
        });
        let events = tidings.events_of(changes).unwrap();
        tidings.publish_all(&events).await.unwrap();
        // Killed in the middle of it: what it had leased comes back when its lease is over.
        let before = attempts(&tidings).await;
        let wait = async {
            while attempts(&tidings).await <= before {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
        run.abort();
        let _ = run.await;
        run = start();
    }
    let ended = async {
        loop {
            let views = record(&tidings, &DeliveryQuery::default()).await;
            let done = views.iter().filter(|view| view.delivery.state.is_ended()).count();
            if done == EVENTS * 2 {
                return views;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let views = tokio::time::timeout(PATIENCE, ended).await.expect("everything ends");
    run.abort();
    let _ = run.await;
    let all: Vec<&DeliveryView> = views.iter().collect();
    let total = compare(&tidings, &all, &always()).await;
    assert_eq!(total.ended(), EVENTS as u64 * 2);
    for class in [AttemptClass::Failed, AttemptClass::Rejected, AttemptClass::Own] {
        assert!(total.attempts_of(class) > 0, "{class:?} has happened: {total:?}");
    }
    assert!(total.ended_as(End::Delivered) > 0 && total.success_rate().unwrap() < 1.0);
    for (webhook, account) in &webhooks {
        let of = |view: &&&DeliveryView| view.delivery.webhook == *webhook;
        let own: Vec<_> = all.iter().filter(of).copied().collect();
        assert!(!own.is_empty());
        compare(&tidings, &own, &always().webhook(*webhook)).await;
        let of = |view: &&&DeliveryView| view.event.account() == account;
        let own: Vec<_> = all.iter().filter(of).copied().collect();
        compare(&tidings, &own, &always().account(account.clone())).await;
    }
}

/// Over memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_equal_a_recount_in_memory() {
    counts_equal_a_recount(Arc::new(MemoryStorage::new())).await;
}

/// Over a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_equal_a_recount_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let storage = SqliteStorage::open(folder.path().join("tidings.db")).await.unwrap();
    counts_equal_a_recount(Arc::new(storage)).await;
}

/// Over a database.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn statistics_equal_a_recount_in_postgres() {
    use tidings::storage::{PostgresOptions, PostgresStorage};

    let options = PostgresOptions::default().connections(6).announce(false);
    let storage = PostgresStorage::connect_with(&databases::postgres(), options).await.unwrap();
    counts_equal_a_recount(Arc::new(storage)).await;
}

/// Asks a handle whose policy keeps no statistics for longer than a moment, after housekeeping.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn housekeeping_forgets_what_is_old() {
    let storage = MemoryStorage::new();
    let policy = Policy::default().with_retain_statistics(Duration::ZERO);
    // A clock that is two hours ahead: what was settled before is of an earlier hour.
    let ahead = tidings::clock_fn(|| after(SystemClock.now(), Duration::from_secs(7_200)));
    let now = handle(Arc::new(storage.clone()));
    let later = Tidings::builder(storage).policy(policy).clock(ahead).build();
    let registration = Registration::new("https://example.com/hook", ["order.*"]).unwrap();
    now.create(registration.enabled(true)).await.unwrap();
    let change = Change::of("order.paid", &json!({ "id": "1" })).unwrap();
    now.publish(&now.event(change).unwrap()).await.unwrap();
    let transport = || Arc::new(transport_fn(|_: Request| async { Ok(Response::new(204)) }));
    let sweeping = DispatcherOptions::default().sweep_every(Some(Duration::from_secs(1)));
    for (tidings, ended) in [(&now, 1), (&later, 0)] {
        let dispatcher = tidings.dispatcher_with(transport(), sweeping.clone()).unwrap();
        let run = tokio::spawn(dispatcher.run(std::future::pending()));
        let wait = async {
            while tidings.statistics(&always()).await.unwrap().total.ended() != ended {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
        run.abort();
        let _ = run.await;
    }
}

/// Sends over HTTP to a receiver that fails once, and reads what is on the wire.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_is_on_the_wire() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/hook", listener.local_addr().unwrap());
    let network = NetworkPolicy::public_only().allow_loopback();
    let folder = tempfile::tempdir().unwrap();
    let storage = SqliteStorage::open(folder.path().join("tidings.db")).await.unwrap();
    let schedule = Schedule::new([Duration::from_millis(20)]).unwrap();
    let policy = Policy::default().with_schedule(Mode::Live, schedule);
    let tidings = Tidings::builder(storage).network(network.clone()).policy(policy).build();
    let registration = Registration::new(&address, ["order.*"]).unwrap().enabled(true);
    tidings.create(registration).await.unwrap();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let context = TraceContext::parse(trace).unwrap().with_state("rojo=1").unwrap();
    let change = Change::of("order.paid", &json!({ "id": "1" })).unwrap().trace(context);
    tidings.publish(&tidings.event(change).unwrap()).await.unwrap();
    let transport = HyperTransport::new(HyperOptions::default().with_network(network)).unwrap();
    let run = tokio::spawn(tidings.dispatcher(transport).unwrap().run(std::future::pending()));
    for status in ["500 No", "204 Yes"] {
        let (mut stream, _) =
            tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        let mut request = String::new();
        while !request.ends_with('}') {
            let mut bytes = [0; 4_096];
            let read = stream.read(&mut bytes).await.unwrap();
            assert!(read > 0, "{request}");
            request.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
        let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        assert!(request.contains(&format!("\r\ntraceparent: {trace}\r\n")), "{request}");
        assert!(request.contains("\r\ntracestate: rojo=1\r\n"), "{request}");
    }
    run.abort();
}
