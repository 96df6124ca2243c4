//! What the cases are made of: webhooks, events, dispatchers and outcomes with fixed ids and times.
//!
//! A step that must succeed panics when it does not, so that a case reads as its claim.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

pub(super) use std::collections::{HashMap, HashSet};
pub(super) use std::slice::from_ref;
pub(super) use std::time::Duration;

pub(super) use super::outcomes::*;
pub(super) use super::worker::*;
pub(super) use crate::ground::account::{Account, Mode};
use crate::ground::address::EndpointUrl;
pub(super) use crate::ground::advance::{Health, LaneChange, Next, Seen, Transition};
pub(super) use crate::ground::delivery::{
    Attempt, Delivery, DeliveryView, Fence, Outcome, State, StateKind,
};
pub(super) use crate::ground::error::{ErrorKind, Result};
pub(super) use crate::ground::event::{Event, StoredEvent};
pub(super) use crate::ground::filter::Filters;
pub(super) use crate::ground::id::{Cause, DeliveryId, DispatcherId, EventId, WebhookId};
pub(super) use crate::ground::lane::Turned;
pub(super) use crate::ground::order::Ordering;
pub(super) use crate::ground::page::{Page, PageRequest};
pub(super) use crate::ground::query::{DeliveryQuery, EventQuery, WebhookQuery};
pub(super) use crate::ground::rate_limit::RateLimit;
pub(super) use crate::ground::report::ReportKind;
use crate::ground::secret::Secret;
pub(super) use crate::ground::time::Timestamp;
use crate::ground::time::after;
pub(super) use crate::ground::webhook::{DisabledReason, Edit, Registration, Status, Webhook};
pub(super) use crate::ports::storage::{
    Alive, Appended, Claimed, Enqueued, Heartbeat, Held, Leased, NewEvent, Owed, Report, Routed,
    Settled, Settlement, Storage, Sweep, Swept, Turn,
};

/// The moment at which every case begins.
pub(super) fn start() -> Timestamp {
    crate::ground::time::parse_time("2026-01-05T12:00:00Z").expect("a fixed time")
}

/// So many seconds after the beginning.
pub(super) fn at(seconds: u64) -> Timestamp {
    after(start(), Duration::from_secs(seconds))
}

/// So many milliseconds after the beginning.
pub(super) fn at_millis(millis: u64) -> Timestamp {
    after(start(), Duration::from_millis(millis))
}

fn ten_bytes(number: u64) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// The `number`-th event's id; ids rise with the number.
pub(super) fn event_id(number: u64) -> EventId {
    EventId::new(at_millis(number), &ten_bytes(number))
}

/// The `number`-th webhook's id; ids rise with the number.
pub(super) fn webhook_id(number: u64) -> WebhookId {
    WebhookId::new(at_millis(number), &ten_bytes(number))
}

/// The `number`-th dispatcher's id.
pub(super) fn dispatcher_id(number: u64) -> DispatcherId {
    DispatcherId::new(start(), &ten_bytes(number))
}

/// The `number`-th redelivery's cause.
pub(super) fn cause(number: u64) -> Cause {
    Cause::new(start(), &ten_bytes(number))
}

/// The account of this name.
pub(super) fn account(name: &str) -> Account {
    Account::new(name).expect("a fixed name")
}

/// The secret of which every byte is `byte`.
pub(super) fn secret(byte: u8) -> Secret {
    Secret::from_random(&[byte; 32])
}

/// These patterns.
pub(super) fn filters(patterns: &[&str]) -> Filters {
    Filters::parse(patterns).expect("fixed patterns")
}

/// An address.
pub(super) fn address(text: &str) -> EndpointUrl {
    EndpointUrl::parse(text).expect("a fixed address")
}

// --- webhooks ----------------------------------------------------------------------------------

/// An enabled webhook, not yet stored, that wants `patterns`.
pub(super) fn hook(number: u64, patterns: &[&str]) -> Webhook {
    hook_of(number, patterns, |registration| registration)
}

/// As [`hook`], with more said of it.
pub(super) fn hook_of(
    number: u64,
    patterns: &[&str],
    more: impl FnOnce(Registration) -> Registration,
) -> Webhook {
    let address = format!("https://receiver-{number}.example.com/hook");
    let registration = Registration::new(&address, patterns).expect("a fixed registration");
    more(registration.enabled(true))
        .into_webhook(webhook_id(number), secret(7), start())
        .expect("a fixed webhook")
}

/// Stores a webhook.
pub(super) async fn put(store: &dyn Storage, webhook: &Webhook, now: Timestamp) -> Webhook {
    store.put(webhook, now).await.expect("put a webhook")
}

