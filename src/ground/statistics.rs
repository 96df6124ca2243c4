//! Statistics: what is counted of attempts and deliveries, by hour, and what the counts tell.
//!
//! Stores only add: they keep a number for each (webhook, hour, [`Measure`]). What is counted, and
//! where, is decided here, so that a recount over what is on record gives the same:
//!
//! * an attempt once, in the hour in which it [started](Attempt::started), by its
//!   [class](AttemptClass), and where it was answered by its latency, too;
//! * the end of a delivery once, in the hour in which it ended.
//!
//! Both are one [`Measure`] where they fall into the same hour: most deliveries are delivered by
//! their first attempt, and cost one addition.

mod latency;
mod measure;
mod tally;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::{Serialize, Serializer};

pub use measure::{AttemptClass, End, Measure};
pub use tally::Tally;

use super::account::{Account, Mode};
use super::delivery::{Attempt, State};
use super::error::{Error, Result};
use super::id::WebhookId;
use super::time::{Timestamp, format_time};
use crate::policy::STATISTICS_HOURS_MAX;

/// An hour of UTC, by its number since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i32);

const HOUR_MILLIS: i64 = 3_600_000;

impl Hour {
    /// The hour of a moment. Those that are 245,000 years away share one.
    pub fn of(time: Timestamp) -> Self {
        let number = time.timestamp_millis().div_euclid(HOUR_MILLIS);
        Self(i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX }))
    }

    /// When it begins.
    pub fn start(self) -> Timestamp {
        let end = if self.0 < 0 { Timestamp::MIN_UTC } else { Timestamp::MAX_UTC };
        Timestamp::from_timestamp_millis(i64::from(self.0) * HOUR_MILLIS).unwrap_or(end)
    }

    /// Its number, for a store to keep.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// The hour with this number.
    pub const fn from_number(number: i32) -> Self {
        Self(number)
    }
}

/// What is counted when an attempt was written down, a delivery ended, or both at once: at most two
/// measures, each with its hour.
///
/// `attempt` is one that is on record now and was not before; `state` is where the delivery stands
/// since, if this ended it.
pub fn counted(
    attempt: Option<&Attempt>,
    state: Option<&State>,
) -> impl Iterator<Item = (Hour, Measure)> + use<> {
    let attempt = attempt.map(|attempt| (Hour::of(attempt.started), Measure::of_attempt(attempt)));
    let end = state.and_then(End::of).map(|(end, at)| (Hour::of(at), end));
    let both = match (attempt, end) {
        (Some((begun, measure)), Some((over, end))) if begun == over => {
            [Some((begun, measure.with_end(end))), None]
        }
        (attempt, end) => [attempt, end.map(|(over, end)| (over, Measure::of_end(end)))],
    };
    both.into_iter().flatten()
}

/// What one call of a store adds, added up first: in order of webhook, hour and measure. `K` is how
/// the store names a webhook.
#[derive(Debug, Clone)]
pub struct Additions<K: Ord>(BTreeMap<(K, Hour, Measure), u64>);

impl<K: Ord> Default for Additions<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Copy> Additions<K> {
    /// Adds what is [`counted`] for a delivery to `webhook`.
    pub fn add(&mut self, webhook: K, attempt: Option<&Attempt>, state: Option<&State>) {
        for (hour, measure) in counted(attempt, state) {
            *self.0.entry((webhook, hour, measure)).or_default() += 1;
        }
    }

    /// Whether there is nothing to add.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sums.
    pub fn iter(&self) -> impl Iterator<Item = (K, Hour, Measure, u64)> + '_ {
        self.0.iter().map(|((webhook, hour, measure), count)| (*webhook, *hour, *measure, *count))
    }
}

/// Which statistics are wanted: a stretch of time, of everything unless something narrower is named.
///
/// ```
/// use std::time::Duration;
/// use tidings::time::before;
/// use tidings::{Mode, StatisticsQuery, Timestamp};
///
/// # let now = Timestamp::UNIX_EPOCH;
/// let last_day = StatisticsQuery::new(before(now, Duration::from_secs(86_400)), now)?;
/// let query = last_day.mode(Mode::Live);
/// # assert_eq!(query.hours().end.number() - query.hours().start.number(), 24);
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatisticsQuery {
    hours: Range<Hour>,
    account: Option<Account>,
    mode: Option<Mode>,
    webhook: Option<WebhookId>,
}

