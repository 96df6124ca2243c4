//! Hooks and observers of a host that panic, fail, hang and call back: each costs its own delivery an
//! attempt, and nobody else anything.
#![cfg(feature = "engine")]

#[path = "support/trace.rs"]
mod trace;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::json;
use tidings::hooks::{Hooks, Sending};
use tidings::policy::{
    HOOKS_AT_ONCE, HOOKS_LATE_PER_WEBHOOK, NOTICE_BYTES_WAITING, RESPONSE_BYTES_KEPT,
};
use tidings::storage::MemoryStorage;
use tidings::transport::{Request, Response, Transport, TransportError, transport_fn};
use tidings::{
    Authentication, Basic, Change, DeliveryQuery, DispatcherOptions, Edit, FailureKind, Headers,
    Notice, Observer, Outcome, PageRequest, Policy, RateLimit, Registration, StateKind, Tidings,
    WebhookId,
};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(60);

/// Keeps whoever waits at it until it is opened, as a hook that hangs would be.
#[derive(Debug, Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn wait(&self) {
        let (open, bell) = &*self.0;
        drop(bell.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// Opens the gate even when a test fails, so that the runtime can end.
impl Drop for Opener {
    fn drop(&mut self) {
        self.0.open();
    }
}

struct Opener(Gate);

/// What an observer heard, with a bell.
#[derive(Debug, Clone)]
struct Ear(Arc<Heard>);

#[derive(Debug)]
struct Heard {
    notices: Mutex<Vec<Notice>>,
    bell: watch::Sender<u64>,
}

impl Default for Ear {
    fn default() -> Self {
        Self(Arc::new(Heard { notices: Mutex::default(), bell: watch::channel(0).0 }))
    }
}

impl Observer for Ear {
    fn notice(&self, notice: &Notice) {
        self.0.notices.lock().unwrap().push(notice.clone());
        self.0.bell.send_modify(|count| *count += 1);
    }
}

impl Ear {
    /// The kinds of the attempts of each event by its number.
    fn attempts(&self) -> HashMap<u64, Vec<Outcome>> {
        let mut found: HashMap<u64, Vec<Outcome>> = HashMap::new();
        for notice in &*self.0.notices.lock().unwrap() {
            if let Notice::Settled { event, attempt, .. } = notice {
                found.entry(number(event)).or_default().push(attempt.outcome);
            }
        }
        found
    }

    async fn until(&self, done: impl Fn(&Self) -> bool) {
        let mut bell = self.0.bell.subscribe();
        let wait = async {
            while !done(self) {
                bell.changed().await.unwrap();
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect("it took too long");
    }

    /// Waits until so many deliveries have ended with a 2xx.
    async fn until_delivered(&self, count: usize) {
        self.until(|ear| {
            let notices = ear.0.notices.lock().unwrap();
            let ended = |notice: &&Notice| {
                matches!(notice, Notice::Settled { attempt, .. } if attempt.outcome.is_success())
            };
            notices.iter().filter(ended).count() == count
        })
        .await;
    }
}

fn number(event: &tidings::Event) -> u64 {
    let payload: serde_json::Value = serde_json::from_str(event.payload()).unwrap();
    payload["data"]["object"]["number"].as_u64().unwrap()
}

/// A handle with hooks, a receiver that keeps what it got, and a dispatcher.
struct Place {
    tidings: Tidings,
    requests: Arc<Mutex<Vec<http::HeaderMap>>>,
    deadlines: Arc<Mutex<Vec<Duration>>>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Place {
    async fn new(hooks: Hooks, observer: impl Observer) -> Self {
        let requests: Arc<Mutex<Vec<http::HeaderMap>>> = Arc::default();
        let deadlines: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let kept = (requests.clone(), deadlines.clone());
        let transport = transport_fn(move |request: Request| {
            kept.0.lock().unwrap().push(request.http.headers().clone());
            kept.1.lock().unwrap().push(request.deadline);
            async { Ok(Response::new(204)) }
        });
        Self { requests, deadlines, ..Self::with(hooks, observer, transport).await }
    }

    async fn with(hooks: Hooks, observer: impl Observer, transport: impl Transport) -> Self {
        trace::listen();
        let millisecond = Duration::from_millis(1);
        let policy = Policy::default().with_pause(millisecond, millisecond);
        let tidings = Tidings::builder(MemoryStorage::new())
            .policy(policy)
            .hooks(hooks)
            .observer(observer)
            .build();
        let options = DispatcherOptions::default().poll(Duration::from_millis(10));
        let dispatcher = tidings.dispatcher_with(Arc::new(transport), options).unwrap();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(dispatcher.run(async {
            let _ = stopped.await;
        }));
        Self { tidings, requests: Arc::default(), deadlines: Arc::default(), stop, running }
    }

    async fn webhook(&self) -> WebhookId {
        self.register(Registration::new("https://example.com/hook", ["*"]).unwrap()).await
    }

    async fn register(&self, registration: Registration) -> WebhookId {
        self.tidings.create(registration.enabled(true)).await.unwrap().webhook.id()
    }

    async fn publish(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let object = json!({ "id": number.to_string(), "number": number });
            let event = self.tidings.event(Change::of("order.paid", &object).unwrap()).unwrap();
            self.tidings.publish(&event).await.unwrap();
        }
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(LIMIT, self.running).await.unwrap().unwrap();
    }
}

fn is_first(sending: &Sending) -> bool {
    sending.delivery.attempt == 1
}

/// Sends 10,000 deliveries past three hooks of which one panics at the first attempt of every
/// hundredth, each in its turn: those attempts fail by their own kind, all others are untouched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_panic_in_a_hundred_costs_one_attempt_in_a_hundred() {
    const ALL: u64 = 10_000;
    let panics = |which: u64| {
        move |sending: &Sending| {
            let number = number(&sending.event);
            assert!(!(number % 300 == which * 100 && is_first(sending)), "planted");
        }
    };
    let (filter, header, authorizer) = (panics(0), panics(1), panics(2));
    let hooks = Hooks::new()
        .filter(move |sending| {
            filter(sending);
            Ok(true)
        })
        .headers(move |sending| {
            header(sending);
            Ok(Headers::parse([("x-number", number(&sending.event).to_string())])?)
        })
        .authorizer(move |sending| {
            authorizer(sending);
            Ok(Some(tidings::HeaderValue::parse("Token abc")?))
        });
    let ear = Ear::default();
    let place = Place::new(hooks, ear.clone()).await;
    place.webhook().await;
    place.publish(0..ALL).await;
    ear.until_delivered(ALL as usize).await;
    let attempts = ear.attempts();
    assert_eq!(attempts.len(), ALL as usize);
    for (number, outcomes) in attempts {
        let answered = Outcome::Answered { status: 204, retry_after: None };
        let hit = [Outcome::Unanswered(FailureKind::Hook), answered];
        let expected = if number % 100 == 0 { &hit[..] } else { &hit[1..] };
        assert_eq!(outcomes, expected, "{number}");
    }
    let requests = std::mem::take(&mut *place.requests.lock().unwrap());
    assert_eq!(requests.len(), ALL as usize, "a failed hook sent something");
    assert!(requests.iter().all(|headers| headers["authorization"] == "Token abc"));
    assert!(requests.iter().all(|headers| headers.contains_key("x-number")));
    place.end().await;
}

/// Lets each hook in turn hang on the first attempts of 100 deliveries among 1,000 (table): more than
/// there are threads, until the gate opens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_hangs_costs_its_attempt_and_stops_nobody() {
    for which in ["filter", "header", "authorizer"] {
        let gate = Gate::default();
        let _opener = Opener(gate.clone());
        let hanging = Arc::new(AtomicU64::new(0));
        let hang = {
            let (gate, hanging) = (gate.clone(), hanging.clone());
            move |name: &str, sending: &Sending| {
                if name == which && number(&sending.event) < 100 && is_first(sending) {
                    hanging.fetch_add(1, Ordering::SeqCst);
                    gate.wait();
                }
            }
        };
        let (filter, header, authorizer) = (hang.clone(), hang.clone(), hang);
        let hooks = Hooks::new()
            .within(Duration::from_millis(100))
            .filter(move |sending| {
                filter("filter", sending);
                Ok(true)
            })
            .headers(move |sending| {
                header("header", sending);
                Ok(Headers::default())
            })
            .authorizer(move |sending| {
                authorizer("authorizer", sending);
                Ok(None)
            });
        let ear = Ear::default();
        let place = Place::new(hooks, ear.clone()).await;
        place.webhook().await;
        place.publish(0..1_000).await;
        // All of them, while a hundred threads hang: the gate is still closed.
        ear.until_delivered(1_000).await;
        assert_eq!(hanging.load(Ordering::SeqCst), 100, "{which}");
        let attempts = ear.attempts();
        for number in 0..100 {
            let first = attempts[&number][0];
            assert_eq!(first, Outcome::Unanswered(FailureKind::Hook), "{which} {number}");
        }
        gate.open();
        place.end().await;
    }
}

/// Hangs in every hook for one webhook, in more than may hang there, and sends to another one; then opens
/// the gate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_that_hang_for_one_webhook_leave_room_for_others() {
    let gate = Gate::default();
    let _opener = Opener(gate.clone());
    let (inside, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (held, now, top) = (gate.clone(), inside.clone(), most.clone());
    let hooks = Hooks::new().within(Duration::from_millis(100)).filter(move |sending| {
        if sending.webhook.description() == "bad" {
            top.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            held.wait();
            now.fetch_sub(1, Ordering::SeqCst);
        }
        Ok(true)
    });
    let ear = Ear::default();
    let place = Place::new(hooks, ear.clone()).await;
    let bad = Registration::new("https://bad.example", ["*"]).unwrap();
    place.register(bad.with(Edit::new().description("bad"))).await;
    place.publish(0..400).await;
    ear.until(|ear| ear.attempts().len() >= HOOKS_LATE_PER_WEBHOOK).await;
    assert!(place.requests.lock().unwrap().is_empty());
    place.webhook().await;
    place.publish(400..500).await;
    ear.until_delivered(100).await;
    let most = most.load(Ordering::SeqCst) as usize;
    assert!(most <= HOOKS_LATE_PER_WEBHOOK + HOOKS_AT_ONCE, "{most}");
    gate.open();
    // Both get the last hundred.
    ear.until_delivered(600).await;
    let attempts = ear.attempts();
    for outcome in attempts.values().flatten().filter(|outcome| !outcome.is_success()) {
        assert_eq!(*outcome, Outcome::Unanswered(FailureKind::Hook));
    }
    place.end().await;
}

/// Hangs in as many hooks as there are threads, and asks another one that needs most of its time: it waits
/// for a thread, and then has its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_waited_for_its_thread_has_its_whole_time() {
    let gate = Gate::default();
    let _opener = Opener(gate.clone());
    let (told, mut inside) = watch::channel(0);
    let held = gate.clone();
    let hooks = Hooks::new().within(Duration::from_secs(3)).filter(move |sending| {
        if sending.webhook.description() == "bad" {
            told.send_modify(|inside| *inside += 1);
            held.wait();
        } else {
            std::thread::sleep(Duration::from_secs(2));
        }
        Ok(true)
    });
    let ear = Ear::default();
    let place = Place::new(hooks, ear.clone()).await;
    let bad = Registration::new("https://bad.example", ["*"]).unwrap();
    place.register(bad.with(Edit::new().description("bad"))).await;
    place.publish(0..HOOKS_AT_ONCE as u64).await;
    inside.wait_for(|inside| *inside == HOOKS_AT_ONCE).await.unwrap();
    place.webhook().await;
    place.publish(1_000..1_001).await;
    ear.until_delivered(1).await;
    let blamed = Outcome::Unanswered(FailureKind::Hook);
    let attempts = ear.attempts();
    // The hanging webhook gets the last event, too.
    let failed = attempts[&1_000].iter().filter(|outcome| **outcome == blamed).count();
    assert!(failed <= 1, "{:?}", attempts[&1_000]);
    gate.open();
    place.end().await;
}

