//! Begin, stop, and be dropped: what is under way then is finished, given back, or sent again later, and
//! nothing is lost. Over a SQLite file, and over PostgreSQL where it is installed.
#![cfg(feature = "sqlite")]

#[cfg(feature = "postgres")]
#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/place.rs"]
mod place;

use std::collections::{BTreeSet, HashMap};
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use serde_json::json;
use tidings::storage::Storage;
use tidings::transport::{Request, Response, Transport, transport_fn};
use tidings::{
    Account, Change, Confirmation, DeliveryQuery, DispatcherOptions, Edit, Event, EventId,
    EventQuery, Overlap, PageRequest, Policy, Registration, StateKind, Tidings, WebhookQuery,
};
use tokio::sync::{oneshot, watch};

/// The paths of the receivers' addresses.
const WEBHOOKS: usize = 3;
/// What one dispatcher may have in flight.
const IN_FLIGHT: u32 = 16;

/// What happened so far, outside of the storage.
#[derive(Debug)]
struct Seen {
    /// Requests that were answered, by event and path.
    requests: Mutex<HashMap<(String, String), usize>>,
    open: AtomicUsize,
    /// Counts requests and publishes.
    moments: watch::Sender<usize>,
    acknowledged: Mutex<BTreeSet<EventId>>,
}

impl Seen {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            requests: Mutex::default(),
            open: AtomicUsize::new(0),
            moments: watch::Sender::new(0),
            acknowledged: Mutex::default(),
        })
    }

    fn moment(&self) {
        self.moments.send_modify(|moments| *moments += 1);
    }

    /// Waits for so many moments more.
    async fn wait(&self, more: usize) {
        let mut moments = self.moments.subscribe();
        let until = *moments.borrow_and_update() + more;
        moments.wait_for(|moments| *moments >= until).await.unwrap();
    }

    /// Receivers that answer after a moment, and note when they have.
    fn transport(self: &Arc<Self>) -> Arc<dyn Transport> {
        let seen = self.clone();
        Arc::new(transport_fn(move |request: Request| {
            let seen = seen.clone();
            async move {
                let id = request.http.headers()["webhook-id"].to_str().unwrap().to_owned();
                let key = (id, request.http.uri().path().to_owned());
                let open = Open::new(&seen);
                tokio::time::sleep(Duration::from_millis(1)).await;
                *seen.requests.lock().unwrap().entry(key).or_default() += 1;
                drop(open);
                seen.moment();
                Ok(Response::new(204))
            }
        }))
    }

    /// How many requests there were for events that were acknowledged, and how many of them too many.
    fn counts(&self) -> (usize, usize) {
        let requests = self.requests.lock().unwrap();
        let known = self.acknowledged.lock().unwrap();
        let paths: Vec<_> = (0..WEBHOOKS).map(|number| format!("/{number}")).collect();
        let of = |id: &EventId, path: &String| requests.get(&(id.to_string(), path.clone()));
        let all = known.iter().flat_map(|id| paths.iter().filter_map(move |path| of(id, path)));
        all.fold((0, 0), |(once, more), count| (once + 1, more + count - 1))
    }

    fn owed(&self) -> usize {
        self.acknowledged.lock().unwrap().len() * WEBHOOKS
    }
}

/// Counts an open request until it is dropped.
struct Open<'a>(&'a Seen);

