//! Holders: who alone leases from the lane of a webhook that needs one, and who comes after.

use futures_util::future::join_all;

use super::fixtures::*;
use crate::ground::policy::TAKEOVER_WAIT;

/// An enabled webhook with these limits, not yet stored, that wants orders.
pub(super) fn limited(number: u64, limits: Edit) -> Webhook {
    hook_of(number, &["order.*"], |registration| registration.with(limits))
}

/// A limit of concurrency.
pub(super) fn three_at_once() -> Edit {
    Edit::new().concurrency(Some(3))
}

/// After the wait for what another had begun at `seconds`.
pub(super) fn after_wait(seconds: u64) -> Timestamp {
    at(seconds) + TAKEOVER_WAIT
}

/// The frame of a claim by who holds these lanes, with room for so many of each.
pub(super) fn holding(
    worker: &Worker<'_>,
    webhooks: &[&Webhook],
    room: u32,
    now: Timestamp,
) -> Turn {
    let held = |webhook: &&Webhook| (webhook.id(), Held { version: webhook.version(), room });
    Turn { held: webhooks.iter().map(held).collect(), ..worker.turn(now) }
}

/// Takes free lanes, at most 16, and leases nothing from them yet.
pub(super) async fn take(worker: &Worker<'_>, now: Timestamp) -> Vec<WebhookId> {
    let claimed = worker.claim_in(&Turn { holds: 16, ..worker.turn(now) }).await;
    let taken: Vec<_> = claimed.held.iter().map(|webhook| webhook.id()).collect();
    for leased in &claimed.leased {
        assert!(!taken.contains(&leased.delivery.webhook), "the limits are not yet known");
    }
    taken
}

/// A webhook that needs a holder, with these orders waiting, whose lane the worker holds.
async fn held_orders(
    store: &dyn Storage,
    worker: &Worker<'_>,
    numbers: impl IntoIterator<Item = u64>,
) -> Webhook {
    let webhook = waiting_for_a_holder(store, worker, 1, numbers).await;
    assert_eq!(take(worker, start()).await, [webhook.id()], "a free lane is taken");
    webhook
}

/// A webhook that needs a holder, with these orders waiting.
async fn waiting_for_a_holder(
    store: &dyn Storage,
    worker: &Worker<'_>,
    number: u64,
    numbers: impl IntoIterator<Item = u64>,
) -> Webhook {
    let webhook = put(store, &limited(number, three_at_once()), start()).await;
    let events = orders(store, numbers, start()).await;
    assert_eq!(worker.route_waiting(start()).await.waiting, events.len(), "each order is owed");
    webhook
}

/// Stores a webhook of each kind of limit: it is kept whole, or refused by a store without holders.
pub(super) async fn a_webhook_that_needs_a_holder_is_kept_or_refused(store: &dyn Storage) {
    let plain = registered(store, 9, &["a.b"]).await;
    for (number, limits) in [
        (1, Edit::new().ordering(Ordering::PerObject)),
        (2, Edit::new().rate_limit(Some(RateLimit::new(50).expect("a limit")))),
        (3, three_at_once()),
    ] {
        let webhook = limited(number, limits.clone());
        let edited = plain.edit(limits).expect("an edit");
        if store.exclusive() {
            let stored = put(store, &webhook, start()).await;
            assert_eq!(stored_webhook(store, webhook.id()).await, Some(stored));
            continue;
        }
        let rule = "a store without holders keeps no webhook that needs one";
        refused(store.put(&webhook, start()).await, ErrorKind::Refused, rule);
        refused(store.put(&edited, start()).await, ErrorKind::Refused, rule);
        assert_eq!(stored_webhook(store, webhook.id()).await, None);
    }
    assert_eq!(stored_webhook(store, plain.id()).await, Some(plain));
}

/// Routes to a webhook that needs a holder, with every permit free.
pub(super) async fn nothing_is_born_leased_where_a_holder_is_needed(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::start(store, 1, start()).await;
    let webhook = put(store, &limited(1, three_at_once()), start()).await;
    orders(store, 1..=2, start()).await;
    let routed = worker.route(at(1)).await;
    assert_eq!((routed.leased.len(), routed.waiting), (0, 2));
    let claimed = worker.claim(at(1)).await;
    assert!(claimed.leased.is_empty() && claimed.held.is_empty(), "it was not asked to take any");
    assert_eq!(claimed.next_due, Some(at(1)), "a free lane is there to be taken");
    assert_eq!(take(&worker, at(1)).await, [webhook.id()]);
}

