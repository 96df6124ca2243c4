//! Points in time: UTC, whole milliseconds. Ground never asks what time it is; it is told.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};

/// A point in time, in UTC. What the crate stores is cut to whole milliseconds.
pub type Timestamp = DateTime<Utc>;

/// `time` cut to whole milliseconds, the precision that every store can keep.
pub fn to_millis(time: Timestamp) -> Timestamp {
    time.trunc_subsecs(3)
}

/// `time` plus `duration`; the end of time where that would overflow.
pub fn after(time: Timestamp, duration: Duration) -> Timestamp {
    TimeDelta::from_std(duration)
        .ok()
        .and_then(|delta| time.checked_add_signed(delta))
        .map_or(Timestamp::MAX_UTC, to_millis)
}

/// `time` minus `duration`; the beginning of time where that would overflow.
pub fn before(time: Timestamp, duration: Duration) -> Timestamp {
    TimeDelta::from_std(duration)
        .ok()
        .and_then(|delta| time.checked_sub_signed(delta))
        .map_or(Timestamp::MIN_UTC, to_millis)
}

/// How long it is from `earlier` to `later`; zero where the order is the other way round.
pub fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    later.signed_duration_since(earlier).to_std().unwrap_or(Duration::ZERO)
}

/// The text of `time` as payloads carry it: `2026-01-31T08:15:30.120Z`.
pub fn format_time(time: Timestamp) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Reads a time as senders of such events are known to write it: 0 to 9 digits of fraction, `Z`,
/// `+00:00` or `+0000`.
///
/// ```
/// use tidings::time::parse_time;
///
/// let time = parse_time("2022-08-25T21:09:39.061+0000").unwrap();
/// assert_eq!(time, parse_time("2022-08-25T21:09:39.061Z").unwrap());
/// assert!(parse_time("yesterday").is_none());
/// ```
pub fn parse_time(text: &str) -> Option<Timestamp> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.with_timezone(&Utc));
    }
    if let Ok(time) = DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z") {
        return Some(time.with_timezone(&Utc));
    }
    let bare = text.strip_suffix('Z')?;
    NaiveDateTime::parse_from_str(bare, "%Y-%m-%dT%H:%M:%S%.f").ok().map(|time| time.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads every fraction length and both spellings of the offset (table).
    #[test]
    fn tolerant_times_are_read() {
        for (text, nanos) in [
            ("2021-05-06T07:08:09Z", 0),
            ("2021-05-06T07:08:09.1Z", 100_000_000),
            ("2021-05-06T07:08:09.26713Z", 267_130_000),
            ("2021-05-06T07:08:09.272054Z", 272_054_000),
            ("2021-05-06T07:08:09.1234567Z", 123_456_700),
            ("2021-05-06T07:08:09.123456789Z", 123_456_789),
            ("2021-05-06T07:08:09.061+0000", 61_000_000),
            ("2021-05-06T09:08:09.061+0200", 61_000_000),
            ("2021-05-06T07:08:09+00:00", 0),
        ] {
            let time = parse_time(text).unwrap_or_else(|| panic!("{text} is not read"));
            assert_eq!(time.timestamp(), 1_620_284_889, "{text}");
            assert_eq!(time.timestamp_subsec_nanos(), nanos, "{text}");
        }
        for text in ["", "2021-05-06", "2021-05-06T07:08:09", "06/05/2021", "2021-13-06T07:08:09Z"]
        {
            assert!(parse_time(text).is_none(), "{text} is read");
        }
    }

    /// Adds and subtracts at the ends of time (table).
    #[test]
    fn arithmetic_saturates() {
        let now = parse_time("2026-01-01T00:00:00Z").unwrap();
        assert_eq!(after(now, Duration::MAX), Timestamp::MAX_UTC);
        assert_eq!(before(now, Duration::MAX), Timestamp::MIN_UTC);
        assert_eq!(between(now, before(now, Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(between(now, after(now, Duration::from_millis(1500))).as_millis(), 1500);
    }
}
