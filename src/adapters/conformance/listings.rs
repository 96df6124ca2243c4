//! Listings: what fits, in falling order, page by page, also while things change.

use std::fmt::Debug;

use super::fixtures::*;
use crate::ground::filter::Filter;
use crate::ground::page::Place;
use crate::ports::storage::WebhookGroup;

/// Walks a listing to its end and back, two at a time.
async fn walk<T: Debug + PartialEq + Clone>(
    page: impl AsyncFn(PageRequest) -> Page<T>,
    expected: &[T],
    what: &str,
) {
    let request = PageRequest::first(2).expect("a limit");
    let mut at = request;
    let mut found = Vec::new();
    let mut pages = 0;
    let last = loop {
        let page = page(at).await;
        assert!(page.items.len() <= 2, "{what}: a page has more items than asked for");
        assert_eq!(page.previous.is_some(), !found.is_empty(), "{what}: is there a page before?");
        found.extend(page.items.iter().cloned());
        pages += 1;
        let left = found.len() < expected.len();
        assert_eq!(page.next.is_some(), left, "{what}: is there a page after?");
        match page.next {
            Some(cursor) if pages < 1_000 => at = request.after(cursor),
            _ => break page,
        }
    };
    assert_eq!(found, expected, "{what}: the pages, forwards");
    let mut back = last.items.clone();
    let mut previous = last.previous;
    while let Some(cursor) = previous {
        let page = page(request.at(Place::Before(cursor))).await;
        assert!(page.next.is_some(), "{what}: a page that precedes one has a next one");
        back.splice(0..0, page.items.iter().cloned());
        assert!(back.len() <= expected.len(), "{what}: going back repeats items");
        previous = page.previous;
    }
    assert_eq!(back, expected, "{what}: the pages, backwards");
}

async fn walk_webhooks(store: &dyn Storage, query: &WebhookQuery, all: &[Webhook]) {
    let fits = all.iter().filter(|webhook| query.matches(webhook));
    let mut expected: Vec<_> = fits.cloned().collect();
    expected.sort_by_key(|webhook| std::cmp::Reverse(webhook.id()));
    let page = async |at| store.webhooks(query, &at).await.expect("list webhooks");
    walk(page, &expected, &format!("{query:?}")).await;
}

/// Lists with every field of the query, alone and together.
pub(super) async fn webhooks_are_listed_by_every_field(store: &dyn Storage) {
    let addresses = [
        "https://a.example.com/hook_1",
        "https://a.example.com/hookX1",
        "https://b.example.com/100%25/x",
        "https://b.example.com/100/x",
        "http://c.example.com/Ordered",
        "http://c.example.com/*[a]'",
    ];
    let kinds: [&[&str]; 3] = [&["*"], &["order.*", "a.b"], &["order.paid"]];
    let mut all = Vec::new();
    for (number, text) in (1..).zip(addresses) {
        let patterns = kinds[number % 3];
        let mut webhook = hook_of(number as u64, patterns, |registration| {
            let account = account(if number % 2 == 0 { "even" } else { "odd" });
            let mode = Mode::from_live(number < 5);
            registration.account(account).mode(mode).with(Edit::new().address(address(text)))
        });
        if number % 3 == 0 {
            webhook = webhook.disable(DisabledReason::Person);
        }
        all.push(put(store, &webhook, at(number as u64)).await);
    }
    let empty = WebhookQuery::default;
    let mut queries = vec![empty()];
    for name in ["even", "odd", "eve", "Even"] {
        queries.push(WebhookQuery { account: Some(account(name)), ..empty() });
    }
    for mode in [Mode::Live, Mode::Test] {
        queries.push(WebhookQuery { mode: Some(mode), ..empty() });
    }
    for id in [all[2].id(), webhook_id(77)] {
        queries.push(WebhookQuery { id: Some(id), ..empty() });
    }
    for enabled in [true, false] {
        queries.push(WebhookQuery { enabled: Some(enabled), ..empty() });
    }
    for name in ["order.paid", "order.made", "a.b", "x.y", "Order.paid", "order.*", "x.*", "*"] {
        let types = vec![Filter::parse(name).expect("a type")];
        queries.push(WebhookQuery { types, ..empty() });
    }
    let id = all[1].id().to_string();
    let texts = ["hook_1", "HOOK", "%", "100%", "_", "*", "[a]", "'", "ordered", "c.EXAMPLE", "zz"];
    let parts = [id.as_str(), &id[24..], &id[3..20]].map(str::to_owned);
    let upper = id.to_uppercase();
    for text in texts.into_iter().map(str::to_owned).chain(parts).chain([upper, String::new()]) {
        queries.push(WebhookQuery { text: Some(text), ..empty() });
    }
    queries.push(WebhookQuery {
        account: Some(account("odd")),
        mode: Some(Mode::Live),
        text: Some("example".into()),
        enabled: Some(true),
        types: vec![Filter::parse("order.paid").expect("a type")],
        id: None,
    });
    for query in queries {
        walk_webhooks(store, &query, &all).await;
    }
    for account in [None, Some(account("even")), Some(account("eve"))] {
        for mode in [None, Some(Mode::Live), Some(Mode::Test)] {
            for enabled in [None, Some(true), Some(false)] {
                let group = WebhookGroup { account: account.clone(), mode, enabled };
                let query = WebhookQuery { account: account.clone(), mode, enabled, ..empty() };
                let expected = all.iter().filter(|webhook| query.matches(webhook)).count();
                for most in [2, 100] {
                    let count = store.count_webhooks(&group, most).await.expect("count");
                    assert_eq!(count, expected.min(most), "{group:?}");
                }
            }
        }
    }
}

