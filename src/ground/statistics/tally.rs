//! A tally: measures added up, and what they tell.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::latency::{self, Bucket};
use super::measure::{AttemptClass, End, Measure};

/// What was counted in some time, for one webhook or for many.
///
/// ```
/// use tidings::statistics::{End, Measure, Tally};
///
/// let mut tally = Tally::default();
/// tally.add(Measure::of_end(End::Expired), 3);
/// assert_eq!(tally.ended_as(End::Expired), 3);
/// assert_eq!(tally.success_rate(), None, "nothing was tried");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    classes: [u64; AttemptClass::ALL.len()],
    ends: [u64; End::ALL.len()],
    latencies: BTreeMap<Bucket, u64>,
}

impl Tally {
    /// Adds `count` of a measure.
    pub fn add(&mut self, measure: Measure, count: u64) {
        if let Some(class) = measure.class() {
            let of = &mut self.classes[class as usize];
            *of = of.saturating_add(count);
        }
        if let Some(end) = measure.end() {
            let of = &mut self.ends[end as usize];
            *of = of.saturating_add(count);
        }
        if let Some(bucket) = measure.bucket() {
            let of = self.latencies.entry(bucket).or_default();
            *of = of.saturating_add(count);
        }
    }

    /// Adds all of another tally.
    pub fn merge(&mut self, other: &Self) {
        for (of, more) in self.classes.iter_mut().zip(other.classes) {
            *of = of.saturating_add(more);
        }
        for (of, more) in self.ends.iter_mut().zip(other.ends) {
            *of = of.saturating_add(more);
        }
        for (bucket, more) in &other.latencies {
            let of = self.latencies.entry(*bucket).or_default();
            *of = of.saturating_add(*more);
        }
    }

    /// Attempts, of all classes.
    pub fn attempts(&self) -> u64 {
        self.classes.iter().fold(0, |sum, of| sum.saturating_add(*of))
    }

    /// Attempts of one class.
    pub fn attempts_of(&self, class: AttemptClass) -> u64 {
        self.classes[class as usize]
    }

    /// Deliveries that ended, however.
    pub fn ended(&self) -> u64 {
        self.ends.iter().fold(0, |sum, of| sum.saturating_add(*of))
    }

    /// Deliveries that ended so.
    pub fn ended_as(&self, end: End) -> u64 {
        self.ends[end as usize]
    }

    /// Which part of the attempts was acknowledged, from 0 to 1, of those that
    /// [count for it](AttemptClass::is_rated); `None` when there were none.
    #[allow(clippy::cast_precision_loss)]
    pub fn success_rate(&self) -> Option<f64> {
        let rated = AttemptClass::ALL.into_iter().filter(|class| class.is_rated());
        let all = rated.fold(0_u64, |sum, class| sum.saturating_add(self.attempts_of(class)));
        (all > 0).then(|| self.attempts_of(AttemptClass::Succeeded) as f64 / all as f64)
    }

    /// The latency that `percent` of the answered attempts did not exceed (the nearest rank), at most
    /// 10 percent off from 1 ms to 131 s; `None` when none was answered. Less than 1 ms is told as
    /// 500 µs.
    #[allow(clippy::cast_precision_loss)]
    pub fn latency(&self, percent: f64) -> Option<Duration> {
        let all = self.latencies.values().fold(0_u64, |sum, of| sum.saturating_add(*of));
        let wanted = all as f64 * (percent / 100.0).clamp(0.0, 1.0);
        let mut below = 0_u64;
        let found = self.latencies.iter().find(|(_, count)| {
            below = below.saturating_add(**count);
            below as f64 >= wanted && below > 0
        });
        found.map(|(bucket, _)| latency::middle(*bucket))
    }
}

/// As in JSON: `attempts`, `outcomes` by class, `successRate`, `deliveries` by end, `latency` in
/// milliseconds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TallyJson {
    attempts: u64,
    outcomes: BTreeMap<&'static str, u64>,
    success_rate: Option<f64>,
    deliveries: BTreeMap<&'static str, u64>,
    latency: Option<LatencyJson>,
}

