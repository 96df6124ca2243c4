//! The receivers, as the transport reaches them: moods that change over the days.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tidings::transport::{Request, Response, Transport, TransportError};
use tidings::{
    Clock, DispatcherId, Event, EventId, FailureKind, SignatureScheme, Timestamp, Verifier, Webhook,
};

use super::faults::Fault;
use super::life::Request as Seen;
use super::rng::Rng;
use super::store::Shared;
use super::world::{Gate, SimClock};

/// How a receiver behaves for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Fails now and then.
    Flaky,
    Refusing,
    Hanging,
    Broken,
    Throttling,
    Redirecting,
    LosingAnswers,
}

const MOODS: [Mood; 12] = [
    Mood::Well,
    Mood::Well,
    Mood::Well,
    Mood::Well,
    Mood::Flaky,
    Mood::Flaky,
    Mood::Refusing,
    Mood::Hanging,
    Mood::Broken,
    Mood::Throttling,
    Mood::Redirecting,
    Mood::LosingAnswers,
];

/// Moods by time, in spells.
#[derive(Debug)]
pub struct Temper {
    spells: Vec<(Duration, Mood)>,
}

impl Temper {
    /// Moods for `days` days; most spells last hours, some days.
    pub fn draw(rng: &mut Rng, days: u64) -> Self {
        let end = Duration::from_secs(days * 86_400);
        let mut spells = Vec::new();
        let mut at = Duration::ZERO;
        while at < end {
            spells.push((at, *rng.pick(&MOODS)));
            let longest = if rng.once_in(5) { 7 * 86_400 } else { 12 * 3_600 };
            at += rng.time(Duration::from_secs(600), Duration::from_secs(longest));
        }
        Self { spells }
    }

    fn mood(&self, at: Duration) -> Mood {
        let next = self.spells.partition_point(|(from, _)| *from <= at);
        self.spells.get(next.saturating_sub(1)).map_or(Mood::Well, |(_, mood)| *mood)
    }
}

/// The way of one dispatcher to the receivers.
#[derive(Debug)]
pub struct SimTransport {
    pub shared: Arc<Shared>,
    pub clock: SimClock,
    pub dispatcher: std::sync::OnceLock<DispatcherId>,
    pub temper: Arc<Vec<Temper>>,
    /// Shut while the process is stopped.
    pub gate: Arc<Gate>,
    /// Kills the dispatcher that uses this transport.
    pub kill: Arc<tokio::sync::Notify>,
    /// Shuts it down.
    pub stop: Arc<tokio::sync::Notify>,
}

#[async_trait]
impl Transport for SimTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let shared = &self.shared;
        if shared.roll(Fault::Local, shared.odds.own) {
            return Err(TransportError::new(FailureKind::Local, "planted"));
        }
        if shared.roll(Fault::Busy, shared.odds.own) {
            return Err(TransportError::new(FailureKind::Busy, "planted"));
        }
        assert!(!shared.roll(Fault::Panic, shared.odds.own), "planted");
        let begun = tokio::time::Instant::now();
        self.gate.pass().await;
        if begun.elapsed() >= request.deadline {
            // A transport does not begin to write when it is too late.
            return Err(TransportError::new(FailureKind::Timeout, "stopped before it was sent"));
        }
        let path = request.http.uri().path().to_owned();
        let by = *self.dispatcher.get().unwrap();
        let now = self.clock.now();
        let seen = shared.see(|model| {
            // Not every scheme tells the id beside the body.
            let body: serde_json::Value = serde_json::from_slice(request.http.body()).unwrap();
            let event = EventId::parse(body["id"].as_str().unwrap()).unwrap();
            let webhook = model.webhook_at(&path).expect("I2: nobody lives there");
            let until = now + request.deadline;
            let (seen, webhook) = model.request(event, webhook, by, now, until);
            let event = model.event(event).unwrap();
            let sent = request.http.body().as_ref();
            assert_eq!(sent, event.payload().as_bytes(), "I9: the bytes");
            check_signatures(&request.http, event, &webhook, now);
            seen
        });
        // A crash in the middle of things, or just after.
        if shared.odds.crash && shared.roll(Fault::Crash, 60) {
            self.kill.notify_one();
        }
        if shared.odds.shutdown && shared.roll(Fault::Shutdown, 60) {
            self.stop.notify_one();
        }
        let Some(seen) = seen else {
            return Err(TransportError::new(FailureKind::Local, "the model has failed"));
        };
        let answer = self.answer(&request, &path, seen).await;
        // Where the process was stopped meanwhile, the dispatcher hears of it when that goes on.
        shared.see(|model| model.over(seen));
        answer
    }
}

