//! How much is in flight at once.

use super::kit::{Answer, FINE, Stage, millis, quiet, seconds};

/// Floods three slow webhooks, and looks at the most requests that were open at once.
#[tokio::test(start_paused = true)]
async fn limits_are_kept_and_used_to_the_full() {
    let stage = Stage::new(|_| Answer::Slow(millis(100), 200));
    for host in ["a", "b", "c"] {
        stage.webhook(host).await;
    }
    let run = stage.start(quiet().in_flight(20).in_flight_per_webhook(8));
    let begun = tokio::time::Instant::now();
    stage.publish(200).await;
    stage.until_ended(600).await;
    run.stop().await;
    assert_eq!(stage.receivers.most(""), 20);
    for host in ["a", "b", "c"] {
        assert!(stage.receivers.most(host) <= 8);
    }
    // 600 deliveries, 20 at once, 100 ms each: 3 s, and a little for the ends.
    assert!(begun.elapsed() < millis(3_600), "{:?}", begun.elapsed());
    stage.assert_delivered_once(600).await;
}

/// Floods one slow webhook with twice as many permits in all as it may have.
#[tokio::test(start_paused = true)]
async fn a_webhooks_own_limit_is_kept_and_used_to_the_full() {
    let stage = Stage::new(|_| Answer::Slow(millis(100), 200));
    stage.webhook("a").await;
    let run = stage.start(quiet().in_flight(16).in_flight_per_webhook(8));
    let begun = tokio::time::Instant::now();
    stage.publish(80).await;
    stage.until_ended(80).await;
    run.stop().await;
    assert_eq!(stage.receivers.most("a"), 8);
    assert!(begun.elapsed() < millis(1_200), "{:?}", begun.elapsed());
    stage.assert_delivered_once(80).await;
}

/// One webhook says nothing until its deadline and has more waiting than may be in flight.
#[tokio::test(start_paused = true)]
async fn a_silent_webhook_does_not_delay_the_others() {
    let stage = Stage::new(|hit| match hit.host.as_str() {
        "silent" => Answer::Silent,
        _ => Answer::Slow(millis(10), 200),
    });
    stage.webhook("silent").await;
    stage.webhook("good").await;
    let run = stage.start(quiet().in_flight(20).in_flight_per_webhook(10));
    let begun = tokio::time::Instant::now();
    stage.publish(200).await;
    let ended = |stage: &Stage| stage.receivers.hits_of("good").len() == 200;
    stage.until(ended).await;
    assert!(begun.elapsed() < millis(400), "{:?}", begun.elapsed());
    assert_eq!(stage.receivers.hits_of("silent").len(), 10);
    run.crash().await;
}

/// One webhook is full and has due work waiting when another's retry falls due, without polls.
#[tokio::test(start_paused = true)]
async fn a_full_webhook_does_not_hide_anothers_retry() {
    let stage = Stage::new(|hit| match (hit.host.as_str(), hit.nth) {
        ("silent", _) => Answer::Silent,
        (_, 1) => Answer::Status(500),
        _ => FINE,
    });
    stage.webhook("good").await;
    let run = stage.start(quiet().in_flight(20).in_flight_per_webhook(4));
    stage.publish(1).await;
    stage.until(|stage| stage.notices.settled() == 1).await;
    stage.webhook("silent").await;
    stage.publish(50).await;
    stage.until(|stage| stage.receivers.hits_of("good").len() == 102).await;
    let hits = stage.receivers.hits_of("good");
    let first = hits.iter().find(|hit| hit.nth == 2).unwrap();
    let waited = first.at - hits[0].at;
    assert!(seconds(5) <= waited && waited < millis(5_020), "{waited:?}");
    run.crash().await;
}

/// One webhook's backlog fills it; a wide event then reaches everybody else at once.
#[tokio::test(start_paused = true)]
async fn a_wide_event_reaches_every_webhook() {
    let stage = Stage::new(|_| Answer::Slow(millis(5), 200));
    for at in 0..300 {
        stage.webhook(&format!("h{at}")).await;
    }
    let run = stage.start(quiet().in_flight(64));
    stage.publish(20).await;
    stage.until_ended(6_000).await;
    run.stop().await;
    assert_eq!(stage.receivers.most(""), 64);
    stage.assert_delivered_once(6_000).await;
}
