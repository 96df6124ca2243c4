//! The stage: a handle over a storage that fails on demand, receivers that note what they get, and
//! a clock that is tokio's virtual one.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::json;
use tidings::storage::MemoryStorage;
use tidings::transport::{Request, Response, Transport, TransportError};
use tidings::{
    Builder, Change, Delivery, DeliveryQuery, DeliveryView, DispatcherOptions, Edit, Event,
    FailureKind, Notice, Observer, PageRequest, Policy, Registration, StateKind, Tidings,
    Timestamp, TlsSettings, Webhook, clock_fn, entropy_fn, time,
};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::faulty::{Call, Fault, Faulty};

/// A bell that rings whenever a receiver is hit or the observer hears something.
type Bell = Arc<watch::Sender<u64>>;

fn ring(bell: &Bell) {
    bell.send_modify(|rings| *rings += 1);
}

/// A request that a receiver got.
#[derive(Debug, Clone)]
pub struct Hit {
    pub at: Instant,
    /// The first label of the host's name.
    pub host: String,
    /// `webhook-id`.
    pub event: String,
    /// How often this host has got this event, with this hit.
    pub nth: usize,
    pub body: Bytes,
    pub headers: HeaderMap,
    pub deadline: Duration,
    pub tls: Option<Arc<TlsSettings>>,
}

impl Hit {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What a receiver does.
#[derive(Debug, Clone)]
pub enum Answer {
    Status(u16),
    Slow(Duration, u16),
    /// Says nothing until the deadline, which the transport keeps.
    Silent,
    /// Says nothing, and the transport does not keep the deadline.
    Stuck,
    Panic,
    Fail(FailureKind),
    Body(u16, String),
    SlowBody(Duration, String),
}

pub const FINE: Answer = Answer::Status(200);

/// How receivers answer.
type Manner = Box<dyn Fn(&Hit) -> Answer + Send>;

/// All receivers of the world, behind one transport.
pub struct Receivers {
    hits: Mutex<Vec<Hit>>,
    open: Mutex<HashMap<String, usize>>,
    /// The most requests that were ever open at once: to each host, and to all under "".
    most: Mutex<HashMap<String, usize>>,
    answer: Mutex<Manner>,
    bell: Bell,
}

impl fmt::Debug for Receivers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receivers")
    }
}

/// Counts an open request until it is dropped.
struct Open<'a>(&'a Receivers, String);

impl<'a> Open<'a> {
    fn new(receivers: &'a Receivers, host: &str) -> Self {
        let mut open = receivers.open.lock().unwrap();
        let mut most = receivers.most.lock().unwrap();
        for key in ["", host] {
            let count = open.entry(key.to_owned()).or_default();
            *count += 1;
            let most = most.entry(key.to_owned()).or_default();
            *most = (*most).max(*count);
        }
        Self(receivers, host.to_owned())
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut open = self.0.open.lock().unwrap();
        for key in ["", &self.1] {
            *open.get_mut(key).unwrap() -= 1;
        }
    }
}

impl Receivers {
    fn new(bell: Bell, answer: impl Fn(&Hit) -> Answer + Send + 'static) -> Self {
        Self {
            hits: Mutex::default(),
            open: Mutex::default(),
            most: Mutex::default(),
            answer: Mutex::new(Box::new(answer)),
            bell,
        }
    }

