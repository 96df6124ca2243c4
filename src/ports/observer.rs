//! The observer port: what a host may want to hear of as it happens.

use std::fmt::Debug;
use std::sync::Arc;

use crate::ground::delivery::{Attempt, Delivery};
use crate::ground::event::Event;
use crate::ground::webhook::{DisabledReason, Webhook};

/// Hears of what the dispatcher did.
///
/// # Contract
/// Called after the storage has it, in the dispatcher's own task: return quickly. A panic in it is
/// caught and logged. Every call is a hint: after a crash the one for the last change may be
/// missing, and nothing is called twice.
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
    /// A webhook was disabled by the rule.
    Disabled {
        /// The webhook as the last attempt saw it.
        webhook: Arc<Webhook>,
        /// Why.
        reason: DisabledReason,
    },
}

/// Hears of nothing.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::exhaustive_structs)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn notice(&self, _: &Notice) {}
}
