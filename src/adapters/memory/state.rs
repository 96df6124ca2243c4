//! The tables of the memory storage, and the one place where a delivery changes, so that every
//! index follows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::counts::Counts;
use super::marks::Marks;
use super::spans::Spans;
use crate::ground::delivery::{Attempt, Delivery, State as Phase};
use crate::ground::event::Event;
use crate::ground::id::{Cause, DeliveryId, DispatcherId, EventId, ReplayId, WebhookId};
use crate::ground::lane::Lane;
use crate::ground::order::OrderKey;
use crate::ground::replay::ReplayJob;
use crate::ground::time::Timestamp;
use crate::ground::webhook::Webhook;

/// Everything that is stored.
#[derive(Default)]
pub(super) struct State {
    /// The number of the last publish.
    pub(super) last: u64,
    pub(super) hooks: BTreeMap<WebhookId, Hook>,
    /// Enabled webhooks that need no holder, by the moment at which there is something to claim.
    pub(super) ready: BTreeSet<(Timestamp, WebhookId)>,
    /// Enabled webhooks that need a holder and have none, by the moment at which their lanes can be
    /// taken.
    pub(super) free: BTreeSet<(Timestamp, WebhookId)>,
    /// Lanes by their holders.
    pub(super) held: BTreeMap<DispatcherId, BTreeSet<WebhookId>>,
    /// Deleted webhooks with traces left, and the number of the last publish before the deletion.
    pub(super) graves: BTreeMap<WebhookId, u64>,
    pub(super) spans: Spans,
    /// By number of publish.
    pub(super) events: BTreeMap<u64, Kept>,
    pub(super) numbers: HashMap<EventId, u64>,
    /// Events by the time of their publish.
    pub(super) by_age: BTreeSet<(Timestamp, u64)>,
    pub(super) marks: Marks,
    pub(super) deliveries: BTreeMap<DeliveryId, Row>,
    /// Waiting deliveries by the time of their publish.
    pub(super) waiting_by_age: BTreeSet<(Timestamp, DeliveryId)>,
    pub(super) dispatchers: BTreeMap<DispatcherId, Dispatcher>,
    pub(super) replays: BTreeMap<ReplayId, ReplayJob>,
    /// Waiting deliveries that were asked for, by cause.
    pub(super) asked: BTreeSet<(Cause, DeliveryId)>,
    pub(super) counts: Counts,
}

/// A webhook with its lane.
#[derive(Default)]
pub(super) struct Hook {
    /// `None` once it is deleted: what is left then is a tombstone, for `sweep` to clear.
    pub(super) webhook: Option<Arc<Webhook>>,
    pub(super) lane: Lane,
    /// Its waiting deliveries by due time: the lane's contents.
    pub(super) waiting: BTreeSet<(Timestamp, DeliveryId)>,
    /// Its deliveries with a key that have not ended, by key and number: of each key the first
    /// goes first.
    pub(super) keyed: BTreeMap<(OrderKey, u64), DeliveryId>,
    /// Where the indexes have it.
    pub(super) place: Place,
    /// The number from which its filters hold, while it is enabled.
    pub(super) since: u64,
    /// How many deliveries name it, ended ones too.
    pub(super) deliveries: usize,
}

/// Where the indexes have a webhook.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) ready: Option<Timestamp>,
    free: Option<Timestamp>,
    holder: Option<DispatcherId>,
}

/// An event as kept.
pub(super) struct Kept {
    pub(super) event: Event,
    pub(super) published: Timestamp,
    /// Whether it is still to be routed.
    pub(super) marked: bool,
    /// How many of its deliveries have not ended.
    pub(super) unfinished: usize,
    pub(super) deliveries: Vec<DeliveryId>,
}

/// A delivery with its attempts.
pub(super) struct Row {
    pub(super) delivery: Delivery,
    /// The number of its event.
    pub(super) number: u64,
    pub(super) event: Event,
    /// What it has in common with those that it must follow.
    pub(super) key: Option<OrderKey>,
    /// It waits behind another of its key, so its lane does not have it.
    pub(super) parked: bool,
    /// In order of their numbers.
    pub(super) attempts: Vec<Attempt>,
}

