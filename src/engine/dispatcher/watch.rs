//! A look, now and then, how far behind all dispatchers are: for the metrics alone.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::{Running, bounded};
use crate::engine::meters;
use crate::ground::error::Result;
use crate::ground::time::between;

/// How often.
pub(super) const EVERY: Duration = Duration::from_secs(10);

impl Running {
    pub(super) fn watch(&mut self, instant: Instant) {
        self.watch_at = instant + EVERY;
        let (now, storage) = (self.now(), self.core.storage.clone());
        let look = async move {
            let due = bounded(EVERY, async { storage.oldest_due(now).await }).await?;
            Ok(due.map_or(Duration::ZERO, |due| between(due, now)))
        };
        self.watching = Some(look.boxed());
    }

    pub(super) fn watched(&self, lag: Result<Duration>) {
        // One that failed tells nothing; the storage's other calls say why.
        if let Ok(lag) = lag {
            meters::lagging(lag);
        }
    }
}
