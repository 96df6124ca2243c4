//! A storage of your own, on one page: all of the storage ports over plain collections.
//!
//! One lock around everything; each call takes it once, looks at all that it needs, then writes:
//! that is its transaction. It scans where a database has an index, and forgets no version of a
//! webhook. What to write is said by the values of the crate (`Settlement::apply`, `Turn::claim`);
//! the rules are those of `tidings::storage`. `MemoryStorage` is the same with indexes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tidings::{storage::*, transport::*, *};

#[derive(Debug, Default)]
struct OwnStorage(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    webhooks: BTreeMap<WebhookId, KeptWebhook>,
    /// The number of the last publish.
    published: u64,
    /// Each event with the time of its publish, and whether it is still to be routed.
    events: BTreeMap<u64, (Event, Timestamp, bool)>,
    rows: BTreeMap<DeliveryId, DeliveryView>,
    /// Until when each lives, and the calls that it gave up.
    dispatchers: HashMap<DispatcherId, (Timestamp, HashSet<u64>)>,
}

impl OwnStorage {
    /// The tables, each lane with what waits in it now (rule 5): a database would keep that.
    fn lock(&self) -> MutexGuard<'_, Tables> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Tables { webhooks, rows, .. } = &mut *tables;
        webhooks.values_mut().for_each(|kept| kept.lane.next_due = None);
        for DeliveryView { delivery, .. } in rows.values() {
            webhooks.entry(delivery.webhook).or_default().lane.join(delivery);
        }
        tables
    }

    /// The same for a dispatcher that lives (rule 6).
    fn lock_for(&self, turn: &Turn) -> Result<MutexGuard<'_, Tables>> {
        let tables = self.lock();
        let found = tables.dispatchers.get(&turn.dispatcher);
        turn.check(found.map(|(until, gone)| (*until, gone.contains(&turn.ticket))))?;
        Ok(tables)
    }
}

impl Tables {
    fn find(&self, id: EventId) -> Option<&Event> {
        self.events.values().map(|(event, ..)| event).find(|event| event.id() == id)
    }

    /// Whether there is such a webhook for the event.
    fn takes(&self, id: WebhookId, event: &Event) -> bool {
        let webhook = self.webhooks.get(&id).and_then(KeptWebhook::latest);
        webhook.is_some_and(|webhook| webhook.takes(event))
    }
}

/// The first item of each kind, then the second of each, and so on: nobody waits behind a flood.
fn in_turn<K: Ord, T>(items: impl Iterator<Item = (K, T)>) -> impl Iterator<Item = T> {
    let (mut counts, mut rounds) = (BTreeMap::new(), BTreeMap::<usize, Vec<T>>::new());
    for (kind, item) in items {
        let count = counts.entry(kind).or_default();
        rounds.entry(*count).or_default().push(item);
        *count += 1;
    }
    rounds.into_values().flatten()
}

#[async_trait]
impl WebhookStore for OwnStorage {
    async fn put(&self, webhook: &Webhook, now: Timestamp) -> Result<Webhook> {
        let Tables { webhooks, published, .. } = &mut *self.lock();
        webhooks.entry(webhook.id()).or_default().put(webhook, *published, now)
    }

    async fn webhooks(&self, query: &WebhookQuery, page: &PageRequest) -> Result<Page<Webhook>> {
        let tables = self.lock();
        let stored = tables.webhooks.values().rev().filter_map(KeptWebhook::latest);
        let found = stored.filter(|webhook| query.matches(webhook));
        let page = Page::of(found.map(|webhook| (webhook.id().uuid().as_u128(), webhook)), page);
        Ok(page.map(|webhook| Webhook::clone(webhook)))
    }

    async fn delete(&self, id: WebhookId, _now: Timestamp) -> Result<bool> {
        let Tables { webhooks, published, .. } = &mut *self.lock();
        Ok(webhooks.get_mut(&id).is_some_and(|kept| kept.delete(*published)))
    }
}

#[async_trait]
impl EventStore for OwnStorage {
    async fn append(&self, events: &[NewEvent], now: Timestamp) -> Result<Vec<Appended>> {
        let mut tables = self.lock();
        let known = |id| tables.find(id).map(Event::digest);
        let takes = |id, event: &Event| tables.takes(id, event);
        let (answers, new) = Appended::of_all(events, known, takes)?;
        for NewEvent { event, only } in new {
            tables.published += 1;
            let number = tables.published;
            tables.events.insert(number, (event.clone(), now, only.is_none()));
            if let Some(id) = *only {
                let delivery = Delivery::owed(event.id(), id, Cause::ROUTED, now, now);
                tables.rows.insert(delivery.id, DeliveryView::new(delivery, event));
            }
        }
        Ok(answers)
    }

    async fn events(&self, query: &EventQuery, page: &PageRequest) -> Result<Page<Event>> {
        let tables = self.lock();
        let rows = tables.events.iter().rev().map(|(n, (event, ..))| (u128::from(*n), event));
        Ok(Page::of(rows.filter(|(_, event)| query.matches(event)), page).map(Event::clone))
    }

