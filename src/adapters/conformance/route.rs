//! [`route`](crate::ports::storage::DeliveryQueue::route): marks become deliveries, born leased
//! where nothing stands in the way.

use std::collections::BTreeSet;

use super::fixtures::*;

async fn route(store: &dyn Storage, turn: &Turn) -> Routed {
    let routed = store.route(turn).await.expect("route");
    within(turn, &routed.leased);
    routed
}

/// Routes to one plain webhook and compares every field of the lease.
pub(super) async fn a_delivery_is_born_leased(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*"]).await;
    let event = orders(store, [1], at(1)).await.remove(0);
    let worker = Worker::start(store, 1, at(2)).await;
    let turn = worker.turn(at(2));
    let mut routed = route(store, &turn).await;
    assert_eq!((routed.waiting, routed.unmatched, routed.more), (0, 0, false));
    assert_eq!(routed.leased.len(), 1, "nothing stands in the way");
    let leased = routed.leased.remove(0);
    let mut expected = Delivery::owed(event.id(), webhook.id(), Cause::ROUTED, at(1), at(2));
    expected.lease(worker.id, turn.ticket);
    assert_eq!(leased.delivery, expected, "born leased, by Delivery::lease");
    assert_eq!((&leased.event, leased.failing_since, leased.probe), (&event, None, false));
    is_webhook(&leased, &webhook);
    let listed = view(store, expected.id).await;
    let expected = DeliveryView { delivery: expected, event, attempts: Vec::new() };
    assert_eq!(listed, expected, "it is listed as it was answered");
    let next_due = worker.claims_nothing(at(3), "what is leased is not claimed").await;
    assert_eq!(next_due, None, "nothing waits");
}

/// Changes the webhook between the publish and its routing.
pub(super) async fn a_lease_has_the_webhook_as_it_is_now(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*"]).await;
    orders(store, [1], at(1)).await;
    let edit = Edit::new().address(address("https://elsewhere.example.com/"));
    let edited = put(store, &webhook.edit(edit).expect("an edit"), at(2)).await;
    let worker = Worker::start(store, 1, at(3)).await;
    let leased = worker.route(at(3)).await.leased;
    assert_eq!(leased.len(), 1);
    is_webhook(&leased[0], &edited);
}

/// Routes without a permit, then with permits for some.
pub(super) async fn without_a_permit_a_delivery_is_born_waiting(store: &dyn Storage) {
    let first = registered(store, 1, &["order.*"]).await;
    registered(store, 2, &["order.*"]).await;
    let worker = Worker::start(store, 1, at(1)).await;
    let event = orders(store, [1], at(1)).await.remove(0);
    let routed = route(store, &worker.turn_of(at(2), 0)).await;
    assert_eq!((routed.leased.len(), routed.waiting, routed.more), (0, 2, false));
    let expected = Delivery::owed(event.id(), first.id(), Cause::ROUTED, at(1), at(2));
    assert_eq!(view(store, expected.id).await.delivery, expected, "waiting, due at now");
    assert_eq!(worker.drain(at(3)).await.len(), 2);
    orders(store, [2], at(4)).await;
    let routed = route(store, &worker.turn_of(at(4), 1)).await;
    assert_eq!((routed.leased.len(), routed.waiting), (1, 1), "one permit, one lease");
    assert_eq!(worker.claim(at(4)).await.leased.len(), 1, "the other one waits");
}

/// Routes ten events to a webhook with room for three, of which one is in use.
pub(super) async fn a_webhook_gets_no_more_leases_than_it_has_room_for(store: &dyn Storage) {
    let narrow = registered(store, 1, &["order.*"]).await;
    let wide = registered(store, 2, &["order.*"]).await;
    orders(store, 1..=10, at(1)).await;
    let worker = Worker::start(store, 1, at(1)).await;
    let busy = HashMap::from([(narrow.id(), 1)]);
    let mut routed = Routed::default();
    // `busy` is what the caller knows at each call, so it counts what the calls before leased.
    for _ in 0..100 {
        let mut busy = busy.clone();
        for (webhook, count) in by_webhook(&routed.leased) {
            *busy.entry(webhook).or_default() += u32::try_from(count).expect("a small count");
        }
        let turn = Turn { each: 3, busy, ..worker.turn(at(1)) };
        let answer = route(store, &turn).await;
        routed.leased.extend(answer.leased);
        routed.waiting += answer.waiting;
        if !answer.more {
            break;
        }
    }
    let counts = by_webhook(&routed.leased);
    assert_eq!(counts.get(&narrow.id()), Some(&2), "three, less the one that is busy");
    assert_eq!(counts.get(&wide.id()), Some(&3));
    assert_eq!(routed.waiting, 15, "the rest waits");
}

