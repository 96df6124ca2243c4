//! The tables of the memory storage, and the one place where a delivery changes, so that every
//! index follows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::marks::Marks;
use super::spans::Spans;
use crate::ground::delivery::{Attempt, Delivery, State as Phase};
use crate::ground::event::Event;
use crate::ground::id::{DeliveryId, DispatcherId, EventId, WebhookId};
use crate::ground::lane::Lane;
use crate::ground::time::Timestamp;
use crate::ground::webhook::Webhook;

/// Everything that is stored.
#[derive(Default)]
pub(super) struct State {
    /// The number of the last publish.
    pub(super) last: u64,
    pub(super) hooks: BTreeMap<WebhookId, Hook>,
    /// Enabled webhooks by the moment at which there is something to claim.
    pub(super) ready: BTreeSet<(Timestamp, WebhookId)>,
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
}

/// A webhook with its lane.
#[derive(Default)]
pub(super) struct Hook {
    /// `None` once it is deleted: what is left then is a tombstone, for `sweep` to clear.
    pub(super) webhook: Option<Arc<Webhook>>,
    pub(super) lane: Lane,
    /// Its waiting deliveries by due time: the lane's contents.
    pub(super) waiting: BTreeSet<(Timestamp, DeliveryId)>,
    /// Where `ready` has it.
    pub(super) ready_at: Option<Timestamp>,
    /// The number from which its filters hold, while it is enabled.
    pub(super) since: u64,
    /// How many deliveries name it, ended ones too.
    pub(super) deliveries: usize,
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
}

impl State {
    /// Adds a delivery that is not there yet.
    pub(super) fn add(&mut self, delivery: Delivery, number: u64) {
        let Some(kept) = self.events.get_mut(&number) else {
            return;
        };
        kept.unfinished += 1;
        kept.deliveries.push(delivery.id);
        let event = kept.event.clone();
        if let Some(hook) = self.hooks.get_mut(&delivery.webhook) {
            hook.deliveries += 1;
        }
        self.enter(&delivery, number);
        self.deliveries.insert(
            delivery.id,
            Row {
                delivery,
                number,
                event,
                attempts: Vec::new(),
            },
        );
    }

    /// Changes a delivery. Its place in the indexes follows.
    pub(super) fn change(&mut self, id: DeliveryId, change: impl FnOnce(&mut Delivery)) {
        let Some(row) = self.deliveries.get_mut(&id) else {
            return;
        };
        let before = row.delivery.state;
        change(&mut row.delivery);
        let (delivery, number) = (row.delivery.clone(), row.number);
        self.leave(&delivery, before);
        self.enter(&delivery, number);
    }

    fn leave(&mut self, delivery: &Delivery, before: Phase) {
        match before {
            Phase::Waiting { due } => {
                self.waiting_by_age
                    .remove(&(delivery.published, delivery.id));
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
                self.waiting_by_age
                    .insert((delivery.published, delivery.id));
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

    /// Changes a webhook, its lane, or what waits in it. `next_due` and `ready` follow: here the
    /// bound of rule 5 is always exact.
    pub(super) fn with_hook<T>(
        &mut self,
        id: WebhookId,
        change: impl FnOnce(&mut Hook) -> T,
    ) -> Option<T> {
        let hook = self.hooks.get_mut(&id)?;
        let answer = change(hook);
        hook.lane.next_due = hook.waiting.first().map(|(due, _)| *due);
        let ready_at = hook.enabled().and_then(|_| hook.lane.ready_at());
        if ready_at != hook.ready_at {
            if let Some(at) = hook.ready_at {
                self.ready.remove(&(at, id));
            }
            if let Some(at) = ready_at {
                self.ready.insert((at, id));
            }
            hook.ready_at = ready_at;
        }
        Some(answer)
    }
}
