//! Events: append, list, and deliveries that are asked for.

use super::listing;
use super::state::{Kept, State};
use crate::ground::delivery::Delivery;
use crate::ground::error::Result;
use crate::ground::event::Event;
use crate::ground::id::{Cause, WebhookId};
use crate::ground::page::{Page, PageRequest};
use crate::ground::query::EventQuery;
use crate::ground::time::Timestamp;
use crate::ports::storage::{Appended, Enqueued, NewEvent, Owed};

impl State {
    /// Looks at all before it keeps any: all or none.
    pub(super) fn append(&mut self, events: &[NewEvent], now: Timestamp) -> Result<Vec<Appended>> {
        let known = |id| {
            let number = self.numbers.get(&id)?;
            Some(self.events.get(number)?.event.digest())
        };
        let (answers, new) = Appended::of_all(events, known, |id, event| self.takes(id, event))?;
        for new in new {
            self.keep(new, now);
        }
        Ok(answers)
    }

    pub(super) fn keep(&mut self, new: &NewEvent, now: Timestamp) {
        self.last += 1;
        let number = self.last;
        let event = new.event.clone();
        self.numbers.insert(event.id(), number);
        self.by_age.insert((now, number));
        if new.only.is_none() {
            self.marks.push(event.account(), number);
        }
        let kept = Kept {
            event,
            published: now,
            marked: new.only.is_none(),
            unfinished: 0,
            deliveries: Vec::new(),
        };
        self.events.insert(number, kept);
        if let Some(webhook) = new.only {
            let delivery = Delivery::owed(new.event.id(), webhook, Cause::ROUTED, now, now);
            self.add(delivery, number, None);
        }
    }

    pub(super) fn events(&self, query: &EventQuery, request: &PageRequest) -> Page<Event> {
        let event = |kept: &Kept| query.matches(&kept.event).then(|| kept.event.clone());
        match query.id {
            Some(id) => {
                let number = self.numbers.get(&id).copied().unwrap_or_default();
                listing::one(number, self.events.get(&number).and_then(event), request)
            }
            None => listing::page(&self.events, request, event, Event::bytes),
        }
    }

    pub(super) fn enqueue(&mut self, owed: &[Owed], now: Timestamp) -> Vec<Enqueued> {
        owed.iter().map(|owed| self.enqueue_one(owed, now)).collect()
    }

    fn enqueue_one(&mut self, owed: &Owed, now: Timestamp) -> Enqueued {
        let number = self.numbers.get(&owed.event).copied();
        let Some((number, kept)) = number.and_then(|n| Some((n, self.events.get(&n)?))) else {
            return Enqueued::NoEvent;
        };
        if !self.takes(owed.webhook, &kept.event) {
            return Enqueued::NoWebhook;
        }
        let delivery = Delivery::owed(owed.event, owed.webhook, owed.cause, now, now);
        let id = delivery.id;
        if self.deliveries.contains_key(&id) {
            return Enqueued::Existed(id);
        }
        self.add(delivery, number, None);
        Enqueued::Made(id)
    }

    /// Whether there is such a webhook for the event.
    fn takes(&self, webhook: WebhookId, event: &Event) -> bool {
        let webhook = self.hooks.get(&webhook).and_then(|hook| hook.webhook.as_ref());
        webhook.is_some_and(|webhook| webhook.takes(event))
    }
}
