//! The trace that a change belongs to, as W3C Trace Context writes it: taken at the publish, sent with
//! every attempt.
//!
//! What is sent is what was taken: trace, parent and flags. So what a receiver does is a child of the
//! span that published. The crate makes no span ids of its own: it reports no spans with them, and a
//! parent that nobody reports would cut the trace in two.

use std::fmt;
use std::sync::Arc;

use super::error::{Error, Result};
use crate::policy::{TRACE_STATE_BYTES_MAX, TRACE_STATE_MEMBERS_MAX};

/// Where a trace goes on: the headers `traceparent` and, if there is one, `tracestate`.
///
/// ```
/// use tidings::{Change, TraceContext};
/// # use serde_json::json;
///
/// let trace = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")?;
/// assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// let change = Change::of("order.accepted", &json!({ "id": "1" }))?.trace(trace);
/// # let _ = change;
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// Version, trace, parent and flags; then a space and the state, if there is one.
    text: Arc<str>,
}

/// Bytes of a `traceparent` of version 00.
const PARENT: usize = 55;
/// The flags that have a meaning: sampled, and (level 2) that the trace's id is random.
const FLAGS: u8 = 0b11;
/// The only flag of later versions that can be known.
const SAMPLED: u8 = 0b01;

impl TraceContext {
    /// Reads the value of a header `traceparent`. A later version than 00 is read as far as this one
    /// knows it, and goes on as version 00; flags that have no meaning are cleared.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `traceparent` when it is malformed, or one of
    /// its ids is all zero. W3C asks to begin a new trace then, or to leave it out.
    pub fn parse(traceparent: &str) -> Result<Self> {
        let text = read(traceparent).ok_or_else(|| {
            let message =
                "is not like 00-<32 hexadecimal digits>-<16 digits>-<2 digits>, in lower case";
            Error::invalid("traceparent", message)
        })?;
        Ok(Self { text: text.into() })
    }

    /// With the value of the header `tracestate` (several headers are joined with commas). An empty one
    /// stands for none.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `tracestate` when it has more than 512 bytes or
    /// 32 members, or is malformed. W3C asks to leave it out then, and to go on without.
    pub fn with_state(self, tracestate: &str) -> Result<Self> {
        check_state(tracestate)?;
        let parent = self.traceparent();
        let members = tracestate.split(',').map(str::trim).filter(|member| !member.is_empty());
        let state = members.collect::<Vec<_>>().join(",");
        let text = if state.is_empty() { parent.to_owned() } else { format!("{parent} {state}") };
        Ok(Self { text: text.into() })
    }

    /// What a storage has kept ([`StoredEvent::trace`](crate::StoredEvent::trace)); `None` if it is
    /// damaged: a trace that is cut is no reason not to deliver.
    pub(crate) fn from_stored(text: &Arc<str>) -> Option<Self> {
        let (parent, state) = match text.split_once(' ') {
            Some((parent, state)) => (parent, Some(state)),
            None => (&**text, None),
        };
        let is_sound = read(parent).as_deref() == Some(parent)
            && state.is_none_or(|state| !state.is_empty() && check_state(state).is_ok());
        is_sound.then(|| Self { text: text.clone() })
    }

    /// For a storage to keep.
    pub(crate) fn to_stored(&self) -> Arc<str> {
        self.text.clone()
    }

    /// The value of the header `traceparent`.
    pub fn traceparent(&self) -> &str {
        self.text.get(..PARENT).unwrap_or_default()
    }

    /// The value of the header `tracestate`.
    pub fn tracestate(&self) -> Option<&str> {
        self.text.get(PARENT + 1..)
    }

    /// The trace, in 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        self.text.get(3..35).unwrap_or_default()
    }

    /// The span that published, in 16 hexadecimal digits.
    pub fn parent_id(&self) -> &str {
        self.text.get(36..52).unwrap_or_default()
    }

    /// Whether the publisher may have recorded its part.
    pub fn is_sampled(&self) -> bool {
        let flags = self.text.get(53..PARENT).and_then(|text| u8::from_str_radix(text, 16).ok());
        flags.is_some_and(|flags| flags & SAMPLED != 0)
    }
}

/// The text of version 00.
fn read(traceparent: &str) -> Option<String> {
    let version = hex(traceparent, 0..2)?;
    let trace = hex(traceparent, 3..35)?;
    let parent = hex(traceparent, 36..52)?;
    let flags = hex(traceparent, 53..PARENT)?;
    let dashes = [2, 35, 52].iter().all(|at| traceparent.as_bytes().get(*at) == Some(&b'-'));
    let ends = match version {
        "00" => traceparent.len() == PARENT,
        // What may follow begins with a dash.
        _ => traceparent.as_bytes().get(PARENT).is_none_or(|next| *next == b'-'),
    };
    let is_zero = |id: &str| id.bytes().all(|byte| byte == b'0');
    if !dashes || !ends || version == "ff" || is_zero(trace) || is_zero(parent) {
        return None;
    }
    let known = if version == "00" { FLAGS } else { SAMPLED };
    let flags = u8::from_str_radix(flags, 16).ok()? & known;
    Some(format!("00-{trace}-{parent}-{flags:02x}"))
}

/// These bytes, if they are lower-case hexadecimal digits.
fn hex(text: &str, range: std::ops::Range<usize>) -> Option<&str> {
    let part = text.get(range)?;
    part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(part)
}

