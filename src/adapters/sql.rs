//! What the columns of both SQL stores mean, and how much of a sweep's work is one step.

use std::time::Duration;

use crate::ground::delivery::StateKind;
use crate::ground::time::Timestamp;
use crate::ground::webhook::{DisabledReason, Webhook};

/// How many deliveries a step of pruning removes at most, for each event that it may remove: one with
/// more of them than that takes several steps.
pub(crate) const WIDE: i64 = 4;

/// What stands for the status of a webhook whose record cannot be read.
pub(crate) const UNREADABLE: DisabledReason = DisabledReason::Person;

/// What stands in the column `failure` for [`Outcome::Interrupted`]; no [`FailureKind`] is called
/// so.
///
/// [`Outcome::Interrupted`]: crate::Outcome::Interrupted
/// [`FailureKind`]: crate::FailureKind
pub(crate) const INTERRUPTED: &str = "interrupted";

pub(crate) fn millis(time: Timestamp) -> i64 {
    time.timestamp_millis()
}

/// `time` in whole milliseconds, rounded up: what is stored is before it exactly when it is before
/// the result.
pub(crate) fn millis_up(time: Timestamp) -> i64 {
    millis(time) + i64::from(!time.timestamp_subsec_nanos().is_multiple_of(1_000_000))
}

/// The ends of time stand for what no `Timestamp` can say.
pub(crate) fn time(millis: i64) -> Timestamp {
    let end = if millis < 0 { Timestamp::MIN_UTC } else { Timestamp::MAX_UTC };
    Timestamp::from_timestamp_millis(millis).unwrap_or(end)
}

pub(crate) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

pub(crate) fn duration(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// The number of a state.
pub(crate) fn state_number(kind: StateKind) -> i16 {
    match kind {
        StateKind::Waiting => 0,
        StateKind::Leased => 1,
        StateKind::Delivered => 2,
        StateKind::Exhausted => 3,
        StateKind::Expired => 4,
        StateKind::Cancelled => 5,
    }
}

/// Whether a webhook needs a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    Holder,
    /// And that its events keep their order.
    Order,
}

impl Needs {
    pub(crate) fn of(webhook: &Webhook) -> Self {
        match (webhook.needs_holder(), webhook.is_ordered()) {
            (false, _) => Self::Nothing,
            (true, false) => Self::Holder,
            (true, true) => Self::Order,
        }
    }

    pub(crate) fn number(self) -> i16 {
        match self {
            Self::Nothing => 0,
            Self::Holder => 1,
            Self::Order => 2,
        }
    }

    pub(crate) fn from_number(number: i16) -> Self {
        match number {
            0 => Self::Nothing,
            1 => Self::Holder,
            _ => Self::Order,
        }
    }
}

/// To whom a lane is there to be claimed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    Nobody,
    Anybody,
    Holders,
}

impl Open {
    pub(crate) fn of(enabled: bool, needs: Needs) -> Self {
        match (enabled, needs) {
            (false, _) => Self::Nobody,
            (true, Needs::Nothing) => Self::Anybody,
            (true, _) => Self::Holders,
        }
    }
}
