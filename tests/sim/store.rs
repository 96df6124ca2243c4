//! A storage that fails as storages do, around a real one, and tells the model what happened.
//!
//! Calls happen one after the other, in tasks of their own: a caller that is dropped in the middle
//! leaves a call that happens all the same, and the model hears of it in the right order.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use tidings::storage::{
    Alive, Appended, Claimed, DeliveryQueue, Enqueued, EventStore, Expunge, Expunged, Heartbeat,
    NewEvent, Owed, Replay, ReplayStepped, Routed, Settled, Settlement, Storage, Sweep, Swept,
    Turn, WebhookStore,
};
use tidings::{
    Account, Delivery, DeliveryQuery, DeliveryView, DispatcherId, Error, ErrorKind, Event,
    EventQuery, Page, PageRequest, ReplayId, ReplayJob, ReplayQuery, Result, Timestamp, Webhook,
    WebhookId, WebhookQuery,
};
use tokio::time::Instant;

use super::faults::{Fault, Fired, Odds};
use super::model::Model;
use super::rng::Rng;
use super::world::Gate;

/// What everybody in the world shares.
pub struct Shared {
    pub inner: Arc<dyn Storage>,
    pub model: Mutex<Model>,
    pub odds: Odds,
    pub rng: Mutex<Rng>,
    pub fired: Fired,
    /// No more faults.
    pub calm: AtomicBool,
    /// What stops the process of each dispatcher.
    pub gates: Mutex<BTreeMap<DispatcherId, Arc<Gate>>>,
    /// The first broken promise.
    pub failure: Mutex<Option<String>>,
    gate: tokio::sync::Mutex<()>,
    /// Whether the storage works in threads of its own, so that the clock must wait for it.
    threads: bool,
    start: Instant,
    calls: AtomicU64,
}

/// Calls of one world, at most: there are some ten thousand where nobody spins.
const CALLS_MAX: u64 = 1_000_000;

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    pub fn new(inner: Arc<dyn Storage>, threads: bool, model: Model, odds: Odds, rng: Rng) -> Self {
        Self {
            inner,
            model: Mutex::new(model),
            odds,
            rng: Mutex::new(rng),
            fired: Fired::default(),
            calm: AtomicBool::new(false),
            gates: Mutex::default(),
            failure: Mutex::new(None),
            gate: tokio::sync::Mutex::new(()),
            threads,
            start: Instant::now(),
            calls: AtomicU64::new(0),
        }
    }

    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Rolls the dice for a fault.
    pub fn roll(&self, fault: Fault, one_in: u64) -> bool {
        let fires = !self.is_calm() && self.rng.lock().unwrap().once_in(one_in);
        if fires {
            self.fired.fire(fault);
        }
        fires
    }

    /// Looks at the model; a broken promise is kept for the end.
    pub fn see<T>(&self, look: impl FnOnce(&mut Model) -> T) -> Option<T> {
        let mut model = self.model.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| look(&mut model))) {
            Ok(value) => Some(value),
            Err(panic) => {
                let text = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                    .unwrap_or_default();
                self.fail(text);
                None
            }
        }
    }

    /// Holds the paused clock while the storage's threads work, until the value is dropped.
    pub fn hold(&self) -> mpsc::Sender<()> {
        let (held, dropped) = mpsc::channel();
        if self.threads {
            // The clock waits for blocking tasks.
            tokio::task::spawn_blocking(move || dropped.recv());
        }
        held
    }

    pub fn fail(&self, text: String) {
        self.failure.lock().unwrap().get_or_insert(text);
    }

    pub fn has_failed(&self) -> bool {
        self.failure.lock().unwrap().is_some()
    }
}

/// The storage that the engine gets.
#[derive(Debug, Clone)]
pub struct SimStore(pub Arc<Shared>);

type Call<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

/// What an outage does to a call.
#[derive(Clone, Copy)]
enum Delay {
    None,
    /// It happens at the end of the outage, also if its caller has given it up.
    Before(Instant),
    /// It happens at once, and is answered at the end of the outage.
    After(Instant),
    /// It never happens.
    Lost,
}

