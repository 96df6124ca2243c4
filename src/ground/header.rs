//! Header names and values that a webhook adds to its requests, checked once, when they come in.
//!
//! A name that the crate or HTTP itself writes is refused here, so that nobody can set a second
//! `webhook-id` or cut the body short. Values may carry credentials and are kept out of sight.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::{Error, Result};
use crate::policy::{HEADER_NAME_BYTES_MAX, HEADER_VALUE_BYTES_MAX, HEADERS_MAX};

/// Names that frame the message (RFC 9110, RFC 9112), describe the payload, are always false when
/// fixed in advance (`date`), or belong to Standard Webhooks. All in lower case.
const RESERVED: [&str; 18] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];
/// What stands for a value that is not shown.
pub(crate) const MASK: &str = "***";

const RESERVED_PREFIX: &str = "proxy-";

/// The name of a header that a webhook may set: a token of RFC 9110 of 1 to 128 bytes that is not
/// reserved.
///
/// Reserved are the names that HTTP uses to frame a message or that only fit one connection
/// (`host`, `content-length`, `connection`, `proxy-…` and the like), those that describe the body
/// (`content-type`, `content-encoding`), `date`, and the three names of Standard Webhooks.
/// `user-agent` and `authorization` are free.
///
/// The spelling is kept; comparison ignores case.
///
/// ```
/// use tidings::HeaderName;
///
/// let name = HeaderName::parse("X-Tenant").unwrap();
/// assert_eq!(name.as_str(), "X-Tenant");
/// assert_eq!(name, HeaderName::parse("x-tenant").unwrap());
/// assert!(HeaderName::parse("Content-Length").is_err());
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct HeaderName(Arc<str>);

impl HeaderName {
    /// Reads a name.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `headers`, with the name as far as it
    /// is one: what stands behind the first wrong character may be a value, and is not repeated.
    pub fn parse(name: &str) -> Result<Self> {
        if name.is_empty() || name.len() > HEADER_NAME_BYTES_MAX {
            let message = format!(
                "a name has {} bytes; 1 to {HEADER_NAME_BYTES_MAX} are allowed",
                name.len()
            );
            return Err(Error::invalid("headers", message));
        }
        if let Some(at) = name.bytes().position(|byte| !is_token(byte)) {
            let good = name.get(..at).unwrap_or_default();
            let message = format!("the name that begins \"{good}\" has a bad character at {at}");
            return Err(Error::invalid("headers", message));
        }
        let lower = name.to_ascii_lowercase();
        if RESERVED.contains(&lower.as_str()) || lower.starts_with(RESERVED_PREFIX) {
            return Err(Error::invalid("headers", format!("{name} is reserved")));
        }
        Ok(Self(name.into()))
    }

    /// A name that the crate itself has chosen.
    pub(crate) fn known(name: &'static str) -> Self {
        Self(name.into())
    }

    /// The name as it was spelt.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl PartialEq for HeaderName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for HeaderName {}

impl Hash for HeaderName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
        state.write_u8(0xff);
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeaderName({})", self.0)
    }
}

impl TryFrom<String> for HeaderName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::parse(&name)
    }
}

impl From<HeaderName> for String {
    fn from(name: HeaderName) -> Self {
        name.0.as_ref().into()
    }
}

/// The value of a header that a webhook sets: up to 4,096 bytes of visible ASCII, with spaces and
/// tabs inside but not at the ends (HTTP would drop those).
///
/// It may be a credential, so `Debug` hides it, it is not serialisable, and it is wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderValue(Zeroizing<String>);

impl HeaderValue {
    /// Reads a value.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `headers`. The text does not repeat the
    /// value.
    pub fn parse(value: &str) -> Result<Self> {
        match value_fault(value) {
            Some(fault) => Err(Error::invalid("headers", format!("a value {fault}"))),
            None => Ok(Self(Zeroizing::new(value.into()))),
        }
    }

