//! A hundred hostile receivers beside a hundred good ones, through the whole engine.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tidings::storage::MemoryStorage;
use tidings::transport::HyperTransport;
use tidings::{
    Account, Change, DispatcherOptions, NetworkPolicy, Notice, Observer, Policy, Registration,
    Tidings, WebhookId,
};
use tokio::sync::Semaphore;

use crate::behaviour::{Behaviour, plain};
use crate::receiver::Receiver;
use crate::secure::{NAME, http2, root, tls, trusting_in};

/// The shortest that there is.
pub(crate) const DEADLINE: Duration = Duration::from_secs(1);
const EACH: usize = 100;
/// Events for the good ones that are published and not yet delivered, at most.
const OUTSTANDING: usize = 200;

/// What came of it.
#[derive(Debug)]
pub(crate) struct Figures {
    /// Deliveries to good receivers in a second, without the hostile ones.
    pub(crate) alone: f64,
    /// The same beside them.
    pub(crate) beside: f64,
    /// By how much resident memory grew at most, beside them, KiB, without the record of what was delivered.
    pub(crate) grown: u64,
    /// The longest that an attempt took beyond its deadline.
    pub(crate) overrun: Duration,
    /// Attempts at hostile receivers.
    pub(crate) attempts: usize,
    /// How many kinds of them were met.
    pub(crate) kinds: usize,
    /// Attempts that were recorded as something else than they were.
    pub(crate) wrong: Vec<String>,
}

/// KiB of resident memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

#[derive(Debug, Default)]
struct Heard {
    expected: Mutex<HashMap<WebhookId, &'static str>>,
    attempts: AtomicUsize,
    overrun: AtomicU64,
    met: Mutex<HashMap<&'static str, usize>>,
    wrong: Mutex<Vec<String>>,
    delivered: AtomicUsize,
}

struct Hears {
    heard: Arc<Heard>,
    behaviours: HashMap<&'static str, Behaviour>,
    room: Arc<Semaphore>,
}

impl std::fmt::Debug for Hears {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hears")
    }
}

impl Observer for Hears {
    fn notice(&self, notice: &Notice) {
        let Notice::Settled { webhook, attempt, .. } = notice else { return };
        if attempt.outcome == tidings::Outcome::Interrupted {
            // The end of the run cut it off.
            return;
        }
        let heard = &self.heard;
        let over = attempt.latency.saturating_sub(DEADLINE);
        heard.overrun.fetch_max(over.as_micros() as u64, Ordering::Relaxed);
        let name = heard.expected.lock().unwrap().get(&webhook.id()).copied();
        let Some(name) = name else {
            if attempt.outcome.is_success() {
                heard.delivered.fetch_add(1, Ordering::Relaxed);
                self.room.add_permits(1);
            } else {
                let text = format!("a good one: {:?}", attempt.error);
                heard.wrong.lock().unwrap().push(text);
            }
            return;
        };
        heard.attempts.fetch_add(1, Ordering::Relaxed);
        *heard.met.lock().unwrap().entry(name).or_default() += 1;
        // Where the machine is busy, a deadline may come before what would have been seen.
        let late = attempt.latency >= DEADLINE;
        // Where the reset comes before the answer was read, the system may throw the answer away.
        let cut = attempt.error.as_ref().is_some_and(|text| text.contains("reset by peer"));
        if !late
            && !cut
            && !self.behaviours[name].expect.allows(&attempt.outcome, attempt.truncated)
        {
            let text = format!("{name}: {:?} {:?}", attempt.outcome, attempt.error);
            heard.wrong.lock().unwrap().push(text);
        }
    }
}

struct World {
    tidings: Tidings,
    heard: Arc<Heard>,
    room: Arc<Semaphore>,
}

impl World {
    async fn publish(&self, kind: &str, number: usize) {
        let object = json!({ "id": number.to_string(), "note": "x".repeat(200) });
        let change = Change::of(kind, &object).unwrap().account(Account::default());
        self.tidings.publish(&self.tidings.event(change).unwrap()).await.unwrap();
    }

    /// Publishes to the good ones for so long, and says how many got it in a second.
    async fn serve(&self, time: Duration) -> f64 {
        let (begun, before) = (Instant::now(), self.heard.delivered.load(Ordering::Relaxed));
        let mut number = 0;
        while begun.elapsed() < time {
            self.room.acquire().await.unwrap().forget();
            self.publish(&format!("good.kind{}", number % EACH), number).await;
            number += 1;
        }
        let delivered = self.heard.delivered.load(Ordering::Relaxed) - before;
        delivered as f64 / begun.elapsed().as_secs_f64()
    }

    async fn create(&self, url: &str, kind: &str) -> WebhookId {
        let registration = Registration::new(url, [kind]).unwrap().enabled(true);
        self.tidings.create(registration).await.unwrap().webhook.id()
    }
}

/// Which receivers are hostile, and whether they speak TLS.
fn hostile() -> Vec<(bool, Behaviour)> {
    let secure = tls().into_iter().chain(http2()).map(|behaviour| (true, behaviour));
    plain().into_iter().map(|behaviour| (false, behaviour)).chain(secure).collect()
}

