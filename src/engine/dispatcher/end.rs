//! The end of a run: what is known is written, the rest is given back, and nothing stays leased.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::warn;

use super::settle::settle;
use super::{Outgoing, Running, bounded, seen};
use crate::engine::meters;
use crate::ground::advance::Transition;
use crate::ground::delivery::{Attempt, Outcome};
use crate::ground::policy::SETTLE_BATCH;
use crate::ports::storage::Heartbeat;

/// The longest that a storage in trouble can hold up the end.
const END_MAX: Duration = Duration::from_secs(5);
/// The rest between two tries of a call.
const REST: Duration = Duration::from_millis(100);

impl Running {
    /// Writes what is known, gives back the rest, and says goodbye. Gives up after a while if the
    /// storage does not answer: what is still leased then goes back when the lease has passed.
    pub(super) async fn end(mut self) {
        // Whatever a call leases that has not answered yet is given back by the goodbye.
        self.calling = None;
        self.beating = None;
        self.sweeping = None;
        self.replaying = None;
        self.cut_off();
        let each = self.options.lease.min(END_MAX) / 2;
        if within(each, self.write_rest()).await.is_none() {
            let left = self.permits.used();
            warn!(name: "tidings.storage.settle_failed", left, "no answer at shutdown");
        }
        if within(each, self.goodbye()).await.is_none() {
            warn!(name: "tidings.storage.heartbeat_failed", "no answer at shutdown");
        }
        // The host's own code may hang; it holds nobody up for longer than the host allows.
        let left = self.draining.unwrap_or_else(Instant::now);
        let _ = timeout_at(left.max(Instant::now() + REST), self.core.audience.silence()).await;
    }

    /// Ends the POSTs. Their receivers may have seen them, so each leaves a record.
    fn cut_off(&mut self) {
        while let Some(sent) = self.sends.try_join_next() {
            self.sent(sent);
        }
        self.sends.abort_all();
        for (_, sending) in std::mem::take(&mut self.sending) {
            let leased = sending.leased;
            let number = leased.delivery.attempt;
            let latency = sending.begun.elapsed();
            let mut attempt = Attempt::new(number, sending.started, latency, Outcome::Interrupted);
            attempt.error = Some("the sender was shut down during the attempt".into());
            meters::attempted(&attempt);
            let back = Transition::given_back(&leased.delivery, seen(&leased), self.now());
            self.outcome(leased, Some(attempt), back);
        }
    }

    async fn write_rest(&mut self) {
        if let Some(settling) = &mut self.settling {
            let answer = settling.await;
            self.settling = None;
            self.settled(answer);
        }
        while !self.outcomes.is_empty() {
            let size = self.outcomes.len().min(SETTLE_BATCH);
            let batch: Vec<Outgoing> = self.outcomes.drain(..size).collect();
            let answer = settle(self.core.clone(), batch, END_MAX, self.now()).await;
            let failed = answer.1.is_err();
            self.settled(answer);
            if failed {
                sleep(REST).await;
            }
        }
    }

    async fn goodbye(&mut self) {
        loop {
            let now = self.now();
            let goodbye = Heartbeat { dispatcher: self.id, now, until: now, abandoned: Vec::new() };
            let storage = &self.core.storage;
            let answer = bounded(END_MAX, async { storage.heartbeat(&goodbye).await }).await;
            let Err(error) = answer else { return };
            warn!(name: "tidings.storage.heartbeat_failed", %error);
            sleep(REST).await;
        }
    }
}

/// `work`, if it ends within `time`. The last part of it counts from when the first is over: a process
/// that was stopped for longer than all of it still tries.
async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let last = time / 5;
    if let Ok(done) = timeout(time - last, &mut work).await {
        return Some(done);
    }
    timeout(last, work).await.ok()
}
