//! The stage of the replays: a handle over a storage, receivers that count what they get, and dispatchers
//! that come and go.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tidings::storage::Storage;
use tidings::transport::{Request, Response, transport_fn};
use tidings::{
    Change, DeliveryQuery, DeliveryView, Dispatcher, DispatcherOptions, Event, Mode, PageRequest,
    Policy, Registration, ReplayId, ReplayJob, Schedule, Tidings, Webhook,
};
use tokio::task::JoinHandle;

/// The longest that anything takes: far more than it does.
const PATIENCE: Duration = Duration::from_secs(120);

/// A request as a receiver got it.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) event: String,
    pub(crate) host: String,
    pub(crate) body: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

/// What receivers got, and what they answer.
#[derive(Debug)]
pub(crate) struct Receivers {
    got: Mutex<Vec<Got>>,
    status: AtomicU16,
}

impl Receivers {
    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().expect("the requests").clone()
    }

    /// How often each event came to a host.
    pub(crate) fn counts(&self, host: &str) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for got in self.got().into_iter().filter(|got| got.host == host) {
            *counts.entry(got.event).or_default() += 1;
        }
        counts
    }

    pub(crate) fn forget(&self) {
        self.got.lock().expect("the requests").clear();
    }
}

pub(crate) struct Stage {
    pub(crate) tidings: Tidings,
    pub(crate) receivers: Arc<Receivers>,
}

/// A webhook at the host of this number, which wants orders.
pub(crate) fn registration(number: usize) -> Registration {
    let address = format!("https://receiver-{number}.example.com/hook");
    Registration::new(&address, ["order.*"]).expect("a registration").enabled(true)
}

pub(crate) fn host(number: usize) -> String {
    format!("receiver-{number}.example.com")
}

/// A dispatcher that runs until it is killed.
pub(crate) struct Run(JoinHandle<()>);

impl Run {
    /// Drops its future, as a crash would.
    pub(crate) async fn crash(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

impl Stage {
    /// One try for each delivery, so that a failure is an end.
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        let once = Schedule::new([]).expect("a schedule");
        let policy = Policy::default().with_schedule(Mode::Live, once);
        let receivers = Receivers { got: Mutex::default(), status: AtomicU16::new(200) };
        Self {
            tidings: Tidings::builder_shared(storage).policy(policy).build(),
            receivers: Arc::new(receivers),
        }
    }

    pub(crate) async fn webhook(&self, number: usize) -> Webhook {
        self.tidings.create(registration(number)).await.expect("a webhook").webhook
    }

    pub(crate) async fn publish(&self, count: usize) -> Vec<Event> {
        let event = |number: usize| {
            let change = Change::of("order.paid", &json!({ "id": number.to_string() }));
            self.tidings.event(change.expect("a change")).expect("an event")
        };
        let events: Vec<Event> = (0..count).map(event).collect();
        self.tidings.publish_all(&events).await.expect("a publish");
        events
    }

    pub(crate) fn dispatcher(&self) -> Dispatcher {
        let receivers = self.receivers.clone();
        let transport = transport_fn(move |request: Request| {
            let receivers = receivers.clone();
            async move {
                let (parts, body) = request.http.into_parts();
                let text = |name: &str| {
                    let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
                    value.unwrap_or_default().to_owned()
                };
                let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                    (name.to_string(), value.as_bytes().to_vec())
                };
                let got = Got {
                    event: text("webhook-id"),
                    host: parts.uri.host().unwrap_or_default().to_owned(),
                    body: body.to_vec(),
                    headers: parts.headers.iter().map(header).collect(),
                };
                receivers.got.lock().expect("the requests").push(got);
                Ok(Response::new(receivers.status.load(Ordering::SeqCst)))
            }
        });
        // A short lease, so that what a crash left is taken over soon.
        let options = DispatcherOptions::default()
            .lease(Duration::from_secs(3))
            .poll(Duration::from_millis(50));
        self.tidings.dispatcher_with(Arc::new(transport), options).expect("a dispatcher")
    }

    pub(crate) fn start(&self) -> Run {
        Run(tokio::spawn(self.dispatcher().run(std::future::pending())))
    }

    /// Looks again and again until `done`.
    pub(crate) async fn until(&self, what: &str, done: impl AsyncFn() -> bool) {
        let looks = async {
            let mut tick = tokio::time::interval(Duration::from_millis(5));
            while !done().await {
                tick.tick().await;
            }
        };
        let met = tokio::time::timeout(PATIENCE, looks).await;
        assert!(met.is_ok(), "it never happens: {what}");
    }

    pub(crate) async fn deliveries(&self) -> Vec<DeliveryView> {
        let mut request = PageRequest::first(100).expect("a limit");
        let mut found = Vec::new();
        loop {
            let query = DeliveryQuery::default();
            let page = self.tidings.deliveries(&query, &request).await.expect("deliveries");
            found.extend(page.items);
            match page.next {
                Some(next) => request = request.after(next),
                None => return found,
            }
        }
    }

    /// The deliveries of a replay.
    pub(crate) async fn made(&self, id: ReplayId) -> Vec<DeliveryView> {
        let mut all = self.deliveries().await;
        all.retain(|view| view.delivery.cause == id.cause());
        all
    }

    /// Waits until so many deliveries have ended, and no other is left.
    pub(crate) async fn until_ended(&self, count: usize) {
        self.until(&format!("{count} deliveries end"), async || {
            let all = self.deliveries().await;
            all.len() == count && all.iter().all(|view| view.delivery.state.is_ended())
        })
        .await;
    }

    /// Waits until a replay has nothing left to do.
    pub(crate) async fn until_over(&self, id: ReplayId) -> ReplayJob {
        self.until("a replay ends", async || self.job(id).await.due.is_none()).await;
        self.job(id).await
    }

    pub(crate) async fn job(&self, id: ReplayId) -> ReplayJob {
        self.tidings.replay_job(id).await.expect("a replay")
    }
}
