//! What is asked for when a replay is started, and when replays are listed.

use std::time::Duration;

use super::account::{Account, Mode};
use super::error::{Error, Result};
use super::event::Event;
use super::id::{ReplayId, WebhookId};
use super::policy::{REPLAY_RATE, REPLAY_RATE_RANGE};
use super::replay::{ReplayJob, ReplayKind, ReplayScope, ReplayState};
use super::time::{Timestamp, after};
use super::webhook::Webhook;

/// Asks for a replay of past events to one webhook.
///
/// ```
/// use tidings::{ReplayRequest, Timestamp, WebhookId};
///
/// # fn shown(webhook: WebhookId, yesterday: Timestamp) -> tidings::Result<()> {
/// let request = ReplayRequest::missed(webhook).from(yesterday).rate(50)?;
/// # let _ = request;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct ReplayRequest {
    webhook: WebhookId,
    kind: ReplayKind,
    from: Timestamp,
    until: Option<Timestamp>,
    rate: u32,
    id: Option<ReplayId>,
}

impl ReplayRequest {
    /// Of [`All`](ReplayKind::All) events, since ever.
    pub fn all(webhook: WebhookId) -> Self {
        Self::new(webhook, ReplayKind::All)
    }

    /// Of the [`Failed`](ReplayKind::Failed) ones, since ever.
    pub fn failed(webhook: WebhookId) -> Self {
        Self::new(webhook, ReplayKind::Failed)
    }

    /// Of the [`Missed`](ReplayKind::Missed) ones, since ever.
    pub fn missed(webhook: WebhookId) -> Self {
        Self::new(webhook, ReplayKind::Missed)
    }

    /// Of this kind, since ever.
    pub fn new(webhook: WebhookId, kind: ReplayKind) -> Self {
        let from = Timestamp::UNIX_EPOCH;
        Self { webhook, kind, from, until: None, rate: REPLAY_RATE, id: None }
    }

    /// Only what was published at this time or later.
    pub fn from(mut self, from: Timestamp) -> Self {
        self.from = from;
        self
    }

    /// Only what was published before this time. Never later than the replay's start: what comes then
    /// is delivered anyhow.
    pub fn until(mut self, until: Timestamp) -> Self {
        self.until = Some(until);
        self
    }

    /// At most so many deliveries per second (100 when nobody says).
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `rate` unless it is 1 to 10,000.
    pub fn rate(mut self, per_second: u32) -> Result<Self> {
        self.rate = checked_rate(per_second)?;
        Ok(self)
    }

    /// Under this id. Started again with the same one, it is the same replay.
    pub fn id(mut self, id: ReplayId) -> Self {
        self.id = Some(id);
        self
    }

    /// For which webhook.
    pub fn webhook(&self) -> WebhookId {
        self.webhook
    }

    /// The id that was given.
    pub fn id_given(&self) -> Option<ReplayId> {
        self.id
    }

    /// The job that starts `now`, for the webhook of this request.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for `status` when the webhook is disabled, and for `from` when no
    /// time lies between it and the end.
    pub fn into_job(self, id: ReplayId, webhook: &Webhook, now: Timestamp) -> Result<ReplayJob> {
        check_enabled(webhook)?;
        // Times are whole milliseconds: with that of the start, or what was published just before is lost.
        let start = after(now, Duration::from_millis(1));
        let until = self.until.map_or(start, |until| until.min(start));
        if self.from >= until {
            let message = "must be before the end of the replay's time, which is its start at most";
            return Err(Error::invalid("from", message));
        }
        let scope =
            ReplayScope::Range { webhook: self.webhook, kind: self.kind, from: self.from, until };
        let (account, mode) = (webhook.account().clone(), webhook.mode());
        let job = ReplayJob::new(id, account, mode, scope, self.rate, now);
        Ok(if self.until.is_none() { job.open() } else { job })
    }
}

fn checked_rate(per_second: u32) -> Result<u32> {
    if REPLAY_RATE_RANGE.contains(&per_second) {
        return Ok(per_second);
    }
    let (least, most) = (REPLAY_RATE_RANGE.start(), REPLAY_RATE_RANGE.end());
    Err(Error::invalid("rate", format!("must be {least} to {most} per second")))
}

/// Nothing is sent to a disabled webhook, so nothing is begun for one (seed row W25).
fn check_enabled(webhook: &Webhook) -> Result<()> {
    if webhook.is_enabled() {
        return Ok(());
    }
    let message = "is disabled and gets nothing; enable it, then start the replay";
    Err(Error::invalid("status", message))
}

