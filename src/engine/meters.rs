//! Metrics, through the facade `metrics`: what is counted and measured while the engine works. Without
//! the feature `metrics` there is nothing of it in the program.
//!
//! Every name is in the table of `docs::observability`, and in no other place but here. Labels have few
//! values: an account or a webhook is never one of them ([statistics](crate::Tidings::statistics) tell
//! of those).

use std::future::Future;
use std::time::Duration;

use crate::ground::advance::{Next, Transition};
use crate::ground::delivery::Attempt;
use crate::ground::error::{ErrorKind, Result};
use crate::ground::statistics::{AttemptClass, End};
use crate::ground::webhook::DisabledReason;
use crate::ports::storage::Swept;

/// Counts something, if there is a feature to count it with.
macro_rules! count {
    ($name:literal, $count:expr $(, $label:literal => $value:expr)*) => {{
        #[cfg(feature = "metrics")]
        metrics::counter!($name $(, $label => $value)*).increment(number($count));
        #[cfg(not(feature = "metrics"))]
        let _ = (number($count) $(, $value)*);
    }};
}

/// Takes down how long something took.
macro_rules! time {
    ($name:literal, $time:expr $(, $label:literal => $value:expr)*) => {{
        #[cfg(feature = "metrics")]
        metrics::histogram!($name $(, $label => $value)*).record($time);
        #[cfg(not(feature = "metrics"))]
        let _ = ($time $(, $value)*);
    }};
}

/// Sets what something is now.
macro_rules! set {
    ($name:literal, $value:expr) => {{
        #[cfg(feature = "metrics")]
        metrics::gauge!($name).set($value);
        #[cfg(not(feature = "metrics"))]
        let _ = $value;
    }};
}

/// Moves what something is now.
macro_rules! shift {
    ($name:literal, $by:expr) => {{
        #[cfg(feature = "metrics")]
        metrics::gauge!($name).increment($by);
        #[cfg(not(feature = "metrics"))]
        let _ = $by;
    }};
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Whether anybody may look.
pub(super) const ON: bool = cfg!(feature = "metrics");

// --- the way of an event -----------------------------------------------------------------------

/// A publish was answered: so many were new, so many repetitions.
pub(super) fn published(new: usize, repeated: usize) {
    if new > 0 {
        count!("tidings_published_total", new, "result" => "stored");
    }
    if repeated > 0 {
        count!("tidings_published_total", repeated, "result" => "duplicate");
    }
}

/// A publish was refused, since an id was taken.
pub(super) fn conflicted() {
    count!("tidings_published_total", 1, "result" => "conflict");
}

/// A route call was answered.
pub(super) fn routed(leased: usize, waiting: usize, unmatched: usize) {
    if leased > 0 {
        count!("tidings_routed_total", leased, "born" => "leased");
    }
    if waiting > 0 {
        count!("tidings_routed_total", waiting, "born" => "waiting");
    }
    if unmatched > 0 {
        count!("tidings_unmatched_total", unmatched);
    }
}

/// A claim call was answered.
pub(super) fn claimed(leased: usize) {
    if leased > 0 {
        count!("tidings_claimed_total", leased);
    }
}

/// More deliveries are in flight than before, or fewer.
pub(super) fn in_flight(by: f64) {
    shift!("tidings_in_flight", by);
}

/// An attempt was made.
pub(super) fn attempted(attempt: &Attempt) {
    let class = AttemptClass::of(&attempt.outcome);
    count!("tidings_attempts_total", 1, "outcome" => class.as_str());
    if class.is_answered() {
        time!("tidings_attempt_seconds", attempt.latency, "outcome" => class.as_str());
    }
}

/// A settlement was applied.
pub(super) fn settled(transition: &Transition) {
    let end = match transition.next {
        Next::Waiting { .. } => return,
        Next::Delivered => End::Delivered,
        Next::Exhausted => End::Exhausted,
        Next::Expired => End::Expired,
        Next::Cancelled => End::Cancelled,
    };
    ended(end, 1);
}

fn ended(end: End, deliveries: usize) {
    if deliveries > 0 {
        count!("tidings_ended_total", deliveries, "end" => end.as_str());
    }
}

/// A settlement came after its lease.
pub(super) fn lost() {
    count!("tidings_leases_lost_total", 1);
}

/// A webhook was disabled by the rule.
pub(super) fn disabled(reason: DisabledReason) {
    let reason = match reason {
        DisabledReason::Gone => "gone",
        DisabledReason::Failing => "failing",
        _ => "other",
    };
    count!("tidings_webhooks_disabled_total", 1, "reason" => reason);
}

// --- housekeeping ------------------------------------------------------------------------------

/// A sweep was answered, and so many numbers of the statistics were forgotten.
pub(super) fn swept(swept: &Swept) {
    ended(End::Expired, swept.expired);
    ended(End::Cancelled, swept.cancelled);
    if swept.pruned > 0 {
        count!("tidings_pruned_total", swept.pruned);
    }
}

/// A sign of life was answered, or was not.
pub(super) fn beaten(answer: &'static str) {
    count!("tidings_heartbeats_total", 1, "result" => answer);
}

/// How far behind the dispatchers are.
pub(super) fn lagging(lag: Duration) {
    set!("tidings_lag_seconds", lag.as_secs_f64());
}

// --- the host's code ---------------------------------------------------------------------------

/// A hook cost an attempt, or kept one from being made.
pub(super) fn hooked(why: &'static str) {
    count!("tidings_hook_failures_total", 1, "why" => why);
}

/// The observer missed something.
pub(super) fn missed() {
    count!("tidings_observer_missed_total", 1);
}

// --- the storage -------------------------------------------------------------------------------

/// Takes down how long a call of the storage takes, and whether it fails. One whose future is dropped
/// is not counted.
pub(super) async fn timed<T>(
    call: &'static str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    if !ON {
        return work.await;
    }
    let begun = tokio::time::Instant::now();
    let result = work.await;
    time!("tidings_storage_seconds", begun.elapsed(), "call" => call);
    if let Err(error) = &result {
        count!("tidings_storage_errors_total", 1, "call" => call, "kind" => kind(error.kind()));
    }
    result
}

fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotAlive => "notAlive",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Storage => "storage",
        _ => "other",
    }
}

/// Says what the metrics are, to the recorder that the host has installed: their units and what they
/// count. Once, when a dispatcher begins.
#[cfg(feature = "metrics")]
pub(super) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

    describe_counter!("tidings_published_total", "Events published through the handle.");
    describe_counter!("tidings_routed_total", "Deliveries made of events.");
    describe_counter!("tidings_unmatched_total", "Events that no webhook wanted.");
    describe_counter!("tidings_claimed_total", "Waiting deliveries that were leased.");
    describe_gauge!("tidings_in_flight", "Deliveries that this process has leased.");
    describe_counter!("tidings_attempts_total", "Attempts, by what came of them.");
    describe_histogram!(
        "tidings_attempt_seconds",
        Unit::Seconds,
        "How long answered attempts took."
    );
    describe_counter!("tidings_ended_total", "Deliveries that ended.");
    describe_counter!("tidings_leases_lost_total", "Outcomes that came after their lease.");
    describe_counter!("tidings_webhooks_disabled_total", "Webhooks disabled by the rule.");
    describe_counter!("tidings_pruned_total", "Events removed with their record.");
    describe_counter!("tidings_heartbeats_total", "Signs of life of dispatchers.");
    describe_gauge!(
        "tidings_lag_seconds",
        Unit::Seconds,
        "Since when there has been something to do that nobody has done."
    );
    describe_counter!("tidings_hook_failures_total", "Hooks that failed or were not asked.");
    describe_counter!("tidings_observer_missed_total", "Notices that the observer missed.");
    describe_histogram!(
        "tidings_storage_seconds",
        Unit::Seconds,
        "How long calls of the storage took."
    );
    describe_counter!("tidings_storage_errors_total", "Calls of the storage that failed.");
}

/// There is nobody to say it to.
#[cfg(not(feature = "metrics"))]
pub(super) fn describe() {}
