//! [`settle`](crate::ports::storage::DeliveryQueue::settle): outcomes are written by the holder of
//! the lease and by nobody else (rule 7); each attempt is kept.

use futures_util::future::join_all;

use super::fixtures::*;
use crate::ground::failure::FailureKind;

/// Settles nothing.
pub(super) async fn an_empty_settlement_is_answered(store: &dyn Storage) {
    assert_eq!(store.settle(&[], start()).await.expect("settle"), []);
}

/// Settles leases in each of the ways there are and compares every field.
pub(super) async fn a_settlement_is_applied_whole(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, 1..=5, start()).await;
    let leased = worker.claim(at(1)).await.leased;
    let mut expired = failed(&leased[3], at(5), at(2));
    expired.transition.next = Next::Expired;
    let mut interrupted = failed(&leased[4], at(700), at(2));
    interrupted.transition.interruptions = 7;
    interrupted.transition.lapsed = true;
    interrupted.transition.failures = 3;
    let settlements = [
        delivered(&leased[0], at(2)),
        failed(&leased[1], at(600), at(2)),
        exhausted(&leased[2], at(2)),
        expired,
        interrupted,
    ];
    let answers = store.settle(&settlements, at(2)).await.expect("settle");
    assert_eq!(answers, [APPLIED; 5], "the lease holds");
    for (leased, settlement) in leased.iter().zip(&settlements) {
        let found = view(store, leased.delivery.id).await;
        let expected = applied(leased, settlement);
        assert_eq!(found.delivery, expected, "as Transition::apply says");
        assert_eq!(found.attempts.as_slice(), settlement.attempt.as_slice(), "one attempt");
    }
}

/// Keeps every kind of outcome, response and error text.
pub(super) async fn every_field_of_an_attempt_survives(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let mut outcomes: Vec<_> = FailureKind::ALL.into_iter().map(Outcome::Unanswered).collect();
    outcomes.push(Outcome::Interrupted);
    for (status, retry_after) in [(100, None), (204, None), (503, Some(0)), (999, Some(86_400))] {
        let retry_after = retry_after.map(Duration::from_secs);
        outcomes.push(Outcome::Answered { status, retry_after });
    }
    let count = outcomes.len() as u64;
    waiting_orders(store, &worker, 1, 1..=count, start()).await;
    let leased = worker.claim(at(1)).await.leased;
    assert_eq!(leased.len(), outcomes.len());
    let bytes: Vec<u8> = (0..16 * 1024).map(|number| (number % 256) as u8).collect();
    let mut settlements = Vec::new();
    for (number, (leased, outcome)) in leased.iter().zip(outcomes).enumerate() {
        let latency = Duration::from_millis(number as u64 * 1_001);
        let mut attempt = Attempt::new(1, at_millis(1_000 + number as u64), latency, outcome);
        attempt.response = bytes[bytes.len() - number * 500..].to_vec();
        attempt.truncated = number % 2 == 1;
        attempt.error = (number % 3 > 0).then(|| format!("no 'answer' {number} ü\u{1F4A5}"));
        let mut settlement = failed(leased, at(60), at(2));
        settlement.attempt = Some(attempt);
        settlements.push(settlement);
    }
    settlements[0].attempt.as_mut().expect("an attempt").response =
        vec![0xff, 0, 0xfe, b'\'', 0xc3];
    let answers = store.settle(&settlements, at(2)).await.expect("settle");
    assert_eq!(answers, vec![APPLIED; settlements.len()]);
    for settlement in &settlements {
        let found = view(store, settlement.fence.delivery).await.attempts;
        assert_eq!(found.as_slice(), settlement.attempt.as_slice(), "the attempt is kept whole");
    }
}

/// Tries a delivery five times, giving it back unused in between, and reads the attempts.
pub(super) async fn attempts_are_listed_in_order(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let (webhook, events) = waiting_orders(store, &worker, 1, [1], start()).await;
    for second in 1..=5 {
        let leased = worker.claim_one(at(second)).await;
        assert_eq!(u64::from(leased.delivery.attempt), second, "each lease raises the attempt");
        let settlement = if second % 2 == 0 {
            given_back(&leased, at(second))
        } else {
            failed(&leased, at(second), at(second))
        };
        assert_eq!(settle(store, settlement, at(second)).await, APPLIED);
    }
    let found = view(store, routed(&events[0], &webhook)).await;
    let numbers: Vec<_> = found.attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [1, 3, 5], "a lease that was given back leaves none");
    assert_eq!(found.delivery.failures, 3);
}

