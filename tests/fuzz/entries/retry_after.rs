//! Any bytes as a `Retry-After`.

use std::time::Duration;

use tidings::{Timestamp, retry_after};

/// Reads the value at the ends of time and between them.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let middle = Timestamp::from_timestamp(1_769_847_330, 0).unwrap();
    let asked = retry_after(text, middle);
    assert_eq!(
        retry_after(&format!(" \t{text}\t "), middle),
        asked,
        "white space around it counts"
    );
    for now in [Timestamp::MIN_UTC, Timestamp::UNIX_EPOCH, Timestamp::MAX_UTC] {
        let other = retry_after(text, now);
        assert_eq!(other.is_some(), asked.is_some(), "whether it is valid depends on the time");
    }
    let value = text.trim_matches([' ', '\t']);
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    if digits {
        let seconds = value.trim_start_matches('0').parse::<u128>().ok();
        let seconds = if value.bytes().all(|byte| byte == b'0') { Some(0) } else { seconds };
        let expected = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        assert_eq!(asked, Some(expected.map_or(Duration::MAX, Duration::from_secs)));
    } else if let Some(wait) = asked {
        assert!(value.contains(':'), "{value:?} is no date");
        assert!(wait < Duration::from_secs(400_000 * 366 * 86_400), "{wait:?}");
        // A date, not a duration: later, there is less to wait.
        let later = retry_after(text, middle + Duration::from_secs(1)).unwrap();
        assert_eq!(later, wait.saturating_sub(Duration::from_secs(1)));
    }
}