/// Stores an enabled webhook that wants `patterns`.
pub(super) async fn registered(store: &dyn Storage, number: u64, patterns: &[&str]) -> Webhook {
    put(store, &hook(number, patterns), start()).await
}

/// The stored webhook.
pub(super) async fn stored_webhook(store: &dyn Storage, id: WebhookId) -> Option<Webhook> {
    let query = WebhookQuery { id: Some(id), ..WebhookQuery::default() };
    let page = store.webhooks(&query, &PageRequest::default()).await.expect("list webhooks");
    assert!(page.items.len() <= 1, "an id names one webhook");
    page.items.into_iter().next()
}

/// Stores the disabled form of what is stored.
pub(super) async fn disabled(store: &dyn Storage, id: WebhookId, now: Timestamp) -> Webhook {
    let webhook = stored_webhook(store, id).await.expect("the webhook is there");
    put(store, &webhook.disable(DisabledReason::Person), now).await
}

/// Stores the enabled form of what is stored.
pub(super) async fn enabled(store: &dyn Storage, id: WebhookId, now: Timestamp) -> Webhook {
    let webhook = stored_webhook(store, id).await.expect("the webhook is there");
    put(store, &webhook.enable(), now).await
}

/// Stores other patterns with what is stored.
pub(super) async fn edited(
    store: &dyn Storage,
    id: WebhookId,
    patterns: &[&str],
    now: Timestamp,
) -> Webhook {
    let webhook = stored_webhook(store, id).await.expect("the webhook is there");
    let edit = Edit::new().types(filters(patterns));
    put(store, &webhook.edit(edit).expect("an edit"), now).await
}

// --- events ------------------------------------------------------------------------------------

/// A live event of the default account.
pub(super) fn event(number: u64, event_type: &str) -> Event {
    event_of(number, event_type, Account::default(), Mode::Live)
}

