//! A webhook as a store keeps it: what it was for each publish, and its lane.

use std::sync::Arc;

use crate::ground::delivery::Delivery;
use crate::ground::error::Result;
use crate::ground::lane::Lane;
use crate::ground::time::Timestamp;
use crate::ground::webhook::{DisabledReason, Webhook};
use crate::ports::storage::{Settled, Settlement, refuse_holder};

/// A webhook with each version that it had and its lane: rule 4 as one value.
///
/// For stores that keep it whole, in memory or as one record. A store that keeps spans of filters
/// in tables of their own gives the same answers and forgets what is over.
#[derive(Debug, Clone, Default)]
pub struct KeptWebhook {
    /// Its lane, which outlives it: deliveries may still name a webhook that was deleted.
    pub lane: Lane,
    /// Each version, `None` for the deletion, with the number of the last publish before it.
    versions: Vec<(u64, Option<Arc<Webhook>>)>,
}

impl KeptWebhook {
    /// The webhook as it was for the publish with this number, counted from 1.
    pub fn at(&self, number: u64) -> Option<&Arc<Webhook>> {
        let then = self.versions.iter().rev().find(|(last, _)| *last < number);
        then.and_then(|(_, webhook)| webhook.as_ref())
    }

    /// The webhook as it is now.
    pub fn latest(&self) -> Option<&Arc<Webhook>> {
        self.versions.last().and_then(|(_, webhook)| webhook.as_ref())
    }

    /// Whether it is enabled now; `None` if it was deleted.
    pub fn is_enabled(&self) -> Option<bool> {
        self.latest().map(|webhook| webhook.is_enabled())
    }

    /// Does what [`put`](crate::storage::WebhookStore::put) asks; `last` is the number of the last
    /// publish.
    ///
    /// # Errors
    /// As [`refuse_holder`], since a kept webhook has none, and [`Webhook::stored_over`]; nothing is
    /// changed then.
    pub fn put(&mut self, webhook: &Webhook, last: u64, now: Timestamp) -> Result<Webhook> {
        refuse_holder(webhook)?;
        let before = self.versions.last();
        let stored = before.map(|_| self.latest().map_or(0, |webhook| webhook.version()));
        let stored = webhook.stored_over(stored, now)?;
        if let Some(before) = self.latest().cloned() {
            self.lane.replaced(&before, &stored, now);
        }
        self.versions.push((last, Some(Arc::new(stored.clone()))));
        Ok(stored)
    }

    /// Applies a settlement to a delivery of this webhook ([`Settlement::apply`]), and disables the
    /// webhook if that is what it says.
    pub fn settle(
        &mut self,
        settlement: &Settlement,
        delivery: &mut Delivery,
        last: u64,
        now: Timestamp,
    ) -> Settled {
        let enabled = self.is_enabled();
        let (settled, reason) = settlement.apply(delivery, &mut self.lane, enabled, now);
        if let Some(reason) = reason {
            self.disable(reason, last, now);
        }
        settled
    }

    fn disable(&mut self, reason: DisabledReason, last: u64, now: Timestamp) {
        if let Some(webhook) = self.latest() {
            let disabled = Arc::new(webhook.disable(reason).stored(now));
            self.versions.push((last, Some(disabled)));
        }
    }

