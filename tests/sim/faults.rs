//! The kinds of faults, how often each is planted in a seed, and how often it fired.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidings::DispatcherId;

use super::rng::Rng;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Fault {
    /// A storage call fails before it does anything.
    StorageBefore,
    /// A storage call succeeds and reports an error.
    StorageAfter,
    /// A storage call never answers, and did nothing.
    StorageHangBefore,
    /// A storage call never answers, but happened.
    StorageHangAfter,
    /// A storage call is slow.
    StorageSlow,
    /// The dispatchers' storage is away for as long as a lease: calls happen late, also those that
    /// their callers have given up, or are answered late.
    StorageOutage,
    /// A dispatcher dies.
    Crash,
    /// A dispatcher is shut down with its grace.
    Shutdown,
    /// A dispatcher's process is stopped, and goes on.
    Pause,
    /// The receiver refuses the connection.
    Refuse,
    /// The receiver never answers.
    Timeout,
    /// The receiver answers 500.
    ServerError,
    /// The receiver answers 503 or 429 and asks to wait.
    Throttle,
    /// The receiver answers with a redirect.
    Redirect,
    /// The receiver answers 410.
    Gone,
    /// The receiver acknowledges, but the answer is lost.
    AnswerLost,
    /// The transport panics.
    Panic,
    /// The sender lacks something of its own.
    Local,
    /// The transport has no place for it.
    Busy,
}

/// All kinds, in order.
pub const FAULTS: [Fault; 19] = [
    Fault::StorageBefore,
    Fault::StorageAfter,
    Fault::StorageHangBefore,
    Fault::StorageHangAfter,
    Fault::StorageSlow,
    Fault::StorageOutage,
    Fault::Crash,
    Fault::Shutdown,
    Fault::Pause,
    Fault::Refuse,
    Fault::Timeout,
    Fault::ServerError,
    Fault::Throttle,
    Fault::Redirect,
    Fault::Gone,
    Fault::AnswerLost,
    Fault::Panic,
    Fault::Local,
    Fault::Busy,
];

/// How often each kind of fault fired, over all seeds.
#[derive(Debug, Default)]
pub struct Fired([AtomicU64; FAULTS.len()]);

impl Fired {
    pub fn count(&self, fault: Fault) -> u64 {
        self.0[fault as usize].load(Ordering::Relaxed)
    }

    pub fn fire(&self, fault: Fault) {
        self.0[fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn add(&self, other: &Self) {
        for (mine, theirs) in self.0.iter().zip(&other.0) {
            mine.fetch_add(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// A time in which the storage is away.
#[derive(Debug, Clone, Copy)]
pub struct Outage {
    from: Duration,
    pub until: Duration,
    /// Whether signs of life are lost. Each other call happens at the end, or it happens and is
    /// answered at the end.
    pub deaf: bool,
    /// Which dispatchers it strikes: all, or those with an even or an odd id.
    parity: Option<u64>,
}

/// Which faults a seed has: once in so many chances; 0 is never.
#[derive(Debug, Clone)]
pub struct Odds {
    pub storage_before: u64,
    pub storage_after: u64,
    pub storage_hang: u64,
    pub storage_slow: u64,
    pub outages: Vec<Outage>,
    pub crash: bool,
    pub shutdown: bool,
    pub pause: bool,
    pub network: bool,
    pub gone: u64,
    pub own: u64,
}

impl Odds {
    /// Each kind is in about half of the seeds, and some seeds have none.
    pub fn draw(rng: &mut Rng, lease: Duration, days: u64) -> Self {
        let quiet = rng.once_in(10);
        let mut half = |odds: u64| if !quiet && rng.once_in(2) { odds } else { 0 };
        let outages = (0..half(5))
            .map(|_| {
                let from = rng.time(Duration::ZERO, Duration::from_secs(days * 86_400));
                Outage {
                    from,
                    until: from + rng.time(lease / 4, lease * 5 / 4),
                    deaf: rng.once_in(2),
                    parity: rng.once_in(2).then(|| rng.below(2)),
                }
            })
            .collect();
        // A storage that never fails shows what the other faults do alone.
        let sound = rng.once_in(4);
        let mut half = |odds: u64| if !quiet && rng.once_in(2) { odds } else { 0 };
        let [before, after, hang, slow] = [40, 40, 150, 20].map(&mut half);
        let storage = |odds| if sound { 0 } else { odds };
        Self {
            outages: if sound { Vec::new() } else { outages },
            storage_before: storage(before),
            storage_after: storage(after),
            storage_hang: storage(hang),
            storage_slow: storage(slow),
            crash: half(1) == 1,
            shutdown: half(1) == 1,
            pause: half(1) == 1,
            network: half(1) == 1 || half(1) == 1,
            gone: half(400),
            own: half(150),
        }
    }

    /// Whether a dispatcher may lose its leases or the answer to a settlement: only then may a
    /// delivery be sent again after its sender saw a 2xx.
    pub fn disturbs_dispatchers(&self) -> bool {
        self.crash || self.shutdown || self.pause || self.disturbs_storage()
    }

    /// Whether a dispatcher that is shut down may be kept from writing what it knows.
    pub fn disturbs_storage(&self) -> bool {
        self.storage_before > 0
            || self.storage_after > 0
            || self.storage_hang > 0
            || self.storage_slow > 0
            || !self.outages.is_empty()
    }

    /// The outage that there is for a dispatcher at `time`.
    pub fn outage_at(&self, time: Duration, dispatcher: DispatcherId) -> Option<Outage> {
        let own = dispatcher.uuid().as_u64_pair().1 % 2;
        let strikes = |outage: &&Outage| {
            outage.from <= time
                && time < outage.until
                && outage.parity.is_none_or(|parity| parity == own)
        };
        self.outages.iter().find(strikes).copied()
    }
}
