//! The clock port: what time it is, for everyone who may ask.

use std::fmt::Debug;

use crate::ground::time::Timestamp;

/// Tells the time. Any closure can be one ([`clock_fn`]).
pub trait Clock: Debug + Send + Sync + 'static {
    /// The present time.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::exhaustive_structs)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        chrono::Utc::now()
    }
}

/// A clock made of a closure.
pub fn clock_fn<F>(now: F) -> impl Clock
where
    F: Fn() -> Timestamp + Send + Sync + 'static,
{
    ClockFn(now)
}

struct ClockFn<F>(F);

impl<F> Debug for ClockFn<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClockFn")
    }
}

impl<F: Fn() -> Timestamp + Send + Sync + 'static> Clock for ClockFn<F> {
    fn now(&self) -> Timestamp {
        (self.0)()
    }
}