/// Checks a list of members `key=value` (W3C Trace Context, 3.3). Empty members are allowed.
fn check_state(state: &str) -> Result<()> {
    let wrong = |message: String| Err(Error::invalid("tracestate", message));
    if state.len() > TRACE_STATE_BYTES_MAX {
        let bytes = state.len();
        return wrong(format!("has {bytes} bytes; at most {TRACE_STATE_BYTES_MAX} are allowed"));
    }
    if state.matches(',').count() >= TRACE_STATE_MEMBERS_MAX {
        return wrong(format!("has more than {TRACE_STATE_MEMBERS_MAX} members"));
    }
    let is_key = |key: &str| {
        !key.is_empty()
            && key.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte)
            })
    };
    let is_value = |value: &str| {
        !value.is_empty() && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=')
    };
    let members = state.split(',').map(|member| member.trim_matches([' ', '\t']));
    for member in members.filter(|member| !member.is_empty()) {
        if !member.split_once('=').is_some_and(|(key, value)| is_key(key) && is_value(value)) {
            // The value may be somebody's secret, and is not repeated.
            return wrong("has a member that is not like key=value".to_owned());
        }
    }
    Ok(())
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceContext({})", self.traceparent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    /// Reads values of this version and later ones (table).
    #[test]
    fn a_traceparent_is_read() {
        for (version, flags, rest, expected) in [
            ("00", "00", "", "00"),
            ("00", "01", "", "01"),
            ("00", "03", "", "03"),
            ("00", "ff", "", "03"),
            ("01", "03", "", "01"),
            ("cc", "01", "-what the future will be like", "01"),
            ("fe", "00", "-", "00"),
        ] {
            let text = format!("{version}-{TRACE}-{SPAN}-{flags}{rest}");
            let trace = TraceContext::parse(&text).unwrap();
            assert_eq!(trace.traceparent(), format!("00-{TRACE}-{SPAN}-{expected}"), "{text}");
            assert_eq!((trace.trace_id(), trace.parent_id()), (TRACE, SPAN));
            assert_eq!(trace.is_sampled(), expected != "00", "{text}");
            assert_eq!(trace.tracestate(), None);
            assert_eq!(TraceContext::from_stored(&trace.to_stored()), Some(trace));
        }
    }

    /// Refuses what the document calls invalid (table).
    #[test]
    fn a_malformed_traceparent_is_refused() {
        let zeros = "0".repeat(32);
        for text in [
            "",
            "00",
            &format!("00-{TRACE}-{SPAN}"),
            &format!("00-{TRACE}-{SPAN}-1"),
            &format!("00-{TRACE}-{SPAN}-01-"),
            &format!("00-{TRACE}-{SPAN}-01-more"),
            &format!("01-{TRACE}-{SPAN}-01more"),
            &format!("ff-{TRACE}-{SPAN}-01"),
            &format!("0-{TRACE}-{SPAN}-01"),
            &format!("00-{zeros}-{SPAN}-01"),
            &format!("00-{TRACE}-{}-01", &zeros[..16]),
            &format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            &format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            &format!("00-{TRACE}-{SPAN}-0X"),
            &format!("00_{TRACE}-{SPAN}-01"),
            &format!("00-{TRACE}_{SPAN}-01"),
            &format!(" 00-{TRACE}-{SPAN}-01"),
            &format!("00-{TRACE}-{SPAN}-01 "),
            &format!("00-{}é-{SPAN}-01", &TRACE[..30]),
        ] {
            let error = TraceContext::parse(text).unwrap_err();
            assert_eq!(error.field(), Some("traceparent"), "{text}");
        }
    }

    /// Reads and refuses states (table).
    #[test]
    fn a_tracestate_is_bounded() {
        let trace = TraceContext::parse(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        let many = |count: usize| vec!["a=b"; count].join(",");
        let long = |bytes: usize| format!("k={}", "v".repeat(bytes - 2));
        for (state, kept) in [
            ("", None),
            (" , ", None),
            ("rojo=00f067aa0ba902b7", Some("rojo=00f067aa0ba902b7")),
            ("rojo=1 , congo=t61\t,, a@b=c d", Some("rojo=1,congo=t61,a@b=c d")),
            (&many(32), Some(&*many(32))),
            (&long(512), Some(&*long(512))),
        ] {
            let with = trace.clone().with_state(state).unwrap();
            assert_eq!((with.traceparent(), with.tracestate()), (trace.traceparent(), kept));
            assert_eq!(TraceContext::from_stored(&with.to_stored()), Some(with));
        }
        for state in [
            "a",
            "=b",
            "a=",
            "A=b",
            "a=b=c",
            "a=\u{7f}",
            "ä=b",
            "a=ü",
            "a=b\r\nx: y",
            &many(33),
            &long(513),
        ] {
            let error = trace.clone().with_state(state).unwrap_err();
            assert_eq!(error.field(), Some("tracestate"), "{state}");
        }
    }

    /// Takes texts that a storage has damaged for none.
    #[test]
    fn a_damaged_trace_is_none() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        for text in [
            "",
            &good[..54],
            &format!("{good} "),
            &format!("{good} a"),
            &format!("01{}", &good[2..]),
        ] {
            assert_eq!(TraceContext::from_stored(&text.into()), None, "{text}");
        }
    }
}
