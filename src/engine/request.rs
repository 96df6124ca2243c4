//! One attempt: build the request, sign it, POST it, and say what came of it. No storage here.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    USER_AGENT,
};
use http::{Method, Uri};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::core::Core;
use super::holds::Departure;
use super::life::Life;
use super::token::{Held, Tokens};
use super::vault::Vault;
use crate::ground::address::EndpointUrl;
use crate::ground::authentication::Authentication;
use crate::ground::delivery::{Attempt, Outcome};
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::event::Event;
use crate::ground::event_type::TEST_EVENT_TYPE;
use crate::ground::failure::FailureKind;
use crate::ground::id::{Cause, WebhookId};
use crate::ground::network::NetworkPolicy;
use crate::ground::plain::plain;
use crate::ground::policy::{
    DEADLINE_SLACK, ERROR_BYTES_KEPT, RATE_LATE, RESPONSE_BYTES_KEPT, TIMEOUT_RANGE,
};
use crate::ground::rate_limit::RateLimit;
use crate::ground::retry_after::retry_after;
use crate::ground::signature::sign;
#[cfg(feature = "api")]
use crate::ground::signature::{SignatureScheme, unsigned};
use crate::ground::time::Timestamp;
use crate::ground::webhook::Webhook;
use crate::ports::hooks::{Additions, Sending};
use crate::ports::storage::Leased;
use crate::ports::transport::{Request, Response, Transport, TransportError};

/// Where a trace goes on (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Of a transport that does not end in time.
const UNKEPT: &str = "the transport did not keep its deadline";
/// Webhooks whose requests are kept prepared.
const PREPARED_MAX: usize = 4_096;
/// Who sends.
pub(super) const USER_AGENT_VALUE: &str = concat!("tidings/", env!("CARGO_PKG_VERSION"));

/// Judges every URL that the webhook makes the sender call: at registration, and before it is sent to.
pub(super) fn check_addresses(webhook: &Webhook, network: &NetworkPolicy) -> Result<()> {
    network.check_url(webhook.address())?;
    if let Authentication::OAuth(oauth) = webhook.authentication() {
        let checked = network.check_url(oauth.token_endpoint());
        checked.map_err(|error| error.in_field("oauth.tokenEndPoint"))?;
    }
    Ok(())
}

/// The part of a webhook's requests that is the same for all of them.
#[derive(Debug)]
pub(super) struct Prepared {
    /// With its secrets open.
    webhook: Arc<Webhook>,
    uri: Uri,
    headers: HeaderMap,
    pace: Option<Pace>,
}

/// Spaces the requests to a webhook with a rate limit, as its timetable does, at the moment when they
/// leave.
#[derive(Debug)]
struct Pace {
    limit: RateLimit,
    /// When the next one would go if all went evenly.
    even: Mutex<Instant>,
}

impl Pace {
    fn new(limit: RateLimit) -> Self {
        Self { limit, even: Mutex::new(Instant::now()) }
    }

    /// When the next one may go. As late as a departure may be, they may be close together.
    fn next(&self, now: Instant) -> Instant {
        let interval = self.limit.interval();
        let slack = interval * (self.limit.burst() - 1) + RATE_LATE;
        let mut even = lock(&self.even);
        let at = even.checked_sub(slack).unwrap_or(now).max(now);
        *even = (*even).max(at) + interval;
        at
    }
}

/// Prepared requests by webhook; a new version of a webhook replaces its entry.
#[derive(Debug, Default)]
pub(super) struct Prepare {
    entries: Mutex<HashMap<WebhookId, Arc<Prepared>>>,
}