/// Stalls the hooks of a webhook with a rate limit until many deliveries wait in them, and counts the
/// requests of each second from there on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_that_stall_do_not_break_a_rate_limit() {
    let gate = Gate::default();
    let _opener = Opener(gate.clone());
    let (told, mut inside) = watch::channel(0);
    let held = gate.clone();
    let hooks = Hooks::new().filter(move |_| {
        told.send_modify(|inside| *inside += 1);
        held.wait();
        Ok(true)
    });
    let times = Arc::new(Mutex::new(Vec::new()));
    let kept = times.clone();
    let transport = transport_fn(move |_| {
        kept.lock().unwrap().push(tokio::time::Instant::now());
        async { Ok(Response::new(204)) }
    });
    let ear = Ear::default();
    let place = Place::with(hooks, ear.clone(), transport).await;
    let limited = Registration::new("https://example.com/hook", ["*"]).unwrap();
    let limit = RateLimit::new(50).unwrap();
    place.register(limited.with(Edit::new().rate_limit(Some(limit)))).await;
    place.publish(0..120).await;
    inside.wait_for(|inside| *inside == 40).await.unwrap();
    gate.open();
    ear.until_delivered(120).await;
    let times = times.lock().unwrap().clone();
    for (at, from) in times.iter().enumerate() {
        let end = *from + Duration::from_secs(1);
        let count = times[at..].iter().filter(|time| **time < end).count();
        // The rate, the burst, and the tenth of a second by which a departure may be late.
        assert!(count <= 50 + 1 + 6, "{count}");
    }
    place.end().await;
}

