//! Signatures under drawn inputs: what is signed verifies, what is changed does not, and nothing
//! that a stranger can send makes the verifier panic.

use proptest::collection::vec;
use proptest::prelude::*;
use tidings::signature::sign;
use tidings::{
    EventId, HeaderName, HeaderValue, Overlap, Secret, Secrets, SignatureScheme, Timestamp,
    Verified, Verifier, VerifyError,
};

/// Seconds of at most 12 digits.
const SECONDS: std::ops::Range<i64> = 0..999_999_999_000;

fn schemes() -> impl Strategy<Value = SignatureScheme> {
    let header = HeaderName::parse("X-Signature").unwrap();
    let last = match cfg!(feature = "ed25519") {
        true => SignatureScheme::StandardWebhooksAsymmetric,
        false => SignatureScheme::StandardWebhooks,
    };
    prop_oneof![
        Just(SignatureScheme::StandardWebhooks),
        Just(SignatureScheme::digital_river()),
        Just(SignatureScheme::TimestampedHex { header }),
        Just(last),
    ]
}

/// `secret`, or a private key that is made of its text, as `scheme` needs it.
fn fitting(scheme: &SignatureScheme, secret: Secret) -> Secret {
    #[cfg(feature = "ed25519")]
    if *scheme == SignatureScheme::StandardWebhooksAsymmetric {
        use sha2::Digest;
        return Secret::asymmetric_from_random(&sha2::Sha256::digest(secret.reveal()).into());
    }
    let _ = scheme;
    secret
}

fn secret() -> impl Strategy<Value = Secret> {
    prop_oneof![
        any::<[u8; 32]>().prop_map(|bytes| Secret::from_random(&bytes)),
        "whk_[!-~]{20,60}".prop_map(|text| Secret::parse(&text).unwrap()),
    ]
}

fn time() -> impl Strategy<Value = Timestamp> {
    SECONDS.prop_map(|seconds| Timestamp::from_timestamp(seconds, 0).unwrap())
}

fn verify(
    verifier: &Verifier,
    headers: &[(String, Vec<u8>)],
    body: &[u8],
    now: Timestamp,
) -> Result<Verified, VerifyError> {
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    verifier.verify(headers, body, now)
}

fn owned(headers: Vec<(&str, String)>) -> Vec<(String, Vec<u8>)> {
    headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect()
}

proptest! {
    /// Signs drawn bodies with one or two secrets; verifies with each of them and with a stranger.
    #[test]
    fn what_is_signed_verifies_under_every_living_secret(
        scheme in schemes(),
        first in secret(),
        second in secret(),
        stranger in secret(),
        body in vec(any::<u8>(), 0..300),
        random in any::<[u8; 10]>(),
        now in time(),
    ) {
        prop_assume!(first != second && stranger != first && stranger != second);
        let [first, second, stranger] =
            [first, second, stranger].map(|secret| fitting(&scheme, secret));
        let id = EventId::new(now, &random);
        let secrets = Secrets::new(first.clone(), now);
        let secrets = secrets.rotate(second.clone(), Overlap::default(), now).unwrap();
        let headers = owned(sign(std::slice::from_ref(&scheme), &secrets, id, &body, now));
        for secret in [first, second] {
            let verifier = Verifier::new(scheme.clone(), [stranger.clone(), secret]).unwrap();
            let verified = verify(&verifier, &headers, &body, now).unwrap();
            prop_assert_eq!(verified.timestamp, now);
            if let Some(text) = verified.id {
                prop_assert_eq!(text, id.to_string());
            }
        }
        let verifier = Verifier::new(scheme, [stranger]).unwrap();
        prop_assert_eq!(verify(&verifier, &headers, &body, now), Err(VerifyError::NoMatch));
    }

    /// Flips one drawn bit of the body or of a header's value, under a boundless tolerance.
    #[test]
    fn what_is_changed_does_not_verify(
        scheme in schemes(),
        secret in secret(),
        body in vec(any::<u8>(), 1..300),
        random in any::<[u8; 10]>(),
        now in time(),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let id = EventId::new(now, &random);
        let secret = fitting(&scheme, secret);
        let secrets = Secrets::new(secret.clone(), now);
        let mut headers = owned(sign(std::slice::from_ref(&scheme), &secrets, id, &body, now));
        let mut body = body;
        let body_len = body.len();
        let mut bytes: Vec<&mut u8> = body
            .iter_mut()
            .chain(headers.iter_mut().flat_map(|(_, value)| value))
            .collect();
        let at = place.index(bytes.len());
        *bytes[at] ^= 1 << bit;
        // Hexadecimal digits have two spellings.
        let is_hex = matches!(scheme, SignatureScheme::TimestampedHex { .. });
        let in_header = at >= body_len;
        let respelt = bytes[at].is_ascii_hexdigit() && bytes[at].is_ascii_alphabetic() && bit == 5;
        prop_assume!(!(is_hex && in_header && respelt));
        let verifier = Verifier::new(scheme, [secret]).unwrap();
        let verifier = verifier.with_tolerance(std::time::Duration::MAX);
        prop_assert!(verify(&verifier, &headers, &body, now).is_err());
    }

    /// Sends drawn bytes, and drawn bytes that look like the format, under the right names.
    #[test]
    fn strange_headers_are_refused_without_a_panic(
        scheme in schemes(),
        secret in secret(),
        values in vec(
            prop_oneof![
                vec(any::<u8>(), 0..100),
                "[tv0-9a-fA-F=, .+/]{0,200}".prop_map(String::into_bytes),
                "(t=[0-9]{0,14},?|v1a?[=,][0-9a-f]{60,68},? ?|[0-9]{1,13},? ?|[A-Za-z+/]{43}= ?){0,20}"
                    .prop_map(String::into_bytes),
            ],
            3,
        ),
        body in vec(any::<u8>(), 0..50),
        now in time(),
    ) {
        let names: Vec<_> = scheme.header_names().map(str::to_owned).collect();
        let headers: Vec<_> = names.into_iter().zip(values).collect();
        let secret = fitting(&scheme, secret);
        let verifier = Verifier::new(scheme, [secret]).unwrap();
        let verifier = verifier.with_tolerance(std::time::Duration::MAX);
        prop_assert!(verify(&verifier, &headers, &body, now).is_err());
    }

    /// Reads drawn texts as secrets and headers: either refused without an echo, or kept as given.
    #[test]
    fn drawn_texts_are_kept_or_refused(
        text in prop_oneof![".{0,120}", "(whsec_|whk_|whpk_|)[A-Za-z0-9+/=~ ]{0,100}"],
    ) {
        match Secret::parse(&text) {
            Ok(secret) => prop_assert_eq!(secret.reveal(), text.as_str()),
            Err(error) => prop_assert!(
                text.len() < 12 || !error.to_string().contains(&text),
                "{}", error
            ),
        }
        if let Ok(value) = HeaderValue::parse(&text) {
            prop_assert_eq!(value.reveal(), text.as_str());
            prop_assert!(!text.contains(['\r', '\n', '\0']));
        }
        if let Ok(name) = HeaderName::parse(&text) {
            prop_assert_eq!(name.as_str(), text.as_str());
            prop_assert!(!text.contains([' ', ':', '\r', '\n']));
        }
    }
}
