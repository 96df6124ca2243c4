//! What must be true. The model is told of every storage call in the order in which they happened,
//! and applies the same pure rules; where the store or the engine disagrees, it says so.
//!
//! The invariants I1–I12 of the design are named in the messages.

use std::collections::{BTreeMap, BTreeSet};

use tidings::storage::{
    Alive, Appended, Enqueued, Heartbeat, Leased, NewEvent, Owed, Settled, Settlement, Turn,
};
use tidings::{
    Cause, Delivery, DeliveryId, DispatcherId, Event, EventId, Lane, LaneChange, Next, Outcome,
    Policy, Readiness, Seen, Standing, State, Timestamp, Webhook, WebhookId, advance, must_account,
};

/// A delivery as the model knows it.
#[derive(Debug)]
struct Entry {
    delivery: Delivery,
    seen: Seen,
    /// Its sender saw a 2xx, and still has the lease.
    acknowledged: bool,
}

/// One event and one webhook: with a redelivery there is more than one delivery of them, and a
/// request does not tell for which it is.
#[derive(Debug, Default)]
struct Pair {
    deliveries: u32,
    acknowledged: u32,
    delivered: u32,
}

/// The world as it must be.
#[derive(Debug)]
pub struct Model {
    policy: Policy,
    in_flight: u32,
    each: u32,
    events: BTreeMap<EventId, Event>,
    webhooks: BTreeMap<WebhookId, Webhook>,
    deleted: BTreeMap<WebhookId, Webhook>,
    paths: BTreeMap<String, WebhookId>,
    lanes: BTreeMap<WebhookId, Lane>,
    deliveries: BTreeMap<DeliveryId, Entry>,
    alive: BTreeMap<DispatcherId, Timestamp>,
    /// Event and webhook pairs that rule 4 of the storage contract names.
    owed: BTreeSet<(EventId, WebhookId)>,
    made: BTreeSet<DeliveryId>,
    pairs: BTreeMap<(EventId, WebhookId), Pair>,
    /// Enabled while the model could not know whether something waited: the first lease may be a
    /// probe.
    unsure: BTreeSet<WebhookId>,
    /// Deliveries that were acknowledged, but taken from their sender before it had settled.
    pub exposed: u64,
    pub lost: u64,
    pub leases: u64,
    pub settled: u64,
    pub disabled: u64,
    digest: u64,
}

impl Model {
    pub fn new(policy: Policy, in_flight: u32, each: u32) -> Self {
        Self {
            policy,
            in_flight,
            each,
            events: BTreeMap::new(),
            webhooks: BTreeMap::new(),
            deleted: BTreeMap::new(),
            paths: BTreeMap::new(),
            lanes: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            alive: BTreeMap::new(),
            owed: BTreeSet::new(),
            made: BTreeSet::new(),
            pairs: BTreeMap::new(),
            unsure: BTreeSet::new(),
            exposed: 0,
            lost: 0,
            leases: 0,
            settled: 0,
            disabled: 0,
            digest: 0,
        }
    }