impl Prepare {
    /// The prepared request of `webhook`. It may ask the host for a key.
    fn of(
        &self,
        webhook: &Arc<Webhook>,
        vault: &Vault,
        network: &NetworkPolicy,
    ) -> Result<Arc<Prepared>> {
        if let Some(prepared) = self.entries().get(&webhook.id())
            && prepared.webhook.version() == webhook.version()
        {
            return Ok(prepared.clone());
        }
        let open = match webhook.sealed_with() {
            Some(_) => Arc::new(vault.open(webhook)?),
            None => webhook.clone(),
        };
        let prepared = Arc::new(Prepared::new(open, network)?);
        let mut entries = self.entries();
        if entries.len() >= PREPARED_MAX {
            entries.clear();
        }
        entries.insert(webhook.id(), prepared.clone());
        Ok(prepared)
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<WebhookId, Arc<Prepared>>> {
        lock(&self.entries)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each write is one: a panic leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Prepared {
    /// Nothing can be prepared for an address that is refused: the webhook may be older than the
    /// policy, and the transport one that leaves literal addresses unvetted.
    fn new(webhook: Arc<Webhook>, network: &NetworkPolicy) -> Result<Self> {
        check_addresses(&webhook, network)?;
        let uri = uri(webhook.address())?;
        let headers = headers(&webhook)?;
        let pace = webhook.rate_limit().map(Pace::new);
        Ok(Self { webhook, uri, headers, pace })
    }

    /// The whole request: the event's bytes, with a timestamp and signatures of `now`.
    fn request(&self, leased: &Leased, now: Timestamp) -> Result<http::Request<Bytes>> {
        let webhook = &self.webhook;
        // Of damaged ones nothing is sent: other bytes under the same id would be worse.
        leased.event.try_rendered(webhook.api_version())?;
        let payload = Payload { event: leased.event.clone(), webhook: webhook.clone() };
        let body = Bytes::from_owner(payload);
        let secrets = webhook.secrets()?;
        let signed = sign(webhook.schemes(), secrets, leased.event.id(), &body, now);
        let mut request = http::Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        for (name, value) in signed {
            request.headers_mut().insert(header_name(name)?, header_value(&value)?);
        }
        Ok(request)
    }
}

/// The headers that all requests to the webhook have alike.
fn headers(webhook: &Webhook) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
    for (name, value) in webhook.headers().iter() {
        headers.insert(header_name(name.as_str())?, header_value(value.reveal())?);
    }
    // A bearer token changes; it is added to each request.
    if let Authentication::Basic(basic) = webhook.authentication() {
        let mut value = header_value(&Zeroizing::new(basic.header_value()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// The headers of the next request with `event` to `webhook`, to be shown: without those that are of one
/// attempt alone, the signature and its time, and without what the host's hooks will add. What the webhook
/// adds itself, and what authenticates the sender, is marked as sensitive; of a sealed webhook it is empty.
#[cfg(feature = "api")]
pub(crate) fn foreseen(webhook: &Webhook, event: &Event) -> Result<HeaderMap> {
    let mut headers = headers(webhook)?;
    for (name, _) in webhook.headers().iter() {
        if let Some(value) = headers.get_mut(name.as_str()) {
            value.set_sensitive(true);
        }
    }
    if let Authentication::OAuth(_) = webhook.authentication() {
        let mut token = HeaderValue::from_static("");
        token.set_sensitive(true);
        headers.insert(AUTHORIZATION, token);
    }
    let signed = || webhook.schemes().iter().flat_map(SignatureScheme::header_names);
    for name in signed() {
        headers.insert(header_name(name)?, HeaderValue::from_static(""));
    }
    trace(event, &mut headers);
    for name in signed() {
        headers.remove(name);
    }
    for (name, value) in unsigned(webhook.schemes(), event.id()) {
        headers.insert(header_name(name)?, header_value(&value)?);
    }
    Ok(headers)
}

/// The event's bytes in the webhook's version, shared by all requests that carry them.
struct Payload {
    event: Event,
    webhook: Arc<Webhook>,
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self.event.rendered(self.webhook.api_version()).as_bytes()
    }
}

pub(super) fn uri(address: &EndpointUrl) -> Result<Uri> {
    let parsed = address.url().as_str().parse();
    parsed.map_err(|error: http::uri::InvalidUri| unsendable("address", error))
}

pub(super) fn header_name(name: &str) -> Result<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|error| unsendable("headers", error))
}

pub(super) fn header_value(value: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(value).map_err(|error| unsendable("headers", error))
}

fn unsendable(field: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::invalid(field, "cannot be sent").with_source(error)
}

/// Why there was no answer.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { kind, text }
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        let kind = match error.kind() {
            // These say what the engine decided; a transport cannot have.
            FailureKind::Hook | FailureKind::Filtered | FailureKind::Expunged => FailureKind::Local,
            kind => kind,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<Error> for Failure {
    /// A request that cannot be written is nobody's fault but ours, unless its address is refused.
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Sealed => FailureKind::Sealed,
            _ if error.rule().is_some() => FailureKind::Blocked,
            _ => FailureKind::Local,
        };
        Self::new(kind, error.to_string())
    }
}

/// What every attempt of a dispatcher shares.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) core: Arc<Core>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) prepare: Prepare,
    pub(super) tokens: Tokens,
    pub(super) life: Arc<Life>,
}

impl Sender {
    /// Sends once when the delivery may go, and says what came of it. `None`: it may not go any more,
    /// and nothing was sent.
    pub(super) async fn depart(
        &self,
        leased: &Leased,
        started: Timestamp,
        departure: Option<Departure>,
    ) -> Option<Attempt> {
        let Some(departure) = departure else {
            return Some(self.attempt(leased, started).await);
        };
        if let Departure::At(at) = departure {
            tokio::time::sleep_until(at).await;
        }
        // Between the lease and now the process may have been stopped: for a moment, so that many
        // would go at once, or for so long that somebody else sends by now.
        let (instant, now) = (Instant::now(), self.core.now());
        let late = matches!(departure, Departure::At(at) if instant > at + RATE_LATE);
        if late || !self.life.lasts(instant, now) {
            return None;
        }
        Some(self.attempt(leased, now).await)
    }

