//! Webhooks and accounts beside each other: what the good ones get while one hangs, or one account
//! floods. Everything runs in this process: the receivers are a transport.
#![allow(dead_code)] // Each user of this file needs another part of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidings::storage::{Leased, Storage, Turn};
use tidings::time::after;
use tidings::transport::{Request, Response, TransportError, transport_fn};
use tidings::{
    Account, Change, Confirmation, DispatcherOptions, Event, EventId, FailureKind, Notice,
    Observer, Policy, Registration, Tidings, WebhookId,
};
use tokio::sync::{Notify, Semaphore, oneshot};

use super::worker::{Worker, now};

/// Events that are published and not yet delivered, at most.
const OUTSTANDING: usize = 1_000;
const BATCH: usize = 50;
const HANGING: &str = "hanging.made";

/// What the good webhooks got.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    /// From before the publish until it was settled, milliseconds.
    pub(crate) p99: f64,
}

fn handle(storage: &Arc<dyn Storage>, observer: impl Observer) -> Tidings {
    // The shortest deadline and pauses that there are: the hanging one is tried as often as can be.
    let second = Duration::from_secs(1);
    let policy = Policy::default().with_timeout(second).with_pause(second, second);
    Tidings::builder_shared(storage.clone()).policy(policy).observer(observer).build()
}

async fn register(tidings: &Tidings, path: &str, kind: &str, account: &Account) -> WebhookId {
    let url = format!("https://example.com/{path}");
    let registration = Registration::new(&url, [kind]).expect("a webhook");
    let registration = registration.account(account.clone()).enabled(true);
    tidings.create(registration).await.expect("a webhook").webhook.id()
}

fn event(tidings: &Tidings, kind: &str, number: usize, account: &Account) -> Event {
    let object = serde_json::json!({ "id": number.to_string(), "note": "x".repeat(200) });
    let change = Change::of(kind, &object).expect("a change").account(account.clone());
    tidings.event(change).expect("an event")
}

/// Answers at once, but for the hanging webhook, which never does.
async fn receive(request: Request) -> Result<Response, TransportError> {
    if request.http.uri().path() == "/hanging" {
        tokio::time::sleep(request.deadline).await;
        return Err(TransportError::new(FailureKind::Timeout, "it hangs"));
    }
    Ok(Response::new(204))
}

/// Webhooks that answer, each with a type of its own.
pub(crate) async fn good_ones(storage: &Arc<dyn Storage>, count: usize) {
    let tidings = Tidings::builder_shared(storage.clone()).build();
    for number in 0..count {
        register(&tidings, "good", &format!("good.kind{number}"), &Account::default()).await;
    }
}

/// A webhook that hangs, with so many deliveries that wait and are due.
pub(crate) async fn hanging_one(storage: &Arc<dyn Storage>, due: usize) -> WebhookId {
    let tidings = Tidings::builder_shared(storage.clone()).build();
    let id = register(&tidings, "hanging", HANGING, &Account::default()).await;
    let worker = Worker::begin(storage, 7).await;
    let events: Vec<Event> =
        (0..due).map(|number| event(&tidings, HANGING, number, &Account::default())).collect();
    for events in events.chunks(1_000) {
        tidings.publish_all(events).await.expect("a publish");
        // Nothing may be leased, so all is born waiting.
        while storage.route(&worker.turn(0)).await.expect("a route").more {}
    }
    id
}

/// Knows when each event was published, and hears when it was delivered.
#[derive(Debug)]
struct Watch {
    published: Mutex<HashMap<EventId, Instant>>,
    latencies: Mutex<Vec<f64>>,
    room: Semaphore,
}

#[derive(Debug)]
struct Watching(Arc<Watch>);

impl Observer for Watching {
    fn notice(&self, notice: &Notice) {
        let Notice::Settled { event, .. } = notice else { return };
        let published = self.0.published.lock().expect("a lock").remove(&event.id());
        if let Some(published) = published {
            let took = published.elapsed().as_secs_f64() * 1_000.0;
            self.0.latencies.lock().expect("a lock").push(took);
            self.0.room.add_permits(1);
        }
    }
}