impl SimTransport {
    /// What the receiver does with a request that it got.
    async fn answer(
        &self,
        request: &Request,
        path: &str,
        seen: Seen,
    ) -> Result<Response, TransportError> {
        let shared = &self.shared;
        let number: usize = path.rsplit('/').next().unwrap().parse().unwrap();
        let index = number % self.temper.len();
        let mood = if shared.is_calm() || !shared.odds.network {
            Mood::Well
        } else {
            self.temper[index].mood(self.clock.elapsed())
        };
        let (latency, flaky, throttled, asked) = {
            let mut rng = shared.rng.lock().unwrap();
            (
                rng.time(Duration::from_millis(1), Duration::from_millis(900)),
                rng.once_in(3),
                *rng.pick(&[429_u16, 503]),
                *rng.pick(&ASKED),
            )
        };
        let fire = |fault| shared.fired.fire(fault);
        let answer = |status| {
            shared.see(|model| model.answered(seen, status, None));
            Ok(Response::new(status))
        };
        if shared.roll(Fault::Gone, shared.odds.gone) {
            return answer(410);
        }
        match mood {
            Mood::Refusing => {
                fire(Fault::Refuse);
                tokio::time::sleep(Duration::from_millis(2)).await;
                Err(TransportError::new(FailureKind::Connect, "refused"))
            }
            Mood::Hanging => {
                fire(Fault::Timeout);
                tokio::time::sleep(request.deadline).await;
                Err(TransportError::new(FailureKind::Timeout, "no answer in time"))
            }
            Mood::LosingAnswers if flaky => {
                fire(Fault::AnswerLost);
                tokio::time::sleep(latency).await;
                Err(TransportError::new(FailureKind::Protocol, "the connection was reset"))
            }
            Mood::Broken => {
                fire(Fault::ServerError);
                tokio::time::sleep(latency).await;
                answer(500)
            }
            Mood::Flaky if flaky => {
                fire(Fault::ServerError);
                tokio::time::sleep(latency).await;
                answer(502)
            }
            Mood::Throttling => {
                fire(Fault::Throttle);
                tokio::time::sleep(latency).await;
                let now = self.clock.now();
                let (text, wait) = asked.at(now);
                shared.see(|model| model.answered(seen, throttled, wait));
                let mut response = Response::new(throttled);
                response.headers.insert("retry-after", text.parse().unwrap());
                Ok(response)
            }
            Mood::Redirecting => {
                fire(Fault::Redirect);
                tokio::time::sleep(latency).await;
                answer(307)
            }
            Mood::Well | Mood::Flaky | Mood::LosingAnswers => {
                tokio::time::sleep(latency).await;
                if shared.odds.crash && shared.roll(Fault::Crash, 60) {
                    self.kill.notify_one();
                }
                answer(if flaky { 200 } else { 204 })
            }
        }
    }
}

/// What a receiver asks for in `Retry-After`.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Seconds(u64),
    /// A date so many seconds ahead.
    Date(i64),
    Nonsense(&'static str),
}

const ASKED: [Asked; 9] = [
    Asked::Seconds(5),
    Asked::Seconds(120),
    Asked::Seconds(3_600),
    Asked::Seconds(86_400),
    Asked::Seconds(999_999_999),
    Asked::Date(600),
    Asked::Date(-600),
    Asked::Nonsense("-1"),
    Asked::Nonsense("soon"),
];

impl Asked {
    /// The header's value, and how long it means from `now`.
    fn at(self, now: Timestamp) -> (String, Option<Duration>) {
        match self {
            Self::Seconds(seconds) => (seconds.to_string(), Some(Duration::from_secs(seconds))),
            Self::Date(ahead) => {
                let date = now + chrono::TimeDelta::seconds(ahead);
                let text = date.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
                (text, Some(Duration::from_secs(ahead.max(0) as u64)))
            }
            Self::Nonsense(text) => (text.to_owned(), None),
        }
    }
}

/// Checks what says who the sender is: the id, a time of this very second, and a signature of each
/// scheme. The standard one is computed here as its specification says.
fn check_signatures(http: &http::Request<Bytes>, event: &Event, webhook: &Webhook, now: Timestamp) {
    let secret = webhook.secrets().unwrap().current().clone();
    for scheme in webhook.schemes() {
        let verifier = Verifier::new(scheme.clone(), [secret.clone()]).unwrap();
        let headers = http.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let verified = verifier.verify(headers, http.body(), now);
        let verified = verified.unwrap_or_else(|error| panic!("I9: {scheme:?}: {error}"));
        let behind = now.timestamp() - verified.timestamp.timestamp();
        assert!((0..=1).contains(&behind), "I9: signed {behind} s ago");
        if *scheme != SignatureScheme::StandardWebhooks {
            continue;
        }
        let header = |name: &str| http.headers()[name].to_str().unwrap();
        let (id, time) = (header("webhook-id"), header("webhook-timestamp"));
        assert_eq!(id, event.id().to_string(), "I9: the id");
        let key = secret.reveal().strip_prefix("whsec_").unwrap();
        let key = STANDARD.decode(key).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{id}.{time}.{}", event.payload()).as_bytes());
        let code = STANDARD.encode(mac.finalize().into_bytes());
        let mut codes = header("webhook-signature").split(' ');
        assert!(
            codes.any(|one| one.strip_prefix("v1,") == Some(&code)),
            "I9: the standard signature"
        );
    }
}
