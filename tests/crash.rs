//! Kill tests: a child process publishes and delivers; it is killed with SIGKILL in the middle of
//! things, again and again. The receiver lives in the parent and counts.
#![cfg(all(unix, feature = "sqlite", feature = "hyper"))]

#[cfg(feature = "postgres")]
#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/place.rs"]
mod place;
#[path = "support/serve.rs"]
mod serve;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::json;
use tidings::transport::{HyperOptions, HyperTransport};
use tidings::{
    Change, DeliveryQuery, DispatcherOptions, Event, EventId, Mode, NetworkPolicy, PageRequest,
    Policy, Registration, Schedule, StateKind, Tidings, Timestamp,
};

use serve::{Answer, serve};

/// Requests that must be open when the child is killed.
const OPEN_MIN: usize = 8;
/// Permits of the child's dispatcher.
const IN_FLIGHT: u32 = 64;

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The event with this number: the same in every process.
fn event(number: u64) -> Event {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    let id = EventId::new(Timestamp::UNIX_EPOCH, &random);
    let object = json!({ "id": number.to_string(), "state": "accepted", "total": 29.90 });
    Change::of("order.accepted", &object).unwrap().into_event(id, Timestamp::UNIX_EPOCH).unwrap()
}

/// What the receiver saw.
#[derive(Debug, Default)]
struct Seen {
    /// Answers with 2xx for each event.
    acknowledged: HashMap<String, u32>,
    /// Requests that came for an event that had been acknowledged.
    duplicates: u64,
    /// Requests that were received and are not yet answered.
    open: usize,
    /// Counts the kills: what was open at one will never be answered.
    generation: u64,
    requests: u64,
    /// Events that are waited for at the end.
    missing: HashSet<String>,
}

#[derive(Debug, Default)]
struct Receiver {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Receiver {
    /// Serves on a thread of its own; every request takes some milliseconds.
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
        let id = request.headers()["webhook-id"].to_str().unwrap().to_owned();
        request.into_body().collect().await?;
        let (generation, number) = {
            let mut seen = self.seen.lock().unwrap();
            seen.requests += 1;
            seen.open += 1;
            if seen.acknowledged.contains_key(&id) {
                seen.duplicates += 1;
            }
            (seen.generation, seen.requests)
        };
        self.changed.notify_all();
        tokio::time::sleep(Duration::from_millis(5 + number % 20)).await;
        {
            let mut seen = self.seen.lock().unwrap();
            if seen.generation == generation {
                seen.open -= 1;
                seen.missing.remove(&id);
                *seen.acknowledged.entry(id).or_default() += 1;
            }
        }
        self.changed.notify_all();
        let mut response = http::Response::new(Full::default());
        *response.status_mut() = http::StatusCode::NO_CONTENT;
        Ok(response)
    }

