//! The kit's time and randomness: a clock that stands still, bytes that repeat themselves.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use tokio::time::Instant;

use crate::ground::time::{Timestamp, after};
use crate::ports::clock::{Clock, clock_fn};
use crate::ports::entropy::{Entropy, entropy_fn};

/// Virtual time. On the kit's own thread it is the virtual time of the runtime there; everywhere else
/// it is the moment at which that runtime was last seen.
pub(super) struct KitClock {
    start: Timestamp,
    /// The kit's thread, and its virtual time at the start.
    anchor: OnceLock<(ThreadId, Instant)>,
    /// Milliseconds since the start.
    seen: AtomicU64,
}

impl fmt::Debug for KitClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KitClock").field(&self.start).finish()
    }
}

impl KitClock {
    pub(super) fn new(start: Timestamp) -> Arc<Self> {
        Arc::new(Self { start, anchor: OnceLock::new(), seen: AtomicU64::new(0) })
    }

    /// From now on time is that of the runtime that this is called in.
    pub(super) fn begin(&self) {
        self.anchor.get_or_init(|| (thread::current().id(), Instant::now()));
    }

    pub(super) fn now(&self) -> Timestamp {
        if let Some((thread, start)) = self.anchor.get()
            && *thread == thread::current().id()
        {
            let elapsed = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.seen.fetch_max(elapsed, Ordering::SeqCst);
        }
        after(self.start, Duration::from_millis(self.seen.load(Ordering::SeqCst)))
    }

    /// The port.
    pub(super) fn port(self: &Arc<Self>) -> impl Clock + use<> {
        let clock = Arc::clone(self);
        clock_fn(move || clock.now())
    }
}

/// Bytes that are the same for the same seed: SplitMix64.
pub(super) fn entropy(seed: u64) -> impl Entropy {
    let state = Mutex::new(seed);
    entropy_fn(move |bytes| {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut value = *state;
            value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            value ^= value >> 31;
            chunk.copy_from_slice(&value.to_le_bytes()[..chunk.len()]);
        }
    })
}