/// Publishes in another order than that of the ids, and with an event for one webhook between.
pub(super) async fn events_are_listed_by_number_of_publish(store: &dyn Storage) {
    let webhook = registered(store, 1, &["a.b"]).await;
    let mut all = Vec::new();
    for (second, number) in (1..).zip([5, 3, 9, 1, 7, 2]) {
        let event = event(number, "order.paid");
        if number == 9 {
            store.append(&[only(&event, webhook.id())], at(second)).await.expect("append");
        } else {
            publish(store, from_ref(&event), at(second)).await;
        }
        all.insert(0, event);
    }
    let query = EventQuery::default();
    let page = async |at| store.events(&query, &at).await.expect("list events");
    walk(page, &all, "events, newest publish first").await;
}

/// Lists with every field of the query, alone and together.
pub(super) async fn events_are_listed_by_every_field(store: &dyn Storage) {
    let types = ["order.paid", "order_item.paid", "orders.paid", "order.a.b", "Order.paid", "a.b"];
    let mut all = Vec::new();
    for (number, name) in (1..).zip(types.iter().chain(&types)) {
        let second = 60 - number;
        let created = format!("2026-01-05T12:00:{second:02}.5Z");
        let id = event_id(number);
        let live = number % 3 > 0;
        let payload = format!(
            r#"{{"id":"{id}","type":"{name}","data":{{"object":{{}}}},"liveMode":{live},
                "createdTime":"{created}"}}"#
        );
        let account = account(if number % 2 == 0 { "even" } else { "odd" });
        let event = Event::parse(payload, account, start()).expect("an event");
        publish(store, from_ref(&event), at(1_000 + number)).await;
        all.insert(0, event);
    }
    let empty = EventQuery::default;
    let mut queries = vec![empty()];
    for name in ["even", "odd", "ODD"] {
        queries.push(EventQuery { account: Some(account(name)), ..empty() });
    }
    for mode in [Mode::Live, Mode::Test] {
        queries.push(EventQuery { mode: Some(mode), ..empty() });
    }
    for number in [4, 99] {
        queries.push(EventQuery { id: Some(event_id(number)), ..empty() });
    }
    let filters = |patterns: &[&str]| -> Vec<_> {
        patterns.iter().map(|pattern| Filter::parse(pattern).expect("a pattern")).collect()
    };
    for patterns in [
        &["*"][..],
        &["order.*"],
        &["order_item.*"],
        &["order.paid"],
        &["order.a.*", "a.b"],
        &["order.*", "order.paid", "*"],
        &["x.*"],
    ] {
        queries.push(EventQuery { types: filters(patterns), ..empty() });
    }
    let half = |second: u64| Some(at_millis(second * 1_000 + 500));
    for (from, until) in [
        (half(55), None),
        (None, half(55)),
        (half(52), half(56)),
        (half(52), half(52)),
        (half(58), half(50)),
        (Some(at_millis(55_501)), None),
        (Some(start()), Some(at(1_000))),
    ] {
        queries.push(EventQuery { from, until, ..empty() });
    }
    queries.push(EventQuery {
        account: Some(account("odd")),
        mode: Some(Mode::Live),
        types: filters(&["order.*", "Order.*"]),
        from: half(49),
        until: half(60),
        id: None,
    });
    for query in queries {
        let expected: Vec<_> = all.iter().filter(|event| query.matches(event)).cloned().collect();
        let page = async |at| store.events(&query, &at).await.expect("list events");
        walk(page, &expected, &format!("{query:?}")).await;
    }
}