    /// Sends once, and says what came of it. Never fails and never panics: whatever the transport
    /// does becomes the attempt's outcome.
    async fn attempt(&self, leased: &Leased, started: Timestamp) -> Attempt {
        let begun = Instant::now();
        let own = leased.webhook.timeout();
        let deadline = own.unwrap_or_else(|| self.core.policy.timeout());
        let exchange = async {
            let core = &self.core;
            wanted(leased)?;
            let prepared = self.prepare.of(&leased.webhook, &core.vault, &core.network)?;
            let additions = self.additions(leased, &prepared, deadline).await?;
            // The receiver's time begins when the sender's own is over, where there is room for both.
            let (asked, room) = (Instant::now(), begun + *TIMEOUT_RANGE.end());
            let end = room.min(asked + deadline);
            // The transport keeps the deadline; this one is for a transport that does not.
            let exchange = self.exchange(leased, &prepared, &additions, end);
            let answer = tokio::time::timeout_at(end + DEADLINE_SLACK, exchange).await;
            match answer.unwrap_or_else(|_| Err(Failure::new(FailureKind::Timeout, UNKEPT))) {
                // It had far less than it is promised.
                Err(failure)
                    if failure.kind == FailureKind::Timeout && end < asked + deadline / 2 =>
                {
                    Err(Failure::new(FailureKind::Hook, "the hooks left too little time to answer"))
                }
                answer => answer,
            }
        };
        let result = AssertUnwindSafe(exchange)
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(Failure::new(FailureKind::Panic, "the transport panicked")));
        let (outcome, response, error) = match result {
            Ok(response) => {
                let retry_after = asked_to_wait(&response.headers, self.core.now());
                let status = response.status;
                let outcome = Outcome::Answered { status, retry_after };
                (outcome, response, None)
            }
            Err(failure) => {
                let text = plain(failure.text.into(), ERROR_BYTES_KEPT).into_owned();
                (Outcome::Unanswered(failure.kind), Response::default(), Some(text))
            }
        };
        let number = leased.delivery.attempt;
        let mut attempt = Attempt::new(number, started, begun.elapsed(), outcome);
        let kept = response.body.len().min(RESPONSE_BYTES_KEPT);
        attempt.truncated = response.truncated || kept < response.body.len();
        attempt.response = response.body[..kept].to_vec();
        attempt.error = error;
        attempt
    }

    /// What the host's hooks add to the request.
    async fn additions(
        &self,
        leased: &Leased,
        prepared: &Prepared,
        time: Duration,
    ) -> Result<Additions, Failure> {
        if self.core.hooks.is_empty() {
            return Ok(Additions::default());
        }
        let (Leased { delivery, event, .. }, webhook) = (leased, &prepared.webhook);
        let sending =
            Sending { delivery: delivery.clone(), event: event.clone(), webhook: webhook.clone() };
        let authorizes = matches!(webhook.authentication(), Authentication::None)
            && !prepared.headers.contains_key(AUTHORIZATION);
        self.core.hooks.ask(sending, authorizes, time).await
    }

