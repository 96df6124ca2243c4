//! Webhooks: put, list, delete, and the spans and lanes that follow.

use std::sync::Arc;

use super::listing;
use super::state::{Hook, State};
use crate::ground::error::Result;
use crate::ground::id::WebhookId;
use crate::ground::page::{Page, PageRequest};
use crate::ground::query::WebhookQuery;
use crate::ground::time::Timestamp;
use crate::ground::webhook::Webhook;

impl State {
    pub(super) fn put(&mut self, webhook: &Webhook, now: Timestamp) -> Result<Webhook> {
        let id = webhook.id();
        // The id of a deleted webhook stays taken while a delivery names it.
        let version = |webhook: &Option<Arc<Webhook>>| webhook.as_ref().map_or(0, |w| w.version());
        let before = self.hooks.get(&id);
        let stored = webhook.stored_over(before.map(|hook| version(&hook.webhook)), now)?;
        self.hooks.entry(id).or_default();
        self.with_hook(id, |hook| {
            if let Some(before) = &hook.webhook {
                hook.lane.replaced(before, &stored, now);
            }
        });
        self.replace(id, Some(stored.clone()));
        Ok(stored)
    }

    pub(super) fn webhooks(&self, query: &WebhookQuery, request: &PageRequest) -> Page<Webhook> {
        let webhook = |hook: &Hook| hook.webhook.clone().filter(|webhook| query.matches(webhook));
        let page = match query.id {
            Some(id) => listing::one(id, self.hooks.get(&id).and_then(webhook), request),
            None => listing::page(&self.hooks, request, webhook, |_| 0),
        };
        page.map(|webhook| Webhook::clone(&webhook))
    }

    pub(super) fn delete(&mut self, id: WebhookId) -> bool {
        let exists = self.hooks.get(&id).is_some_and(|hook| hook.webhook.is_some());
        if exists {
            self.with_hook(id, |hook| hook.lane.release());
            self.replace(id, None);
            self.graves.insert(id, self.last);
        }
        exists
    }

    /// Puts a webhook in the place of the one before it: its filters begin and end to hold, and its
    /// lane is there to be claimed from or is not.
    pub(super) fn replace(&mut self, id: WebhookId, next: Option<Webhook>) {
        let next = next.map(Arc::new);
        let Some(before) = self.with_hook(id, |hook| std::mem::replace(&mut hook.webhook, next))
        else {
            return;
        };
        if !self.hooks.get(&id).is_some_and(Hook::is_ordered) {
            let parked: Vec<_> = self
                .hooks
                .get(&id)
                .map(|hook| hook.keyed.values().copied().collect())
                .unwrap_or_default();
            self.unpark(parked);
        }
        let (last, Some(hook)) = (self.last, self.hooks.get_mut(&id)) else {
            return;
        };
        let before = before.filter(|webhook| webhook.is_enabled());
        let next = hook.enabled().cloned();
        if before.as_ref().map(|webhook| webhook.types())
            == next.as_ref().map(|webhook| webhook.types())
        {
            return;
        }
        if let Some(before) = before {
            self.spans.close(&before, hook.since, last);
        }
        if let Some(next) = next {
            hook.since = last;
            self.spans.open(&next, last);
        }
    }
}
