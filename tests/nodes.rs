//! Several nodes over one storage: processes of their own, each with a dispatcher, and real requests
//! to a receiver that lives in the parent and counts.
#![cfg(all(unix, feature = "sqlite", feature = "hyper"))]

#[cfg(feature = "postgres")]
#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/place.rs"]
mod place;
#[path = "support/serve.rs"]
mod serve;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::json;
use tidings::transport::{
    HyperOptions, HyperTransport, Request, Response, Transport, TransportError,
};
use tidings::{
    Account, Change, DeliveryQuery, DispatcherOptions, Event, NetworkPolicy, PageRequest,
    Registration, StateKind, Tidings,
};

use serve::{Answer, serve};

const LEASE: Duration = Duration::from_secs(3);
const IN_FLIGHT: u32 = 64;
const ACCOUNTS: usize = 20;

fn env(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What came from one node.
#[derive(Debug, Default, Clone)]
struct Node {
    requests: usize,
    /// Requests that are received and not yet answered.
    open: usize,
}

#[derive(Debug, Default)]
struct Seen {
    /// Answers with 2xx for each event and webhook.
    acknowledged: HashMap<(String, String), u32>,
    /// Pairs whose request was open when its node was killed, and when each came again.
    orphans: HashMap<(String, String), Option<Instant>>,
    open: HashMap<(String, String), usize>,
    duplicates: usize,
    nodes: Vec<Node>,
    killed: Option<usize>,
}

#[derive(Debug, Default)]
struct Receiver {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Receiver {
    fn start(nodes: usize) -> (Arc<Self>, SocketAddr) {
        let seen = Seen { nodes: vec![Node::default(); nodes], ..Seen::default() };
        let receiver = Arc::new(Self { seen: Mutex::new(seen), changed: Condvar::new() });
        let serving = receiver.clone();
        let address = serve(move |request| {
            let serving = serving.clone();
            async move { serving.receive(request).await }
        });
        (receiver, address)
    }

    async fn receive(&self, request: http::Request<Incoming>) -> Answer {
        let text = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        let node: usize = text("x-node").parse().unwrap();
        let pair = (text("webhook-id"), request.uri().path().to_owned());
        request.into_body().collect().await?;
        {
            let mut seen = self.seen.lock().unwrap();
            seen.nodes[node].requests += 1;
            seen.nodes[node].open += 1;
            if seen.acknowledged.contains_key(&pair) {
                seen.duplicates += 1;
            }
            if let Some(again) = seen.orphans.get_mut(&pair) {
                again.get_or_insert_with(Instant::now);
            }
            seen.open.insert(pair.clone(), node);
        }
        // The work of a receiver.
        tokio::time::sleep(Duration::from_millis(5)).await;
        {
            let mut seen = self.seen.lock().unwrap();
            // Who was killed gets no answer.
            if seen.killed != Some(node) {
                seen.nodes[node].open -= 1;
                seen.open.remove(&pair);
                *seen.acknowledged.entry(pair).or_default() += 1;
            }
        }
        self.changed.notify_all();
        let mut response = http::Response::new(Full::default());
        *response.status_mut() = http::StatusCode::NO_CONTENT;
        Ok(response)
    }

    /// Waits until `count` deliveries are acknowledged.
    fn wait_for(&self, count: usize, patience: Duration) {
        let end = Instant::now() + patience;
        let mut seen = self.seen.lock().unwrap();
        while seen.acknowledged.len() < count {
            let known = seen.acknowledged.len();
            assert!(Instant::now() < end, "{known} of {count} deliveries came: {:?}", seen.nodes);
            seen = self.changed.wait_timeout(seen, Duration::from_secs(1)).unwrap().0;
        }
    }

    /// Kills a node while requests of it are open, and says when.
    fn kill(&self, node: usize, child: &mut Child) -> Instant {
        let end = Instant::now() + Duration::from_secs(60);
        let mut seen = self.seen.lock().unwrap();
        while seen.nodes[node].open < 4 {
            assert!(Instant::now() < end, "node {node} has nothing open");
            seen = self.changed.wait_timeout(seen, Duration::from_millis(10)).unwrap().0;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let open = seen.open.iter().filter(|(_, of)| **of == node);
        let orphans = open.map(|(pair, _)| (pair.clone(), None)).collect();
        (seen.killed, seen.orphans) = (Some(node), orphans);
        Instant::now()
    }
}

/// Says who sends.
#[derive(Debug)]
struct Named(HyperTransport, String);

#[async_trait]
impl Transport for Named {
    async fn send(&self, mut request: Request) -> Result<Response, TransportError> {
        request.http.headers_mut().insert("x-node", self.1.parse().unwrap());
        self.0.send(request).await
    }
}

/// Not a test by itself: a node, which delivers until its input ends.
#[test]
#[ignore = "needs a parent: runs inside the tests of several nodes"]
fn the_node() {
    let Ok(place) = std::env::var("TIDINGS_NODE_PLACE") else { return };
    let number = std::env::var("TIDINGS_NODE_NUMBER").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async move {
        let network = NetworkPolicy::public_only().allow_loopback();
        let storage = place::open(&place).await;
        let tidings = Tidings::builder_shared(storage).network(network.clone()).build();
        let transport = HyperTransport::new(HyperOptions::default().with_network(network)).unwrap();
        let options = DispatcherOptions::default().in_flight(IN_FLIGHT).lease(LEASE);
        let transport = Arc::new(Named(transport, number));
        let dispatcher = tidings.dispatcher_with(transport, options).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(dispatcher.run(async {
            let _ = stopped.await;
        }));
        println!("running");
        let ended = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
        ended.await.unwrap();
        stop.send(()).unwrap();
        running.await.unwrap();
    });
}

/// Every second node is the one of an older version, where `TIDINGS_OLD_NODES` names its program: this
/// test's, as it was built then. They begin first, with a schema of their own, which is then migrated
/// under them.
fn spawn_old(place: &str, nodes: usize) -> Vec<(usize, Child)> {
    let Some(program) = std::env::var_os("TIDINGS_OLD_NODES") else { return Vec::new() };
    let begin = |number| {
        let mut child = spawn(place, number, program.as_ref());
        // It says so when it has opened the storage.
        let said = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let running = said.map(Result::unwrap).any(|line| line.ends_with("running"));
        assert!(running, "the old node does not run");
        (number, child)
    };
    (0..nodes).filter(|number| number % 2 == 1).map(begin).collect()
}

fn spawn(place: &str, number: usize, program: &Path) -> Child {
    Command::new(program)
        .args(["--exact", "the_node", "--nocapture", "--include-ignored"])
        .env("TIDINGS_NODE_PLACE", place)
        .env("TIDINGS_NODE_NUMBER", number.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn account(number: usize) -> Account {
    Account::new(format!("account-{}", number % ACCOUNTS)).unwrap()
}

/// Makes webhooks in several accounts, each of which wants its own type.
async fn register(tidings: &Tidings, receiver: SocketAddr, webhooks: usize) {
    for number in 0..webhooks {
        let address = format!("http://{receiver}/hook/{number}");
        let wanted = format!("order.kind{}", number / ACCOUNTS);
        let registration = Registration::new(&address, [wanted]).unwrap().enabled(true);
        tidings.create(registration.account(account(number))).await.unwrap();
    }
}

/// Publishes events, each of which one webhook wants.
async fn publish(tidings: &Tidings, webhooks: usize, count: usize) {
    let numbers: Vec<usize> = (0..count).collect();
    for batch in numbers.chunks(500) {
        let events: Vec<Event> = batch
            .iter()
            .map(|number| {
                let object = json!({ "id": number.to_string(), "state": "accepted" });
                let to = number % webhooks;
                let change = Change::of(&format!("order.kind{}", to / ACCOUNTS), &object).unwrap();
                tidings.event(change.account(account(to))).unwrap()
            })
            .collect();
        tidings.publish_all(&events).await.unwrap();
    }
}

/// Runs `nodes` processes over the storage at `place`, delivers `count` events to `webhooks` webhooks,
/// then as many again while one node is killed.
fn share_the_work(place: &str, nodes: usize, webhooks: usize, count: usize) {
    let (receiver, address) = Receiver::start(nodes);
    let mut old = spawn_old(place, nodes).into_iter().collect::<HashMap<_, _>>();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let network = NetworkPolicy::public_only().allow_loopback();
    let storage = runtime.block_on(place::open(place));
    let tidings = Tidings::builder_shared(storage).network(network).build();
    let own = std::env::current_exe().unwrap();
    let begin = |number| old.remove(&number).unwrap_or_else(|| spawn(place, number, &own));
    let mut children: Vec<Child> = (0..nodes).map(begin).collect();
    let begun = Instant::now();
    runtime.block_on(async {
        register(&tidings, address, webhooks).await;
        publish(&tidings, webhooks, count).await;
    });
    receiver.wait_for(count, Duration::from_secs(240));
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    let by: Vec<usize> =
        receiver.seen.lock().unwrap().nodes.iter().map(|node| node.requests).collect();
    println!("{nodes} nodes: {count} deliveries, {rate:.0} per s, by node {by:?}");
    assert!(by.iter().all(|part| part * 10 * nodes >= count * 4), "work is shared: {by:?}");
    assert_eq!(by.iter().sum::<usize>(), count, "no delivery is sent twice without a fault");

    // The other half, with a death in the middle.
    let publishing = runtime.spawn({
        let tidings = tidings.clone();
        async move { publish(&tidings, webhooks, count).await }
    });
    receiver.wait_for(count + count / 4, Duration::from_secs(240));
    let killed_at = receiver.kill(0, &mut children[0]);
    runtime.block_on(publishing).unwrap();
    receiver.wait_for(count * 2, Duration::from_secs(240));
    let (duplicates, orphans, late) = {
        let seen = receiver.seen.lock().unwrap();
        let late = seen.orphans.values().map(|again| {
            again.expect("an orphan comes again").saturating_duration_since(killed_at)
        });
        (seen.duplicates, seen.orphans.len(), late.max().unwrap_or_default())
    };
    println!(
        "{orphans} open at the kill, all again after at most {late:?}, {duplicates} duplicates"
    );
    assert!(duplicates <= IN_FLIGHT as usize, "{duplicates} duplicates, {IN_FLIGHT} in flight");
    // Within the lease and a second; these machines are shared.
    assert!(late < (LEASE + Duration::from_secs(1)) * 5, "taken over after {late:?}");
    for child in &mut children[1..] {
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
    runtime.block_on(async {
        let states = vec![StateKind::Waiting, StateKind::Leased, StateKind::Exhausted];
        let query = DeliveryQuery { states, ..DeliveryQuery::default() };
        let page = tidings.deliveries(&query, &PageRequest::default()).await.unwrap();
        assert!(page.items.is_empty(), "{:?}", page.items);
    });
}

/// Four processes on one PostgreSQL deliver 100,000 events to 200 webhooks: none is lost, none twice,
/// each has its part; then one is killed in the middle of more.
#[cfg(feature = "postgres")]
#[test]
#[ignore = "needs PostgreSQL: tests/run"]
fn four_nodes_share_a_postgres() {
    let cluster = cluster::Cluster::start();
    let count = env("TIDINGS_NODES_EVENTS", 100_000);
    share_the_work(&cluster.new_database(), 4, 200, count);
}

/// Two processes on one SQLite file: the same, with fewer events.
#[test]
fn two_nodes_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidings.db");
    let count = env("TIDINGS_NODES_EVENTS", 20_000);
    share_the_work(path.to_str().unwrap(), 2, 200, count);
}