    /// A number that is the same for the same history.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    fn note(&mut self, value: u64) {
        self.digest = (self.digest ^ value)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(23);
    }

    pub fn event(&self, id: EventId) -> Option<&Event> {
        self.events.get(&id)
    }

    /// The webhook, also after its deletion.
    pub fn webhook(&self, id: WebhookId) -> Option<&Webhook> {
        self.webhooks.get(&id).or_else(|| self.deleted.get(&id))
    }

    pub fn webhook_at(&self, path: &str) -> Option<WebhookId> {
        self.paths.get(path).copied()
    }

    pub fn any_webhook(&self, roll: u64) -> Option<WebhookId> {
        let at = usize::try_from(roll).unwrap_or(0) % self.webhooks.len().max(1);
        self.webhooks.keys().nth(at).copied()
    }

    pub fn any_event(&self, roll: u64) -> Option<&Event> {
        let at = usize::try_from(roll).unwrap_or(0) % self.events.len().max(1);
        self.events.values().nth(at)
    }

    pub fn webhooks(&self) -> impl Iterator<Item = &Webhook> {
        self.webhooks.values()
    }

    pub fn published(&self) -> usize {
        self.events.len()
    }

    pub fn deliveries(&self) -> usize {
        self.deliveries.len()
    }

    pub fn any_delivery(&self, roll: u64) -> Option<DeliveryId> {
        let count = self.deliveries.len();
        let at = usize::try_from(roll).unwrap_or(0) % count.max(1);
        self.deliveries.keys().nth(at).copied()
    }

    // --- what happened ---------------------------------------------------------------------------

    pub fn put(&mut self, stored: &Webhook, now: Timestamp) {
        self.paths
            .insert(stored.address().url().path().to_owned(), stored.id());
        let before = self.webhooks.insert(stored.id(), stored.clone());
        let lane = self.lanes.entry(stored.id()).or_default();
        if let Some(before) = before {
            assert_eq!(stored.version(), before.version() + 1, "versions count up");
            if !before.is_enabled() && stored.is_enabled() {
                // Deliveries that were born waiting are not known to the model.
                lane.next_due = None;
                lane.enable(now);
                self.unsure.insert(stored.id());
            }
        }
    }

    pub fn delete(&mut self, id: WebhookId) {
        if let Some(webhook) = self.webhooks.remove(&id) {
            self.deleted.insert(id, webhook);
        }
    }

    pub fn append(&mut self, events: &[NewEvent], answers: &[Appended], now: Timestamp) {
        assert_eq!(events.len(), answers.len(), "one answer for each event");
        if answers.contains(&Appended::Conflict) {
            return;
        }
        for (new, answer) in events.iter().zip(answers) {
            let known = self.events.contains_key(&new.event.id());
            assert_eq!(
                known,
                *answer == Appended::Duplicate,
                "I2: stored once: {new:?}"
            );
            if known {
                continue;
            }
            self.events.insert(new.event.id(), new.event.clone());
            let wanting: Vec<WebhookId> = match new.only {
                Some(only) => vec![only],
                None => self
                    .webhooks
                    .values()
                    .filter(|webhook| {
                        webhook.is_enabled()
                            && webhook.account() == new.event.account()
                            && webhook.mode() == new.event.mode()
                            && webhook.types().matches(new.event.event_type())
                    })
                    .map(Webhook::id)
                    .collect(),
            };
            for webhook in wanting {
                self.owed.insert((new.event.id(), webhook));
                if new.only.is_some() {
                    self.born(new.event.id(), webhook, Cause::ROUTED, now);
                }
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

    fn born(&mut self, event: EventId, webhook: WebhookId, cause: Cause, now: Timestamp) {
        let delivery = Delivery::owed(event, webhook, cause, now, now);
        let entry = Entry {
            delivery,
            seen: Seen::default(),
            acknowledged: false,
        };
        self.pairs.entry((event, webhook)).or_default().deliveries += 1;
        let id = entry.delivery.id;
        assert!(
            self.deliveries.insert(id, entry).is_none(),
            "I2: {id} is made twice"
        );
    }

    pub fn heartbeat(&mut self, heartbeat: &Heartbeat, alive: Alive) {
        let known = self.alive.contains_key(&heartbeat.dispatcher);
        assert_eq!(
            known,
            alive == Alive::Known,
            "a dispatcher is known until it is reaped"
        );
        let ends = heartbeat.until <= heartbeat.now;
        for entry in self.deliveries.values_mut() {
            if let State::Leased { dispatcher, ticket } = entry.delivery.state
                && dispatcher == heartbeat.dispatcher
                && (ends || heartbeat.abandoned.contains(&ticket))
            {
                self.exposed += u64::from(std::mem::take(&mut entry.acknowledged));
                entry.delivery.abandon(heartbeat.now);
            }
        }
        if ends {
            self.alive.remove(&heartbeat.dispatcher);
        } else {
            self.alive.insert(heartbeat.dispatcher, heartbeat.until);
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
            for entry in self.deliveries.values_mut() {
                if matches!(entry.delivery.state, State::Leased { dispatcher: by, .. } if by == dispatcher)
                {
                    self.exposed += u64::from(std::mem::take(&mut entry.acknowledged));
                    entry.delivery.reap(now);
                }
            }
        }
    }

    /// A route call happened: which deliveries it made shows only where they were leased, so the
    /// model takes those that it did not know as made now.
    pub fn leased(&mut self, turn: &Turn, leased: &[Leased], routed: bool) {
        assert!(
            self.alive
                .get(&turn.dispatcher)
                .is_some_and(|until| *until > turn.now),
            "leases go to the living only"
        );
        assert!(
            leased.len() <= turn.total as usize,
            "I7: more leases than permits"
        );
        for one in leased {
            let id = one.delivery.id;
            let webhook = self
                .webhooks
                .get(&one.delivery.webhook)
                .unwrap_or_else(|| panic!("I6: {id} is leased for a webhook that is not there"));
            assert!(
                webhook.is_enabled(),
                "I6: {id} is leased for a disabled webhook"
            );
            assert_eq!(
                *one.webhook, *webhook,
                "a lease carries the webhook as it is"
            );
            if !self.deliveries.contains_key(&id) {
                // Routed in this call, or born waiting in an earlier one.
                assert!(
                    self.owed
                        .contains(&(one.delivery.event, one.delivery.webhook)),
                    "I2: {id} is owed to nobody"
                );
                assert_eq!(one.delivery.cause, Cause::ROUTED);
                self.born(
                    one.delivery.event,
                    one.delivery.webhook,
                    Cause::ROUTED,
                    // A call may come later than the times that it names.
                    one.delivery.published.min(turn.now),
                );
            }
            let lane = self.lanes.entry(one.delivery.webhook).or_default();
            lane.next_due = Some(turn.now);
            let unsure = self.unsure.remove(&one.delivery.webhook);
            match lane.readiness(turn.now) {
                Readiness::NotReady => panic!("I6: {id} is leased during a pause: {lane:?}"),
                Readiness::Probe => assert!(one.probe && !routed, "after a pause comes a probe"),
                Readiness::Open => assert!(!one.probe || unsure, "a probe without a pause"),
            }
            assert_eq!(
                one.failing_since, lane.failing_since,
                "a lease carries the lane's facts"
            );
            if one.probe {
                lane.probe(tidings::time::after(turn.now, turn.probe));
            }
            let entry = self.deliveries.get_mut(&id).unwrap();
            match entry.delivery.state {
                State::Waiting { due } => {
                    assert!(due <= turn.now, "I6: {id} is leased before it is due")
                }
                other => panic!("I4: {id} is leased while it is {other:?}"),
            }
            entry.delivery.lease(turn.dispatcher, turn.ticket);
            entry.seen = Seen {
                failing_since: one.failing_since,
                probe: one.probe,
            };
            assert_eq!(
                (
                    one.delivery.attempt,
                    one.delivery.failures,
                    one.delivery.interruptions,
                    one.delivery.lapsed
                ),
                (
                    entry.delivery.attempt,
                    entry.delivery.failures,
                    entry.delivery.interruptions,
                    entry.delivery.lapsed
                ),
                "{id}: counters"
            );
            self.leases += 1;
            self.note(id.uuid().as_u64_pair().1 ^ turn.now.timestamp_millis() as u64);
        }
        self.check_limits(turn.dispatcher);
    }

    fn check_limits(&self, dispatcher: DispatcherId) {
        let mut total = 0;
        let mut by_webhook: BTreeMap<WebhookId, u32> = BTreeMap::new();
        for entry in self.deliveries.values() {
            if matches!(entry.delivery.state, State::Leased { dispatcher: by, .. } if by == dispatcher)
            {
                total += 1;
                *by_webhook.entry(entry.delivery.webhook).or_default() += 1;
            }
        }
        assert!(total <= self.in_flight, "I7: {total} in flight");
        for (webhook, count) in by_webhook {
            assert!(count <= self.each, "I7: {count} in flight to {webhook}");
        }
    }

    pub fn settle(&mut self, settlements: &[Settlement], answers: &[Settled], now: Timestamp) {
        assert_eq!(
            settlements.len(),
            answers.len(),
            "one answer for each settlement"
        );
        for (settlement, answer) in settlements.iter().zip(answers) {
            let fence = &settlement.fence;
            let Some(entry) = self.deliveries.get_mut(&fence.delivery) else {
                panic!(
                    "I4: a settlement of {} which was never leased",
                    fence.delivery
                );
            };
            let webhook = entry.delivery.webhook;
            let gone = self.deleted.contains_key(&webhook);
            match entry.delivery.standing(fence) {
                Standing::Repeated => {
                    assert!(
                        *answer == Settled::Applied { disabled: false } || *answer == Settled::Gone,
                        "a repeated settlement is answered with the same"
                    );
                }
                Standing::Lost => {
                    assert!(
                        *answer == Settled::Lost || (gone && *answer == Settled::Gone),
                        "I4: a late settlement is lost, not {answer:?}: {:?}",
                        entry.delivery
                    );
                    self.lost += 1;
                }
                Standing::Holds if gone => {
                    assert_eq!(
                        *answer,
                        Settled::Gone,
                        "a deleted webhook's delivery is gone"
                    );
                    let at = now;
                    entry.delivery.state = match settlement.transition.next {
                        Next::Delivered => State::Delivered {
                            at: settlement.transition.at,
                        },
                        _ => State::Cancelled { at },
                    };
                    entry.delivery.settled_by = Some(fence.dispatcher);
                }
                Standing::Holds => {
                    let Settled::Applied { disabled } = *answer else {
                        panic!("I4: the holder's settlement is {answer:?}");
                    };
                    let stored = self.webhooks.get(&webhook).unwrap().clone();
                    if let Some(attempt) = &settlement.attempt
                        && !(attempt.outcome == Outcome::Interrupted
                            && !must_account(&entry.delivery, &self.policy))
                    {
                        let expected = advance(
                            &entry.delivery,
                            &stored,
                            entry.seen,
                            &attempt.outcome,
                            &self.policy,
                            settlement.transition.at,
                        );
                        assert_eq!(
                            settlement.transition, expected,
                            "the decision of {attempt:?}"
                        );
                        assert_eq!(attempt.number, fence.attempt);
                    }
                    settlement
                        .transition
                        .apply(&mut entry.delivery, fence.dispatcher);
                    if matches!(entry.delivery.state, State::Delivered { .. }) {
                        let pair = self
                            .pairs
                            .entry((entry.delivery.event, webhook))
                            .or_default();
                        pair.delivered += 1;
                        assert!(
                            pair.delivered <= pair.acknowledged,
                            "I1: delivered without a 2xx"
                        );
                    }
                    entry.acknowledged = false;
                    let tries = self.policy.schedule(stored.mode()).tries();
                    assert!(entry.delivery.failures <= tries, "I5: {:?}", entry.delivery);
                    let lane = self.lanes.entry(webhook).or_default();
                    lane.change(settlement.transition.lane, now);
                    let reason = lane.health(settlement.transition.health);
                    let disables = reason.filter(|_| stored.is_enabled());
                    assert_eq!(
                        disables.is_some(),
                        disabled,
                        "disabled by the rule, and told so"
                    );
                    if let Some(reason) = disables {
                        self.disabled += 1;
                        self.webhooks
                            .insert(webhook, stored.disable(reason).stored(now));
                    }
                    self.settled += 1;
                    let state = settlement.transition.lane == LaneChange::None;
                    self.note(u64::from(state) ^ u64::from(fence.attempt));
                }
            }
        }
    }

    // --- what receivers saw ----------------------------------------------------------------------

    /// A request for an event arrives at a webhook: some delivery of it must be leased to the
    /// sender.
    pub fn request(&mut self, event: EventId, webhook: WebhookId, by: DispatcherId) -> DeliveryId {
        let (low, high) = DeliveryId::range_of(event);
        let leased = self.deliveries.range_mut(low..=high).find(|(_, entry)| {
            entry.delivery.event == event
                && entry.delivery.webhook == webhook
                && matches!(entry.delivery.state, State::Leased { dispatcher, .. } if dispatcher == by)
        });
        let Some((id, entry)) = leased else {
            panic!("I6: a request for {event} to {webhook} without a lease");
        };
        if self.pairs[&(event, webhook)].deliveries == 1 {
            assert!(
                !entry.acknowledged,
                "I3: {id} is sent again after a 2xx, without a fault"
            );
        }
        *id
    }

    /// The sender gets a 2xx.
    pub fn acknowledged(&mut self, delivery: DeliveryId) {
        let entry = self.deliveries.get_mut(&delivery).unwrap();
        entry.acknowledged = true;
        let pair = (entry.delivery.event, entry.delivery.webhook);
        self.pairs.entry(pair).or_default().acknowledged += 1;
    }

    // --- the end ---------------------------------------------------------------------------------

    /// Whether everything that can end has ended, by what the store lists.
    pub fn is_drained(&self, stored: &[(Delivery, u32)]) -> bool {
        let open =
            |webhook: &WebhookId| self.webhooks.get(webhook).is_some_and(Webhook::is_enabled);
        let known: BTreeSet<DeliveryId> = stored.iter().map(|(delivery, _)| delivery.id).collect();
        self.owed.iter().all(|(event, webhook)| {
            known.contains(&DeliveryId::of(*event, *webhook, Cause::ROUTED))
        }) && stored
            .iter()
            .all(|(delivery, _)| delivery.state.is_ended() || !open(&delivery.webhook))
    }

    /// Compares the model with all deliveries that the store lists.
    pub fn check_end(&self, stored: &[(Delivery, u32)]) {
        let stored: BTreeMap<DeliveryId, &(Delivery, u32)> =
            stored.iter().map(|entry| (entry.0.id, entry)).collect();
        for (event, webhook) in &self.owed {
            let id = DeliveryId::of(*event, *webhook, Cause::ROUTED);
            assert!(
                stored.contains_key(&id),
                "I1: {event} is owed to {webhook} and lost"
            );
        }
        for (id, entry) in &self.deliveries {
            let (delivery, attempts) = stored
                .get(id)
                .unwrap_or_else(|| panic!("I1: {id} is lost: {:?}", entry.delivery));
            let swept = matches!(
                delivery.state,
                State::Expired { .. } | State::Cancelled { .. }
            );
            if swept {
                assert!(
                    entry.delivery.state.kind() == delivery.state.kind()
                        || matches!(entry.delivery.state, State::Waiting { .. }),
                    "I1: {id} was ended by a sweep while {:?}",
                    entry.delivery.state
                );
            } else {
                assert_eq!(
                    (delivery.state, delivery.failures, delivery.interruptions),
                    (
                        entry.delivery.state,
                        entry.delivery.failures,
                        entry.delivery.interruptions
                    ),
                    "{id}: the store and the model disagree"
                );
            }
            assert!(
                *attempts <= entry.delivery.attempt,
                "I8: {id} has {attempts} attempts on record"
            );
            let open = self
                .webhooks
                .get(&delivery.webhook)
                .is_some_and(Webhook::is_enabled);
            assert!(
                delivery.state.is_ended() || !open,
                "I10: {id} is stuck: {:?} {:?} {:?}",
                delivery,
                self.lanes.get(&delivery.webhook),
                self.webhooks.get(&delivery.webhook),
            );
        }
        for (id, (delivery, _)) in &stored {
            assert!(
                self.owed.contains(&(delivery.event, delivery.webhook)) || self.made.contains(id),
                "I2: {id} is owed to nobody"
            );
            assert!(
                !matches!(delivery.state, State::Leased { .. }),
                "I11: {id} is still leased after the end"
            );
        }
    }
}
