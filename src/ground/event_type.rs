//! The name of what happened: `order.accepted`, `order.charge.capture.complete`.
//!
//! The vocabulary is open (seed row E3): any name of the right form is a type, compared byte for
//! byte, so that `fileLink.created` and `global_returns.canceled` stay as their owners spell them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use crate::policy::{EVENT_TYPE_BYTES_MAX, EVENT_TYPE_SEGMENTS};

/// The type of test events: each is for one webhook alone.
pub const TEST_EVENT_TYPE: &str = "webhook.test";

/// What happened, as `resource.event` (seed row E8): 2 to 8 segments of `[A-Za-z0-9_-]`, separated
/// by dots, at most 128 bytes. Cheap to clone.
///
/// ```
/// use tidings::EventType;
///
/// let captured = EventType::parse("order.charge.capture.complete")?;
/// assert_eq!(captured.resource(), "order.charge.capture");
/// assert!(captured.patterns().any(|pattern| pattern == "order.charge.*"));
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Cow<'_, str>", into = "String")]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct EventType(Arc<str>);

impl EventType {
    /// The type that `text` names.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `type` when the text is longer than 128
    /// bytes, has fewer than 2 or more than 8 segments, or a segment is empty or has another
    /// character than `[A-Za-z0-9_-]`.
    pub fn parse(text: &str) -> Result<Self> {
        check_length(text)
            .and_then(|()| check_segments(text, EVENT_TYPE_SEGMENTS))
            .map_err(|message| Error::invalid("type", message))?;
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts between the dots.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// All but the last segment: the (sub-)resource that the event is about.
    pub fn resource(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(resource, _)| resource)
    }

    /// The text of every [`Filter`](crate::Filter) that matches this type, the widest first: `*`,
    /// then each run of leading segments with `.*`, then the type itself.
    ///
    /// There are at most 9, so a storage finds the webhooks of an event by looking up as many keys,
    /// however many webhooks there are.
    pub fn patterns(&self) -> impl Iterator<Item = String> {
        let wild = self.0.match_indices('.').map(|(dot, _)| format!("{}.*", &self.0[..dot]));
        std::iter::once("*".to_owned())
            .chain(wild)
            .chain(std::iter::once(self.0.as_ref().to_owned()))
    }
}

/// Checks the bytes of a type or pattern.
pub(crate) fn check_length(text: &str) -> Result<(), String> {
    if text.len() > EVENT_TYPE_BYTES_MAX {
        return Err(format!(
            "has {} bytes; at most {EVENT_TYPE_BYTES_MAX} are allowed",
            text.len()
        ));
    }
    Ok(())
}

/// Checks the segments of a type, or of what stands before the `.*` of a pattern.
pub(crate) fn check_segments(
    text: &str,
    allowed: std::ops::RangeInclusive<usize>,
) -> Result<(), String> {
    let mut count = 0;
    for segment in text.split('.') {
        count += 1;
        if segment.is_empty() {
            return Err(format!("segment {count} is empty"));
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !segment.bytes().all(allowed) {
            return Err(format!(
                "segment {count} has a character other than A-Z, a-z, 0-9, _ and -"
            ));
        }
    }
    if !allowed.contains(&count) {
        return Err(format!(
            "has {count} segments between dots; {} to {} are allowed, as in resource.event",
            allowed.start(),
            allowed.end()
        ));
    }
    Ok(())
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventType({})", self.0)
    }
}

impl AsRef<str> for EventType {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<Cow<'_, str>> for EventType {
    type Error = Error;

    fn try_from(text: Cow<'_, str>) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<EventType> for String {
    fn from(event_type: EventType) -> Self {
        event_type.0.as_ref().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses good and bad names (table; seed row E8, domain 7).
    #[test]
    fn names_of_the_right_form_are_types() {
        let longest = format!("a.{}", "b".repeat(126));
        for good in [
            "order.accepted",
            "order.charge.capture.complete",
            "fulfillment_order.shipped",
            "fileLink.created",
            "logistics-return.received",
            "1.2",
            "a.b.c.d.e.f.g.h",
            &longest,
        ] {
            let parsed = EventType::parse(good).unwrap_or_else(|error| panic!("{good}: {error}"));
            assert_eq!(parsed.as_str(), good);
        }
        let too_long = format!("a.{}", "b".repeat(127));
        for (bad, says) in [
            ("", "segment 1 is empty"),
            ("order", "1 segments"),
            (".x", "segment 1 is empty"),
            ("x.", "segment 2 is empty"),
            ("a..b", "segment 2 is empty"),
            ("a.b.c.d.e.f.g.h.i", "9 segments"),
            ("order accepted.x", "segment 1 has a character"),
            ("order.*", "segment 2 has a character"),
            ("order.accepté", "segment 2 has a character"),
            ("order.accepted\n", "segment 2 has a character"),
            (&too_long, "has 129 bytes; at most 128"),
        ] {
            let error = EventType::parse(bad).expect_err(bad);
            assert_eq!(error.field(), Some("type"), "{bad}");
            assert!(error.to_string().contains(says), "{bad}: {error}");
        }
    }

    /// Lists the patterns of a type of four segments and of one of two.
    #[test]
    fn patterns_run_from_everything_to_the_type_itself() {
        let patterns = |text| EventType::parse(text).unwrap().patterns().collect::<Vec<_>>();
        assert_eq!(
            patterns("order.charge.capture.complete"),
            [
                "*",
                "order.*",
                "order.charge.*",
                "order.charge.capture.*",
                "order.charge.capture.complete"
            ]
        );
        assert_eq!(patterns("order.accepted"), ["*", "order.*", "order.accepted"]);
    }

    /// Reads and writes a type as a JSON string, plain, escaped and bad.
    #[test]
    fn serde_validates() {
        let read: EventType = serde_json::from_str(r#""order.accepted""#).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), r#""order.accepted""#);
        let escaped: EventType = serde_json::from_str(r#""order.\u0061ccepted""#).unwrap();
        assert_eq!(read, escaped);
        assert!(serde_json::from_str::<EventType>(r#""order""#).is_err());
    }
}