/// Publishes to the good webhooks for so long, as fast as they are served.
pub(crate) async fn serve(storage: &Arc<dyn Storage>, good: usize, time: Duration) -> Figures {
    let watch = Arc::new(Watch {
        published: Mutex::default(),
        latencies: Mutex::default(),
        room: Semaphore::new(OUTSTANDING),
    });
    let tidings = handle(storage, Watching(watch.clone()));
    let (stop, running) = run(&tidings);
    let (began, mut number) = (Instant::now(), 0);
    while began.elapsed() < time {
        let room = watch.room.acquire_many(BATCH as u32).await.expect("room");
        room.forget();
        let kinds = (number..number + BATCH).map(|number| (number, number % good));
        let events: Vec<Event> = kinds
            .map(|(number, kind)| {
                event(&tidings, &format!("good.kind{kind}"), number, &Account::default())
            })
            .collect();
        let moment = Instant::now();
        let ids = events.iter().map(|event| (event.id(), moment));
        watch.published.lock().expect("a lock").extend(ids);
        tidings.publish_all(&events).await.expect("a publish");
        number += BATCH;
    }
    // Until all of them are delivered.
    let all = u32::try_from(OUTSTANDING).expect("a few");
    let rest = tokio::time::timeout(Duration::from_secs(60), watch.room.acquire_many(all));
    let _ = rest.await.expect("all is delivered in time").expect("room");
    let took = began.elapsed();
    let _ = stop.send(());
    running.await.expect("the dispatcher");
    let mut latencies = std::mem::take(&mut *watch.latencies.lock().expect("a lock"));
    latencies.sort_by(f64::total_cmp);
    let p99 = latencies[(latencies.len() * 99).div_ceil(100) - 1];
    Figures { per_second: latencies.len() as f64 / took.as_secs_f64(), p99 }
}

fn run(tidings: &Tidings) -> (oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let options = DispatcherOptions::default().grace(Duration::from_millis(100));
    let dispatcher = tidings.dispatcher_with(Arc::new(transport_fn(receive)), options);
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(dispatcher.expect("a dispatcher").run(async {
        let _ = stopped.await;
    }));
    (stop, running)
}

/// Hears of an account's deliveries, and tells when there are no more to come.
#[derive(Debug)]
struct Few {
    account: Account,
    left: AtomicUsize,
    done: Notify,
}

#[derive(Debug)]
struct Hearing(Arc<Few>);

impl Observer for Hearing {
    fn notice(&self, notice: &Notice) {
        let few = &self.0;
        if let Notice::Settled { event, .. } = notice
            && *event.account() == few.account
            && few.left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            few.done.notify_one();
        }
    }
}

/// How long the ten events of one account take, from the start of the dispatcher, when another has
/// published so many before.
pub(crate) async fn ten_behind(storage: &Arc<dyn Storage>, flood: usize) -> Duration {
    let [great, small] = ["great", "small"].map(|name| Account::new(name).expect("an account"));
    let few = Few { account: small.clone(), left: AtomicUsize::new(10), done: Notify::new() };
    let few = Arc::new(few);
    let tidings = handle(storage, Hearing(few.clone()));
    for account in [&great, &small] {
        register(&tidings, "good", "flood.made", account).await;
    }
    let events = |count: usize, account: &Account| -> Vec<Event> {
        (0..count).map(|number| event(&tidings, "flood.made", number, account)).collect()
    };
    for events in events(flood, &great).chunks(1_000) {
        tidings.publish_all(events).await.expect("a publish");
    }
    tidings.publish_all(&events(10, &small)).await.expect("a publish");
    let began = Instant::now();
    let (stop, running) = run(&tidings);
    let wait = tokio::time::timeout(Duration::from_secs(120), few.done.notified());
    wait.await.expect("the ten are delivered in time");
    let took = began.elapsed();
    let _ = stop.send(());
    running.await.expect("the dispatcher");
    took
}

