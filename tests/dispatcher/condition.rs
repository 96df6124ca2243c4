//! Conditions of webhooks: what is sent, and what becomes of the rest.

use serde_json::json;
use tidings::{Change, Condition, Edit, Event, FailureKind, Outcome, StateKind, Status};

use super::kit::{FINE, Stage, quiet};

fn condition(text: &str) -> Edit {
    Edit::new().condition(Some(Condition::parse(text).unwrap()))
}

fn order(stage: &Stage, number: u64, state: &str) -> Event {
    let order = json!({ "id": number.to_string(), "state": state });
    stage.tidings.event(Change::of("order.updated", &order).unwrap()).unwrap()
}

const PAID: &str = r#"{"data.object.state": "paid"}"#;

/// Publishes events of which every third is wanted, to a webhook with a condition and one without.
#[tokio::test(start_paused = true)]
async fn what_a_condition_does_not_want_is_cancelled_and_says_so() {
    let stage = Stage::new(|_| FINE);
    let choosy = stage.webhook_with("choosy", condition(PAID)).await;
    stage.webhook("all").await;
    let run = stage.start(quiet());
    let events: Vec<_> = (0..30)
        .map(|number| order(&stage, number, if number % 3 == 0 { "paid" } else { "open" }))
        .collect();
    stage.tidings.publish_all(&events).await.unwrap();
    stage.until_ended(60).await;
    run.stop().await;
    let hits = |host| stage.receivers.hits_of(host).len();
    assert_eq!((hits("choosy"), hits("all")), (10, 30));
    let cancelled = stage.deliveries(&[StateKind::Cancelled]).await;
    assert_eq!(cancelled.len(), 20);
    for view in cancelled {
        assert_eq!((view.delivery.webhook, view.attempts.len()), (choosy.id(), 1));
        assert_eq!(view.attempts[0].outcome, Outcome::Unanswered(FailureKind::Filtered));
        assert!(view.attempts[0].error.as_ref().unwrap().contains("condition"));
        assert!(view.event.payload().contains("open"));
    }
    let choosy = stage.tidings.webhook(choosy.id()).await.unwrap();
    assert_eq!(choosy.status(), Status::Enabled);
}

/// Sends a test event and a delivery again that the condition would not let pass.
#[tokio::test(start_paused = true)]
async fn what_a_person_sends_goes_past_the_condition() {
    let stage = Stage::new(|_| FINE);
    let webhook = stage.webhook_with("choosy", condition(PAID)).await;
    let run = stage.start(quiet());
    stage.tidings.publish(&order(&stage, 1, "open")).await.unwrap();
    stage.until_ended(1).await;
    assert!(stage.receivers.hits().is_empty());
    let filtered = stage.only().await.delivery.id;
    stage.tidings.redeliver(filtered).await.unwrap();
    stage.tidings.send_test(webhook.id()).await.unwrap();
    stage.until_hits(2).await;
    run.stop().await;
    assert_eq!(stage.deliveries(&[StateKind::Delivered]).await.len(), 2);
}

/// Changes and takes away the condition of a webhook while deliveries wait for a dispatcher.
#[tokio::test(start_paused = true)]
async fn the_condition_at_the_time_of_sending_counts() {
    let stage = Stage::new(|_| FINE);
    let loosened = stage.webhook_with("loosened", condition(PAID)).await;
    let tightened = stage.webhook("tightened").await;
    stage.tidings.publish(&order(&stage, 1, "open")).await.unwrap();
    let edit = Edit::new().condition(None);
    stage.tidings.edit(loosened.id(), Some(loosened.version()), edit).await.unwrap();
    let edit = condition(PAID);
    stage.tidings.edit(tightened.id(), Some(tightened.version()), edit).await.unwrap();
    let run = stage.start(quiet());
    stage.until_ended(2).await;
    run.stop().await;
    let hits = |host| stage.receivers.hits_of(host).len();
    assert_eq!((hits("loosened"), hits("tightened")), (1, 0));
}