impl<'a> Open<'a> {
    fn new(seen: &'a Seen) -> Self {
        seen.open.fetch_add(1, Ordering::Relaxed);
        Self(seen)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn register(tidings: &Tidings) {
    for number in 0..WEBHOOKS {
        let address = format!("https://example.com/{number}");
        let registration = Registration::new(&address, ["order.*"]).unwrap().enabled(true);
        tidings.create(registration).await.unwrap();
    }
}

/// A delivery that is cut off again and again is not put off for it: here everything is.
fn handle(storage: Arc<dyn Storage>) -> Tidings {
    let policy = Policy::default().with_interruptions_free(1_000);
    Tidings::builder_shared(storage).policy(policy).build()
}

fn event(tidings: &Tidings) -> Event {
    tidings.event(Change::of("order.paid", &json!({"total": 29.90})).unwrap()).unwrap()
}

fn options() -> DispatcherOptions {
    let options = DispatcherOptions::default().in_flight(IN_FLIGHT).lease(Duration::from_secs(3));
    options.poll(Duration::from_millis(20)).sweep_every(None)
}

/// Publishes without an end, a little ahead of what is delivered.
async fn publish(tidings: Tidings, seen: Arc<Seen>) {
    loop {
        let event = event(&tidings);
        tidings.publish(&event).await.unwrap();
        seen.acknowledged.lock().unwrap().insert(event.id());
        seen.moment();
        let ahead = || seen.owed().saturating_sub(seen.counts().0) > 100 * WEBHOOKS;
        while ahead() {
            seen.wait(1).await;
        }
    }
}

/// Delivers what is left. Leases of those that were dropped end first.
async fn drain(tidings: &Tidings, seen: &Arc<Seen>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let dispatcher = tidings.dispatcher_with(seen.transport(), options()).unwrap();
    let run = tokio::spawn(dispatcher.run(async { drop(stopped.await) }));
    let mut moments = seen.moments.subscribe();
    let all = async {
        while seen.counts().0 < seen.owed() {
            moments.changed().await.unwrap();
        }
        // What had arrived and was not settled any more is sent again when its lease is over.
        while unfinished(tidings.storage(), &[StateKind::Waiting, StateKind::Leased]).await > 0 {
            let _ = tokio::time::timeout(Duration::from_millis(50), moments.changed()).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("something is lost");
    stop.send(()).unwrap();
    run.await.unwrap();
}

async fn unfinished(storage: &Arc<dyn Storage>, states: &[StateKind]) -> usize {
    let query = DeliveryQuery { states: states.to_vec(), ..DeliveryQuery::default() };
    storage.deliveries(&query, &PageRequest::first(100).unwrap()).await.unwrap().items.len()
}

/// Stops a dispatcher fifty times while events are published all the time.
async fn fifty_shutdowns(place: &str) {
    let (storage, seen) = (place::open(place).await, Seen::new());
    let tidings = handle(storage.clone());
    register(&tidings).await;
    let publisher = tokio::spawn(publish(tidings.clone(), seen.clone()));
    for round in 0..50 {
        let (stop, stopped) = oneshot::channel::<()>();
        let dispatcher = tidings.dispatcher_with(seen.transport(), options()).unwrap();
        let run = tokio::spawn(dispatcher.run(async { drop(stopped.await) }));
        seen.wait(10 + round * 7 % 60).await;
        stop.send(()).unwrap();
        run.await.unwrap();
        assert_eq!(seen.open.load(Ordering::Relaxed), 0, "nothing is under way");
        let leased = unfinished(&storage, &[StateKind::Leased]).await;
        assert_eq!(leased, 0, "nothing stays leased");
    }
    publisher.abort();
    drop(publisher.await);
    drain(&tidings, &seen).await;
    assert_eq!(seen.counts(), (seen.owed(), 0), "each once");
}

/// Runs [`fifty_shutdowns`] over a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_shutdowns_under_load_repeat_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fifty_shutdowns(folder.path().join("tidings.db").to_str().unwrap()).await;
}

/// Runs [`fifty_shutdowns`] over a server.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn fifty_shutdowns_under_load_repeat_nothing_in_postgres() {
    fifty_shutdowns(&cluster::Cluster::shared().new_database()).await;
}

/// Drops the whole runtime at 200 points, each a little later than the one before, and begins anew: what
/// was acknowledged is delivered, and no more is repeated than was under way.
fn dropped_runtimes(place: &str) {
    let seen = Seen::new();
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(2).enable_all().build().unwrap()
    };
    runtime().block_on(async {
        register(&handle(place::open(place).await)).await;
    });
    for point in 0..200 {
        let runtime = runtime();
        runtime.block_on(async {
            let tidings = handle(place::open(place).await);
            let dispatcher = tidings.dispatcher_with(seen.transport(), options()).unwrap();
            tokio::spawn(dispatcher.run(std::future::pending()));
            let waits = seen.clone();
            let wait = async move { waits.wait(point).await };
            tokio::spawn(publish(tidings, seen.clone()));
            wait.await;
        });
        drop(runtime);
        assert_eq!(seen.open.load(Ordering::Relaxed), 0, "nothing outlives its runtime");
    }
    runtime().block_on(async {
        let tidings = handle(place::open(place).await);
        drain(&tidings, &seen).await;
    });
    let (once, more) = seen.counts();
    assert_eq!(once, seen.owed());
    assert!(more <= 200 * IN_FLIGHT as usize, "{more} were repeated");
}

/// Runs [`dropped_runtimes`] over a file.
#[test]
fn a_dropped_runtime_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    dropped_runtimes(folder.path().join("tidings.db").to_str().unwrap());
}