/// Lets a hook take most of a second for a webhook that answers within one, and looks at the time that
/// the receiver is given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_hook_takes_nothing_of_the_receivers_time() {
    let hooks = Hooks::new().filter(|_| {
        std::thread::sleep(Duration::from_millis(700));
        Ok(true)
    });
    let place = Place::new(hooks, Ear::default()).await;
    let registration = Registration::new("https://example.com/hook", ["*"]).unwrap();
    place.register(registration.with(Edit::new().timeout(Some(Duration::from_secs(1))))).await;
    place.publish(0..1).await;
    received(&place, 1).await;
    let deadlines = place.deadlines.lock().unwrap().clone();
    assert!(deadlines[0] > Duration::from_millis(900), "{deadlines:?}");
    place.end().await;
}

/// Hangs in a hook for forty seconds of the sixty that an attempt may have at most, for a receiver that
/// has as many to answer and never does: it had far less than it is promised.
#[tokio::test(start_paused = true)]
async fn a_receiver_is_not_blamed_for_time_that_hooks_took() {
    let (gate, ear) = (Gate::default(), Ear::default());
    let _opener = Opener(gate.clone());
    let held = gate.clone();
    let (told, mut inside) = watch::channel(false);
    let hooks = Hooks::new().within(Duration::from_secs(60)).filter(move |_| {
        told.send_replace(true);
        held.wait();
        Ok(true)
    });
    let place = Place::with(
        hooks,
        ear.clone(),
        transport_fn(|_| std::future::pending::<Result<Response, TransportError>>()),
    )
    .await;
    let registration = Registration::new("https://example.com/hook", ["*"]).unwrap();
    place.register(registration.with(Edit::new().timeout(Some(Duration::from_secs(60))))).await;
    place.publish(0..1).await;
    inside.wait_for(|inside| *inside).await.unwrap();
    tokio::time::advance(Duration::from_secs(40)).await;
    gate.open();
    let mut bell = ear.0.bell.subscribe();
    while ear.attempts().is_empty() {
        bell.changed().await.unwrap();
    }
    assert_eq!(ear.attempts()[&0][0], Outcome::Unanswered(FailureKind::Hook));
    place.running.abort();
}

