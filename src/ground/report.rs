//! Reports: events that tell a host of its customers' webhooks, for whoever listens in the account
//! that the host names for them.
//!
//! Here is what there is to report and how it is worded; whether it comes true is for the store to
//! say, which keeps the event with what it tells of.

use serde::Serialize;

use super::advance::{Health, Next, Transition};
use super::change::Change;
use super::delivery::{Attempt, Delivery};
use super::error::Result;
use super::event::Event;
use super::event_type::EventType;
use super::filter::Filter;
use super::id::{DeliveryId, EventId, WebhookId};
use super::time::{Timestamp, format_time};
use super::view::{AttemptJson, WebhookView};
use super::webhook::{DisabledReason, Webhook};

/// What a report tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReportKind {
    /// `webhook.failing`: a webhook has done nothing but fail for as long as
    /// [`Policy::warn_after`](crate::Policy::warn_after).
    Failing,
    /// `webhook.recovered`: a success ended a stretch of failure that was warned of.
    Recovered,
    /// `webhook.disabled`: a webhook was disabled by the rule.
    Disabled,
    /// `delivery.exhausted`: the last try of a delivery failed.
    Exhausted,
}

impl ReportKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Failing, Self::Recovered, Self::Disabled, Self::Exhausted];

    /// The type of its events.
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::Failing => "webhook.failing",
            Self::Recovered => "webhook.recovered",
            Self::Disabled => "webhook.disabled",
            Self::Exhausted => "delivery.exhausted",
        }
    }

    /// Whether the filter is for reports, or some of them.
    pub(crate) fn is_matched(filter: &Filter) -> bool {
        let mut types =
            Self::ALL.iter().filter_map(|kind| EventType::parse(kind.event_type()).ok());
        types.any(|event_type| filter.matches(&event_type))
    }

    /// Whether events of this type are reports.
    pub fn is_type(event_type: &EventType) -> bool {
        Self::ALL.iter().any(|kind| kind.event_type() == event_type.as_str())
    }
}

/// What a report says: the `data.object` of its event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WebhookReport {
    #[serde(flatten)]
    webhook: WebhookView,
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_attempt: Option<AttemptJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeliveryReport {
    id: DeliveryId,
    event_id: EventId,
    #[serde(rename = "type")]
    event_type: String,
    webhook_id: WebhookId,
    account: String,
    failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_attempt: Option<AttemptJson>,
}

/// The facts that a report is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// The delivery, as it was when it was sent.
    pub(crate) delivery: &'a Delivery,
    /// Its event.
    pub(crate) event: &'a Event,
    /// Its webhook, as it was then.
    pub(crate) webhook: &'a Webhook,
    /// Since when nothing but failures had come back.
    pub(crate) since: Option<Timestamp>,
    /// The try.
    pub(crate) attempt: Option<&'a Attempt>,
    /// What it comes to.
    pub(crate) transition: &'a Transition,
}

impl Facts<'_> {
    /// What there may be to report; the store knows what comes true.
    ///
    /// That the delivery of a report is exhausted is not reported: what there may be to report of it comes
    /// once in a stretch of failure, so no report leads to another without end.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = ReportKind> + use<> {
        let own = ReportKind::is_type(self.event.event_type());
        let turn = match self.transition.health {
            Health::Warn { .. } => Some(ReportKind::Failing),
            Health::Recovered => self.since.map(|_| ReportKind::Recovered),
            Health::Disable { .. } | Health::Gone { .. } => Some(ReportKind::Disabled),
            _ => None,
        };
        let end = self.transition.next == Next::Exhausted && !own;
        turn.into_iter().chain(end.then_some(ReportKind::Exhausted))
    }

    /// The change that a report of this kind is the event of. It has the webhook's mode.
    ///
    /// # Errors
    /// As [`Change::of`].
    pub(crate) fn change(&self, kind: ReportKind) -> Result<Change> {
        let change = match kind {
            ReportKind::Exhausted => Change::of(kind.event_type(), &self.delivery_report())?,
            _ => Change::of(kind.event_type(), &self.webhook_report(kind))?,
        };
        Ok(change.mode(self.webhook.mode()))
    }

    fn webhook_report(&self, kind: ReportKind) -> WebhookReport {
        let reason = match (kind, self.transition.health) {
            (ReportKind::Disabled, Health::Gone { .. }) => Some(DisabledReason::Gone),
            (ReportKind::Disabled, _) => Some(DisabledReason::Failing),
            _ => None,
        };
        let webhook = match reason {
            // As the store will have it.
            Some(reason) => self.webhook.disable(reason).stored(self.transition.at),
            None => self.webhook.clone(),
        };
        WebhookReport {
            webhook: WebhookView::from(&webhook),
            failing_since: self.since.map(format_time),
            last_attempt: self.last_attempt(),
        }
    }

    /// Without what was answered, which may repeat the payload: a report is another event, and outlives it.
    fn last_attempt(&self) -> Option<AttemptJson> {
        let attempt = self.attempt.map(AttemptJson::from)?;
        Some(AttemptJson { response: String::new(), truncated: false, ..attempt })
    }

    fn delivery_report(&self) -> DeliveryReport {
        DeliveryReport {
            id: self.delivery.id,
            event_id: self.delivery.event,
            event_type: self.event.event_type().as_str().to_owned(),
            webhook_id: self.delivery.webhook,
            account: self.webhook.account().as_str().to_owned(),
            failures: self.transition.failures,
            last_attempt: self.last_attempt(),
        }
    }
}
