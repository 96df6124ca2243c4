//! Order: of one webhook and one object the first that has not ended goes first.

use super::fixtures::*;
use super::holders::{after_wait, holding, limited, take};

/// An event about this object.
fn about(number: u64, object: &str) -> Event {
    let resource = format!(r#"{{"id":"{object}","number":{number}}}"#);
    event_with(event_id(number), "order.paid", Account::default(), Mode::Live, &resource)
}

fn ordered() -> Edit {
    Edit::new().ordering(Ordering::PerObject)
}

/// An ordered webhook whose lane the worker holds, with events about these objects waiting,
/// numbered from 1.
async fn queue(
    store: &dyn Storage,
    worker: &Worker<'_>,
    objects: &[&str],
) -> (Webhook, Vec<DeliveryId>) {
    let webhook = put(store, &limited(1, ordered()), start()).await;
    let events: Vec<_> = (1..).zip(objects).map(|(number, object)| about(number, object)).collect();
    publish(store, &events, start()).await;
    assert_eq!(worker.route(start()).await.waiting, events.len());
    assert_eq!(take(worker, start()).await, [webhook.id()]);
    let deliveries = events.iter().map(|event| routed(event, &webhook)).collect();
    (webhook, deliveries)
}

/// Leases all that may be leased; says what that was.
async fn lease(worker: &Worker<'_>, webhook: &Webhook, now: Timestamp) -> Vec<Leased> {
    let mut leased = worker.claim_in(&holding(worker, &[webhook], 100, now)).await.leased;
    leased.sort_by_key(|leased| leased.delivery.id);
    leased
}

fn are(leased: &[Leased], expected: &[DeliveryId], why: &str) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    let ids: Vec<_> = leased.iter().map(|leased| leased.delivery.id).collect();
    assert_eq!(ids, expected, "{why}");
}

/// Claims and settles events of two objects, one by one.
pub(super) async fn events_of_one_object_go_one_after_the_other(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::start(store, 1, start()).await;
    let (webhook, all) = queue(store, &worker, &["a", "a", "b", "a", "b"]).await;
    let first = lease(&worker, &webhook, at(1)).await;
    are(&first, &[all[0], all[2]], "the first of each object");
    are(&lease(&worker, &webhook, at(1)).await, &[], "both are under way");
    let a1 = first.iter().find(|leased| leased.delivery.id == all[0]).expect("a1");
    settle_all(store, from_ref(a1), at(2)).await;
    let second = lease(&worker, &webhook, at(2)).await;
    are(&second, &[all[1]], "the next of the object that has one less");
    settle_all(store, &second, at(3)).await;
    let b1: Vec<_> = first.into_iter().filter(|leased| leased.delivery.id == all[2]).collect();
    settle_all(store, &b1, at(3)).await;
    let third = lease(&worker, &webhook, at(3)).await;
    are(&third, &[all[3], all[4]], "the last of each");
    settle_all(store, &third, at(4)).await;
    let claimed = worker.claim_in(&holding(&worker, &[&webhook], 9, at(5))).await;
    assert_eq!((claimed.leased.len(), claimed.next_due), (0, None), "all have ended");
}

/// Fails the first of an object, and gives it back unsent.
pub(super) async fn a_delivery_that_waits_holds_its_object_up(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::start(store, 1, start()).await;
    let (webhook, all) = queue(store, &worker, &["a", "a", "b"]).await;
    let first = lease(&worker, &webhook, at(1)).await;
    are(&first, &[all[0], all[2]], "the first of each object");
    for leased in &first {
        let settlement = match leased.delivery.id == all[0] {
            true => failed(leased, at(500), at(2)),
            false => delivered(leased, at(2)),
        };
        assert_eq!(settle(store, settlement, at(2)).await, APPLIED);
    }
    let claimed = worker.claim_in(&holding(&worker, &[&webhook], 9, at(3))).await;
    are(&claimed.leased, &[], "the first has not ended");
    assert_eq!(claimed.next_due, Some(at(500)), "nothing can be sent before");
    let again = lease(&worker, &webhook, at(500)).await;
    are(&again, &[all[0]], "it goes first again");
    assert_eq!(settle(store, given_back(&again[0], at(500)), at(500)).await, APPLIED);
    let again = lease(&worker, &webhook, at(501)).await;
    are(&again, &[all[0]], "unsent, it is still first");
    settle_all(store, &again, at(502)).await;
    are(&lease(&worker, &webhook, at(502)).await, &[all[1]], "then the next");
}