/// Lists with every field of the query, with deliveries in every state.
pub(super) async fn deliveries_are_listed_by_every_field(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let test = hook_of(3, &["*"], |hook| hook.account(account("other")).mode(Mode::Test));
    put(store, &test, start()).await;
    let stays = registered(store, 1, &["*"]).await;
    let leaves = registered(store, 2, &["*"]).await;
    let mut events: Vec<_> = (1..=6).map(|number| event(number, "order.paid")).collect();
    events.push(event_of(7, "order.paid", account("other"), Mode::Test));
    publish(store, &events, at(1)).await;
    worker.route_waiting(at(2)).await;
    let leased = worker.claim_of(at(3), 9).await.leased;
    let mut to_stay = leased.iter().filter(|leased| leased.delivery.webhook == stays.id());
    let mut next = || to_stay.next().expect("a lease");
    let settlements =
        [delivered(next(), at(4)), exhausted(next(), at(4)), failed(next(), at(60), at(4))];
    store.settle(&settlements, at(4)).await.expect("settle");
    store.delete(leaves.id(), at(5)).await.expect("delete");
    sweep_all(store, &sweep(at(6))).await;
    let sweep = Sweep { expire_before: at(2), ..sweep(at(7)) };
    sweep_all(store, &sweep).await;
    publish(store, &[event(8, "order.paid"), event(9, "order.paid")], at(8)).await;
    worker.route_waiting(at(8)).await;
    let query = DeliveryQuery { webhook: Some(stays.id()), ..DeliveryQuery::default() };
    let kinds = [
        StateKind::Waiting,
        StateKind::Leased,
        StateKind::Delivered,
        StateKind::Exhausted,
        StateKind::Expired,
        StateKind::Cancelled,
    ];
    let all = all_deliveries(store).await;
    assert_eq!(all.len(), 15, "every delivery is listed once");
    let falling = all.is_sorted_by(|one, two| one.delivery.id > two.delivery.id);
    assert!(falling, "by falling delivery id");
    for kind in kinds {
        let found = all.iter().filter(|view| view.delivery.state.kind() == kind).count();
        assert!(found > 0, "this case makes a delivery that is {kind:?}");
    }
    let mut queries = vec![DeliveryQuery::default(), query.clone()];
    let empty = DeliveryQuery::default;
    for name in ["default", "other", "nobody"] {
        queries.push(DeliveryQuery { account: Some(account(name)), ..empty() });
    }
    for mode in [Mode::Live, Mode::Test] {
        queries.push(DeliveryQuery { mode: Some(mode), ..empty() });
    }
    for id in [all[3].delivery.id, DeliveryId::of(event_id(99), stays.id(), Cause::ROUTED)] {
        queries.push(DeliveryQuery { id: Some(id), ..empty() });
    }
    for number in [1, 7, 99] {
        queries.push(DeliveryQuery { event: Some(event_id(number)), ..empty() });
    }
    for number in [2, 99] {
        queries.push(DeliveryQuery { webhook: Some(webhook_id(number)), ..empty() });
    }
    for time in [at(0), at(1), at(8), at(9)] {
        queries.push(DeliveryQuery { from: Some(time), ..empty() });
        queries.push(DeliveryQuery { until: Some(time), ..empty() });
        queries.push(DeliveryQuery { from: Some(time), until: Some(at(8)), ..query.clone() });
    }
    for kind in kinds {
        queries.push(DeliveryQuery { states: vec![kind], ..empty() });
        queries.push(DeliveryQuery { states: vec![kind, StateKind::Waiting], ..query.clone() });
        queries.push(DeliveryQuery { states: vec![kind], ..query.clone() });
        for name in ["default", "other", "nobody"] {
            let of = DeliveryQuery { account: Some(account(name)), ..empty() };
            queries.push(DeliveryQuery { states: vec![kind], ..of.clone() });
            queries.push(DeliveryQuery { mode: Some(Mode::Test), states: vec![kind], ..of });
        }
    }
    queries.push(DeliveryQuery {
        account: Some(Account::default()),
        mode: Some(Mode::Live),
        event: Some(event_id(2)),
        states: kinds.to_vec(),
        ..query
    });
    for query in queries {
        let fits = |view: &&DeliveryView| query.matches(&view.delivery, &view.event);
        let expected: Vec<_> = all.iter().filter(fits).cloned().collect();
        let page = async |at| store.deliveries(&query, &at).await.expect("list deliveries");
        walk(page, &expected, &format!("{query:?}")).await;
    }
}