/// A dispatcher that gave a sign of life.
pub(super) struct Dispatcher {
    pub(super) alive_until: Timestamp,
    /// Calls that lease nothing any more.
    pub(super) abandoned: BTreeSet<u64>,
    /// What it has leased, by ticket.
    pub(super) leases: BTreeSet<(u64, DeliveryId)>,
}

impl Hook {
    /// The webhook, if it is to be delivered to.
    pub(super) fn enabled(&self) -> Option<&Arc<Webhook>> {
        self.webhook.as_ref().filter(|webhook| webhook.is_enabled())
    }

    /// Whether it gets its events in order.
    pub(super) fn is_ordered(&self) -> bool {
        self.webhook.as_ref().is_some_and(|webhook| webhook.is_ordered())
    }

    /// The first delivery of a key that has not ended.
    pub(super) fn first(&self, key: OrderKey) -> Option<DeliveryId> {
        self.keyed.range((key, 0)..=(key, u64::MAX)).next().map(|(_, id)| *id)
    }

    fn placed(&self) -> Place {
        let enabled = self.enabled();
        let exclusive = enabled.is_some_and(|webhook| webhook.needs_holder());
        Place {
            ready: self.lane.ready_at().filter(|_| enabled.is_some() && !exclusive),
            free: self.lane.free_at().filter(|_| exclusive),
            holder: self.lane.holder,
        }
    }
}

impl State {
    /// Adds a delivery that is not there yet.
    pub(super) fn add(&mut self, delivery: Delivery, number: u64, key: Option<OrderKey>) {
        let Some(kept) = self.events.get_mut(&number) else {
            return;
        };
        kept.unfinished += 1;
        kept.deliveries.push(delivery.id);
        let event = kept.event.clone();
        if let Some(hook) = self.hooks.get_mut(&delivery.webhook) {
            hook.deliveries += 1;
            if let Some(key) = key {
                hook.keyed.insert((key, number), delivery.id);
            }
        }
        self.enter(&delivery, number);
        let row = Row { delivery, number, event, key, parked: false, attempts: Vec::new() };
        self.deliveries.insert(row.delivery.id, row);
    }

    /// Changes a delivery. Its place in the indexes follows.
    pub(super) fn change(&mut self, id: DeliveryId, change: impl FnOnce(&mut Delivery)) {
        let Some(row) = self.deliveries.get_mut(&id) else {
            return;
        };
        let before = row.delivery.state;
        change(&mut row.delivery);
        row.parked = false;
        let (delivery, number, key) = (row.delivery.clone(), row.number, row.key);
        self.leave(&delivery, before);
        self.enter(&delivery, number);
        if let Some(key) = key.filter(|_| delivery.state.is_ended()) {
            self.with_hook(delivery.webhook, |hook| hook.keyed.remove(&(key, number)));
            let next = self.hooks.get(&delivery.webhook).and_then(|hook| hook.first(key));
            self.unpark(next);
        }
    }

    /// Takes a waiting delivery out of its lane: it stands behind another of its key.
    pub(super) fn park(&mut self, id: DeliveryId) {
        if let Some(row) = self.deliveries.get_mut(&id)
            && let Phase::Waiting { due } = row.delivery.state
        {
            row.parked = true;
            let webhook = row.delivery.webhook;
            self.with_hook(webhook, |hook| hook.waiting.remove(&(due, id)));
        }
    }

    /// Puts deliveries back into their lanes where they were taken out.
    pub(super) fn unpark(&mut self, ids: impl IntoIterator<Item = DeliveryId>) {
        for id in ids {
            if let Some(row) = self.deliveries.get_mut(&id)
                && std::mem::take(&mut row.parked)
                && let Phase::Waiting { due } = row.delivery.state
            {
                let webhook = row.delivery.webhook;
                self.with_hook(webhook, |hook| hook.waiting.insert((due, id)));
            }
        }
    }

