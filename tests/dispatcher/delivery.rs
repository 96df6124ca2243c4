//! Who gets what, and when.

use serde_json::json;
use tidings::{
    Account, Change, DisabledReason, Edit, FailureKind, Filters, Mode, Notice, Outcome,
    Registration, Schedule, StateKind, Status,
};

use super::faulty::Call;
use super::kit::{Answer, FINE, Stage, due, epoch, exact, millis, quiet, registration, seconds};

/// Publishes events of several types, accounts and modes to webhooks with different filters, one
/// of them disabled; the expected pairs are written down by hand.
#[tokio::test(start_paused = true)]
async fn every_webhook_that_wants_an_event_gets_it_and_no_other() {
    let stage = Stage::new(|_| FINE);
    let other = Account::new("other").unwrap();
    let hook = |host: &str, types: &[&str]| {
        Registration::new(&format!("https://{host}.example/"), types).unwrap().enabled(true)
    };
    for registration in [
        hook("all", &["*"]),
        hook("orders", &["order.*"]),
        hook("paid", &["order.paid", "invoice.paid"]),
        hook("deep", &["order.item.added"]),
        hook("disabled", &["*"]).enabled(false),
        hook("other", &["*"]).account(other.clone()),
        hook("test", &["*"]).mode(Mode::Test),
    ] {
        stage.tidings.create(registration).await.unwrap();
    }
    let event = |kind: &str, account: &Account, mode| {
        let change = Change::of(kind, &json!({})).unwrap();
        stage.tidings.event(change.account(account.clone()).mode(mode)).unwrap()
    };
    let own = Account::default();
    let expected: [(_, &[&str]); 6] = [
        (event("order.paid", &own, Mode::Live), &["all", "orders", "paid"]),
        (event("invoice.paid", &own, Mode::Live), &["all", "paid"]),
        (event("order.item.added", &own, Mode::Live), &["all", "deep", "orders"]),
        (event("refund.made", &own, Mode::Live), &["all"]),
        (event("order.paid", &other, Mode::Live), &["other"]),
        (event("order.paid", &own, Mode::Test), &["test"]),
    ];
    let run = stage.start(quiet());
    let events: Vec<_> = expected.iter().map(|(event, _)| event.clone()).collect();
    stage.tidings.publish_all(&events).await.unwrap();
    stage.until_ended(11).await;
    run.stop().await;
    for (event, hosts) in expected {
        let hits = stage.receivers.hits();
        let id = event.id().to_string();
        let mut got: Vec<_> = hits.iter().filter(|hit| hit.event == id).collect();
        assert!(got.iter().all(|hit| hit.body == event.payload()));
        got.sort_by_key(|hit| &hit.host);
        let got: Vec<_> = got.iter().map(|hit| hit.host.as_str()).collect();
        assert_eq!(got, hosts);
    }
    stage.assert_delivered_once(11).await;
}

/// Lets every try fail, without polls, and compares each try's moment with the schedule.
#[tokio::test(start_paused = true)]
async fn retries_come_when_the_schedule_says_and_end_exhausted() {
    let stage = Stage::new(|_| Answer::Status(500));
    stage.webhook("a").await;
    let run = stage.start(quiet());
    stage.publish(1).await;
    stage.until_ended(1).await;
    let schedule = exact().schedule(Mode::Live).clone();
    let hits = stage.receivers.hits();
    assert_eq!(hits.len(), 10);
    for (failures, pair) in (1..).zip(hits.windows(2)) {
        let waited = pair[1].at - pair[0].at;
        let delay = schedule.delay(failures).unwrap();
        // Timers tick in milliseconds, and a failure is settled within two.
        assert!(delay <= waited && waited <= delay + millis(10), "{delay:?} {waited:?}");
    }
    let view = stage.only().await;
    assert_eq!(view.delivery.state.kind(), StateKind::Exhausted);
    let numbers: Vec<_> = view.attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    run.stop().await;
}