/// Gives a lease back unused.
pub(super) async fn a_lease_given_back_is_not_charged(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let leased = leased_order(store, &worker, 1, start()).await;
    let settlement = given_back(&leased, at(5));
    assert_eq!(settle(store, settlement.clone(), at(5)).await, APPLIED);
    let found = view(store, leased.delivery.id).await;
    assert_eq!(found.delivery, applied(&leased, &settlement), "due at once, uncharged");
    assert_eq!(found.attempts, [], "nothing was tried");
    let again = worker.claim_one(at(5)).await;
    assert_eq!((again.delivery.attempt, again.delivery.failures), (2, 0));
    assert_eq!(again.failing_since, None, "the receiver had no part in it");
}

/// Sends each kind of settlement three times, one of them twice in one call.
pub(super) async fn a_repeated_settlement_changes_nothing(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, 1..=3, start()).await;
    let leased = worker.claim(at(1)).await.leased;
    let settlements = [
        delivered(&leased[0], at(2)),
        failed(&leased[1], at(600), at(2)),
        exhausted(&leased[2], at(2)),
    ];
    let twice = [settlements.clone(), settlements.clone()].concat();
    let answers = store.settle(&twice, at(2)).await.expect("settle");
    assert_eq!(answers, [APPLIED; 6], "its own repetition is Applied");
    let before = all_deliveries(store).await;
    let answers = store.settle(&settlements, at(50)).await.expect("settle");
    assert_eq!(answers, [APPLIED; 3], "also by a later call");
    assert_eq!(all_deliveries(store).await, before, "a repetition changes nothing");
    assert!(before.iter().all(|view| view.attempts.len() == 1), "nor does it repeat the attempt");
    assert_eq!(worker.claims_nothing(at(51), "one waits").await, Some(at(600)));
}

/// Repeats a failure and a pause after a success has ended the stretch and the probe has opened.
pub(super) async fn a_repetition_does_not_touch_the_lane(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, 1..=3, start()).await;
    let first = worker.claim_of(start(), 1).await.leased.remove(0);
    let pause = {
        let mut settlement = paused(&first, at(60), at(1));
        settlement.transition.next = Next::Exhausted;
        settlement
    };
    settle(store, pause.clone(), at(1)).await;
    let probe = worker.claim_one(at(60)).await;
    settle(store, delivered(&probe, at(61)), at(61)).await;
    let mut longer = pause;
    longer.transition.lane = LaneChange::Pause { until: at(900) };
    assert_eq!(settle(store, longer, at(62)).await, APPLIED, "a repetition, late");
    let leased = worker.claim_one(at(63)).await;
    assert!(!leased.probe, "a repetition does not pause again");
    assert_eq!(leased.failing_since, None, "nor begin a stretch of failure again");
}

/// Settles after the lease was given to another dispatcher: rule 7.
pub(super) async fn a_late_settlement_is_lost(store: &dyn Storage) {
    let slow = Worker::until(store, 1, start(), at(10)).await;
    let leased = leased_order(store, &slow, 1, start()).await;
    let quick = Worker::start(store, 2, at(10)).await;
    let again = quick.claim_one(at(10)).await;
    assert_eq!(again.delivery.attempt, 2);
    let late = delivered(&leased, at(11));
    assert_eq!(settle(store, late.clone(), at(11)).await, Settled::Lost, "the lease moved on");
    let found = view(store, leased.delivery.id).await;
    assert_eq!(found.delivery, again.delivery, "a late settlement leaves the delivery alone");
    assert_eq!(found.attempts.as_slice(), late.attempt.as_slice(), "its attempt is recorded");
    assert_eq!(settle(store, late.clone(), at(12)).await, Settled::Lost);
    let found = view(store, leased.delivery.id).await;
    assert_eq!(found.attempts.len(), 1, "unless one with its number is already");
    let on_time = failed(&again, at(60), at(13));
    assert_eq!(settle(store, on_time.clone(), at(13)).await, APPLIED, "the holder settles");
    assert_eq!(settle(store, late.clone(), at(14)).await, Settled::Lost);
    let found = view(store, leased.delivery.id).await;
    assert_eq!(found.delivery, applied(&again, &on_time), "only the holder's word counts");
    let attempts: Vec<_> = [late.attempt, on_time.attempt].into_iter().flatten().collect();
    assert_eq!(found.attempts, attempts, "both attempts are recorded, in order");
}