    /// Deletes it; `false` if there is none.
    pub fn delete(&mut self, last: u64) -> bool {
        let there = self.latest().is_some();
        if there {
            self.versions.push((last, None));
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::advance::{Health, Seen, Transition};
    use crate::ground::delivery::Fence;
    use crate::ground::error::ErrorKind;
    use crate::ground::id::{Cause, DispatcherId, EventId, WebhookId};
    use crate::ground::lane::Turned;
    use crate::ground::secret::Secret;
    use crate::ground::webhook::Registration;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn webhook() -> Webhook {
        let registration = Registration::new("https://example.com/", ["*"]).unwrap();
        let (id, secret) = (WebhookId::new(NOW, &[1; 10]), Secret::from_random(&[7; 32]));
        registration.enabled(true).into_webhook(id, secret, NOW).unwrap()
    }

    /// Puts, disables, enables and deletes a webhook between publishes, and asks for each of them.
    #[test]
    fn each_publish_finds_the_version_of_its_time() {
        let mut kept = KeptWebhook::default();
        assert_eq!((kept.is_enabled(), kept.delete(0)), (None, false));
        let first = kept.put(&webhook(), 1, NOW).unwrap();
        kept.disable(DisabledReason::Failing, 2, NOW);
        let second = Webhook::clone(kept.latest().unwrap());
        assert_eq!((second.version(), kept.is_enabled()), (2, Some(false)));
        kept.put(&second.enable(), 4, NOW).unwrap();
        // Nothing was published while it was version 3.
        kept.disable(DisabledReason::Gone, 4, NOW);
        assert!(kept.delete(6));
        let versions = [0, 1, 2, 3, 4, 5, 6, 7, u64::MAX]
            .map(|number| kept.at(number).map(|webhook| webhook.version()));
        let (one, two, four) = (Some(1), Some(2), Some(4));
        assert_eq!(versions, [None, None, one, two, two, four, four, None, None]);
        assert_eq!((kept.latest(), kept.is_enabled()), (None, None));
        assert!(!kept.delete(7), "it is deleted once");
        let again = [kept.put(&first, 7, NOW), kept.put(&webhook(), 7, NOW)];
        let again = again.map(|answer| answer.unwrap_err().kind());
        assert_eq!(again, [ErrorKind::NotFound, ErrorKind::Conflict], "its id stays taken");
    }

    /// Enables a webhook with a full lane from disabled, and edits it while it is enabled.
    #[test]
    fn only_enabling_opens_the_lane() {
        let mut kept = KeptWebhook::default();
        let stored = kept.put(&webhook(), 0, NOW).unwrap();
        let full = Lane { next_due: Some(NOW), failing_since: Some(NOW), ..Lane::default() };
        kept.lane = full;
        let stored = kept.put(&stored, 0, NOW).unwrap();
        let stored = kept.put(&stored.disable(DisabledReason::Person), 0, NOW).unwrap();
        assert_eq!(kept.lane, full);
        kept.put(&stored.enable(), 0, NOW).unwrap();
        let now = Some(NOW);
        let opened = Lane { paused_until: now, asked_until: now, failing_since: None, ..full };
        assert_eq!(kept.lane, opened);
    }

    /// Settles a 410 for a webhook, and the same again.
    #[test]
    fn a_settlement_disables_once() {
        let mut kept = KeptWebhook::default();
        let stored = kept.put(&webhook(), 0, NOW).unwrap();
        let event = EventId::new(NOW, &[3; 10]);
        let mut delivery = Delivery::owed(event, stored.id(), Cause::ROUTED, NOW, NOW);
        let dispatcher = DispatcherId::new(NOW, &[1; 10]);
        delivery.lease(dispatcher, 1);
        let mut transition = Transition::given_back(&delivery, Seen::default(), NOW);
        transition.health = Health::Gone { at: NOW };
        let fence = Fence { delivery: delivery.id, attempt: 1, dispatcher };
        let settlement = Settlement { fence, attempt: None, transition, reports: Vec::new() };
        let gone = Turned::Disabled { reason: DisabledReason::Gone };
        for (turned, last) in [(Some(gone), 1), (None, 2)] {
            let answer = kept.settle(&settlement, &mut delivery, last, NOW);
            assert_eq!(answer, Settled::Applied { turned });
            assert_eq!((kept.is_enabled(), kept.lane.next_due), (Some(false), Some(NOW)));
            assert_eq!(kept.latest().map(|webhook| webhook.version()), Some(2));
        }
        assert_eq!(kept.at(1).map(|webhook| webhook.is_enabled()), Some(true));
        assert_eq!(kept.at(2).map(|webhook| webhook.is_enabled()), Some(false));
    }
}
