//! What listings can be narrowed to, and whether an item fits: the meaning that every store shares.

use super::account::{Account, Mode};
use super::delivery::{Delivery, StateKind};
use super::event::Event;
use super::filter::Filter;
use super::id::{DeliveryId, EventId, WebhookId};
use super::time::Timestamp;
use super::webhook::Webhook;

/// Narrows a listing of webhooks. What is `None` or empty does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct WebhookQuery {
    /// Of this account.
    pub account: Option<Account>,
    /// Of this mode.
    pub mode: Option<Mode>,
    /// Exactly this one.
    pub id: Option<WebhookId>,
    /// Those whose id or address has this text in it, whatever the case (seed rows W12, W13). The
    /// whole id fits too.
    pub text: Option<String>,
    /// Enabled or disabled ones.
    pub enabled: Option<bool>,
    /// Those that want something that one of these matches: with `order.*`, those with `order.*`, with `*`,
    /// and with any type or pattern below `order.`.
    pub types: Vec<Filter>,
}

impl WebhookQuery {
    /// Whether `webhook` fits.
    pub fn matches(&self, webhook: &Webhook) -> bool {
        let text = |text: &String| {
            let text = text.to_ascii_lowercase();
            webhook.id().to_string().contains(&text)
                || webhook.address().as_str().to_ascii_lowercase().contains(&text)
        };
        self.account.as_ref().is_none_or(|account| webhook.account() == account)
            && self.mode.is_none_or(|mode| webhook.mode() == mode)
            && self.id.is_none_or(|id| webhook.id() == id)
            && self.text.as_ref().is_none_or(text)
            && self.enabled.is_none_or(|enabled| webhook.is_enabled() == enabled)
            && (self.types.is_empty()
                || webhook.types().iter().any(|own| self.types.iter().any(|one| own.overlaps(one))))
    }
}

/// Narrows a listing of events. What is `None` or empty does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct EventQuery {
    /// Of this account.
    pub account: Option<Account>,
    /// Of this mode.
    pub mode: Option<Mode>,
    /// Exactly this one.
    pub id: Option<EventId>,
    /// Of a type that fits one of these.
    pub types: Vec<Filter>,
    /// Created at this time or later.
    pub from: Option<Timestamp>,
    /// Created before this time.
    pub until: Option<Timestamp>,
}

impl EventQuery {
    /// Whether `event` fits.
    pub fn matches(&self, event: &Event) -> bool {
        self.account.as_ref().is_none_or(|account| event.account() == account)
            && self.mode.is_none_or(|mode| event.mode() == mode)
            && self.id.is_none_or(|id| event.id() == id)
            && (self.types.is_empty()
                || self.types.iter().any(|filter| filter.matches(event.event_type())))
            && self.from.is_none_or(|from| event.created() >= from)
            && self.until.is_none_or(|until| event.created() < until)
    }
}

/// Narrows a listing of deliveries. What is `None` or empty does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct DeliveryQuery {
    /// Of this account.
    pub account: Option<Account>,
    /// Of this mode.
    pub mode: Option<Mode>,
    /// Exactly this one.
    pub id: Option<DeliveryId>,
    /// Of this event.
    pub event: Option<EventId>,
    /// To this webhook.
    pub webhook: Option<WebhookId>,
    /// In one of these states.
    pub states: Vec<StateKind>,
    /// [Published](Delivery::published) at this time or later.
    pub from: Option<Timestamp>,
    /// Published before this time.
    pub until: Option<Timestamp>,
}

impl DeliveryQuery {
    /// Whether `delivery` of `event` fits.
    pub fn matches(&self, delivery: &Delivery, event: &Event) -> bool {
        self.account.as_ref().is_none_or(|account| event.account() == account)
            && self.mode.is_none_or(|mode| event.mode() == mode)
            && self.id.is_none_or(|id| delivery.id == id)
            && self.event.is_none_or(|event| delivery.event == event)
            && self.webhook.is_none_or(|webhook| delivery.webhook == webhook)
            && (self.states.is_empty() || self.states.contains(&delivery.state.kind()))
            && self.from.is_none_or(|from| delivery.published >= from)
            && self.until.is_none_or(|until| delivery.published < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::delivery::State;
    use crate::ground::id::Cause;
    use crate::ground::secret::Secret;
    use crate::ground::time::after;
    use crate::ground::webhook::Registration;

    fn now() -> Timestamp {
        crate::time::parse_time("2026-01-31T08:15:30.120Z").unwrap()
    }

    fn second(seconds: u64) -> Timestamp {
        after(now(), std::time::Duration::from_secs(seconds))
    }

    fn account(name: &str) -> Option<Account> {
        Some(Account::new(name).unwrap())
    }

    fn event(mode: Mode) -> Event {
        let live = mode.is_live();
        let payload = format!(
            r#"{{"id":"0198c4ae-6d0c-7cc1-9d5b-5a1d0a3c9f10","type":"order.paid",
            "data":{{"object":{{}}}},"liveMode":{live}}}"#
        );
        Event::parse(payload, Account::new("acme").unwrap(), second(5)).unwrap()
    }