    fn leave(&mut self, delivery: &Delivery, before: Phase) {
        match before {
            Phase::Waiting { due } => {
                self.waiting_by_age.remove(&(delivery.published, delivery.id));
                self.asked.remove(&(delivery.cause, delivery.id));
                self.with_hook(delivery.webhook, |hook| {
                    hook.waiting.remove(&(due, delivery.id));
                });
            }
            Phase::Leased { dispatcher, ticket } => {
                if let Some(dispatcher) = self.dispatchers.get_mut(&dispatcher) {
                    dispatcher.leases.remove(&(ticket, delivery.id));
                }
            }
            _ => {}
        }
    }

    fn enter(&mut self, delivery: &Delivery, number: u64) {
        match delivery.state {
            Phase::Waiting { due } => {
                self.waiting_by_age.insert((delivery.published, delivery.id));
                if delivery.is_asked_for() {
                    self.asked.insert((delivery.cause, delivery.id));
                }
                self.with_hook(delivery.webhook, |hook| {
                    hook.waiting.insert((due, delivery.id));
                });
            }
            Phase::Leased { dispatcher, ticket } => {
                if let Some(dispatcher) = self.dispatchers.get_mut(&dispatcher) {
                    dispatcher.leases.insert((ticket, delivery.id));
                }
            }
            _ => {
                if let Some(kept) = self.events.get_mut(&number) {
                    kept.unfinished = kept.unfinished.saturating_sub(1);
                }
            }
        }
    }

