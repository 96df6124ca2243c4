//! A measure: what one number of the statistics counts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::latency::{self, Bucket};
use crate::ground::delivery::{Attempt, Outcome, State};
use crate::ground::failure::FailureKind;
use crate::ground::time::Timestamp;

/// What came of an attempt, as statistics and metrics tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum AttemptClass {
    /// 200 to 299: acknowledged.
    Succeeded,
    /// 300 to 399: never followed.
    Redirected,
    /// 429: too many requests.
    Throttled,
    /// Any other 400 to 499.
    Rejected,
    /// Any other status.
    Failed,
    /// No answer in time.
    TimedOut,
    /// No connection, no TLS session, or no HTTP on it.
    Unreachable,
    /// The address is refused by the policy.
    Blocked,
    /// The token endpoint gave no access token.
    Unauthorized,
    /// The webhook's condition or the host's filter did not want it sent, or its payload was expunged: no
    /// failure.
    Filtered,
    /// Trouble of the sender's own, or its death: no failure of the receiver.
    Own,
}

impl AttemptClass {
    /// Every class, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Succeeded,
        Self::Redirected,
        Self::Throttled,
        Self::Rejected,
        Self::Failed,
        Self::TimedOut,
        Self::Unreachable,
        Self::Blocked,
        Self::Unauthorized,
        Self::Filtered,
        Self::Own,
    ];

    /// The class of an outcome.
    pub const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Answered { status: 200..=299, .. } => Self::Succeeded,
            Outcome::Answered { status: 300..=399, .. } => Self::Redirected,
            Outcome::Answered { status: 429, .. } => Self::Throttled,
            Outcome::Answered { status: 400..=499, .. } => Self::Rejected,
            Outcome::Answered { .. } => Self::Failed,
            Outcome::Unanswered(kind) => match kind {
                FailureKind::Timeout => Self::TimedOut,
                FailureKind::Dns
                | FailureKind::Connect
                | FailureKind::Tls
                | FailureKind::Protocol => Self::Unreachable,
                FailureKind::Blocked => Self::Blocked,
                FailureKind::Token => Self::Unauthorized,
                FailureKind::Filtered | FailureKind::Expunged => Self::Filtered,
                FailureKind::Busy
                | FailureKind::Sealed
                | FailureKind::Local
                | FailureKind::Panic
                | FailureKind::Hook => Self::Own,
            },
            Outcome::Interrupted => Self::Own,
        }
    }

    /// The stable name, as in JSON and in the labels of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Redirected => "redirected",
            Self::Throttled => "throttled",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::TimedOut => "timedOut",
            Self::Unreachable => "unreachable",
            Self::Blocked => "blocked",
            Self::Unauthorized => "unauthorized",
            Self::Filtered => "filtered",
            Self::Own => "own",
        }
    }

    /// Whether there was an answer, so that its latency is told.
    pub const fn is_answered(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Redirected | Self::Throttled | Self::Rejected | Self::Failed
        )
    }

    /// Whether it counts for the success rate: the receiver, or its address, had a part in it.
    pub const fn is_rated(self) -> bool {
        !matches!(self, Self::Filtered | Self::Own)
    }
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum End {
    /// [`State::Delivered`].
    Delivered,
    /// [`State::Exhausted`].
    Exhausted,
    /// [`State::Expired`].
    Expired,
    /// [`State::Cancelled`].
    Cancelled,
}

impl End {
    /// Every end, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Delivered, Self::Exhausted, Self::Expired, Self::Cancelled];

    /// How and when a delivery in this state ended; `None` if it did not.
    pub const fn of(state: &State) -> Option<(Self, Timestamp)> {
        match state {
            State::Waiting { .. } | State::Leased { .. } => None,
            State::Delivered { at } => Some((Self::Delivered, *at)),
            State::Exhausted { at } => Some((Self::Exhausted, *at)),
            State::Expired { at } => Some((Self::Expired, *at)),
            State::Cancelled { at } => Some((Self::Cancelled, *at)),
        }
    }

    /// The stable name, as in the labels of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Exhausted => "exhausted",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What one number counts: attempts of a class (and, where they were answered, of about one latency),
/// ends of deliveries, or attempts that ended their deliveries so.
///
/// For a store it is a number: [`to_bits`](Self::to_bits). Its bits never change their meaning: from the
/// low end 7 for the latency, 4 for the class and 3 more for the end, where the last two count from 1
/// and 0 is for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Measure(i16);

const LATENCY_BITS: u32 = 7;
const CLASS_BITS: u32 = 4;

impl Measure {
    /// The measure of an attempt.
    pub fn of_attempt(attempt: &Attempt) -> Self {
        let class = AttemptClass::of(&attempt.outcome);
        let bucket = if class.is_answered() { latency::bucket(attempt.latency) } else { 0 };
        Self((place(&AttemptClass::ALL, class) << LATENCY_BITS) | i16::from(bucket))
    }