impl StatisticsQuery {
    /// The hours that have a part in the time from `from` to before `to`.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `to` when it is not after `from`, or more
    /// than 8,784 hours (a year) later.
    pub fn new(from: Timestamp, to: Timestamp) -> Result<Self> {
        if to <= from {
            return Err(Error::invalid("to", "is not after `from`"));
        }
        let first = Hour::of(from);
        let last = Hour::of(to);
        let end = if last.start() < to { Hour(last.0.saturating_add(1)) } else { last };
        if i64::from(end.0) - i64::from(first.0) > i64::from(STATISTICS_HOURS_MAX) {
            let message = format!("is more than {STATISTICS_HOURS_MAX} hours after `from`");
            return Err(Error::invalid("to", message));
        }
        Ok(Self { hours: first..end, account: None, mode: None, webhook: None })
    }

    /// Of this account alone.
    #[must_use]
    pub fn account(mut self, account: Account) -> Self {
        self.account = Some(account);
        self
    }

    /// Of this mode alone.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Of this webhook alone.
    #[must_use]
    pub fn webhook(mut self, webhook: WebhookId) -> Self {
        self.webhook = Some(webhook);
        self
    }

    /// The hours that are wanted.
    pub fn hours(&self) -> Range<Hour> {
        self.hours.clone()
    }

    /// The webhook that is wanted, if only one is.
    pub fn only_webhook(&self) -> Option<WebhookId> {
        self.webhook
    }

    /// The account that is wanted, if only one is.
    pub fn only_account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// The mode that is wanted, if only one is.
    pub fn only_mode(&self) -> Option<Mode> {
        self.mode
    }

    /// Whether a webhook, with the account and mode that it has for good, is wanted.
    pub fn matches(&self, webhook: WebhookId, account: &Account, mode: Mode) -> bool {
        self.webhook.is_none_or(|wanted| wanted == webhook)
            && self.account.as_ref().is_none_or(|wanted| wanted == account)
            && self.mode.is_none_or(|wanted| wanted == mode)
    }
}

/// Statistics by hour, and in all.
///
/// As JSON it has the total's members beside `hours`, each of which has its own and `from`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StatisticsReport {
    /// All hours together. The percentiles are those of all attempts, not a mean of the hours'.
    #[serde(flatten)]
    pub total: Tally,
    /// The hours in which something happened, the earliest first.
    pub hours: Vec<Hourly>,
}

/// The statistics of one hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Hourly {
    /// The hour.
    #[serde(rename = "from")]
    pub hour: Hour,
    /// What happened in it.
    #[serde(flatten)]
    pub tally: Tally,
}

impl StatisticsReport {
    /// The report of what a store has counted, in any order.
    pub fn of(counts: impl IntoIterator<Item = (Hour, Measure, u64)>) -> Self {
        let mut hours: BTreeMap<Hour, Tally> = BTreeMap::new();
        for (hour, measure, count) in counts {
            hours.entry(hour).or_default().add(measure, count);
        }
        let mut total = Tally::default();
        for tally in hours.values() {
            total.merge(tally);
        }
        let hours = hours.into_iter().map(|(hour, tally)| Hourly { hour, tally }).collect();
        Self { total, hours }
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_time(self.start()))
    }
}

impl Serialize for Hour {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ground::delivery::Outcome;
    use crate::ground::time::after;

