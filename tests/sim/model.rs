//! What must be true. The model is told of every storage call in the order in which they happened,
//! and of every request that a receiver saw; where the store or the engine breaks a promise, it
//! says so.
//!
//! It counts and compares by itself and judges by `rules`, so that it does not believe what it is
//! to check; beside that it folds the crate's `advance`, so that every store and every call of it is
//! exact. The invariants I1–I12 of the design are named in the messages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidings::storage::{
    Alive, Appended, Enqueued, Heartbeat, Leased, NewEvent, Owed, Settled, Settlement, Turn,
};
use tidings::{
    Cause, Delivery, DeliveryId, DisabledReason, DispatcherId, Event, EventId, LaneChange, Next,
    Outcome, Seen, State, StateKind, Timestamp, Turned, Webhook, WebhookId, advance, must_account,
};

use super::life::{Life, Phase, Request};
use super::order::Order;
use super::rules::{Rules, Verdict, agrees, wants};

/// A webhook as the model knows it.
#[derive(Debug)]
pub struct Hook {
    pub webhook: Webhook,
    pub deleted: bool,
    /// Nothing is leased before this, and then one delivery alone, as the probe.
    paused: Option<Timestamp>,
    /// What receivers asked for since the lane was open, without the pause of a probe.
    asked: Option<Timestamp>,
    /// The first failure after the last success.
    failing: Option<Timestamp>,
    /// The stretch that was warned of, while it lasts.
    warned: Option<Timestamp>,
    /// Enabled while the model could not know whether something waited: the first lease may be a
    /// probe.
    unsure: bool,
}

impl Hook {
    pub fn is_open(&self) -> bool {
        !self.deleted && self.webhook.is_enabled()
    }
}

/// One event and one webhook: with a redelivery there is more than one delivery of them, and a
/// request does not tell for which it is.
#[derive(Debug, Default)]
pub struct Pair {
    pub deliveries: u32,
    acknowledged: u32,
    delivered: u32,
    exposed: u32,
}

/// The world as it must be.
#[derive(Debug)]
pub struct Model {
    rules: Rules,
    policy: tidings::Policy,
    in_flight: u32,
    each: u32,
    events: BTreeMap<EventId, (Event, Timestamp)>,
    pub(super) hooks: BTreeMap<WebhookId, Hook>,
    paths: BTreeMap<String, WebhookId>,
    pub(super) lives: BTreeMap<DeliveryId, Life>,
    /// What each dispatcher has leased.
    pub(super) leased: BTreeMap<DispatcherId, BTreeSet<DeliveryId>>,
    alive: BTreeMap<DispatcherId, Timestamp>,
    /// Dispatchers that were killed, or shut down while the storage failed: what they did last may
    /// be unwritten.
    pub(super) dead: BTreeSet<DispatcherId>,
    /// Event and webhook pairs that rule 4 of the storage contract names.
    pub(super) owed: BTreeSet<(EventId, WebhookId)>,
    pub(super) made: BTreeSet<DeliveryId>,
    pub(super) pairs: BTreeMap<(EventId, WebhookId), Pair>,
    pub(super) requests: Vec<Request>,
    pub(super) order: Order,
    /// Deliveries that were acknowledged, but taken from their sender before it had settled.
    pub exposed: u64,
    pub lost: u64,
    pub leases: u64,
    pub disabled: u64,
    digest: u64,
}

