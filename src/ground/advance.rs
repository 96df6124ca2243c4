//! The one decision of delivery: what an outcome makes of a delivery, its webhook and its lane.
//!
//! Pure, so that every rule is a row of a table test, every store gets the same decision, and an
//! oracle can fold it over recorded attempts. Nothing here is written: a [`Transition`] is a value
//! that a store applies.

use std::time::Duration;

use super::delivery::{Delivery, Outcome, State};
use super::failure::FailureKind;
use super::id::{DeliveryId, DispatcherId};
use super::policy::{BUSY_DELAY, Policy};
use super::time::{Timestamp, after, between};
use super::webhook::Webhook;

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Next {
    /// It waits until `due`.
    Waiting {
        /// The earliest moment of the next attempt.
        due: Timestamp,
    },
    /// A 2xx came.
    Delivered,
    /// That was the last try.
    Exhausted,
    /// The next try would come too late.
    Expired,
    /// The sender decided that it is not to be sent.
    Cancelled,
}

/// What a settlement says of a webhook's health. The store applies it with
/// [`Lane::health`](crate::Lane::health), by the stored facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Health {
    /// Nothing: the receiver had no part in the outcome.
    Unchanged,
    /// A success: it ends any stretch of failure (seed row W17).
    Recovered,
    /// A failure: it begins a stretch unless one has begun.
    Failing {
        /// When.
        at: Timestamp,
    },
    /// A failure at the end of a stretch that is long enough to warn of it, if the stored stretch is
    /// still the one that was `observed`, and was not warned of before.
    Warn {
        /// The beginning of the stretch that the decision saw.
        observed: Timestamp,
        /// When.
        at: Timestamp,
    },
    /// A failure at the end of a stretch that is long enough to disable the webhook, if the stored
    /// stretch is still the one that was `observed`.
    Disable {
        /// The beginning of the stretch that the decision saw.
        observed: Timestamp,
        /// When.
        at: Timestamp,
    },
    /// 410: the receiver asks never to be called again (Standard Webhooks).
    Gone {
        /// When.
        at: Timestamp,
    },
}

/// What a settlement says of the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LaneChange {
    /// Nothing.
    None,
    /// Leave the webhook in peace.
    Pause {
        /// Until then; of two pauses the later one counts.
        until: Timestamp,
    },
    /// The probe found the receiver answering: go on as usual.
    Open,
    /// The probe is over: take another one, but not at once.
    Probed {
        /// Not before this, nor before what others asked for meanwhile.
        until: Timestamp,
    },
}

/// What a settlement changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Transition {
    /// When this was decided.
    pub at: Timestamp,
    /// What becomes of the delivery.
    pub next: Next,
    /// Its failures from now on.
    pub failures: u32,
    /// Its interruptions from now on.
    pub interruptions: u32,
    /// Whether an interruption of its last lease stays unaccounted for.
    pub lapsed: bool,
    /// What is said of the webhook's health.
    pub health: Health,
    /// What is said of the lane.
    pub lane: LaneChange,
}

/// What the claim saw of the lane: facts that a decision may rest on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_structs)]
pub struct Seen {
    /// The beginning of the present stretch of failure.
    pub failing_since: Option<Timestamp>,
    /// Whether the delivery was claimed as the probe after a pause.
    pub probe: bool,
}

impl Seen {
    /// What is said of the lane when it is to be left in peace until then.
    fn pause(self, until: Timestamp) -> LaneChange {
        if self.probe { LaneChange::Probed { until } } else { LaneChange::Pause { until } }
    }

    /// What is said of it when the delivery has told nothing: at most that it was the probe.
    fn untold(self, now: Timestamp) -> LaneChange {
        if self.probe { LaneChange::Probed { until: now } } else { LaneChange::None }
    }

    /// What is said of it when the receiver answers as usual.
    fn open(self) -> LaneChange {
        if self.probe { LaneChange::Open } else { LaneChange::None }
    }
}

impl Transition {
    /// Applies it to the delivery that `dispatcher` has leased.
    pub fn apply(&self, delivery: &mut Delivery, dispatcher: DispatcherId) {
        delivery.state = match self.next {
            Next::Waiting { due } => State::Waiting { due },
            Next::Delivered => State::Delivered { at: self.at },
            Next::Exhausted => State::Exhausted { at: self.at },
            Next::Expired => State::Expired { at: self.at },
            Next::Cancelled => State::Cancelled { at: self.at },
        };
        delivery.failures = self.failures;
        delivery.interruptions = self.interruptions;
        delivery.lapsed = self.lapsed;
        delivery.settled_by = Some(dispatcher);
    }

