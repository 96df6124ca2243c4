//! Pauses and probes: a webhook in trouble is left in peace, then asked once.

use futures_util::future::join_all;

use super::fixtures::*;

/// A webhook with deliveries waiting behind a pause that begins at second 1 and ends at second 60.
async fn behind_a_pause(store: &dyn Storage, worker: &Worker<'_>, waiting: u64) -> Webhook {
    let (webhook, _) = waiting_orders(store, worker, 1, 1..=waiting + 1, start()).await;
    let leased = worker.claim_of(start(), 1).await.leased;
    let mut settlement = paused(&leased[0], at(60), at(1));
    settlement.transition.next = Next::Exhausted;
    assert_eq!(settle(store, settlement, at(1)).await, APPLIED);
    webhook
}

/// Claims until the pause is over; a second webhook is served meanwhile.
pub(super) async fn a_paused_lane_is_left_in_peace(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    behind_a_pause(store, &worker, 5).await;
    registered(store, 2, &["a.b"]).await;
    publish(store, &[event(100, "a.b")], at(2)).await;
    worker.route_waiting(at(2)).await;
    let claimed = worker.claim(at(3)).await;
    assert_eq!(by_webhook(&claimed.leased).get(&webhook_id(2)), Some(&1));
    assert_eq!(claimed.leased.len(), 1, "nothing of the paused lane");
    assert_eq!(claimed.next_due, Some(at(60)), "ready when the pause is over");
    let why = "the pause is not over";
    worker.claims_nothing(at_millis(59_999), why).await;
    assert_eq!(worker.claim(at(60)).await.leased.len(), 1, "then there is a probe");
}

/// Claims with two dispatchers while the probe is out, and after it should have come back.
pub(super) async fn after_a_pause_one_probe_is_out_at_a_time(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let other = Worker::start(store, 2, start()).await;
    behind_a_pause(store, &worker, 5).await;
    let claimed = worker.claim(at(70)).await;
    assert_eq!(claimed.leased.len(), 1, "a lane that was paused gives one delivery");
    let probe = &claimed.leased[0];
    assert!(probe.probe, "it is marked as the probe");
    assert_eq!(probe.failing_since, Some(at(1)));
    assert_eq!(claimed.next_due, Some(at(100)), "the pause moved to the end of the probe");
    for worker in [&worker, &other] {
        worker.claims_nothing(at(71), "a probe is out").await;
        worker.claims_nothing(at_millis(99_999), "a probe is out").await;
    }
    let next = other.claim_one(at(100)).await;
    assert!(next.probe, "the probe never came back: another one");
    assert_ne!(next.delivery.id, probe.delivery.id, "the first one is still leased");
}

/// Lets sixteen claims by two dispatchers meet at the end of a pause.
pub(super) async fn of_concurrent_claims_one_gets_the_probe(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let other = Worker::start(store, 2, start()).await;
    behind_a_pause(store, &worker, 20).await;
    let claims = (0..16).map(|number| [&worker, &other][number % 2].claim(at(60)));
    let leased: Vec<_> =
        join_all(claims).await.into_iter().flat_map(|claimed| claimed.leased).collect();
    assert_eq!(leased.len(), 1, "exactly one probe is claimed");
    assert!(leased[0].probe);
}

/// Settles the probe with a success.
pub(super) async fn a_probe_that_arrives_opens_the_lane(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    behind_a_pause(store, &worker, 5).await;
    let probe = worker.claim_one(at(60)).await;
    settle(store, delivered(&probe, at(61)), at(61)).await;
    let claimed = worker.claim(at(61)).await;
    assert_eq!(claimed.leased.len(), 4, "as many as the limits allow");
    for leased in &claimed.leased {
        assert!(!leased.probe, "an open lane has no probes");
        assert_eq!(leased.failing_since, None, "a success ends the stretch of failure");
    }
    settle_all(store, &claimed.leased, at(62)).await;
    orders(store, [50], at(63)).await;
    assert_eq!(worker.route(at(63)).await.leased.len(), 1, "the lane is plain again");
}

/// Settles the probe with a failure and a longer pause.
pub(super) async fn a_probe_that_fails_pauses_on(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    behind_a_pause(store, &worker, 5).await;
    let probe = worker.claim_one(at(60)).await;
    settle(store, paused(&probe, at(200), at(61)), at(61)).await;
    let next_due = worker.claims_nothing(at(150), "the probe failed").await;
    assert_eq!(next_due, Some(at(200)));
    let next = worker.claim_one(at(200)).await;
    assert!(next.probe, "then there is another probe");
    assert_eq!(next.failing_since, Some(at(1)), "the stretch of failure goes on");
}