/// Routes to a webhook for which something waits already.
pub(super) async fn behind_a_waiting_delivery_none_is_born_leased(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    waiting_orders(store, &worker, 1, [1], start()).await;
    orders(store, [2], at(1)).await;
    let routed = worker.route(at(1)).await;
    assert_eq!((routed.leased.len(), routed.waiting), (0, 1), "the lane is not plain");
    assert_eq!(worker.drain(at(2)).await.len(), 2);
    orders(store, [3], at(3)).await;
    assert_eq!(worker.route(at(3)).await.leased.len(), 1, "the lane is plain again");
}

/// Routes to a webhook whose lane is paused, with nothing waiting in it.
pub(super) async fn in_a_paused_lane_none_is_born_leased(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    registered(store, 1, &["order.*"]).await;
    orders(store, [1], start()).await;
    let leased = worker.route(start()).await.leased;
    let mut settlement = exhausted(&leased[0], at(1));
    settlement.transition.lane = LaneChange::Pause { until: at(60) };
    settle(store, settlement, at(1)).await;
    orders(store, [2], at(2)).await;
    let routed = worker.route(at(2)).await;
    assert_eq!((routed.leased.len(), routed.waiting), (0, 1), "the lane is paused");
    let next_due = worker.claims_nothing(at(3), "the lane is paused").await;
    assert_eq!(next_due, Some(at(60)));
    orders(store, [3], at(61)).await;
    let routed = worker.route(at(61)).await;
    assert_eq!(routed.leased.len(), 0, "a pause ends by a probe, not by the time alone");
}

/// Routes what was published before a disable.
pub(super) async fn for_a_disabled_webhook_a_delivery_is_born_waiting(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*"]).await;
    orders(store, [1], at(1)).await;
    disabled(store, webhook.id(), at(2)).await;
    let worker = Worker::start(store, 1, at(3)).await;
    let routed = worker.route(at(3)).await;
    assert_eq!((routed.leased.len(), routed.waiting), (0, 1), "a disabled webhook gets nothing");
    let next_due = worker.claims_nothing(at(4), "a disabled webhook gets nothing").await;
    assert_eq!(next_due, None, "the lanes of disabled webhooks are not due");
    enabled(store, webhook.id(), at(5)).await;
    assert!(worker.claim_one(at(5)).await.probe, "after enabling, a probe goes first");
}

/// Routes events that match, that match nothing, and that match a disabled webhook.
pub(super) async fn events_that_match_nothing_are_counted(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*"]).await;
    let events: Vec<_> = (1..=7)
        .map(|number| event(number, if number % 2 == 0 { "order.paid" } else { "a.b" }))
        .collect();
    publish(store, &events, at(1)).await;
    disabled(store, webhook.id(), at(2)).await;
    let worker = Worker::start(store, 1, at(3)).await;
    let routed = worker.route_all(|| Turn { marks: 2, ..worker.turn(at(3)) }).await;
    assert_eq!(routed.unmatched, 4, "each event that matched no webhook at all, once");
    assert_eq!((routed.leased.len(), routed.waiting), (0, 3));
    assert_eq!(all_events(store, &EventQuery::default()).await.len(), 7, "all stay visible");
    let again = worker.route(at(4)).await;
    assert_eq!(again.unmatched, 0, "an event is routed to the end once");
}

/// Routes ten events three marks at a time.
pub(super) async fn no_more_marks_are_looked_at_than_asked(store: &dyn Storage) {
    registered(store, 1, &["order.*"]).await;
    orders(store, 1..=10, at(1)).await;
    let worker = Worker::start(store, 1, at(1)).await;
    let mut made = 0;
    for _ in 0..100 {
        let routed = route(store, &Turn { marks: 3, ..worker.turn(at(1)) }).await;
        let now = routed.leased.len() + routed.waiting;
        assert!(now <= 3, "{now} events were routed with `marks` 3");
        made += now;
        assert_eq!(routed.more, made < 10, "`more` says whether marks are left: {made} of 10 done");
        if !routed.more {
            break;
        }
        assert!(now > 0, "a call makes headway as long as there are marks");
    }
    assert_eq!(made, 10);
}

/// Routes two events that match thirty webhooks, seven deliveries at a time.
pub(super) async fn a_wide_event_is_routed_over_several_turns(store: &dyn Storage) {
    let mut expected = BTreeSet::new();
    let events = [event(1, "order.paid"), event(2, "order.paid")];
    for number in 1..=30 {
        let webhook = registered(store, number, &["order.*", "*"]).await;
        expected.extend(events.iter().map(|event| routed(event, &webhook)));
    }
    publish(store, &events, at(1)).await;
    let worker = Worker::start(store, 1, at(2)).await;
    let mut made = Vec::new();
    for call in 0..100 {
        let turn = Turn { deliveries: 7, total: 3, ..worker.turn(at(2)) };
        let routed = route(store, &turn).await;
        let now = routed.leased.len() + routed.waiting;
        assert!(now <= 7, "{now} deliveries were made with `deliveries` 7");
        assert_eq!(routed.unmatched, 0, "both events match");
        made.push(now);
        if !routed.more {
            break;
        }
        assert!(call < 50, "the cursor makes headway: {made:?}");
    }
    assert_eq!(made.iter().sum::<usize>(), 60, "each of them is counted once: {made:?}");
    let listed: BTreeSet<_> =
        all_deliveries(store).await.iter().map(|view| view.delivery.id).collect();
    assert_eq!(listed, expected, "every webhook has both events");
    assert_eq!(worker.route(at(3)).await.waiting, 0, "nothing is left");
}

