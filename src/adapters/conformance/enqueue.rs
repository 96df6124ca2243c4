//! [`enqueue`](crate::ports::storage::EventStore::enqueue): one more delivery for each fresh cause.

use futures_util::future::join_all;

use super::fixtures::*;

fn owed(event: &Event, webhook: &Webhook, cause: Cause) -> Owed {
    Owed { event: event.id(), webhook: webhook.id(), cause }
}

async fn enqueue(store: &dyn Storage, owed: &[Owed], now: Timestamp) -> Vec<Enqueued> {
    let answers = store.enqueue(owed, now).await.expect("enqueue");
    assert_eq!(answers.len(), owed.len(), "enqueue answers once for each that is owed");
    answers
}

/// Redelivers what was delivered, to a webhook that is plain.
pub(super) async fn a_fresh_cause_makes_a_delivery(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*"]).await;
    let event = orders(store, [1], start()).await.remove(0);
    let worker = Worker::start(store, 1, start()).await;
    settle_all(store, &worker.route(start()).await.leased, at(1)).await;
    let id = DeliveryId::of(event.id(), webhook.id(), cause(1));
    let answer = enqueue(store, &[owed(&event, &webhook, cause(1))], at(60)).await;
    assert_eq!(answer, [Enqueued::Made(id)], "the id is that of event, webhook and cause");
    let expected = Delivery::owed(event.id(), webhook.id(), cause(1), at(60), at(60));
    assert_eq!(view(store, id).await.delivery, expected, "it waits, due at once");
    let leased = worker.claim_one(at(60)).await;
    assert_eq!(leased.delivery.id, id, "its lane was lowered");
    assert_eq!(leased.event, event);
    let first = view(store, routed(&event, &webhook)).await.delivery;
    assert!(matches!(first.state, State::Delivered { .. }), "the first delivery is left alone");
}

/// Asks for the same delivery again: in one call, later, and once it was delivered.
pub(super) async fn the_same_cause_makes_nothing_twice(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*"]).await;
    let event = orders(store, [1], start()).await.remove(0);
    let worker = Worker::start(store, 1, start()).await;
    worker.route(start()).await;
    let once = owed(&event, &webhook, cause(1));
    let id = DeliveryId::of(event.id(), webhook.id(), cause(1));
    let (made, existed) = (Enqueued::Made(id), Enqueued::Existed(id));
    assert_eq!(enqueue(store, &[once, once], at(1)).await, [made, existed]);
    assert_eq!(enqueue(store, &[once], at(2)).await, [existed]);
    let waiting = State::Waiting { due: at(1) };
    assert_eq!(view(store, id).await.delivery.state, waiting, "one that exists is left alone");
    assert_eq!(worker.drain(at(3)).await, [id]);
    assert_eq!(enqueue(store, &[once], at(4)).await, [existed]);
    worker.claims_nothing(at(5), "one that has ended does not begin again").await;
}

/// Asks for the routed delivery, before and after routing.
pub(super) async fn what_is_enqueued_is_not_routed_twice(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*"]).await;
    let worker = Worker::start(store, 1, start()).await;
    let [one, two] = [1, 2].map(|number| event(number, "order.paid"));
    publish(store, from_ref(&one), start()).await;
    let early = owed(&one, &webhook, Cause::ROUTED);
    let id = routed(&one, &webhook);
    assert_eq!(enqueue(store, &[early], at(1)).await, [Enqueued::Made(id)]);
    worker.route(at(2)).await;
    assert_eq!(all_deliveries(store).await.len(), 1, "one event, webhook and cause: one delivery");
    assert_eq!(worker.drain(at(3)).await, [id]);
    publish(store, from_ref(&two), at(4)).await;
    worker.route(at(4)).await;
    let late = owed(&two, &webhook, Cause::ROUTED);
    let existed = Enqueued::Existed(routed(&two, &webhook));
    assert_eq!(enqueue(store, &[late], at(5)).await, [existed]);
    assert_eq!(all_deliveries(store).await.len(), 2);
}

/// Asks for deliveries of no event and to no webhook, among good ones.
pub(super) async fn what_cannot_be_owed_is_told(store: &dyn Storage) {
    let webhook = registered(store, 1, &["never.wanted"]).await;
    let of_account = hook_of(2, &["*"], |registration| registration.account(account("other")));
    let of_mode = hook_of(3, &["*"], |registration| registration.mode(Mode::Test));
    let deleted = registered(store, 4, &["*"]).await;
    for webhook in [&of_account, &of_mode] {
        put(store, webhook, start()).await;
    }
    store.delete(deleted.id(), start()).await.expect("delete");
    let kept = orders(store, [1], start()).await.remove(0);
    let unknown = event(2, "order.paid");
    let missing = hook(9, &["*"]);
    let calls = [
        (owed(&unknown, &webhook, cause(1)), Enqueued::NoEvent),
        (owed(&kept, &missing, cause(1)), Enqueued::NoWebhook),
        (owed(&kept, &of_account, cause(1)), Enqueued::NoWebhook),
        (owed(&kept, &of_mode, cause(1)), Enqueued::NoWebhook),
        (owed(&kept, &deleted, cause(1)), Enqueued::NoWebhook),
        (
            owed(&kept, &webhook, cause(1)),
            Enqueued::Made(DeliveryId::of(kept.id(), webhook.id(), cause(1))),
        ),
    ];
    let asked: Vec<_> = calls.iter().map(|(owed, _)| *owed).collect();
    let expected: Vec<_> = calls.iter().map(|(_, answer)| *answer).collect();
    assert_eq!(enqueue(store, &asked, at(1)).await, expected, "each is answered for itself");
    let deliveries = all_deliveries(store).await;
    assert_eq!(deliveries.len(), 1, "the one that can be owed is made: {deliveries:?}");
}

/// Redelivers to a disabled webhook, which is enabled later.
pub(super) async fn what_is_owed_to_a_disabled_webhook_waits(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*"]).await;
    let event = orders(store, [1], start()).await.remove(0);
    let worker = Worker::start(store, 1, start()).await;
    settle_all(store, &worker.route(start()).await.leased, start()).await;
    disabled(store, webhook.id(), at(1)).await;
    enqueue(store, &[owed(&event, &webhook, cause(1))], at(2)).await;
    let next_due = worker.claims_nothing(at(3), "a disabled webhook gets nothing").await;
    assert_eq!(next_due, None, "the lane of a disabled webhook is not due");
    enabled(store, webhook.id(), at(4)).await;
    assert!(worker.claim_one(at(4)).await.probe, "the first one after enabling is a probe");
}

/// Redelivers from sixteen callers at once with one cause.
pub(super) async fn of_concurrent_enqueues_one_makes_it(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*"]).await;
    let event = orders(store, [1], start()).await.remove(0);
    let call = [owed(&event, &webhook, cause(1))];
    let answers = join_all((0..16).map(|_| enqueue(store, &call, at(1)))).await.concat();
    let made = answers.iter().filter(|answer| matches!(answer, Enqueued::Made(_))).count();
    let existed = answers.iter().filter(|answer| matches!(answer, Enqueued::Existed(_))).count();
    assert_eq!((made, existed), (1, 15), "one is made, the others find it: {answers:?}");
}