/// Settles after the lease was reaped and nobody has it.
pub(super) async fn a_settlement_after_a_reap_is_lost(store: &dyn Storage) {
    let slow = Worker::until(store, 1, start(), at(10)).await;
    let leased = leased_order(store, &slow, 1, start()).await;
    let other = Worker::start(store, 2, at(10)).await;
    other.claim_of(at(10), 0).await;
    assert_eq!(slow.beat(at(11), at(100)).await, Alive::New, "it was given up");
    let late = delivered(&leased, at(12));
    assert_eq!(settle(store, late, at(12)).await, Settled::Lost, "the lease is over");
    let found = view(store, leased.delivery.id).await;
    assert_eq!(found.delivery.state, State::Waiting { due: at(10) }, "it still waits");
    assert_eq!(found.attempts.len(), 1, "the attempt is recorded");
    assert!(slow.claim_one(at(13)).await.delivery.lapsed, "and is still to be accounted for");
}

/// Settles late with everything that could be said of the webhook and its lane.
pub(super) async fn a_lost_settlement_touches_neither_lane_nor_webhook(store: &dyn Storage) {
    let slow = Worker::until(store, 1, start(), at(10)).await;
    let leased = leased_order(store, &slow, 1, start()).await;
    let quick = Worker::start(store, 2, at(10)).await;
    let again = quick.claim_one(at(10)).await;
    let mut late = gone(&leased, at(60), at(11));
    late.transition.lane = LaneChange::Pause { until: at(900) };
    assert_eq!(settle(store, late, at(11)).await, Settled::Lost);
    let webhook = stored_webhook(store, leased.webhook.id()).await;
    assert_eq!(webhook.as_ref(), Some(&*leased.webhook), "a lost 410 disables nothing");
    let back = given_back(&again, at(12));
    settle(store, back, at(12)).await;
    let third = quick.claim_one(at(12)).await;
    assert!(!third.probe, "a lost settlement pauses nothing");
    assert_eq!(third.failing_since, None, "nor begins a stretch of failure");
}

/// Settles with a fence of which one part is wrong.
pub(super) async fn every_part_of_the_fence_counts(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let leased = leased_order(store, &worker, 1, start()).await;
    let wrong = [
        ("attempt before", Fence { attempt: 0, ..fence(&leased) }),
        ("attempt to come", Fence { attempt: 2, ..fence(&leased) }),
        ("dispatcher", Fence { dispatcher: dispatcher_id(9), ..fence(&leased) }),
    ];
    for (part, fence) in wrong {
        let mut settlement = delivered(&leased, at(1));
        settlement.fence = fence;
        settlement.attempt = None;
        let answer = settle(store, settlement, at(1)).await;
        assert_eq!(answer, Settled::Lost, "another {part} than the lease's");
        let found = view(store, leased.delivery.id).await;
        assert_eq!(found.delivery, leased.delivery, "it leaves the delivery alone");
        assert_eq!(found.attempts, [], "no attempt came with it");
    }
    assert_eq!(settle(store, delivered(&leased, at(2)), at(2)).await, APPLIED);
}

