//! [`sweep`](crate::ports::storage::DeliveryQueue::sweep): what is over goes, a bounded step at a
//! time; what is still owed never does.

use super::fixtures::*;

fn expire(now: Timestamp, before: Timestamp) -> Sweep {
    Sweep { expire_before: before, ..sweep(now) }
}

fn prune(now: Timestamp, before: Timestamp) -> Sweep {
    Sweep { prune_before: before, ..sweep(now) }
}

/// Sweeps a store in which nothing is to be done.
pub(super) async fn a_sweep_may_find_nothing(store: &dyn Storage) {
    let swept = store.sweep(&sweep(start())).await.expect("sweep");
    assert_eq!(swept, Swept::default());
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, 1..=3, start()).await;
    worker.claim_of(at(1), 1).await;
    let before = all_deliveries(store).await;
    let swept = store.sweep(&sweep(at(2))).await.expect("sweep");
    assert_eq!(swept, Swept::default(), "none is old, none is of a deleted webhook");
    assert_eq!(all_deliveries(store).await, before);
}

/// Expires what was published before a moment: paused, disabled, due or not, but not leased.
pub(super) async fn waiting_deliveries_expire_by_their_publish(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let old = leased_order(store, &worker, 1, at(1)).await;
    let held = leased_order(store, &worker, 2, at(1)).await;
    let young = leased_order(store, &worker, 3, at(10)).await;
    let off = leased_order(store, &worker, 4, at(9)).await;
    for leased in [&old, &young, &off] {
        settle(store, paused(leased, at(9_000), at(11)), at(11)).await;
    }
    disabled(store, off.webhook.id(), at(12)).await;
    assert_eq!(sweep_all(store, &expire(at(20), at(10))).await.expired, 2);
    let state = async |leased: &Leased| view(store, leased.delivery.id).await.delivery.state;
    assert_eq!(state(&old).await, State::Expired { at: at(20) }, "published at second 1");
    assert_eq!(state(&off).await, State::Expired { at: at(20) }, "published at second 9");
    assert_eq!(state(&held).await, held.delivery.state, "what is leased is being sent");
    let waiting = State::Waiting { due: at(9_000) };
    assert_eq!(state(&young).await, waiting, "published at second 10, not before it");
    assert_eq!(settle(store, delivered(&held, at(21)), at(21)).await, APPLIED);
    let attempts = view(store, old.delivery.id).await.attempts;
    assert_eq!(attempts.len(), 1, "an expired delivery keeps its attempts");
}

/// Claims from a lane of which everything has expired.
pub(super) async fn an_expired_delivery_is_never_claimed(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, 1..=5, start()).await;
    assert_eq!(sweep_all(store, &expire(at(10), at(1))).await.expired, 5);
    let next_due = worker.claims_nothing(at(11), "all have expired").await;
    assert_eq!(next_due, None, "the claim raises next_due to what is left");
    orders(store, [9], at(12)).await;
    assert_eq!(worker.route(at(12)).await.leased.len(), 1, "the lane is plain again");
}

/// A redelivery expires by when it was asked for.
pub(super) async fn a_redelivery_expires_by_its_own_time(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let leased = leased_order(store, &worker, 1, at(1)).await;
    settle_all(store, from_ref(&leased), at(2)).await;
    let Delivery { event, webhook, .. } = leased.delivery;
    store.enqueue(&[Owed { event, webhook, cause: cause(1) }], at(50)).await.expect("enqueue");
    assert_eq!(sweep_all(store, &expire(at(60), at(50))).await.expired, 0);
    assert_eq!(sweep_all(store, &expire(at(60), at(51))).await.expired, 1);
}