impl SimStore {
    /// A call of the host.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(Arc<Shared>) -> Call<T> + Send,
    ) -> Result<T> {
        self.happen(Delay::None, call).await
    }

    /// A call of a dispatcher.
    async fn queue<T: Send + 'static>(
        &self,
        dispatcher: DispatcherId,
        call: impl FnOnce(Arc<Shared>) -> Call<T> + Send,
    ) -> Result<T> {
        let result = self.happen(self.delay(dispatcher, false), call).await;
        let shared = &self.0;
        if shared.odds.pause && shared.roll(Fault::Pause, 200) {
            // Stopped when the answer is there, but not yet heard.
            let (least, most) = (Duration::from_secs(90), Duration::from_secs(12 * 3_600));
            let time = shared.rng.lock().unwrap().time(least, most);
            let gate = shared.gates.lock().unwrap().get(&dispatcher).cloned();
            if let Some(gate) = gate {
                gate.pause(time);
                gate.pass().await;
            }
        }
        result
    }

    /// What the present outage, if there is one, does to a call of a dispatcher.
    fn delay(&self, dispatcher: DispatcherId, heartbeat: bool) -> Delay {
        let shared = &self.0;
        let time = shared.start.elapsed();
        let outage = shared.odds.outage_at(time, dispatcher);
        let Some(outage) = outage.filter(|_| !shared.is_calm()) else {
            return Delay::None;
        };
        shared.fired.fire(Fault::StorageOutage);
        let until = shared.start + outage.until;
        if outage.deaf && heartbeat {
            Delay::Lost
        } else if shared.rng.lock().unwrap().once_in(2) {
            Delay::Before(until)
        } else {
            Delay::After(until)
        }
    }

    async fn happen<T: Send + 'static>(
        &self,
        delay: Delay,
        call: impl FnOnce(Arc<Shared>) -> Call<T> + Send,
    ) -> Result<T> {
        let shared = self.0.clone();
        if shared.calls.fetch_add(1, Ordering::Relaxed) > CALLS_MAX {
            shared.fail("I10: the storage is called without end".to_owned());
        }
        if shared.has_failed() {
            // The world is over: whoever calls sleeps until it ends.
            std::future::pending::<()>().await;
        }
        let odds = &shared.odds;
        let refused = || Error::new(ErrorKind::Unavailable, "planted");
        if shared.roll(Fault::StorageSlow, odds.storage_slow) {
            let time = shared.rng.lock().unwrap().time(Duration::ZERO, Duration::from_secs(30));
            tokio::time::sleep(time).await;
        }
        if shared.roll(Fault::StorageBefore, odds.storage_before) {
            return Err(refused());
        }
        let lost = matches!(delay, Delay::Lost);
        if lost || shared.roll(Fault::StorageHangBefore, odds.storage_hang) {
            std::future::pending::<()>().await;
        }
        let task = tokio::spawn({
            let (shared, call) = (shared.clone(), call(shared.clone()));
            async move {
                if let Delay::Before(until) = delay {
                    tokio::time::sleep_until(until).await;
                }
                let _gate = shared.gate.lock().await;
                let _held = shared.hold();
                call.await
            }
        });
        let result = match task.await {
            Ok(result) => result,
            Err(_) => return Err(refused()),
        };
        if let Delay::After(until) = delay {
            tokio::time::sleep_until(until).await;
        }
        if shared.roll(Fault::StorageAfter, odds.storage_after) {
            return Err(refused());
        }
        if shared.roll(Fault::StorageHangAfter, odds.storage_hang) {
            std::future::pending::<()>().await;
        }
        result
    }
}

#[async_trait]
impl WebhookStore for SimStore {
    async fn put(&self, webhook: &Webhook, now: Timestamp) -> Result<Webhook> {
        let webhook = webhook.clone();
        self.call(move |shared| {
            Box::pin(async move {
                let stored = shared.inner.put(&webhook, now).await?;
                shared.see(|model| model.put(&stored, now));
                Ok(stored)
            })
        })
        .await
    }

    async fn webhooks(&self, query: &WebhookQuery, page: &PageRequest) -> Result<Page<Webhook>> {
        let (query, page) = (query.clone(), *page);
        self.call(move |shared| Box::pin(async move { shared.inner.webhooks(&query, &page).await }))
            .await
    }

    async fn delete(&self, id: WebhookId, now: Timestamp) -> Result<bool> {
        self.call(move |shared| {
            Box::pin(async move {
                let deleted = shared.inner.delete(id, now).await?;
                if deleted {
                    shared.see(|model| model.delete(id));
                }
                Ok(deleted)
            })
        })
        .await
    }
}

#[async_trait]
impl EventStore for SimStore {
    async fn append(&self, events: &[NewEvent], now: Timestamp) -> Result<Vec<Appended>> {
        let events = events.to_vec();
        self.call(move |shared| {
            Box::pin(async move {
                let answers = shared.inner.append(&events, now).await?;
                shared.see(|model| model.append(&events, &answers, now));
                Ok(answers)
            })
        })
        .await
    }

    async fn events(&self, query: &EventQuery, page: &PageRequest) -> Result<Page<Event>> {
        let (query, page) = (query.clone(), *page);
        self.call(move |shared| Box::pin(async move { shared.inner.events(&query, &page).await }))
            .await
    }

    async fn enqueue(&self, owed: &[Owed], now: Timestamp) -> Result<Vec<Enqueued>> {
        let owed = owed.to_vec();
        self.call(move |shared| {
            Box::pin(async move {
                let answers = shared.inner.enqueue(&owed, now).await?;
                shared.see(|model| model.enqueue(&owed, &answers, now));
                Ok(answers)
            })
        })
        .await
    }

