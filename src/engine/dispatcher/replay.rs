//! Replays: one step after the other, when the next one is due.
//!
//! A step is one call to the storage, which says when the next one is due. Whoever steps, nobody else is
//! at the same job then; and whatever a step did is on record with it, so a dispatcher that dies between
//! two steps has lost nothing.

use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{Running, bounded};
use crate::ground::error::Result;
use crate::ground::policy::{REPLAY_LOOK, REPLAY_REST, REPLAY_STEP_REST};
use crate::ground::time::between;
use crate::ports::replay::ReplayStepped;

impl Running {
    /// Starts a step if one is due, as far as is known.
    pub(super) fn start_replay(&mut self, instant: Instant) {
        // Replays that were started or cancelled by this handle since the last look.
        let started = self.core.replays.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.replays, started) != started {
            self.replay_at = self.replay_at.map(|at| at.min(instant));
        }
        let due = self.replay_at.is_some_and(|at| instant >= at);
        if self.replaying.is_some() || !due || !self.is_alive(instant) {
            return;
        }
        let (core, bound, now) = (self.core.clone(), self.options.lease, self.now());
        let step = async move {
            let step = async {
                match core.storage.replay() {
                    Some(replay) => replay.step(now).await,
                    None => Ok(ReplayStepped::default()),
                }
            };
            bounded(bound, step).await
        };
        self.replaying = Some(step.boxed());
    }

    /// When the next step is to be started.
    pub(super) fn replay_wake_at(&self, instant: Instant) -> Option<Instant> {
        let at = self.replay_at.filter(|_| self.replaying.is_none() && self.is_alive(instant));
        // One that was started meanwhile was announced by the bell, which wakes as well.
        at.map(|at| at.max(instant))
    }

    pub(super) fn replayed(&mut self, answer: Result<ReplayStepped>) {
        let (instant, now) = (Instant::now(), self.now());
        let look = instant + self.options.poll.max(REPLAY_LOOK);
        self.replay_at = match answer {
            Ok(stepped) => {
                if let Some(job) = &stepped.job {
                    debug!(name: "tidings.replay.stepped", replay = %job.id, made = stepped.made,
                        looked = job.looked, state = ?job.state);
                }
                if stepped.made > 0 {
                    self.turns.waiting_at(now);
                }
                let due = stepped.next_due.map(|due| instant + between(now, due));
                // What is due and was not done is in the hands of another.
                let rest = if stepped.job.is_some() { REPLAY_STEP_REST } else { REPLAY_REST };
                let due = due.map(|due| due.max(instant + rest));
                Some(due.map_or(look, |due| due.min(look)))
            }
            Err(error) => {
                warn!(name: "tidings.storage.replay_failed", %error);
                Some(look)
            }
        };
    }
}
