//! The observer port: what a host may want to hear of as it happens.

use std::fmt::Debug;
use std::sync::Arc;

use crate::ground::account::Account;
use crate::ground::delivery::{Attempt, Delivery};
use crate::ground::event::Event;
use crate::ground::time::Timestamp;
use crate::ground::webhook::{DisabledReason, Webhook};

/// Hears of what the dispatcher did.
///
/// # Contract
/// Called after the storage has it, one call after the other, on one of tokio's threads for blocking
/// work: it may block, and it may call the crate. No dispatcher waits for it. Up to 4,096 notices wait,
/// with 16 MiB of payloads and answers; one that takes too long misses what comes meanwhile, and hears
/// how much ([`Notice::Missed`]). A panic in it is caught and logged. Every call is a hint: after a crash the
/// last ones may be missing, and nothing is called twice. A dispatcher that ends waits for it within
/// its grace time.
pub trait Observer: Debug + Send + Sync + 'static {
    /// Something happened.
    fn notice(&self, notice: &Notice);
}

/// What an observer hears of.
#[derive(Debug, Clone)]
#[non_exhaustive]
// The large kind is by far the most frequent: a box would cost every attempt an allocation.
#[allow(clippy::large_enum_variant)]
pub enum Notice {
    /// An attempt was settled.
    Settled {
        /// The delivery as it is now.
        delivery: Delivery,
        /// Its event.
        event: Event,
        /// Its webhook as the attempt saw it.
        webhook: Arc<Webhook>,
        /// The attempt.
        attempt: Attempt,
    },
    /// A webhook has done nothing but fail for as long as
    /// [`Policy::warn_after`](crate::Policy::warn_after); once in a stretch of failure.
    Failing {
        /// The webhook as the last attempt saw it.
        webhook: Arc<Webhook>,
        /// When the stretch began.
        since: Timestamp,
    },
    /// A success ended a stretch of failure that was told of.
    Recovered {
        /// The webhook as the attempt saw it.
        webhook: Arc<Webhook>,
        /// When the stretch began.
        since: Timestamp,
    },
    /// A webhook was disabled by the rule.
    Disabled {
        /// The webhook as the last attempt saw it.
        webhook: Arc<Webhook>,
        /// Why.
        reason: DisabledReason,
    },
    /// As much waits as the host allows, or more ([`Backlog::warn`](crate::Backlog::warn)).
    Backlog {
        /// Of this account; of all where there is none.
        account: Option<Account>,
        /// The limit.
        limit: usize,
    },
    /// So many notices were lost here, because the observer did not keep up.
    Missed {
        /// How many.
        count: u64,
    },
}
