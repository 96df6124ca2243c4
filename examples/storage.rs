//! A storage of your own, on one page: all of the storage ports over plain collections.
//!
//! One lock around everything; each call takes it once, looks at all that it needs, then writes:
//! that is its transaction. It scans where a database has an index. Where a value of the crate says
//! how to apply itself (`Transition`, `Lane`, `Delivery`), the storage only writes what comes out.
//! The rules are those of `tidings::storage`; `MemoryStorage` is the same with indexes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tidings::{storage::*, time::after, transport::*, *};

#[derive(Debug, Default)]
struct OwnStorage(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    webhooks: BTreeMap<WebhookId, Arc<Webhook>>,
    /// Each lane with what waits in it. It outlives its webhook, for `sweep` to clear.
    lanes: BTreeMap<WebhookId, (Lane, BTreeSet<(Timestamp, DeliveryId)>)>,
    /// What an enabled webhook was for the publishes after the first number up to the second.
    spans: Vec<(Arc<Webhook>, u64, u64)>,
    published: u64,
    events: BTreeMap<u64, (Event, Timestamp)>,
    /// What is still to be routed.
    marks: BTreeMap<Account, BTreeSet<u64>>,
    rows: BTreeMap<DeliveryId, DeliveryView>,
    /// Until when each lives, and the calls that it gave up.
    dispatchers: BTreeMap<DispatcherId, (Timestamp, HashSet<u64>)>,
}

impl OwnStorage {
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    /// Writes a delivery, and in the same transaction the lane that it joins or leaves (rule 5).
    fn write(&mut self, row: DeliveryView) {
        let (id, state) = (row.delivery.id, row.delivery.state);
        let (lane, waiting) = self.lanes.entry(row.delivery.webhook).or_default();
        let before = self.rows.insert(id, row).map(|row| row.delivery.state);
        if let Some(State::Waiting { due }) = before {
            waiting.remove(&(due, id));
        }
        if let State::Waiting { due } = state {
            waiting.insert((due, id));
        }
        lane.next_due = waiting.first().map(|(due, _)| *due);
    }

    /// Changes the deliveries that are to be changed, `limit` at most, and says how many.
    fn change(
        &mut self,
        limit: usize,
        which: impl Fn(&Self, &Delivery) -> bool,
        how: impl Fn(&mut Delivery),
    ) -> usize {
        let found = self
            .rows
            .values()
            .filter(|row| which(self, &row.delivery))
            .take(limit);
        let found: Vec<_> = found.cloned().collect();
        let count = found.len();
        for mut row in found {
            how(&mut row.delivery);
            self.write(row);
        }
        count
    }

    /// Writes or deletes a webhook: from here on its filters hold, or do not (rule 4).
    fn replace(&mut self, id: WebhookId, webhook: Option<Webhook>, now: Timestamp) {
        let open = self
            .spans
            .iter_mut()
            .find(|(then, _, to)| then.id() == id && *to == u64::MAX);
        let was_enabled = open.map(|(_, _, to)| *to = self.published).is_some();
        self.webhooks.remove(&id);
        let Some(webhook) = webhook.map(Arc::new) else {
            return;
        };
        self.webhooks.insert(id, Arc::clone(&webhook));
        let (lane, _) = self.lanes.entry(id).or_default();
        if webhook.is_enabled() {
            self.spans.push((webhook, self.published, u64::MAX));
            if !was_enabled {
                lane.enable(now);
            }
        }
    }

    fn find(&self, id: EventId) -> Option<&Event> {
        self.events
            .values()
            .map(|(event, _)| event)
            .find(|event| event.id() == id)
    }

    /// Whether there is such a webhook for the event.
    fn takes(&self, id: WebhookId, event: &Event) -> bool {
        self.webhooks
            .get(&id)
            .is_some_and(|webhook| is_of(webhook, event))
    }

    /// Refuses the dead, and calls that were given up (rule 6).
    fn check_alive(&self, turn: &Turn) -> Result<()> {
        match self.dispatchers.get(&turn.dispatcher) {
            Some((to, abandoned)) if *to > turn.now && !abandoned.contains(&turn.ticket) => Ok(()),
            _ => Err(Error::new(
                ErrorKind::NotAlive,
                "the dispatcher is not alive",
            )),
        }
    }

    /// The lanes that will have something to claim, by when.
    fn ready(&self) -> VecDeque<(Timestamp, WebhookId)> {
        let enabled = self
            .webhooks
            .iter()
            .filter(|(_, webhook)| webhook.is_enabled());
        let mut ready: Vec<_> = enabled
            .filter_map(|(id, _)| Some((self.lanes[id].0.ready_at()?, *id)))
            .collect();
        ready.sort_unstable();
        ready.into()
    }