/// Runs [`dropped_runtimes`] over a server.
#[cfg(feature = "postgres")]
#[test]
#[ignore = "needs PostgreSQL: tests/run"]
fn a_dropped_runtime_loses_nothing_in_postgres() {
    dropped_runtimes(&cluster::Cluster::shared().new_database());
}

/// The future's value, unless it waits for the `awaits`-th time first: then it is dropped.
async fn dropped_at<T>(awaits: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = Box::pin(future);
    let mut left = awaits;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => {
                left -= 1;
                if left == 0 { Poll::Ready(None) } else { Poll::Pending }
            }
        }
    })
    .await
}

/// Calls what `call` gives again and again, each dropped at a later one of its first 200 awaits, until one
/// comes to its end. How many there were.
async fn at_each_await<T>(name: &str, mut call: impl AsyncFnMut(usize) -> Option<T>) -> usize {
    for awaits in 0..=200 {
        if call(awaits).await.is_some() {
            return awaits + 1;
        }
    }
    panic!("{name} waits more than 200 times");
}

/// Drops the futures of the handle's methods at each of their awaits: what is asked for again is there
/// once, and what was made is delivered once.
async fn dropped_futures(place: &str) {
    let (storage, seen) = (place::open(place).await, Seen::new());
    let tidings = handle(storage.clone());
    register(&tidings).await;
    let typed = Confirmation::new("ada", "ada");
    let page = PageRequest::first(100).unwrap();
    let mut expected: HashMap<EventId, usize> = HashMap::new();

    // Publishes: asked for again, each is there once.
    for count in [1, 3] {
        at_each_await("publish", async |awaits| {
            let events: Vec<_> = (0..count).map(|_| event(&tidings)).collect();
            let done = dropped_at(awaits, tidings.publish_all(&events)).await;
            let again = tidings.publish_all(&events).await.unwrap();
            assert!(done.is_none() || again.iter().all(|published| !published.new));
            expected.extend(events.iter().map(|event| (event.id(), 1)));
            done
        })
        .await;
    }
    let deliveries = async |of: EventId| {
        let query = DeliveryQuery { event: Some(of), ..DeliveryQuery::default() };
        storage.deliveries(&query, &page).await.unwrap().items
    };

    // What makes deliveries: one or none for each call.
    let webhooks = tidings.webhooks(&WebhookQuery::default(), &page).await.unwrap().items;
    let first = event(&tidings);
    tidings.publish(&first).await.unwrap();
    seen.acknowledged.lock().unwrap().extend(expected.keys().copied().chain([first.id()]));
    drain(&tidings, &seen).await;
    // This one is sent again on purpose.
    seen.acknowledged.lock().unwrap().remove(&first.id());
    let sent = deliveries(first.id()).await.remove(0).delivery;
    let before = deliveries(first.id()).await.len();
    let mut calls = 0;
    at_each_await("redeliver", async |awaits| {
        let done = dropped_at(awaits, tidings.redeliver(sent.id)).await;
        // What was dropped may still be written.
        calls += 1;
        let made = deliveries(first.id()).await.len() - before;
        assert!(made <= calls && made >= usize::from(done.is_some()));
        done
    })
    .await;
    let tests = async || {
        let query =
            EventQuery { types: vec!["webhook.test".parse().unwrap()], ..EventQuery::default() };
        tidings.events(&query, &page).await.unwrap().items
    };
    let mut calls = 0;
    at_each_await("send_test", async |awaits| {
        let done = dropped_at(awaits, tidings.send_test(webhooks[0].id())).await;
        calls += 1;
        let made = tests().await.len();
        assert!(made <= calls && made >= usize::from(done.is_some()));
        done
    })
    .await;

    // What changes webhooks: done or not, and the same when asked for again.
    let mut calls = 0;
    at_each_await("create", async |awaits| {
        let registration = Registration::new("https://example.com/new", ["other.*"]).unwrap();
        let done = dropped_at(awaits, tidings.create(registration)).await;
        calls += 1;
        let now = tidings.webhooks(&WebhookQuery::default(), &page).await.unwrap().items.len();
        let made = now - WEBHOOKS;
        assert!(made <= calls && made >= usize::from(done.is_some()));
        done
    })
    .await;
    let other = Registration::new("https://example.com/other", ["other.*"]).unwrap();
    let other = tidings.create(other).await.unwrap().webhook.id();
    let mut calls = 0;
    for name in ["edit", "enable", "disable", "rotate"] {
        at_each_await(name, async |awaits| {
            let text = format!("{name} {awaits}");
            let call = async {
                match name {
                    "edit" => {
                        tidings.edit(other, None, Edit::new().description(&text)).await.map(drop)
                    }
                    "enable" => tidings.enable(other).await.map(drop),
                    "disable" => tidings.disable(other, &typed).await.map(drop),
                    _ => tidings.rotate(other, Overlap::default(), &typed).await.map(drop),
                }
            };
            let done = dropped_at(awaits, call).await;
            if let Some(result) = &done
                && name != "rotate"
            {
                result.as_ref().unwrap();
            }
            calls += 1;
            let version = tidings.webhook(other).await.unwrap().version();
            assert!(version <= 1 + calls, "{name}: once or not at all");
            done
        })
        .await;
    }

    // What only reads, and what forgets.
    at_each_await("reads", async |awaits| {
        let reads = async {
            tidings.webhook(other).await.unwrap();
            tidings.reveal(other, &typed).await.unwrap();
            tidings.stored_event(first.id()).await.unwrap();
            tidings.delivery(sent.id).await.unwrap();
            tidings.deliveries(&DeliveryQuery::default(), &page).await.unwrap();
            tidings.admit(&Account::default()).await.unwrap();
            tidings.sizes().await.unwrap();
        };
        dropped_at(awaits, reads).await
    })
    .await;
    at_each_await("delete", async |awaits| {
        let done = dropped_at(awaits, tidings.delete(other)).await;
        // Once it is gone there is nothing to delete.
        if tidings.webhook(other).await.is_err() { Some(()) } else { done.map(drop) }
    })
    .await;
    at_each_await("expunge", async |awaits| {
        let done = dropped_at(awaits, tidings.expunge(first.id())).await;
        let stored = tidings.stored_event(first.id()).await.unwrap();
        assert!(stored.is_expunged() || done.is_none());
        done
    })
    .await;

    drain(&tidings, &seen).await;
    for (id, count) in expected {
        let found = deliveries(id).await;
        assert_eq!(found.len(), count * WEBHOOKS, "{id}");
        assert!(found.iter().all(|view| view.delivery.state.kind() == StateKind::Delivered));
    }
    assert_eq!(seen.counts().1, 0, "none of them twice");
    at_each_await("expunge_account", async |awaits| {
        dropped_at(awaits, tidings.expunge_account(&Account::default())).await
    })
    .await;
    let left = tidings.events(&EventQuery::default(), &page).await.unwrap().items;
    assert!(left.iter().all(Event::is_expunged));
}

/// Runs [`dropped_futures`] over a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn futures_can_be_dropped_at_each_await() {
    let folder = tempfile::tempdir().unwrap();
    dropped_futures(folder.path().join("tidings.db").to_str().unwrap()).await;
}

/// Runs [`dropped_futures`] over a server.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn futures_can_be_dropped_at_each_await_in_postgres() {
    dropped_futures(&cluster::Cluster::shared().new_database()).await;
}
