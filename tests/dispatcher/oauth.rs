//! Webhooks that authenticate by OAuth: tokens are fetched seldom, replaced in time, and a broken
//! token endpoint is nothing but a failed attempt.

use std::sync::atomic::{AtomicUsize, Ordering};

use tidings::{
    Authentication, ClientIdentity, Edit, EndpointUrl, FailureKind, Grant, Mode, OAuth, Outcome,
    RootCertificates, Schedule, StateKind,
};
use tokio::time::Instant;

use super::kit::{Answer, FINE, Hit, Stage, exact, millis, quiet, seconds};

fn oauth() -> Edit {
    let endpoint = EndpointUrl::parse("https://id.example/token").unwrap();
    let grant = Grant::client_credentials(Some("hooks".into()));
    let oauth = OAuth::new(endpoint, "shop", "CANARY-SECRET", grant).unwrap();
    Edit::new().authentication(Authentication::OAuth(oauth))
}

/// A token endpoint that gives out `CANARY-1`, `CANARY-2`, … each for `life` seconds; everybody
/// else does what `hook` says.
fn endpoint(
    life: u64,
    hook: impl Fn(&Hit) -> Answer + Send + 'static,
) -> impl Fn(&Hit) -> Answer + Send + 'static {
    let given = AtomicUsize::new(0);
    move |hit| {
        if hit.host != "id" {
            return hook(hit);
        }
        let number = given.fetch_add(1, Ordering::Relaxed) + 1;
        let body = format!(r#"{{"access_token":"CANARY-{number}","expires_in":{life}}}"#);
        Answer::Body(200, body)
    }
}

fn bearer(hit: &Hit) -> &str {
    hit.header("authorization").strip_prefix("Bearer ").unwrap()
}

/// Delivers a hundred events at once.
#[tokio::test(start_paused = true)]
async fn a_token_is_fetched_once_for_many_deliveries() {
    let stage = Stage::new(endpoint(3_600, |_| Answer::Slow(millis(20), 200)));
    stage.webhook_with("a", oauth()).await;
    let run = stage.start(quiet());
    stage.publish(100).await;
    stage.until_ended(100).await;
    run.stop().await;
    let asked = stage.receivers.hits_of("id");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].body, "grant_type=client_credentials&audience=hooks");
    assert_eq!(asked[0].header("content-type"), "application/x-www-form-urlencoded");
    assert!(asked[0].header("authorization").starts_with("Basic "));
    let hits = stage.receivers.hits_of("a");
    assert_eq!(hits.len(), 100);
    assert!(hits.iter().all(|hit| bearer(hit) == "CANARY-1"));
}

/// Delivers again and again with tokens of two minutes: a new one comes half a minute before the
/// end of the old one.
#[tokio::test(start_paused = true)]
async fn a_token_is_replaced_shortly_before_its_end() {
    let stage = Stage::new(endpoint(120, |_| FINE));
    stage.webhook_with("a", oauth()).await;
    let run = stage.start(quiet());
    for round in 1..=40 {
        stage.publish(1).await;
        stage.until_ended(round).await;
        tokio::time::sleep(seconds(10)).await;
    }
    run.stop().await;
    // 400 s in tokens of 90 s.
    assert_eq!(stage.receivers.hits_of("id").len(), 5);
    for hit in stage.receivers.hits_of("a") {
        let asked = stage.receivers.hits_of("id");
        let number: usize = bearer(&hit).strip_prefix("CANARY-").unwrap().parse().unwrap();
        let age = hit.at - asked[number - 1].at;
        assert!(age <= seconds(91), "{age:?}");
    }
}