/// Ends the first of an object in every way.
pub(super) async fn whatever_ends_a_delivery_frees_the_next(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::start(store, 1, start()).await;
    let (webhook, all) = queue(store, &worker, &["a", "a"]).await;
    let first = lease(&worker, &webhook, at(1)).await;
    // Another claim has seen it stand behind.
    are(&lease(&worker, &webhook, at(1)).await, &[], "the first is under way");
    assert_eq!(settle(store, exhausted(&first[0], at(2)), at(2)).await, APPLIED);
    let second = lease(&worker, &webhook, at(2)).await;
    are(&second, &[all[1]], "exhausted is an end");
    assert_eq!(settle(store, failed(&second[0], at(900), at(2)), at(2)).await, APPLIED);

    let third = about(3, "a");
    publish(store, from_ref(&third), at(100)).await;
    worker.route(at(100)).await;
    are(&lease(&worker, &webhook, at(100)).await, &[], "the second has not ended");
    let expiry = Sweep { expire_before: at(50), ..sweep(at(101)) };
    assert_eq!(sweep_all(store, &expiry).await.expired, 1);
    let claimed = worker.claim_in(&holding(&worker, &[&webhook], 0, at(101))).await;
    assert!(claimed.leased.is_empty(), "without room");
    let third_id = routed(&third, &webhook);
    are(&lease(&worker, &webhook, at(101)).await, &[third_id], "expired is an end");
}

