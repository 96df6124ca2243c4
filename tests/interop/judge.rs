//! What every other crate for the shared scheme is asked.

use chrono::Utc;
use kit::{Post, captured, spoilt};
use tidings::{Secret, SignatureScheme, Verifier};

const SCHEME: SignatureScheme = SignatureScheme::StandardWebhooks;

pub fn secret() -> Secret {
    Secret::from_random(&[9; 32])
}

fn verifier() -> Verifier {
    Verifier::standard_webhooks([secret()]).unwrap()
}

/// Delivers an event over a socket and hands what came to the crate, as it came and spoilt.
pub async fn judges_as_we_do(takes: impl Fn(&Post) -> bool) {
    let post = captured(&SCHEME, &secret()).await;
    assert_eq!(post.verify(&verifier(), Utc::now()), Ok(()));
    assert!(takes(&post), "{post:?}");
    for (what, post) in spoilt(&post, &SCHEME, &secret()) {
        assert!(post.verify(&verifier(), Utc::now()).is_err(), "we take {what}");
        assert!(!takes(&post), "the crate takes {what}");
    }
}

/// Has the crate sign an id, a timestamp and bodies of several kinds, and verifies.
pub fn signs_as_we_verify(sign: impl Fn(&str, i64, &[u8]) -> String) {
    let now = Utc::now();
    let seconds = now.timestamp();
    for body in ["", "{}", "Zoë \u{1F4E6}\n", &"x".repeat(100_000)] {
        let headers = [
            ("webhook-id", "msg_1".to_owned()),
            ("webhook-timestamp", seconds.to_string()),
            ("webhook-signature", sign("msg_1", seconds, body.as_bytes())),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let post = Post { headers, body: body.as_bytes().to_vec() };
        assert_eq!(post.verify(&verifier(), now), Ok(()), "{post:?}");
        let mut changed = post.clone();
        changed.body.push(b'x');
        assert!(changed.verify(&verifier(), now).is_err());
    }
}