/// Withdraws a token: the same attempts are repeated with a fresh one, fetched once.
#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_once() {
    let stage = Stage::new(endpoint(3_600, |hit| match bearer(hit) {
        "CANARY-1" => Answer::Slow(millis(20), 401),
        _ => FINE,
    }));
    stage.webhook_with("a", oauth()).await;
    let run = stage.start(quiet());
    stage.publish(50).await;
    stage.until_ended(50).await;
    run.stop().await;
    assert_eq!(stage.receivers.hits_of("id").len(), 2);
    assert_eq!(stage.receivers.hits_of("a").len(), 100);
    for view in stage.deliveries(&[StateKind::Delivered]).await {
        assert_eq!(view.attempts.len(), 1, "it is one attempt");
        assert!(view.attempts[0].outcome.is_success(), "the last answer counts");
    }
}

/// Refuses every token: an attempt asks twice at most, and the schedule decides when the next
/// one comes.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_refuses_every_token_is_asked_twice_an_attempt() {
    let schedule = Schedule::new([seconds(10), seconds(10)]).unwrap();
    let policy = exact().with_schedule(Mode::Live, schedule);
    let stage = Stage::with(policy, endpoint(3_600, |_| Answer::Status(401)));
    stage.webhook_with("a", oauth()).await;
    let run = stage.start(quiet());
    stage.publish(1).await;
    stage.until_ended(1).await;
    run.stop().await;
    assert_eq!(stage.receivers.hits_of("a").len(), 6);
    assert_eq!(stage.receivers.hits_of("id").len(), 4);
    let view = stage.only().await;
    assert_eq!(view.delivery.state.kind(), StateKind::Exhausted);
    let refused = Outcome::Answered { status: 401, retry_after: None };
    assert!(view.attempts.iter().all(|attempt| attempt.outcome == refused));
}

