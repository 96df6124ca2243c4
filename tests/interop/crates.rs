//! The crate `standardwebhooks` verifies what a real delivery sends, refuses what we refuse, and signs
//! what we verify.

mod judge;

use chrono::Utc;
use judge::secret;
use kit::{Post, captured, spoilt};
use tidings::{Secret, SignatureScheme, Verifier};

fn webhook() -> standardwebhooks::Webhook {
    standardwebhooks::Webhook::new(secret().reveal()).unwrap()
}

fn takes(post: &Post) -> bool {
    webhook().verify(&post.body, &post.header_map()).is_ok()
}

/// Hands it a delivery, as it came and spoilt.
#[tokio::test]
async fn the_crate_judges_deliveries_as_we_do() {
    judge::judges_as_we_do(takes).await;
}

/// Verifies what it signs.
#[test]
fn what_the_crate_signs_verifies() {
    judge::signs_as_we_verify(|id, seconds, body| webhook().sign(id, seconds, body).unwrap());
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
    assert!(!takes(&post));
    for (what, post) in spoilt(&post, &scheme, &private) {
        assert!(post.verify(&verifier, Utc::now()).is_err(), "we take {what}");
    }
}
