//! The URL of an endpoint, read strictly: what a person sees in the text is what will be dialled.
//!
//! The `url` crate reads as browsers do: it drops tabs and line breaks, turns backslashes round,
//! accepts user names and reads `0x7f.1` as an IPv4 address. An address that is stored, shown and
//! dialled must not have two readings, so all of that is refused here. Whether the host may be
//! reached at all is not decided here but by [`NetworkPolicy`](crate::NetworkPolicy).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use url::{Host, ParseError, Url};

use super::address_rule::AddressRule as Rule;
use super::error::{Error, Result};
use super::policy::{HOST_BYTES_MAX, HOST_LABEL_BYTES_MAX, URL_BYTES_MAX};

/// The field of a webhook that errors name.
pub(crate) const FIELD: &str = "address";

/// The ports that browsers refuse (the list of "bad ports" in the WHATWG Fetch standard): services
/// that could be made to act on the lines of an HTTP request.
const BAD_PORTS: [u16; 83] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427,
    465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990,
    993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667,
    6668, 6669, 6679, 6697, 10080,
];

/// The URL of an endpoint: `http` or `https`, with one reading only.
///
/// The text is kept exactly as it was given. Names such as `localhost` and literal addresses are
/// read like any other; [`NetworkPolicy::check_url`](crate::NetworkPolicy::check_url) judges them.
///
/// ```
/// use tidings::EndpointUrl;
///
/// let url = EndpointUrl::parse("https://example.com/hooks?from=orders").unwrap();
/// assert!(url.is_https());
/// assert_eq!((url.host(), url.port()), ("example.com", 443));
///
/// for two_readings in ["ftp://example.com/", "http://0x7f.1/", "http://a@b.example/"] {
///     assert!(EndpointUrl::parse(two_readings).is_err());
/// }
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EndpointUrl(Arc<Inner>);

struct Inner {
    text: String,
    url: Url,
    port: u16,
}

impl EndpointUrl {
    /// Reads the text of a URL.
    ///
    /// It has at most 2,048 bytes, begins `http://` or `https://` (in any case), has no control
    /// character, white space, backslash or byte order mark anywhere, no user name or password, no
    /// fragment, and a host. A name has, after IDNA, only letters, digits, `-` and `_` in labels
    /// of 1 to 63 bytes, at most 253 bytes in all; an IPv4 address is written as four decimal numbers.
    /// One dot at the end of either is passed over. The port is not 0 and not one of those that
    /// browsers refuse.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), naming the field `address` and the rule.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > URL_BYTES_MAX {
            let bytes = text.len();
            return refuse(
                Rule::Text,
                format_args!("has {bytes} bytes; at most {URL_BYTES_MAX} are allowed"),
            );
        }
        let Some(rest) = without_scheme(text) else {
            return refuse(Rule::Text, "must begin with http:// or https://");
        };
        for char in text.chars() {
            let (rule, what) = match char {
                '\\' => (Rule::Text, "a backslash"),
                '#' => (Rule::Authority, "a fragment (#)"),
                '\u{feff}' => (Rule::Text, "a byte order mark"),
                char if char.is_control() => (Rule::Text, "a control character"),
                char if char.is_whitespace() => (Rule::Text, "white space"),
                _ => continue,
            };
            return refuse(rule, format_args!("must not have {what}"));
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let authority = &rest[..end];
        if authority.contains('@') {
            return refuse(
                Rule::Authority,
                "must not have a user name or password; set them as the webhook's credentials",
            );
        }
        let host = host_text(authority);
        if host.is_empty() {
            return refuse(Rule::Authority, "has no host after the two slashes");
        }
        if host.contains('%') {
            return refuse(Rule::Host, "must not have % in the host");
        }
        let url = Url::parse(text).map_err(|error| {
            // What is left to be at fault are the parts of the authority.
            let rule = match error {
                ParseError::InvalidPort => Rule::Port,
                ParseError::InvalidIpv4Address => Rule::Ipv4,
                _ => Rule::Host,
            };
            invalid(rule, format_args!("is not a URL: {error}")).with_source(error)
        })?;
        match url.host() {
            None => return refuse(Rule::Authority, "has no host"),
            Some(Host::Domain(name)) => check_name(name)?,
            // The parser leaves out a dot at the end, as of a name: it is not dialled.
            Some(Host::Ipv4(address))
                if host.strip_suffix('.').unwrap_or(host) != address.to_string() =>
            {
                return refuse(
                    Rule::Ipv4,
                    "has an IPv4 address that is not written as four decimal numbers",
                );
            }
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => {}
        }
        let port = check_port(&url)?;
        Ok(Self(Arc::new(Inner { text: text.to_owned(), url, port })))
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// The URL as it is dialled: the name in ASCII, the path percent-encoded.
    pub fn url(&self) -> &Url {
        &self.0.url
    }

    /// Whether the scheme is `https`.
    pub fn is_https(&self) -> bool {
        self.0.url.scheme() == "https"
    }

    /// The host: a name in lower case and ASCII without a dot at its end, or an address (IPv6 in
    /// brackets).
    pub fn host(&self) -> &str {
        let host = self.0.url.host_str().unwrap_or_default();
        host.strip_suffix('.').unwrap_or(host)
    }

    /// The port, given or implied by the scheme.
    pub fn port(&self) -> u16 {
        self.0.port
    }
}