    /// Leases a delivery, if its webhook is enabled and has a permit left.
    fn lease(&mut self, turn: &mut Turn, row: &DeliveryView, probe: bool) -> Option<Leased> {
        let (mut row, id) = (row.clone(), row.delivery.webhook);
        let webhook = self
            .webhooks
            .get(&id)
            .filter(|webhook| webhook.is_enabled())?
            .clone();
        if turn.total == 0 || turn.room(id) == 0 {
            return None;
        }
        turn.total -= 1;
        *turn.busy.entry(id).or_default() += 1;
        row.delivery.lease(turn.dispatcher, turn.ticket);
        self.write(row.clone());
        let failing_since = self.lanes[&id].0.failing_since;
        Some(Leased {
            delivery: row.delivery,
            event: row.event,
            webhook,
            failing_since,
            probe,
        })
    }
}

fn is_of(webhook: &Webhook, event: &Event) -> bool {
    (webhook.account(), webhook.mode()) == (event.account(), event.mode())
}

fn row(delivery: Delivery, event: &Event) -> DeliveryView {
    DeliveryView {
        delivery,
        event: event.clone(),
        attempts: Vec::new(),
    }
}

#[async_trait]
impl WebhookStore for OwnStorage {
    async fn put(&self, webhook: &Webhook, now: Timestamp) -> Result<Webhook> {
        let (mut tables, id) = (self.lock(), webhook.id());
        let stored = tables.webhooks.get(&id).map(|stored| stored.version());
        match (stored, webhook.version()) {
            (None, 0) if !tables.lanes.contains_key(&id) => {}
            (_, 0) => return Err(Error::new(ErrorKind::Conflict, "the id is taken")),
            (None, _) => return Err(Error::not_found("webhook", id)),
            (Some(stored), seen) if stored == seen => {}
            _ => return Err(Error::new(ErrorKind::Stale, "the webhook was changed")),
        }
        tables.replace(id, Some(webhook.stored(now)), now);
        Ok(webhook.stored(now))
    }

    async fn webhooks(&self, query: &WebhookQuery, page: &PageRequest) -> Result<Page<Webhook>> {
        let tables = self.lock();
        let found = tables
            .webhooks
            .values()
            .rev()
            .filter(|webhook| query.matches(webhook));
        let page = Page::of(
            found.map(|webhook| (webhook.id().uuid().as_u128(), webhook)),
            page,
        );
        Ok(page.map(|webhook| Webhook::clone(webhook)))
    }

    async fn delete(&self, id: WebhookId, now: Timestamp) -> Result<bool> {
        let mut tables = self.lock();
        let there = tables.webhooks.contains_key(&id);
        tables.replace(id, None, now);
        Ok(there)
    }
}

#[async_trait]
impl EventStore for OwnStorage {
    async fn append(&self, events: &[NewEvent], now: Timestamp) -> Result<Vec<Appended>> {
        let (mut tables, mut answers) = (self.lock(), Vec::new());
        for (place, NewEvent { event, only }) in events.iter().enumerate() {
            let mut earlier = events[..place].iter().map(|new| &new.event);
            let earlier = earlier.find(|earlier| earlier.id() == event.id());
            answers.push(match tables.find(event.id()).or(earlier) {
                Some(known) if known.digest() == event.digest() => Appended::Duplicate,
                Some(_) => Appended::Conflict,
                None => match only.filter(|id| !tables.takes(*id, event)) {
                    Some(id) => return Err(Error::not_found("webhook", id)),
                    None => Appended::Stored,
                },
            });
        }
        if answers.contains(&Appended::Conflict) {
            return Ok(answers);
        }
        let new = events
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| **answer == Appended::Stored);
        for (NewEvent { event, only }, _) in new {
            tables.published += 1;
            let number = tables.published;
            tables.events.insert(number, (event.clone(), now));
            if let Some(webhook) = only {
                let delivery = Delivery::owed(event.id(), *webhook, Cause::ROUTED, now, now);
                tables.write(row(delivery, event));
            } else {
                tables
                    .marks
                    .entry(event.account().clone())
                    .or_default()
                    .insert(number);
            }
        }
        Ok(answers)
    }

    async fn events(&self, query: &EventQuery, page: &PageRequest) -> Result<Page<Event>> {
        let tables = self.lock();
        let found = tables
            .events
            .iter()
            .rev()
            .filter(|(_, (event, _))| query.matches(event));
        Ok(Page::of(found.map(|(n, (event, _))| (u128::from(*n), event)), page).map(Event::clone))
    }

    async fn enqueue(&self, owed: &[Owed], now: Timestamp) -> Result<Vec<Enqueued>> {
        let mut tables = self.lock();
        let enqueue = |owed: &Owed| {
            let delivery = Delivery::owed(owed.event, owed.webhook, owed.cause, now, now);
            let id = delivery.id;
            match tables.find(owed.event).cloned() {
                None => Enqueued::NoEvent,
                Some(event) if !tables.takes(owed.webhook, &event) => Enqueued::NoWebhook,
                Some(_) if tables.rows.contains_key(&id) => Enqueued::Existed(id),
                Some(event) => {
                    tables.write(row(delivery, &event));
                    Enqueued::Made(id)
                }
            }
        };
        Ok(owed.iter().map(enqueue).collect())
    }
}