/// Deletes one of two webhooks with deliveries waiting.
pub(super) async fn a_deleted_webhooks_waiting_deliveries_are_cancelled(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let (stays, _) = waiting_orders(store, &worker, 1, 1..=5, start()).await;
    let leaves = registered(store, 2, &["a.b"]).await;
    publish(store, &(6..=12).map(|number| event(number, "a.b")).collect::<Vec<_>>(), at(1)).await;
    worker.route_waiting(at(1)).await;
    store.delete(leaves.id(), at(2)).await.expect("delete");
    let step = Sweep { limit: 3, ..sweep(at(3)) };
    assert_eq!(sweep_all(store, &step).await.cancelled, 7, "all of them, three at a time");
    for view in all_deliveries(store).await {
        let expected = if view.delivery.webhook == stays.id() {
            State::Waiting { due: start() }
        } else {
            State::Cancelled { at: at(3) }
        };
        assert_eq!(view.delivery.state, expected);
    }
}

/// Sweeps seven rows of each kind three at a time, and looks at each answer.
pub(super) async fn a_step_is_bounded_and_says_whether_there_is_more(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, 1..=7, at(1)).await;
    let leaves = registered(store, 2, &["a.b"]).await;
    let of = |range: std::ops::RangeInclusive<u64>, name| -> Vec<_> {
        range.map(|number| event(number, name)).collect()
    };
    publish(store, &of(21..=27, "nobody.wants"), at(1)).await;
    publish(store, &of(11..=17, "a.b"), at(50)).await;
    worker.route_waiting(at(50)).await;
    store.delete(leaves.id(), at(51)).await.expect("delete");
    let step = Sweep { now: at(60), limit: 3, expire_before: at(10), prune_before: at(1) };
    let (mut expired, mut cancelled, mut calls) = (0, 0, 0);
    loop {
        let swept = store.sweep(&step).await.expect("sweep");
        assert!(swept.expired <= 3 && swept.cancelled <= 3, "at most `limit` of each: {swept:?}");
        expired += swept.expired;
        cancelled += swept.cancelled;
        calls += 1;
        assert_eq!(swept.pruned, 0, "nothing was published before second 1");
        let left = expired < 7 || cancelled < 7;
        assert!(swept.more || !left, "`more` must say that a limit was reached: {swept:?}");
        if !swept.more {
            break;
        }
        assert!(calls < 50, "a sweep must come to an end: {swept:?}");
    }
    assert_eq!((expired, cancelled), (7, 7));
    let step = Sweep { prune_before: at(50), ..step };
    assert_eq!(sweep_all(store, &step).await.pruned, 14, "what expired, and what nobody wanted");
    assert_eq!(store.sweep(&step).await.expect("sweep"), Swept::default(), "then there is nothing");
    let left = all_events(store, &EventQuery::default()).await;
    assert_eq!(left.len(), 7, "published at second 50, not before it");
}

/// Prunes an event with all that belongs to it.
pub(super) async fn a_finished_event_is_pruned_with_its_record(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let leased = leased_order(store, &worker, 1, at(1)).await;
    let settlement = delivered(&leased, at(2));
    settle(store, settlement.clone(), at(2)).await;
    assert_eq!(sweep_all(store, &prune(at(3), at(1))).await.pruned, 0, "not before second 1");
    assert_eq!(sweep_all(store, &prune(at(3), at(2))).await.pruned, 1);
    assert_eq!(all_events(store, &EventQuery::default()).await, []);
    assert_eq!(all_deliveries(store).await, []);
    let answer = settle(store, settlement, at(4)).await;
    assert_eq!(answer, Settled::Gone, "the delivery is no longer there");
    assert_eq!(all_deliveries(store).await, [], "and is not made again");
    let Delivery { event, webhook, .. } = leased.delivery;
    let answer = store.enqueue(&[Owed { event, webhook, cause: cause(1) }], at(5)).await;
    assert_eq!(answer.expect("enqueue"), [Enqueued::NoEvent]);
    publish(store, from_ref(&leased.event), at(6)).await;
    let again = worker.route(at(6)).await.leased;
    assert_eq!(again.len(), 1, "its id is free again, and nothing is left of the first one");
    assert_eq!((again[0].delivery.attempt, again[0].delivery.published), (1, at(6)));
    assert_eq!(view(store, again[0].delivery.id).await.attempts, []);
}

