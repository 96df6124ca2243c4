//! Any text as a URL: what is accepted keeps every rule by a reading of its own, and has one meaning.

use tidings::{EndpointUrl, Error, NetworkPolicy};

use super::registries;

/// Parses, judges, and reads what was accepted a second time.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let url = match EndpointUrl::parse(text) {
        Ok(url) => url,
        Err(error) => return check_error(&error),
    };
    assert_eq!(url.as_str(), text, "nothing is trimmed");
    assert_eq!(EndpointUrl::parse(url.as_str()).unwrap(), url);
    let json = serde_json::to_string(&url).unwrap();
    assert_eq!(serde_json::from_str::<EndpointUrl>(&json).unwrap(), url);
    check_text(text);
    check_host(&url, text);
    check_uri(&url);
    match NetworkPolicy::public_only().check_url(&url) {
        Ok(()) => check_accepted(&url),
        Err(error) => check_error(&error),
    }
}

fn check_error(error: &Error) {
    let rule = error.rule().expect("a refusal names its rule");
    assert_eq!(error.field(), Some("address"));
    assert!(error.to_string().ends_with(&format!("({rule})")), "{error}");
}

/// R1 and R2, of the text.
fn check_text(text: &str) {
    assert!(text.len() <= 2_048);
    let lower = text.to_ascii_lowercase();
    assert!(lower.starts_with("http://") || lower.starts_with("https://"));
    assert!(!text.contains(['\\', '#', '\u{feff}']));
    assert!(!text.chars().any(|char| char.is_whitespace() || char.is_control()));
    let authority = authority(text);
    assert!(!authority.is_empty() && !authority.contains(['@', '%']), "{authority:?}");
}

fn authority(text: &str) -> &str {
    let rest = text.split_once("//").unwrap().1;
    rest.split(['/', '?']).next().unwrap()
}

/// R3 and R4, of what was understood, and that a person reads the same host.
fn check_host(url: &EndpointUrl, text: &str) {
    let host = url.host();
    assert_ne!(url.port(), 0);
    let mut seen = authority(text);
    if let Some((before, port)) = seen.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        assert!(port.bytes().all(|byte| byte.is_ascii_digit()), "{port:?}");
        assert!(port.is_empty() || port.parse::<u64>() == Ok(u64::from(url.port())), "{port:?}");
        seen = before;
    }
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').unwrap();
        inner.parse::<std::net::Ipv6Addr>().unwrap();
        return;
    }
    assert!(host.len() <= 253 && !host.is_empty());
    for label in host.split('.') {
        assert!((1..=63).contains(&label.len()), "{host:?}");
        let fine =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        assert!(label.bytes().all(fine), "{host:?}");
    }
    let seen = seen.strip_suffix('.').unwrap_or(seen);
    if seen.is_ascii() {
        assert_eq!(host, seen.to_ascii_lowercase());
    }
    // What ends in a number is an address, written as four numbers.
    if host.rsplit('.').next().unwrap().bytes().all(|byte| byte.is_ascii_digit()) {
        assert_eq!(host.parse::<std::net::Ipv4Addr>().unwrap().to_string(), seen);
    }
}

/// R3 and R5, of what the default policy accepted.
fn check_accepted(url: &EndpointUrl) {
    let host = url.host();
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        assert!(registries::is_public(address), "{address}");
        return;
    }
    assert!(host.contains('.'), "{host:?} has one label");
    for private in ["localhost", "localdomain", "local", "internal", "home.arpa", "onion"] {
        assert!(host != private && !host.ends_with(&format!(".{private}")), "{host:?}");
    }
}

/// The engine's request goes where the URL says.
#[cfg(feature = "engine")]
fn check_uri(url: &EndpointUrl) {
    let uri: http::Uri = url.url().as_str().parse().expect("what is accepted can be sent");
    assert_eq!(uri.host(), url.url().host_str());
    let implied = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    assert_eq!(uri.port_u16().unwrap_or(implied), url.port());
}

#[cfg(not(feature = "engine"))]
fn check_uri(_: &EndpointUrl) {}