/// Refuses every tenth delivery by the filter and reads back what is kept of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_filter_refuses_is_cancelled_and_says_so() {
    let hooks = Hooks::new().filter(|sending| Ok(!number(&sending.event).is_multiple_of(10)));
    let ear = Ear::default();
    let place = Place::new(hooks, ear.clone()).await;
    place.webhook().await;
    place.publish(0..100).await;
    ear.until(|ear| ear.attempts().len() == 100).await;
    assert_eq!(place.requests.lock().unwrap().len(), 90);
    let query = DeliveryQuery { states: vec![StateKind::Cancelled], ..DeliveryQuery::default() };
    let page = PageRequest::first(100).unwrap();
    let cancelled = place.tidings.deliveries(&query, &page).await.unwrap().items;
    assert_eq!(cancelled.len(), 10);
    for view in cancelled {
        assert_eq!(view.attempts.len(), 1);
        assert_eq!(view.attempts[0].outcome, Outcome::Unanswered(FailureKind::Filtered));
        assert!(view.attempts[0].error.as_ref().unwrap().contains("filter"));
    }
    place.end().await;
}

/// Lets hooks fail with words of the host's, and write what the request has already (table).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_fails_sends_nothing_and_keeps_its_words_to_the_log() {
    type Make = fn() -> Hooks;
    let cases: [(Make, &str); 5] = [
        (|| Hooks::new().filter(|_| Err("CANARY".into())), "the filter hook failed"),
        (|| Hooks::new().headers(|_| Err("CANARY".into())), "the header hook failed"),
        (|| Hooks::new().authorizer(|_| Err("CANARY".into())), "the authorizer hook failed"),
        (
            || Hooks::new().headers(|_| Ok(Headers::parse([("X-Own", "CANARY")])?)),
            "would write X-Own twice",
        ),
        (
            || Hooks::new().headers(|_| Ok(Headers::parse([("User-Agent", "CANARY")])?)),
            "would write User-Agent twice",
        ),
    ];
    for (hooks, says) in cases {
        let ear = Ear::default();
        let place = Place::new(hooks(), ear.clone()).await;
        let own = Headers::parse([("x-own", "1")]).unwrap();
        let registration = Registration::new("https://example.com/hook", ["*"]).unwrap();
        place.register(registration.with(Edit::new().headers(own))).await;
        place.publish(0..1).await;
        ear.until(|ear| !ear.attempts().is_empty()).await;
        let notices = ear.0.notices.lock().unwrap().clone();
        let Notice::Settled { attempt, .. } = &notices[0] else { panic!("{notices:?}") };
        assert_eq!(attempt.outcome, Outcome::Unanswered(FailureKind::Hook));
        let error = attempt.error.as_deref().unwrap();
        assert!(error.contains(says) && !error.contains("CANARY"), "{error}");
        assert!(place.requests.lock().unwrap().is_empty());
        place.end().await;
    }
}

