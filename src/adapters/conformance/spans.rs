//! Rule 4: who gets an event is decided by when it was published, however late it is routed.

use std::collections::BTreeSet;

use futures_util::future::{join, join_all};

use super::fixtures::*;

/// Routes all that is left, an hour after everything, and says which numbers reached the webhook.
async fn reached(store: &dyn Storage, webhook: WebhookId) -> BTreeSet<u64> {
    let worker = Worker::unknown(store, 99);
    worker.beat(at(3_600), at(7_200)).await;
    worker.route(at(3_600)).await;
    let query = DeliveryQuery { webhook: Some(webhook), ..DeliveryQuery::default() };
    let mut numbers = BTreeSet::new();
    for view in deliveries_of(store, &query).await {
        assert_eq!(view.delivery.cause, Cause::ROUTED, "routing has one cause");
        let number = (0..100_000).find(|number| event_id(*number) == view.delivery.event);
        let number = number.expect("an event of this case");
        assert!(numbers.insert(number), "event {number} reached the webhook twice");
    }
    numbers
}

fn set(numbers: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
    numbers.into_iter().collect()
}

/// Publishes before, between and after a disable and an enable, and routes everything late.
pub(super) async fn a_disabled_webhook_gets_nothing_published_meanwhile(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*"]).await;
    orders(store, [1, 2], at(1)).await;
    disabled(store, webhook.id(), at(2)).await;
    orders(store, [3, 4], at(3)).await;
    enabled(store, webhook.id(), at(4)).await;
    orders(store, [5, 6], at(5)).await;
    disabled(store, webhook.id(), at(6)).await;
    orders(store, [7], at(7)).await;
    let expected = set([1, 2, 5, 6]);
    assert_eq!(
        reached(store, webhook.id()).await,
        expected,
        "those published while it was enabled"
    );
}

/// As before, with a clock that stands still: the order of publishes counts, not the time.
pub(super) async fn no_clock_decides_who_gets_an_event(store: &dyn Storage) {
    let now = start();
    let webhook = registered(store, 1, &["order.*"]).await;
    orders(store, [1], now).await;
    disabled(store, webhook.id(), now).await;
    orders(store, [2], now).await;
    enabled(store, webhook.id(), now).await;
    orders(store, [3], now).await;
    edited(store, webhook.id(), &["invoice.*"], now).await;
    orders(store, [4], now).await;
    edited(store, webhook.id(), &["order.*", "*"], now).await;
    orders(store, [5], now).await;
    store.delete(webhook.id(), now).await.expect("delete");
    orders(store, [6], now).await;
    assert_eq!(reached(store, webhook.id()).await, set([1, 3, 5]), "numbers decide, not clocks");
}

/// Enables and disables several times between two publishes.
pub(super) async fn spans_without_an_event_change_nothing(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*", "*"]).await;
    orders(store, [1], at(1)).await;
    for second in 2..6 {
        disabled(store, webhook.id(), at(second)).await;
        enabled(store, webhook.id(), at(second)).await;
    }
    orders(store, [2], at(7)).await;
    disabled(store, webhook.id(), at(8)).await;
    enabled(store, webhook.id(), at(8)).await;
    assert_eq!(reached(store, webhook.id()).await, set([1, 2]), "each of them once");
}

/// Publishes before a registration, and before a webhook that was registered disabled is enabled.
pub(super) async fn an_event_before_its_webhook_does_not_reach_it(store: &dyn Storage) {
    let sleeping = hook(2, &["order.*"]).disable(DisabledReason::NeverEnabled);
    put(store, &sleeping, start()).await;
    orders(store, [1], at(1)).await;
    let webhook = registered(store, 1, &["order.*"]).await;
    orders(store, [2], at(3)).await;
    enabled(store, sleeping.id(), at(4)).await;
    orders(store, [3], at(5)).await;
    assert_eq!(reached(store, webhook.id()).await, set([2, 3]));
    assert_eq!(reached(store, sleeping.id()).await, set([3]));
}

