//! The crate `svix` verifies what a real delivery sends, refuses what we refuse, and signs
//! what we verify.

mod judge;

use judge::secret;
use kit::Post;

fn webhook() -> svix::webhooks::Webhook {
    svix::webhooks::Webhook::new(secret().reveal()).unwrap()
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
