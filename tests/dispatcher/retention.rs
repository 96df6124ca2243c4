//! What is forgotten on request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidings::{Account, ErrorKind, FailureKind, Outcome, StateKind};

use super::faulty::{Call, Fault};
use super::kit::{Answer, FINE, Stage, quiet};

/// Expunges events before and after they were sent, and what waits for a retry: nothing more is sent,
/// and the record stays.
#[tokio::test(start_paused = true)]
async fn what_is_expunged_is_never_sent() {
    let stage = Stage::new(|hit| match hit.host.as_str() {
        "slow" => Answer::Status(500),
        _ => Answer::Body(200, "thank you, Ada".into()),
    });
    stage.webhook("quick").await;
    let slow = stage.webhook("slow").await;
    let run = stage.start(quiet());
    let event = stage.publish(1).await.remove(0);
    stage.until(|stage| stage.notices.settled() == 2).await;
    assert!(stage.tidings.expunge(event.id()).await.unwrap());
    assert!(!stage.tidings.expunge(event.id()).await.unwrap(), "it was forgotten before");
    stage.receivers.change_to(|_| FINE);
    stage.until_ended(2).await;
    run.stop().await;
    assert_eq!(stage.receivers.hits_of("slow").len(), 1, "it is not sent again");
    let cancelled = stage.deliveries(&[StateKind::Cancelled]).await;
    assert_eq!((cancelled.len(), cancelled[0].delivery.webhook), (1, slow.id()));
    let last = cancelled[0].attempts.last().unwrap();
    assert_eq!(last.outcome, Outcome::Unanswered(FailureKind::Expunged));
    let sent = stage.deliveries(&[StateKind::Delivered]).await.remove(0);
    assert!(sent.attempts[0].response.is_empty() && sent.event.is_expunged());
    let stored = stage.tidings.stored_event(event.id()).await.unwrap();
    assert_eq!((stored.payload(), stored.digest()), ("", event.digest()));
    assert_eq!(stored.object().unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!stage.tidings.publish(&event).await.unwrap().new, "a late repetition is known");
    let again = stage.tidings.redeliver(sent.delivery.id).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotFound);
    assert!(again.to_string().contains("expunged"), "{again}");
    let unknown = tidings::EventId::from_uuid(uuid::Uuid::nil());
    assert_eq!(stage.tidings.expunge(unknown).await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Expunges an account of several hundred events, half of them not yet routed.
#[tokio::test(start_paused = true)]
async fn an_account_is_forgotten_whole() {
    let stage = Stage::new(|_| FINE);
    stage.webhook("a").await;
    let run = stage.start(quiet());
    stage.publish(250).await;
    stage.until_ended(250).await;
    run.stop().await;
    stage.publish(250).await;
    assert_eq!(stage.tidings.expunge_account(&Account::default()).await.unwrap(), 500);
    assert_eq!(stage.tidings.expunge_account(&Account::default()).await.unwrap(), 0);
    let run = stage.start(quiet());
    stage.until_ended(500).await;
    stage.publish(1).await;
    stage.until_ended(501).await;
    run.stop().await;
    assert_eq!(stage.receivers.hits().len(), 251, "what came later is sent");
    let sizes = stage.faulty.inner.sizes().await.unwrap();
    assert!(sizes.iter().any(|size| size.name == "events" && size.rows == 501), "{sizes:?}");
}

/// Sweeps 2,200 old events with a storage that takes a second for each step, and notes when it is asked.
#[tokio::test(start_paused = true)]
async fn a_long_sweep_leaves_room_for_what_is_live() {
    let stage = Stage::new(|_| FINE);
    let run = stage.start(quiet());
    stage.webhook("a").await;
    stage.publish(2_200).await;
    stage.until_ended(2_200).await;
    run.stop().await;
    tokio::time::advance(Duration::from_secs(31 * 86_400)).await;

    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = asked.clone();
    stage.faulty.plan(move |call, _| {
        if call != Call::Sweep {
            return Fault::None;
        }
        noted.lock().unwrap().push(tokio::time::Instant::now());
        Fault::Slow(Duration::from_secs(1))
    });
    let run = stage.start(quiet().sweep_every(Some(Duration::from_secs(60))));
    tokio::time::sleep(Duration::from_secs(220)).await;
    run.stop().await;
    let asked = asked.lock().unwrap();
    let gaps: Vec<u64> = asked.windows(2).map(|two| (two[1] - two[0]).as_secs()).collect();
    assert_eq!(gaps, [5, 5, 5, 5, 61, 61], "it rests four times as long as it works");
}