/// Starts the hostile receivers and says where they are, until nobody listens any more.
pub(crate) async fn serve() {
    let mut receivers = Vec::new();
    let root: String = root().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("\nroot {root}");
    let kinds = hostile();
    for (_, behaviour) in kinds.iter().cycle().take(EACH.max(kinds.len())) {
        let receiver = behaviour.start().await;
        println!("hostile {} {}", receiver.address.port(), behaviour.name);
        receivers.push(receiver);
    }
    println!("all");
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    let _ = ended.await;
}

/// The hostile receivers in a process of their own, behind all others: they are strangers' machines, which
/// take no time of ours.
struct Strangers {
    child: std::process::Child,
    root: Vec<u8>,
    /// The port and the kind of each.
    all: Vec<(u16, String)>,
}

impl Strangers {
    fn start() -> Self {
        use std::io::BufRead;
        use std::process::{Command, Stdio};
        let mut child = Command::new("nice")
            .args(["-n", "19"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "together::the_hostile_ones", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut root, mut all) = (Vec::new(), Vec::new());
        let output = std::io::BufReader::new(child.stdout.take().unwrap());
        for line in output.lines().map(|line| line.unwrap()) {
            let words: Vec<&str> = line.splitn(3, ' ').collect();
            match words[..] {
                ["root", hex] => {
                    let digits = hex.as_bytes().chunks(2);
                    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
                    root = digits.map(|pair| byte(pair).unwrap()).collect();
                }
                ["hostile", port, name] => all.push((port.parse().unwrap(), name.to_owned())),
                ["all"] => break,
                _ => {}
            }
        }
        Self { child, root, all }
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the good ones alone for so long, and then beside the hostile ones for as long.
pub(crate) async fn run(time: Duration) -> Figures {
    let kinds = hostile();
    let strangers = Strangers::start();
    let names = kinds.iter().map(|(_, behaviour)| (behaviour.name, behaviour.clone()));
    let (heard, room) = (Arc::new(Heard::default()), Arc::new(Semaphore::new(OUTSTANDING)));
    let hears = Hears { heard: heard.clone(), behaviours: names.collect(), room: room.clone() };
    let policy = Policy::default().with_timeout(DEADLINE).with_pause(DEADLINE, DEADLINE);
    let network = NetworkPolicy::public_only().allow_loopback();
    let tidings = Tidings::builder(MemoryStorage::new())
        .network(network)
        .policy(policy)
        .observer(hears)
        .build();
    let world = World { tidings, heard, room };
    let options = trusting_in(strangers.root.clone()).with_connect_timeout(DEADLINE);
    let transport = HyperTransport::new(options).unwrap();
    let options = DispatcherOptions::default().grace(60 * DEADLINE);
    let dispatcher = world.tidings.dispatcher_with(Arc::new(transport), options).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(dispatcher.run(async {
        let _ = stopped.await;
    }));
    let mut receivers = Vec::new();
    for number in 0..EACH {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        // Addresses of their own, so that no cap of the transport's counts here.
        let at = format!("127.0.1.{}:0", number + 1);
        let good = Receiver::at(&at, move |mut peer| async move {
            while peer.request().await.is_some() && peer.write(answer.as_bytes()).await {}
        })
        .await;
        world.create(&good.url(), &format!("good.kind{number}")).await;
        receivers.push(good);
    }
    world.serve(time / 4).await;
    let first = resident();
    let alone = world.serve(time).await;
    // The storage in memory keeps what was delivered: so much for each per second.
    let kept = resident().saturating_sub(first) as f64 / alone;
    for (port, name) in &strangers.all {
        let (secure, behaviour) =
            kinds.iter().find(|(_, behaviour)| behaviour.name == name).unwrap();
        let url = match secure {
            true => format!("https://{NAME}:{port}/hook"),
            false => format!("http://127.0.0.1:{port}/hook"),
        };
        let id = world.create(&url, "bad.made").await;
        world.heard.expected.lock().unwrap().insert(id, behaviour.name);
    }
    let before = resident();
    let publishing = async {
        for number in 0.. {
            world.publish("bad.made", number).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut most = before;
    let watching = async {
        loop {
            most = most.max(resident());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let beside = tokio::select! {
        beside = world.serve(time) => beside,
        () = publishing => unreachable!("it goes on"),
        () = watching => unreachable!("it goes on"),
    };
    // The end waits for what is under way.
    let _ = stop.send(());
    running.await.unwrap();
    let heard = &world.heard;
    Figures {
        alone,
        beside,
        grown: (most - before).saturating_sub((kept * beside) as u64),
        overrun: Duration::from_micros(heard.overrun.load(Ordering::Relaxed)),
        attempts: heard.attempts.load(Ordering::Relaxed),
        kinds: heard.met.lock().unwrap().len(),
        wrong: std::mem::take(&mut *heard.wrong.lock().unwrap()),
    }
}