    /// From now on they do something else.
    pub fn change_to(&self, answer: impl Fn(&Hit) -> Answer + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    pub fn hits(&self) -> Vec<Hit> {
        self.hits.lock().unwrap().clone()
    }

    pub fn hits_of(&self, host: &str) -> Vec<Hit> {
        let mut hits = self.hits();
        hits.retain(|hit| hit.host == host);
        hits
    }

    /// The most requests ever open at once to `host`, or in all ("").
    pub fn most(&self, host: &str) -> usize {
        self.most.lock().unwrap().get(host).copied().unwrap_or(0)
    }

    /// How many requests are open now.
    pub fn open(&self) -> usize {
        self.open.lock().unwrap().get("").copied().unwrap_or(0)
    }
}

#[async_trait]
impl Transport for Receivers {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let host = request.http.uri().host().unwrap().split('.').next().unwrap().to_owned();
        let _open = Open::new(self, &host);
        let (parts, body) = request.http.into_parts();
        let id = parts.headers.get("webhook-id");
        let event = id.map_or("", |id| id.to_str().unwrap()).to_owned();
        let mut hit = Hit {
            at: Instant::now(),
            host,
            event,
            nth: 1,
            body,
            headers: parts.headers,
            deadline: request.deadline,
            tls: request.tls,
        };
        {
            let mut hits = self.hits.lock().unwrap();
            let same = |other: &&Hit| other.host == hit.host && other.event == hit.event;
            hit.nth += hits.iter().filter(same).count();
            hits.push(hit.clone());
        }
        ring(&self.bell);
        let answer = (self.answer.lock().unwrap())(&hit);
        match answer {
            Answer::Status(status) => Ok(Response::new(status)),
            Answer::Slow(time, status) if time < request.deadline => {
                tokio::time::sleep(time).await;
                Ok(Response::new(status))
            }
            Answer::Silent | Answer::Slow(..) => {
                tokio::time::sleep(request.deadline).await;
                Err(TransportError::new(FailureKind::Timeout, "no answer"))
            }
            Answer::Stuck => std::future::pending().await,
            Answer::Panic => panic!("planted"),
            Answer::Fail(kind) => Err(TransportError::new(kind, "planted")),
            Answer::SlowBody(time, body) => {
                tokio::time::sleep(time).await;
                let mut response = Response::new(200);
                response.body = Bytes::from(body);
                Ok(response)
            }
            Answer::Body(status, body) => {
                let mut response = Response::new(status);
                response.body = Bytes::from(body);
                Ok(response)
            }
        }
    }
}

/// An observer that keeps what it hears, or panics.
#[derive(Debug)]
pub struct Notices {
    heard: Mutex<Vec<Notice>>,
    bell: Bell,
    panics: AtomicU8,
}

impl Notices {
    pub fn all(&self) -> Vec<Notice> {
        self.heard.lock().unwrap().clone()
    }

    /// The next notices make it panic.
    pub fn panic_next(&self, times: u8) {
        self.panics.store(times, Ordering::Relaxed);
    }

    /// How many deliveries have ended.
    pub fn ended(&self) -> usize {
        let ended = |notice: &&Notice| matches!(notice, Notice::Settled { delivery, .. } if delivery.state.is_ended());
        self.heard.lock().unwrap().iter().filter(ended).count()
    }

    /// How many attempts were settled.
    pub fn settled(&self) -> usize {
        let settled = |notice: &&Notice| matches!(notice, Notice::Settled { .. });
        self.heard.lock().unwrap().iter().filter(settled).count()
    }
}

#[derive(Debug)]
struct Ear(Arc<Notices>);

impl Observer for Ear {
    fn notice(&self, notice: &Notice) {
        let heard = &self.0;
        heard.heard.lock().unwrap().push(notice.clone());
        ring(&heard.bell);
        let panics = heard.panics.load(Ordering::Relaxed);
        if panics > 0 {
            heard.panics.store(panics - 1, Ordering::Relaxed);
            panic!("planted");
        }
    }
}

/// A handle and everything around it.
pub struct Stage {
    pub tidings: Tidings,
    /// Between the handle and the storage.
    pub faulty: Faulty,
    pub receivers: Arc<Receivers>,
    pub notices: Arc<Notices>,
    bell: Bell,
}

/// Rules without jitter, so that due times are exact.
pub fn exact() -> Policy {
    Policy::default().with_jitter_percent(0)
}

/// No housekeeping and hardly a poll: whatever happens has another reason.
pub fn quiet() -> DispatcherOptions {
    DispatcherOptions::default().poll(Duration::from_secs(1_000_000)).sweep_every(None)
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A dispatcher that runs.
pub struct Run {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Run {
    /// Shuts it down and waits for its end.
    pub async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.await.unwrap();
    }

    /// Kills it.
    pub async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }
}