    async fn enqueue(&self, owed: &[Owed], now: Timestamp) -> Result<Vec<Enqueued>> {
        let mut tables = self.lock();
        let enqueue = |owed: &Owed| {
            let delivery = Delivery::owed(owed.event, owed.webhook, owed.cause, now, now);
            let id = delivery.id;
            let Some(event) = tables.find(owed.event) else { return Enqueued::NoEvent };
            if !tables.takes(owed.webhook, event) {
                return Enqueued::NoWebhook;
            }
            let new = DeliveryView::new(delivery, event);
            if tables.rows.contains_key(&id) {
                return Enqueued::Existed(id);
            }
            tables.rows.insert(id, new);
            Enqueued::Made(id)
        };
        Ok(owed.iter().map(enqueue).collect())
    }

    async fn expunge(&self, expunge: &Expunge) -> Result<Expunged> {
        let Tables { events, rows, published, .. } = &mut *self.lock();
        let place = expunge.begins(*published);
        let is_meant = |number: u64, event: &Event| match &expunge.what {
            Expunging::Event(id) => event.id() == *id,
            Expunging::Account(account) => {
                event.account() == account && number > place.after && number <= place.through
            }
        };
        let meant = events.iter_mut().filter(|(number, kept)| is_meant(**number, &kept.0));
        let mut expunged = Expunged::default();
        for (looked, (number, (event, ..))) in (1..).zip(meant.take(expunge.limit)) {
            expunged.events += usize::from(!event.is_expunged());
            *event = event.expunged();
            for row in rows.values_mut().filter(|row| row.event.id() == event.id()) {
                row.event = event.clone();
                for response in row.attempts.iter_mut().map(|attempt| &mut attempt.response) {
                    expunged.answers += usize::from(!std::mem::take(response).is_empty());
                }
            }
            expunged.next = expunge.ends(place, looked, *number);
        }
        Ok(expunged)
    }
}

#[async_trait]
impl DeliveryQueue for OwnStorage {
    async fn route(&self, turn: &Turn) -> Result<Routed> {
        let (mut turn, mut routed) = (turn.clone(), Routed::default());
        let Tables { webhooks, events, rows, .. } = &mut *self.lock_for(&turn)?;
        let marked = events.iter_mut().filter(|(_, (.., marked))| *marked);
        let marked = marked.map(|(number, kept)| (kept.0.account().clone(), (*number, kept)));
        for (number, (event, published, marked)) in in_turn(marked).take(turn.marks) {
            let wants = |kept: &KeptWebhook| kept.at(number).is_some_and(|then| then.wants(event));
            let wanting: Vec<_> = webhooks.iter_mut().filter(|(_, kept)| wants(kept)).collect();
            routed.unmatched += usize::from(wanting.is_empty());
            *marked = false;
            for (id, kept) in wanting {
                let mut row = Delivery::owed(event.id(), *id, Cause::ROUTED, *published, turn.now);
                if rows.contains_key(&row.id) {
                    continue; // made in an earlier turn
                }
                if routed.leased.len() + routed.waiting == turn.deliveries {
                    *marked = true; // the rest is for a later turn
                    break;
                }
                let webhook = kept.latest().cloned();
                turn.route(&mut row, event, webhook, &mut kept.lane, &mut routed);
                rows.insert(row.id, DeliveryView::new(row, event));
            }
        }
        routed.more = events.values().any(|(.., marked)| *marked);
        Ok(routed)
    }

    async fn claim(&self, turn: &Turn) -> Result<Claimed> {
        let (mut turn, mut leased) = (turn.clone(), Vec::new());
        let Tables { webhooks, rows, dispatchers, .. } = &mut *self.lock_for(&turn)?;
        dispatchers.retain(|_, (until, _)| *until > turn.now);
        let mut waiting = Vec::new();
        for row in rows.values_mut() {
            if row.delivery.holder().is_some_and(|id| !dispatchers.contains_key(&id)) {
                row.delivery.reap(turn.now);
            }
            let lane = &webhooks[&row.delivery.webhook].lane;
            waiting.extend(lane.ready(&row.delivery).map(|at| (at, row.delivery.webhook, row)));
        }
        waiting.sort_by_key(|(ready_at, ..)| *ready_at); // longest ready first
        for row in in_turn(waiting.into_iter().map(|(_, webhook, row)| (webhook, row))) {
            let kept = webhooks.entry(row.delivery.webhook).or_default();
            let (webhook, lane) = (kept.latest().cloned(), &mut kept.lane);
            leased.extend(turn.claim(&mut row.delivery, &row.event, webhook, lane));
        }
        let next = rows.values().map(|row| (&webhooks[&row.delivery.webhook], &row.delivery));
        let next = next.filter(|(kept, _)| kept.is_enabled() == Some(true));
        let next_due = next.filter_map(|(kept, delivery)| kept.lane.ready(delivery)).min();
        Ok(Claimed { leased, next_due, ..Claimed::default() })
    }

