//! Life: how long the storage takes this dispatcher for alive, as far as it can know.
//!
//! Two clocks count, and the one that says that more time has passed is believed: the monotonic one
//! stands still while the machine is suspended, the other one may be set back. A process that was
//! stopped for longer than its lease so finds itself dead when it wakes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::ground::id::DispatcherId;
use crate::ground::time::{Timestamp, between};

/// The last sign of life that the storage acknowledged.
#[derive(Debug, Default)]
pub(super) struct Life(Mutex<Option<Sign>>);

#[derive(Debug, Clone, Copy)]
struct Sign {
    begun: Instant,
    time: Timestamp,
    lease: Duration,
}

impl Life {
    /// The storage heard a sign of life that was begun at this moment.
    pub(super) fn renew(&self, begun: Instant, time: Timestamp, lease: Duration) {
        *self.sign() = Some(Sign { begun, time, lease });
    }

    /// Whether leases and holds still last.
    pub(super) fn lasts(&self, instant: Instant, time: Timestamp) -> bool {
        self.sign().is_some_and(|sign| {
            let elapsed = instant.saturating_duration_since(sign.begun);
            elapsed.max(between(sign.time, time)) < sign.lease
        })
    }

    /// How long ago the last sign of life was begun, by the clock that says that more time has passed.
    pub(super) fn age(&self, instant: Instant, time: Timestamp) -> Option<Duration> {
        let sign = (*self.sign())?;
        let elapsed = instant.saturating_duration_since(sign.begun);
        Some(elapsed.max(between(sign.time, time)))
    }

    fn sign(&self) -> MutexGuard<'_, Option<Sign>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The dispatchers of a handle: those that run, and whether any ever ran.
#[derive(Debug, Default)]
pub(crate) struct Pulse(Mutex<Beating>);

#[derive(Debug, Default)]
struct Beating {
    lives: Vec<(DispatcherId, Weak<Life>)>,
    any: bool,
}

impl Pulse {
    /// A dispatcher runs from now on, for as long as its life is there.
    pub(super) fn begins(&self, id: DispatcherId, life: &Arc<Life>) {
        let mut beating = self.beating();
        beating.lives.retain(|(_, life)| life.strong_count() > 0);
        beating.lives.push((id, Arc::downgrade(life)));
        beating.any = true;
    }

    /// It runs no more.
    pub(super) fn ends(&self, id: DispatcherId) {
        self.beating().lives.retain(|(other, _)| *other != id);
    }

    /// Those that run; `None` if none ever did.
    pub(super) fn running(&self) -> Option<Vec<(DispatcherId, Arc<Life>)>> {
        let beating = self.beating();
        let lives = beating.lives.iter().filter_map(|(id, life)| Some((*id, life.upgrade()?)));
        beating.any.then(|| lives.collect())
    }

    fn beating(&self) -> MutexGuard<'_, Beating> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::time::after;

    /// Lets either clock run alone, and the other one be set back.
    #[tokio::test(start_paused = true)]
    async fn the_clock_that_runs_faster_counts() {
        let (instant, time) =
            (Instant::now(), after(Timestamp::UNIX_EPOCH, Duration::from_secs(99)));
        let life = Life::default();
        assert!(!life.lasts(instant, time), "there was no sign yet");
        life.renew(instant, time, Duration::from_secs(30));
        let earlier = Timestamp::UNIX_EPOCH;
        for (ticked, now, lasts) in [
            (0, time, true),
            (29, after(time, Duration::from_secs(29)), true),
            (30, time, false),
            (30, earlier, false),
            (0, after(time, Duration::from_secs(30)), false),
            (29, earlier, true),
        ] {
            let then = instant + Duration::from_secs(ticked);
            assert_eq!(life.lasts(then, now), lasts, "{ticked} s, {now}");
        }
    }
}