/// Publishes while a dispatcher without polls sleeps.
#[tokio::test(start_paused = true)]
async fn a_publish_wakes_the_dispatcher() {
    let stage = Stage::new(|_| FINE);
    stage.webhook("a").await;
    let run = stage.start(quiet());
    tokio::time::advance(seconds(100)).await;
    let published = tokio::time::Instant::now();
    stage.publish(1).await;
    stage.until_ended(1).await;
    let hit = &stage.receivers.hits()[0];
    assert!(hit.at - published < millis(5), "{:?}", hit.at - published);
    run.stop().await;
}

/// Counts the calls of an hour in which nothing happens, with nothing waiting and with a delivery
/// that is due later.
#[tokio::test(start_paused = true)]
async fn an_idle_dispatcher_sleeps() {
    for waiting in [false, true] {
        let policy = exact().with_schedule(Mode::Live, Schedule::new([seconds(7_200)]).unwrap());
        let stage = Stage::with(policy, |_| Answer::Status(500));
        stage.webhook("a").await;
        let run = stage.start(quiet().poll(seconds(1)));
        if waiting {
            stage.publish(1).await;
            stage.until(|stage| stage.notices.settled() == 1).await;
        }
        stage.plan(|_, _| super::faulty::Fault::None);
        tokio::time::sleep(seconds(3_600)).await;
        let beats = stage.faulty.count(Call::Heartbeat);
        // With metrics it looks how late it is, too.
        let calls = stage.faulty.total() - stage.faulty.count(Call::OldestDue);
        // A poll is a route and a claim; a lease of 30 s is renewed every 10 s.
        assert!((355..=361).contains(&beats), "{beats} heartbeats");
        assert!((7_100..=7_210 + beats).contains(&calls), "{calls} calls");
        assert_eq!(stage.receivers.hits().len(), usize::from(waiting));
        run.stop().await;
    }
}

/// Answers 410 to several deliveries at once, and publishes on.
#[tokio::test(start_paused = true)]
async fn a_410_disables_and_the_observer_is_told_once() {
    let stage = Stage::new(|_| Answer::Status(410));
    let webhook = stage.webhook("a").await;
    let run = stage.start(quiet());
    stage.publish(20).await;
    stage.until(|stage| stage.notices.settled() == 20).await;
    stage.publish(5).await;
    run.stop().await;
    let disabled: Vec<_> = stage
        .notices
        .all()
        .into_iter()
        .filter_map(|notice| match notice {
            Notice::Disabled { webhook, reason } => Some((webhook.id(), reason)),
            _ => None,
        })
        .collect();
    assert_eq!(disabled, [(webhook.id(), DisabledReason::Gone)]);
    let stored = stage.tidings.webhook(webhook.id()).await.unwrap();
    assert_eq!(stored.status(), Status::Disabled(DisabledReason::Gone));
    assert_eq!(stored.version(), webhook.version() + 1);
    assert_eq!(stage.receivers.hits().len(), 20, "nothing more is sent");
}

/// Fails for longer than five days, then looks at the webhook and the observer.
#[tokio::test(start_paused = true)]
async fn nothing_but_failure_for_days_disables() {
    let stage = Stage::new(|_| Answer::Fail(FailureKind::Connect));
    let webhook = stage.webhook("a").await;
    let run = stage.start(quiet());
    for _ in 0..7 {
        stage.publish(1).await;
        tokio::time::sleep(seconds(86_400)).await;
    }
    run.stop().await;
    let stored = stage.tidings.webhook(webhook.id()).await.unwrap();
    assert_eq!(stored.status(), Status::Disabled(DisabledReason::Failing));
    let told = stage.notices.all().into_iter();
    let told = told.filter(|notice| matches!(notice, Notice::Disabled { .. }));
    assert_eq!(told.count(), 1);
}

