//! A request as a receiver got it, and what came of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Uri};
use serde_json::Value;

use super::json::parsed;
use crate::ground::event::Event;
use crate::ground::failure::FailureKind;
use crate::ground::id::WebhookId;
use crate::ground::identity::TlsSettings;
use crate::ground::time::Timestamp;

/// One request to a receiver of the kit. Its signatures were verified when it came.
#[derive(Clone)]
pub struct Request {
    pub(super) at: Timestamp,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) deadline: Duration,
    pub(super) tls: Option<Arc<TlsSettings>>,
    /// The webhook whose request it is, and its event.
    pub(super) webhook: Option<WebhookId>,
    pub(super) event: Option<Event>,
    pub(super) number: usize,
    pub(super) again: bool,
    pub(super) reply: Option<Reply>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    Status(u16),
    Failed(FailureKind),
}

impl Request {
    /// When it came.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The path with the query.
    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The first value of this header; nothing where there is none, or it is not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// How long the sender waits for an answer.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// What the webhook asks of TLS: the kit has none, so it is only noted.
    pub fn tls(&self) -> Option<&TlsSettings> {
        self.tls.as_deref()
    }

    /// The webhook whose delivery this is, also where it was deleted or moved since; `None` for requests
    /// that are no deliveries, such as those for an access token.
    pub fn webhook(&self) -> Option<WebhookId> {
        self.webhook
    }

    /// The event in the body.
    pub fn event(&self) -> Option<&Event> {
        self.event.as_ref()
    }

    /// The event's type; empty where there is no event.
    pub fn event_type(&self) -> &str {
        self.event.as_ref().map_or("", |event| event.event_type().as_str())
    }

    /// The resource that changed: `data.object`. `null` where there is no event.
    pub fn object(&self) -> Value {
        self.event.as_ref().and_then(|event| event.object().ok()).map_or(Value::Null, parsed)
    }

    /// The values before: `data.previousAttributes`. `null` where there are none.
    pub fn previous(&self) -> Value {
        let found = self.event.as_ref().and_then(|event| event.previous_attributes().ok());
        found.flatten().map_or(Value::Null, parsed)
    }

    /// How often this event has come to this webhook, with this request.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Whether the same event had been acknowledged before: a receiver must not do it again.
    pub fn is_duplicate(&self) -> bool {
        self.again
    }

    /// The status that the receiver answered with; `None` where it did not answer, or has not yet.
    pub fn status(&self) -> Option<u16> {
        match self.reply {
            Some(Reply::Status(status)) => Some(status),
            _ => None,
        }
    }

    /// Why there was no answer.
    pub fn failure(&self) -> Option<FailureKind> {
        match self.reply {
            Some(Reply::Failed(kind)) => Some(kind),
            _ => None,
        }
    }

    /// Whether it was acknowledged: answered with 200 to 299.
    pub fn is_acknowledged(&self) -> bool {
        matches!(self.reply, Some(Reply::Status(200..=299)))
    }

    /// What came of it, in words.
    pub(super) fn result(&self) -> String {
        match self.reply {
            None => "no answer yet".into(),
            Some(Reply::Status(status)) => format!("answered {status}"),
            Some(Reply::Failed(kind)) => format!("failed ({kind})"),
        }
    }
}

/// Shows no values of headers and no body: they may hold secrets.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("at", &self.at)
            .field("host", &self.uri.host())
            .field("type", &self.event_type())
            .field("event", &self.event.as_ref().map(Event::id))
            .field("webhook", &self.webhook())
            .field("number", &self.number)
            .field("reply", &self.reply)
            .finish_non_exhaustive()
    }
}