/// Inserts newer webhooks and deletes listed ones between two pages.
pub(super) async fn pages_of_webhooks_hold_while_things_change(store: &dyn Storage) {
    for number in 1..=10 {
        registered(store, number * 10, &["*"]).await;
    }
    let query = WebhookQuery::default();
    let request = PageRequest::first(3).expect("a limit");
    let page = async |at| store.webhooks(&query, &at).await.expect("list webhooks");
    let numbers = |page: &Page<Webhook>| -> Vec<_> {
        let number = |id| (0..1_000).find(|number| webhook_id(*number) == id);
        page.items.iter().filter_map(|webhook| number(webhook.id())).collect()
    };
    let first = page(request).await;
    assert_eq!(numbers(&first), [100, 90, 80]);
    let cursor = first.next.expect("there is more");
    registered(store, 110, &["*"]).await;
    registered(store, 85, &["*"]).await;
    registered(store, 55, &["*"]).await;
    for number in [80, 70] {
        store.delete(webhook_id(number), at(1)).await.expect("delete");
    }
    let second = page(request.after(cursor)).await;
    assert_eq!(numbers(&second), [60, 55, 50], "a cursor outlives its item; nothing is repeated");
    let back = page(request.at(Place::Before(second.previous.expect("a page before")))).await;
    assert_eq!(numbers(&back), [100, 90, 85], "the three that precede it now");
    assert!(back.previous.is_some(), "the newest one is before it");
}

/// Publishes and prunes events between two pages.
pub(super) async fn pages_of_events_hold_while_things_change(store: &dyn Storage) {
    orders(store, 1..=4, at(1)).await;
    orders(store, [5], at(2)).await;
    orders(store, 6..=9, at(3)).await;
    let worker = Worker::start(store, 1, at(4)).await;
    registered(store, 1, &["*"]).await;
    worker.route(at(4)).await;
    let query = EventQuery::default();
    let request = PageRequest::first(5).expect("a limit");
    let page = async |at| store.events(&query, &at).await.expect("list events");
    let first = page(request).await;
    assert_eq!(first.items.len(), 5);
    assert_eq!(first.items[4].id(), event_id(5), "the older four follow");
    let cursor = first.next.expect("there is more");
    orders(store, [10, 11], at(5)).await;
    let swept = Sweep { prune_before: at(3), ..sweep(at(6)) };
    assert_eq!(sweep_all(store, &swept).await.pruned, 5, "the cursor's own event, too");
    let second = page(request.after(cursor)).await;
    assert_eq!(second.items, [], "what follows is gone");
    assert_eq!(second.next, None);
    let newest = page(request).await;
    let found: Vec<_> = newest.items.iter().map(Event::id).collect();
    assert_eq!(found[0..2].iter().max(), Some(&event_id(11)), "the new ones come first");
}

/// Routes newer and older deliveries between two pages.
pub(super) async fn pages_of_deliveries_hold_while_things_change(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let webhook = registered(store, 1, &["*"]).await;
    orders(store, (1..=6).map(|number| number * 10), at(1)).await;
    worker.route(at(1)).await;
    let query = DeliveryQuery { webhook: Some(webhook.id()), ..DeliveryQuery::default() };
    let request = PageRequest::first(2).expect("a limit");
    let page = async |at| store.deliveries(&query, &at).await.expect("list deliveries");
    let events = |page: &Page<DeliveryView>| -> Vec<_> {
        page.items.iter().map(|view| view.event.id()).collect()
    };
    let first = page(request).await;
    assert_eq!(events(&first), [60, 50].map(event_id));
    orders(store, [70, 55, 45, 5], at(2)).await;
    worker.route(at(2)).await;
    let second = page(request.after(first.next.expect("there is more"))).await;
    assert_eq!(
        events(&second),
        [45, 40].map(event_id),
        "what lies behind the cursor, newest first"
    );
    let back = page(request.at(Place::Before(second.previous.expect("a page before")))).await;
    assert_eq!(events(&back), [55, 50].map(event_id));
}

/// Asks for the largest page.
pub(super) async fn a_page_has_up_to_a_hundred_items(store: &dyn Storage) {
    orders(store, 1..=101, at(1)).await;
    let query = EventQuery::default();
    let request = PageRequest::first(100).expect("a limit");
    let page = store.events(&query, &request).await.expect("list events");
    assert_eq!((page.items.len(), page.next.is_some()), (100, true));
    let rest = request.after(page.next.expect("there is more"));
    let page = store.events(&query, &rest).await.expect("list events");
    assert_eq!((page.items.len(), page.next, page.previous.is_some()), (1, None, true));
}

/// Lists an empty store.
pub(super) async fn an_empty_listing_is_an_empty_page(store: &dyn Storage) {
    let request = PageRequest::default();
    let page = store.webhooks(&WebhookQuery::default(), &request).await.expect("list webhooks");
    assert_eq!((page.items, page.next, page.previous), (vec![], None, None));
    let page = store.events(&EventQuery::default(), &request).await.expect("list events");
    assert_eq!((page.items, page.next, page.previous), (vec![], None, None));
    let page = store.deliveries(&DeliveryQuery::default(), &request).await.expect("list");
    assert_eq!((page.items, page.next, page.previous), (vec![], None, None));
}