/// Publishes while the webhook is disabled and after, with a backlog of before.
#[tokio::test(start_paused = true)]
async fn what_waits_for_a_disabled_webhook_goes_out_when_it_is_enabled() {
    let stage = Stage::new(|hit| if hit.nth == 1 { Answer::Status(500) } else { FINE });
    let webhook = stage.webhook("a").await;
    let run = stage.start(quiet());
    stage.publish(3).await;
    stage.until(|stage| stage.notices.settled() == 3).await;
    let typed = tidings::Confirmation::new("ada", "ada");
    stage.tidings.disable(webhook.id(), &typed).await.unwrap();
    stage.publish(4).await;
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(stage.receivers.hits().len(), 3, "nothing is sent to a disabled webhook");
    stage.tidings.enable(webhook.id()).await.unwrap();
    stage.until_ended(3).await;
    run.stop().await;
    stage.assert_delivered_once(3).await;
}

/// Asks for a delivered event once more.
#[tokio::test(start_paused = true)]
async fn a_redelivery_sends_the_same_event_again() {
    let stage = Stage::new(|_| FINE);
    stage.webhook("a").await;
    let run = stage.start(quiet());
    stage.publish(1).await;
    stage.until_ended(1).await;
    let first = stage.only().await.delivery;
    let again = stage.tidings.redeliver(first.id).await.unwrap();
    stage.until_ended(2).await;
    assert_ne!(again, first.id);
    let view = stage.tidings.delivery(again).await.unwrap();
    assert_eq!(view.delivery.state.kind(), StateKind::Delivered);
    assert_eq!((view.delivery.event, view.delivery.webhook), (first.event, first.webhook));
    let hits = stage.receivers.hits();
    assert_eq!((&hits[0].event, &hits[0].body), (&hits[1].event, &hits[1].body));
    run.stop().await;
}

/// Sends a test event to one of two webhooks that do not want its type.
#[tokio::test(start_paused = true)]
async fn a_test_event_reaches_its_webhook_alone() {
    let stage = Stage::new(|_| FINE);
    let a = stage.webhook("a").await;
    stage.webhook("b").await;
    let run = stage.start(quiet());
    let id = stage.tidings.send_test(a.id()).await.unwrap();
    stage.until_ended(1).await;
    let hits = stage.receivers.hits();
    assert_eq!((hits.len(), hits[0].host.as_str()), (1, "a"));
    let view = stage.tidings.delivery(id).await.unwrap();
    assert_eq!(view.event.event_type().as_str(), tidings::TEST_EVENT_TYPE);
    assert_eq!(view.event.payload(), hits[0].body);
    run.stop().await;
}

/// Edits address and filters between two tries: the retry goes to the new address, later events
/// follow the new filters.
#[tokio::test(start_paused = true)]
async fn an_edit_moves_what_waits() {
    let stage = Stage::new(|hit| match hit.host.as_str() {
        "old" => Answer::Status(500),
        _ => FINE,
    });
    let webhook = stage.webhook("old").await;
    let run = stage.start(quiet());
    stage.publish(1).await;
    stage.until(|stage| stage.notices.settled() == 1).await;
    let edit = Edit::new()
        .address(tidings::EndpointUrl::parse("https://new.example/").unwrap())
        .types(Filters::parse(["invoice.*"]).unwrap());
    stage.tidings.edit(webhook.id(), None, edit).await.unwrap();
    stage.publish(1).await;
    stage.until_ended(1).await;
    run.stop().await;
    let hosts: Vec<_> = stage.receivers.hits().into_iter().map(|hit| hit.host).collect();
    assert_eq!(hosts, ["old", "new"]);
}

