//! Spans: between which publishes a webhook's filters held. They decide who gets an event.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use crate::ground::account::{Account, Mode};
use crate::ground::event::Event;
use crate::ground::filter::Filters;
use crate::ground::id::WebhookId;
use crate::ground::webhook::Webhook;

/// Spans of one pattern: (webhook, from) to the number of the last publish in it. A span begins
/// after `from`.
type Held = BTreeMap<(WebhookId, u64), u64>;

/// The last publish of a span that has not ended.
const OPEN: u64 = u64::MAX;

/// All spans.
#[derive(Default)]
pub(super) struct Spans {
    held: BTreeMap<(Account, Mode), BTreeMap<String, Held>>,
    /// Ended spans in the order of their ends.
    ended: VecDeque<Ended>,
}

struct Ended {
    place: (Account, Mode),
    types: Filters,
    webhook: WebhookId,
    from: u64,
    to: u64,
}

impl Spans {
    /// The filters of `webhook` hold from now on, `last` being the last publish.
    pub(super) fn open(&mut self, webhook: &Webhook, last: u64) {
        let patterns = self.held.entry(place(webhook)).or_default();
        for filter in webhook.types() {
            let held = patterns.entry(filter.as_str().to_owned()).or_default();
            held.insert((webhook.id(), last), OPEN);
        }
    }

    /// The filters of `webhook`, which held from `from`, hold no longer, `last` being the last
    /// publish.
    pub(super) fn close(&mut self, webhook: &Webhook, from: u64, last: u64) {
        let ended = Ended {
            place: place(webhook),
            types: webhook.types().clone(),
            webhook: webhook.id(),
            from,
            to: last,
        };
        if from == last {
            self.forget(&ended);
            return;
        }
        if let Some(patterns) = self.held.get_mut(&ended.place) {
            for filter in &ended.types {
                if let Some(held) = patterns.get_mut(filter.as_str()) {
                    held.insert((ended.webhook, from), last);
                }
            }
        }
        self.ended.push_back(ended);
    }

    /// The webhooks that get the event with this number, by rising id, from the one that follows
    /// `after`.
    pub(super) fn wanting(
        &self,
        event: &Event,
        number: u64,
        after: Option<WebhookId>,
    ) -> Vec<WebhookId> {
        let Some(patterns) = self.held.get(&(event.account().clone(), event.mode())) else {
            return Vec::new();
        };
        let start = after.map_or(Bound::Unbounded, |webhook| Bound::Excluded((webhook, OPEN)));
        let mut found: Vec<_> = event
            .event_type()
            .patterns()
            .filter_map(|pattern| patterns.get(&pattern))
            .flat_map(|held| held.range((start, Bound::Unbounded)))
            .filter(|((_, from), to)| *from < number && number <= **to)
            .map(|((webhook, _), _)| *webhook)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Forgets at most `limit` spans that ended before `oldest`, the least number that is still to
    /// be routed. Says whether more are left.
    pub(super) fn prune(&mut self, oldest: u64, limit: usize) -> bool {
        let over = self.ended.partition_point(|ended| ended.to < oldest);
        let ended: Vec<Ended> = self.ended.drain(..over.min(limit)).collect();
        for ended in &ended {
            self.forget(ended);
        }
        over > limit
    }

    /// Whether there is none.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.ended.is_empty()
    }

    fn forget(&mut self, ended: &Ended) {
        let Some(patterns) = self.held.get_mut(&ended.place) else {
            return;
        };
        for filter in &ended.types {
            if let Some(held) = patterns.get_mut(filter.as_str()) {
                held.remove(&(ended.webhook, ended.from));
                if held.is_empty() {
                    patterns.remove(filter.as_str());
                }
            }
        }
        if patterns.is_empty() {
            self.held.remove(&ended.place);
        }
    }
}

fn place(webhook: &Webhook) -> (Account, Mode) {
    (webhook.account().clone(), webhook.mode())
}
