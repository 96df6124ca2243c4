//! The extractor: reads the body within its bound, verifies it as it came, then parses it.

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRef, FromRequest, Request};
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::received::Received;
use super::rejection::Rejection;
use super::seen::Seen;
use crate::ground::signature::Verifier;
use crate::ground::time::Timestamp;
use crate::policy::{RECEIVED_BYTES, VERIFY_BYTES_MAX};

/// What a handler's state holds so that [`Received`] can be extracted: whose signatures are good, how
/// long a body may be, which events were seen before, and the clock. Clones share it.
#[derive(Clone)]
pub struct Receiver {
    verifier: Arc<Verifier>,
    body_limit: usize,
    seen: Option<Arc<dyn Seen>>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Receiver {
    /// A receiver that takes what `verifier` verifies at the time that `clock` says (`Utc::now` of
    /// chrono). Bodies have at most 1 MiB, and no repetition is told until
    /// [`with_seen`](Self::with_seen).
    pub fn new(verifier: Verifier, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self {
            verifier: Arc::new(verifier),
            body_limit: RECEIVED_BYTES,
            seen: None,
            clock: Arc::new(clock),
        }
    }

    /// Sets how many bytes a body may have, 16 MiB at most.
    #[must_use]
    pub fn with_body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes.min(VERIFY_BYTES_MAX);
        self
    }

    /// Asks `seen` which events were handled before, and tells it what was.
    #[must_use]
    pub fn with_seen(mut self, seen: impl Seen) -> Self {
        self.seen = Some(Arc::new(seen));
        self
    }

    /// Verifies and parses one request of which the headers and the whole body are there.
    ///
    /// # Errors
    /// [`Rejection`], which is an answer.
    pub async fn receive(&self, headers: &HeaderMap, body: Bytes) -> Result<Received, Rejection> {
        if body.len() > self.body_limit {
            return Err(Rejection::TooLarge);
        }
        let now = (self.clock)();
        let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let verified = self.verifier.verify(pairs, &body, now)?;
        let mut received = Received::parse(verified, body)?;
        if let Some(seen) = &self.seen {
            let repeated = seen.seen(received.id(), now).await.map_err(Rejection::Unavailable)?;
            received.remember(repeated, seen.clone(), self.clock.clone());
        }
        Ok(received)
    }

    /// The whole body, or a rejection as soon as it is longer than the bound: also where no length
    /// was announced, or a wrong one.
    async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Rejection> {
        let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let announced = announced.and_then(|length| length.parse::<u64>().ok());
        if announced.is_some_and(|length| length > self.body_limit as u64) {
            return Err(Rejection::TooLarge);
        }
        match Limited::new(body, self.body_limit).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Rejection::TooLarge),
            Err(_) => Err(Rejection::Interrupted),
        }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("verifier", &self.verifier)
            .field("body_limit", &self.body_limit)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

impl<S> FromRequest<S> for Received
where
    S: Send + Sync,
    Receiver: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, Rejection> {
        let receiver = Receiver::from_ref(state);
        let (parts, body) = request.into_parts();
        let body = receiver.read(&parts.headers, body).await?;
        receiver.receive(&parts.headers, body).await
    }
}