/// Prunes by when an event was published, not by when it says that it was created.
pub(super) async fn pruning_goes_by_the_time_of_the_publish(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let id = event_id(1);
    let payload = format!(
        r#"{{"id":"{id}","type":"a.b","data":{{"object":{{}}}},"createdTime":"2001-01-01T00:00:00Z"}}"#
    );
    let event = Event::parse(payload, Account::default(), start()).expect("an event");
    publish(store, &[event], at(100)).await;
    worker.route(at(100)).await;
    assert_eq!(sweep_all(store, &prune(at(200), at(100))).await.pruned, 0);
    assert_eq!(sweep_all(store, &prune(at(200), at(101))).await.pruned, 1);
}

/// Tries to prune events with a mark, with a cursor, with a lease and with a waiting delivery.
pub(super) async fn an_unfinished_event_is_never_pruned(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    for number in 1..=3 {
        registered(store, number, &["order.*"]).await;
    }
    let long_after = prune(at(1_000), at(900));
    let pruned = async |why: &str, expected| {
        assert_eq!(sweep_all(store, &long_after).await.pruned, expected, "{why}");
    };
    orders(store, [1], at(1)).await;
    pruned("an event with a mark", 0).await;
    let turn = Turn { deliveries: 1, ..worker.turn(at(2)) };
    let first = store.route(&turn).await.expect("route");
    settle_all(store, &first.leased, at(3)).await;
    assert!(first.more, "two of three webhooks are left");
    pruned("an event that is half routed, all of whose deliveries have ended", 0).await;
    let rest = worker.route(at(4)).await.leased;
    assert_eq!(rest.len(), 2);
    settle(store, delivered(&rest[0], at(5)), at(5)).await;
    pruned("an event with a leased delivery", 0).await;
    settle(store, failed(&rest[1], at(600), at(6)), at(6)).await;
    pruned("an event with a waiting delivery", 0).await;
    assert_eq!(all_deliveries(store).await.len(), 3, "nothing of it is removed");
    worker.drain(at(600)).await;
    pruned("an event of which everything has ended", 1).await;
    let one = event(2, "a.b");
    store.append(&[only(&one, webhook_id(1))], at(700)).await.expect("append");
    pruned("an event that is owed to one webhook alone", 0).await;
}

/// Puts twenty unfinished old events before five finished ones.
pub(super) async fn what_cannot_be_pruned_does_not_hide_what_can(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, 1..=20, at(1)).await;
    let done: Vec<_> = (21..=25).map(|number| event(number, "nobody.wants")).collect();
    publish(store, &done, at(2)).await;
    worker.route_waiting(at(2)).await;
    let step = Sweep { limit: 3, ..prune(at(100), at(50)) };
    assert_eq!(sweep_all(store, &step).await.pruned, 5, "three at a time, past the unfinished");
    assert_eq!(all_events(store, &EventQuery::default()).await.len(), 20);
    assert_eq!(worker.drain(at(101)).await.len(), 20, "what is owed is delivered");
}

/// Expires, cancels and prunes with one call after the other until nothing is left.
pub(super) async fn what_expired_or_was_cancelled_is_pruned_in_time(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let (webhook, _) = waiting_orders(store, &worker, 1, 1..=3, at(1)).await;
    sweep_all(store, &expire(at(10), at(5))).await;
    orders(store, 4..=6, at(10)).await;
    worker.route_waiting(at(10)).await;
    store.delete(webhook.id(), at(11)).await.expect("delete");
    sweep_all(store, &sweep(at(12))).await;
    assert_eq!(sweep_all(store, &prune(at(13), at(12))).await.pruned, 6);
    assert_eq!(all_deliveries(store).await, []);
    assert_eq!(all_events(store, &EventQuery::default()).await, []);
}