/// Takes a lane and leases from it, with and without room.
pub(super) async fn a_holder_leases_within_its_room(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::start(store, 1, start()).await;
    let webhook = held_orders(store, &worker, 1..=5).await;
    let none = worker.claim_in(&holding(&worker, &[&webhook], 0, at(1))).await;
    assert_eq!((none.leased.len(), none.next_due), (0, None), "without room nothing is due");
    let some = worker.claim_in(&holding(&worker, &[&webhook], 2, at(1))).await;
    assert_eq!((some.leased.len(), some.next_due), (2, None), "its room is used up");
    is_webhook(&some.leased[0], &webhook);
    let busy = HashMap::from([(webhook.id(), 2)]);
    let each = Turn { each: 3, busy, ..holding(&worker, &[&webhook], 9, at(1)) };
    assert_eq!(worker.claim_in(&each).await.leased.len(), 1, "its own limit counts too");
    let rest = worker.claim_in(&holding(&worker, &[&webhook], 9, at(1))).await;
    assert_eq!(rest.leased.len(), 2);
    assert!(rest.held.is_empty() && rest.lost.is_empty(), "nothing new to tell");
}

/// Claims with another dispatcher while a lane is held.
pub(super) async fn a_lane_has_one_holder(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let (worker, other) =
        (Worker::start(store, 1, start()).await, Worker::start(store, 2, start()).await);
    let webhook = held_orders(store, &worker, 1..=3).await;
    for turn in [
        Turn { holds: 16, ..other.turn(at(1)) },
        Turn { holds: 16, ..holding(&other, &[&webhook], 9, at(1)) },
    ] {
        let claimed = other.claim_in(&turn).await;
        assert_eq!((claimed.leased.len(), claimed.held.len()), (0, 0), "it is another's");
        assert_eq!(claimed.next_due, None, "there is nothing for it to do");
        assert_eq!(claimed.lost.len(), turn.held.len(), "what it does not hold it is told");
    }
    let claimed = worker.claim_in(&holding(&worker, &[&webhook], 9, at(1))).await;
    assert_eq!(claimed.leased.len(), 3);
}

/// Lets claims of several dispatchers meet at a free lane.
pub(super) async fn of_concurrent_claims_one_takes_the_lane(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let mut workers = Vec::new();
    for number in 1..=8 {
        workers.push(Worker::start(store, number, start()).await);
    }
    let webhook = waiting_for_a_holder(store, &workers[0], 1, 1..=3).await;
    let taken = join_all(workers.iter().map(|worker| take(worker, at(1)))).await;
    let takers = taken.iter().filter(|taken| taken.contains(&webhook.id())).count();
    assert_eq!(takers, 1, "exactly one has it");
}

/// Takes two lanes of five, then the rest.
pub(super) async fn no_more_lanes_are_taken_than_asked(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::start(store, 1, start()).await;
    for number in 1..=5 {
        put(store, &limited(number, three_at_once()), start()).await;
    }
    orders(store, 1..=1, start()).await;
    worker.route_waiting(start()).await;
    let two = worker.claim_in(&Turn { holds: 2, ..worker.turn(at(1)) }).await.held;
    assert_eq!(two.len(), 2);
    let held: Vec<_> = two.iter().map(|webhook| &**webhook).collect();
    let turn = Turn { holds: 16, ..holding(&worker, &held, 0, at(1)) };
    let rest = worker.claim_in(&turn).await;
    assert_eq!((rest.held.len(), rest.leased.len()), (3, 0));
}

/// Names a lane no longer: another takes it at once.
pub(super) async fn a_lane_that_is_not_named_is_given_back(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let (worker, other) =
        (Worker::start(store, 1, start()).await, Worker::start(store, 2, start()).await);
    let webhook = held_orders(store, &worker, 1..=1).await;
    let claimed = worker.claim(at(1)).await;
    assert_eq!((claimed.leased.len(), claimed.next_due), (0, Some(start())), "it is free");
    assert_eq!(take(&other, at(1)).await, [webhook.id()], "nothing was under way");
    let late = worker.claim_in(&holding(&worker, &[&webhook], 9, at(1))).await;
    assert_eq!((late.leased.len(), late.lost), (0, vec![webhook.id()]));
}

/// Ends a holder that has nothing under way, and one that has.
pub(super) async fn a_holder_that_ends_frees_its_lane(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let first = Worker::start(store, 1, start()).await;
    let webhook = held_orders(store, &first, 1..=2).await;
    first.end(at(1)).await;
    let second = Worker::start(store, 2, start()).await;
    assert_eq!(take(&second, at(1)).await, [webhook.id()], "nothing was under way");
    let leased = second.claim_in(&holding(&second, &[&webhook], 1, at(2))).await.leased;
    assert_eq!(leased.len(), 1);
    second.end(at(3)).await;
    let third = Worker::start(store, 3, start()).await;
    assert!(take(&third, at(3)).await.is_empty(), "what was under way may not be over");
    let claimed = third.claim(at(3)).await;
    assert_eq!(claimed.next_due, Some(after_wait(3)));
    assert_eq!(take(&third, after_wait(3)).await, [webhook.id()]);
}