/// An event of an account and a mode.
pub(super) fn event_of(number: u64, event_type: &str, account: Account, mode: Mode) -> Event {
    event_with(event_id(number), event_type, account, mode, &format!(r#"{{"number":{number}}}"#))
}

/// An event with this resource.
pub(super) fn event_with(
    id: EventId,
    event_type: &str,
    account: Account,
    mode: Mode,
    object: &str,
) -> Event {
    let live = mode.is_live();
    let payload = format!(
        r#"{{"id":"{id}","type":"{event_type}","data":{{"object":{object}}},"liveMode":{live}}}"#
    );
    Event::parse(payload, account, start()).expect("a fixed event")
}

/// For everyone who wants it.
pub(super) fn new(event: &Event) -> NewEvent {
    NewEvent { event: event.clone(), only: None }
}

/// For this webhook alone.
pub(super) fn only(event: &Event, webhook: WebhookId) -> NewEvent {
    NewEvent { event: event.clone(), only: Some(webhook) }
}

/// Publishes events that nobody has published before.
pub(super) async fn publish(store: &dyn Storage, events: &[Event], now: Timestamp) {
    let new: Vec<_> = events.iter().map(new).collect();
    let answers = store.append(&new, now).await.expect("append");
    assert_eq!(answers, vec![Appended::Stored; events.len()], "each of these events is new");
}

/// Publishes `order.paid` events of these numbers, and returns them.
pub(super) async fn orders(
    store: &dyn Storage,
    numbers: impl IntoIterator<Item = u64>,
    now: Timestamp,
) -> Vec<Event> {
    let events: Vec<_> = numbers.into_iter().map(|number| event(number, "order.paid")).collect();
    publish(store, &events, now).await;
    events
}

/// Every event that fits, page by page.
pub(super) async fn all_events(store: &dyn Storage, query: &EventQuery) -> Vec<Event> {
    let mut request = PageRequest::first(100).expect("a limit");
    let mut found = Vec::new();
    loop {
        let page = store.events(query, &request).await.expect("list events");
        found.extend(page.items);
        match page.next {
            Some(cursor) => request = request.after(cursor),
            None => return found,
        }
    }
}

// --- deliveries --------------------------------------------------------------------------------

/// Every delivery that fits, page by page.
pub(super) async fn deliveries_of(store: &dyn Storage, query: &DeliveryQuery) -> Vec<DeliveryView> {
    let mut request = PageRequest::first(100).expect("a limit");
    let mut found = Vec::new();
    loop {
        let page = store.deliveries(query, &request).await.expect("list deliveries");
        found.extend(page.items);
        match page.next {
            Some(cursor) => request = request.after(cursor),
            None => return found,
        }
    }
}

/// Every delivery.
pub(super) async fn all_deliveries(store: &dyn Storage) -> Vec<DeliveryView> {
    deliveries_of(store, &DeliveryQuery::default()).await
}

/// One delivery, if it is there.
pub(super) async fn find(store: &dyn Storage, id: DeliveryId) -> Option<DeliveryView> {
    let query = DeliveryQuery { id: Some(id), ..DeliveryQuery::default() };
    let page = store.deliveries(&query, &PageRequest::default()).await.expect("list deliveries");
    assert!(page.items.len() <= 1, "an id names one delivery");
    page.items.into_iter().next()
}

/// One delivery, which must be there.
pub(super) async fn view(store: &dyn Storage, id: DeliveryId) -> DeliveryView {
    find(store, id).await.unwrap_or_else(|| panic!("{id:?} is not (or no longer) listed"))
}

/// The one delivery that routing makes of these two.
pub(super) fn routed(event: &Event, webhook: &Webhook) -> DeliveryId {
    DeliveryId::of(event.id(), webhook.id(), Cause::ROUTED)
}

/// The ids of what was leased.
pub(super) fn ids(leased: &[Leased]) -> BTreeSet<DeliveryId> {
    let ids: BTreeSet<_> = leased.iter().map(|leased| leased.delivery.id).collect();
    assert_eq!(ids.len(), leased.len(), "one answer leases a delivery twice");
    ids
}

/// How many were leased for each webhook.
pub(super) fn by_webhook(leased: &[Leased]) -> BTreeMap<WebhookId, usize> {
    let mut counts = BTreeMap::new();
    for leased in leased {
        *counts.entry(leased.delivery.webhook).or_default() += 1;
    }
    counts
}

// --- scenes ------------------------------------------------------------------------------------

/// A webhook that wants orders, with these orders routed to it and waiting since `now`.
pub(super) async fn waiting_orders(
    store: &dyn Storage,
    worker: &Worker<'_>,
    webhook: u64,
    numbers: impl IntoIterator<Item = u64>,
    now: Timestamp,
) -> (Webhook, Vec<Event>) {
    let webhook = registered(store, webhook, &["order.*"]).await;
    let events = orders(store, numbers, now).await;
    assert_eq!(worker.route_waiting(now).await.waiting, events.len(), "each order is owed");
    (webhook, events)
}

/// A webhook that wants one kind of order, with such an order leased to the worker.
pub(super) async fn leased_order(
    store: &dyn Storage,
    worker: &Worker<'_>,
    number: u64,
    now: Timestamp,
) -> Leased {
    let only = format!("order.number{number}");
    registered(store, number, &[&only]).await;
    publish(store, &[event(number, &only)], now).await;
    let mut leased = worker.route(now).await.leased;
    assert_eq!(leased.len(), 1, "what a plain webhook is owed is born leased");
    leased.remove(0)
}

/// Sweeps step by step until nothing is left to do.
pub(super) async fn sweep_all(store: &dyn Storage, sweep: &Sweep) -> Swept {
    let mut all = Swept::default();
    for _ in 0..10_000 {
        let swept = store.sweep(sweep).await.expect("sweep");
        for (kind, count) in
            [("expired", swept.expired), ("cancelled", swept.cancelled), ("pruned", swept.pruned)]
        {
            assert!(count <= sweep.limit, "{count} {kind} in one step of {}", sweep.limit);
        }
        all.expired += swept.expired;
        all.cancelled += swept.cancelled;
        all.pruned += swept.pruned;
        if !swept.more {
            return all;
        }
    }
    panic!("sweep says for ever that there is more");
}

/// A sweep that only cancels.
pub(super) fn sweep(now: Timestamp) -> Sweep {
    let never = Timestamp::UNIX_EPOCH;
    Sweep { now, limit: 100, expire_before: never, prune_before: never }
}

// --- looks -------------------------------------------------------------------------------------

/// The kind of the error that this must be.
pub(super) fn refused<T: Debug>(result: Result<T>, kind: ErrorKind, rule: &str) {
    match result {
        Ok(value) => panic!("{rule}: expected {kind:?}, got {value:?}"),
        Err(error) => assert_eq!(error.kind(), kind, "{rule}: {error}"),
    }
}

/// The webhook, shared as leases have it.
pub(super) fn is_webhook(leased: &Leased, webhook: &Webhook) {
    assert_eq!(leased.webhook, Arc::new(webhook.clone()), "a lease has its webhook as it is now");
}