impl Stage {
    pub fn new(answer: impl Fn(&Hit) -> Answer + Send + 'static) -> Self {
        Self::with(exact(), answer)
    }

    pub fn with(policy: Policy, answer: impl Fn(&Hit) -> Answer + Send + 'static) -> Self {
        Self::built(|builder| builder.policy(policy), answer)
    }

    /// With more said of the handle.
    pub fn built(
        more: impl FnOnce(Builder) -> Builder,
        answer: impl Fn(&Hit) -> Answer + Send + 'static,
    ) -> Self {
        quiet_panics();
        crate::trace::listen();
        let bell = Arc::new(watch::Sender::new(0));
        let faulty = Faulty::new(Arc::new(MemoryStorage::new()));
        let notices = Arc::new(Notices {
            heard: Mutex::default(),
            bell: bell.clone(),
            panics: AtomicU8::new(0),
        });
        let start = Instant::now();
        let random = Mutex::new(0_u128);
        let builder = Tidings::builder(faulty.clone())
            .policy(exact())
            .clock(clock_fn(move || time::after(epoch(), start.elapsed())))
            .entropy(entropy_fn(move |bytes| {
                let mut random = random.lock().unwrap();
                *random += 1;
                let seed = random.to_be_bytes();
                let len = bytes.len();
                for (at, byte) in bytes.iter_mut().enumerate() {
                    *byte = seed[(16 - len % 16 + at) % 16];
                }
            }))
            .observer(Ear(notices.clone()));
        let tidings = more(builder).build();
        Self {
            receivers: Arc::new(Receivers::new(bell.clone(), answer)),
            tidings,
            faulty,
            notices,
            bell,
        }
    }

    /// From now on, calls to the storage fail as `plan` says, by kind and number of the call.
    pub fn plan(&self, plan: impl Fn(Call, u64) -> Fault + Send + 'static) {
        self.faulty.plan(plan);
    }

    pub fn now(&self) -> Timestamp {
        // The handle's clock, by way of an event.
        let change = Change::of("clock.read", &json!({})).unwrap();
        self.tidings.event(change).unwrap().created()
    }

    /// An enabled webhook that wants `order.*`.
    pub async fn webhook(&self, host: &str) -> Webhook {
        self.webhook_with(host, Edit::new()).await
    }

    pub async fn webhook_with(&self, host: &str, edit: Edit) -> Webhook {
        let registration = registration(host).with(edit);
        self.tidings.create(registration).await.unwrap().webhook
    }

    pub fn event(&self, event_type: &str) -> Event {
        let change = Change::of(event_type, &json!({"total": 29.90})).unwrap();
        self.tidings.event(change).unwrap()
    }

    /// Publishes `count` events of type `order.paid`.
    pub async fn publish(&self, count: usize) -> Vec<Event> {
        let events: Vec<_> = (0..count).map(|_| self.event("order.paid")).collect();
        self.tidings.publish_all(&events).await.unwrap();
        events
    }

    pub fn start(&self, options: DispatcherOptions) -> Run {
        let transport = self.receivers.clone();
        let dispatcher = self.tidings.dispatcher_with(transport, options).unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(dispatcher.run(async {
            // A dropped sender is no wish to stop.
            if stopped.await.is_err() {
                std::future::pending().await
            }
        }));
        Run { stop: Some(stop), task }
    }

    /// Waits until `done`, which is looked at whenever a receiver or the observer was called.
    pub async fn until(&self, done: impl Fn(&Self) -> bool) {
        let mut bell = self.bell.subscribe();
        let wait = async {
            while !done(self) {
                bell.changed().await.unwrap();
            }
        };
        let bound = seconds(4 * 86_400);
        tokio::time::timeout(bound, wait).await.expect("it never happens");
    }

    /// Waits until the observer has heard of the end of `count` deliveries.
    pub async fn until_ended(&self, count: usize) {
        self.until(|stage| stage.notices.ended() >= count).await;
    }

