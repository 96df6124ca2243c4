//! What listings can be narrowed to, and whether an item fits: the meaning that every store shares.

use super::account::{Account, Mode};
use super::delivery::{Delivery, StateKind};
use super::event::Event;
use super::event_type::EventType;
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
    /// Those that want events of this type.
    pub event_type: Option<EventType>,
}

impl WebhookQuery {
    /// Whether `webhook` fits.
    pub fn matches(&self, webhook: &Webhook) -> bool {
        let text = |text: &String| {
            let text = text.to_ascii_lowercase();
            webhook.id().to_string().contains(&text)
                || webhook
                    .address()
                    .as_str()
                    .to_ascii_lowercase()
                    .contains(&text)
        };
        self.account
            .as_ref()
            .is_none_or(|account| webhook.account() == account)
            && self.mode.is_none_or(|mode| webhook.mode() == mode)
            && self.id.is_none_or(|id| webhook.id() == id)
            && self.text.as_ref().is_none_or(text)
            && self
                .enabled
                .is_none_or(|enabled| webhook.is_enabled() == enabled)
            && self
                .event_type
                .as_ref()
                .is_none_or(|wanted| webhook.types().matches(wanted))
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
        self.account
            .as_ref()
            .is_none_or(|account| event.account() == account)
            && self.mode.is_none_or(|mode| event.mode() == mode)
            && self.id.is_none_or(|id| event.id() == id)
            && (self.types.is_empty()
                || self
                    .types
                    .iter()
                    .any(|filter| filter.matches(event.event_type())))
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
}

impl DeliveryQuery {
    /// Whether `delivery` of `event` fits.
    pub fn matches(&self, delivery: &Delivery, event: &Event) -> bool {
        self.account
            .as_ref()
            .is_none_or(|account| event.account() == account)
            && self.mode.is_none_or(|mode| event.mode() == mode)
            && self.id.is_none_or(|id| delivery.id == id)
            && self.event.is_none_or(|event| delivery.event == event)
            && self
                .webhook
                .is_none_or(|webhook| delivery.webhook == webhook)
            && (self.states.is_empty() || self.states.contains(&delivery.state.kind()))
    }
}