    /// The value itself, to be stored or sent; not to be shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

fn value_fault(value: &str) -> Option<String> {
    let blank = |byte: u8| byte == b' ' || byte == b'\t';
    let bytes = value.as_bytes();
    if bytes.len() > HEADER_VALUE_BYTES_MAX {
        let len = bytes.len();
        Some(format!("has {len} bytes; at most {HEADER_VALUE_BYTES_MAX} are allowed"))
    } else if let Some(at) = bytes.iter().position(|byte| !byte.is_ascii_graphic() && !blank(*byte))
    {
        Some(format!("has a byte that is not visible ASCII at {at}"))
    } else if bytes.first().copied().is_some_and(blank) || bytes.last().copied().is_some_and(blank)
    {
        Some("begins or ends with a blank".into())
    } else {
        None
    }
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeaderValue(..)")
    }
}

/// The headers that a webhook adds to each of its requests: at most 32, each name once.
///
/// ```
/// use tidings::Headers;
///
/// let headers = Headers::parse([("X-Tenant", "acme"), ("Authorization", "Bearer s3cret")]).unwrap();
/// assert_eq!(headers.len(), 2);
/// assert!(!format!("{headers:?}").contains("s3cret"));
///
/// let error = Headers::parse([("X-Tenant", "a"), ("x-tenant", "b")]).unwrap_err();
/// assert_eq!(error.to_string(), "headers: x-tenant is there twice");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Headers {
    /// The list of these headers, in this order.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `headers` when there are more than 32,
    /// or a name is there twice (in whatever case).
    pub fn new(headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> Result<Self> {
        let mut list = Self::default();
        for (name, value) in headers {
            list.push(name, value)?;
        }
        Ok(list)
    }

    /// Reads names and values.
    ///
    /// # Errors
    /// As [`Headers::new`], and as [`HeaderName::parse`] and [`HeaderValue::parse`]; the text says
    /// which name the value belongs to.
    pub fn parse<N: AsRef<str>, V: AsRef<str>>(
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self> {
        let mut list = Self::default();
        for (name, value) in headers {
            let name = HeaderName::parse(name.as_ref())?;
            if let Some(fault) = value_fault(value.as_ref()) {
                let message = format!("the value of {name} {fault}");
                return Err(Error::invalid("headers", message));
            }
            let value = HeaderValue(Zeroizing::new(value.as_ref().into()));
            list.push(name, value)?;
        }
        Ok(list)
    }

    /// The same, where a value of [`MASK`] is the one that `former` has for the name: callers send back
    /// what they were shown.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `headers` when `former` has no such name.
    pub(crate) fn unmasked(&self, former: &Self) -> Result<Self> {
        let value = |(name, value): &(HeaderName, HeaderValue)| {
            if value.reveal() != MASK {
                return Ok((name.clone(), value.clone()));
            }
            let kept = former.0.iter().find(|(known, _)| known == name);
            let kept = kept.map(|(_, kept)| (name.clone(), kept.clone()));
            kept.ok_or_else(|| {
                let message = format!("{MASK} keeps a value, and {name} has none: give it one");
                Error::invalid("headers", message)
            })
        };
        self.0.iter().map(value).collect::<Result<_>>().map(Self)
    }

    fn push(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        if self.contains(&name) {
            let message = format!("{name} is there twice");
            return Err(Error::invalid("headers", message));
        }
        if self.0.len() == HEADERS_MAX {
            let message = format!("there are more than {HEADERS_MAX}");
            return Err(Error::invalid("headers", message));
        }
        self.0.push((name, value));
        Ok(())
    }

    /// The same names, without the values.
    #[cfg(feature = "sealing")]
    pub(super) fn blanked(&self) -> Result<Self> {
        Self::parse(self.iter().map(|(name, _)| (name.as_str(), "")))
    }

    /// Whether a header of this name is there, in whatever case.
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.0.iter().any(|(own, _)| own == name)
    }

    /// The headers, in the order in which they were given.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// How many headers there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, value)| (name.as_str(), value))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads names that are tokens, are not, or are reserved, in several cases (table).
    #[test]
    fn names_are_tokens_that_nobody_else_writes() {
        let longest = "x".repeat(HEADER_NAME_BYTES_MAX);
        for name in ["X-Tenant", "authorization", "User-Agent", "!#$%&'*+-.^_`|~", &longest] {
            assert_eq!(HeaderName::parse(name).unwrap().as_str(), name);
        }
        let longer = "x".repeat(HEADER_NAME_BYTES_MAX + 1);
        for name in ["", "a b", "a:", ":path", "ä", "a\r\nb", "a\0", "(a)", &longer] {
            let error = HeaderName::parse(name).unwrap_err();
            assert_eq!(error.field(), Some("headers"), "{name}");
        }
        for name in RESERVED.iter().chain(&["proxy-authorization", "Proxy-X"]) {
            for name in [name.to_string(), name.to_ascii_uppercase()] {
                let text = HeaderName::parse(&name).unwrap_err().to_string();
                assert_eq!(text, format!("headers: {name} is reserved"));
            }
        }
    }

    /// Gives a whole header line as a name.
    #[test]
    fn a_value_in_the_place_of_a_name_is_not_repeated() {
        let text = HeaderName::parse("Authorization: s3cret").unwrap_err().to_string();
        assert_eq!(
            text,
            "headers: the name that begins \"Authorization\" has a bad character at 13"
        );
    }

    /// Reads values with each kind of wrong byte, and looks for them in the error (table).
    #[test]
    fn values_are_visible_ascii_and_stay_out_of_errors() {
        let longest = "v".repeat(HEADER_VALUE_BYTES_MAX);
        for value in ["", "a", "a b\tc", "~!\"", &longest] {
            assert_eq!(HeaderValue::parse(value).unwrap().reveal(), value);
        }
        let longer = "Q".repeat(HEADER_VALUE_BYTES_MAX + 1);
        for value in ["Q\r\nx: y", "Q\n", "Q\0", "Q\u{7f}", "Qé", " Q", "Q ", "\tQ", &longer] {
            let error = HeaderValue::parse(value).unwrap_err();
            assert_eq!(error.field(), Some("headers"), "{value:?}");
            assert!(!error.to_string().contains('Q'), "{error}");
            let text = Headers::parse([("X-A", value)]).unwrap_err().to_string();
            assert!(text.starts_with("headers: the value of X-A "), "{text}");
        }
    }

    /// Fills a list to its bound, and one over.
    #[test]
    fn a_list_is_bounded() {
        let names = (0..HEADERS_MAX).map(|n| (format!("x-{n}"), "v"));
        assert_eq!(Headers::parse(names).unwrap().len(), HEADERS_MAX);
        let names = (0..=HEADERS_MAX).map(|n| (format!("x-{n}"), "v"));
        let text = Headers::parse(names).unwrap_err().to_string();
        assert_eq!(text, "headers: there are more than 32");
    }

    /// Masks values of names that are there, in another case, and that are not.
    #[test]
    fn a_mask_keeps_the_value_that_is_there() {
        let former = Headers::parse([("X-A", "1"), ("X-B", "2")]).unwrap();
        let given = Headers::parse([("x-b", MASK), ("X-C", "3"), ("X-A", "4")]).unwrap();
        let expected = Headers::parse([("x-b", "2"), ("X-C", "3"), ("X-A", "4")]).unwrap();
        assert_eq!(given.unmasked(&former).unwrap(), expected);
        let given = Headers::parse([("X-A", MASK), ("X-C", MASK)]).unwrap();
        let error = given.unmasked(&former).unwrap_err();
        assert_eq!(error.field(), Some("headers"));
        assert!(error.to_string().contains("X-C has none"), "{error}");
    }

    /// Serialises a name and reads a bad one.
    #[test]
    fn names_are_checked_when_they_are_deserialised() {
        let name: HeaderName = serde_json::from_str("\"X-A\"").unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"X-A\"");
        assert!(serde_json::from_str::<HeaderName>("\"host\"").is_err());
    }
}
