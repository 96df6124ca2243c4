//! A thousand webhooks of many accounts that point at one victim, through the whole engine.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tidings::storage::MemoryStorage;
use tidings::transport::{HyperOptions, HyperTransport};
use tidings::{
    Account, Attempt, Change, DispatcherOptions, NetworkPolicy, Notice, Observer, Policy,
    Registration, Schedule, Tidings,
};
use tokio::sync::mpsc;

use crate::receiver::{Answers, Peer, Receiver, options};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const ACCOUNTS: usize = 50;
/// How often a connection may be counted: its end is seen a moment later than the beginning of the one in
/// its place. Without a cap there would be hundreds.
const SEEN_TWICE: usize = 2;

/// What a victim saw.
#[derive(Debug, Default)]
struct Seen {
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    connections: AtomicUsize,
    most_connections: AtomicUsize,
    at: Mutex<Vec<Instant>>,
    hangs: AtomicBool,
}

/// A connection, from its acceptance until the victim sees that it ended.
struct Open(Arc<Seen>);

impl Open {
    fn count(seen: &Arc<Seen>) -> Self {
        let now = seen.connections.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_connections.fetch_max(now, Ordering::SeqCst);
        Self(seen.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A victim at some ports of one address, that takes its time for each answer.
async fn victim(ports: usize, time: Duration) -> (Vec<Receiver>, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let mut receivers = Vec::new();
    for _ in 0..ports {
        let all = Arc::clone(&seen);
        let receiver = Receiver::at("127.0.0.2:0", move |mut peer: Peer| {
            let seen = Arc::clone(&all);
            async move {
                let _open = Open::count(&seen);
                while peer.request().await.is_some() {
                    seen.at.lock().unwrap().push(Instant::now());
                    let now = seen.under_way.fetch_add(1, Ordering::SeqCst) + 1;
                    seen.most_under_way.fetch_max(now, Ordering::SeqCst);
                    if seen.hangs.load(Ordering::SeqCst) {
                        peer.closed().await;
                    }
                    tokio::time::sleep(time).await;
                    seen.under_way.fetch_sub(1, Ordering::SeqCst);
                    if !peer.write(OK).await {
                        return;
                    }
                }
            }
        })
        .await;
        receivers.push(receiver);
    }
    (receivers, seen)
}

#[derive(Debug)]
struct Hears(mpsc::UnboundedSender<(bool, Attempt)>);

impl Observer for Hears {
    fn notice(&self, notice: &Notice) {
        if let Notice::Settled { event, attempt, .. } = notice {
            let good = event.account().as_str() == "good";
            let _ = self.0.send((good, attempt.clone()));
        }
    }
}

struct Stage {
    tidings: Tidings,
    heard: mpsc::UnboundedReceiver<(bool, Attempt)>,
    stop: tokio::sync::oneshot::Sender<()>,
    running: tokio::task::JoinHandle<()>,
    good: Receiver,
    victims: Vec<Receiver>,
    seen: Arc<Seen>,
}

fn network() -> NetworkPolicy {
    NetworkPolicy::public_only().allow_loopback()
}

async fn publish(tidings: &Tidings, account: &Account, number: usize) {
    let object = json!({ "id": number.to_string() });
    let change = Change::of("thing.made", &object).unwrap().account(account.clone());
    tidings.publish(&tidings.event(change).unwrap()).await.unwrap();
}

impl Stage {
    /// So many webhooks at one victim, under its name with several ports and under names of their
    /// own, and one webhook of somebody else's.
    async fn set(webhooks: usize, time: Duration, options: HyperOptions) -> Self {
        let (victims, seen) = victim(3, time).await;
        let good = Receiver::answering(OK).await;
        let (hears, heard) = mpsc::unbounded_channel();
        let second = Duration::from_secs(1);
        let policy = Policy::default()
            .with_timeout(2 * second)
            .with_pause(second, second)
            .with_schedule(tidings::Mode::Live, Schedule::new([second; 60]).unwrap());
        let tidings = Tidings::builder(MemoryStorage::new())
            .network(network())
            .policy(policy)
            .observer(Hears(hears))
            .build();
        let register = async |url: &str, account: &str| {
            let registration = Registration::new(url, ["thing.made"]).unwrap();
            let account = Account::new(account).unwrap();
            tidings.create(registration.account(account).enabled(true)).await.unwrap();
        };
        for number in 0..webhooks {
            let port = victims[number % victims.len()].address.port();
            let account = format!("account{}", number % ACCOUNTS);
            let name = match number % 2 {
                0 => "victim.example".to_owned(),
                _ => format!("name{number}.example"),
            };
            register(&format!("http://{name}:{port}/{number}"), &account).await;
        }
        register(&format!("http://good.example:{}/", good.address.port()), "good").await;
        let resolver = Answers(|name: &str| {
            Ok(vec![IpAddr::from([127, 0, 0, if name == "good.example" { 1 } else { 2 }])])
        });
        let transport = HyperTransport::new(options.with_resolver(resolver)).unwrap();
        let options = DispatcherOptions::default().grace(Duration::from_millis(100));
        let dispatcher = tidings.dispatcher_with(Arc::new(transport), options).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let running = tokio::spawn(dispatcher.run(async {
            let _ = stopped.await;
        }));
        Self { tidings, heard, stop, running, good, victims, seen }
    }

    async fn publish_to_victim(&self) {
        for number in 0..ACCOUNTS {
            let account = Account::new(format!("account{number}")).unwrap();
            publish(&self.tidings, &account, number).await;
        }
    }

    /// The next attempt at the victim, or at the good one.
    async fn next(&mut self) -> (bool, Attempt) {
        let ceiling = Duration::from_secs(100);
        tokio::time::timeout(ceiling, self.heard.recv()).await.expect("in time").unwrap()
    }

    async fn end(self) {
        let _ = self.stop.send(());
        self.running.await.unwrap();
    }
}

/// Publishes to a thousand webhooks at one victim with eight places, and to somebody else meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_webhooks_at_one_victim_never_exceed_its_places() {
    let time = Duration::from_millis(10);
    let mut stage = Stage::set(1_000, time, options().with_connections_per_host(8)).await;
    stage.publish_to_victim().await;
    let good = Account::new("good").unwrap();
    for number in 0..50 {
        publish(&stage.tidings, &good, number).await;
    }
    let (mut at_victim, mut elsewhere, mut most) = (0, 0, 0);
    while at_victim < 1_000 || elsewhere < 50 {
        let (good, attempt) = stage.next().await;
        assert!(attempt.outcome.is_success(), "{:?}: {:?}", attempt.outcome, attempt.error);
        most = most.max(attempt.number);
        *if good { &mut elsewhere } else { &mut at_victim } += 1;
    }
    assert_eq!(stage.seen.at.lock().unwrap().len(), 1_000, "each once");
    assert!(most > 1, "nobody was crowded out");
    let connections = stage.seen.most_connections.load(Ordering::SeqCst);
    assert!((1..=8 * SEEN_TWICE).contains(&connections), "{connections} connections");
    assert!(stage.seen.most_under_way.load(Ordering::SeqCst) <= 8);
    assert!(stage.victims.iter().all(|port| port.connections() > 0));
    stage.end().await;
}

/// Publishes to 300 webhooks at one victim that may get 50 requests in a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_at_one_victim_never_exceed_its_rate() {
    const RATE: usize = 50;
    let options = options().with_requests_per_second(RATE as u32);
    let mut stage = Stage::set(300, Duration::ZERO, options).await;
    stage.publish_to_victim().await;
    for _ in 0..300 {
        let (_, attempt) = stage.next().await;
        assert!(attempt.outcome.is_success(), "{:?}: {:?}", attempt.outcome, attempt.error);
    }
    let at = std::mem::take(&mut *stage.seen.at.lock().unwrap());
    assert_eq!(at.len(), 300, "each once");
    // On the way a request takes longer than another: a tenth more.
    for (from, first) in at.iter().enumerate() {
        let end = *first + Duration::from_secs(1);
        let count = at[from..].iter().filter(|one| **one < end).count();
        assert!(count <= 2 * RATE + RATE / 10, "{count} in a second");
    }
    stage.end().await;
}

/// Publishes to a thousand webhooks at a victim that hangs, and then to somebody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_victim_that_hangs_stalls_nobody_else() {
    let mut stage = Stage::set(1_000, Duration::ZERO, options()).await;
    stage.seen.hangs.store(true, Ordering::SeqCst);
    stage.publish_to_victim().await;
    // Until all that it may have hangs there.
    let begun = Instant::now();
    while stage.seen.under_way.load(Ordering::SeqCst) < 64 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not full");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let good = Account::new("good").unwrap();
    let begun = Instant::now();
    for number in 0..100 {
        publish(&stage.tidings, &good, number).await;
        while !stage.next().await.0 {}
    }
    // One after the other, and each of them at once: not one waits for a deadline of the victim's.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(stage.good.connections() > 0);
    assert!(stage.seen.most_connections.load(Ordering::SeqCst) <= 64 * SEEN_TWICE);
    stage.end().await;
}
