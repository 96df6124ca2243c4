//! Any bytes as the headers of a signed request: nothing that a stranger sends verifies, and what was
//! signed does, whatever other signatures stand beside it.

use tidings::signature::sign;
use tidings::{
    EventId, HeaderName, Secret, Secrets, SignatureScheme, Timestamp, Verifier, VerifyError,
};

const NOW: i64 = 1_614_265_330;

/// `webhook-id`, `webhook-timestamp`, `webhook-signature`.
pub(crate) fn standard(data: &[u8]) {
    run(&SignatureScheme::StandardWebhooks, data);
}

/// The same headers with signatures by a private key.
#[cfg(feature = "ed25519")]
pub(crate) fn asymmetric(data: &[u8]) {
    run(&SignatureScheme::StandardWebhooksAsymmetric, data);
}

/// `<timestamp>, <base64>` in one header.
pub(crate) fn digital_river(data: &[u8]) {
    run(&SignatureScheme::digital_river(), data);
}

/// `t=…,v1=<hex>` in one header.
pub(crate) fn hex(data: &[u8]) {
    let header = HeaderName::parse("X-Signature").unwrap();
    run(&SignatureScheme::TimestampedHex { header }, data);
}

/// The bytes are header values and a body, a line each.
fn run(scheme: &SignatureScheme, data: &[u8]) {
    let mut lines = data.splitn(4, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let values = [line(), line(), line()];
    let body = line();
    let names: Vec<_> = scheme.header_names().map(str::to_owned).collect();
    let now = Timestamp::from_timestamp(NOW, 0).unwrap();
    let secret = match scheme {
        #[cfg(feature = "ed25519")]
        SignatureScheme::StandardWebhooksAsymmetric => Secret::asymmetric_from_random(&[0x5a; 32]),
        _ => Secret::from_random(&[0x5a; 32]),
    };
    let verifier = Verifier::new(scheme.clone(), [secret.clone()]).unwrap();

    let drawn = names.iter().map(String::as_str).zip(values);
    assert!(verifier.verify(drawn.clone(), body, now).is_err(), "a stranger's request verifies");
    let twice = drawn.clone().chain(drawn);
    assert!(verifier.verify(twice, body, now).is_err());

    let secrets = Secrets::new(secret, now);
    let id = EventId::new(now, &[7; 10]);
    let headers: Vec<(String, String)> =
        sign(std::slice::from_ref(scheme), &secrets, id, body, now)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect();
    let signed = || headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    assert!(verifier.verify(signed(), body, now).is_ok(), "what was signed does not verify");
    let longer = [body, b"\0"].concat();
    assert_eq!(verifier.verify(signed(), &longer, now), Err(VerifyError::NoMatch));

    // The last header holds the signatures: a drawn item before or after them neither helps nor harms.
    let (last, value) = headers.last().unwrap();
    let (separator, item) = match scheme {
        SignatureScheme::StandardWebhooks | SignatureScheme::StandardWebhooksAsymmetric => {
            (b' ', values[2])
        }
        _ => (b',', values[0]),
    };
    if item.contains(&separator) || item.starts_with(b"t=") {
        return;
    }
    let after = [value.as_bytes(), &[separator], item].concat();
    let others = || signed().take(headers.len() - 1);
    let beside = others().chain([(last.as_str(), after.as_slice())]);
    // White space around an item may be cut, and an item be a timestamp then.
    if item.first().is_some_and(u8::is_ascii_graphic) {
        assert!(verifier.verify(beside, body, now).is_ok(), "{item:?} hides a signature");
    }
    let alone = others().chain([(last.as_str(), item)]);
    assert!(verifier.verify(alone, body, now).is_err());
}