impl Model {
    pub fn new(rules: Rules, in_flight: u32, each: u32) -> Self {
        Self {
            policy: rules.policy(),
            rules,
            in_flight,
            each,
            events: BTreeMap::new(),
            hooks: BTreeMap::new(),
            paths: BTreeMap::new(),
            lives: BTreeMap::new(),
            leased: BTreeMap::new(),
            alive: BTreeMap::new(),
            dead: BTreeSet::new(),
            owed: BTreeSet::new(),
            made: BTreeSet::new(),
            pairs: BTreeMap::new(),
            requests: Vec::new(),
            order: Order::default(),
            exposed: 0,
            lost: 0,
            leases: 0,
            disabled: 0,
            digest: 0,
        }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// A number that is the same for the same history.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    fn note(&mut self, value: u64) {
        self.digest = (self.digest ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub fn event(&self, id: EventId) -> Option<&Event> {
        self.events.get(&id).map(|(event, _)| event)
    }

    pub fn webhook_at(&self, path: &str) -> Option<WebhookId> {
        self.paths.get(path).copied()
    }

    pub fn any_webhook(&self, roll: u64) -> Option<WebhookId> {
        let there: Vec<WebhookId> = self.webhooks().map(Webhook::id).collect();
        let at = usize::try_from(roll).unwrap_or(0) % there.len().max(1);
        there.get(at).copied()
    }

    pub fn any_event(&self, roll: u64) -> Option<&Event> {
        let at = usize::try_from(roll).unwrap_or(0) % self.events.len().max(1);
        self.events.values().nth(at).map(|(event, _)| event)
    }

    /// The webhooks that are not deleted.
    pub fn webhooks(&self) -> impl Iterator<Item = &Webhook> {
        let there = self.hooks.values().filter(|hook| !hook.deleted);
        there.map(|hook| &hook.webhook)
    }

    pub fn published(&self) -> usize {
        self.events.len()
    }

    pub fn deliveries(&self) -> usize {
        self.lives.len()
    }

    pub fn any_delivery(&self, roll: u64) -> Option<DeliveryId> {
        let at = usize::try_from(roll).unwrap_or(0) % self.lives.len().max(1);
        self.lives.keys().nth(at).copied()
    }

    // --- the host --------------------------------------------------------------------------------

    pub fn put(&mut self, stored: &Webhook, now: Timestamp) {
        let id = stored.id();
        self.paths.insert(stored.address().url().path().to_owned(), id);
        self.order.put(stored);
        let Some(hook) = self.hooks.get_mut(&id) else {
            let hook = Hook {
                webhook: stored.clone(),
                deleted: false,
                paused: None,
                asked: None,
                failing: None,
                warned: None,
                unsure: false,
            };
            self.hooks.insert(id, hook);
            return;
        };
        assert!(!hook.deleted, "I2: a deleted webhook is written");
        let before = std::mem::replace(&mut hook.webhook, stored.clone());
        assert_eq!(stored.version(), before.version() + 1, "versions count up");
        assert!(stored.updated() <= now, "a webhook of the future");
        if !before.is_enabled() && stored.is_enabled() {
            // Deliveries that were born waiting are not known to the model.
            (hook.paused, hook.asked, hook.unsure) = (None, None, true);
            (hook.failing, hook.warned) = (None, None);
        }
    }

    pub fn delete(&mut self, id: WebhookId) {
        if let Some(hook) = self.hooks.get_mut(&id) {
            hook.deleted = true;
        }
    }

    pub fn append(&mut self, events: &[NewEvent], answers: &[Appended], now: Timestamp) {
        assert_eq!(events.len(), answers.len(), "one answer for each event");
        for (new, answer) in events.iter().zip(answers) {
            let known = self.events.get(&new.event.id());
            let expected = match known {
                Some((known, _)) if known.digest() == new.event.digest() => Appended::Duplicate,
                Some(_) => Appended::Conflict,
                None => Appended::Stored,
            };
            assert_eq!(*answer, expected, "I2: stored once: {new:?}");
        }
        if answers.contains(&Appended::Conflict) {
            return;
        }
        for (new, answer) in events.iter().zip(answers) {
            if *answer == Appended::Stored {
                self.keep(new, now);
            }
        }
    }

    fn keep(&mut self, new: &NewEvent, now: Timestamp) {
        let event = &new.event;
        self.events.insert(event.id(), (event.clone(), now));
        self.order.published(event);
        let wanting: Vec<WebhookId> = match new.only {
            Some(only) => vec![only],
            None => {
                let wanting = self.hooks.values().filter(|hook| {
                    let webhook = &hook.webhook;
                    let mut types = webhook.types().iter();
                    hook.is_open()
                        && (webhook.account(), webhook.mode()) == (event.account(), event.mode())
                        && types.any(|one| wants(one.as_str(), event.event_type().as_str()))
                });
                wanting.map(|hook| hook.webhook.id()).collect()
            }
        };
        for webhook in wanting {
            self.owed.insert((event.id(), webhook));
            if new.only.is_none() {
                self.order.owed(event, webhook);
            }
            if new.only.is_some() {
                self.born(event.id(), webhook, Cause::ROUTED, now);
            }
        }
    }

    pub fn enqueue(&mut self, owed: &[Owed], answers: &[Enqueued], now: Timestamp) {
        for (owed, answer) in owed.iter().zip(answers) {
            if let Enqueued::Made(id) = answer {
                assert_eq!(*id, DeliveryId::of(owed.event, owed.webhook, owed.cause));
                self.made.insert(*id);
                self.born(owed.event, owed.webhook, owed.cause, now);
            }
        }
    }

    /// A step of a replay made deliveries; those that are known it did not make.
    pub fn replayed(&mut self, listed: &[Delivery]) {
        for delivery in listed {
            if self.lives.contains_key(&delivery.id) {
                continue;
            }
            let (event, webhook) = (delivery.event, delivery.webhook);
            self.made.insert(delivery.id);
            self.born(event, webhook, delivery.cause, delivery.published);
            if let State::Waiting { due } = delivery.state {
                self.lives.get_mut(&delivery.id).unwrap().wait(due);
            }
        }
    }

    fn born(&mut self, event: EventId, webhook: WebhookId, cause: Cause, published: Timestamp) {
        let id = DeliveryId::of(event, webhook, cause);
        self.pairs.entry((event, webhook)).or_default().deliveries += 1;
        let life = Life::new(event, webhook, published);
        let before = self.lives.insert(id, life);
        assert!(before.is_none(), "I2: {id} is made twice");
    }

    // --- dispatchers -----------------------------------------------------------------------------

    pub fn heartbeat(&mut self, heartbeat: &Heartbeat, alive: Alive) {
        let known = self.alive.contains_key(&heartbeat.dispatcher);
        assert_eq!(known, alive == Alive::Known, "a dispatcher is known until it is reaped");
        let ends = heartbeat.until <= heartbeat.now;
        self.take_back(heartbeat.dispatcher, |life, ticket| {
            let back = ends || heartbeat.abandoned.contains(&ticket);
            if back {
                life.wait(heartbeat.now);
            }
            back
        });
        if ends {
            self.alive.remove(&heartbeat.dispatcher);
        } else {
            // Calls may come late: of two moments the later one counts.
            let until = self.alive.entry(heartbeat.dispatcher).or_default();
            *until = heartbeat.until.max(*until);
        }
    }

    /// A claim call happened: first it reaps.
    pub fn reaped(&mut self, now: Timestamp) {
        let dead: Vec<DispatcherId> = self
            .alive
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(dispatcher, _)| *dispatcher)
            .collect();
        for dispatcher in dead {
            self.alive.remove(&dispatcher);
            self.take_back(dispatcher, |life, _| {
                life.wait(now);
                life.interruptions += 1;
                life.lapsed = true;
                true
            });
        }
    }

    /// Ends the leases of a dispatcher that `take` takes.
    fn take_back(&mut self, dispatcher: DispatcherId, take: impl Fn(&mut Life, u64) -> bool) {
        for id in self.leased.get(&dispatcher).cloned().unwrap_or_default() {
            let life = self.lives.get_mut(&id).unwrap();
            let Phase::Leased { ticket, .. } = life.phase else {
                panic!("{id} is not leased: {life:?}");
            };
            if take(life, ticket) {
                if std::mem::take(&mut life.acknowledged) {
                    self.exposed += 1;
                    self.pairs.get_mut(&life.pair()).unwrap().exposed += 1;
                }
                self.unlease(dispatcher, id);
            }
        }
    }

    fn unlease(&mut self, dispatcher: DispatcherId, id: DeliveryId) {
        if let Some(leased) = self.leased.get_mut(&dispatcher) {
            leased.remove(&id);
        }
    }

    /// A dispatcher has stopped. `clean`: nothing kept it from writing what it knew.
    pub fn stopped(&mut self, dispatcher: DispatcherId, clean: bool) {
        if !clean {
            self.dead.insert(dispatcher);
            return;
        }
        let left = self.leased.get(&dispatcher);
        assert!(
            left.is_none_or(BTreeSet::is_empty),
            "I11: {dispatcher} has stopped and still holds {left:?}"
        );
        assert!(
            !self.alive.contains_key(&dispatcher),
            "I11: {dispatcher} has stopped without a goodbye"
        );
    }

    // --- leases ----------------------------------------------------------------------------------

    /// A route or claim call happened. Which deliveries a route made shows only where they were
    /// leased, so the model takes those that it did not know as made now.
    pub fn leased(&mut self, turn: &Turn, leased: &[Leased], routed: bool) {
        let alive = self.alive.get(&turn.dispatcher);
        assert!(alive.is_some_and(|until| *until > turn.now), "I4: leases go to the living only");
        for one in leased {
            self.lease(turn, one, routed);
        }
        self.check_limits(turn.dispatcher);
    }

    fn lease(&mut self, turn: &Turn, one: &Leased, routed: bool) {
        let delivery = &one.delivery;
        let (id, event, webhook) = (delivery.id, delivery.event, delivery.webhook);
        if !self.lives.contains_key(&id) {
            // Routed in this call, or born waiting in an earlier one.
            let owed = self.owed.contains(&(event, webhook)) && delivery.cause == Cause::ROUTED;
            assert!(owed, "I2: {id} is owed to nobody");
            let published = self.events[&event].1;
            self.born(event, webhook, Cause::ROUTED, published);
            // A call may come later than the times that it names.
            let life = self.lives.get_mut(&id).unwrap();
            life.wait(published.min(turn.now));
        }
        let hook = self.hooks.get_mut(&webhook);
        let Some(hook) = hook.filter(|hook| hook.is_open()) else {
            panic!("I6: {id} is leased for a webhook that is not enabled, or not there");
        };
        let is = &hook.webhook;
        assert_eq!(*one.webhook, *is, "a lease carries the webhook as it is");
        let (kept, _) = &self.events[&event];
        assert_eq!(one.event.payload(), kept.payload(), "I9: the bytes as kept");
        assert_eq!(
            (kept.account(), kept.mode()),
            (is.account(), is.mode()),
            "I2: {id} is another account's or mode's"
        );
        assert!(
            !(routed && one.webhook.needs_holder()),
            "I7: {id} is born leased, and nobody asked who holds its lane"
        );
        let unsure = std::mem::take(&mut hook.unsure);
        match hook.paused {
            Some(until) => {
                assert!(until <= turn.now, "I6: {id} is leased in a pause, until {until}");
                assert!(one.probe && !routed, "I6: after a pause comes a probe");
            }
            None => assert!(!one.probe || unsure, "I6: a probe without a pause"),
        }
        assert_eq!(one.failing_since, hook.failing, "a lease carries the facts of its lane");
        if one.probe {
            hook.paused = Some(turn.now + turn.probe);
        }
        if delivery.cause == Cause::ROUTED {
            self.check_order(event, webhook, turn.now);
        }
        let life = self.lives.get_mut(&id).unwrap();
        match life.phase {
            Phase::Waiting { due } => {
                assert!(due <= turn.now, "I6: {id} is leased before it is due");
            }
            other => panic!("I4: {id} is leased while it is {other:?}"),
        }
        life.lease(turn.dispatcher, turn.ticket, turn.now, one);
        let said = (delivery.attempt, delivery.failures, delivery.interruptions, delivery.lapsed);
        assert_eq!(said, life.counters(), "I5: {id}: the counters of its lease");
        assert_eq!(delivery.published, life.published, "{id}: when it was published");
        let leased = self.leased.entry(turn.dispatcher).or_default();
        leased.insert(id);
        self.leases += 1;
        self.note(id.uuid().as_u64_pair().1 ^ turn.now.timestamp_millis() as u64);
    }

    fn check_limits(&self, dispatcher: DispatcherId) {
        let Some(leased) = self.leased.get(&dispatcher) else {
            return;
        };
        let total = leased.len();
        assert!(total <= self.in_flight as usize, "I7: {total} in flight");
        let mut by_webhook: BTreeMap<WebhookId, u32> = BTreeMap::new();
        for id in leased {
            *by_webhook.entry(self.lives[id].webhook).or_default() += 1;
        }
        for (webhook, count) in by_webhook {
            assert!(count <= self.each, "I7: {count} in flight to {webhook}");
        }
    }

    // --- settlements -----------------------------------------------------------------------------

    pub fn settle(&mut self, settlements: &[Settlement], answers: &[Settled], now: Timestamp) {
        assert_eq!(settlements.len(), answers.len(), "one answer for each settlement");
        for (settlement, answer) in settlements.iter().zip(answers) {
            self.settle_one(settlement, *answer, now);
        }
    }

    fn settle_one(&mut self, settlement: &Settlement, answer: Settled, now: Timestamp) {
        let fence = &settlement.fence;
        let id = fence.delivery;
        let Some(life) = self.lives.get_mut(&id) else {
            panic!("I4: a settlement of {id}, which was never leased");
        };
        let gone = self.hooks[&life.webhook].deleted;
        if let Some(attempt) = &settlement.attempt {
            assert_eq!(attempt.number, fence.attempt, "{id}: attempts are numbered");
        }
        let same = life.attempt == fence.attempt;
        match life.phase {
            Phase::Leased { by, .. } if same && by == fence.dispatcher => {}
            Phase::Waiting { .. } | Phase::Ended(_)
                if same && life.settled_by == Some(fence.dispatcher) =>
            {
                assert!(
                    answer == Settled::Applied { turned: None } || gone,
                    "I4: a repeated settlement is answered with the same, not {answer:?}"
                );
                return;
            }
            _ => {
                life.record(settlement.attempt.as_ref());
                assert!(
                    answer == Settled::Lost || (gone && answer == Settled::Gone),
                    "I4: a late settlement is lost, not {answer:?}: {life:?}"
                );
                self.lost += 1;
                return;
            }
        }
        life.record(settlement.attempt.as_ref());
        life.settled_by = Some(fence.dispatcher);
        life.acknowledged = false;
        if gone {
            assert_eq!(answer, Settled::Gone, "the delivery of a deleted webhook is gone");
            let to = &settlement.transition;
            life.failures = to.failures;
            life.interruptions = to.interruptions;
            life.lapsed = to.lapsed;
            let delivered = to.next == Next::Delivered;
            self.end(id, if delivered { StateKind::Delivered } else { StateKind::Cancelled });
        } else {
            let Settled::Applied { turned } = answer else {
                panic!("I4: the holder's settlement is {answer:?}");
            };
            self.apply(settlement, turned, now);
        }
        self.unlease(fence.dispatcher, id);
    }

    /// The holder's settlement of a webhook that is there.
    fn apply(&mut self, settlement: &Settlement, turned: Option<Turned>, now: Timestamp) {
        let Settlement { fence, attempt, transition, .. } = settlement;
        let (id, at) = (fence.delivery, transition.at);
        let life = self.lives.get_mut(&id).unwrap();
        let hook = self.hooks.get_mut(&life.webhook).unwrap();
        let before = life.before(hook.webhook.mode());
        assert!(
            at >= life.leased_at() && at <= now,
            "{id}: decided at {at}, which is not between its lease and its settlement"
        );
        let alone = self.pairs[&life.pair()].deliveries == 1;
        if let Some(attempt) = attempt
            && alone
        {
            assert!(
                agrees(life.said, &attempt.outcome),
                "I8: {id}: the receiver said {:?}, on record is {:?}",
                life.said,
                attempt.outcome
            );
        }
        let verdict = self.rules.judge(&before, attempt.as_ref(), transition);
        let leased = life.leased.as_ref().unwrap();
        if let Some(attempt) = attempt
            && (attempt.outcome != Outcome::Interrupted
                || must_account(&leased.delivery, &self.policy))
        {
            let seen = Seen { failing_since: leased.failing_since, probe: leased.probe };
            let (delivery, webhook) = (&leased.delivery, &leased.webhook);
            let expected = advance(delivery, webhook, seen, &attempt.outcome, &self.policy, at);
            assert_eq!(*transition, expected, "the decision of {attempt:?}");
        }
        life.failures = transition.failures;
        life.interruptions = transition.interruptions;
        life.lapsed = transition.lapsed;
        match transition.lane {
            LaneChange::None => {}
            LaneChange::Pause { until } => {
                hook.paused = hook.paused.max(Some(until));
                hook.asked = hook.asked.max(Some(until));
            }
            LaneChange::Open => (hook.paused, hook.asked) = (None, None),
            LaneChange::Probed { until } => {
                assert!(before.probe, "I6: only a probe ends its pause");
                hook.asked = hook.asked.max(Some(until));
                hook.paused = hook.asked;
            }
            other => panic!("a change of the lane that the model does not know: {other:?}"),
        }
        let (mut reason, mut expected) = (None, None);
        match verdict {
            Verdict::Nothing => {}
            Verdict::Success => {
                let since = hook.failing.take();
                let warned = hook.warned.take().is_some();
                expected = since.filter(|_| warned).map(|since| Turned::Recovered { since });
            }
            Verdict::Failure { gone } => {
                let since = *hook.failing.get_or_insert(at);
                // What the lease told of may have ended meanwhile: then it is another stretch.
                let same = before.failing_since == Some(since);
                let lasts = |time| same && since + time <= at;
                reason = if gone {
                    Some(DisabledReason::Gone)
                } else if lasts(self.rules.disable_after(before.mode)) {
                    Some(DisabledReason::Failing)
                } else {
                    None
                };
                if reason.is_none()
                    && lasts(self.rules.warn_after(before.mode))
                    && hook.warned.is_none()
                {
                    hook.warned = Some(since);
                    expected = Some(Turned::Failing { since });
                }
            }
        }
        let reason = reason.filter(|_| hook.webhook.is_enabled());
        let disabled = reason.map(|reason| Turned::Disabled { reason });
        let expected = disabled.or(expected).filter(|_| hook.webhook.is_enabled());
        assert_eq!(
            turned, expected,
            "I6: warned of, disabled by the rule, and told so: failing since {:?}",
            hook.failing
        );
        if let Some(reason) = reason {
            self.disabled += 1;
            hook.webhook = hook.webhook.disable(reason).stored(now);
        }
        match transition.next {
            Next::Waiting { due } => life.phase = Phase::Waiting { due },
            Next::Delivered => {
                let pair = self.pairs.get_mut(&life.pair()).unwrap();
                pair.delivered += 1;
                assert!(pair.delivered <= pair.acknowledged, "I1: {id} is delivered without a 2xx");
                self.end(id, StateKind::Delivered);
            }
            Next::Exhausted => self.end(id, StateKind::Exhausted),
            Next::Expired => self.end(id, StateKind::Expired),
            other => panic!("an end that the model does not know: {other:?}"),
        }
        let plain = transition.lane == LaneChange::None;
        self.note(u64::from(plain) ^ u64::from(fence.attempt));
    }

    fn end(&mut self, id: DeliveryId, kind: StateKind) {
        self.lives.get_mut(&id).unwrap().phase = Phase::Ended(kind);
    }

    // --- what receivers saw ----------------------------------------------------------------------

    /// A request for an event arrives at a webhook: some delivery of it must be leased to the
    /// sender. Returns it, and the webhook as its lease has it.
    pub fn request(
        &mut self,
        event: EventId,
        webhook: WebhookId,
        by: DispatcherId,
        now: Timestamp,
        until: Timestamp,
    ) -> (Request, Arc<Webhook>) {
        let deadline = until;
        let alone = self.pairs[&(event, webhook)].deliveries == 1;
        let mode = self.hooks[&webhook].webhook.mode();
        let leased = self.leased.get(&by).into_iter().flatten();
        let id = leased.copied().find(|id| {
            let life = &self.lives[id];
            let may_be_sent = !life.requested && !self.rules.must_account(&life.before(mode));
            life.pair() == (event, webhook) && (alone || may_be_sent)
        });
        let Some(id) = id else {
            panic!("I6: a request for {event} to {webhook} without a lease");
        };
        // By its own clock the sender may be a millisecond late.
        let until = self.alive.get(&by).copied().unwrap_or_default();
        assert!(
            now < until + Duration::from_millis(2),
            "I4: {id} is sent at {now}, when its lease had run out at {until}"
        );
        let life = self.lives.get_mut(&id).unwrap();
        assert!(
            !self.rules.must_account(&life.before(mode)),
            "I5: {id} is sent before its interruptions are accounted for"
        );
        if alone {
            assert!(!life.acknowledged, "I3: {id} is sent again after a 2xx, without a fault");
            assert!(!life.requested, "I3: {id} is sent twice with one lease");
        }
        life.requested = true;
        let request =
            Request { delivery: id, number: life.attempt, by, serial: self.requests.len() };
        self.requests.push(request);
        let webhook = life.leased.as_ref().unwrap().webhook.clone();
        self.order.request(request, &webhook, now, deadline);
        (request, webhook)
    }

    /// The sender is done with a request.
    pub fn over(&mut self, request: Request) {
        self.order.over(request);
    }

    /// I12: each earlier event of the object has ended.
    fn check_order(&self, event: EventId, webhook: WebhookId, now: Timestamp) {
        for earlier in self.order.before(event, webhook) {
            let life = self.lives.get(&DeliveryId::of(earlier, webhook, Cause::ROUTED));
            let ended = life.is_some_and(|life| matches!(life.phase, Phase::Ended(_)));
            // A sweep may have ended what waited.
            let old = self.events[&earlier].1 + self.rules.expire_after <= now;
            assert!(
                ended || old,
                "I12: {event} is leased for {webhook} before {earlier} of its object has ended"
            );
        }
    }

    /// The sender gets an answer, which may ask it to wait.
    pub fn answered(&mut self, request: Request, status: u16, asked: Option<Duration>) {
        let id = request.delivery;
        let life = self.lives.get_mut(&id).unwrap();
        let holds = life.attempt == request.number
            && matches!(life.phase, Phase::Leased { by, .. } if by == request.by);
        if holds {
            life.said = Some((status, asked));
        }
        if !(200..300).contains(&status) {
            return;
        }
        let pair = self.pairs.get_mut(&life.pair()).unwrap();
        pair.acknowledged += 1;
        if holds {
            life.acknowledged = true;
        } else {
            // Its lease ended while it was under way, or it was another delivery of the pair.
            pair.exposed += 1;
            self.exposed += u64::from(pair.deliveries == 1);
        }
        assert!(
            pair.acknowledged <= pair.deliveries + pair.exposed,
            "I3: {id} got more answers of 2xx than faults explain"
        );
    }
}