/// Sends to a webhook with credentials of its own beside one without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authorizer_is_asked_only_where_there_is_nothing_else() {
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    let hooks = Hooks::new().authorizer(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(Some(tidings::HeaderValue::parse("Token abc")?))
    });
    let ear = Ear::default();
    let place = Place::new(hooks, ear.clone()).await;
    let new = || Registration::new("https://example.com/hook", ["*"]).unwrap();
    let basic = Authentication::Basic(Basic::new("Aladdin", "open sesame").unwrap());
    place.register(new().with(Edit::new().authentication(basic))).await;
    let own = Headers::parse([("authorization", "Own 1")]).unwrap();
    place.register(new().with(Edit::new().headers(own))).await;
    place.register(new()).await;
    place.publish(0..1).await;
    ear.until_delivered(3).await;
    let mut found: Vec<_> = place.requests.lock().unwrap().iter().map(authorization).collect();
    found.sort();
    assert_eq!(found, ["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Own 1", "Token abc"]);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    place.end().await;
}

fn authorization(headers: &http::HeaderMap) -> String {
    headers["authorization"].to_str().unwrap().to_owned()
}

/// Calls the crate from each hook: publishes, lists, edits. Twenty times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_may_call_the_crate() {
    let back: Arc<std::sync::OnceLock<Tidings>> = Arc::default();
    let runtime = tokio::runtime::Handle::current();
    let call = {
        let back = back.clone();
        move |sending: &Sending| {
            let (tidings, id) = (back.get().unwrap(), sending.webhook.id());
            runtime.block_on(async {
                tidings.webhook(id).await.unwrap();
                let object = json!({ "id": "1", "number": 1_000_000 });
                let event = tidings.event(Change::of("quiet.said", &object).unwrap()).unwrap();
                tidings.publish(&event).await.unwrap();
                let page = PageRequest::default();
                tidings.deliveries(&DeliveryQuery::default(), &page).await.unwrap();
            });
        }
    };
    let (filter, headers, authorizer) = (call.clone(), call.clone(), call);
    let hooks = Hooks::new()
        .filter(move |sending| {
            filter(sending);
            Ok(true)
        })
        .headers(move |sending| {
            headers(sending);
            Ok(Headers::default())
        })
        .authorizer(move |sending| {
            authorizer(sending);
            Ok(None)
        });
    let ear = Ear::default();
    let place = Place::new(hooks, ear.clone()).await;
    back.set(place.tidings.clone()).unwrap();
    place.register(Registration::new("https://example.com/", ["order.*"]).unwrap()).await;
    place.publish(0..20).await;
    ear.until_delivered(20).await;
    place.end().await;
}

