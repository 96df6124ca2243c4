//! The receivers, as the transport reaches them: moods that change over the days.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidings::transport::{Request, Response, Transport, TransportError};
use tidings::{Clock, DispatcherId, EventId, FailureKind, SignatureScheme, Verifier};

use super::faults::Fault;
use super::rng::Rng;
use super::store::Shared;
use super::world::SimClock;

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
            let longest = if rng.once_in(5) {
                7 * 86_400
            } else {
                12 * 3_600
            };
            at += rng.time(Duration::from_secs(600), Duration::from_secs(longest));
        }
        Self { spells }
    }

    fn mood(&self, at: Duration) -> Mood {
        let next = self.spells.partition_point(|(from, _)| *from <= at);
        self.spells
            .get(next.saturating_sub(1))
            .map_or(Mood::Well, |(_, mood)| *mood)
    }
}

/// The way of one dispatcher to the receivers.
#[derive(Debug)]
pub struct SimTransport {
    pub shared: Arc<Shared>,
    pub clock: SimClock,
    pub dispatcher: std::sync::OnceLock<DispatcherId>,
    pub temper: Arc<Vec<Temper>>,
    /// Kills the dispatcher that uses this transport.
    pub kill: Arc<tokio::sync::Notify>,
}

#[async_trait]
impl Transport for SimTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let shared = &self.shared;
        if shared.roll(Fault::Local, shared.odds.own) {
            return Err(TransportError::new(FailureKind::Local, "planted"));
        }
        assert!(!shared.roll(Fault::Panic, shared.odds.own), "planted");
        let header = |name: &str| request.http.headers().get(name).unwrap().to_str().unwrap();
        let event = EventId::parse(header("webhook-id")).unwrap();
        let path = request.http.uri().path().to_owned();
        let by = *self.dispatcher.get().unwrap();
        let now = self.clock.now();
        let seen = shared.see(|model| {
            let webhook = model.webhook_at(&path).unwrap();
            let delivery = model.request(event, webhook, by);
            let payload = model.event(event).unwrap().payload();
            assert_eq!(
                request.http.body().as_ref(),
                payload.as_bytes(),
                "I9: the bytes"
            );
            let hook = model.webhook(webhook).unwrap();
            let secret = hook.secrets().current().clone();
            let verifier = Verifier::new(SignatureScheme::StandardWebhooks, [secret]).unwrap();
            let headers = request
                .http
                .headers()
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_bytes()));
            let verified = verifier.verify(headers, request.http.body(), now);
            assert!(verified.is_ok(), "I9: signature: {verified:?}");
            delivery
        });
        // A crash in the middle of things, or just after.
        if shared.odds.crash && shared.roll(Fault::Crash, 60) {
            self.kill.notify_one();
        }
        let Some(delivery) = seen else {
            return Err(TransportError::new(
                FailureKind::Local,
                "the model has failed",
            ));
        };
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
                *rng.pick(&["5", "120", "3600", "86400", "999999999", "-1", "soon"]),
            )
        };
        let fire = |fault| shared.fired.fire(fault);
        if shared.roll(Fault::Gone, shared.odds.gone) {
            return Ok(Response::new(410));
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
                Err(TransportError::new(
                    FailureKind::Timeout,
                    "no answer in time",
                ))
            }
            Mood::LosingAnswers if flaky => {
                fire(Fault::AnswerLost);
                tokio::time::sleep(latency).await;
                Err(TransportError::new(
                    FailureKind::Protocol,
                    "the connection was reset",
                ))
            }
            Mood::Broken => {
                fire(Fault::ServerError);
                tokio::time::sleep(latency).await;
                Ok(Response::new(500))
            }
            Mood::Flaky if flaky => {
                fire(Fault::ServerError);
                tokio::time::sleep(latency).await;
                Ok(Response::new(502))
            }
            Mood::Throttling => {
                fire(Fault::Throttle);
                tokio::time::sleep(latency).await;
                let mut response = Response::new(throttled);
                response
                    .headers
                    .insert("retry-after", asked.parse().unwrap());
                Ok(response)
            }
            Mood::Redirecting => {
                fire(Fault::Redirect);
                tokio::time::sleep(latency).await;
                Ok(Response::new(307))
            }
            Mood::Well | Mood::Flaky | Mood::LosingAnswers => {
                tokio::time::sleep(latency).await;
                shared.see(|model| model.acknowledged(delivery));
                if shared.odds.crash && shared.roll(Fault::Crash, 60) {
                    self.kill.notify_one();
                }
                Ok(Response::new(204))
            }
        }
    }
}
