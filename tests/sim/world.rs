//! One world: its clock, its people, its dispatchers; what happens in it, and what must be true at
//! the end.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tidings::storage::Storage;
use tidings::{
    Clock, Delivery, DeliveryQuery, DispatcherOptions, Entropy, Mode, PageRequest, Policy, Result,
    Schedule, Tidings, Timestamp,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::faults::{Fault, Fired, Odds};
use super::host::Host;
use super::model::Model;
use super::receiver::{SimTransport, Temper};
use super::rng::Rng;
use super::store::{Shared, SimStore};

/// The virtual clock, for everyone in the world.
#[derive(Debug, Clone, Copy)]
pub struct SimClock {
    start: Instant,
    base: Timestamp,
}

impl SimClock {
    fn new() -> Self {
        let base = Timestamp::from_timestamp(1_767_225_600, 0).unwrap();
        Self {
            start: Instant::now(),
            base,
        }
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
    pub settled: u64,
    pub lost: u64,
    /// Deliveries that may be sent again after a 2xx, because their sender lost them.
    pub exposed: u64,
    pub disabled: u64,
    pub digest: u64,
    pub fired: Fired,
}

fn draw_policy(rng: &mut Rng) -> Policy {
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    let short = Schedule::new([5, 60, 600].map(Duration::from_secs)).unwrap();
    let policy = if rng.once_in(2) {
        Policy::default()
    } else {
        Policy::default().with_schedule(Mode::Live, short)
    };
    policy
        .with_timeout(rng.time(Duration::from_secs(2), Duration::from_secs(20)))
        .with_jitter_percent(rng.below(30) as u32)
        .with_disable_after(rng.time(hours(2), hours(24 * 6)))
        .with_pause(Duration::from_secs(5), rng.time(hours(0), hours(2)))
        .with_retry_after_max(rng.time(hours(1), hours(48)))
        .with_interruptions_free(rng.below(4) as u32)
        .with_expire_after(rng.time(hours(24 * 10), hours(24 * 60)))
        .with_retain(hours(24 * 900))
}

/// Lives through one world; `Err` is the first broken promise.
pub fn run<F, Fut>(seed: u64, size: Size, make: F) -> Result<Report, String>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Arc<dyn Storage>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(world(seed, size, make))
}

async fn world<F, Fut>(seed: u64, size: Size, make: F) -> Result<Report, String>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Arc<dyn Storage>>,
{
    let mut rng = Rng::new(seed);
    let policy = draw_policy(&mut rng);
    let odds = Odds::draw(&mut rng);
    let in_flight = 2 + rng.below(30) as u32;
    let each = 1 + rng.below(8) as u32;
    let lease = rng.time(Duration::from_secs(3_600), Duration::from_secs(6 * 3_600));
    let options = DispatcherOptions::default()
        .in_flight(in_flight)
        .in_flight_per_webhook(each)
        .lease(lease)
        .poll(rng.time(Duration::from_secs(1_800), Duration::from_secs(4 * 3_600)))
        .grace(rng.time(Duration::ZERO, Duration::from_secs(30)))
        .sweep_every(Some(Duration::from_secs(12 * 3_600)));
    let model = Model::new(policy.clone(), in_flight, each);
    let inner = make().await;
    let shared = Arc::new(Shared::new(
        inner,
        size.threads,
        model,
        odds.clone(),
        rng.fork(),
    ));
    let clock = SimClock::new();
    let tidings = Tidings::builder(SimStore(shared.clone()))
        .policy(policy)
        .clock(clock)
        .entropy(SimEntropy(AtomicU64::new(seed << 32)))
        .build();
    let temper: Arc<Vec<Temper>> =
        Arc::new((0..5).map(|_| Temper::draw(&mut rng, size.days)).collect());
    let node = || Node {
        tidings: tidings.clone(),
        shared: shared.clone(),
        clock,
        temper: temper.clone(),
        options: options.clone(),
    };
    let mut stops = Vec::new();
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let (stop, stopped) = oneshot::channel();
        stops.push(stop);
        nodes.push(tokio::spawn(node().live(rng.fork(), stopped)));
    }
    let host = |rng| Host {
        tidings: tidings.clone(),
        shared: shared.clone(),
        rng,
        made: 0,
    };
    host(rng.fork()).live(size.events, size.days).await;

    // The faults stop; all must end in bounded time.
    shared.calm.store(true, Ordering::Relaxed);
    host(rng.fork()).enable_all().await;
    let mut listed = list(&shared.inner).await;
    for _ in 0..200 {
        if shared.has_failed() || shared.see(|model| model.is_drained(&listed)) == Some(true) {
            break;
        }
        tokio::time::sleep(Duration::from_secs(12 * 3_600)).await;
        listed = list(&shared.inner).await;
    }
    for stop in stops {
        let _ = stop.send(());
    }
    for node in nodes {
        if node.await.is_err() {
            shared.fail("a dispatcher panicked".to_owned());
        }
    }
    let listed = list(&shared.inner).await;
    shared.see(|model| {
        model.check_end(&listed);
        if !odds.disturbs_dispatchers() && !odds.shutdown {
            assert_eq!(model.exposed, 0, "I3: without a fault nothing is exposed");
        }
    });
    if let Some(failure) = shared.failure.lock().unwrap().take() {
        return Err(failure);
    }
    let model = shared.model.lock().unwrap();
    let fired = Fired::default();
    fired.add(&shared.fired);
    Ok(Report {
        events: model.published(),
        deliveries: model.deliveries(),
        leases: model.leases,
        settled: model.settled,
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
        let day = Duration::from_secs(86_400);
        loop {
            let kill = Arc::new(tokio::sync::Notify::new());
            let transport = Arc::new(SimTransport {
                kill: kill.clone(),
                shared: self.shared.clone(),
                clock: self.clock,
                dispatcher: OnceLock::new(),
                temper: self.temper.clone(),
            });
            let dispatcher = self
                .tidings
                .dispatcher_with(transport.clone(), self.options.clone())
                .unwrap();
            transport.dispatcher.set(dispatcher.id()).unwrap();
            let (shut, shutdown) = oneshot::channel::<()>();
            let mut running = Box::pin(dispatcher.run(async {
                let _ = shutdown.await;
            }));
            let odds = &self.shared.odds;
            let (crash, graceful) = (odds.crash, odds.shutdown);
            let life = rng.time(Duration::from_secs(60), day * 4);
            let disturbed = (crash || graceful) && !self.shared.is_calm();
            let ends = async {
                if disturbed {
                    tokio::time::sleep(life).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                _ = &mut stopped => {
                    let _ = shut.send(());
                    running.await;
                    return;
                }
                () = &mut running => self.shared.fail("a dispatcher stopped by itself".to_owned()),
                () = kill.notified() => drop(running),
                () = ends => {
                    if crash && (!graceful || rng.once_in(2)) {
                        self.shared.fired.fire(Fault::Crash);
                        drop(running);
                    } else {
                        self.shared.fired.fire(Fault::Shutdown);
                        let _ = shut.send(());
                        running.await;
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

/// All deliveries that the store lists, with the number of their attempts.
async fn list(store: &Arc<dyn Storage>) -> Vec<(Delivery, u32)> {
    let mut found = Vec::new();
    let mut request = PageRequest::first(100).unwrap();
    loop {
        let page = store
            .deliveries(&DeliveryQuery::default(), &request)
            .await
            .unwrap();
        let attempts = |count: usize| u32::try_from(count).unwrap();
        found.extend(
            page.items
                .into_iter()
                .map(|view| (view.delivery, attempts(view.attempts.len()))),
        );
        match page.next {
            Some(next) => request = request.after(next),
            None => return found,
        }
    }
}