    async fn settle(&self, settlements: &[Settlement], now: Timestamp) -> Result<Vec<Settled>> {
        let Tables { webhooks, rows, published, events, .. } = &mut *self.lock();
        let mut reports = Vec::new();
        let mut settle = |settlement: &Settlement| {
            let Some(row) = rows.get_mut(&settlement.fence.delivery) else { return Settled::Gone };
            let kept = webhooks.entry(row.delivery.webhook).or_default();
            settlement.record(&mut row.attempts);
            let settled = kept.settle(settlement, &mut row.delivery, *published, now);
            reports.extend(settlement.reported(settled).cloned());
            settled
        };
        let settled = settlements.iter().map(&mut settle).collect();
        for event in reports {
            if events.values().all(|(known, ..)| known.id() != event.id()) {
                *published += 1;
                events.insert(*published, (event, now, true));
            }
        }
        Ok(settled)
    }

    async fn heartbeat(&self, beat: &Heartbeat) -> Result<Alive> {
        let Tables { rows, dispatchers, .. } = &mut *self.lock();
        let known = dispatchers.contains_key(&beat.dispatcher);
        let (until, abandoned) = dispatchers.entry(beat.dispatcher).or_default();
        *until = beat.until.max(*until);
        abandoned.extend(&beat.abandoned);
        for row in rows.values_mut().filter(|row| beat.frees(&row.delivery)) {
            row.delivery.abandon(beat.now);
        }
        if beat.ends() {
            dispatchers.remove(&beat.dispatcher);
        }
        Ok(if known { Alive::Known } else { Alive::New })
    }

    async fn deliveries(
        &self,
        query: &DeliveryQuery,
        page: &PageRequest,
    ) -> Result<Page<DeliveryView>> {
        let tables = self.lock();
        let rows = tables.rows.iter().rev().map(|(id, row)| (id.uuid().as_u128(), row));
        let found = rows.filter(|(_, row)| query.matches(&row.delivery, &row.event));
        Ok(Page::of(found, page).map(DeliveryView::clone))
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        let mut swept = Swept::default();
        let Tables { webhooks, events, rows, .. } = &mut *self.lock();
        for DeliveryView { delivery, .. } in rows.values_mut() {
            let deleted = webhooks[&delivery.webhook].latest().is_none();
            sweep.apply(delivery, deleted, &mut swept);
        }
        let unfinished = rows.values().filter(|row| !row.delivery.state.is_ended());
        let unfinished: HashSet<_> = unfinished.map(|row| row.event.id()).collect();
        let old = events.values().filter(|(_, at, marked)| *at < sweep.prune_before && !marked);
        let over = old.map(|(event, ..)| event.id()).filter(|id| !unfinished.contains(id));
        let over: HashSet<_> = over.take(sweep.limit).collect();
        events.retain(|_, (event, ..)| !over.contains(&event.id()));
        rows.retain(|_, row| !over.contains(&row.event.id()));
        swept.pruned = over.len();
        swept.more = [swept.expired, swept.cancelled, swept.pruned].contains(&sweep.limit);
        Ok(swept)
    }

    async fn backlog(&self, account: Option<&Account>, most: usize) -> Result<usize> {
        let tables = self.lock();
        let is_meant = |event: &Event| account.is_none_or(|account| event.account() == account);
        let waiting = tables.rows.values().filter(|row| row.delivery.state.is_waiting());
        let waiting = waiting.filter(|row| is_meant(&row.event)).count();
        let marked = tables.events.values().filter(|(event, _, marked)| *marked && is_meant(event));
        Ok(most.min(waiting + marked.count()))
    }
}

/// Publishes an event and delivers it, to a transport that only prints.
#[tokio::main]
async fn main() -> Result<()> {
    let tidings = Tidings::new(OwnStorage::default());
    let registration = Registration::new("https://example.com/hook", ["order.*"])?;
    tidings.create(registration.enabled(true)).await?;
    let event = tidings.event(Change::of("order.accepted", &serde_json::json!({"id": "247"}))?)?;
    tidings.publish(&event).await?;

    let sent = Arc::new(tokio::sync::Notify::new());
    let tell = Arc::clone(&sent);
    let transport = transport_fn(move |request: Request| {
        println!("POST {}: {}", request.http.uri(), String::from_utf8_lossy(request.http.body()));
        tell.notify_one();
        std::future::ready(Ok(Response::new(204)))
    });
    tidings.dispatcher(transport)?.run(async move { sent.notified().await }).await;
    let (query, page) = (DeliveryQuery::default(), PageRequest::default());
    for view in tidings.storage().deliveries(&query, &page).await?.items {
        println!("{:?}", view.delivery.state);
    }
    Ok(())
}

#[cfg(all(test, feature = "conformance"))]
mod tests {
    use super::*;

    /// Runs the conformance suite, each case on an empty storage.
    #[tokio::test]
    async fn conforms() {
        conformance::all(async || Arc::new(OwnStorage::default()) as Arc<dyn Storage>).await;
    }
}