/// Lets a holder die, and others come before, at, and after the end of the wait.
pub(super) async fn a_dead_holders_lane_is_taken_after_the_wait(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::until(store, 1, start(), at(10)).await;
    let other = Worker::start(store, 2, start()).await;
    let webhook = held_orders(store, &worker, 1..=2).await;
    assert!(take(&other, at_millis(9_999)).await.is_empty(), "its holder is alive");
    // It is found dead long after; the wait counts from its end.
    assert!(take(&other, at(40)).await.is_empty(), "what it had begun may not be over");
    let claimed = other.claim(at(40)).await;
    assert_eq!(claimed.next_due, Some(after_wait(10)));
    let before = after_wait(10) - Duration::from_millis(1);
    assert!(take(&other, before).await.is_empty());
    assert_eq!(take(&other, after_wait(10)).await, [webhook.id()]);
    let leased = other.claim_in(&holding(&other, &[&webhook], 9, after_wait(10))).await.leased;
    assert_eq!(leased.len(), 2);
}

/// Lets a holder that was given up come back.
pub(super) async fn a_holder_that_was_given_up_has_lost_its_lane(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::until(store, 1, start(), at(10)).await;
    let other = Worker::start(store, 2, start()).await;
    let webhook = held_orders(store, &worker, 1..=2).await;
    other.claim(at(11)).await;
    assert_eq!(worker.beat(at(12), at(1_000)).await, Alive::New);
    let turn = Turn { holds: 16, ..holding(&worker, &[&webhook], 9, at(12)) };
    let claimed = worker.claim_in(&turn).await;
    assert!(claimed.leased.is_empty() && claimed.held.is_empty(), "also it must wait");
    assert_eq!(claimed.lost, [webhook.id()]);
    assert_eq!(take(&worker, after_wait(10)).await, [webhook.id()]);
}

/// Renews a holder's life, once before and once after its end, when nobody has noticed.
pub(super) async fn a_living_holder_keeps_its_lane(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::until(store, 1, start(), at(10)).await;
    let other = Worker::start(store, 2, start()).await;
    let webhook = held_orders(store, &worker, 1..=2).await;
    for (now, until) in [(at(5), at(20)), (at(21), at(40))] {
        assert_eq!(worker.beat(now, until).await, Alive::Known);
    }
    assert!(take(&other, at(39)).await.is_empty());
    let claimed = worker.claim_in(&holding(&worker, &[&webhook], 9, at(39))).await;
    assert_eq!((claimed.leased.len(), claimed.lost.len()), (2, 0));
}

/// Changes the limits of a lane that is held.
pub(super) async fn an_edit_is_learned_before_the_next_lease(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::start(store, 1, start()).await;
    let old = held_orders(store, &worker, 1..=2).await;
    let limit = Some(RateLimit::new(1).expect("a limit"));
    let edited = old.edit(Edit::new().rate_limit(limit)).expect("an edit");
    let edited = put(store, &edited, at(1)).await;
    let claimed = worker.claim_in(&holding(&worker, &[&old], 9, at(1))).await;
    assert!(claimed.leased.is_empty(), "it does not know the limit");
    let told: Vec<_> = claimed.held.iter().map(|webhook| webhook.version()).collect();
    assert_eq!((told, claimed.lost.len()), (vec![edited.version()], 0), "it is told, and holds on");
    let claimed = worker.claim_in(&holding(&worker, &[&edited], 9, at(1))).await;
    assert_eq!(claimed.leased.len(), 2);
}

/// Sets the first limit of a webhook that others send to without one.
pub(super) async fn a_first_limit_waits_for_those_who_send_without(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::start(store, 1, start()).await;
    let other = Worker::start(store, 2, start()).await;
    let (plain, _) = waiting_orders(store, &worker, 1, 1..=3, start()).await;
    let sent = other.claim_of(at(1), 1).await.leased;
    let limited = put(store, &plain.edit(three_at_once()).expect("an edit"), at(2)).await;
    assert!(worker.claim(at(2)).await.leased.is_empty(), "nobody sends without holding it");
    assert!(take(&worker, after_wait(2) - Duration::from_millis(1)).await.is_empty());
    assert!(take(&worker, after_wait(2)).await.is_empty(), "what was leased is slow");
    settle_all(store, &sent, after_wait(2)).await;
    assert_eq!(take(&worker, after_wait(2)).await, [limited.id()]);
    let turn = holding(&worker, &[&limited], 9, after_wait(2));
    assert_eq!(worker.claim_in(&turn).await.leased.len(), 2);
}