/// Settles a hundred leases of which some are lost and some are gone, in one call.
pub(super) async fn what_is_lost_or_gone_does_not_touch_the_others(store: &dyn Storage) {
    let slow = Worker::until(store, 1, start(), at(10)).await;
    let (lost_to, _) = waiting_orders(store, &slow, 1, 1..=100, start()).await;
    let doomed = registered(store, 2, &["a.b"]).await;
    let mut leased = slow.claim_of(at(1), 30).await.leased;
    let quick = Worker::start(store, 2, at(10)).await;
    quick.claim_of(at(10), 0).await;
    let lost = leased.drain(..10).collect::<Vec<_>>();
    let held = quick.claim_of(at(10), 60).await.leased;
    assert!(held.iter().all(|leased| leased.delivery.webhook == lost_to.id()));
    publish(store, &[event(500, "a.b")], at(10)).await;
    let of_deleted = quick.route(at(10)).await.leased.remove(0);
    store.delete(doomed.id(), at(11)).await.expect("delete");
    let mut settlements: Vec<_> = held.iter().map(|leased| delivered(leased, at(12))).collect();
    let mut expected = vec![APPLIED; settlements.len()];
    for (place, leased) in lost.iter().enumerate() {
        settlements.insert(place * 3, delivered(leased, at(12)));
        expected.insert(place * 3, Settled::Lost);
    }
    let mut unknown = delivered(&lost[0], at(12));
    unknown.fence.delivery = DeliveryId::of(event_id(999), webhook_id(9), Cause::ROUTED);
    settlements.insert(7, unknown);
    expected.insert(7, Settled::Gone);
    settlements.push(failed(&of_deleted, at(60), at(12)));
    expected.push(Settled::Gone);
    let answers = store.settle(&settlements, at(12)).await.expect("settle");
    assert_eq!(answers, expected, "answers come in the order of the settlements");
    for leased in &held {
        let state = view(store, leased.delivery.id).await.delivery.state;
        assert_eq!(state, State::Delivered { at: at(12) }, "the others are settled");
    }
}

/// Settles a delivery that never was.
pub(super) async fn an_unknown_delivery_is_gone(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let leased = leased_order(store, &worker, 1, start()).await;
    let mut settlement = delivered(&leased, at(1));
    settlement.fence.delivery = DeliveryId::of(event_id(8), webhook_id(8), Cause::ROUTED);
    assert_eq!(settle(store, settlement, at(1)).await, Settled::Gone);
    let found = all_deliveries(store).await;
    assert_eq!(found.len(), 1, "nothing is made for it");
    assert_eq!(found[0].delivery, leased.delivery);
}

/// Deletes a webhook while four of its deliveries are in flight, and settles them.
pub(super) async fn what_a_deleted_webhook_had_in_flight_ends(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let (webhook, _) = waiting_orders(store, &worker, 1, 1..=4, start()).await;
    let leased = worker.claim(at(1)).await.leased;
    store.delete(webhook.id(), at(2)).await.expect("delete");
    let settlements = [
        delivered(&leased[0], at(3)),
        failed(&leased[1], at(60), at(3)),
        exhausted(&leased[2], at(3)),
        given_back(&leased[3], at(3)),
    ];
    let answers = store.settle(&settlements, at(3)).await.expect("settle");
    assert_eq!(answers, [Settled::Gone; 4], "the webhook was deleted");
    let (at_3, ended) = (at(3), State::Cancelled { at: at(3) });
    let expected = [State::Delivered { at: at_3 }, ended, ended, ended];
    for ((leased, settlement), state) in leased.iter().zip(&settlements).zip(expected) {
        let found = view(store, leased.delivery.id).await;
        assert_eq!(found.delivery.state, state, "delivered if the transition says so");
        assert_eq!(found.attempts.as_slice(), settlement.attempt.as_slice(), "recorded");
    }
    let before = all_deliveries(store).await;
    let answers = store.settle(&settlements, at(4)).await.expect("settle");
    assert_eq!(answers, [Settled::Gone; 4], "so is its repetition");
    assert_eq!(sweep_all(store, &sweep(at(5))).await.cancelled, 0, "nothing waits");
    assert_eq!(all_deliveries(store).await, before, "and nothing changes any more");
    worker.claims_nothing(at(100), "the webhook was deleted").await;
}

/// Settles sixty leases from twenty callers at once, each of them twice.
pub(super) async fn concurrent_settlements_are_each_applied_once(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, 1..=60, start()).await;
    let leased = worker.claim(at(1)).await.leased;
    let batches: Vec<Vec<_>> = (0..20)
        .map(|number| {
            let some = leased.iter().skip(number % 10 * 6).take(6);
            let mut some: Vec<_> = some.map(|leased| delivered(leased, at(2))).collect();
            if number >= 10 {
                some.reverse();
            }
            some
        })
        .collect();
    let answers = join_all(batches.iter().map(|batch| store.settle(batch, at(2)))).await;
    for answer in answers {
        assert_eq!(answer.expect("settle"), [APPLIED; 6], "each caller gets the same answer");
    }
    for view in all_deliveries(store).await {
        assert_eq!(view.delivery.state, State::Delivered { at: at(2) });
        assert_eq!(view.attempts.len(), 1, "one attempt each");
    }
}
