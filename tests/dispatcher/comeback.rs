//! How what waited goes out when a receiver comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidings::policy::RAMP_START;

use super::kit::{Answer, FINE, Stage, millis, quiet, seconds};

/// A receiver that was down while 300 events waited: after the probe few are under way, then more and
/// more, and all arrive.
#[tokio::test(start_paused = true)]
async fn what_waited_goes_out_at_a_growing_rate() {
    let stage = Stage::new(|_| Answer::Status(503));
    let webhook = stage.webhook("a").await;
    let run = stage.start(quiet());
    stage.publish(1).await;
    stage.until_hits(1).await;
    stage.publish(300).await;
    stage.receivers.change_to(|_| Answer::Slow(millis(100), 200));
    stage.until_ended(301).await;
    run.stop().await;
    let hits = stage.receivers.hits_of("a");
    let probe = hits[1].at;
    // What may be under way doubles in the time of one request; nothing of it in the first two.
    for (begins, most) in [(0, 1), (100, RAMP_START as usize), (200, 4), (300, 8), (400, 16)] {
        let from = probe + millis(begins);
        let count = hits.iter().filter(|hit| hit.at >= from && hit.at < from + millis(100)).count();
        assert!(
            (1..=most).contains(&count),
            "{count} in the tenth after {begins} ms, {most} allowed"
        );
    }
    assert_eq!(stage.receivers.most("a"), 64, "the usual limit holds in the end");
    assert!(stage.tidings.webhook(webhook.id()).await.unwrap().is_enabled());
}

/// Enables a webhook for which 200 deliveries wait, whose receiver is still broken.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_still_broken_gets_one_request() {
    let stage = Stage::new(|_| Answer::Status(503));
    let webhook = stage.webhook("a").await;
    let run = stage.start(quiet());
    stage.publish(200).await;
    stage.until_hits(1).await;
    run.stop().await;
    let user = tidings::Confirmation::new("Ada", "Ada");
    stage.tidings.disable(webhook.id(), &user).await.unwrap();
    let before = stage.receivers.hits().len();
    stage.tidings.enable(webhook.id()).await.unwrap();
    let run = stage.start(quiet());
    tokio::time::sleep(seconds(4)).await;
    assert_eq!(stage.receivers.hits().len() - before, 1, "one probe");
    let ready = Arc::new(AtomicUsize::new(0));
    let seen = ready.clone();
    stage.receivers.change_to(move |_| {
        seen.fetch_add(1, Ordering::Relaxed);
        FINE
    });
    stage.until_ended(200).await;
    run.stop().await;
    assert_eq!(ready.load(Ordering::Relaxed), 200);
}
