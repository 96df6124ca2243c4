//! One attempt: build the request, sign it, POST it, and say what came of it. No storage here.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    USER_AGENT,
};
use http::{Method, Uri};
use tokio::time::Instant;

use crate::ground::authentication::Authentication;
use crate::ground::delivery::{Attempt, Outcome};
use crate::ground::error::{Error, Result};
use crate::ground::failure::FailureKind;
use crate::ground::id::WebhookId;
use crate::ground::policy::{ERROR_BYTES_KEPT, RESPONSE_BYTES_KEPT};
use crate::ground::retry_after::retry_after;
use crate::ground::signature::sign;
use crate::ground::time::Timestamp;
use crate::ground::webhook::Webhook;
use crate::ports::clock::Clock;
use crate::ports::storage::Leased;
use crate::ports::transport::{Request, Transport};

/// Webhooks whose requests are kept prepared.
const PREPARED_MAX: usize = 4_096;

/// The part of a webhook's requests that is the same for all of them.
#[derive(Debug)]
pub(super) struct Prepared {
    version: u64,
    uri: Uri,
    headers: HeaderMap,
}

/// Prepared requests by webhook; a new version of a webhook replaces its entry.
#[derive(Debug, Default)]
pub(super) struct Prepare {
    entries: HashMap<WebhookId, Arc<Prepared>>,
}

impl Prepare {
    /// The prepared request of `webhook`.
    pub(super) fn of(&mut self, webhook: &Webhook) -> Result<Arc<Prepared>> {
        if let Some(prepared) = self.entries.get(&webhook.id())
            && prepared.version == webhook.version()
        {
            return Ok(prepared.clone());
        }
        let prepared = Arc::new(Prepared::new(webhook)?);
        if self.entries.len() >= PREPARED_MAX {
            self.entries.clear();
        }
        self.entries.insert(webhook.id(), prepared.clone());
        Ok(prepared)
    }
}

impl Prepared {
    fn new(webhook: &Webhook) -> Result<Self> {
        let uri = webhook
            .address()
            .url()
            .as_str()
            .parse()
            .map_err(|error: http::uri::InvalidUri| unsendable("address", error))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("tidings/", env!("CARGO_PKG_VERSION"))),
        );
        for (name, value) in webhook.headers().iter() {
            headers.insert(header_name(name.as_str())?, header_value(value.as_str())?);
        }
        if let Authentication::Basic(basic) = webhook.authentication() {
            let mut value = header_value(&basic.header_value())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(Self { version: webhook.version(), uri, headers })
    }

    /// The whole request: the event's bytes, with a timestamp and signatures of `now`.
    fn request(&self, leased: &Leased, now: Timestamp) -> Result<http::Request<Bytes>> {
        let body = Bytes::from_owner(Payload(leased.event.payload_arc()));
        let mut request = http::Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let webhook = &leased.webhook;
        for (name, value) in sign(
            webhook.schemes(),
            webhook.secrets(),
            leased.event.id(),
            leased.event.payload().as_bytes(),
            now,
        ) {
            request.headers_mut().insert(header_name(&name)?, header_value(&value)?);
        }
        Ok(request)
    }
}

/// The event's bytes, shared by all requests that carry them.
struct Payload(Arc<str>);

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn header_name(name: &str) -> Result<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|error| unsendable("headers", error))
}

fn header_value(value: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(value).map_err(|error| unsendable("headers", error))
}

fn unsendable(
    field: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::invalid(field, "cannot be sent").with_source(error)
}

/// Sends once, and says what came of it. Never fails and never panics: whatever the transport
/// does becomes the attempt's outcome.
pub(super) async fn attempt(
    leased: &Leased,
    prepared: Result<Arc<Prepared>>,
    transport: &dyn Transport,
    clock: &dyn Clock,
    timeout: Duration,
) -> Attempt {
    let started = clock.now();
    let begun = Instant::now();
    let number = leased.delivery.attempt;
    let deadline = leased.webhook.timeout().unwrap_or(timeout);
    let request = prepared.and_then(|prepared| prepared.request(leased, started));
    let request = match request {
        Ok(request) => Request::new(request, deadline, RESPONSE_BYTES_KEPT),
        Err(error) => {
            let outcome = Outcome::Unanswered(FailureKind::Local);
            let mut attempt = Attempt::new(number, started, Duration::ZERO, outcome);
            attempt.error = Some(cut(error.to_string()));
            return attempt;
        }
    };
    // The transport keeps the deadline; this one is for a transport that does not.
    let sent = tokio::time::timeout(deadline * 2, transport.send(request));
    let result = AssertUnwindSafe(sent).catch_unwind().await;
    let latency = begun.elapsed();
    match result {
        Ok(Ok(Ok(response))) => {
            let asked = asked_to_wait(&response.headers, clock.now());
            let outcome = Outcome::Answered { status: response.status, retry_after: asked };
            let mut attempt = Attempt::new(number, started, latency, outcome);
            let kept = response.body.len().min(RESPONSE_BYTES_KEPT);
            attempt.truncated = response.truncated || kept < response.body.len();
            attempt.response = response.body[..kept].to_vec();
            attempt
        }
        Ok(Ok(Err(error))) => {
            let outcome = Outcome::Unanswered(error.kind());
            let mut attempt = Attempt::new(number, started, latency, outcome);
            attempt.error = Some(cut(error.to_string()));
            attempt
        }
        Ok(Err(_)) => {
            let outcome = Outcome::Unanswered(FailureKind::Timeout);
            let mut attempt = Attempt::new(number, started, latency, outcome);
            attempt.error = Some("the transport did not keep its deadline".into());
            attempt
        }
        Err(_) => {
            let outcome = Outcome::Unanswered(FailureKind::Panic);
            let mut attempt = Attempt::new(number, started, latency, outcome);
            attempt.error = Some("the transport panicked".into());
            attempt
        }
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

/// `text`, cut at a character to what is kept of an error.
fn cut(mut text: String) -> String {
    if text.len() > ERROR_BYTES_KEPT {
        let mut end = ERROR_BYTES_KEPT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}
