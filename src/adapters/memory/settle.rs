//! Settlements: attempts written down, and what they change.

use super::state::State;
use crate::ground::time::Timestamp;
use crate::ports::storage::{NewEvent, Settled, Settlement};

impl State {
    pub(super) fn settle(&mut self, settlements: &[Settlement], now: Timestamp) -> Vec<Settled> {
        settlements.iter().map(|settlement| self.settle_one(settlement, now)).collect()
    }

    fn settle_one(&mut self, settlement: &Settlement, now: Timestamp) -> Settled {
        let id = settlement.fence.delivery;
        let Some(row) = self.deliveries.get_mut(&id) else {
            return Settled::Gone;
        };
        let before = row.attempts.len();
        settlement.record(&mut row.attempts);
        let recorded = settlement.attempt.as_ref().filter(|_| row.attempts.len() > before);
        let (account, mode) = (row.event.account().clone(), row.event.mode());
        let (mut delivery, webhook) = (row.delivery.clone(), row.delivery.webhook);
        let hook = self.hooks.get(&webhook);
        let mut lane = hook.map(|hook| hook.lane).unwrap_or_default();
        let stored = hook.and_then(|hook| hook.webhook.clone());
        let enabled = stored.as_ref().map(|webhook| webhook.is_enabled());
        let (settled, reason) = settlement.apply(&mut delivery, &mut lane, enabled, now);
        let ended =
            Some(delivery.state).filter(|state| state.is_ended() && !row.delivery.state.is_ended());
        if delivery != row.delivery {
            self.change(id, |stored| *stored = delivery);
            self.with_hook(webhook, |hook| hook.lane = lane);
        }
        if let (Some(stored), Some(reason)) = (stored, reason) {
            self.replace(webhook, Some(stored.disable(reason).stored(now)));
        }
        for event in settlement.reported(settled) {
            if !self.numbers.contains_key(&event.id()) {
                self.keep(&NewEvent { event: event.clone(), only: None }, now);
            }
        }
        self.counts.add(webhook, (&account, mode), recorded, ended.as_ref());
        settled
    }
}
