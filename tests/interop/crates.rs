//! The crate `standardwebhooks` verifies what a real delivery sends, refuses what we refuse, and signs
//! what we verify.

use chrono::Utc;
use kit::{Post, captured, spoilt};
use tidings::{Secret, SignatureScheme, Verifier};

const SCHEME: SignatureScheme = SignatureScheme::StandardWebhooks;

fn secret() -> Secret {
    Secret::from_random(&[9; 32])
}

fn verifier() -> Verifier {
    Verifier::standard_webhooks([secret()]).unwrap()
}

fn standard(post: &Post) -> bool {
    let webhook = standardwebhooks::Webhook::new(secret().reveal()).unwrap();
    webhook.verify(&post.body, &post.header_map()).is_ok()
}

/// Delivers an event over a socket and hands what came to the crate, as it came and spoilt.
#[tokio::test]
async fn the_crate_judges_deliveries_as_we_do() {
    let post = captured(&SCHEME, &secret()).await;
    assert_eq!(post.verify(&verifier(), Utc::now()), Ok(()));
    assert!(standard(&post), "{post:?}");
    for (what, post) in spoilt(&post, &SCHEME, &secret()) {
        assert!(post.verify(&verifier(), Utc::now()).is_err(), "we take {what}");
        assert!(!standard(&post), "standardwebhooks takes {what}");
    }
}

/// Has the crate sign, over bodies of several kinds, and verifies.
#[test]
fn what_the_crate_signs_verifies() {
    let now = Utc::now();
    let seconds = now.timestamp();
    for body in ["", "{}", "Zoë \u{1F4E6}\n", &"x".repeat(100_000)] {
        let webhook = standardwebhooks::Webhook::new(secret().reveal()).unwrap();
        let signature = webhook.sign("msg_1", seconds, body.as_bytes()).unwrap();
        let headers = [
            ("webhook-id", "msg_1".to_owned()),
            ("webhook-timestamp", seconds.to_string()),
            ("webhook-signature", signature),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let post = Post { headers, body: body.as_bytes().to_vec() };
        assert_eq!(post.verify(&verifier(), now), Ok(()), "{post:?}");
        let mut changed = post.clone();
        changed.body.push(b'x');
        assert!(changed.verify(&verifier(), now).is_err());
    }
}

/// Sends the asymmetric signature of a real delivery to a verifier with the public key alone; the
/// library of the shared scheme refuses it.
#[tokio::test]
async fn an_asymmetric_delivery_verifies_by_its_public_key_alone() {
    let scheme = SignatureScheme::StandardWebhooksAsymmetric;
    let private = Secret::asymmetric_from_random(&[9; 32]);
    let post = captured(&scheme, &private).await;
    let key = private.public_key().unwrap();
    let verifier = Verifier::standard_webhooks_asymmetric([key]).unwrap();
    assert_eq!(post.verify(&verifier, Utc::now()), Ok(()));
    assert!(!standard(&post));
    for (what, post) in spoilt(&post, &scheme, &private) {
        assert!(post.verify(&verifier, Utc::now()).is_err(), "we take {what}");
    }
}