#[async_trait]
impl DeliveryQueue for OwnStorage {
    async fn route(&self, turn: &Turn) -> Result<Routed> {
        let (mut tables, mut turn, mut routed) = (self.lock(), turn.clone(), Routed::default());
        tables.check_alive(&turn)?;
        // The first mark of each account, then the second of each, and so on.
        let ranked = tables
            .marks
            .values()
            .flat_map(|marks| marks.iter().copied().enumerate());
        let mut marks: Vec<(usize, u64)> = ranked.collect();
        marks.sort_unstable();
        for (_, number) in marks.into_iter().take(turn.marks) {
            let (event, published) = tables.events[&number].clone();
            let held = tables.spans.iter().filter(|(then, from, to)| {
                let held = *from < number && number <= *to;
                held && is_of(then, &event) && then.types().matches(event.event_type())
            });
            let mut wanting: BTreeSet<_> = held.map(|(then, ..)| then.id()).collect();
            routed.unmatched += usize::from(wanting.is_empty());
            while routed.leased.len() + routed.waiting < turn.deliveries
                && let Some(id) = wanting.pop_first()
            {
                let delivery = Delivery::owed(event.id(), id, Cause::ROUTED, published, turn.now);
                if tables.rows.contains_key(&delivery.id) {
                    continue; // made in an earlier turn
                }
                let new = row(delivery, &event);
                let plain = tables.lanes[&id].0.is_plain();
                match plain
                    .then(|| tables.lease(&mut turn, &new, false))
                    .flatten()
                {
                    Some(leased) => routed.leased.push(leased),
                    None => {
                        tables.write(new);
                        routed.waiting += 1;
                    }
                }
            }
            if let Some(marks) = tables
                .marks
                .get_mut(event.account())
                .filter(|_| wanting.is_empty())
            {
                marks.remove(&number);
            }
        }
        routed.more = tables.marks.values().any(|marks| !marks.is_empty());
        Ok(routed)
    }

    async fn claim(&self, turn: &Turn) -> Result<Claimed> {
        let (mut tables, mut turn, mut leased) = (self.lock(), turn.clone(), Vec::new());
        tables.check_alive(&turn)?;
        let (now, dead) = (
            turn.now,
            tables
                .dispatchers
                .iter()
                .filter(|(_, (to, _))| *to <= turn.now),
        );
        for dead in dead.map(|(id, _)| *id).collect::<Vec<_>>() {
            tables.dispatchers.remove(&dead);
            let lost = |_: &Tables, delivery: &Delivery| matches!(delivery.state, State::Leased { dispatcher, .. } if dispatcher == dead);
            tables.change(usize::MAX, lost, |delivery| delivery.reap(now));
        }
        // One delivery of the lane in front, which then queues up again behind the others.
        let mut lanes = tables.ready();
        while let Some((at, id)) = lanes.pop_front() {
            let (lane, waiting) = &tables.lanes[&id];
            let (readiness, first) = (lane.readiness(now), waiting.first());
            let first = first.filter(|_| readiness != Readiness::NotReady);
            let Some(row) = first.map(|(_, id)| tables.rows[id].clone()) else {
                continue;
            };
            let probe = readiness == Readiness::Probe;
            let Some(lease) = tables.lease(&mut turn, &row, probe) else {
                continue;
            };
            leased.push(lease);
            if probe {
                tables
                    .lanes
                    .entry(id)
                    .or_default()
                    .0
                    .probe(after(now, turn.probe));
            } else {
                lanes.push_back((at, id));
            }
        }
        Ok(Claimed {
            leased,
            next_due: tables.ready().front().map(|(at, _)| *at),
        })
    }