impl ReplayJob {
    /// The job of one event, to one webhook or to all that ask for it.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for `status` when the webhook is disabled;
    /// [`NotFound`](crate::ErrorKind::NotFound) when it is of another account or mode than the event.
    pub fn of_event(
        id: ReplayId,
        event: &Event,
        webhook: Option<&Webhook>,
        now: Timestamp,
    ) -> Result<Self> {
        if let Some(webhook) = webhook {
            if !webhook.takes(event) {
                return Err(Error::not_found("webhook", webhook.id()));
            }
            check_enabled(webhook)?;
        }
        let scope = ReplayScope::Event { event: event.id(), webhook: webhook.map(Webhook::id) };
        Ok(Self::new(id, event.account().clone(), event.mode(), scope, REPLAY_RATE, now))
    }
}

/// Narrows a listing of replays. What is `None` does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct ReplayQuery {
    /// Of this account.
    pub account: Option<Account>,
    /// Of this mode.
    pub mode: Option<Mode>,
    /// Exactly this one.
    pub id: Option<ReplayId>,
    /// For this webhook alone.
    pub webhook: Option<WebhookId>,
    /// Those that run, or those that have ended.
    pub running: Option<bool>,
}

impl ReplayQuery {
    /// Whether `job` fits.
    pub fn matches(&self, job: &ReplayJob) -> bool {
        self.account.as_ref().is_none_or(|account| job.account == *account)
            && self.mode.is_none_or(|mode| job.mode == mode)
            && self.id.is_none_or(|id| job.id == id)
            && self.webhook.is_none_or(|webhook| job.webhook() == Some(webhook))
            && self.running.is_none_or(|running| (job.state == ReplayState::Running) == running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::secret::Secret;
    use crate::ground::webhook::{DisabledReason, Registration};

    fn at(millis: u64) -> Timestamp {
        after(Timestamp::UNIX_EPOCH, Duration::from_millis(1_700_000_000_000 + millis))
    }

    fn webhook() -> Webhook {
        let registration = Registration::new("https://example.com/", ["order.*"]).unwrap();
        let id = WebhookId::new(at(0), &[1; 10]);
        let secret = Secret::from_random(&[7; 32]);
        registration.enabled(true).into_webhook(id, secret, at(0)).unwrap()
    }

    fn id() -> ReplayId {
        ReplayId::new(at(0), &[2; 10])
    }

    /// Starts jobs whose time is beyond their start, or is none; and for a disabled webhook.
    #[test]
    fn a_range_ends_with_the_start_at_the_latest() {
        let until = |request: ReplayRequest| {
            let job = request.into_job(id(), &webhook(), at(500)).unwrap();
            match job.scope {
                ReplayScope::Range { until, .. } => until,
                other => panic!("{other:?}"),
            }
        };
        let all = || ReplayRequest::all(webhook().id());
        assert_eq!(until(all()), at(501), "what was published in the same millisecond is in it");
        assert_eq!(until(all().until(at(9_000))), at(501));
        assert_eq!(until(all().until(at(300))), at(300));
        let late = all().from(at(501)).into_job(id(), &webhook(), at(500)).unwrap_err();
        assert_eq!(late.field(), Some("from"));
        let disabled = webhook().disable(DisabledReason::Person);
        let refused = all().into_job(id(), &disabled, at(500)).unwrap_err();
        assert_eq!(refused.field(), Some("status"));
        for (rate, fits) in [(0, false), (1, true), (10_000, true), (10_001, false)] {
            let found = all().rate(rate);
            assert_eq!(found.is_ok(), fits, "{rate}");
            assert!(found.is_ok() || found.unwrap_err().field() == Some("rate"));
        }
    }

    /// Asks whether a job fits, for each part of a query (table).
    #[test]
    fn replays_are_found_by_each_part() {
        let job = ReplayRequest::all(webhook().id()).into_job(id(), &webhook(), at(5)).unwrap();
        let all = ReplayQuery::default;
        let other = Account::new("other").unwrap();
        for (query, fits) in [
            (all(), true),
            (ReplayQuery { account: Some(Account::default()), ..all() }, true),
            (ReplayQuery { account: Some(other), ..all() }, false),
            (ReplayQuery { mode: Some(Mode::Live), ..all() }, true),
            (ReplayQuery { mode: Some(Mode::Test), ..all() }, false),
            (ReplayQuery { id: Some(id()), ..all() }, true),
            (ReplayQuery { id: Some(ReplayId::new(at(0), &[4; 10])), ..all() }, false),
            (ReplayQuery { webhook: Some(webhook().id()), ..all() }, true),
            (ReplayQuery { webhook: Some(WebhookId::new(at(0), &[4; 10])), ..all() }, false),
            (ReplayQuery { running: Some(true), ..all() }, true),
            (ReplayQuery { running: Some(false), ..all() }, false),
        ] {
            assert_eq!(query.matches(&job), fits, "{query:?}");
        }
    }
}