/// Edits the patterns around publishes of three types.
pub(super) async fn an_edit_of_patterns_holds_from_the_next_publish(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*"]).await;
    let three = |first| {
        let types = ["order.paid", "invoice.paid", "refund.paid"];
        (first..).zip(types).map(|(number, name)| event(number, name)).collect::<Vec<_>>()
    };
    publish(store, &three(1), at(1)).await;
    edited(store, webhook.id(), &["invoice.*"], at(2)).await;
    publish(store, &three(4), at(3)).await;
    edited(store, webhook.id(), &["invoice.paid", "order.*"], at(4)).await;
    publish(store, &three(7), at(5)).await;
    edited(store, webhook.id(), &["*"], at(6)).await;
    publish(store, &three(10), at(7)).await;
    let expected = set([1, 5, 7, 8, 10, 11, 12]);
    assert_eq!(reached(store, webhook.id()).await, expected, "the patterns that held then");
}

/// Edits what is not a pattern, around publishes.
pub(super) async fn an_edit_of_anything_else_changes_nothing(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*", "*"]).await;
    for number in 1..=4 {
        orders(store, [number], at(number)).await;
        let stored = stored_webhook(store, webhook.id()).await.expect("it is there");
        let edit = Edit::new().address(address(&format!("https://n{number}.example.com/")));
        put(store, &stored.edit(edit).expect("an edit"), at(number)).await;
    }
    assert_eq!(reached(store, webhook.id()).await, set(1..=4), "each of them once");
}

/// Edits the patterns of a disabled webhook: nothing holds before it is enabled.
pub(super) async fn an_edit_of_a_disabled_webhook_opens_nothing(store: &dyn Storage) {
    let webhook = registered(store, 1, &["invoice.*"]).await;
    disabled(store, webhook.id(), at(1)).await;
    edited(store, webhook.id(), &["order.*"], at(2)).await;
    orders(store, [1], at(3)).await;
    enabled(store, webhook.id(), at(4)).await;
    orders(store, [2], at(5)).await;
    assert_eq!(reached(store, webhook.id()).await, set([2]));
}

/// Disables and edits in one put, and enables with other patterns in one put.
pub(super) async fn a_status_and_its_patterns_change_together(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*"]).await;
    orders(store, [1], at(1)).await;
    let edit = |patterns| Edit::new().types(filters(patterns));
    let other = webhook.edit(edit(&["invoice.*"])).expect("an edit");
    let stored = put(store, &other.disable(DisabledReason::Person), at(2)).await;
    publish(store, &[event(2, "order.paid"), event(3, "invoice.paid")], at(3)).await;
    let third = stored.edit(edit(&["refund.*"])).expect("an edit");
    put(store, &third.enable(), at(4)).await;
    publish(store, &[event(4, "invoice.paid"), event(5, "refund.paid")], at(5)).await;
    assert_eq!(reached(store, webhook.id()).await, set([1, 5]));
}

/// Deletes a webhook between a publish and its routing: it is owed, never sent, and cancelled.
pub(super) async fn what_a_deleted_webhook_was_owed_is_cancelled(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*"]).await;
    orders(store, [1, 2], at(1)).await;
    store.delete(webhook.id(), at(2)).await.expect("delete");
    orders(store, [3], at(3)).await;
    let worker = Worker::start(store, 1, at(4)).await;
    let routed = worker.route(at(4)).await;
    assert_eq!(routed.leased.len(), 0, "a deleted webhook is not enabled");
    assert_eq!((routed.waiting, routed.unmatched), (2, 1), "its filters held for two of them");
    worker.claims_nothing(at(5), "a deleted webhook is sent nothing").await;
    assert_eq!(sweep_all(store, &sweep(at(6))).await.cancelled, 2);
    for view in all_deliveries(store).await {
        let cancelled = State::Cancelled { at: at(6) };
        assert_eq!(view.delivery.state, cancelled, "what is not sent has a recorded end");
    }
}

