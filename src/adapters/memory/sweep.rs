//! Housekeeping, a bounded step at a time.

use super::state::State;
use crate::ground::delivery::Delivery;
use crate::ground::id::DeliveryId;
use crate::ground::time::Timestamp;
use crate::ports::storage::{Sweep, Swept};

impl State {
    pub(super) fn sweep(&mut self, sweep: &Sweep, now: Timestamp) -> Swept {
        let expired = self.expire(sweep, now);
        let cancelled = self.cancel(sweep, now);
        let pruned = self.prune(sweep);
        // What ended before every event that is still to be routed can name no event any more.
        let oldest = self.marks.oldest().unwrap_or(self.last + 1);
        let spans_left = self.spans.prune(oldest, sweep.limit);
        self.clear_graves(oldest);
        self.prune_replays(sweep.prune_before, sweep.limit);
        let more = spans_left || [expired, cancelled, pruned].contains(&sweep.limit);
        Swept { expired, cancelled, pruned, more }
    }

    fn expire(&mut self, sweep: &Sweep, now: Timestamp) -> usize {
        let old: Vec<DeliveryId> = self
            .waiting_by_age
            .iter()
            .take_while(|(published, _)| *published < sweep.expire_before)
            .take(sweep.limit)
            .map(|(_, id)| *id)
            .collect();
        for id in &old {
            self.end(*id, |delivery| delivery.expire(now));
        }
        old.len()
    }

    fn cancel(&mut self, sweep: &Sweep, now: Timestamp) -> usize {
        let waiting: Vec<DeliveryId> = self
            .graves
            .keys()
            .filter_map(|webhook| self.hooks.get(webhook))
            .flat_map(|hook| hook.waiting.iter().map(|(_, id)| *id))
            .take(sweep.limit)
            .collect();
        for id in &waiting {
            self.end(*id, |delivery| delivery.cancel(now));
        }
        waiting.len()
    }

    /// Ends a delivery without an attempt.
    pub(super) fn end(&mut self, id: DeliveryId, end: impl FnOnce(&mut Delivery)) {
        self.change(id, end);
        if let Some(row) = self.deliveries.get(&id) {
            let of = (row.event.account(), row.event.mode());
            self.counts.add(row.delivery.webhook, of, None, Some(&row.delivery.state));
        }
    }

    fn prune(&mut self, sweep: &Sweep) -> usize {
        let over = |number: &u64| {
            self.events.get(number).is_some_and(|kept| !kept.marked && kept.unfinished == 0)
        };
        let old: Vec<(Timestamp, u64)> = self
            .by_age
            .iter()
            .take_while(|(published, _)| *published < sweep.prune_before)
            .filter(|(_, number)| over(number))
            .take(sweep.limit)
            .copied()
            .collect();
        for key in &old {
            self.by_age.remove(key);
            let Some(kept) = self.events.remove(&key.1) else {
                continue;
            };
            self.numbers.remove(&kept.event.id());
            for row in kept.deliveries.iter().filter_map(|id| self.deliveries.remove(id)) {
                if let Some(hook) = self.hooks.get_mut(&row.delivery.webhook) {
                    hook.deliveries = hook.deliveries.saturating_sub(1);
                }
            }
        }
        old.len()
    }

    /// Clears the tombstones that no delivery and no event to be routed can name any more.
    fn clear_graves(&mut self, oldest: u64) {
        let hooks = &mut self.hooks;
        self.graves.retain(|webhook, last| {
            let named = hooks.get(webhook).is_some_and(|hook| hook.deliveries > 0);
            let stays = named || *last >= oldest;
            if !stays {
                hooks.remove(webhook);
            }
            stays
        });
    }
}
