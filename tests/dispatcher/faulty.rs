//! A storage that fails on demand, counts its calls, and takes its time.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tidings::storage::{
    Alive, Appended, Claimed, DeliveryQueue, Enqueued, EventStore, Expunge, Expunged, Heartbeat,
    NewEvent, Owed, Routed, Settled, Settlement, Storage, Sweep, Swept, Turn, WebhookStore,
};
use tidings::{
    Account, DeliveryQuery, DeliveryView, Error, ErrorKind, Event, EventQuery, Page, PageRequest,
    Result, Timestamp, Webhook, WebhookId, WebhookQuery,
};

/// The kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    Put,
    Webhooks,
    Delete,
    Append,
    Events,
    Enqueue,
    Route,
    Claim,
    Settle,
    Heartbeat,
    Deliveries,
    Sweep,
    OldestDue,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// It fails, and has not happened.
    Before,
    /// It fails, and has happened.
    After,
    /// It never answers, and has not happened.
    HangBefore,
    /// It never answers, and has happened.
    HangAfter,
    Panic,
    /// It waits so many polls before it happens, and again after.
    Yield(usize),
    /// It takes so long before it happens.
    Slow(Duration),
}

type Plan = Box<dyn Fn(Call, u64) -> Fault + Send>;

/// The storage around another one.
#[derive(Clone)]
pub struct Faulty {
    pub inner: Arc<dyn Storage>,
    plan: Arc<Mutex<Plan>>,
    counts: Arc<Mutex<HashMap<Call, u64>>>,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

async fn yields(times: usize) {
    let mut left = times;
    std::future::poll_fn(|context| {
        if left == 0 {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

impl Faulty {
    pub fn new(inner: Arc<dyn Storage>) -> Self {
        Self {
            inner,
            plan: Arc::new(Mutex::new(Box::new(|_, _| Fault::None))),
            counts: Arc::default(),
        }
    }

    /// Sets the plan, and counts from 1 again.
    pub fn plan(&self, plan: impl Fn(Call, u64) -> Fault + Send + 'static) {
        self.counts.lock().unwrap().clear();
        *self.plan.lock().unwrap() = Box::new(plan);
    }

    /// How many calls of this kind came since the plan was set.
    pub fn count(&self, call: Call) -> u64 {
        self.counts.lock().unwrap().get(&call).copied().unwrap_or(0)
    }

    /// How many calls came since the plan was set.
    pub fn total(&self) -> u64 {
        self.counts.lock().unwrap().values().sum()
    }

    async fn call<T>(&self, call: Call, happens: impl Future<Output = Result<T>>) -> Result<T> {
        let count = {
            let mut counts = self.counts.lock().unwrap();
            let count = counts.entry(call).or_default();
            *count += 1;
            *count
        };
        let fault = (self.plan.lock().unwrap())(call, count);
        let error = || Error::new(ErrorKind::Unavailable, "planted");
        match fault {
            Fault::None => happens.await,
            Fault::Before => Err(error()),
            Fault::After => happens.await.and_then(|_| Err(error())),
            Fault::HangBefore => std::future::pending().await,
            Fault::HangAfter => {
                let _ = happens.await;
                std::future::pending().await
            }
            Fault::Panic => panic!("planted"),
            Fault::Yield(times) => {
                yields(times).await;
                let answer = happens.await;
                yields(times).await;
                answer
            }
            Fault::Slow(time) => {
                tokio::time::sleep(time).await;
                happens.await
            }
        }
    }
}

#[async_trait]
impl WebhookStore for Faulty {
    async fn put(&self, webhook: &Webhook, now: Timestamp) -> Result<Webhook> {
        self.call(Call::Put, self.inner.put(webhook, now)).await
    }

    async fn webhooks(&self, query: &WebhookQuery, page: &PageRequest) -> Result<Page<Webhook>> {
        self.call(Call::Webhooks, self.inner.webhooks(query, page)).await
    }

    async fn delete(&self, id: WebhookId, now: Timestamp) -> Result<bool> {
        self.call(Call::Delete, self.inner.delete(id, now)).await
    }
}

#[async_trait]
impl EventStore for Faulty {
    async fn append(&self, events: &[NewEvent], now: Timestamp) -> Result<Vec<Appended>> {
        self.call(Call::Append, self.inner.append(events, now)).await
    }

    async fn events(&self, query: &EventQuery, page: &PageRequest) -> Result<Page<Event>> {
        self.call(Call::Events, self.inner.events(query, page)).await
    }

    async fn enqueue(&self, owed: &[Owed], now: Timestamp) -> Result<Vec<Enqueued>> {
        self.call(Call::Enqueue, self.inner.enqueue(owed, now)).await
    }

    async fn expunge(&self, expunge: &Expunge) -> Result<Expunged> {
        self.inner.expunge(expunge).await
    }
}

#[async_trait]
impl DeliveryQueue for Faulty {
    async fn route(&self, turn: &Turn) -> Result<Routed> {
        self.call(Call::Route, self.inner.route(turn)).await
    }

    async fn claim(&self, turn: &Turn) -> Result<Claimed> {
        self.call(Call::Claim, self.inner.claim(turn)).await
    }

    async fn settle(&self, settlements: &[Settlement], now: Timestamp) -> Result<Vec<Settled>> {
        self.call(Call::Settle, self.inner.settle(settlements, now)).await
    }

    async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<Alive> {
        self.call(Call::Heartbeat, self.inner.heartbeat(heartbeat)).await
    }

    async fn deliveries(
        &self,
        query: &DeliveryQuery,
        page: &PageRequest,
    ) -> Result<Page<DeliveryView>> {
        self.call(Call::Deliveries, self.inner.deliveries(query, page)).await
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        self.call(Call::Sweep, self.inner.sweep(sweep)).await
    }

    async fn backlog(&self, account: Option<&Account>, most: usize) -> Result<usize> {
        self.inner.backlog(account, most).await
    }

    async fn oldest_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        self.call(Call::OldestDue, self.inner.oldest_due(now)).await
    }

    fn exclusive(&self) -> bool {
        self.inner.exclusive()
    }
}
