//! One world: its clock, its people, its dispatchers; what happens in it, and what must be true at
//! the end.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;
use std::time::Duration;

use tidings::statistics::Hour;
use tidings::storage::{Counted, Statistics, Storage};
use tidings::{
    Clock, DeliveryQuery, DeliveryView, DispatcherOptions, Entropy, PageRequest, ReplayQuery,
    Result, StatisticsQuery, Tidings, Timestamp, WebhookQuery,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::end::Listed;
use super::faults::{Fault, Fired, Odds};
use super::host::Host;
use super::model::Model;
use super::receiver::{SimTransport, Temper};
use super::rng::Rng;
use super::rules::Rules;
use super::store::{Shared, SimStore};

const DAY: Duration = Duration::from_secs(86_400);
/// Places where dispatchers run.
const NODES: u64 = 2;

/// The virtual clock, for everyone in the world.
#[derive(Debug, Clone, Copy)]
pub struct SimClock {
    start: Instant,
    base: Timestamp,
}

impl SimClock {
    fn new() -> Self {
        let base = Timestamp::from_timestamp(1_767_225_600, 0).unwrap();
        Self { start: Instant::now(), base }
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        tidings::time::after(self.base, self.elapsed())
    }
}

/// Random bytes that are the same in every run of the seed.
#[derive(Debug)]
struct SimEntropy(AtomicU64);

impl Entropy for SimEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<()> {
        for chunk in bytes.chunks_mut(8) {
            let mut rng = Rng::new(self.0.fetch_add(1, Ordering::Relaxed));
            chunk.copy_from_slice(&rng.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// How large a world is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub events: u64,
    pub days: u64,
    /// Whether the storage works in threads of its own.
    pub threads: bool,
}

/// What happened in a world.
#[derive(Debug)]
pub struct Report {
    pub events: usize,
    pub deliveries: usize,
    pub leases: u64,
    pub lost: u64,
    /// Deliveries that may be sent again after a 2xx, because their sender lost them.
    pub exposed: u64,
    pub disabled: u64,
    pub digest: u64,
    pub fired: Fired,
}

/// Lives through one world; `Err` is the first broken promise.
pub fn run<F, Fut>(seed: u64, size: Size, make: F) -> Result<Report, String>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Arc<dyn Storage>>,
{
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(world(seed, size, make))
}

async fn world<F, Fut>(seed: u64, size: Size, make: F) -> Result<Report, String>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Arc<dyn Storage>>,
{
    let mut rng = Rng::new(seed);
    let rules = Rules::draw(&mut rng);
    let policy = rules.policy();
    let in_flight = 2 + rng.below(30) as u32;
    let each = 1 + rng.below(8) as u32;
    let lease = rng.time(Duration::from_secs(3_600), Duration::from_secs(6 * 3_600));
    let grace = rng.below(2);
    let odds = Odds::draw(&mut rng, lease, size.days);
    let options = DispatcherOptions::default()
        .in_flight(in_flight)
        .in_flight_per_webhook(each)
        .lease(lease)
        .poll(rng.time(Duration::from_secs(1_800), Duration::from_secs(4 * 3_600)))
        .grace(rng.time(Duration::ZERO, Duration::from_secs(30 * grace)))
        .sweep_every(Some(Duration::from_secs(12 * 3_600)));
    let model = Model::new(rules, in_flight, each);
    let inner = make().await;
    let shared = Arc::new(Shared::new(inner, size.threads, model, odds.clone(), rng.fork()));
    let clock = SimClock::new();
    // Each place has a handle of its own, with a bell of its own, as in processes of their own.
    let handle = |place: u64| {
        Tidings::builder(SimStore(shared.clone()))
            .policy(policy.clone())
            .clock(clock)
            .entropy(SimEntropy(AtomicU64::new((seed << 32) | (place << 28))))
            .build()
    };
    let temper: Arc<Vec<Temper>> =
        Arc::new((0..5).map(|_| Temper::draw(&mut rng, size.days)).collect());
    let handles: Vec<Tidings> = (1..=NODES).map(handle).collect();
    let node = |tidings: &Tidings| Node {
        tidings: tidings.clone(),
        shared: shared.clone(),
        clock,
        temper: temper.clone(),
        options: options.clone(),
    };
    let mut stops = Vec::new();
    let mut nodes = Vec::new();
    for tidings in &handles {
        let (stop, stopped) = oneshot::channel();
        stops.push(stop);
        nodes.push(tokio::spawn(node(tidings).live(rng.fork(), stopped)));
    }
    let host = |rng| Host {
        tidings: handle(0),
        nodes: handles.clone(),
        shared: shared.clone(),
        rng,
        made: 0,
    };
    host(rng.fork()).live(size.events, size.days).await;

    // The faults stop; all must end in bounded time.
    shared.calm.store(true, Ordering::Relaxed);
    host(rng.fork()).enable_all().await;
    // Long enough for every call that an outage or a lost answer held up.
    tokio::time::sleep(DAY).await;
    // The longest delay that a schedule or a receiver can ask for, a lease, polls and pauses all fit.
    for _ in 0..10 {
        let listed = list(&shared).await;
        let replays = running_replays(&shared).await;
        if shared.has_failed()
            || !replays && shared.see(|model| model.is_drained(&listed)) == Some(true)
        {
            break;
        }
        tokio::time::sleep(DAY / 2).await;
    }
    for stop in stops {
        let _ = stop.send(());
    }
    for node in nodes {
        if node.await.is_err() {
            shared.fail("a dispatcher panicked".to_owned());
        }
    }
    let listed = list(&shared).await;
    shared.see(|model| {
        model.check_end(&listed);
        if !odds.disturbs_dispatchers() {
            assert_eq!(model.exposed, 0, "I3: without a fault nothing is exposed");
        }
    });
    if let Some(failure) = shared.failure.lock().unwrap().take() {
        let rules = shared.see(|model| format!("{:?}", model.rules()));
        return Err(format!("{failure}\n{odds:?}\n{}", rules.unwrap_or_default()));
    }
    let model = shared.model.lock().unwrap();
    let fired = Fired::default();
    fired.add(&shared.fired);
    Ok(Report {
        events: model.published(),
        deliveries: model.deliveries(),
        leases: model.leases,
        lost: model.lost,
        exposed: model.exposed,
        disabled: model.disabled,
        digest: model.digest(),
        fired,
    })
}

/// A place where dispatchers live and die, one after the other.
struct Node {
    tidings: Tidings,
    shared: Arc<Shared>,
    clock: SimClock,
    temper: Arc<Vec<Temper>>,
    options: DispatcherOptions,
}

impl Node {
    async fn live(self, mut rng: Rng, mut stopped: oneshot::Receiver<()>) {
        loop {
            let kill = Arc::new(tokio::sync::Notify::new());
            let stop = Arc::new(tokio::sync::Notify::new());
            let gate = Arc::new(Gate::default());
            let transport = Arc::new(SimTransport {
                gate: gate.clone(),
                kill: kill.clone(),
                stop: stop.clone(),
                shared: self.shared.clone(),
                clock: self.clock,
                dispatcher: OnceLock::new(),
                temper: self.temper.clone(),
            });
            let dispatcher =
                self.tidings.dispatcher_with(transport.clone(), self.options.clone()).unwrap();
            let id = dispatcher.id();
            transport.dispatcher.set(id).unwrap();
            self.shared.gates.lock().unwrap().insert(id, gate.clone());
            let (shut, shutdown) = oneshot::channel::<()>();
            let mut running = Box::pin(gate.clone().pausing(dispatcher.run(async {
                let _ = shutdown.await;
            })));
            let odds = &self.shared.odds;
            let (crash, graceful) = (odds.crash, odds.shutdown);
            let life = rng.time(Duration::from_secs(60), DAY * 4);
            let disturbed = (crash || graceful) && !self.shared.is_calm();
            let ends = async {
                if disturbed {
                    tokio::time::sleep(life).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            let mut dice = rng.fork();
            let pauses = async {
                loop {
                    let (day, least) = (DAY, Duration::from_secs(90));
                    tokio::time::sleep(dice.time(least, day * 3)).await;
                    if !odds.pause || self.shared.is_calm() {
                        return std::future::pending::<()>().await;
                    }
                    self.shared.fired.fire(Fault::Pause);
                    gate.pause(dice.time(least, day / 3));
                }
            };
            tokio::select! {
                biased;
                () = pauses => {}
                _ = &mut stopped => {
                    let _ = shut.send(());
                    running.await;
                    self.shared.see(|model| model.stopped(id, true));
                    return;
                }
                () = &mut running => self.shared.fail("a dispatcher stopped by itself".to_owned()),
                () = kill.notified() => {
                    drop(running);
                    self.shared.see(|model| model.stopped(id, false));
                }
                () = stop.notified() => {
                    let _ = shut.send(());
                    running.await;
                    let clean = !odds.disturbs_storage();
                    self.shared.see(|model| model.stopped(id, clean));
                }
                () = ends => {
                    if crash && (!graceful || rng.once_in(2)) {
                        self.shared.fired.fire(Fault::Crash);
                        drop(running);
                        self.shared.see(|model| model.stopped(id, false));
                    } else {
                        self.shared.fired.fire(Fault::Shutdown);
                        let _ = shut.send(());
                        running.await;
                        let clean = !odds.disturbs_storage();
                        self.shared.see(|model| model.stopped(id, clean));
                    }
                }
            }
            if self.shared.has_failed() {
                return;
            }
            let pause = rng.time(Duration::from_secs(1), Duration::from_secs(3_600));
            tokio::time::sleep(pause).await;
        }
    }
}

/// Stops everything that a process does, for a while.
#[derive(Debug, Default)]
pub struct Gate(Mutex<Option<Instant>>);

impl Gate {
    /// Shut for `time`, or for longer where it is shut already: who waits in a call and the process
    /// itself go on at the same moment.
    pub fn pause(&self, time: Duration) {
        let until = Some(Instant::now() + time);
        let mut gate = self.0.lock().unwrap();
        *gate = until.max(*gate);
    }

    /// Until when the process stands still, if it does.
    fn until(&self) -> Option<Instant> {
        self.0.lock().unwrap().filter(|until| Instant::now() < *until)
    }

    /// Goes on when the process does.
    pub async fn pass(&self) {
        while let Some(until) = self.until() {
            tokio::time::sleep_until(until).await;
        }
    }

    /// `work`, which stands still with the process.
    async fn pausing<T>(self: Arc<Self>, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            self.pass().await;
            let step = poll_fn(|cx| match self.until() {
                Some(_) => Poll::Ready(None),
                None => work.as_mut().poll(cx).map(Some),
            });
            if let Some(output) = step.await {
                return output;
            }
        }
    }
}

/// Whether a replay to a webhook that is enabled has something left to do.
async fn running_replays(shared: &Shared) -> bool {
    let (replays, _held) = (shared.inner.replay().unwrap(), shared.hold());
    let mut request = PageRequest::first(100).unwrap();
    let running = ReplayQuery { running: Some(true), ..ReplayQuery::default() };
    loop {
        let page = replays.jobs(&running, &request).await.unwrap();
        let left = |webhook| shared.see(|model| model.is_open(webhook)) == Some(true);
        if page.items.iter().filter_map(|job| job.webhook()).any(left) {
            return true;
        }
        match page.next {
            Some(next) => request = request.after(next),
            None => return false,
        }
    }
}

/// All that the store lists.
async fn list(shared: &Shared) -> Listed {
    let (store, _held) = (&shared.inner, shared.hold());
    let mut deliveries = Vec::new();
    let mut request = PageRequest::first(100).unwrap();
    loop {
        let query = DeliveryQuery::default();
        let page = store.deliveries(&query, &request).await.unwrap();
        deliveries.extend(page.items);
        match page.next {
            Some(next) => request = request.after(next),
            None => break,
        }
    }
    let page = PageRequest::first(100).unwrap();
    let webhooks = store.webhooks(&WebhookQuery::default(), &page).await;
    let counts = match store.statistics() {
        Some(statistics) => Some(counts(statistics, &deliveries).await),
        None => None,
    };
    Listed { deliveries, webhooks: webhooks.unwrap().items, counts }
}

/// All that was counted, a year at a time.
async fn counts(statistics: &dyn Statistics, views: &[DeliveryView]) -> Vec<Counted> {
    let mut found = Vec::new();
    let Some(first) = views.iter().map(|view| view.delivery.published).min() else { return found };
    let year = 365 * DAY;
    // Clocks of nodes are apart by less than a day.
    let first = Hour::of(first - DAY).start();
    for from in [first, first + year] {
        let query = StatisticsQuery::new(from, from + year).unwrap();
        found.extend(statistics.counts(&query).await.unwrap());
    }
    found
}