    async fn settle(&self, settlements: &[Settlement], now: Timestamp) -> Result<Vec<Settled>> {
        let mut tables = self.lock();
        let settle = |Settlement {
                          fence,
                          attempt,
                          transition,
                      }: &Settlement| {
            let Some(mut row) = tables.rows.get(&fence.delivery).cloned() else {
                return Settled::Gone;
            };
            let (standing, id) = (row.delivery.standing(fence), row.delivery.webhook);
            let webhook = tables.webhooks.get(&id).cloned();
            if let Some(attempt) = attempt
                && let Err(at) = row
                    .attempts
                    .binary_search_by_key(&attempt.number, |a| a.number)
            {
                row.attempts.insert(at, attempt.clone());
            }
            if standing == Standing::Holds {
                transition.apply(&mut row.delivery, fence.dispatcher);
                if webhook.is_none() && transition.next != Next::Delivered {
                    row.delivery.state = State::Cancelled { at: now };
                }
            }
            tables.write(row);
            match (standing, webhook) {
                (Standing::Lost, _) => Settled::Lost,
                (_, None) => Settled::Gone,
                (Standing::Repeated, _) => Settled::Applied { disabled: false },
                (Standing::Holds, Some(webhook)) => {
                    let (lane, _) = tables.lanes.entry(id).or_default();
                    lane.change(transition.lane, now);
                    let reason = lane
                        .health(transition.health)
                        .filter(|_| webhook.is_enabled());
                    if let Some(reason) = reason {
                        tables.replace(id, Some(webhook.disable(reason).stored(now)), now);
                    }
                    Settled::Applied {
                        disabled: reason.is_some(),
                    }
                }
            }
        };
        Ok(settlements.iter().map(settle).collect())
    }

    async fn heartbeat(&self, beat: &Heartbeat) -> Result<Alive> {
        let (mut tables, ends) = (self.lock(), beat.until <= beat.now);
        let known = tables.dispatchers.contains_key(&beat.dispatcher);
        let (until, abandoned) = tables.dispatchers.entry(beat.dispatcher).or_default();
        *until = beat.until.max(*until);
        abandoned.extend(&beat.abandoned);
        let back = |_: &Tables, delivery: &Delivery| match delivery.state {
            State::Leased { dispatcher, ticket } => {
                dispatcher == beat.dispatcher && (ends || beat.abandoned.contains(&ticket))
            }
            _ => false,
        };
        tables.change(usize::MAX, back, |delivery| delivery.abandon(beat.now));
        if ends {
            tables.dispatchers.remove(&beat.dispatcher);
        }
        Ok(if known { Alive::Known } else { Alive::New })
    }

    async fn deliveries(
        &self,
        query: &DeliveryQuery,
        page: &PageRequest,
    ) -> Result<Page<DeliveryView>> {
        let tables = self.lock();
        let rows = tables.rows.iter().rev();
        let found = rows.filter(|(_, row)| query.matches(&row.delivery, &row.event));
        Ok(Page::of(found.map(|(id, row)| (id.uuid().as_u128(), row)), page).map(Clone::clone))
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        let (mut tables, at, limit) = (self.lock(), sweep.now, sweep.limit);
        let waits = |delivery: &Delivery| matches!(delivery.state, State::Waiting { .. });
        let old = |_: &Tables, d: &Delivery| waits(d) && d.published < sweep.expire_before;
        let expired = tables.change(limit, old, |d| d.state = State::Expired { at });
        let deleted = |t: &Tables, d: &Delivery| waits(d) && !t.webhooks.contains_key(&d.webhook);
        let cancelled = tables.change(limit, deleted, |d| d.state = State::Cancelled { at });
        let unfinished = tables
            .rows
            .values()
            .filter(|row| !row.delivery.state.is_ended());
        let unfinished: HashSet<_> = unfinished.map(|row| row.event.id()).collect();
        let over = tables.events.iter().filter(|(number, (event, published))| {
            let marked = tables
                .marks
                .get(event.account())
                .is_some_and(|m| m.contains(number));
            *published < sweep.prune_before && !marked && !unfinished.contains(&event.id())
        });
        let over: HashMap<_, _> = over.take(limit).map(|(n, (e, _))| (e.id(), *n)).collect();
        tables
            .events
            .retain(|_, (event, _)| !over.contains_key(&event.id()));
        tables
            .rows
            .retain(|_, row| !over.contains_key(&row.event.id()));
        let more = [expired, cancelled, over.len()].contains(&limit);
        Ok(Swept {
            expired,
            cancelled,
            pruned: over.len(),
            more,
        })
    }
}

/// Publishes an event and delivers it, to a transport that only prints.
#[tokio::main]
async fn main() -> Result<()> {
    let tidings = Tidings::new(OwnStorage::default());
    let registration = Registration::new("https://example.com/hook", ["order.*"])?;
    tidings.create(registration.enabled(true)).await?;
    let event = tidings.event(Change::of(
        "order.accepted",
        &serde_json::json!({"id": "247"}),
    )?)?;
    tidings.publish(&event).await?;

    let sent = Arc::new(tokio::sync::Notify::new());
    let tell = Arc::clone(&sent);
    let transport = transport_fn(move |request: Request| {
        println!(
            "POST {}: {}",
            request.http.uri(),
            String::from_utf8_lossy(request.http.body())
        );
        tell.notify_one();
        std::future::ready(Ok(Response::new(204)))
    });
    tidings
        .dispatcher(transport)?
        .run(async move { sent.notified().await })
        .await;
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