    /// The POST, with what its authentication asks for, all of it by `end`.
    ///
    /// A bearer token that is refused may have been withdrawn: a fresh one is tried once. The last
    /// answer counts.
    async fn exchange(
        &self,
        leased: &Leased,
        prepared: &Prepared,
        additions: &Additions,
        end: Instant,
    ) -> Result<Response, Failure> {
        let webhook = &prepared.webhook;
        let Authentication::OAuth(oauth) = webhook.authentication() else {
            return self.post(leased, prepared, additions, None, end).await;
        };
        let key = (webhook.id(), webhook.version());
        let token = |refused| self.tokens.get(key, oauth, &*self.transport, end, refused);
        let first = token(None).await?;
        let answer = self.post(leased, prepared, additions, Some(&first), end).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        match token(Some(&first)).await {
            // A second POST would be one that the limit does not know of. The next try has the token.
            Ok(fresh) if Instant::now() < end && webhook.rate_limit().is_none() => {
                match self.post(leased, prepared, additions, Some(&fresh), end).await {
                    // The first one was sent, and answered: it counts.
                    Err(failure) if failure.kind == FailureKind::Busy => Ok(answer),
                    outcome => outcome,
                }
            }
            _ => Ok(answer),
        }
    }

    async fn post(
        &self,
        leased: &Leased,
        prepared: &Prepared,
        additions: &Additions,
        token: Option<&Held>,
        end: Instant,
    ) -> Result<Response, Failure> {
        // What came before took its own time, and many may have waited for the same.
        if let Some(pace) = &prepared.pace {
            let at = pace.next(Instant::now());
            if at >= end {
                let text = "not sent: the webhook's rate limit left no moment for it";
                return Err(Failure::new(FailureKind::Busy, text));
            }
            tokio::time::sleep_until(at).await;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // Whatever had the attempt's time before has used it up.
            let (kind, what) = match token {
                Some(_) => (FailureKind::Token, "token"),
                None => (FailureKind::Hook, "hooks"),
            };
            let text = format!("the {what} came too late: no time was left to send");
            return Err(Failure::new(kind, text));
        }
        let mut request = prepared.request(leased, self.core.clock.now())?;
        if let Some(token) = token {
            request.headers_mut().insert(AUTHORIZATION, token.header()?);
        }
        additions.write(request.headers_mut())?;
        trace(&leased.event, request.headers_mut());
        let tls = prepared.webhook.tls().cloned();
        let request = Request::new(request, left, RESPONSE_BYTES_KEPT).with_tls(tls);
        Ok(self.transport.send(request).await?)
    }
}

/// Adds the event's trace, unless somebody who may have a span for this attempt has set one.
fn trace(event: &Event, headers: &mut HeaderMap) {
    let Some(trace) = event.trace().filter(|_| !headers.contains_key(TRACEPARENT)) else { return };
    // Both were checked when they came in.
    if let Ok(value) = HeaderValue::from_str(trace.traceparent()) {
        headers.insert(TRACEPARENT, value);
        headers.remove(TRACESTATE);
    }
    if let Some(Ok(value)) = trace.tracestate().map(HeaderValue::from_str) {
        headers.insert(TRACESTATE, value);
    }
}

/// Whether there is something to send, and the webhook's condition holds for it where it is asked: a
/// person who sends a test or sends something again means it.
fn wanted(leased: &Leased) -> Result<(), Failure> {
    let Leased { delivery, event, webhook, .. } = leased;
    if event.is_expunged() {
        return Err(Failure::new(FailureKind::Expunged, "the event's payload was expunged"));
    }
    let asked = delivery.cause == Cause::ROUTED && event.event_type().as_str() != TEST_EVENT_TYPE;
    match webhook.condition().filter(|_| asked) {
        Some(condition) if !condition.matches(event) => {
            Err(Failure::new(FailureKind::Filtered, "the webhook's condition does not hold for it"))
        }
        _ => Ok(()),
    }
}

/// The longest valid `Retry-After` of the answer.
fn asked_to_wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    headers
        .get_all(RETRY_AFTER)
        .iter()
        .filter_map(|value| retry_after(value.to_str().ok()?, now))
        .max()
}
