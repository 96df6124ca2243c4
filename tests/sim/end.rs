//! What must be true at the end: everything that the store lists, compared with the model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidings::statistics::{Hour, Measure, StatisticsReport, counted};
use tidings::storage::Counted;
use tidings::{
    Attempt, Cause, Delivery, DeliveryId, DeliveryView, EventId, FailureKind, Outcome, State,
    StateKind, Webhook, WebhookId,
};

use super::life::{Life, Phase};
use super::model::Model;

/// What a store lists in the end.
#[derive(Debug)]
pub struct Listed {
    pub deliveries: Vec<DeliveryView>,
    pub webhooks: Vec<Webhook>,
    /// What was counted, if the store counts.
    pub counts: Option<Vec<Counted>>,
}

impl Model {
    /// Whether everything that can end has ended.
    pub fn is_drained(&self, listed: &Listed) -> bool {
        let ids = |view: &DeliveryView| view.delivery.id;
        let known: BTreeSet<DeliveryId> = listed.deliveries.iter().map(ids).collect();
        let routed = self.owed.iter().all(|(event, webhook)| {
            known.contains(&DeliveryId::of(*event, *webhook, Cause::ROUTED))
        });
        routed
            && listed.deliveries.iter().all(|view| {
                let delivery = &view.delivery;
                delivery.state.is_ended() || !self.is_open(delivery.webhook)
            })
    }

    pub fn is_open(&self, webhook: WebhookId) -> bool {
        self.hooks.get(&webhook).is_some_and(|hook| hook.is_open())
    }

    /// Compares the model with all that the store lists.
    pub fn check_end(&self, listed: &Listed) {
        let stored: BTreeMap<DeliveryId, &DeliveryView> =
            listed.deliveries.iter().map(|view| (view.delivery.id, view)).collect();
        for (event, webhook) in &self.owed {
            let id = DeliveryId::of(*event, *webhook, Cause::ROUTED);
            assert!(stored.contains_key(&id), "I1: {event} is owed to {webhook} and lost");
        }
        for (id, life) in &self.lives {
            let Some(view) = stored.get(id) else {
                panic!("I1: {id} is lost: {life:?}");
            };
            self.check_delivery(&view.delivery, life);
            let numbers: BTreeSet<u32> = view.attempts.iter().map(|one| one.number).collect();
            assert_eq!(numbers, life.recorded, "I8: {id}: the attempts that were written down");
            assert!(
                view.attempts.is_sorted_by_key(|attempt| attempt.number),
                "I8: {id}: attempts in their order"
            );
        }
        for (id, view) in &stored {
            let delivery = &view.delivery;
            assert!(
                self.owed.contains(&(delivery.event, delivery.webhook)) || self.made.contains(id),
                "I2: {id} is owed to nobody"
            );
            assert!(
                !matches!(delivery.state, State::Leased { .. }),
                "I11: {id} is still leased after the end"
            );
            assert!(
                delivery.state.is_ended() || !self.is_open(delivery.webhook),
                "I10: {id} is stuck: {delivery:?}",
            );
        }
        self.check_requests(&stored);
        check_counts(listed);
        self.check_webhooks(listed);
    }

    fn check_delivery(&self, delivery: &Delivery, life: &Life) {
        let id = delivery.id;
        let ended = |kind| life.phase == Phase::Ended(kind);
        let waits = matches!(life.phase, Phase::Waiting { .. });
        let agrees = match delivery.state {
            State::Waiting { due } => life.phase == Phase::Waiting { due } || life.attempt == 0,
            // A sweep may have ended it while it waited.
            State::Expired { at } if waits => {
                assert!(
                    at + Duration::from_millis(1) >= life.published + self.rules().expire_after,
                    "I1: {id} was swept before its time"
                );
                true
            }
            State::Cancelled { .. } if waits => self.hooks[&delivery.webhook].deleted,
            state => ended(state.kind()),
        };
        assert!(agrees, "I1: {id} is {:?}, and should be {:?}", delivery.state, life.phase);
        assert_eq!(
            (delivery.attempt, delivery.failures, delivery.interruptions, delivery.lapsed),
            life.counters(),
            "I5: {id}: the counters in the end"
        );
        let successes = matches!(delivery.state.kind(), StateKind::Delivered);
        assert_eq!(successes, ended(StateKind::Delivered), "I3: {id}: one end");
    }

    /// I8: each request that a receiver saw is on record, unless its sender died. Where an event
    /// was delivered to a webhook more than once, they are counted.
    fn check_requests(&self, stored: &BTreeMap<DeliveryId, &DeliveryView>) {
        let mut counts: BTreeMap<(EventId, WebhookId), usize> = BTreeMap::new();
        for request in &self.requests {
            if self.dead.contains(&request.by) {
                continue;
            }
            let pair = self.lives[&request.delivery].pair();
            if self.pairs[&pair].deliveries > 1 {
                *counts.entry(pair).or_default() += 1;
                continue;
            }
            let attempts = &stored[&request.delivery].attempts;
            assert!(
                attempts.iter().any(|one| one.number == request.number),
                "I8: {} got request {}, which is not on record",
                request.delivery,
                request.number
            );
        }
        if counts.is_empty() {
            return;
        }
        let mut records: BTreeMap<(EventId, WebhookId), usize> = BTreeMap::new();
        for view in stored.values() {
            let pair = (view.delivery.event, view.delivery.webhook);
            *records.entry(pair).or_default() += view.attempts.iter().filter(was_sent).count();
        }
        for (pair, count) in counts {
            assert!(
                records[&pair] >= count,
                "I8: {pair:?} got {count} requests, {} are on record",
                records[&pair]
            );
        }
    }

    fn check_webhooks(&self, listed: &Listed) {
        let stored: BTreeMap<WebhookId, &Webhook> =
            listed.webhooks.iter().map(|hook| (hook.id(), hook)).collect();
        let expected: BTreeMap<WebhookId, &Webhook> =
            self.webhooks().map(|hook| (hook.id(), hook)).collect();
        assert_eq!(stored, expected, "the webhooks in the end");
    }
}

/// What was counted is what is on record, whatever crashed.
fn check_counts(listed: &Listed) {
    let Some(counts) = &listed.counts else { return };
    let mut counted_again: BTreeMap<(Hour, Measure), u64> = BTreeMap::new();
    for view in &listed.deliveries {
        let attempts = view.attempts.iter().flat_map(|attempt| counted(Some(attempt), None));
        for place in attempts.chain(counted(None, Some(&view.delivery.state))) {
            *counted_again.entry(place).or_default() += 1;
        }
    }
    let report = StatisticsReport::of(counts.iter().map(|one| (one.hour, one.measure, one.count)));
    let again = counted_again.into_iter().map(|((hour, measure), count)| (hour, measure, count));
    assert_eq!(report, StatisticsReport::of(again), "the statistics equal a recount");
}

/// Whether a receiver may have seen this attempt.
fn was_sent(attempt: &&Attempt) -> bool {
    let own = [FailureKind::Local, FailureKind::Panic].map(Outcome::Unanswered);
    !own.contains(&attempt.outcome)
}
