//! The hooks port: what a host may decide and add when a delivery is about to be sent.
//!
//! The host's code is not trusted to behave. A hook runs on a thread where it may block, within a time
//! limit; a panic, an error or a hang in it costs its delivery that attempt and nobody else anything.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::ground::delivery::Delivery;
use crate::ground::event::Event;
use crate::ground::header::{HeaderValue, Headers};
use crate::ground::policy::{HOOK_TIMEOUT, TIMEOUT_RANGE};
use crate::ground::webhook::Webhook;
use crate::ports::sql::BoxError;

/// What a hook is asked about: a delivery that is about to be sent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Sending {
    /// The delivery, its attempt number already raised.
    pub delivery: Delivery,
    /// Its event.
    pub event: Event,
    /// Its webhook, as it is now.
    pub webhook: Arc<Webhook>,
}

/// What hooks add to one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Additions {
    pub(crate) headers: Headers,
    pub(crate) authorization: Option<HeaderValue>,
}

/// Which hook spoke: its name, for records and logs.
pub(crate) type HookName = &'static str;

/// What came of the hooks of one delivery.
pub(crate) enum Verdict {
    Send(Additions),
    Refused,
    Failed(HookName, BoxError),
}

type Filter = dyn Fn(&Sending) -> Result<bool, BoxError> + Send + Sync;
type Header = dyn Fn(&Sending) -> Result<Headers, BoxError> + Send + Sync;
type Authorizer = dyn Fn(&Sending) -> Result<Option<HeaderValue>, BoxError> + Send + Sync;

/// The hooks of a host, called in this order before each attempt: the filter, the headers, the
/// authorizer.
///
/// # Contract
/// A hook runs on one of tokio's threads for blocking work, at most 64 at once, so it may block, and
/// it may call the crate. All hooks of one attempt have 5 s together, or what
/// [`within`](Self::within) says, and never more than the receiver has to answer, whose own time begins
/// when they have returned. One that panics, fails or takes longer costs its delivery the attempt:
/// nothing is sent, the failure is [`Hook`](crate::FailureKind::Hook), and as with other faults of the
/// sender's own the receiver's health is not touched. A hook may be called again for the same delivery;
/// it must not assume that what it saw was sent.
///
/// A thread cannot be ended from outside. A hook that never returns keeps its thread until the process
/// ends; and a tokio runtime that is dropped waits for it, unless it is shut down with
/// `shutdown_timeout` or `shutdown_background`. As soon as a hook is late another may run, up to 384 late
/// ones: beyond them the 64 become fewer. While 128 late ones are of one webhook, its deliveries wait.
/// What finds no thread waits, too: nothing is sent, and nothing counted
/// ([`Busy`](crate::FailureKind::Busy)). These bounds are of one handle, and below the 512 threads that a
/// tokio runtime has for all blocking work by default: give it more where several handles have hooks.
///
/// ```
/// use tidings::{Headers, hooks::Hooks};
///
/// let hooks = Hooks::new()
///     .filter(|sending| Ok(sending.event.event_type().as_str() != "order.draft"))
///     .headers(|sending| {
///         let account = sending.webhook.account().as_str();
///         Ok(Headers::parse([("X-Tenant", account)])?)
///     });
/// # let _ = hooks;
/// ```
#[derive(Clone)]
#[must_use = "hooks do nothing until a handle is built with them"]
pub struct Hooks {
    filter: Option<Arc<Filter>>,
    headers: Option<Arc<Header>>,
    authorizer: Option<Arc<Authorizer>>,
    limit: Duration,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { filter: None, headers: None, authorizer: None, limit: HOOK_TIMEOUT }
    }
}

impl Hooks {
    /// No hooks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks `filter` whether a delivery is to be sent at all. `false` ends it: it is cancelled, with an
    /// attempt of the kind [`Filtered`](crate::FailureKind::Filtered) as the record, and never asked
    /// about again.
    pub fn filter(
        mut self,
        filter: impl Fn(&Sending) -> Result<bool, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.filter = Some(Arc::new(filter));
        self
    }

    /// Adds to each request what `headers` returns. A header that the request has already fails the
    /// attempt, so that nothing is sent that nobody meant.
    pub fn headers(
        mut self,
        headers: impl Fn(&Sending) -> Result<Headers, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.headers = Some(Arc::new(headers));
        self
    }

    /// Asks `authorizer` for the `authorization` header of each request to a webhook that has none of
    /// its own: no basic or OAuth credentials, and no such header. `None` sends without.
    pub fn authorizer(
        mut self,
        authorizer: impl Fn(&Sending) -> Result<Option<HeaderValue>, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.authorizer = Some(Arc::new(authorizer));
        self
    }

    /// Sets how long all hooks of one attempt may take together; clamped to 1 ms to 60 s.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit.clamp(Duration::from_millis(1), *TIMEOUT_RANGE.end());
        self
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.filter.is_none() && self.headers.is_none() && self.authorizer.is_none()
    }

    /// Asks them all, one after the other. `asked` is told each one's name before it is called.
    pub(crate) fn ask(
        &self,
        sending: &Sending,
        authorizes: bool,
        mut asked: impl FnMut(HookName),
    ) -> Verdict {
        let mut additions = Additions::default();
        if let Some(filter) = &self.filter {
            asked("filter");
            match filter(sending) {
                Ok(true) => {}
                Ok(false) => return Verdict::Refused,
                Err(error) => return Verdict::Failed("filter", error),
            }
        }
        if let Some(headers) = &self.headers {
            asked("header");
            match headers(sending) {
                Ok(headers) => additions.headers = headers,
                Err(error) => return Verdict::Failed("header", error),
            }
        }
        if let Some(authorizer) = self.authorizer.as_ref().filter(|_| authorizes) {
            asked("authorizer");
            match authorizer(sending) {
                Ok(authorization) => additions.authorization = authorization,
                Err(error) => return Verdict::Failed("authorizer", error),
            }
        }
        Verdict::Send(additions)
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("filter", &self.filter.is_some())
            .field("headers", &self.headers.is_some())
            .field("authorizer", &self.authorizer.is_some())
            .field("limit", &self.limit)
            .finish()
    }
}
