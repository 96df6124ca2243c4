//! What a receiver sees.

use tidings::{
    Authentication, Basic, Confirmation, Edit, Headers, Overlap, Secret, SignatureScheme, Verifier,
};

use super::kit::{Answer, FINE, Hit, Stage, quiet, registration, seconds};

fn verify(verifier: &Verifier, hit: &Hit, stage: &Stage) -> Result<(), tidings::VerifyError> {
    let headers = hit.headers.iter();
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
    verifier.verify(headers, &hit.body, stage.now()).map(|_| ())
}

/// Reads the headers of plain requests and of those with basic authentication and headers of the
/// webhook's own.
#[tokio::test(start_paused = true)]
async fn requests_carry_the_headers_that_were_asked_for() {
    let stage = Stage::new(|_| FINE);
    stage.webhook("plain").await;
    let basic = Basic::new("Aladdin", "open sesame").unwrap();
    let edit = Edit::new()
        .authentication(Authentication::Basic(basic))
        .headers(Headers::parse([("x-tenant", "t1"), ("x-other", "o")]).unwrap())
        .timeout(Some(seconds(3)));
    stage.webhook_with("own", edit).await;
    let run = stage.start(quiet());
    let events = stage.publish(1).await;
    stage.until_ended(2).await;
    run.stop().await;
    let hits = stage.receivers.hits();
    for hit in &hits {
        assert_eq!(hit.header("content-type"), "application/json");
        let agent = concat!("tidings/", env!("CARGO_PKG_VERSION"));
        assert_eq!(hit.header("user-agent"), agent);
        assert_eq!(hit.event, events[0].id().to_string());
        assert_eq!(hit.body, events[0].payload());
    }
    let own = hits.iter().find(|hit| hit.host == "own").unwrap();
    assert_eq!(own.header("authorization"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert_eq!((own.header("x-tenant"), own.header("x-other")), ("t1", "o"));
    assert_eq!(own.deadline, seconds(3));
    let plain = hits.iter().find(|hit| hit.host == "plain").unwrap();
    assert!(!plain.headers.contains_key("authorization"));
    assert_eq!(plain.deadline, seconds(15), "the policy's");
}

/// Compares the bytes, the id and the signatures of three tries.
#[tokio::test(start_paused = true)]
async fn every_try_has_the_same_bytes_and_a_fresh_signature() {
    let stage = Stage::new(|hit| if hit.nth < 3 { Answer::Status(500) } else { FINE });
    let webhook = stage.webhook("a").await;
    let run = stage.start(quiet());
    stage.publish(1).await;
    let secret = webhook.secrets().unwrap().current().clone();
    let verifier = Verifier::standard_webhooks([secret]).unwrap();
    for nth in 1..=3 {
        stage.until_hits(nth).await;
        verify(&verifier, &stage.receivers.hits()[nth - 1], &stage).unwrap();
    }
    stage.until_ended(1).await;
    run.stop().await;
    let hits = stage.receivers.hits();
    assert!(hits.iter().all(|hit| hit.body == hits[0].body && hit.event == hits[0].event));
    let mut times: Vec<_> = hits.iter().map(|hit| hit.header("webhook-timestamp")).collect();
    times.dedup();
    assert_eq!(times.len(), 3);
}

/// Rotates between two tries: the retry verifies by both secrets, and by the new one alone when
/// the overlap has passed.
#[tokio::test(start_paused = true)]
async fn signatures_are_made_with_the_present_secrets() {
    let stage = Stage::new(|_| Answer::Status(500));
    let webhook = stage.webhook("a").await;
    let run = stage.start(quiet());
    stage.publish(1).await;
    stage.until_hits(1).await;
    let typed = Confirmation::new("ada", "ada");
    let hour = Overlap::hours(1).unwrap();
    let rotated = stage.tidings.rotate(webhook.id(), hour, &typed).await.unwrap();
    let old = Verifier::standard_webhooks([webhook.secrets().unwrap().current().clone()]).unwrap();
    let new = Verifier::standard_webhooks([rotated.current().clone()]).unwrap();
    for (nth, by_old, by_new) in [(2, true, true), (5, false, true)] {
        stage.until_hits(nth).await;
        let hit = &stage.receivers.hits()[nth - 1];
        assert_eq!(verify(&old, hit, &stage).is_ok(), by_old, "try {nth}");
        assert_eq!(verify(&new, hit, &stage).is_ok(), by_new, "try {nth}");
    }
    run.stop().await;
}

/// Signs in three ways at once.
#[tokio::test(start_paused = true)]
async fn every_scheme_signs() {
    let stage = Stage::new(|_| FINE);
    let secret = Secret::from_random(&[7; 32]);
    let name = |name| tidings::HeaderName::parse(name).unwrap();
    let schemes = [
        SignatureScheme::StandardWebhooks,
        SignatureScheme::DigitalRiver { header: name("x-river") },
        SignatureScheme::TimestampedHex { header: name("x-hex") },
    ];
    let edit = Edit::new().schemes(schemes.clone());
    let registration = registration("a").secret(secret.clone()).with(edit);
    stage.tidings.create(registration).await.unwrap();
    let run = stage.start(quiet());
    stage.publish(1).await;
    stage.until_ended(1).await;
    run.stop().await;
    let hit = &stage.receivers.hits()[0];
    for scheme in schemes {
        let verifier = Verifier::new(scheme, [secret.clone()]).unwrap();
        verify(&verifier, hit, &stage).unwrap();
    }
}
