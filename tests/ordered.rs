//! Order and limits over several processes: children dispatch from one storage, the receiver lives
//! in the parent and looks at what comes, in which order and how fast, also when the process that
//! sends is stopped for longer than its lease and wakes.
#![cfg(all(unix, feature = "sqlite", feature = "hyper"))]

#[cfg(feature = "postgres")]
#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/place.rs"]
mod place;
#[path = "support/serve.rs"]
mod serve;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::json;
use tidings::transport::{
    HyperOptions, HyperTransport, Request, Response, Transport, TransportError,
};
use tidings::{
    Change, DispatcherOptions, Edit, Mode, NetworkPolicy, Ordering, Policy, RateLimit,
    Registration, Schedule, Tidings, policy,
};

use serve::{Answer, serve};

/// Dispatchers at work.
const CHILDREN: usize = 4;
/// The shortest lease there is.
const LEASE: Duration = Duration::from_secs(3);
/// The header by which a child says who it is.
const SENDER: &str = "x-sender";

fn network() -> NetworkPolicy {
    NetworkPolicy::public_only().allow_loopback()
}

async fn handle(store: &str) -> Tidings {
    let schedule = Schedule::new([Duration::from_millis(300); 20]).unwrap();
    let policy =
        Policy::default().with_schedule(Mode::Live, schedule).with_timeout(Duration::from_secs(5));
    Tidings::builder_shared(place::open(store).await).policy(policy).network(network()).build()
}

// --- the children ----------------------------------------------------------------------------

/// Says with each request which process sends it.
#[derive(Debug)]
struct Signed(HyperTransport);

#[async_trait]
impl Transport for Signed {
    async fn send(&self, mut request: Request) -> Result<Response, TransportError> {
        request.http.headers_mut().insert(SENDER, std::process::id().into());
        self.0.send(request).await
    }
}

/// Not a test by itself: a process that dispatches until its input ends.
#[test]
#[ignore = "needs a parent: runs inside the other tests"]
fn the_child() {
    let Ok(store) = std::env::var("TIDINGS_ORDERED_STORE") else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async move {
        let tidings = handle(&store).await;
        let transport = HyperTransport::new(HyperOptions::default().with_network(network()));
        let options = DispatcherOptions::default().lease(LEASE).poll(Duration::from_millis(50));
        let transport = Arc::new(Signed(transport.unwrap()));
        let dispatcher = tidings.dispatcher_with(transport, options).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(dispatcher.run(async {
            let _ = stopped.await;
        }));
        let ended = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
        ended.await.unwrap();
        stop.send(()).unwrap();
        running.await.unwrap();
    });
}

/// The children; they are killed if the parent gives up.
struct Fleet(Vec<Child>);