    /// Changes a webhook, its lane, or what waits in it. `next_due` and the indexes follow: here the
    /// bound of rule 5 is always exact.
    pub(super) fn with_hook<T>(
        &mut self,
        id: WebhookId,
        change: impl FnOnce(&mut Hook) -> T,
    ) -> Option<T> {
        let hook = self.hooks.get_mut(&id)?;
        let answer = change(hook);
        hook.lane.next_due = hook.waiting.first().map(|(due, _)| *due);
        let (before, place) = (hook.place, hook.placed());
        hook.place = place;
        if before != place {
            for (index, before, at) in [
                (&mut self.ready, before.ready, place.ready),
                (&mut self.free, before.free, place.free),
            ] {
                before.map(|at| index.remove(&(at, id)));
                at.map(|at| index.insert((at, id)));
            }
            if let Some(holder) = before.holder {
                let lanes = self.held.entry(holder).or_default();
                lanes.remove(&id);
                if lanes.is_empty() {
                    self.held.remove(&holder);
                }
            }
            if let Some(holder) = place.holder {
                self.held.entry(holder).or_default().insert(id);
            }
        }
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    //! What the conformance suite cannot see: the indexes, and that nothing is left behind.

    use std::collections::{BTreeMap, BTreeSet, HashMap};
    use std::time::Duration;

    use super::{Phase, State};
    use crate::ground::account::Account;
    use crate::ground::advance::{Health, LaneChange, Next, Transition};
    use crate::ground::delivery::{Attempt, Delivery, Fence, Outcome};
    use crate::ground::error::ErrorKind;
    use crate::ground::event::Event;
    use crate::ground::id::{Cause, DispatcherId, EventId, WebhookId};
    use crate::ground::order::Ordering;
    use crate::ground::secret::Secret;
    use crate::ground::time::{Timestamp, after};
    use crate::ground::webhook::{DisabledReason, Edit, Registration, Webhook};
    use crate::ports::storage::{Heartbeat, Held, Leased, NewEvent, Owed, Settlement, Sweep, Turn};

    fn at(seconds: u64) -> Timestamp {
        after(Timestamp::UNIX_EPOCH, Duration::from_secs(1_700_000_000 + seconds))
    }

    fn webhook(number: u8) -> Webhook {
        let mut registration = Registration::new("https://example.com/", ["order.*"]).unwrap();
        if number >= 2 {
            // Its events name no object, so each of them waits for those before it.
            registration = registration.with(Edit::new().ordering(Ordering::PerObject));
        }
        let id = WebhookId::new(at(0), &[number; 10]);
        registration.enabled(true).into_webhook(id, Secret::from_random(&[7; 32]), at(0)).unwrap()
    }

    fn event(number: u64) -> NewEvent {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&number.to_be_bytes());
        let id = EventId::new(at(number), &random);
        let payload =
            format!(r#"{{"id":"{id}","type":"order.paid","data":{{"object":{{"n":{number}}}}}}}"#);
        NewEvent { event: Event::parse(payload, Account::default(), at(0)).unwrap(), only: None }
    }

    fn dispatcher(number: u8) -> DispatcherId {
        DispatcherId::new(at(0), &[number; 10])
    }

    fn turn(dispatcher: DispatcherId, ticket: u64, now: Timestamp) -> Turn {
        Turn {
            dispatcher,
            ticket,
            now,
            marks: 10,
            deliveries: 10,
            total: 4,
            each: 3,
            busy: HashMap::new(),
            probe: Duration::from_secs(5),
            held: HashMap::new(),
            holds: 0,
        }
    }

    fn beat(dispatcher: DispatcherId, now: Timestamp, until: Timestamp) -> Heartbeat {
        Heartbeat { dispatcher, now, until, abandoned: Vec::new() }
    }

    fn settlement(
        leased: &Leased,
        dispatcher: DispatcherId,
        next: Next,
        at: Timestamp,
    ) -> Settlement {
        let Delivery { id, attempt, failures, interruptions, .. } = leased.delivery;
        let outcome = Outcome::Answered { status: 200, retry_after: None };
        let lane = if leased.probe { LaneChange::Open } else { LaneChange::None };
        Settlement {
            fence: Fence { delivery: id, attempt, dispatcher },
            reports: Vec::new(),
            attempt: Some(Attempt::new(attempt, at, Duration::ZERO, outcome)),
            transition: Transition {
                at,
                next,
                failures,
                interruptions,
                lapsed: false,
                health: Health::Unchanged,
                lane,
            },
        }
    }

    /// Compares every index with what the tables say.
    fn check(state: &State) {
        let mut waiting = BTreeMap::<WebhookId, BTreeSet<_>>::new();
        let (mut by_age, mut asked) = (BTreeSet::new(), BTreeSet::new());
        let mut leases = BTreeMap::<DispatcherId, BTreeSet<_>>::new();
        let mut keyed = BTreeMap::<WebhookId, BTreeMap<_, _>>::new();
        let mut unfinished = HashMap::<u64, usize>::new();
        for (id, row) in &state.deliveries {
            match row.delivery.state {
                Phase::Waiting { due } => {
                    if !row.parked {
                        waiting.entry(row.delivery.webhook).or_default().insert((due, *id));
                    }
                    by_age.insert((row.delivery.published, *id));
                    if row.delivery.cause != Cause::ROUTED {
                        asked.insert((row.delivery.cause, *id));
                    }
                }
                Phase::Leased { dispatcher, ticket } => {
                    leases.entry(dispatcher).or_default().insert((ticket, *id));
                }
                _ => {}
            }
            if let Some(key) = row.key.filter(|_| !row.delivery.state.is_ended()) {
                keyed.entry(row.delivery.webhook).or_default().insert((key, row.number), *id);
            }
            *unfinished.entry(row.number).or_default() +=
                usize::from(!row.delivery.state.is_ended());
        }
        assert_eq!(state.waiting_by_age, by_age);
        assert_eq!(state.asked, asked);
        let (mut ready, mut free) = (BTreeSet::new(), BTreeSet::new());
        let mut held = BTreeMap::<DispatcherId, BTreeSet<WebhookId>>::new();
        for (id, hook) in &state.hooks {
            let expected = waiting.remove(id).unwrap_or_default();
            assert_eq!(
                hook.lane.next_due,
                expected.first().map(|(due, _)| *due),
                "next_due is exact"
            );
            assert_eq!(hook.waiting, expected);
            let named = state.deliveries.values().filter(|row| row.delivery.webhook == *id).count();
            assert_eq!(hook.deliveries, named);
            assert_eq!(hook.webhook.is_none(), state.graves.contains_key(id));
            let needs_holder = hook.enabled().map(|webhook| webhook.needs_holder());
            match needs_holder {
                Some(true) => free.extend(hook.lane.free_at().map(|at| (at, *id))),
                Some(false) => ready.extend(hook.lane.ready_at().map(|at| (at, *id))),
                None => {}
            }
            if let Some(holder) = hook.lane.holder {
                held.entry(holder).or_default().insert(*id);
            }
            let keyed = keyed.remove(id).unwrap_or_default();
            assert_eq!(hook.keyed, keyed);
            for (number, (key, id)) in keyed.iter().map(|((key, n), id)| (n, (key, id))) {
                let row = &state.deliveries[id];
                let is_first = hook.first(*key) == Some(*id);
                assert!(!row.parked || (hook.is_ordered() && !is_first), "{number} is stranded");
                let leased = matches!(row.delivery.state, Phase::Leased { .. });
                assert!(!leased || is_first || !hook.is_ordered(), "{number} is out of order");
            }
        }
        assert_eq!((&state.free, &state.held), (&free, &held));
        assert!(waiting.is_empty(), "what waits has a lane: {waiting:?}");
        assert_eq!(state.ready, ready);
        for (id, dispatcher) in &state.dispatchers {
            assert_eq!(dispatcher.leases, leases.remove(id).unwrap_or_default());
        }
        assert!(leases.is_empty(), "leases belong to known dispatchers: {leases:?}");
        for (number, kept) in &state.events {
            assert_eq!(kept.unfinished, unfinished.remove(number).unwrap_or_default());
            assert_eq!(state.numbers.get(&kept.event.id()), Some(number));
            assert!(state.by_age.contains(&(kept.published, *number)));
        }
        assert_eq!(state.by_age.len(), state.events.len());
        assert_eq!(state.numbers.len(), state.events.len());
    }

    /// Walks at random through every call, from fixed seeds, and compares the indexes after each.
    #[test]
    fn indexes_follow_the_tables() {
        let mut done = BTreeMap::<&str, usize>::new();
        for seed in 1..=20_u64 {
            let mut random = seed;
            let mut draw = move |below: u64| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 33) % below
            };
            let mut state = State::default();
            let mut leased: Vec<(Leased, DispatcherId)> = Vec::new();
            let mut events = 0;
            for step in 0..600 {
                let now = at(step);
                let hook = webhook(u8::try_from(draw(4)).unwrap());
                let stored = state.hooks.get(&hook.id()).and_then(|hook| hook.webhook.clone());
                let who = dispatcher(u8::try_from(draw(3)).unwrap());
                let what = match (draw(20), stored) {
                    (0..3, None) => state.put(&hook, now).map(|_| "insert").unwrap_or("taken"),
                    (0, Some(stored)) => {
                        state.put(&stored.disable(DisabledReason::Person), now).unwrap();
                        "disable"
                    }
                    (1, Some(stored)) => {
                        state.put(&stored.enable(), now).map(|_| "enable").unwrap()
                    }
                    (2, Some(_)) if draw(8) == 0 && state.delete(hook.id()) => "delete",
                    (3..7, _) => {
                        events += 1;
                        let mut event = event(events);
                        event.only = Some(hook.id()).filter(|_| draw(5) == 0);
                        state.append(&[event], now).map(|_| "append").unwrap_or("no webhook")
                    }
                    (7, _) => {
                        let cause = Cause::new(now, &[1; 10]);
                        let event = event(draw(events + 1)).event.id();
                        state.enqueue(&[Owed { event, webhook: hook.id(), cause }], now);
                        "enqueue"
                    }
                    (8, _) => {
                        let mut beat = beat(who, now, after(now, Duration::from_secs(draw(90))));
                        beat.abandoned.extend(Some(step - 1).filter(|_| step > 0));
                        state.heartbeat(&beat, now);
                        "heartbeat"
                    }
                    (9..15, _) => {
                        let mut turn = Turn { holds: 2, ..turn(who, step, now) };
                        for id in state.held.get(&who).into_iter().flatten() {
                            // Now and then a lane is not named, and given back.
                            let version = state.hooks[id].webhook.as_ref().map(|it| it.version());
                            if let Some(version) = version.filter(|_| draw(6) > 0) {
                                turn.held.insert(*id, Held { version, room: 2 });
                            }
                        }
                        let found = match draw(2) {
                            0 => state.route(&turn, now).map(|routed| routed.leased),
                            _ => state.claim(&turn, now).map(|claimed| claimed.leased),
                        };
                        let what = if found.is_ok() { "lease" } else { "not alive" };
                        leased.extend(found.into_iter().flatten().map(|leased| (leased, who)));
                        what
                    }
                    (15..19, _) if !leased.is_empty() => {
                        let place = usize::try_from(draw(leased.len() as u64)).unwrap();
                        let (one, who) = leased.swap_remove(place);
                        let next = match draw(3) {
                            0 => Next::Waiting { due: after(now, Duration::from_secs(draw(40))) },
                            1 => Next::Exhausted,
                            _ => Next::Delivered,
                        };
                        let mut settlement = settlement(&one, who, next, now);
                        if draw(10) == 0 {
                            settlement.transition.health = Health::Gone { at: now };
                        }
                        state.settle(&[settlement], now);
                        "settle"
                    }
                    (19, _) if draw(4) == 0 => {
                        let before = |seconds| at(step.saturating_sub(seconds));
                        let (expire_before, prune_before) = (before(150), before(60));
                        state.sweep(&Sweep { now, limit: 5, expire_before, prune_before }, now);
                        "sweep"
                    }
                    _ => continue,
                };
                *done.entry(what).or_default() += 1;
                check(&state);
            }
        }
        for what in ["insert", "enable", "disable", "delete", "append", "lease", "settle", "sweep"]
        {
            assert!(done.get(what).is_some_and(|count| *count >= 10), "{what} is walked: {done:?}");
        }
    }

    /// Publishes, edits, deletes and prunes everything, and looks for what is left.
    #[test]
    fn nothing_is_left_of_what_was_deleted_and_pruned() {
        let mut state = State::default();
        let one = webhook(1);
        for round in 0..3 {
            let stored = state.put(&one, at(round)).unwrap();
            for number in 0..4 {
                // Each of these events falls into a span of its own.
                state.append(&[event(round * 10 + number)], at(round)).unwrap();
                let current = state.hooks[&stored.id()].webhook.clone().unwrap();
                state.put(&current.disable(DisabledReason::Person), at(round)).unwrap();
                let current = state.hooks[&stored.id()].webhook.clone().unwrap();
                state.put(&current.enable(), at(round)).unwrap();
            }
            assert!(state.delete(stored.id()));
            let taken = state.put(&one, at(round)).unwrap_err();
            assert_eq!(taken.kind(), ErrorKind::Conflict, "its events are still to be routed");
            state.heartbeat(&beat(dispatcher(1), at(round), at(1_000)), at(round));
            let routed = state.route(&turn(dispatcher(1), round, at(round)), at(round)).unwrap();
            assert_eq!((routed.waiting, routed.more), (4, false), "owed, though it is deleted");
            let now = at(900);
            let sweep = Sweep { now, limit: 100, expire_before: at(0), prune_before: now };
            while state.sweep(&sweep, now).more {}
            check(&state);
            let left = (state.hooks.len(), state.graves.len(), state.events.len());
            assert_eq!(left, (0, 0, 0));
            assert!(
                state.deliveries.is_empty() && state.marks.is_empty() && state.spans.is_empty()
            );
        }
    }
}