/// Breaks the token endpoint in different ways (table), then heals it.
#[tokio::test(start_paused = true)]
async fn a_broken_token_endpoint_is_a_failed_attempt() {
    let broken = [
        Answer::Status(500),
        Answer::Body(200, "CANARY".into()),
        Answer::Body(400, r#"{"access_token":"CANARY"}"#.into()),
        Answer::Fail(FailureKind::Blocked),
        Answer::Silent,
    ];
    for answer in broken {
        let endpoint = endpoint(3_600, |_| FINE);
        let slow = matches!(answer, Answer::Silent);
        let planted = answer.clone();
        let stage = Stage::new(move |hit| match hit.host.as_str() {
            "id" => planted.clone(),
            _ => FINE,
        });
        stage.webhook_with("a", oauth()).await;
        stage.webhook("good").await;
        let run = stage.start(quiet());
        let begun = Instant::now();
        stage.publish(20).await;
        stage.until(|stage| stage.notices.settled() == 40).await;
        let most = if slow { seconds(16) } else { millis(50) };
        assert!(begun.elapsed() < most, "{answer:?}: {:?}", begun.elapsed());
        assert_eq!(stage.receivers.hits_of("a").len(), 0);
        assert_eq!(stage.receivers.hits_of("good").len(), 20);
        assert_eq!(stage.receivers.hits_of("id").len(), 1, "{answer:?}: all share its failure");
        for view in stage.deliveries(&[StateKind::Waiting]).await {
            let attempt = &view.attempts[0];
            assert_eq!(attempt.outcome, Outcome::Unanswered(FailureKind::Token));
            assert_eq!((view.attempts.len(), view.delivery.failures), (1, 1));
            assert_eq!(attempt.response, b"");
            let text = format!("{view:?}");
            assert!(!text.contains("CANARY"), "{text}");
            assert!(attempt.error.as_ref().unwrap().contains("token"), "{text}");
        }
        let asked = stage.receivers.hits_of("id").len();
        tokio::time::sleep(seconds(100)).await;
        let more = stage.receivers.hits_of("id").len() - asked;
        assert!((1..=25).contains(&more), "{answer:?}: {more} in 100 s");
        stage.receivers.change_to(endpoint);
        stage.until_ended(40).await;
        run.stop().await;
        assert_eq!(stage.deliveries(&[StateKind::Delivered]).await.len(), 40);
    }
}

/// Panics in the transport while it asks for a token.
#[tokio::test(start_paused = true)]
async fn a_panic_while_a_token_is_fetched_is_contained() {
    let healed = endpoint(3_600, |_| FINE);
    let stage = Stage::new(move |hit| match (hit.host.as_str(), hit.nth) {
        ("id", 1..=3) => Answer::Panic,
        _ => healed(hit),
    });
    stage.webhook_with("a", oauth()).await;
    let run = stage.start(quiet());
    stage.publish(5).await;
    stage.until_ended(5).await;
    assert!(run.is_running());
    run.stop().await;
    assert_eq!(stage.deliveries(&[StateKind::Delivered]).await.len(), 5);
}

/// A token endpoint and receivers that never return: the whole attempt has one deadline.
#[tokio::test(start_paused = true)]
async fn the_token_and_the_request_share_one_deadline() {
    let tokens = endpoint(3_600, |_| Answer::Silent);
    let stage = Stage::new(move |hit| match tokens(hit) {
        Answer::Body(_, body) => Answer::SlowBody(seconds(10), body),
        answer => answer,
    });
    stage.webhook_with("a", oauth()).await;
    let run = stage.start(quiet());
    stage.publish(1).await;
    stage.until(|stage| stage.notices.settled() == 1).await;
    run.stop().await;
    let hit = &stage.receivers.hits_of("a")[0];
    assert_eq!(hit.deadline, seconds(5), "what the token left");
    let attempt = &stage.only().await.attempts[0];
    assert_eq!(attempt.outcome, Outcome::Unanswered(FailureKind::Timeout));
    assert_eq!(attempt.latency, seconds(15));
}

/// Edits the webhook's credentials: the old token is not used any more.
#[tokio::test(start_paused = true)]
async fn an_edited_webhook_gets_a_token_of_its_own() {
    let stage = Stage::new(endpoint(3_600, |_| FINE));
    let webhook = stage.webhook_with("a", oauth()).await;
    stage.webhook_with("b", oauth()).await;
    let run = stage.start(quiet());
    stage.publish(1).await;
    stage.until_ended(2).await;
    let endpoint = EndpointUrl::parse("https://id.example/other").unwrap();
    let other = OAuth::new(endpoint, "shop", "new", Grant::password("ada", "pa ss")).unwrap();
    let edit = Edit::new().authentication(Authentication::OAuth(other));
    stage.tidings.edit(webhook.id(), None, edit).await.unwrap();
    stage.publish(1).await;
    stage.until_ended(4).await;
    run.stop().await;
    let asked = stage.receivers.hits_of("id");
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[2].body, "grant_type=password&username=ada&password=pa+ss");
    let mut used: Vec<_> =
        stage.receivers.hits_of("a").iter().map(|hit| bearer(hit).to_owned()).collect();
    used.sort();
    assert_eq!(used[1], "CANARY-3");
}

/// Delivers to a webhook with a client certificate: the request for the token goes without it.
#[tokio::test(start_paused = true)]
async fn a_token_is_asked_for_without_the_client_certificate() {
    let stage = Stage::new(endpoint(3_600, |_| FINE));
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["shop".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap().pem();
    let identity = ClientIdentity::from_pem(&certificate, &key.serialize_pem()).unwrap();
    let fingerprint = identity.fingerprint();
    let roots = RootCertificates::from_pem(&certificate).unwrap();
    let edit = oauth().client_identity(Some(identity)).root_certificates(Some(roots));
    stage.webhook_with("a", edit).await;
    let run = stage.start(quiet());
    stage.publish(1).await;
    stage.until_ended(1).await;
    run.stop().await;
    assert!(stage.receivers.hits_of("id")[0].tls.is_none());
    let tls = stage.receivers.hits_of("a")[0].tls.clone().unwrap();
    assert_eq!(tls.identity().unwrap().fingerprint(), fingerprint);
    assert_eq!(tls.roots().unwrap().certificates().len(), 1);
    assert!(!format!("{tls:?}").contains(key.serialize_pem().lines().nth(1).unwrap()));
}