/// Registers and deletes webhooks while a wide event is half routed.
pub(super) async fn a_half_routed_event_keeps_its_webhooks(store: &dyn Storage) {
    for number in (10..=30).step_by(2) {
        registered(store, number, &["*"]).await;
    }
    let events = orders(store, [1], at(1)).await;
    let worker = Worker::start(store, 1, at(1)).await;
    let turn = Turn { deliveries: 4, ..worker.turn_of(at(1), 0) };
    assert!(route(store, &turn).await.more, "eleven webhooks, four deliveries");
    for number in [1, 11, 21, 31] {
        registered(store, number, &["*"]).await;
    }
    store.delete(webhook_id(28), at(2)).await.expect("delete");
    disabled(store, webhook_id(26), at(2)).await;
    worker.route_all(|| Turn { deliveries: 4, ..worker.turn_of(at(3), 0) }).await;
    let reached: BTreeSet<_> =
        all_deliveries(store).await.iter().map(|view| view.delivery.webhook).collect();
    let expected: BTreeSet<_> = (10..=30).step_by(2).map(webhook_id).collect();
    assert_eq!(reached, expected, "those whose filters held when {:?} was published", events[0]);
}

/// Publishes 5,000 events of one account and then ten of another.
pub(super) async fn one_accounts_flood_does_not_stand_before_anothers_ten(store: &dyn Storage) {
    let (loud, quiet) = (account("loud"), account("quiet"));
    for (number, account) in [(1, &loud), (2, &quiet)] {
        let of = account.clone();
        put(store, &hook_of(number, &["*"], |hook| hook.account(of)), start()).await;
    }
    let flood: Vec<_> = (1..=5_000)
        .map(|number| event_of(number, "order.paid", loud.clone(), Mode::Live))
        .collect();
    for some in flood.chunks(1_000) {
        publish(store, some, at(1)).await;
    }
    let ten: Vec<_> = (6_001..=6_010)
        .map(|number| event_of(number, "order.paid", quiet.clone(), Mode::Live))
        .collect();
    publish(store, &ten, at(2)).await;
    let worker = Worker::start(store, 1, at(3)).await;
    let mut left = true;
    for _ in 0..10 {
        let turn = Turn { marks: 100, deliveries: 100, ..worker.turn_of(at(3), 0) };
        left = route(store, &turn).await.more;
    }
    assert!(left, "ten turns of 100 marks cannot route 5,010 events");
    let query = DeliveryQuery { account: Some(quiet), ..DeliveryQuery::default() };
    let done = deliveries_of(store, &query).await.len();
    assert_eq!(done, 10, "ten turns take a few marks of each account, also of the quiet one");
}

/// Routes everything again, also with another dispatcher.
pub(super) async fn what_was_routed_is_not_routed_again(store: &dyn Storage) {
    registered(store, 1, &["order.*"]).await;
    orders(store, 1..=5, at(1)).await;
    let worker = Worker::start(store, 1, at(1)).await;
    let leased = worker.route(at(1)).await.leased;
    assert_eq!(ids(&leased).len(), 5);
    settle(store, failed(&leased[0], at(60), at(2)), at(2)).await;
    let other = Worker::start(store, 2, at(2)).await;
    for worker in [&worker, &other] {
        let routed = worker.route(at(3)).await;
        let made = (routed.leased.len(), routed.waiting, routed.unmatched);
        assert_eq!(made, (0, 0, 0), "no mark is left");
    }
    assert_eq!(all_deliveries(store).await.len(), 5);
}

/// Routes for a dispatcher that is unknown, one that has expired and one that has ended.
pub(super) async fn only_a_living_dispatcher_routes(store: &dyn Storage) {
    registered(store, 1, &["order.*"]).await;
    orders(store, [1], at(1)).await;
    let expired = Worker::until(store, 1, at(1), at(10)).await;
    let ended = Worker::start(store, 2, at(1)).await;
    ended.end(at(2)).await;
    for (why, worker) in [
        ("unknown", Worker::unknown(store, 9)),
        ("dead from its last moment on", expired),
        ("ended", ended),
    ] {
        let answer = store.route(&worker.turn(at(10))).await;
        refused(answer, ErrorKind::NotAlive, &format!("route for a dispatcher that is {why}"));
    }
    assert_eq!(all_deliveries(store).await, [], "nothing is done for a dead dispatcher");
    let living = Worker::until(store, 3, at(10), at_millis(10_002)).await;
    let routed = living.route(at_millis(10_001)).await;
    assert_eq!(routed.leased.len(), 1, "the mark is still there, and alive is alive");
}