    async fn expunge(&self, expunge: &Expunge) -> Result<Expunged> {
        let expunge = expunge.clone();
        self.call(move |shared| Box::pin(async move { shared.inner.expunge(&expunge).await })).await
    }
}

#[async_trait]
impl DeliveryQueue for SimStore {
    async fn route(&self, turn: &Turn) -> Result<Routed> {
        let turn = turn.clone();
        self.queue(turn.dispatcher, move |shared| {
            Box::pin(async move {
                let routed = shared.inner.route(&turn).await?;
                shared.see(|model| model.leased(&turn, &routed.leased, true));
                Ok(routed)
            })
        })
        .await
    }

    async fn claim(&self, turn: &Turn) -> Result<Claimed> {
        let turn = turn.clone();
        self.queue(turn.dispatcher, move |shared| {
            Box::pin(async move {
                let claimed = shared.inner.claim(&turn).await;
                if let Ok(claimed) = &claimed {
                    shared.see(|model| {
                        model.reaped(turn.now);
                        model.leased(&turn, &claimed.leased, false);
                    });
                }
                claimed
            })
        })
        .await
    }

    async fn settle(&self, settlements: &[Settlement], now: Timestamp) -> Result<Vec<Settled>> {
        let settlements = settlements.to_vec();
        let by = settlements[0].fence.dispatcher;
        self.queue(by, move |shared| {
            Box::pin(async move {
                let answers = shared.inner.settle(&settlements, now).await?;
                shared.see(|model| model.settle(&settlements, &answers, now));
                Ok(answers)
            })
        })
        .await
    }

    async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<Alive> {
        let heartbeat = heartbeat.clone();
        let by = heartbeat.dispatcher;
        self.happen(self.delay(by, true), move |shared| {
            Box::pin(async move {
                let alive = shared.inner.heartbeat(&heartbeat).await?;
                shared.see(|model| model.heartbeat(&heartbeat, alive));
                Ok(alive)
            })
        })
        .await
    }

    async fn deliveries(
        &self,
        query: &DeliveryQuery,
        page: &PageRequest,
    ) -> Result<Page<DeliveryView>> {
        let (query, page) = (query.clone(), *page);
        self.call(move |shared| {
            Box::pin(async move { shared.inner.deliveries(&query, &page).await })
        })
        .await
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        let sweep = *sweep;
        self.call(move |shared| Box::pin(async move { shared.inner.sweep(&sweep).await })).await
    }

    async fn backlog(&self, account: Option<&Account>, most: usize) -> Result<usize> {
        let account = account.cloned();
        self.call(move |shared| {
            Box::pin(async move { shared.inner.backlog(account.as_ref(), most).await })
        })
        .await
    }

    fn exclusive(&self) -> bool {
        self.0.inner.exclusive()
    }

    fn replay(&self) -> Option<&dyn Replay> {
        Some(self)
    }
}

impl Shared {
    fn replays(&self) -> &dyn Replay {
        self.inner.replay().expect("every storage of the simulation has replays")
    }

    /// The deliveries that are on record for a replay.
    async fn caused(&self, job: &ReplayJob) -> Result<Vec<Delivery>> {
        let (cause, mut found) = (job.id.cause(), Vec::new());
        let query = DeliveryQuery { webhook: job.webhook(), ..DeliveryQuery::default() };
        let mut request = PageRequest::first(100)?;
        loop {
            let page = self.inner.deliveries(&query, &request).await?;
            let of = page.items.into_iter().map(|view| view.delivery);
            found.extend(of.filter(|delivery| delivery.cause == cause));
            match page.next {
                Some(cursor) => request = request.after(cursor),
                None => return Ok(found),
            }
        }
    }
}

#[async_trait]
impl Replay for SimStore {
    async fn start(&self, job: &ReplayJob) -> Result<ReplayJob> {
        let job = job.clone();
        self.call(move |shared| Box::pin(async move { shared.replays().start(&job).await })).await
    }

    async fn jobs(&self, query: &ReplayQuery, page: &PageRequest) -> Result<Page<ReplayJob>> {
        let (query, page) = (query.clone(), *page);
        self.call(move |shared| Box::pin(async move { shared.replays().jobs(&query, &page).await }))
            .await
    }

    async fn cancel(&self, id: ReplayId, now: Timestamp) -> Result<Option<ReplayJob>> {
        self.call(move |shared| Box::pin(async move { shared.replays().cancel(id, now).await }))
            .await
    }

    async fn step(&self, now: Timestamp) -> Result<ReplayStepped> {
        self.call(move |shared| {
            Box::pin(async move {
                let stepped = shared.replays().step(now).await?;
                if let Some(job) = stepped.job.as_ref().filter(|_| stepped.made > 0) {
                    let made = shared.caused(job).await?;
                    shared.see(|model| model.replayed(&made));
                }
                Ok(stepped)
            })
        })
        .await
    }
}