/// Answers 503 with `Retry-After` while many deliveries go out: the lane is paused, then one
/// probe, then the rest at a growing rate.
#[tokio::test(start_paused = true)]
async fn a_busy_receiver_is_left_in_peace_and_then_probed() {
    let stage = Stage::new(|_| Answer::Status(503));
    stage.webhook("a").await;
    let run = stage.start(quiet());
    stage.publish(10).await;
    stage.until(|stage| stage.notices.settled() == 10).await;
    stage.receivers.change_to(|_| Answer::Slow(seconds(3), 200));
    stage.until_ended(10).await;
    run.stop().await;
    let hits = stage.receivers.hits();
    let later: Vec<_> = hits[10..].iter().map(|hit| hit.at - hits[0].at).collect();
    assert_eq!(later.len(), 10);
    assert!(seconds(5) <= later[0] && later[0] < seconds(6), "{:?}", later[0]);
    assert!(later[1] >= later[0] + seconds(3), "one goes first: {later:?}");
    let rounds = later.chunk_by(|one, next| *next < *one + millis(100)).map(<[_]>::len);
    assert_eq!(rounds.collect::<Vec<_>>(), [1, 2, 4, 3], "then more and more: {later:?}");
    stage.assert_delivered_once(10).await;
}

/// Deletes a webhook while deliveries wait and one is under way, and sweeps.
#[tokio::test(start_paused = true)]
async fn a_deleted_webhook_gets_nothing_more() {
    let stage = Stage::new(|hit| match hit.nth {
        1 => Answer::Slow(seconds(1), 500),
        _ => FINE,
    });
    let webhook = stage.webhook("a").await;
    let run = stage.start(quiet().in_flight(2).sweep_every(Some(seconds(60))));
    stage.publish(5).await;
    stage.until_hits(2).await;
    stage.tidings.delete(webhook.id()).await.unwrap();
    tokio::time::sleep(seconds(600)).await;
    assert_eq!(stage.receivers.hits().len(), 2);
    let all = stage.deliveries(&[StateKind::Waiting, StateKind::Leased]).await;
    assert_eq!(all, []);
    let cancelled = stage.deliveries(&[StateKind::Cancelled]).await;
    assert!(cancelled.iter().map(|view| view.attempts.len()).sum::<usize>() == 2);
    run.stop().await;
}

/// Publishes to a webhook that never answers, expiring after a minute.
#[tokio::test(start_paused = true)]
async fn a_delivery_that_would_come_too_late_expires() {
    let policy = exact().with_expire_after(seconds(60));
    let stage = Stage::with(policy, |_| Answer::Status(500));
    stage.webhook("a").await;
    let run = stage.start(quiet());
    stage.publish(1).await;
    stage.until_ended(1).await;
    let view = stage.only().await;
    assert_eq!(view.delivery.state.kind(), StateKind::Expired);
    assert_eq!(view.attempts.len(), 2);
    run.stop().await;
}

/// Runs three dispatchers over one storage.
#[tokio::test(start_paused = true)]
async fn several_dispatchers_share_the_work() {
    let stage = Stage::new(|hit| match hit.nth {
        1 if hit.event.ends_with('0') => Answer::Status(500),
        _ => Answer::Slow(millis(20), 200),
    });
    stage.webhook("a").await;
    stage.webhook("b").await;
    let runs = [(); 3].map(|()| stage.start(quiet().in_flight(10).poll(millis(250))));
    for _ in 0..10 {
        stage.publish(30).await;
        tokio::time::sleep(millis(100)).await;
    }
    stage.until_ended(600).await;
    for run in runs {
        run.stop().await;
    }
    stage.assert_delivered_once(600).await;
}

/// Looks at the record of a failed attempt.
#[tokio::test(start_paused = true)]
async fn an_attempt_tells_what_happened() {
    let stage = Stage::new(|_| Answer::Body(500, "x".repeat(20_000)));
    stage.tidings.create(registration("a")).await.unwrap();
    let run = stage.start(quiet());
    tokio::time::advance(seconds(7)).await;
    stage.publish(1).await;
    stage.until(|stage| stage.notices.settled() == 1).await;
    let view = stage.only().await;
    let attempt = &view.attempts[0];
    let outcome = Outcome::Answered { status: 500, retry_after: None };
    assert_eq!((attempt.number, attempt.outcome), (1, outcome));
    assert_eq!((attempt.response.len(), attempt.truncated), (16 * 1024, true));
    assert!(attempt.started >= epoch() + seconds(7));
    assert!(due(&view.delivery) >= attempt.started + seconds(5));
    run.stop().await;
}
