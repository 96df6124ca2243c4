//! A request that was verified and parsed: an event as its receiver sees it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::rejection::Rejection;
use super::seen::Seen;
use crate::ground::error::Result;
use crate::ground::signature::Verified;
use crate::ground::time::Timestamp;
use crate::policy::MESSAGE_ID_BYTES_MAX;

type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// An event that came from the sender, unchanged. Extracted by axum where the state has a
/// [`Receiver`](super::Receiver); clones share it.
///
/// What any sender of Standard Webhooks writes is enough: an object with a `type`, and its data in `data`
/// or beside it. What else is there may be of any kind. The `Debug` form shows nothing of the payload.
#[derive(Clone)]
pub struct Received(Arc<Inner>);

struct Inner {
    id: String,
    event_type: String,
    timestamp: Timestamp,
    data: Box<RawValue>,
    object: Option<Box<RawValue>>,
    body: Bytes,
    repeated: bool,
    seen: Option<(Arc<dyn Seen>, Clock)>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    /// Read only where the headers have none: what it is, is the sender's matter otherwise.
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    event_type: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

/// A value that is there, which `null` is too.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    object: &'a RawValue,
}

impl Received {
    pub(super) fn parse(verified: Verified, body: Bytes) -> Result<Self, Rejection> {
        // Serde would take an array for an object's values in their order.
        if !is_object(&body) {
            return Err(Rejection::Malformed { line: 1, column: 1 });
        }
        let envelope: Envelope<'_> = serde_json::from_slice(&body)?;
        // The signed header's id where there is one: it is the same on every attempt.
        let written = || envelope.id.and_then(|id| serde_json::from_str(id.get()).ok());
        let id: Option<String> = verified.id.or_else(written);
        let id = id.filter(|id| (1..=MESSAGE_ID_BYTES_MAX).contains(&id.len()));
        let inside = envelope.data.filter(|data| is_object(data.get().as_bytes()));
        let object = inside.and_then(|data| serde_json::from_str::<Data<'_>>(data.get()).ok());
        let data = match envelope.data {
            Some(data) => data,
            None => serde_json::from_slice(&body)?,
        };
        let inner = Inner {
            id: id.ok_or(Rejection::WithoutId)?,
            event_type: envelope.event_type.into_owned(),
            timestamp: verified.timestamp,
            object: object.map(|data| data.object.to_owned()),
            data: data.to_owned(),
            body: body.clone(),
            repeated: false,
            seen: None,
        };
        Ok(Self(Arc::new(inner)))
    }

    pub(super) fn remember(&mut self, repeated: bool, seen: Arc<dyn Seen>, clock: Clock) {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.repeated = repeated;
            inner.seen = Some((seen, clock));
        }
    }

    /// The event's id, the same on every attempt: the `webhook-id`, or the payload's `id` in schemes
    /// that sign no id of their own.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The event's type, as it was written. It may be one that this receiver does not know.
    pub fn event_type(&self) -> &str {
        &self.0.event_type
    }

    /// When the sender made this attempt, in whole seconds.
    pub fn timestamp(&self) -> Timestamp {
        self.0.timestamp
    }

    /// The payload's `data`, as it was written; the whole payload where there is none, because Standard
    /// Webhooks lets a sender write the data beside `type` instead.
    pub fn data(&self) -> &RawValue {
        &self.0.data
    }

    /// The payload's `data.object`, the resource as it is now; all of `data` where there is none.
    pub fn object(&self) -> &RawValue {
        self.0.object.as_deref().unwrap_or(&self.0.data)
    }

    /// The whole payload, byte for byte as it was signed.
    pub fn body(&self) -> &Bytes {
        &self.0.body
    }

    /// The payload's `data` as a type of the host's.
    ///
    /// # Errors
    /// [`Rejection::Malformed`] when it does not fit.
    pub fn data_as<T: DeserializeOwned>(&self) -> Result<T, Rejection> {
        Ok(serde_json::from_str(self.data().get())?)
    }

    /// [`Received::object`] as a type of the host's.
    ///
    /// # Errors
    /// [`Rejection::Malformed`] when it does not fit.
    pub fn object_as<T: DeserializeOwned>(&self) -> Result<T, Rejection> {
        Ok(serde_json::from_str(self.object().get())?)
    }

    /// Whether this event was handled before: answer 2xx, so that the sender stops, and do nothing.
    /// Always `false` without [`with_seen`](super::Receiver::with_seen).
    ///
    /// A repetition is extracted like a new event, because only the handler knows whether its work
    /// is bound to the id in other ways. [`Dispatch`](super::Dispatch) answers 204 by itself.
    pub fn repeated(&self) -> bool {
        self.0.repeated
    }

    /// Records that the event was handled, so that it is not handled again. Call it after the work
    /// and before the answer; [`Dispatch`](super::Dispatch) does. An event that was not recorded
    /// comes again when the sender saw no 2xx.
    ///
    /// # Errors
    /// Those of the host's [`Seen`]. The work is done then: answer 2xx all the same.
    ///
    /// # Cancellation
    /// If the future is dropped the event may or may not be recorded.
    pub async fn done(&self) -> Result<()> {
        match &self.0.seen {
            Some((seen, clock)) => seen.record(self.id(), clock()).await,
            None => Ok(()),
        }
    }
}

fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().first() == Some(&b'{')
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("id", &self.0.id)
            .field("event_type", &self.0.event_type)
            .field("timestamp", &self.0.timestamp)
            .field("bytes", &self.0.body.len())
            .field("repeated", &self.0.repeated)
            .finish_non_exhaustive()
    }
}
