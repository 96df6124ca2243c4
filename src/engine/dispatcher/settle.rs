//! Outcomes: gathered, written in batches, and told to the observer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::{Outgoing, Running, Written, bounded};
use crate::engine::core::Core;
use crate::engine::meters;
use crate::ground::advance::{Health, LaneChange, Next, Transition};
use crate::ground::delivery::{Attempt, Fence};
use crate::ground::lane::Turned;
use crate::ground::policy::SETTLE_BATCH;
use crate::ground::time::Timestamp;
use crate::ground::webhook::Webhook;
use crate::ports::observer::Notice;
use crate::ports::storage::{Leased, Settled, Settlement};

impl Running {
    /// Keeps what becomes of a lease, to be written with the next batch.
    pub(super) fn outcome(
        &mut self,
        leased: Leased,
        attempt: Option<Attempt>,
        transition: Transition,
    ) {
        let fence = Fence {
            delivery: leased.delivery.id,
            attempt: leased.delivery.attempt,
            dispatcher: self.id,
        };
        let reports = self.core.reports(&leased, attempt.as_ref(), &transition);
        let settlement = Settlement { fence, attempt, transition, reports };
        self.outcomes.push(Outgoing { leased, settlement });
        self.settle_at.get_or_insert_with(|| Instant::now() + self.options.settle_within);
    }

    pub(super) fn start_settle(&mut self, instant: Instant) {
        let wanted = self.outcomes.len() >= self.options.settle_batch
            || self.settle_at.is_some_and(|at| instant >= at)
            || (self.sends.is_empty() && !self.outcomes.is_empty());
        let rests = self.settle_rest.is_some_and(|rest| instant < rest);
        if self.settling.is_some() || !wanted || rests {
            return;
        }
        self.settle_rest = None;
        let size = self.outcomes.len().min(SETTLE_BATCH);
        let batch: Vec<Outgoing> = self.outcomes.drain(..size).collect();
        // What did not fit has waited long enough already.
        self.settle_at = (!self.outcomes.is_empty()).then_some(instant);
        self.settling =
            Some(settle(self.core.clone(), batch, self.options.lease, self.now()).boxed());
    }

    pub(super) fn settled(&mut self, (batch, answer): Written) {
        let answers = match answer {
            Ok(answers) if answers.len() == batch.len() => answers,
            other => {
                match other {
                    Err(error) => warn!(name: "tidings.storage.settle_failed", %error),
                    Ok(_) => {
                        error!(name: "tidings.storage.settle_failed", "wrong number of answers")
                    }
                }
                // It may have been applied: a repetition is answered with the same.
                self.settle_rest = Some(Instant::now() + Duration::from_millis(100));
                self.settle_at = Some(Instant::now());
                self.outcomes.splice(..0, batch);
                return;
            }
        };
        let now = self.now();
        for (outgoing, answer) in batch.into_iter().zip(answers) {
            self.permits.release(outgoing.leased.webhook.id());
            self.ramp(&outgoing);
            self.turns.room(now);
            if self.holds.follows(&outgoing.leased.webhook, &self.permits, Instant::now()) {
                self.turns.waiting_at(now);
            }
            let transition = &outgoing.settlement.transition;
            if let Next::Waiting { due } = transition.next {
                let due = match transition.lane {
                    LaneChange::Pause { until } | LaneChange::Probed { until } => due.max(until),
                    _ => due,
                };
                self.turns.waiting_at(due);
            }
            if transition.lane != LaneChange::None {
                // The rest of the lane may be claimable from here on.
                match transition.lane {
                    LaneChange::Pause { until } | LaneChange::Probed { until } => {
                        self.turns.waiting_at(until)
                    }
                    _ => self.turns.waiting_at(now),
                }
            }
            if outgoing.settlement.reported(answer).next().is_some() {
                self.turns.look(now);
            }
            self.notify(outgoing, answer);
        }
    }

    /// What an answer says of a webhook that comes back.
    fn ramp(&mut self, outgoing: &Outgoing) {
        let webhook = outgoing.leased.webhook.id();
        let Settlement { attempt, transition, .. } = &outgoing.settlement;
        // What was not sent says nothing of the receiver.
        let said = attempt.as_ref().filter(|_| transition.health != Health::Unchanged);
        let Some(attempt) = said else { return };
        if outgoing.leased.probe && transition.lane == LaneChange::Open {
            self.permits.came_back(webhook, Instant::now());
        } else {
            self.permits.answered(webhook, attempt.outcome.is_success());
        }
    }

    /// Tells what a settlement has made of a webhook.
    fn turned(&self, webhook: &Arc<Webhook>, turned: Turned) {
        let id = webhook.id();
        match turned {
            Turned::Failing { since } => {
                warn!(name: "tidings.webhook.failing", webhook = %id, %since);
            }
            Turned::Recovered { since } => {
                info!(name: "tidings.webhook.recovered", webhook = %id, %since);
            }
            Turned::Disabled { reason } => {
                meters::disabled(reason);
                warn!(name: "tidings.webhook.disabled", webhook = %id, ?reason);
            }
        }
        self.core.audience.tell(|| {
            let webhook = webhook.clone();
            match turned {
                Turned::Failing { since } => Notice::Failing { webhook, since },
                Turned::Recovered { since } => Notice::Recovered { webhook, since },
                Turned::Disabled { reason } => Notice::Disabled { webhook, reason },
            }
        });
    }

    fn notify(&self, outgoing: Outgoing, answer: Settled) {
        let Outgoing { leased, settlement } = outgoing;
        match answer {
            Settled::Applied { turned } => {
                meters::settled(&settlement.transition);
                if let Some(turned) = turned {
                    self.turned(&leased.webhook, turned);
                }
                if let Some(attempt) = settlement.attempt {
                    self.core.audience.tell(|| {
                        let mut delivery = leased.delivery;
                        settlement.transition.apply(&mut delivery, self.id);
                        Notice::Settled {
                            delivery,
                            event: leased.event,
                            webhook: leased.webhook,
                            attempt,
                        }
                    });
                }
            }
            Settled::Lost => {
                meters::lost();
                warn!(name: "tidings.lease.lost", delivery = %leased.delivery.id);
            }
            Settled::Gone => {
                debug!(name: "tidings.delivery.gone", delivery = %leased.delivery.id);
            }
        }
    }
}

/// One settle call.
pub(super) async fn settle(
    core: Arc<Core>,
    batch: Vec<Outgoing>,
    bound: Duration,
    now: Timestamp,
) -> Written {
    let settlements: Vec<Settlement> =
        batch.iter().map(|outgoing| outgoing.settlement.clone()).collect();
    let call = bounded(bound, async { core.storage.settle(&settlements, now).await });
    let answer = meters::timed("settle", call).await;
    (batch, answer)
}
