//! Many: enough to show what grows with what should not grow.

use std::collections::HashMap;
use std::sync::Arc;

use super::fixtures::*;

/// Publishes events in batches of a thousand, routes them in the engine's frame, settles what is
/// born leased at once and claims the rest, until nothing is left. Every pair must come once.
async fn everything_arrives(store: &dyn Storage, events: u64, webhooks: u64) {
    for number in 1..=webhooks {
        registered(store, number, &["order.*"]).await;
    }
    let worker = Worker::start(store, 1, start()).await;
    let numbers: Vec<_> = (1..=events).collect();
    for some in numbers.chunks(1_000) {
        orders(store, some.iter().copied(), at(1)).await;
    }
    let mut sent: HashMap<(EventId, WebhookId), u32> = HashMap::new();
    let mut deliver = async |leased: Vec<Leased>| {
        for leased in &leased {
            *sent.entry((leased.delivery.event, leased.delivery.webhook)).or_default() += 1;
        }
        settle_all(store, &leased, at(2)).await;
    };
    let mut waiting = 0;
    loop {
        let turn =
            Turn { marks: 512, deliveries: 1_024, total: 512, each: 64, ..worker.turn(at(2)) };
        let routed = store.route(&turn).await.expect("route");
        within(&turn, &routed.leased);
        assert_eq!(routed.unmatched, 0, "every event matches");
        let made = routed.leased.len() + routed.waiting;
        assert!(made > 0 || !routed.more, "a turn makes headway");
        waiting += routed.waiting;
        deliver(routed.leased).await;
        loop {
            let turn = Turn { total: 1_024, each: 64, ..worker.turn(at(2)) };
            let claimed = worker.claim_in(&turn).await.leased;
            if claimed.is_empty() {
                break;
            }
            waiting = waiting.saturating_sub(claimed.len());
            deliver(claimed).await;
        }
        assert_eq!(waiting, 0, "a claim finds what waits");
        if !routed.more {
            break;
        }
    }
    let pairs = usize::try_from(events * webhooks).expect("it fits");
    assert_eq!(sent.len(), pairs, "each event reaches each webhook");
    assert!(sent.values().all(|count| *count == 1), "and none twice");
    let waiting = vec![StateKind::Waiting, StateKind::Leased];
    let open = DeliveryQuery { states: waiting, ..DeliveryQuery::default() };
    assert_eq!(deliveries_of(store, &open).await, [], "nothing is left open");
}

/// 10,000 events for three webhooks.
pub(super) async fn ten_thousand_events_reach_three_webhooks(store: &dyn Storage) {
    everything_arrives(store, 10_000, 3).await;
}

/// 100 events for 100 webhooks.
pub(super) async fn a_hundred_events_reach_a_hundred_webhooks(store: &dyn Storage) {
    everything_arrives(store, 100, 100).await;
}

/// 10,000 events for 100 webhooks: a million deliveries. Too heavy for every run, so it is not
/// among the [`cases`](super::cases).
pub async fn heavy(store: Arc<dyn Storage>) {
    everything_arrives(&*store, 10_000, 100).await;
}

/// Publishes 10,000 events in one call, repeats it, and repeats it with one other content.
pub(super) async fn ten_thousand_events_are_one_call(store: &dyn Storage) {
    let mut events: Vec<_> = (1..=10_000).map(|number| new(&event(number, "order.paid"))).collect();
    let answers = store.append(&events, at(1)).await.expect("append");
    assert_eq!(answers, vec![Appended::Stored; 10_000]);
    let answers = store.append(&events, at(2)).await.expect("append");
    assert_eq!(answers, vec![Appended::Duplicate; 10_000]);
    events.truncate(9_999);
    events.push(new(&event(10_000, "order.other")));
    let answers = store.append(&events, at(3)).await.expect("append");
    assert_eq!(answers.last(), Some(&Appended::Conflict));
    let page = store.events(&EventQuery::default(), &PageRequest::default()).await;
    assert_eq!(page.expect("list events").items.len(), 10);
}

/// Deletes, pauses and lists a webhook for which 5,000 deliveries wait.
pub(super) async fn a_long_lane_is_one_value(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let webhook = registered(store, 1, &["order.*"]).await;
    let numbers: Vec<_> = (1..=5_000).collect();
    for some in numbers.chunks(1_000) {
        orders(store, some.iter().copied(), at(1)).await;
    }
    assert_eq!(worker.route_waiting(at(1)).await.waiting, 5_000);
    let first = worker.claim_of(at(2), 1).await.leased.remove(0);
    settle(store, paused(&first, at(60), at(2)), at(2)).await;
    assert_eq!(worker.claims_nothing(at(3), "the lane is paused").await, Some(at(60)));
    disabled(store, webhook.id(), at(4)).await;
    enabled(store, webhook.id(), at(5)).await;
    let probe = worker.claim_one(at(5)).await;
    settle(store, delivered(&probe, at(6)), at(6)).await;
    assert_eq!(worker.claim_of(at(61), 500).await.leased.len(), 500);
    store.delete(webhook.id(), at(62)).await.expect("delete");
    worker.claims_nothing(at(63), "the webhook was deleted").await;
    let step = Sweep { limit: 500, ..sweep(at(64)) };
    assert_eq!(sweep_all(store, &step).await.cancelled, 4_499, "500 are leased, one is delivered");
}