/// An observer that panics at every hundredth notice, and one that hangs at its first.
#[derive(Debug, Default, Clone)]
struct Bad {
    gate: Option<Gate>,
    heard: Arc<AtomicU64>,
    missed: Arc<AtomicU64>,
    hung: Arc<AtomicBool>,
}

impl Observer for Bad {
    fn notice(&self, notice: &Notice) {
        if let Notice::Missed { count } = notice {
            self.missed.fetch_add(*count, Ordering::SeqCst);
            return;
        }
        let number = self.heard.fetch_add(1, Ordering::SeqCst);
        match &self.gate {
            Some(gate) if number == 0 => {
                self.hung.store(true, Ordering::SeqCst);
                gate.wait();
            }
            None => assert!(!number.is_multiple_of(100), "planted"),
            Some(_) => {}
        }
    }
}

/// Sends 10,000 deliveries past an observer that panics at one notice in a hundred; a dispatcher that
/// ends has told it everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_that_panics_hears_the_rest() {
    let bad = Bad::default();
    let place = Place::new(Hooks::new(), bad.clone()).await;
    place.webhook().await;
    place.publish(0..10_000).await;
    received(&place, 10_000).await;
    place.end().await;
    let heard = bad.heard.load(Ordering::SeqCst) + bad.missed.load(Ordering::SeqCst);
    assert_eq!(heard, 10_000);
}

/// Hangs the observer while 10,000 deliveries are sent, then lets it go on: what it heard and what it
/// was told it missed are all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_that_hangs_stops_nobody_and_learns_what_it_missed() {
    let gate = Gate::default();
    let _opener = Opener(gate.clone());
    let bad = Bad { gate: Some(gate.clone()), ..Bad::default() };
    let place = Place::new(Hooks::new(), bad.clone()).await;
    place.webhook().await;
    place.publish(0..10_000).await;
    received(&place, 10_000).await;
    assert!(bad.hung.load(Ordering::SeqCst));
    assert!(bad.heard.load(Ordering::SeqCst) <= 1, "it hangs");
    gate.open();
    place.end().await;
    let (heard, missed) = (bad.heard.load(Ordering::SeqCst), bad.missed.load(Ordering::SeqCst));
    assert!(missed > 0);
    assert_eq!(heard + missed, 10_000);
}

/// Hangs the observer while receivers answer with their largest bodies: what waits for it is bounded by
/// its size, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_an_observer_is_bounded_in_bytes() {
    let gate = Gate::default();
    let _opener = Opener(gate.clone());
    let bad = Bad { gate: Some(gate.clone()), ..Bad::default() };
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    let transport = transport_fn(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async {
            let mut response = Response::new(200);
            response.body = vec![b'x'; RESPONSE_BYTES_KEPT].into();
            Ok(response)
        }
    });
    let place = Place::with(Hooks::new(), bad.clone(), transport).await;
    place.webhook().await;
    let fit = (NOTICE_BYTES_WAITING / RESPONSE_BYTES_KEPT) as u64;
    place.publish(0..fit + 500).await;
    let wait = async {
        while sent.load(Ordering::SeqCst) < fit + 500 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap();
    gate.open();
    place.end().await;
    let missed = bad.missed.load(Ordering::SeqCst);
    // Some are told while the gate opens.
    assert!((400..600).contains(&missed), "{missed}");
    assert_eq!(missed + bad.heard.load(Ordering::SeqCst), fit + 500);
}

/// Waits until the receiver has got so many requests.
async fn received(place: &Place, count: u64) {
    let wait = async {
        while (place.requests.lock().unwrap().len() as u64) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.expect("too few requests");
}