/// Settles the probe with a failure and a pause that ends before the probe would have.
pub(super) async fn a_probe_that_fails_soon_pauses_for_its_own_time(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    behind_a_pause(store, &worker, 5).await;
    let probe = worker.claim_one(at(60)).await;
    assert!(probe.probe);
    settle(store, paused(&probe, at(66), at(61)), at(61)).await;
    let next_due = worker.claims_nothing(at(65), "the probe failed").await;
    assert_eq!(next_due, Some(at(66)));
    assert!(worker.claim_one(at(66)).await.probe, "then there is another probe");
}

/// Settles a delivery that was sent before the pause while the probe is out, with a pause that ends before
/// the probe would have, and one that ends later; then the probe, with a shorter one.
pub(super) async fn a_pause_that_came_during_a_probe_stays(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, 1..=5, start()).await;
    let sent = worker.claim_of(start(), 3).await.leased;
    settle(store, paused(&sent[0], at(60), at(1)), at(1)).await;
    for (now, sibling, until) in [(60, &sent[1], 80), (80, &sent[2], 900)] {
        let probe = worker.claim_one(at(now)).await;
        assert!(probe.probe);
        settle(store, paused(sibling, at(until), at(now + 1)), at(now + 1)).await;
        settle(store, paused(&probe, at(now + 6), at(now + 2)), at(now + 2)).await;
        let next_due = worker.claims_nothing(at(until - 1), "another answer asked for more").await;
        assert_eq!(next_due, Some(at(until)));
    }
    assert!(worker.claim_one(at(900)).await.probe);
}

/// Settles the probe unused.
pub(super) async fn a_probe_that_was_not_sent_is_taken_again(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    behind_a_pause(store, &worker, 5).await;
    let probe = worker.claim_one(at(60)).await;
    settle(store, given_back(&probe, at(61)), at(61)).await;
    let claimed = worker.claim(at(61)).await;
    assert_eq!(claimed.leased.len(), 1, "another probe at once, and one only");
    assert!(claimed.leased[0].probe);
    worker.claims_nothing(at(62), "a probe is out").await;
}

/// Pauses a lane by several deliveries that were in flight together.
pub(super) async fn of_two_pauses_the_later_counts(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, 1..=4, start()).await;
    let leased = worker.claim(start()).await.leased;
    let mut settlements: Vec<_> = leased.iter().map(|l| paused(l, at(10), at(1))).collect();
    for (settlement, second) in settlements.iter_mut().zip([50, 90, 30, 70]) {
        settlement.transition.lane = LaneChange::Pause { until: at(second) };
    }
    let last = settlements.split_off(3);
    store.settle(&settlements, at(1)).await.expect("settle");
    assert_eq!(worker.claims_nothing(at(20), "paused").await, Some(at(90)));
    store.settle(&last, at(21)).await.expect("settle");
    assert_eq!(worker.claims_nothing(at(80), "paused").await, Some(at(90)));
    assert!(worker.claim_one(at(90)).await.probe);
}

/// Pauses a lane that a probe holds: the later end counts.
pub(super) async fn a_pause_and_a_probe_combine(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, 1..=4, start()).await;
    let leased = worker.claim_of(start(), 2).await.leased;
    settle(store, paused(&leased[0], at(60), at(1)), at(1)).await;
    let probe = worker.claim_one(at(60)).await;
    assert!(probe.probe);
    settle(store, paused(&leased[1], at(70), at(61)), at(61)).await;
    let next_due = worker.claims_nothing(at(80), "the probe has until second 90").await;
    assert_eq!(next_due, Some(at(90)), "an earlier pause does not cut the probe short");
    settle(store, failed(&probe, at(500), at(81)), at(81)).await;
    assert!(worker.claim_one(at(90)).await.probe, "only a settlement opens the lane");
}

/// A probe whose dispatcher dies: reaped, and the next probe is the only one again.
pub(super) async fn a_dead_dispatchers_probe_is_taken_again(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let dying = Worker::until(store, 2, start(), at(80)).await;
    behind_a_pause(store, &worker, 3).await;
    let probe = dying.claim_one(at(60)).await;
    assert!(probe.probe);
    worker.claims_nothing(at(81), "the probe has until second 90").await;
    let state = view(store, probe.delivery.id).await.delivery.state;
    assert_eq!(state, State::Waiting { due: at(81) }, "it was reaped all the same");
    assert!(worker.claim_one(at(90)).await.probe, "one probe, after the first one's end");
}

/// Settles an ordinary delivery of a lane that has been paused meanwhile.
pub(super) async fn a_success_that_was_no_probe_does_not_open(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, 1..=4, start()).await;
    let leased = worker.claim_of(start(), 2).await.leased;
    settle(store, paused(&leased[0], at(60), at(1)), at(1)).await;
    settle(store, delivered(&leased[1], at(2)), at(2)).await;
    let next_due = worker.claims_nothing(at(3), "only the probe's settlement opens").await;
    assert_eq!(next_due, Some(at(60)));
    let probe = worker.claim_one(at(60)).await;
    assert_eq!(probe.failing_since, None, "but it ended the stretch of failure");
}