    /// Waits until `count` deliveries have ended by the storage's word: after a crash the observer
    /// may have missed some.
    pub async fn until_all_ended(&self, count: usize) {
        let mut bell = self.bell.subscribe();
        let wait = async {
            loop {
                let all = self.deliveries(&[]).await;
                let ended = all.iter().filter(|view| view.delivery.state.is_ended());
                if ended.count() == count {
                    return;
                }
                bell.changed().await.unwrap();
            }
        };
        let bound = seconds(3_600);
        tokio::time::timeout(bound, wait).await.expect("it never happens");
    }

    /// Waits until receivers got `count` requests.
    pub async fn until_hits(&self, count: usize) {
        self.until(|stage| stage.receivers.hits().len() >= count).await;
    }

    /// All deliveries in one of `states` (in any, if there is none), past all faults.
    pub async fn deliveries(&self, states: &[StateKind]) -> Vec<DeliveryView> {
        let query = DeliveryQuery { states: states.to_vec(), ..DeliveryQuery::default() };
        let mut request = PageRequest::first(100).unwrap();
        let mut all = Vec::new();
        loop {
            let page = self.faulty.inner.deliveries(&query, &request).await.unwrap();
            all.extend(page.items);
            match page.next {
                Some(cursor) => request = request.after(cursor),
                None => return all,
            }
        }
    }

    /// The only delivery there is.
    pub async fn only(&self) -> DeliveryView {
        let mut all = self.deliveries(&[]).await;
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    /// Each receiver acknowledged each event that it got exactly once, `count` in all, and nothing
    /// is left to do.
    pub async fn assert_delivered_once(&self, count: usize) {
        let all = self.deliveries(&[]).await;
        let kinds: Vec<_> = all.iter().map(|view| view.delivery.state.kind()).collect();
        assert_eq!(kinds, vec![StateKind::Delivered; count]);
        let hits = self.receivers.hits();
        let mut seen = HashMap::<_, usize>::new();
        for hit in &hits {
            *seen.entry((hit.host.clone(), hit.event.clone())).or_default() += 1;
        }
        for view in &all {
            let tries = view.attempts.len();
            let webhook = self.tidings.webhook(view.delivery.webhook).await.unwrap();
            let host = webhook.address().host().split('.').next().unwrap().to_owned();
            let key = (host, view.event.id().to_string());
            assert_eq!(seen.remove(&key), Some(tries), "{:?}", view.delivery);
            assert!(view.attempts.pop_success_is_last());
        }
        assert!(seen.is_empty(), "nobody asked for {seen:?}");
    }
}

trait Attempts {
    fn pop_success_is_last(&self) -> bool;
}

impl Attempts for Vec<tidings::Attempt> {
    /// Whether the last attempt, and no other, succeeded.
    fn pop_success_is_last(&self) -> bool {
        let successes = self.iter().filter(|attempt| attempt.outcome.is_success());
        successes.count() == 1 && self.last().is_some_and(|last| last.outcome.is_success())
    }
}

/// Planted panics would fill the output.
fn quiet_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref() != Some(&"planted") {
                usual(info);
            }
        }));
    });
}

/// Where virtual time begins.
pub fn epoch() -> Timestamp {
    time::parse_time("2026-01-01T00:00:00Z").unwrap()
}

pub fn registration(host: &str) -> Registration {
    let address = format!("https://{host}.example/hook");
    Registration::new(&address, ["order.*"]).unwrap().enabled(true)
}

/// When a waiting delivery is due.
pub fn due(delivery: &Delivery) -> Timestamp {
    match delivery.state {
        tidings::State::Waiting { due } => due,
        other => panic!("{other:?} is not waiting"),
    }
}

/// Polls `future` at most `times` times, then drops it.
pub async fn poll_times<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    let mut future = Box::pin(future);
    let mut left = times;
    std::future::poll_fn(|context| {
        if left == 0 {
            return std::task::Poll::Ready(None);
        }
        left -= 1;
        let polled = future.as_mut().poll(context).map(Some);
        if polled.is_pending() {
            context.waker().wake_by_ref();
        }
        polled
    })
    .await
}