    /// Waits until enough requests are open, and kills the child while they are; says how many.
    fn kill(&self, child: &mut Child) -> usize {
        let mut seen = self.seen.lock().unwrap();
        let patience = Instant::now() + Duration::from_secs(60);
        while seen.open < OPEN_MIN {
            assert!(Instant::now() < patience, "only {} requests are open", seen.open);
            seen = self.changed.wait_timeout(seen, Duration::from_secs(1)).unwrap().0;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let open = std::mem::take(&mut seen.open);
        seen.generation += 1;
        open
    }
}

/// A child that publishes events from `first` on until it is killed, or with `first` = `None`
/// only delivers until its input ends.
fn spawn(place: &str, receiver: SocketAddr, first: Option<u64>) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child", "--nocapture", "--include-ignored"])
        .env("TIDINGS_CRASH_PLACE", place)
        .env("TIDINGS_CRASH_RECEIVER", receiver.to_string())
        .env("TIDINGS_CRASH_FIRST", first.map_or(String::new(), |first| first.to_string()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a test by itself: the process that is killed.
#[test]
#[ignore = "needs a parent: runs inside the kill test"]
fn the_child() {
    let Ok(place) = std::env::var("TIDINGS_CRASH_PLACE") else {
        return;
    };
    let receiver = std::env::var("TIDINGS_CRASH_RECEIVER").unwrap();
    let first: Option<u64> = std::env::var("TIDINGS_CRASH_FIRST").unwrap().parse().ok();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async move {
        let network = NetworkPolicy::public_only().allow_loopback();
        let storage = place::open(&place).await;
        // One that several kills interrupted follows the schedule: soon, for a test.
        let schedule = Schedule::new([Duration::from_millis(100); 20]).unwrap();
        let policy = Policy::default().with_schedule(Mode::Live, schedule);
        let tidings =
            Tidings::builder_shared(storage).network(network.clone()).policy(policy).build();
        let wanted = tidings.webhooks(&Default::default(), &PageRequest::default()).await.unwrap();
        if wanted.items.is_empty() {
            let address = format!("http://{receiver}/hook");
            let registration = Registration::new(&address, ["order.*"]).unwrap().enabled(true);
            tidings.create(registration).await.unwrap();
        }
        let transport = HyperTransport::new(HyperOptions::default().with_network(network)).unwrap();
        let options = DispatcherOptions::default()
            .in_flight(IN_FLIGHT)
            .in_flight_per_webhook(IN_FLIGHT)
            .lease(Duration::from_secs(3));
        let dispatcher = tidings.dispatcher_with(Arc::new(transport), options).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(dispatcher.run(async {
            let _ = stopped.await;
        }));
        if let Some(first) = first {
            // Sixteen callers, each with numbers of its own; each line is an acknowledged publish.
            for caller in 0..16 {
                let tidings = tidings.clone();
                tokio::spawn(async move {
                    for number in (first + caller..).step_by(16) {
                        tidings.publish(&event(number)).await.unwrap();
                        let mut out = std::io::stdout().lock();
                        writeln!(out, "acknowledged {number}").unwrap();
                        out.flush().unwrap();
                    }
                });
            }
            std::future::pending::<()>().await;
        }
        let ended = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
        ended.await.unwrap();
        stop.send(()).unwrap();
        running.await.unwrap();
    });
}

/// Kills a child 100 times (`TIDINGS_KILLS`), each with at least 8 requests open, while it publishes
/// and delivers; then lets one finish. Every acknowledged publish was delivered, and no more
/// requests were repeated after a 2xx than were open at the kills.
#[test]
fn killed_at_any_moment_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidings.db");
    kill_again_and_again(path.to_str().unwrap());
    let check = rusqlite::Connection::open(&path).unwrap();
    let answer: String = check.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(answer, "ok");
}

/// The same over PostgreSQL.
#[cfg(feature = "postgres")]
#[test]
#[ignore = "needs PostgreSQL: tests/run"]
fn killed_at_any_moment_nothing_is_lost_in_postgres() {
    let cluster = cluster::Cluster::start();
    kill_again_and_again(&cluster.new_database());
}

fn kill_again_and_again(place: &str) {
    let kills = env("TIDINGS_KILLS", 100);
    let (receiver, address) = Receiver::start();
    let mut acknowledged: Vec<u64> = Vec::new();
    let mut first = 0;
    let mut open = 0;
    for kill in 0..kills {
        let mut child = spawn(place, address, Some(first));
        let stdout = child.stdout.take().unwrap();
        let (send, lines) = std::sync::mpsc::channel();
        let reading = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                // A line that the kill cut short is no acknowledgement.
                if let Some(number) = line.strip_prefix("acknowledged ")
                    && let Ok(number) = number.parse::<u64>()
                {
                    let _ = send.send(number);
                }
            }
        });
        // At least 1,000 acknowledged, and a little more, different each time.
        let wanted = 1_000 + kill * 37 % 400;
        let mut count = 0;
        while count < wanted {
            let number = lines.recv_timeout(Duration::from_secs(60)).expect("the child publishes");
            acknowledged.push(number);
            count += 1;
        }
        open += receiver.kill(&mut child);
        reading.join().unwrap();
        acknowledged.extend(lines.try_iter());
        first = acknowledged.iter().max().unwrap() + 1;
        // Numbers whose answer the kill swallowed are published again by the next child.
        first -= first % 16;
    }
    let mut child = spawn(place, address, None);
    // Longer than a lane waits for a probe that was killed.
    let patience = Instant::now() + 3 * tidings::policy::PROBE_WAIT;
    {
        let mut seen = receiver.seen.lock().unwrap();
        let ids = acknowledged.iter().map(|number| event(*number).id().to_string());
        seen.missing = ids.filter(|id| !seen.acknowledged.contains_key(id)).collect();
        while !seen.missing.is_empty() {
            let missing = seen.missing.len();
            assert!(Instant::now() < patience, "{missing} acknowledged events are lost");
            seen = receiver.changed.wait_timeout(seen, Duration::from_secs(1)).unwrap().0;
        }
    }
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let seen = receiver.seen.lock().unwrap();
    println!(
        "{kills} kills, {} events acknowledged, {} requests, {} open at the kills, {} duplicates, \
         lost 0",
        acknowledged.len(),
        seen.requests,
        open,
        seen.duplicates
    );
    assert!(acknowledged.len() as u64 >= kills * 1_000);
    assert!(
        seen.duplicates <= open as u64,
        "{} duplicates after a 2xx, {open} requests were open",
        seen.duplicates
    );
    assert_nothing_is_left(place);
}

/// No delivery waits or is leased after the last child's end.
fn assert_nothing_is_left(place: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let storage = place::open(place).await;
        let query = DeliveryQuery {
            states: vec![StateKind::Leased, StateKind::Exhausted, StateKind::Expired],
            ..DeliveryQuery::default()
        };
        let page = storage.deliveries(&query, &PageRequest::default()).await.unwrap();
        assert!(page.items.is_empty(), "{:?}", page.items);
    });
}