/// Publishes events whose object is told by a key, by a former resource, or not at all.
pub(super) async fn an_object_is_told_by_its_key(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::start(store, 1, start()).await;
    let webhook = put(store, &limited(1, ordered()), start()).await;
    let plain = |number, object: &str| {
        event_with(event_id(number), "order.paid", Account::default(), Mode::Live, object)
    };
    let keyed = |number, key: &str, object: &str| {
        let stored = plain(number, object).to_stored();
        Event::from_stored(StoredEvent { key: Some(key.into()), ..stored })
    };
    let deleted = Event::parse(
        format!(
            r#"{{"id":"{}","type":"order.gone","data":{{"object":{{}},"previousAttributes":{{"id":"7"}}}}}}"#,
            event_id(3)
        ),
        Account::default(),
        start(),
    );
    let events = [
        plain(1, r#"{"id":"7"}"#),
        plain(2, r#"{"id":7}"#),
        deleted.expect("a fixed event"),
        keyed(4, "7", r#"{"id":"other"}"#),
        keyed(5, "cart", r#"{"id":"7"}"#),
        keyed(6, "cart", r#"{}"#),
        plain(7, r#"{"state":"new"}"#),
        plain(8, r#"{}"#),
    ];
    publish(store, &events, start()).await;
    worker.route(start()).await;
    take(&worker, start()).await;
    let all: Vec<_> = events.iter().map(|event| routed(event, &webhook)).collect();
    for expected in
        [&[all[0], all[4], all[6]][..], &[all[1], all[5], all[7]], &[all[2]], &[all[3]], &[]]
    {
        let leased = lease(&worker, &webhook, at(1)).await;
        are(&leased, expected, "the objects of these events");
        settle_all(store, &leased, at(1)).await;
    }
    let kept = all_events(store, &EventQuery::default()).await;
    let keys: Vec<_> = kept.iter().rev().map(|event| event.key()).collect();
    let cart = Some("cart");
    assert_eq!(keys, [None, None, None, Some("7"), cart, cart, None, None], "keys are kept");
}

/// Redelivers behind a delivery that waits, and sends an event to one webhook alone.
pub(super) async fn what_was_asked_for_has_no_place_in_the_order(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::start(store, 1, start()).await;
    let (webhook, all) = queue(store, &worker, &["a", "a"]).await;
    let first = lease(&worker, &webhook, at(1)).await;
    are(&first, &[all[0]], "the first");
    let owed = Owed { event: event_id(2), webhook: webhook.id(), cause: cause(1) };
    let answers = store.enqueue(&[owed], at(1)).await.expect("enqueue");
    let [Enqueued::Made(redelivery)] = answers[..] else {
        panic!("a fresh cause makes a delivery");
    };
    let test = about(9, "a");
    store.append(&[only(&test, webhook.id())], at(1)).await.expect("append");
    let leased = lease(&worker, &webhook, at(2)).await;
    are(&leased, &[redelivery, routed(&test, &webhook)], "they wait for nobody");
    settle_all(store, &first, at(3)).await;
    are(&lease(&worker, &webhook, at(3)).await, &[all[1]], "and nobody waits for them");
}

/// Takes the order away while deliveries stand behind others, and leaves a limit.
pub(super) async fn without_order_nothing_stands_behind(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::start(store, 1, start()).await;
    let (webhook, all) = queue(store, &worker, &["a", "a", "a"]).await;
    are(&lease(&worker, &webhook, at(1)).await, &all[..1], "in order");
    are(&lease(&worker, &webhook, at(1)).await, &[], "in order");
    let limits = Edit::new().ordering(Ordering::Unordered).concurrency(Some(9));
    let webhook = put(store, &webhook.edit(limits).expect("an edit"), at(2)).await;
    are(&lease(&worker, &webhook, at(2)).await, &all[1..], "side by side");
}

/// Switches order on while deliveries without a place in it wait.
pub(super) async fn what_was_routed_without_order_waits_for_nobody(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::start(store, 1, start()).await;
    let webhook = registered(store, 1, &["order.*"]).await;
    let events: Vec<_> = (1..=4).map(|number| about(number, "a")).collect();
    publish(store, &events[..2], start()).await;
    worker.route_waiting(start()).await;
    let webhook = put(store, &webhook.edit(ordered()).expect("an edit"), start()).await;
    publish(store, &events[2..], start()).await;
    worker.route(start()).await;
    let all: Vec<_> = events.iter().map(|event| routed(event, &webhook)).collect();
    assert_eq!(take(&worker, after_wait(0)).await, [webhook.id()]);
    let leased = lease(&worker, &webhook, after_wait(0)).await;
    are(&leased, &all[..3], "those of before, and the first in order");
    settle_all(store, &leased, after_wait(0)).await;
    are(&lease(&worker, &webhook, after_wait(0)).await, &all[3..], "then the next");
}

/// Lets a holder die with the first of an object under way.
pub(super) async fn order_outlives_its_holder(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::until(store, 1, start(), at(10)).await;
    let other = Worker::start(store, 2, start()).await;
    let (webhook, all) = queue(store, &worker, &["a", "a"]).await;
    let first = lease(&worker, &webhook, at(1)).await;
    are(&first, &all[..1], "the first");
    other.claim(at(20)).await;
    assert_eq!(take(&other, after_wait(10)).await, [webhook.id()]);
    let again = lease(&other, &webhook, after_wait(10)).await;
    are(&again, &all[..1], "the first, again");
    assert_eq!(settle(store, delivered(&first[0], at(20)), at(20)).await, Settled::Lost);
    are(&lease(&other, &webhook, after_wait(10)).await, &[], "a late answer frees nothing");
    settle_all(store, &again, after_wait(10)).await;
    are(&lease(&other, &webhook, after_wait(10)).await, &all[1..], "then the next");
}

/// Routes one delivery at a time, of events that many want, and claims in between.
pub(super) async fn routing_in_small_steps_keeps_the_order(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::start(store, 1, start()).await;
    let mut webhooks = Vec::new();
    for number in 1..=3 {
        webhooks.push(put(store, &limited(number, ordered()), start()).await);
    }
    let events: Vec<_> = (1..=4).map(|number| about(number, "a")).collect();
    publish(store, &events, start()).await;
    let mut held: Vec<Webhook> = Vec::new();
    let mut sent: HashMap<WebhookId, Vec<EventId>> = HashMap::new();
    for _ in 0..100 {
        let turn = Turn { marks: 2, deliveries: 1, ..worker.turn(at(1)) };
        let more = store.route(&turn).await.expect("route").more;
        let known: Vec<_> = held.iter().collect();
        let turn = Turn { holds: 16, ..holding(&worker, &known, 9, at(1)) };
        let claimed = worker.claim_in(&turn).await;
        held.extend(claimed.held.iter().map(|webhook| Webhook::clone(webhook)));
        for leased in &claimed.leased {
            sent.entry(leased.delivery.webhook).or_default().push(leased.event.id());
        }
        settle_all(store, &claimed.leased, at(1)).await;
        if !more && claimed.next_due.is_none() {
            break;
        }
    }
    let ids: Vec<_> = events.iter().map(Event::id).collect();
    for webhook in &webhooks {
        assert_eq!(sent[&webhook.id()], ids, "in the order of the publishes");
    }
}

/// Queues more events of one object than a claim looks at, with one of another object behind them.
pub(super) async fn a_long_queue_of_one_object_hides_no_other(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::start(store, 1, start()).await;
    let mut objects = vec!["a"; 2_500];
    objects.push("b");
    let (webhook, all) = queue(store, &worker, &objects).await;
    let (mut leased, mut calls) = (Vec::new(), 0);
    while leased.len() < 2 {
        let claimed = worker.claim_in(&holding(&worker, &[&webhook], 9, at(1))).await;
        leased.extend(claimed.leased);
        calls += 1;
        assert!(calls < 100 && (leased.len() == 2 || claimed.next_due <= Some(at(1))));
    }
    leased.sort_by_key(|leased| leased.delivery.id);
    are(&leased, &[all[0], all[2_500]], "the first of each object");
    for next in &all[1..20] {
        settle_all(store, &leased, at(2)).await;
        leased = lease(&worker, &webhook, at(2)).await;
        are(&leased, &[*next], "one after the other");
    }
}

/// Deletes an ordered webhook while deliveries stand behind others.
pub(super) async fn what_stands_behind_is_cancelled_too(store: &dyn Storage) {
    if !store.exclusive() {
        return;
    }
    let worker = Worker::start(store, 1, start()).await;
    let (webhook, all) = queue(store, &worker, &["a", "a", "a", "b", "b"]).await;
    let leased = lease(&worker, &webhook, at(1)).await;
    are(&leased, &[all[0], all[3]], "the first of each object");
    are(&lease(&worker, &webhook, at(1)).await, &[], "the others stand behind");
    assert_eq!(settle(store, failed(&leased[0], at(900), at(2)), at(2)).await, APPLIED);
    assert!(store.delete(webhook.id(), at(3)).await.expect("delete"));
    assert_eq!(settle(store, delivered(&leased[1], at(3)), at(3)).await, Settled::Gone);
    sweep_all(store, &sweep(at(4))).await;
    for view in all_deliveries(store).await {
        assert!(view.delivery.state.is_ended(), "{:?} is stuck", view.delivery);
    }
}