    fn at(seconds: u64) -> Timestamp {
        after(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
    }

    fn attempt(started: Timestamp, status: u16) -> Attempt {
        let outcome = Outcome::Answered { status, retry_after: None };
        Attempt::new(1, started, Duration::from_millis(10), outcome)
    }

    /// Counts attempts and ends alone, in one hour, and in two (table).
    #[test]
    fn an_attempt_and_an_end_of_one_hour_are_one_measure() {
        let try_at = |seconds| attempt(at(seconds), 200);
        let delivered = |seconds| State::Delivered { at: at(seconds) };
        for (attempt, state, hours) in [
            (None, None, vec![]),
            (Some(try_at(10)), None, vec![0]),
            (None, Some(delivered(3_600)), vec![1]),
            (None, Some(State::Waiting { due: at(0) }), vec![]),
            (Some(try_at(10)), Some(delivered(3_599)), vec![0]),
            (Some(try_at(3_599)), Some(delivered(3_600)), vec![0, 1]),
            (Some(try_at(3_600)), Some(State::Waiting { due: at(9_999) }), vec![1]),
        ] {
            let found: Vec<_> = counted(attempt.as_ref(), state.as_ref()).collect();
            let found_hours: Vec<_> = found.iter().map(|(hour, _)| hour.number()).collect();
            assert_eq!(found_hours, hours, "{attempt:?} {state:?}");
            let mut tally = Tally::default();
            found.iter().for_each(|(_, measure)| tally.add(*measure, 1));
            assert_eq!(tally.attempts(), u64::from(attempt.is_some()), "{attempt:?} {state:?}");
            let ended = state.is_some_and(|state| state.is_ended());
            assert_eq!(tally.ended(), u64::from(ended), "{attempt:?} {state:?}");
        }
    }

    /// Adds up a batch of two webhooks, and asks for the order of the sums.
    #[test]
    fn a_batch_is_added_up_in_order() {
        let mut additions = Additions::default();
        assert!(additions.is_empty());
        for webhook in [2, 1, 2, 2] {
            let delivered = State::Delivered { at: at(1) };
            additions.add(webhook, Some(&attempt(at(0), 200)), Some(&delivered));
        }
        additions.add(1, Some(&attempt(at(0), 500)), None);
        let sums: Vec<_> =
            additions.iter().map(|(webhook, _, _, count)| (webhook, count)).collect();
        assert_eq!(sums, [(1, 1), (1, 1), (2, 3)]);
    }

    /// Asks for stretches of time at their bounds and beyond (table).
    #[test]
    fn a_stretch_of_time_is_bounded() {
        for (from, to, hours) in
            [(0, 1, 0..1), (3_599, 3_600, 0..1), (3_599, 3_601, 0..2), (0, 7_200, 0..2)]
        {
            let query = StatisticsQuery::new(at(from), at(to)).unwrap();
            let found = query.hours();
            assert_eq!(found.start.number()..found.end.number(), hours, "{from} to {to}");
        }
        let year = u64::from(STATISTICS_HOURS_MAX) * 3_600;
        assert!(StatisticsQuery::new(at(0), at(year)).is_ok());
        for (from, to) in [(5, 5), (6, 5), (0, year + 1), (0, u64::MAX)] {
            let error = StatisticsQuery::new(at(from), at(to)).unwrap_err();
            assert_eq!(error.field(), Some("to"), "{from} to {to}");
        }
    }

    /// Reads hours at the ends of time, and as text.
    #[test]
    fn an_hour_is_read_back() {
        for time in [at(0), at(3_599), at(99_999_999_999), Timestamp::MAX_UTC] {
            let hour = Hour::of(time);
            assert_eq!(Hour::from_number(hour.number()), hour);
            assert!(hour.start() <= time);
        }
        assert!(Hour::of(Timestamp::MIN_UTC) < Hour::of(at(0)));
        assert_eq!(Hour::of(at(7_201)).to_string(), "1970-01-01T02:00:00.000Z");
        let earlier = Timestamp::from_timestamp_millis(-1).unwrap();
        assert_eq!(Hour::of(earlier).number(), -1, "hours before 1970 are whole, too");
    }

    /// Makes a report of counts in any order and writes it as JSON.
    #[test]
    fn a_report_has_hours_and_a_total() {
        let ok = Measure::of_attempt(&attempt(at(0), 200)).with_end(End::Delivered);
        let bad = Measure::of_attempt(&attempt(at(0), 503));
        let (one, two) = (Hour::from_number(1), Hour::from_number(2));
        let report = StatisticsReport::of([(two, ok, 1), (one, ok, 2), (one, bad, 1)]);
        assert_eq!(report.hours.len(), 2);
        assert_eq!((report.hours[0].hour, report.hours[0].tally.attempts()), (one, 3));
        assert_eq!(report.total.attempts(), 4);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["successRate"], 0.75);
        assert_eq!(json["deliveries"]["delivered"], 3);
        assert_eq!(json["hours"][1]["from"], "1970-01-01T02:00:00.000Z");
        assert_eq!(json["hours"][0]["outcomes"]["failed"], 1);
    }
}