impl Fleet {
    fn start(store: &str) -> Self {
        let child = |_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "the_child", "--nocapture", "--include-ignored"])
                .env("TIDINGS_ORDERED_STORE", store)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        };
        Self((0..CHILDREN).map(child).collect())
    }

    /// Sends a signal to one of them.
    fn signal(&self, process: u32, signal: &str) {
        assert!(self.0.iter().any(|child| child.id() == process), "{process} is not ours");
        let status = Command::new("kill").args([signal, &process.to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Lets them finish.
    fn end(mut self) {
        for child in &mut self.0 {
            drop(child.stdin.take());
        }
        for child in &mut self.0 {
            assert!(child.wait().unwrap().success());
        }
        self.0.clear();
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

// --- the receiver ----------------------------------------------------------------------------

/// What came to one webhook.
#[derive(Debug, Default)]
struct Seen {
    arrivals: Vec<Instant>,
    senders: Vec<u32>,
    open: usize,
    open_max: usize,
    /// The events of each object that were acknowledged, by number.
    acknowledged: HashMap<String, Vec<u64>>,
    /// What must not have happened.
    faults: Vec<String>,
}

#[derive(Debug, Default)]
struct Receiver {
    seen: Mutex<HashMap<String, Seen>>,
    changed: Condvar,
}

impl Receiver {
    fn start() -> (Arc<Self>, SocketAddr) {
        let receiver = Arc::new(Self::default());
        let serving = receiver.clone();
        let address = serve(move |request| {
            let serving = serving.clone();
            async move { serving.receive(request).await }
        });
        (receiver, address)
    }

    async fn receive(&self, request: http::Request<Incoming>) -> Answer {
        let arrived = Instant::now();
        let path = request.uri().path().to_owned();
        let sender: u32 = request.headers()[SENDER].to_str().unwrap().parse().unwrap();
        let body = request.into_body().collect().await?.to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let object = &body["data"]["object"];
        let (id, number) = (object["id"].to_string(), object["number"].as_u64().unwrap());
        // Every seventh request fails at first.
        let fails = {
            let mut all = self.seen.lock().unwrap();
            let seen = all.entry(path.clone()).or_default();
            seen.arrivals.push(arrived);
            seen.senders.push(sender);
            seen.open += 1;
            seen.open_max = seen.open_max.max(seen.open);
            let known = seen.acknowledged.entry(id.clone()).or_default();
            let missing = (1..number).find(|earlier| !known.contains(earlier));
            let later = known.iter().max().filter(|later| **later > number);
            if path == "/ordered" && (missing.is_some() || later.is_some()) {
                seen.faults.push(format!(
                    "{number} of {id} came from {sender} while {missing:?} had not ended, \
                     or after {later:?}"
                ));
            }
            seen.arrivals.len().is_multiple_of(7)
        };
        self.changed.notify_all();
        tokio::time::sleep(Duration::from_millis(10)).await;
        {
            let mut all = self.seen.lock().unwrap();
            let seen = all.get_mut(&path).unwrap();
            seen.open -= 1;
            if !fails {
                let known = seen.acknowledged.entry(id).or_default();
                if !known.contains(&number) {
                    known.push(number);
                }
            }
        }
        self.changed.notify_all();
        let mut response = http::Response::new(Full::default());
        *response.status_mut() = if fails {
            http::StatusCode::INTERNAL_SERVER_ERROR
        } else {
            http::StatusCode::NO_CONTENT
        };
        Ok(response)
    }

    /// Waits until what came to `path` is as it must be.
    fn wait(&self, path: &str, patience: Duration, what: &str, is: impl Fn(&Seen) -> bool) {
        let end = Instant::now() + patience;
        let mut all = self.seen.lock().unwrap();
        while !all.get(path).is_some_and(&is) {
            assert!(
                Instant::now() < end,
                "{what} has not come to pass, {} of {} requests acknowledged",
                all.get(path).map_or(0, done),
                all.get(path).map_or(0, |seen| seen.arrivals.len())
            );
            all = self.changed.wait_timeout(all, Duration::from_secs(1)).unwrap().0;
        }
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<String, Seen>> {
        self.seen.lock().unwrap()
    }
}

fn done(seen: &Seen) -> usize {
    seen.acknowledged.values().map(Vec::len).sum()
}

/// A webhook of the receiver with these limits.
async fn create(tidings: &Tidings, receiver: SocketAddr, path: &str, types: &str, limits: Edit) {
    let address = format!("http://{receiver}{path}");
    let registration = Registration::new(&address, [types]).unwrap().enabled(true).with(limits);
    tidings.create(registration).await.unwrap();
}

/// Publishes numbered events, each object's in order.
async fn publish(tidings: &Tidings, event_type: &str, objects: u64, each: u64) {
    for number in 1..=each {
        let events: Vec<_> = (0..objects)
            .map(|object| {
                let object = json!({ "id": format!("o{object}"), "number": number });
                tidings.event(Change::of(event_type, &object).unwrap()).unwrap()
            })
            .collect();
        tidings.publish_all(&events).await.unwrap();
    }
}

/// A file of a test's own.
fn file() -> (String, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("tidings.db").to_str().unwrap().to_owned();
    (own, folder)
}

/// Four processes deliver 800 events about 20 objects to a receiver that fails now and then; the
/// one that sends is stopped with requests open until another one has taken over, and then wakes.
#[test]
fn a_stopped_holder_does_not_break_the_order() {
    let (store, _folder) = file();
    stop_the_holder(&store);
}

/// The same over PostgreSQL.
#[cfg(feature = "postgres")]
#[test]
#[ignore = "needs PostgreSQL: tests/run"]
fn a_stopped_holder_does_not_break_the_order_in_postgres() {
    let cluster = cluster::Cluster::start();
    stop_the_holder(&cluster.new_database());
}

fn stop_the_holder(store: &str) {
    let (receiver, address) = Receiver::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let tidings = handle(store).await;
        let ordered = Edit::new().ordering(Ordering::PerObject).concurrency(Some(8));
        create(&tidings, address, "/ordered", "order.*", ordered).await;
        publish(&tidings, "order.changed", 20, 40).await;
    });
    let fleet = Fleet::start(store);
    let minute = Duration::from_secs(60);
    receiver.wait("/ordered", minute, "the beginning", |seen| done(seen) >= 100 && seen.open > 2);
    let (holder, stopped) = loop {
        let holder = *receiver.seen()["/ordered"].senders.last().unwrap();
        fleet.signal(holder, "-STOP");
        let stopped = Instant::now();
        if is_writable(store) {
            break (holder, stopped);
        }
        // It was within a write. SQLite's lock has no time limit: whoever stops there stops all.
        fleet.signal(holder, "-CONT");
        let count = receiver.seen()["/ordered"].arrivals.len();
        receiver.wait("/ordered", minute, "more", |seen| seen.arrivals.len() > count);
    };
    receiver.wait("/ordered", minute + 2 * policy::TAKEOVER_WAIT, "a takeover", |seen| {
        seen.senders.last() != Some(&holder)
    });
    let waited = stopped.elapsed();
    fleet.signal(holder, "-CONT");
    receiver.wait("/ordered", 2 * minute, "the end", |seen| done(seen) == 800);
    // What the woken one still has in mind would come by now.
    receiver.wait("/ordered", minute, "silence", |seen| {
        seen.arrivals.last().is_some_and(|last| last.elapsed() > Duration::from_secs(2))
    });
    fleet.end();
    let all = receiver.seen();
    let seen = &all["/ordered"];
    println!(
        "{} requests, taken over {waited:?} after the stop, out of order: {}",
        seen.arrivals.len(),
        seen.faults.len()
    );
    assert!(waited >= policy::TAKEOVER_WAIT, "the takeover did not wait");
    assert!(seen.faults.is_empty(), "{:#?}", seen.faults);
    assert!(seen.open_max <= 8, "{} under way at once", seen.open_max);
}

/// Whether a file can be written to; a server gives up those who stop.
fn is_writable(store: &str) -> bool {
    if store.starts_with("postgres") {
        return true;
    }
    let own = rusqlite::Connection::open(store).unwrap();
    own.busy_timeout(Duration::from_secs(5)).unwrap();
    own.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok()
}

/// Four processes deliver 900 events to a webhook that takes 50 per second and a burst of 10, and
/// as many to one that takes three at once; each second of the whole time is looked at.
#[test]
fn limits_hold_over_several_processes_and_are_used() {
    let (store, _folder) = file();
    use_the_limits(&store);
}

/// The same over PostgreSQL.
#[cfg(feature = "postgres")]
#[test]
#[ignore = "needs PostgreSQL: tests/run"]
fn limits_hold_over_several_processes_and_are_used_in_postgres() {
    let cluster = cluster::Cluster::start();
    use_the_limits(&cluster.new_database());
}

fn use_the_limits(store: &str) {
    const RATE: usize = 50;
    const BURST: usize = 10;
    let (receiver, address) = Receiver::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let tidings = handle(store).await;
        let limit = RateLimit::new(RATE as u32).unwrap().with_burst(BURST as u32).unwrap();
        let rate = Edit::new().rate_limit(Some(limit));
        create(&tidings, address, "/rate", "order.*", rate).await;
        create(&tidings, address, "/few", "order.*", Edit::new().concurrency(Some(3))).await;
        publish(&tidings, "order.changed", 30, 30).await;
    });
    let fleet = Fleet::start(store);
    let minute = Duration::from_secs(60);
    receiver.wait("/rate", 2 * minute, "the end", |seen| done(seen) >= 850);
    receiver.wait("/few", 2 * minute, "the end", |seen| done(seen) == 900);
    let second = Duration::from_secs(1);
    {
        let mut all = receiver.seen();
        let arrivals = &mut all.get_mut("/rate").unwrap().arrivals;
        arrivals.sort_unstable();
        let window = |at: usize| {
            let from = arrivals[at];
            arrivals[at..].partition_point(|one| *one < from + second)
        };
        let most = (0..arrivals.len()).map(window).max().unwrap();
        let (first, last) = (arrivals[0], arrivals[arrivals.len() - 1]);
        let used = arrivals.len() as f64 / last.duration_since(first).as_secs_f64();
        let few = all["/few"].open_max;
        println!("at most {most} in a second, {used:.1} per second used, {few} at once");
        assert!(most <= RATE + BURST, "{most} in a second");
        assert!(used >= RATE as f64 * 0.9, "only {used:.1} per second");
        assert!((2..=3).contains(&few), "{few} under way at once");
    }
    receiver.wait("/rate", minute, "the very end", |seen| done(seen) == 900);
    fleet.end();
}
