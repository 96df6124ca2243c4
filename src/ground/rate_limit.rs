//! A rate limit: how many requests per second a webhook gets, and how many at once after a rest.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::policy::RATE_RANGE;

/// How many requests a webhook gets in time, over all dispatchers together.
///
/// In any second there are at most `per_second` + `burst` requests: after a rest `burst` of them may
/// go at once, then they go evenly.
///
/// ```
/// use tidings::RateLimit;
///
/// let limit = RateLimit::new(50)?.with_burst(10)?;
/// assert_eq!((limit.per_second(), limit.burst()), (50, 10));
/// assert!(RateLimit::new(0).is_err());
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct RateLimit {
    per_second: u32,
    burst: u32,
}

impl RateLimit {
    /// So many requests per second, one at a time.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `rateLimit` unless it is 1 to 10,000.
    pub fn new(per_second: u32) -> Result<Self> {
        let limit = Self { per_second, burst: 1 };
        limit.check()?;
        Ok(limit)
    }

    /// As many as `burst` at once after a rest, in the place of one.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `rateLimit` unless it is 1 to 10,000.
    pub fn with_burst(self, burst: u32) -> Result<Self> {
        let limit = Self { burst, ..self };
        limit.check()?;
        Ok(limit)
    }

    /// Requests per second.
    pub const fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Requests at once after a rest.
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// The time between two requests that follow each other evenly.
    pub fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.per_second.max(1)
    }

    pub(super) fn check(&self) -> Result<()> {
        for (name, value) in [("perSecond", self.per_second), ("burst", self.burst)] {
            if !RATE_RANGE.contains(&value) {
                let (least, most) = (RATE_RANGE.start(), RATE_RANGE.end());
                let message = format!("has a {name} of {value}; {least} to {most} are allowed");
                return Err(Error::invalid("rateLimit", message));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes limits at their bounds and beyond (table).
    #[test]
    fn a_limit_is_bounded() {
        for (per_second, burst, made) in [
            (1, 1, true),
            (10_000, 10_000, true),
            (0, 1, false),
            (10_001, 1, false),
            (1, 0, false),
            (1, 10_001, false),
        ] {
            let limit = RateLimit::new(per_second).and_then(|limit| limit.with_burst(burst));
            assert_eq!(limit.is_ok(), made, "{per_second}, {burst}");
            if let Err(error) = limit {
                assert_eq!(error.field(), Some("rateLimit"));
                assert!(error.to_string().contains("1 to 10000"), "{error}");
            }
        }
        assert_eq!(RateLimit::new(50).unwrap().interval(), Duration::from_millis(20));
    }
}