    /// The measure of an end that no attempt of the same hour brought.
    pub fn of_end(end: End) -> Self {
        Self(place(&End::ALL, end) << (LATENCY_BITS + CLASS_BITS))
    }

    /// The measure of an attempt that ended its delivery.
    #[must_use]
    pub fn with_end(self, end: End) -> Self {
        Self(self.0 | Self::of_end(end).0)
    }

    /// A number for a store to keep: from 1 to 16,383.
    pub const fn to_bits(self) -> i16 {
        self.0
    }

    /// The measure that a store has kept. One that is unknown counts nothing.
    pub const fn from_bits(bits: i16) -> Self {
        Self(bits)
    }

    /// The class of its attempts.
    pub fn class(self) -> Option<AttemptClass> {
        at(&AttemptClass::ALL, (self.0 >> LATENCY_BITS) & ((1 << CLASS_BITS) - 1))
    }

    /// How the deliveries ended.
    pub fn end(self) -> Option<End> {
        at(&End::ALL, self.0 >> (LATENCY_BITS + CLASS_BITS))
    }

    /// About how long its attempts took, at most 10 percent off; `None` where they were not answered.
    pub fn latency(self) -> Option<Duration> {
        self.bucket().map(latency::middle)
    }

    pub(super) fn bucket(self) -> Option<Bucket> {
        let answered = self.class().is_some_and(AttemptClass::is_answered);
        answered.then(|| Bucket::try_from(self.0 & ((1 << LATENCY_BITS) - 1)).unwrap_or(0))
    }
}

/// The place of a value in a list, from 1.
fn place<T: PartialEq>(all: &[T], value: T) -> i16 {
    let place = all.iter().position(|known| *known == value);
    place.and_then(|place| i16::try_from(place + 1).ok()).unwrap_or(0)
}

/// The value at a place, from 1.
fn at<T: Copy>(all: &[T], place: i16) -> Option<T> {
    usize::try_from(place).ok()?.checked_sub(1).and_then(|place| all.get(place).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Classes every kind of failure and statuses at the bounds (table).
    #[test]
    fn every_outcome_has_a_class() {
        use AttemptClass::*;
        for (status, class) in [
            (100, Failed),
            (199, Failed),
            (200, Succeeded),
            (299, Succeeded),
            (300, Redirected),
            (399, Redirected),
            (400, Rejected),
            (410, Rejected),
            (429, Throttled),
            (499, Rejected),
            (500, Failed),
            (999, Failed),
        ] {
            let outcome = Outcome::Answered { status, retry_after: None };
            assert_eq!(AttemptClass::of(&outcome), class, "{status}");
            assert_eq!(outcome.is_success(), class == Succeeded, "{status}");
            assert!(class.is_answered() && class.is_rated(), "{status}");
        }
        for kind in FailureKind::ALL {
            let class = AttemptClass::of(&Outcome::Unanswered(kind));
            assert!(!class.is_answered(), "{kind}");
        }
        assert_eq!(AttemptClass::of(&Outcome::Interrupted), Own);
    }

    /// Writes every measure that there can be as its number and reads it back; names are JSON's.
    #[test]
    fn a_measure_is_read_back() {
        let mut seen = std::collections::BTreeSet::new();
        let outcomes =
            [200, 302, 429, 404, 500].map(|status| Outcome::Answered { status, retry_after: None });
        let kinds = FailureKind::ALL.map(Outcome::Unanswered);
        for outcome in outcomes.into_iter().chain(kinds) {
            for nanos in (0..40).map(|power| 1_u64 << power) {
                let latency = Duration::from_nanos(nanos);
                let attempt = Attempt::new(1, Timestamp::UNIX_EPOCH, latency, outcome);
                let bare = Measure::of_attempt(&attempt);
                for end in std::iter::once(None).chain(End::ALL.map(Some)) {
                    let measure = end.map_or(bare, |end| bare.with_end(end));
                    let class = AttemptClass::of(&outcome);
                    let read = Measure::from_bits(measure.to_bits());
                    assert_eq!((read.class(), read.end()), (Some(class), end), "{outcome:?}");
                    assert_eq!(read.latency().is_some(), class.is_answered(), "{outcome:?}");
                    assert!(measure.to_bits() > 0);
                    seen.insert(measure);
                }
            }
        }
        assert!(seen.len() > 400, "{}", seen.len());
        for end in End::ALL {
            let measure = Measure::of_end(end);
            assert_eq!(
                (measure.class(), measure.end(), measure.latency()),
                (None, Some(end), None)
            );
        }
        for class in AttemptClass::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
        for bits in [0, -1, i16::MIN, i16::MAX] {
            let measure = Measure::from_bits(bits);
            let _ = (measure.class(), measure.end(), measure.latency());
        }
    }
}