    /// Asks for a webhook in every way that fits and that does not (table; seed rows W12, W13).
    #[test]
    fn webhooks_are_found_by_each_part() {
        let id = WebhookId::new(now(), &[0xab; 10]);
        let webhook = Registration::new("https://Example.com/Hook", ["order.*"])
            .unwrap()
            .account(Account::new("acme").unwrap())
            .mode(Mode::Test)
            .into_webhook(id, Secret::from_random(&[2; 32]), now())
            .unwrap();
        let all = WebhookQuery::default;
        let text = |text: &str| WebhookQuery { text: Some(text.into()), ..all() };
        let wants = |texts: &[&str]| WebhookQuery {
            types: texts.iter().map(|text| Filter::parse(text).unwrap()).collect(),
            ..all()
        };
        let whole = id.to_string();
        let other = WebhookId::new(now(), &[1; 10]);
        for (query, fits) in [
            (all(), true),
            (WebhookQuery { account: account("acme"), ..all() }, true),
            (WebhookQuery { account: account("Acme"), ..all() }, false),
            (WebhookQuery { mode: Some(Mode::Test), ..all() }, true),
            (WebhookQuery { mode: Some(Mode::Live), ..all() }, false),
            (WebhookQuery { id: Some(id), ..all() }, true),
            (WebhookQuery { id: Some(other), ..all() }, false),
            (text(""), true),
            (text(&whole), true),
            (text(&whole.to_uppercase()), true),
            (text(&whole[5..12]), true),
            (text(&other.to_string()), false),
            (text("example.COM/hook"), true),
            (text("example.org"), false),
            (text("acme"), false),
            (WebhookQuery { enabled: Some(false), ..all() }, true),
            (WebhookQuery { enabled: Some(true), ..all() }, false),
            (wants(&["order.paid"]), true),
            (wants(&["refund.paid"]), false),
            (wants(&["order.*"]), true),
            (wants(&["order.charge.*"]), true),
            (wants(&["*"]), true),
            (wants(&["refund.*"]), false),
            (wants(&["order_item.*"]), false),
            (wants(&["refund.paid", "order.paid"]), true),
            (wants(&["refund.paid", "invoice.paid"]), false),
            (WebhookQuery { enabled: Some(true), ..wants(&["*"]) }, false),
            (WebhookQuery { mode: Some(Mode::Live), ..text("example") }, false),
        ] {
            assert_eq!(query.matches(&webhook), fits, "{query:?}");
        }
        let enabled = WebhookQuery { enabled: Some(true), ..all() };
        assert!(enabled.matches(&webhook.enable()));
    }

    /// Asks for an event in every way that fits and that does not (table).
    #[test]
    fn events_are_found_by_each_part() {
        let event = event(Mode::Live);
        let all = EventQuery::default;
        let types = |texts: &[&str]| EventQuery {
            types: texts.iter().map(|text| Filter::parse(text).unwrap()).collect(),
            ..all()
        };
        let time = |from: Option<u64>, until: Option<u64>| EventQuery {
            from: from.map(second),
            until: until.map(second),
            ..all()
        };
        for (query, fits) in [
            (all(), true),
            (EventQuery { account: account("acme"), ..all() }, true),
            (EventQuery { account: account("other"), ..all() }, false),
            (EventQuery { mode: Some(Mode::Live), ..all() }, true),
            (EventQuery { mode: Some(Mode::Test), ..all() }, false),
            (EventQuery { id: Some(event.id()), ..all() }, true),
            (EventQuery { id: Some(EventId::new(now(), &[9; 10])), ..all() }, false),
            (types(&["refund.*", "order.paid"]), true),
            (types(&["*"]), true),
            (types(&["refund.*", "order.open"]), false),
            (time(Some(5), None), true),
            (time(Some(6), None), false),
            (time(None, Some(6)), true),
            (time(None, Some(5)), false),
            (time(Some(4), Some(6)), true),
        ] {
            assert_eq!(query.matches(&event), fits, "{query:?}");
        }
    }

    /// Asks for a delivery in every way that fits and that does not (table).
    #[test]
    fn deliveries_are_found_by_each_part() {
        let event = event(Mode::Test);
        let (webhook, other) = (WebhookId::new(now(), &[1; 10]), WebhookId::new(now(), &[2; 10]));
        let mut delivery = Delivery::owed(event.id(), webhook, Cause::ROUTED, now(), now());
        let elsewhere = Delivery::owed(event.id(), other, Cause::ROUTED, now(), now());
        let all = DeliveryQuery::default;
        let states = |states: &[StateKind]| DeliveryQuery { states: states.to_vec(), ..all() };
        let after_it = second(1);
        for (query, fits) in [
            (all(), true),
            (DeliveryQuery { account: account("acme"), ..all() }, true),
            (DeliveryQuery { account: account("other"), ..all() }, false),
            (DeliveryQuery { mode: Some(Mode::Test), ..all() }, true),
            (DeliveryQuery { mode: Some(Mode::Live), ..all() }, false),
            (DeliveryQuery { id: Some(delivery.id), ..all() }, true),
            (DeliveryQuery { id: Some(elsewhere.id), ..all() }, false),
            (DeliveryQuery { event: Some(event.id()), ..all() }, true),
            (DeliveryQuery { event: Some(EventId::new(now(), &[9; 10])), ..all() }, false),
            (DeliveryQuery { webhook: Some(webhook), ..all() }, true),
            (DeliveryQuery { webhook: Some(other), ..all() }, false),
            (DeliveryQuery { from: Some(delivery.published), ..all() }, true),
            (DeliveryQuery { from: Some(after_it), ..all() }, false),
            (DeliveryQuery { until: Some(after_it), ..all() }, true),
            (DeliveryQuery { until: Some(delivery.published), ..all() }, false),
            (states(&[StateKind::Waiting]), true),
            (states(&[StateKind::Delivered, StateKind::Waiting]), true),
            (states(&[StateKind::Delivered]), false),
        ] {
            assert_eq!(query.matches(&delivery, &event), fits, "{query:?}");
        }
        delivery.state = State::Exhausted { at: now() };
        assert!(states(&[StateKind::Exhausted]).matches(&delivery, &event));
    }
}