/// Pauses the webhook whose deliveries wait, as a receiver that is overloaded does, and resumes it by
/// a probe that goes well; then as a person does, by disabling and enabling it.
pub(crate) async fn pause_and_resume(storage: &Arc<dyn Storage>, webhook: WebhookId) {
    let worker = Worker::begin(storage, 8).await;
    let claim = async |later: u64| -> Vec<Leased> {
        let turn = Turn { now: after(now(), Duration::from_secs(later)), ..worker.turn(1) };
        storage.claim(&turn).await.expect("a claim").leased
    };
    let leased = claim(0).await;
    assert_eq!(leased.len(), 1);
    worker.settle(&leased, 503).await;
    assert!(claim(0).await.is_empty(), "it is paused");
    let probe = claim(10).await;
    assert!(probe.len() == 1 && probe[0].probe);
    worker.settle(&probe, 204).await;
    let leased = claim(0).await;
    assert!(leased.len() == 1 && !leased[0].probe, "it is resumed");
    worker.give_back(&leased).await;
    let tidings = Tidings::builder_shared(storage.clone()).build();
    tidings.disable(webhook, &Confirmation::new("me", "me")).await.expect("a change");
    assert!(claim(0).await.is_empty(), "it is disabled");
    tidings.enable(webhook).await.expect("a change");
    let probe = claim(1).await;
    assert_eq!(probe.len(), 1, "it is enabled");
    worker.give_back(&probe).await;
}

/// Rows of deliveries and of webhooks that were written while something was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) deliveries: u64,
    pub(crate) webhooks: u64,
}

/// Counts the rows of a PostgreSQL storage that transactions from now on have written: by their
/// transaction, so that rows that were only locked count too; and those that are gone.
#[cfg(feature = "postgres")]
#[derive(Debug)]
pub(crate) struct Count {
    transaction: u64,
    waiting: u64,
}

#[cfg(feature = "postgres")]
impl Count {
    pub(crate) fn begin(cluster: &super::cluster::Cluster, database: &str) -> Self {
        let row = "SELECT pg_current_xact_id(), (SELECT count(*) FROM tidings.waiting)";
        let row = cluster.sql(database, row).remove(0);
        let number = |at: usize| row[at].parse().expect("a number");
        Self { transaction: number(0), waiting: number(1) }
    }

    pub(crate) fn end(&self, cluster: &super::cluster::Cluster, database: &str) -> Written {
        let Self { transaction, waiting } = self;
        let new =
            format!("xmin::text::bigint >= {transaction} OR xmax::text::bigint >= {transaction}");
        let row = format!(
            "SELECT (SELECT count(*) FROM tidings.waiting WHERE {new}), \
             {waiting} - (SELECT count(*) FROM tidings.waiting), \
             (SELECT count(*) FROM tidings.webhook WHERE {new})"
        );
        let row = cluster.sql(database, &row).remove(0);
        let number = |at: usize| row[at].parse::<u64>().expect("a number");
        Written { deliveries: number(0) + number(1), webhooks: number(2) }
    }
}

/// Counts every write to the rows of an SQLite storage from now on, by triggers.
#[cfg(feature = "sqlite")]
#[derive(Debug)]
pub(crate) struct Triggers(rusqlite::Connection);

#[cfg(feature = "sqlite")]
impl Triggers {
    pub(crate) fn begin(path: &std::path::Path) -> Self {
        let connection = rusqlite::Connection::open(path).expect("a file");
        let tables = ["delivery", "webhook"].map(|table| {
            let on = ["INSERT", "UPDATE", "DELETE"].map(|change| {
                format!(
                    "CREATE TRIGGER count_{change}_{table} AFTER {change} ON tidings_{table}
                     BEGIN INSERT INTO count_{table} VALUES (1); END;"
                )
            });
            format!("CREATE TABLE count_{table} (n INTEGER); {}", on.concat())
        });
        let text = format!("PRAGMA busy_timeout = 10000; {}", tables.concat());
        connection.execute_batch(&text).expect("triggers");
        Self(connection)
    }

    pub(crate) fn end(&self) -> Written {
        let count = |table: &str| {
            let text = format!("SELECT count(*) FROM count_{table}");
            let count: i64 = self.0.query_row(&text, [], |row| row.get(0)).expect("a count");
            count.unsigned_abs()
        };
        Written { deliveries: count("delivery"), webhooks: count("webhook") }
    }
}