/// Routes with both accounts and both modes asking for everything.
pub(super) async fn accounts_and_modes_are_apart(store: &dyn Storage) {
    let places = [
        (account("a"), Mode::Live),
        (account("a"), Mode::Test),
        (account("b"), Mode::Live),
        (account("A"), Mode::Live),
        (account("a "), Mode::Live),
        (account("a\u{308}"), Mode::Live),
        (account("\u{e4}"), Mode::Live),
    ];
    let mut webhooks = Vec::new();
    for (number, (account, mode)) in (1..).zip(&places) {
        let webhook = hook_of(number, &["*", "order.*"], |registration| {
            registration.account(account.clone()).mode(*mode)
        });
        webhooks.push(put(store, &webhook, start()).await);
    }
    let events: Vec<_> = (1..)
        .zip(&places)
        .map(|(number, (account, mode))| event_of(number, "order.paid", account.clone(), *mode))
        .collect();
    publish(store, &events, at(1)).await;
    for (number, webhook) in (1..).zip(&webhooks) {
        let found = reached(store, webhook.id()).await;
        let place = (webhook.account(), webhook.mode());
        assert_eq!(found, set([number]), "an event reaches its own account and mode: {place:?}");
    }
}

/// Routes every kind of pattern against types that nearly fit.
pub(super) async fn patterns_match_whole_segments_exactly(store: &dyn Storage) {
    let types = [
        "order.paid",
        "order.charge.paid",
        "order.charge.capture.complete",
        "order_item.paid",
        "orders.paid",
        "Order.paid",
        "order.Paid",
        "order-item.paid",
        "orderXitem.paid",
    ];
    let patterns = [
        "*",
        "order.*",
        "order.charge.*",
        "order.charge.capture.*",
        "order.paid",
        "order.charge",
        "order_item.*",
        "Order.*",
        "order-item.paid",
    ];
    let events: Vec<_> = (1..).zip(types).map(|(number, name)| event(number, name)).collect();
    let mut webhooks = Vec::new();
    for (number, pattern) in (1..).zip(patterns) {
        webhooks.push(registered(store, number, &[pattern]).await);
    }
    publish(store, &events, at(1)).await;
    for (pattern, webhook) in patterns.iter().zip(&webhooks) {
        let wanted = |number: &u64| {
            events.iter().any(|event| {
                event.id() == event_id(*number) && webhook.types().matches(event.event_type())
            })
        };
        let expected = (1..10).filter(wanted).collect();
        assert_eq!(reached(store, webhook.id()).await, expected, "what {pattern} matches");
    }
}

/// Gives one webhook every pattern that fits an event, and a hundred more.
pub(super) async fn overlapping_patterns_make_one_delivery(store: &dyn Storage) {
    let more: Vec<_> = (0..100).map(|number| format!("order.charge.n{number}")).collect();
    let mut patterns = vec!["*", "order.*", "order.charge.*", "order.charge.paid"];
    patterns.extend(more.iter().map(String::as_str));
    let webhook = registered(store, 1, &patterns).await;
    let events = [event(1, "order.charge.paid"), event(2, "order.charge.n7")];
    publish(store, &events, at(1)).await;
    let worker = Worker::start(store, 1, at(2)).await;
    let leased = worker.route(at(2)).await.leased;
    assert_eq!(ids(&leased).len(), 2, "one delivery for each event");
    assert_eq!(reached(store, webhook.id()).await, set([1, 2]));
}

/// Publishes from twenty callers, and disables once all of them have their answer.
pub(super) async fn what_was_answered_before_a_disable_is_owed(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*"]).await;
    let answers = (1..=20).map(async |number| {
        let event = [new(&event(number, "order.paid"))];
        store.append(&event, at(1)).await.expect("append")
    });
    join_all(answers).await;
    disabled(store, webhook.id(), at(2)).await;
    assert_eq!(reached(store, webhook.id()).await, set(1..=20), "they were published before");
}

/// Lets publishes and a disable pass each other: either side will do, but nothing in between.
pub(super) async fn a_publish_that_overlaps_a_disable_falls_on_one_side(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*"]).await;
    let other = registered(store, 2, &["order.*"]).await;
    for number in 0..20 {
        let event = [new(&event(number, "order.paid"))];
        let append = async { store.append(&event, at(number)).await.expect("append") };
        let change = async {
            if number % 2 == 0 {
                disabled(store, webhook.id(), at(number)).await;
            } else {
                enabled(store, webhook.id(), at(number)).await;
            }
        };
        join(append, change).await;
    }
    reached(store, webhook.id()).await;
    let found = reached(store, other.id()).await;
    assert_eq!(found, set(0..20), "the webhook that nobody touched gets all of them once");
}