fn invalid(rule: Rule, message: impl fmt::Display) -> Error {
    Error::address(FIELD, rule, message)
}

fn refuse<T>(rule: Rule, message: impl fmt::Display) -> Result<T> {
    Err(invalid(rule, message))
}

/// What follows `http://` or `https://`.
fn without_scheme(text: &str) -> Option<&str> {
    ["http://", "https://"].into_iter().find_map(|scheme| {
        let begin = text.get(..scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..])
    })
}

/// The host in an authority without user name: everything before the port.
fn host_text(authority: &str) -> &str {
    if authority.starts_with('[') {
        let end = authority.find(']').map_or(authority.len(), |at| at + 1);
        return &authority[..end];
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

fn check_name(name: &str) -> Result<()> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > HOST_BYTES_MAX {
        let bytes = name.len();
        return refuse(
            Rule::Host,
            format_args!("has a host of {bytes} bytes; at most {HOST_BYTES_MAX} are allowed"),
        );
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > HOST_LABEL_BYTES_MAX {
            let bytes = label.len();
            let allowed = format_args!("1 to {HOST_LABEL_BYTES_MAX} are allowed");
            return refuse(
                Rule::Host,
                format_args!("has a label of {bytes} bytes in its host; {allowed}"),
            );
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !label.bytes().all(allowed) {
            return refuse(
                Rule::Host,
                "has a host with characters other than letters, digits, - and _",
            );
        }
    }
    Ok(())
}

fn check_port(url: &Url) -> Result<u16> {
    let port = url.port_or_known_default().unwrap_or(0);
    if BAD_PORTS.contains(&port) {
        return refuse(Rule::Port, format_args!("must not use port {port}"));
    }
    Ok(port)
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EndpointUrl").field(&self.as_str()).finish()
    }
}

impl PartialEq for EndpointUrl {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for EndpointUrl {}

impl Hash for EndpointUrl {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl FromStr for EndpointUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<String> for EndpointUrl {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<EndpointUrl> for String {
    fn from(url: EndpointUrl) -> Self {
        url.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses URLs that keep every rule and compares what was understood (table).
    #[test]
    fn good_urls_are_understood() {
        for (text, https, host, port) in [
            ("http://example.com", false, "example.com", 80),
            ("https://example.com/", true, "example.com", 443),
            ("HTTPS://EXAMPLE.com/A", true, "example.com", 443),
            ("https://example.com.:8443/a@b?c=@d%23", true, "example.com", 8443),
            ("https://bücher.example/", true, "xn--bcher-kva.example", 443),
            ("http://a_b.example:81?x", false, "a_b.example", 81),
            ("http://localhost:8080/", false, "localhost", 8080),
            ("http://203.0.114.9/", false, "203.0.114.9", 80),
            ("http://203.0.114.9.:81/", false, "203.0.114.9", 81),
            ("http://127.0.0.1./", false, "127.0.0.1", 80),
            ("http://[2606:4700::1]:8080/", false, "[2606:4700::1]", 8080),
        ] {
            let url = EndpointUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(url.as_str(), text);
            assert_eq!((url.is_https(), url.host(), url.port()), (https, host, port), "{text}");
        }
    }

    /// Parses URLs that break one rule each and looks for the rule in the error (table).
    #[test]
    fn the_error_names_the_rule() {
        let long = format!("http://example.com/{}", "a".repeat(2_030));
        let label = format!("http://{}.example/", "a".repeat(64));
        let name = format!("http://{}example/", "abcdefgh.".repeat(30));
        for (text, rule) in [
            (long.as_str(), "2049 bytes"),
            ("", "must begin"),
            (" http://example.com/", "must begin"),
            ("ftp://example.com/", "must begin"),
            ("http:/example.com/", "must begin"),
            ("http:example.com", "must begin"),
            ("//example.com/", "must begin"),
            ("http:///example.com/", "no host"),
            ("http://", "no host"),
            ("http://:80/", "no host"),
            ("http://?a", "no host"),
            ("http://exa mple.com/", "white space"),
            ("http://example.com/\u{2003}", "white space"),
            ("http://example.com/\t", "control"),
            ("http://exam\nple.com/", "control"),
            ("http://example.com/\u{0}", "control"),
            ("http://example.com/\u{85}", "control"),
            ("http://example.com\\@b.example/", "backslash"),
            ("http://\u{feff}example.com/", "byte order mark"),
            ("http://example.com/#", "fragment"),
            ("http://user@example.com/", "user name"),
            ("http://:@example.com/", "user name"),
            ("http://example%2ecom/", "% in the host"),
            ("http://[fe80::1%25eth0]/", "% in the host"),
            (label.as_str(), "label of 64"),
            (name.as_str(), "at most 253"),
            ("http://example..com/", "label of 0"),
            ("http://example.com../", "label of 0"),
            ("http://./", "label of 0"),
            ("http://exa!mple.com/", "letters, digits"),
            ("http://a,b.example/", "letters, digits"),
            ("http://0x7f000001/", "four decimal"),
            ("http://2130706433/", "four decimal"),
            ("http://127.1/", "four decimal"),
            ("http://0177.0.0.1/", "four decimal"),
            ("http://127.1./", "four decimal"),
            ("http://127.0.0.1。/", "four decimal"),
            ("http://127.0.0.1../", "label of 0"),
            ("http://127。0。0。1/", "four decimal"),
            ("http://①②⑦.0.0.1/", "four decimal"),
            ("http://1.2.3.256/", "not a URL"),
            ("http://a.b.1x.08/", "not a URL"),
            ("http://[::1/", "not a URL"),
            ("http://example.com:65536/", "not a URL"),
            ("http://example.com:0/", "port 0"),
            ("http://example.com:22/", "port 22"),
            ("https://example.com:6667/", "port 6667"),
        ] {
            let error = EndpointUrl::parse(text).expect_err(text);
            assert_eq!(error.field(), Some("address"), "{text}");
            assert!(error.to_string().contains(rule), "{text}: {error}");
        }
    }

    /// Writes a URL as JSON and reads it and a bad one back.
    #[test]
    fn json_is_read_by_the_same_rules() {
        let url = EndpointUrl::parse("https://EXAMPLE.com/a").unwrap();
        let json = serde_json::to_string(&url).unwrap();
        assert_eq!(json, "\"https://EXAMPLE.com/a\"");
        assert_eq!(serde_json::from_str::<EndpointUrl>(&json).unwrap(), url);
        assert!(serde_json::from_str::<EndpointUrl>("\"http://127.1/\"").is_err());
    }
}