    /// A lease that was not used goes back: due at once, uncharged.
    pub fn given_back(delivery: &Delivery, seen: Seen, now: Timestamp) -> Self {
        Self {
            at: now,
            next: Next::Waiting { due: now },
            failures: delivery.failures,
            interruptions: delivery.interruptions,
            lapsed: delivery.lapsed,
            health: Health::Unchanged,
            lane: seen.untold(now),
        }
    }
}

/// Whether an interruption that the claim found must be accounted for before anything is sent.
///
/// The first few ([`Policy::interruptions_free`]) are free: a crash of the sender is not a failure
/// of the receiver. Later ones follow the schedule, so that a payload that kills its sender ends.
pub fn must_account(delivery: &Delivery, policy: &Policy) -> bool {
    delivery.lapsed && delivery.interruptions > policy.interruptions_free()
}

/// What `outcome` makes of `delivery`.
///
/// | outcome | delivery | health | lane |
/// |---|---|---|---|
/// | 2xx | delivered | recovered | the probe opens it |
/// | 410 | as a failure | gone: disabled | – |
/// | 429, 502, 503, 504 | failure; not before `Retry-After` | failing | paused |
/// | any other answer, redirects too | failure; not before `Retry-After` | failing | the probe opens it |
/// | no answer | failure | failing | paused if the last one failed too |
/// | busy: our own limit for the destination | waits 1 s to 10 s, uncharged; nothing was sent | unchanged | paused as long; the probe again then |
/// | the sender's filter refused it | cancelled | unchanged | probe again |
/// | our own fault, a hook's, interrupted | the first few free, then as a failure | unchanged | probe again |
///
/// A failure is followed by the schedule's next delay with its jitter; by the end if that was the
/// last try; and by expiry if the next try would come too late. After
/// [`Policy::disable_after`] of nothing but failure the webhook is disabled.
///
/// A delivery that [was asked for](Delivery::is_asked_for), by a redelivery or a replay, says nothing of
/// the webhook's health: it neither begins nor ends a stretch of failure, and disables nothing. A 410
/// exhausts it at once, since nobody is there. What it says of the lane counts as ever.
pub fn advance(
    delivery: &Delivery,
    webhook: &Webhook,
    seen: Seen,
    outcome: &Outcome,
    policy: &Policy,
    now: Timestamp,
) -> Transition {
    let transition = routed(delivery, webhook, seen, outcome, policy, now);
    if !delivery.is_asked_for() {
        return transition;
    }
    let is_gone = matches!(transition.health, Health::Gone { .. });
    let next = if is_gone { Next::Exhausted } else { transition.next };
    Transition { next, health: Health::Unchanged, ..transition }
}

/// What `outcome` makes of a delivery that was routed.
fn routed(
    delivery: &Delivery,
    webhook: &Webhook,
    seen: Seen,
    outcome: &Outcome,
    policy: &Policy,
    now: Timestamp,
) -> Transition {
    if outcome.is_success() {
        return Transition {
            at: now,
            next: Next::Delivered,
            failures: delivery.failures,
            interruptions: delivery.interruptions,
            lapsed: false,
            health: Health::Recovered,
            lane: seen.open(),
        };
    }
    if let Outcome::Unanswered(FailureKind::Busy) = outcome {
        return crowded_out(delivery, seen, policy, now);
    }
    if let Outcome::Unanswered(FailureKind::Filtered | FailureKind::Expunged) = outcome {
        return Transition {
            next: Next::Cancelled,
            lapsed: false,
            ..Transition::given_back(delivery, seen, now)
        };
    }
    if let Outcome::Interrupted
    | Outcome::Unanswered(
        FailureKind::Sealed | FailureKind::Local | FailureKind::Panic | FailureKind::Hook,
    ) = outcome
    {
        return interrupted(delivery, webhook, seen, outcome, policy, now);
    }
    let retry_after = match outcome {
        Outcome::Answered { retry_after: Some(asked), .. } => {
            Some((*asked).min(policy.retry_after_max()))
        }
        _ => None,
    };
    let failures = delivery.failures + 1;
    let health = match (outcome, seen.failing_since) {
        (Outcome::Answered { status: 410, .. }, _) => Health::Gone { at: now },
        (_, Some(since)) if between(since, now) >= policy.disable_after(webhook.mode()) => {
            Health::Disable { observed: since, at: now }
        }
        (_, Some(since)) if between(since, now) >= policy.warn_after(webhook.mode()) => {
            Health::Warn { observed: since, at: now }
        }
        _ => Health::Failing { at: now },
    };
    Transition {
        at: now,
        next: next(delivery, webhook, failures, retry_after.unwrap_or_default(), policy, now),
        failures,
        interruptions: delivery.interruptions,
        lapsed: false,
        health,
        lane: lane_after_failure(delivery, seen, outcome, retry_after, policy, now),
    }
}

