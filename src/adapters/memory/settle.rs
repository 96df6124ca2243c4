//! Settlements: attempts written down, and what they change.

use super::state::{Row, State};
use crate::ground::advance::Next;
use crate::ground::delivery::{Attempt, Standing, State as Phase};
use crate::ground::time::Timestamp;
use crate::ports::storage::{Settled, Settlement};

impl State {
    pub(super) fn settle(&mut self, settlements: &[Settlement], now: Timestamp) -> Vec<Settled> {
        settlements
            .iter()
            .map(|settlement| self.settle_one(settlement, now))
            .collect()
    }

    fn settle_one(&mut self, settlement: &Settlement, now: Timestamp) -> Settled {
        let Settlement {
            fence,
            attempt,
            transition,
        } = settlement;
        let Some(row) = self.deliveries.get_mut(&fence.delivery) else {
            return Settled::Gone;
        };
        let id = row.delivery.webhook;
        let deleted = self
            .hooks
            .get(&id)
            .is_none_or(|hook| hook.webhook.is_none());
        match row.delivery.standing(fence) {
            Standing::Repeated if deleted => return Settled::Gone,
            Standing::Repeated => return Settled::Applied { disabled: false },
            Standing::Lost => {
                row.record(attempt.as_ref());
                return Settled::Lost;
            }
            Standing::Holds => row.record(attempt.as_ref()),
        }
        if deleted {
            self.change(fence.delivery, |delivery| {
                transition.apply(delivery, fence.dispatcher);
                if transition.next != Next::Delivered {
                    delivery.state = Phase::Cancelled { at: now };
                }
            });
            return Settled::Gone;
        }
        self.change(fence.delivery, |delivery| {
            transition.apply(delivery, fence.dispatcher)
        });
        let reason = self.with_hook(id, |hook| {
            hook.lane.change(transition.lane, now);
            let reason = hook.lane.health(transition.health)?;
            // A webhook that is disabled already keeps its reason.
            hook.enabled()
                .map(|webhook| webhook.disable(reason).stored(now))
        });
        let disabled = reason.flatten();
        let answer = Settled::Applied {
            disabled: disabled.is_some(),
        };
        if let Some(webhook) = disabled {
            self.replace(id, Some(webhook));
        }
        answer
    }
}

impl Row {
    /// Keeps an attempt, unless one with its number is kept already.
    fn record(&mut self, attempt: Option<&Attempt>) {
        let Some(attempt) = attempt else { return };
        let place = self
            .attempts
            .binary_search_by_key(&attempt.number, |kept| kept.number);
        if let Err(place) = place {
            // Most deliveries have one attempt for good.
            self.attempts.reserve_exact(1);
            self.attempts.insert(place, attempt.clone());
        }
    }
}
