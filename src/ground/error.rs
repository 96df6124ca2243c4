//! The one error type of the crate.
//!
//! Opaque on purpose: callers match on [`ErrorKind`], which says what they can do about it, and
//! people read the text, which names the field and the limit. The cause stays reachable through
//! [`std::error::Error::source`]. A POST that failed is never an `Error`; it is an attempt.

use std::borrow::Cow;

use super::address_rule::AddressRule;
use super::plain::{is_plain, plain};
use super::policy::{CAUSES_MAX, MESSAGE_BYTES_MAX};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Something that could not be done, and what its caller can do about it.
///
/// ```
/// use tidings::{ErrorKind, EventType};
///
/// let error = EventType::parse("order").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Invalid);
/// assert_eq!(error.field(), Some("type"));
/// ```
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Inner>);

#[derive(Debug, thiserror::Error)]
#[error("{}{message}", Prefix(.field))]
struct Inner {
    kind: ErrorKind,
    field: Option<Cow<'static, str>>,
    rule: Option<AddressRule>,
    message: Cow<'static, str>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

struct Prefix<'a>(&'a Option<Cow<'static, str>>);

impl std::fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(field) => write!(f, "{field}: "),
            None => Ok(()),
        }
    }
}

/// What the caller of a failed operation can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input breaks a rule; [`Error::field`] names the part. Correct it and call again.
    Invalid,
    /// No such webhook, event or delivery in this account and mode.
    NotFound,
    /// The id is already taken by something with other content.
    Conflict,
    /// The webhook was changed since it was read. Read it again, then repeat the edit.
    Stale,
    /// A confirmation did not match, so nothing was done.
    Refused,
    /// A bound of [`policy`](crate::policy) is reached.
    Limit,
    /// The dispatcher that asked is not (or no longer) known to the storage. Send a heartbeat.
    NotAlive,
    /// The storage was written by a newer version of the crate, or by something else.
    Schema,
    /// The webhook's secrets are sealed, and the key is not at hand, or does not open them.
    Sealed,
    /// The storage could not be reached or was busy for too long. Trying again may help.
    Unavailable,
    /// The storage failed in another way, or holds something that cannot be read.
    Storage,
}

impl Error {
    /// An error of `kind` with a text for people. It is cut to 1 KiB, and what would not be seen in it
    /// (control characters, marks of direction) is escaped: it may repeat what strangers wrote.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let message = plain(message.into(), MESSAGE_BYTES_MAX);
        Self(Box::new(Inner { kind, field: None, rule: None, message, source: None }))
    }

    /// The input in `field` breaks a rule; `message` says which, and the limit.
    pub fn invalid(
        field: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let mut error = Self::new(ErrorKind::Invalid, message);
        error.0.field = Some(plain(field.into(), MESSAGE_BYTES_MAX));
        error
    }

    /// A `what` with this id does not exist, or not in the caller's account and mode.
    pub fn not_found(what: &'static str, id: impl std::fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, format!("there is no {what} {id}"))
    }

    /// Storage failed: for implementers of the storage ports.
    pub fn storage(
        message: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::new(ErrorKind::Storage, message).with_source(source)
    }

    /// Keeps `source` as the cause, and what is behind it. Where the text of one of them could not be
    /// shown as it is (parsers repeat what strangers wrote, over several lines), their texts are kept
    /// alone, escaped and cut as by [`Error::new`].
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.0.source = Some(shown(source.into()));
        self
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What is wrong, without the name of the field.
    #[cfg(feature = "api")]
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// The field of the input that is at fault, where one is.
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The rule for addresses that the input breaks, where it is one of those.
    pub fn rule(&self) -> Option<AddressRule> {
        self.0.rule
    }

    /// This address breaks `rule`; the text names it.
    pub(crate) fn address(
        field: &'static str,
        rule: AddressRule,
        message: impl std::fmt::Display,
    ) -> Self {
        let mut error = Self::invalid(field, format!("{message} ({rule})"));
        error.0.rule = Some(rule);
        error
    }

    /// The same of another field.
    #[cfg(feature = "engine")]
    pub(crate) fn in_field(mut self, field: &'static str) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Whether the same call may succeed later without any change by the caller.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unavailable | ErrorKind::Storage | ErrorKind::NotAlive)
    }
}

/// What a cause said that was not fit to be shown, in a form that is.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Cause {
    text: Cow<'static, str>,
    source: Option<Box<Self>>,
}

/// `source` as it is, or its texts where they are not plain.
fn shown(
    source: Box<dyn std::error::Error + Send + Sync>,
) -> Box<dyn std::error::Error + Send + Sync> {
    let first: &(dyn std::error::Error + 'static) = &*source;
    let chain = std::iter::successors(Some(first), |cause| (*cause).source());
    let texts: Vec<_> = chain.take(CAUSES_MAX + 1).map(ToString::to_string).collect();
    if texts.len() <= CAUSES_MAX && texts.iter().all(|text| is_plain(text, MESSAGE_BYTES_MAX)) {
        return source;
    }
    let texts =
        texts.into_iter().take(CAUSES_MAX).map(|text| plain(text.into(), MESSAGE_BYTES_MAX));
    let behind = |source, text| Some(Box::new(Cause { text, source }));
    match texts.rev().fold(None, behind) {
        Some(cause) => cause,
        None => source,
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    /// Asks an error for its cause.
    #[test]
    fn the_cause_is_reachable() {
        let error = Error::storage("it failed", std::io::Error::other("the disk"));
        assert_eq!(error.to_string(), "it failed");
        assert_eq!(error.source().unwrap().to_string(), "the disk");
        assert!(error.source().unwrap().is::<std::io::Error>(), "as it was");
        assert!(Error::invalid("type", "is odd").source().is_none());
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(String, #[source] Option<Box<Self>>);

    /// Gives errors causes of which one says what must not be shown, too much, or has too many behind
    /// it.
    #[test]
    fn every_cause_is_a_plain_line() {
        let long = "x".repeat(MESSAGE_BYTES_MAX + 1);
        for (text, expected) in
            [("a\nINFO forged", "a\\nINFO forged"), (&long, &long[..MESSAGE_BYTES_MAX])]
        {
            let inner = Layer(text.to_owned(), None);
            let outer = Layer("outer".to_owned(), Some(Box::new(inner)));
            let error = Error::storage("it failed", outer);
            let cause = error.source().unwrap();
            assert_eq!(cause.to_string(), "outer");
            let cause = cause.source().unwrap();
            assert_eq!(cause.to_string(), expected);
            assert!(cause.source().is_none());
        }
        let deep =
            (0..40).fold(None, |behind, _| Some(Box::new(Layer("deeper".to_owned(), behind))));
        let error = Error::storage("it failed", *deep.unwrap());
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        assert_eq!(causes.count(), CAUSES_MAX);
    }
}