/// Takes the last limit away from a lane that is held, and disables and deletes such webhooks.
pub(super) async fn without_a_limit_nobody_holds_the_lane(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::start(store, 1, start()).await;
    let other = Worker::start(store, 2, start()).await;
    let webhook = held_orders(store, &worker, 1..=2).await;
    let plain = webhook.edit(Edit::new().concurrency(None)).expect("an edit");
    put(store, &plain, at(1)).await;
    assert_eq!(other.claim_of(at(1), 1).await.leased.len(), 1, "it is everybody's");
    let claimed = worker.claim_in(&holding(&worker, &[&webhook], 0, at(1))).await;
    assert_eq!((claimed.lost, claimed.leased.len()), (vec![webhook.id()], 1));

    assert!(store.delete(webhook.id(), at(1)).await.expect("delete"));
    let webhook = waiting_for_a_holder(store, &worker, 2, 11..=12).await;
    let webhook = disabled(store, webhook.id(), at(2)).await;
    assert!(take(&worker, at(2)).await.is_empty(), "a disabled webhook's lane is of no use");
    let webhook = enabled(store, webhook.id(), at(3)).await;
    assert_eq!(take(&worker, at(3)).await, [webhook.id()]);
    assert!(store.delete(webhook.id(), at(4)).await.expect("delete"));
    let claimed = worker.claim_in(&holding(&worker, &[&webhook], 9, at(4))).await;
    assert_eq!((claimed.leased.len(), claimed.lost), (0, vec![webhook.id()]));
}

/// Gives a lane back after a POST was cut off.
pub(super) async fn what_was_cut_off_is_waited_for(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let (worker, other) =
        (Worker::start(store, 1, start()).await, Worker::start(store, 2, start()).await);
    let webhook = held_orders(store, &worker, 1..=2).await;
    let leased = worker.claim_in(&holding(&worker, &[&webhook], 1, at(1))).await.leased;
    let mut settlement = given_back(&leased[0], at(5));
    let attempt = Attempt::new(1, at(1), Duration::from_secs(4), Outcome::Interrupted);
    settlement.attempt = Some(attempt);
    assert_eq!(settle(store, settlement, at(5)).await, APPLIED);
    let again = worker.claim_in(&holding(&worker, &[&webhook], 1, at(5))).await.leased;
    assert_eq!(again.len(), 1, "its holder goes on");
    settle_all(store, &again, at(5)).await;
    worker.end(at(6)).await;
    assert!(take(&other, at(6)).await.is_empty(), "its receiver may still be at it");
    assert_eq!(take(&other, after_wait(5)).await, [webhook.id()]);
}

/// Gives up a claim that would take a lane, and lets it come all the same.
pub(super) async fn an_abandoned_claim_takes_nothing(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let (worker, other) =
        (Worker::start(store, 1, start()).await, Worker::start(store, 2, start()).await);
    let webhook = waiting_for_a_holder(store, &worker, 1, 1..=2).await;
    let late = Turn { holds: 16, ..worker.turn(at(1)) };
    worker.heartbeat(at(1), at(1_000), &[late.ticket]).await;
    refused(store.claim(&late).await, ErrorKind::NotAlive, "it was given up");
    assert_eq!(take(&other, at(1)).await, [webhook.id()]);

    // One that had come already took lanes that its dispatcher does not know of: it names none.
    let known = Turn { holds: 16, ..worker.turn(at(2)) };
    assert_eq!(take(&worker, at(2)).await, []);
    other.claim(at(2)).await;
    store.claim(&known).await.expect("claim");
    worker.heartbeat(at(3), at(1_000), &[known.ticket]).await;
    let claimed = worker.claim(at(3)).await;
    assert_eq!((claimed.leased.len(), claimed.next_due), (0, Some(start())), "it was given back");
}

/// Serves plain lanes and held ones in one call.
pub(super) async fn plain_lanes_are_served_beside_held_ones(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::start(store, 1, start()).await;
    let held = held_orders(store, &worker, 1..=3).await;
    registered(store, 2, &["a.b"]).await;
    publish(store, &[event(100, "a.b"), event(101, "a.b")], at(1)).await;
    worker.route_waiting(at(1)).await;
    let claimed = worker.claim_in(&holding(&worker, &[&held], 2, at(2))).await;
    let counts = by_webhook(&claimed.leased);
    assert_eq!((counts[&held.id()], counts[&webhook_id(2)]), (2, 2));
    assert_eq!(claimed.next_due, None);
}
