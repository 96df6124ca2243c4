//! What a receiver does with a request: answer, take its time, fail, drop it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::request::Request;
use crate::ground::failure::FailureKind;

/// What a receiver does with a request. A status code is one: `shop.then(503)`.
///
/// ```
/// use tidings::testing::{Answer, Kit, seconds};
///
/// let kit = Kit::new();
/// let shop = kit.webhook(["order.*"]);
/// shop.then(Answer::status(503).header("retry-after", "120"))
///     .then(Answer::hangs().times(2))
///     .then(Answer::status(200).after(seconds(3)));
/// ```
#[derive(Clone)]
#[must_use = "an answer does nothing until a receiver is told to give it"]
pub struct Answer {
    what: What,
    after: Duration,
    times: usize,
}

#[derive(Clone)]
enum What {
    Do(Deed),
    By(Arc<dyn Fn(&Request) -> Answer + Send + Sync>),
}

/// What it comes to for one request.
#[derive(Debug, Clone)]
pub(super) enum Deed {
    Response {
        status: u16,
        headers: HeaderMap,
        body: Bytes,
    },
    Hang,
    /// The attempt fails so, for a reason in words.
    Fail(FailureKind, &'static str),
}

/// How often an answer may refer to another one.
const REFERRALS: usize = 16;

impl Answer {
    fn new(what: What) -> Self {
        Self { what, after: Duration::ZERO, times: 1 }
    }

    /// An answer with this status code, no headers and no body.
    pub fn status(status: u16) -> Self {
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        Self::new(What::Do(Deed::Response { status, headers, body }))
    }

    /// Takes the request and says nothing: the attempt ends at its deadline.
    pub fn hangs() -> Self {
        Self::new(What::Do(Deed::Hang))
    }

    /// Takes the request and closes the connection without an answer. The sender cannot know what
    /// became of it, and sends it again.
    pub fn drops() -> Self {
        Self::fails(FailureKind::Protocol)
    }

    /// Takes no connection: the request does not arrive.
    pub fn refuses() -> Self {
        Self::fails(FailureKind::Connect)
    }

    /// Makes the attempt fail in this way. The request arrives where the kind is
    /// [`Timeout`](FailureKind::Timeout) or [`Protocol`](FailureKind::Protocol), and does not
    /// otherwise.
    pub fn fails(kind: FailureKind) -> Self {
        Self::new(What::Do(Deed::Fail(kind, "the receiver's script says so")))
    }

    /// Looks at the request and decides then. A panic in `decide` fails the test: it may assert.
    ///
    /// It runs on the kit's own thread, in the kit's paused runtime: what it asks of the kit is answered
    /// as things stand, it cannot make time pass, and it is no place for a `block_on` or for the host's
    /// asynchronous code. One that waits for another thread, which calls the kit, waits for ever.
    ///
    /// A closure that owns an `Arc` of the kit keeps it alive, and is kept by it: take a
    /// [`Weak`](std::sync::Weak) of it ([`Arc::downgrade`]).
    pub fn by<A: Into<Self>>(decide: impl Fn(&Request) -> A + Send + Sync + 'static) -> Self {
        Self::new(What::By(Arc::new(move |request| decide(request).into())))
    }

    /// Adds a header.
    ///
    /// # Panics
    /// When this is not an answer with a status, or the name or value cannot be a header's.
    #[track_caller]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let What::Do(Deed::Response { headers, .. }) = &mut self.what else {
            panic!("only an answer with a status has headers");
        };
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => headers.append(name, value),
            _ => panic!("{name:?} is not a header's name, or its value not a header's"),
        };
        self
    }

    /// Sets the body.
    ///
    /// # Panics
    /// When this is not an answer with a status.
    #[track_caller]
    pub fn body(mut self, text: impl Into<Bytes>) -> Self {
        let What::Do(Deed::Response { body, .. }) = &mut self.what else {
            panic!("only an answer with a status has a body");
        };
        *body = text.into();
        self
    }

    /// Sets the body to this JSON, with its content type.
    ///
    /// # Panics
    /// When this is not an answer with a status.
    #[track_caller]
    pub fn json(self, value: &Value) -> Self {
        self.header("content-type", "application/json").body(value.to_string())
    }

    /// Takes so long over it. An answer that would come at the deadline or later is none: the attempt
    /// ends at its deadline.
    pub fn after(mut self, delay: Duration) -> Self {
        self.after = delay;
        self
    }

    /// Does so with this many requests, in a [script](super::Receiver::then).
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Counts one request; whether it was the last.
    pub(super) fn is_used_up(&mut self) -> bool {
        self.times = self.times.saturating_sub(1);
        self.times == 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.times == 0
    }

    /// What it comes to, and how long it takes.
    ///
    /// # Panics
    /// When the closure of [`by`](Self::by) does.
    pub(super) fn decide(mut self, request: &Request) -> (Duration, Deed) {
        let mut after = self.after;
        for _ in 0..REFERRALS {
            match self.what {
                What::Do(deed) => return (after, deed),
                What::By(decide) => {
                    self = decide(request);
                    after += self.after;
                }
            }
        }
        panic!("an answer refers to another one more than {REFERRALS} times");
    }
}

impl Deed {
    /// Whether the request arrives.
    pub(super) fn arrives(&self) -> bool {
        use FailureKind::{Protocol, Timeout};
        !matches!(self, Self::Fail(kind, _) if !matches!(kind, Timeout | Protocol))
    }
}

impl From<u16> for Answer {
    fn from(status: u16) -> Self {
        Self::status(status)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Answer");
        match &self.what {
            What::Do(Deed::Response { status, .. }) => shown.field("status", status),
            What::Do(Deed::Hang) => shown.field("hangs", &true),
            What::Do(Deed::Fail(kind, _)) => shown.field("fails", kind),
            What::By(_) => shown.field("by", &"a closure"),
        };
        shown.field("after", &self.after).field("times", &self.times).finish()
    }
}
