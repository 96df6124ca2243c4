//! Backpressure: what happens to publishes when much waits.

use tidings::{Account, Backlog, Change, ErrorKind, Event, Notice};

use super::kit::{Answer, FINE, Stage, exact, millis, quiet, seconds};

fn limited(limits: Backlog) -> Stage {
    let build = |builder: tidings::Builder| builder.policy(exact()).backlog(limits);
    Stage::built(build, |_| FINE)
}

fn event_of(stage: &Stage, account: &str) -> Event {
    let change = Change::of("order.paid", &serde_json::json!({})).unwrap();
    stage.tidings.event(change.account(Account::new(account).unwrap())).unwrap()
}

/// Publishes without a dispatcher up to the limit of an account, and beyond; then delivers, and goes on.
#[tokio::test(start_paused = true)]
async fn a_full_account_is_refused_until_its_receivers_caught_up() {
    let stage = limited(Backlog::refuse().per_account(3));
    stage.webhook("a").await;
    for _ in 0..3 {
        stage.tidings.publish(&event_of(&stage, "default")).await.unwrap();
    }
    let fourth = event_of(&stage, "default");
    let refused = stage.tidings.publish(&fourth).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Limit);
    let text = refused.to_string();
    assert!(
        text.contains("3 deliveries wait of account default") && text.contains("raise"),
        "{text}"
    );
    assert_eq!(
        stage.tidings.admit(&Account::default()).await.unwrap_err().kind(),
        ErrorKind::Limit
    );
    let other = event_of(&stage, "other");
    stage.tidings.publish(&other).await.unwrap();
    stage.tidings.admit(other.account()).await.unwrap();
    assert!(stage.tidings.stored_event(fourth.id()).await.is_err(), "nothing of it is kept");
    let run = stage.start(quiet());
    stage.until_ended(3).await;
    tokio::time::advance(millis(100)).await;
    assert!(stage.tidings.publish(&fourth).await.unwrap().new);
    stage.until_ended(4).await;
    run.stop().await;
}

/// Publishes at the limit of all accounts, in one call and by several at once.
#[tokio::test(start_paused = true)]
async fn the_limit_of_all_counts_what_is_published_between_two_looks() {
    let stage = limited(Backlog::refuse().total(10));
    let batch: Vec<_> = (0..6).map(|n| event_of(&stage, &format!("a{n}"))).collect();
    stage.tidings.publish_all(&batch).await.unwrap();
    let more: Vec<_> = (0..5).map(|n| event_of(&stage, &format!("b{n}"))).collect();
    let refused = stage.tidings.publish_all(&more).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Limit, "six and five are more than ten");
    stage.tidings.publish_all(&more[..4]).await.unwrap();
    let publishes = more[4..].iter().map(|event| stage.tidings.publish(event));
    for published in futures_util::future::join_all(publishes).await {
        assert_eq!(published.unwrap_err().kind(), ErrorKind::Limit);
    }
    let empty = limited(Backlog::refuse().total(10));
    let batch: Vec<_> = (0..20).map(|_| event_of(&empty, "a")).collect();
    empty.tidings.publish_all(&batch).await.unwrap();
}

/// Goes beyond the limit where the host wants a warning alone.
#[tokio::test(start_paused = true)]
async fn a_host_may_be_warned_instead() {
    let stage = limited(Backlog::warn().per_account(2));
    stage.webhook("a").await;
    stage.receivers.change_to(|_| Answer::Status(500));
    for _ in 0..5 {
        stage.tidings.publish(&event_of(&stage, "default")).await.unwrap();
        tokio::time::advance(seconds(1)).await;
    }
    stage.until(|stage| !stage.notices.all().is_empty()).await;
    let told: Vec<_> = stage.notices.all();
    let is_told = |notice: &Notice| matches!(notice, Notice::Backlog { account: Some(account), limit: 2 } if *account == Account::default());
    assert!(told.iter().all(is_told), "{told:?}");
    assert_eq!(stage.tidings.storage().backlog(None, 9).await.unwrap(), 5);
}
