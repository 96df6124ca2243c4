//! `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.

use std::time::Duration;

use chrono::NaiveDateTime;

use super::time::{Timestamp, between};

/// How long a receiver asks to be left alone, counted from `now`. `None` for what is not a valid
/// value; zero for a date in the past. Not clamped: that is policy.
///
/// ```
/// use std::time::Duration;
/// use tidings::{retry_after, time::parse_time};
///
/// let now = parse_time("2026-01-31T08:15:30Z").unwrap();
/// assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
/// assert_eq!(retry_after("Sat, 31 Jan 2026 08:16:00 GMT", now), Some(Duration::from_secs(30)));
/// assert_eq!(retry_after("soon", now), None);
/// ```
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim_matches([' ', '\t']);
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a very long time, not an invalid one.
        return Some(value.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    // The three forms of HTTP-date (RFC 9110, section 5.6.7).
    ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(value, form).ok())
        .map(|date| between(now, date.and_utc()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::parse_time;

    /// Thirty values, good and bad (table).
    #[test]
    fn retry_after_is_read_or_ignored() {
        let now = parse_time("1994-11-06T08:49:00Z").unwrap();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (value, expected) in [
            ("0", seconds(0)),
            ("1", seconds(1)),
            ("120", seconds(120)),
            ("0120", seconds(120)),
            (" 120 ", seconds(120)),
            ("86400", seconds(86_400)),
            ("99999999999999999999999", Some(Duration::MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", seconds(37)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", seconds(37)),
            ("Sun Nov  6 08:49:37 1994", seconds(37)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", seconds(0)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", seconds(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", seconds(252_618_189_059)),
            ("", None),
            (" ", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("1e308", None),
            ("0x10", None),
            ("abc", None),
            ("1, 2", None),
            ("1 2", None),
            ("Sun, 06 Nov 1994 08:49:37", None),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Mon, 06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 36 Nov 1994 08:49:37 GMT", None),
            ("1994-11-06T08:49:37Z", None),
            ("٣", None),
            ("\u{0}", None),
        ] {
            assert_eq!(retry_after(value, now), expected, "{value:?}");
        }
    }
}
