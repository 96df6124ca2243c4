//! The kit's storage: one in memory that notes what is leased, so that a request can be told by what
//! it was made of. The webhook may be another by the time its request comes, or gone.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::adapters::memory::MemoryStorage;
use crate::ground::account::Account;
use crate::ground::delivery::DeliveryView;
use crate::ground::error::Result;
use crate::ground::event::Event;
use crate::ground::id::{DeliveryId, EventId, ReplayId, WebhookId};
use crate::ground::page::{Page, PageRequest};
use crate::ground::query::{DeliveryQuery, EventQuery, WebhookQuery};
use crate::ground::replay::ReplayJob;
use crate::ground::replay_request::ReplayQuery;
use crate::ground::time::Timestamp;
use crate::ground::webhook::Webhook;
use crate::ports::replay::{Replay, ReplayStepped};
use crate::ports::storage::{
    Alive, Appended, Claimed, DeliveryQueue, Enqueued, EventStore, Expunge, Expunged, Heartbeat,
    Leased, NewEvent, Owed, Routed, Settled, Settlement, Sweep, Swept, TableSize, Turn, Wakeup,
    WebhookStore,
};

/// What is leased, by event: each delivery with the number of its attempt.
type Noted = HashMap<EventId, BTreeMap<(DeliveryId, u32), Lease>>;

/// A storage in memory, and what is leased from it.
#[derive(Debug)]
pub(super) struct Leases {
    storage: MemoryStorage,
    /// How often something was written that may make a delivery due, or end.
    writes: AtomicU64,
    noted: Mutex<Noted>,
}

/// A delivery that is leased.
#[derive(Debug)]
struct Lease {
    /// The webhook as the dispatcher got it.
    webhook: Arc<Webhook>,
    /// How many requests have come of it.
    requests: usize,
}

impl Leases {
    pub(super) fn new() -> Self {
        Self { storage: MemoryStorage::new(), writes: AtomicU64::new(0), noted: Mutex::default() }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that is another when a delivery may have become due, or have ended.
    pub(super) fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Notes a request with this event: gives the webhook whose it is, as it was when the delivery was
    /// leased. Among those that `made` it, it is the one whose lease has brought the fewest.
    ///
    /// # Errors
    /// When leased deliveries of the event may be meant and none made it. What `made` says of the last.
    pub(super) fn came<E>(
        &self,
        event: EventId,
        may: impl Fn(&Webhook) -> bool,
        made: impl Fn(&Webhook) -> std::result::Result<(), E>,
    ) -> std::result::Result<Option<Arc<Webhook>>, E> {
        let mut noted = self.noted();
        let leases = noted.get_mut(&event).into_iter().flat_map(BTreeMap::values_mut);
        let (mut found, mut wrong): (Vec<&mut Lease>, _) = (Vec::new(), None);
        for lease in leases.filter(|lease| may(&lease.webhook)) {
            match made(&lease.webhook) {
                Ok(()) => found.push(lease),
                Err(error) => wrong = Some(error),
            }
        }
        match (found.into_iter().min_by_key(|lease| lease.requests), wrong) {
            (Some(lease), _) => {
                lease.requests += 1;
                Ok(Some(Arc::clone(&lease.webhook)))
            }
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    fn wrote(&self) {
        self.writes.fetch_add(1, Ordering::SeqCst);
    }

    fn note(&self, leased: &[Leased]) {
        let mut noted = self.noted();
        for Leased { delivery, webhook, .. } in leased {
            let lease = Lease { webhook: Arc::clone(webhook), requests: 0 };
            let id = (delivery.id, delivery.attempt);
            noted.entry(delivery.event).or_default().insert(id, lease);
        }
    }
}

#[async_trait]
impl WebhookStore for Leases {
    async fn put(&self, webhook: &Webhook, now: Timestamp) -> Result<Webhook> {
        self.wrote();
        self.storage.put(webhook, now).await
    }

    async fn webhooks(&self, query: &WebhookQuery, page: &PageRequest) -> Result<Page<Webhook>> {
        self.storage.webhooks(query, page).await
    }

    async fn delete(&self, id: WebhookId, now: Timestamp) -> Result<bool> {
        self.wrote();
        self.storage.delete(id, now).await
    }
}

#[async_trait]
impl EventStore for Leases {
    async fn append(&self, events: &[NewEvent], now: Timestamp) -> Result<Vec<Appended>> {
        self.wrote();
        self.storage.append(events, now).await
    }

    async fn events(&self, query: &EventQuery, page: &PageRequest) -> Result<Page<Event>> {
        self.storage.events(query, page).await
    }

    async fn enqueue(&self, owed: &[Owed], now: Timestamp) -> Result<Vec<Enqueued>> {
        self.wrote();
        self.storage.enqueue(owed, now).await
    }

    async fn expunge(&self, expunge: &Expunge) -> Result<Expunged> {
        self.storage.expunge(expunge).await
    }
}

#[async_trait]
impl DeliveryQueue for Leases {
    async fn route(&self, turn: &Turn) -> Result<Routed> {
        let routed = self.storage.route(turn).await?;
        self.note(&routed.leased);
        Ok(routed)
    }

    async fn claim(&self, turn: &Turn) -> Result<Claimed> {
        let claimed = self.storage.claim(turn).await?;
        self.note(&claimed.leased);
        Ok(claimed)
    }

    async fn settle(&self, settlements: &[Settlement], now: Timestamp) -> Result<Vec<Settled>> {
        self.wrote();
        let settled = self.storage.settle(settlements, now).await;
        let mut noted = self.noted();
        let ends = |id: &(DeliveryId, u32)| {
            settlements.iter().any(|it| (it.fence.delivery, it.fence.attempt) == *id)
        };
        noted.retain(|_, leases| {
            leases.retain(|id, _| !ends(id));
            !leases.is_empty()
        });
        settled
    }

    async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<Alive> {
        self.storage.heartbeat(heartbeat).await
    }

    async fn deliveries(
        &self,
        query: &DeliveryQuery,
        page: &PageRequest,
    ) -> Result<Page<DeliveryView>> {
        self.storage.deliveries(query, page).await
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        self.storage.sweep(sweep).await
    }

    async fn backlog(&self, account: Option<&Account>, most: usize) -> Result<usize> {
        self.storage.backlog(account, most).await
    }

    async fn sizes(&self) -> Result<Vec<TableSize>> {
        self.storage.sizes().await
    }

    async fn time(&self) -> Result<Option<Timestamp>> {
        self.storage.time().await
    }

    fn wakeup(&self) -> Option<&dyn Wakeup> {
        self.storage.wakeup()
    }

    fn exclusive(&self) -> bool {
        self.storage.exclusive()
    }

    fn replay(&self) -> Option<&dyn Replay> {
        Some(self)
    }
}

#[async_trait]
impl Replay for Leases {
    async fn start(&self, job: &ReplayJob) -> Result<ReplayJob> {
        self.wrote();
        self.storage.start(job).await
    }

    async fn jobs(&self, query: &ReplayQuery, page: &PageRequest) -> Result<Page<ReplayJob>> {
        self.storage.jobs(query, page).await
    }

    async fn cancel(&self, id: ReplayId, now: Timestamp) -> Result<Option<ReplayJob>> {
        self.wrote();
        self.storage.cancel(id, now).await
    }

    async fn step(&self, now: Timestamp) -> Result<ReplayStepped> {
        let stepped = self.storage.step(now).await;
        if stepped.as_ref().is_ok_and(|stepped| stepped.job.is_some()) {
            self.wrote();
        }
        stepped
    }
}