#[derive(Serialize)]
struct LatencyJson {
    p50: f64,
    p95: f64,
    p99: f64,
}

impl Serialize for Tally {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let percentile = |percent| Some(self.latency(percent)?.as_secs_f64() * 1e3);
        let latency = || {
            let (p50, p95, p99) = (percentile(50.0)?, percentile(95.0)?, percentile(99.0)?);
            Some(LatencyJson { p50, p95, p99 })
        };
        let classes = AttemptClass::ALL.into_iter();
        let json = TallyJson {
            attempts: self.attempts(),
            outcomes: classes.map(|class| (class.as_str(), self.attempts_of(class))).collect(),
            success_rate: self.success_rate(),
            deliveries: End::ALL.map(|end| (end.as_str(), self.ended_as(end))).into(),
            latency: latency(),
        };
        json.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::delivery::{Attempt, Outcome};
    use crate::ground::failure::FailureKind;
    use crate::ground::time::Timestamp;

    fn tally(latencies: impl IntoIterator<Item = u64>) -> Tally {
        let mut tally = Tally::default();
        for ms in latencies {
            let outcome = Outcome::Answered { status: 200, retry_after: None };
            let latency = Duration::from_millis(ms);
            let attempt = Attempt::new(1, Timestamp::UNIX_EPOCH, latency, outcome);
            tally.add(Measure::of_attempt(&attempt), 1);
        }
        tally
    }

    /// Compares percentiles with those of the sorted latencies (table).
    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        for latencies in [
            vec![7],
            (1..=100).collect(),
            (1..=1_000).map(|n| n * n % 977 + 1).collect(),
            [vec![3; 98], vec![60_000; 2]].concat(),
        ] {
            let mut sorted = latencies.clone();
            sorted.sort_unstable();
            let tally = tally(latencies);
            for (percent, of) in [(0.0, 0), (50.0, 50), (95.0, 95), (99.0, 99), (100.0, 100)] {
                let rank = (sorted.len() * of).div_ceil(100).max(1);
                let exact = sorted[rank - 1] as f64;
                let found = tally.latency(percent).unwrap().as_secs_f64() * 1e3;
                assert!((found / exact - 1.0).abs() <= 0.1, "{percent}: {found} for {exact}");
            }
        }
        assert_eq!(Tally::default().latency(50.0), None);
    }

    /// Rates attempts of which some are nobody's failure.
    #[test]
    fn what_was_not_the_receivers_part_is_not_rated() {
        let mut tally = tally([5, 5, 5]);
        for (kind, rate) in [
            (FailureKind::Hook, 1.0),
            (FailureKind::Filtered, 1.0),
            (FailureKind::Timeout, 0.75),
            (FailureKind::Dns, 0.6),
        ] {
            let outcome = Outcome::Unanswered(kind);
            let attempt = Attempt::new(1, Timestamp::UNIX_EPOCH, Duration::ZERO, outcome);
            tally.add(Measure::of_attempt(&attempt), 1);
            assert_eq!(tally.success_rate(), Some(rate), "{kind}");
        }
        assert_eq!(tally.attempts(), 7);
        assert_eq!(tally.attempts_of(AttemptClass::TimedOut), 1);
        assert_eq!(Tally::default().success_rate(), None);
    }

    /// Merges two halves of what was added to one, in either order.
    #[test]
    fn merged_halves_are_the_whole() {
        let (one, two, whole) = (tally(1..50), tally(50..400), tally(1..400));
        for (first, second) in [(&one, &two), (&two, &one)] {
            let mut merged = first.clone();
            merged.merge(second);
            assert_eq!(merged, whole);
        }
        let mut most = Tally::default();
        most.add(Measure::of_end(End::Delivered), u64::MAX);
        most.add(Measure::of_end(End::Delivered), 1);
        assert_eq!(most.ended(), u64::MAX, "it stops at the end");
    }
}