/// Its destination had no place for it. Nothing was sent, so nothing is counted, and an end comes by
/// delivery or expiry alone. The lane waits as long: what else is in it goes to the same destination.
fn crowded_out(delivery: &Delivery, seen: Seen, policy: &Policy, now: Timestamp) -> Transition {
    // Leases that were neither a failure nor an interruption went as this one: the more, the longer.
    let accounted = delivery.failures.saturating_add(delivery.interruptions);
    let unsent = delivery.attempt.saturating_sub(accounted).max(1);
    let (shortest, longest) = (*BUSY_DELAY.start(), *BUSY_DELAY.end());
    let most = shortest.saturating_mul(unsent).min(longest - shortest);
    let due = after(now, shortest + jitter(delivery.id, delivery.attempt, most, 100));
    Transition {
        at: now,
        next: waiting_or_expired(delivery, due, policy),
        failures: delivery.failures,
        interruptions: delivery.interruptions,
        lapsed: delivery.lapsed,
        health: Health::Unchanged,
        lane: seen.pause(due),
    }
}

/// Our own fault, or a crash: free at first, then on the schedule, never the receiver's fault.
fn interrupted(
    delivery: &Delivery,
    webhook: &Webhook,
    seen: Seen,
    outcome: &Outcome,
    policy: &Policy,
    now: Timestamp,
) -> Transition {
    // A reap has counted the interruption that it found; a fault met while sending is new.
    let new = u32::from(!matches!(outcome, Outcome::Interrupted));
    let interruptions = delivery.interruptions + new;
    let free = interruptions <= policy.interruptions_free();
    let failures = delivery.failures + u32::from(!free);
    let next = if free {
        waiting_or_expired(delivery, after(now, policy.pause_min()), policy)
    } else {
        next(delivery, webhook, failures, Duration::ZERO, policy, now)
    };
    Transition {
        at: now,
        next,
        failures,
        interruptions,
        lapsed: false,
        health: Health::Unchanged,
        lane: seen.untold(now),
    }
}

/// Where the `failures`-th failure leads.
fn next(
    delivery: &Delivery,
    webhook: &Webhook,
    failures: u32,
    at_least: Duration,
    policy: &Policy,
    now: Timestamp,
) -> Next {
    let Some(delay) = policy.schedule(webhook.mode()).delay(failures) else {
        return Next::Exhausted;
    };
    let delay = delay + jitter(delivery.id, failures, delay, policy.jitter_percent());
    waiting_or_expired(delivery, after(now, delay.max(at_least)), policy)
}

fn waiting_or_expired(delivery: &Delivery, due: Timestamp, policy: &Policy) -> Next {
    if due >= after(delivery.published, policy.expire_after()) {
        Next::Expired
    } else {
        Next::Waiting { due }
    }
}

/// What a failure says of the lane.
fn lane_after_failure(
    delivery: &Delivery,
    seen: Seen,
    outcome: &Outcome,
    retry_after: Option<Duration>,
    policy: &Policy,
    now: Timestamp,
) -> LaneChange {
    let pauses = match outcome {
        Outcome::Answered { status: 429 | 502 | 503 | 504, .. } => true,
        Outcome::Unanswered(_) => seen.probe || seen.failing_since.is_some(),
        _ => false,
    };
    if !pauses {
        return seen.open();
    }
    // Spread, so that webhooks that failed together do not come back together.
    let spread = |time, percent| jitter(delivery.id, delivery.attempt, time, percent);
    let pause = match retry_after {
        Some(asked) => asked + spread(asked, policy.jitter_percent()),
        None => {
            // Without a word from the receiver the pause grows with the stretch of failure.
            let failing_for =
                seen.failing_since.map_or(Duration::ZERO, |since| between(since, now));
            let most = (failing_for / 4).clamp(policy.pause_min(), policy.pause_max());
            if policy.jitter_percent() == 0 {
                most
            } else {
                let least = (most / 2).max(policy.pause_min());
                (least + spread(most / 2, 100)).min(policy.pause_max())
            }
        }
    };
    seen.pause(after(now, pause.max(policy.pause_min())))
}

/// What is added to `delay`: up to `percent` of it, spread by a hash of the delivery and its
/// failures, so that deliveries that failed together are not retried together, and a repetition of
/// the decision gives the same.
fn jitter(delivery: DeliveryId, failures: u32, delay: Duration, percent: u32) -> Duration {
    let (high, low) = delivery.uuid().as_u64_pair();
    let hash = mix(high ^ mix(low ^ mix(u64::from(failures))));
    // Parts of 65,536 are fine enough for delays of days.
    let part = u32::try_from(hash >> 48).unwrap_or(0);
    delay * percent / 100 * part / 65_536
}

/// The finaliser of SplitMix64: every bit of the input reaches every bit of the output.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
