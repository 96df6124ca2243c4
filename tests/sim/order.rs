//! What must be true of ordered and limited webhooks, over all dispatchers together: I7 and I12.

use std::collections::BTreeMap;
use std::time::Duration;

use tidings::{DispatcherId, Event, EventId, Timestamp, Webhook, WebhookId};

use super::life::Request;

/// The second of "per second".
const SECOND: Duration = Duration::from_secs(1);

/// What is known of publishes and requests, for webhooks with order or limits.
#[derive(Debug, Default)]
pub struct Order {
    published: u64,
    numbers: BTreeMap<EventId, (u64, String)>,
    /// Which events a webhook is owed, by object, in the order of their publishes.
    owed: BTreeMap<(WebhookId, String), Vec<(u64, EventId)>>,
    /// The number of the last publish before a webhook became ordered.
    since: BTreeMap<WebhookId, u64>,
    sent: BTreeMap<WebhookId, Vec<Sent>>,
}

/// A request that a receiver saw.
#[derive(Debug)]
struct Sent {
    serial: usize,
    by: DispatcherId,
    /// Of the webhook by which it was sent.
    version: u64,
    at: Timestamp,
    /// When its receiver is through with it for certain.
    until: Timestamp,
    over: bool,
}

impl Order {
    pub fn published(&mut self, event: &Event) {
        self.published += 1;
        let object: serde_json::Value = serde_json::from_str(event.payload()).unwrap();
        let object = object["data"]["object"]["id"].to_string();
        self.numbers.insert(event.id(), (self.published, object));
    }

    /// An event that is to be routed to a webhook.
    pub fn owed(&mut self, event: &Event, webhook: WebhookId) {
        let (number, object) = self.numbers[&event.id()].clone();
        self.owed.entry((webhook, object)).or_default().push((number, event.id()));
    }

    pub fn put(&mut self, webhook: &Webhook) {
        if webhook.is_ordered() {
            self.since.entry(webhook.id()).or_insert(self.published);
        } else {
            self.since.remove(&webhook.id());
        }
    }

    /// The events of the same object that must have ended before this one is sent.
    pub fn before(&self, event: EventId, webhook: WebhookId) -> Vec<EventId> {
        let (Some(since), Some((number, object))) =
            (self.since.get(&webhook), self.numbers.get(&event))
        else {
            return Vec::new();
        };
        let owed = self.owed.get(&(webhook, object.clone()));
        let owed = owed.filter(|owed| owed.contains(&(*number, event)));
        let of = owed.into_iter().flatten().filter(|(one, _)| one > since && one < number);
        of.filter(|_| number > since).map(|(_, event)| *event).collect()
    }

    /// A receiver sees a request, which it may be at until then.
    pub fn request(
        &mut self,
        request: Request,
        webhook: &Webhook,
        now: Timestamp,
        until: Timestamp,
    ) {
        let (version, by) = (webhook.version(), request.by);
        let sent = self.sent.entry(webhook.id()).or_default();
        sent.retain(|one| !one.over || one.at + SECOND > now);
        sent.push(Sent { serial: request.serial, by, version, at: now, until, over: false });
        if !webhook.needs_holder() {
            return;
        }
        let open = |one: &&Sent| !one.over && one.until > now;
        let strangers = sent.iter().filter(open).filter(|one| one.by != by).count();
        assert_eq!(strangers, 0, "I7: two dispatchers send to {} at once", webhook.id());
        let same = |one: &&Sent| one.version == version;
        if let Some(limit) = webhook.concurrency() {
            let count = sent.iter().filter(open).filter(same).count();
            assert!(count <= limit as usize, "I7: {count} under way to {}", webhook.id());
        }
        if let Some(limit) = webhook.rate_limit() {
            let count = sent.iter().filter(same).filter(|one| one.at + SECOND > now).count();
            let most = (limit.per_second() + limit.burst()) as usize;
            assert!(count <= most, "I7: {count} in a second to {}, not {most}", webhook.id());
        }
    }

    /// The sender is done with a request. One whose sender died is never over by itself.
    pub fn over(&mut self, request: Request) {
        for one in self.sent.values_mut().flatten() {
            one.over |= one.serial == request.serial;
        }
    }
}
