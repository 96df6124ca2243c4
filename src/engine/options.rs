//! How a dispatcher works: its limits in flight and its times.

use std::time::Duration;

use crate::ground::policy::IN_FLIGHT_MAX;

/// How a dispatcher works. The defaults suit a server that does other things too.
///
/// ```
/// use tidings::DispatcherOptions;
///
/// let options = DispatcherOptions::default().in_flight(1_000).in_flight_per_webhook(50);
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct DispatcherOptions {
    pub(super) in_flight: u32,
    pub(super) in_flight_per_webhook: u32,
    pub(super) lease: Duration,
    pub(super) poll: Duration,
    pub(super) grace: Duration,
    pub(super) sweep_every: Option<Duration>,
    pub(super) settle_within: Duration,
    pub(super) settle_batch: usize,
}

impl Default for DispatcherOptions {
    /// 512 deliveries in flight, 64 to one webhook; leases of 30 s; a poll every 250 ms; 10 s of
    /// grace at shutdown; housekeeping once a minute.
    fn default() -> Self {
        Self {
            in_flight: 512,
            in_flight_per_webhook: 64,
            lease: Duration::from_secs(30),
            poll: Duration::from_millis(250),
            grace: Duration::from_secs(10),
            sweep_every: Some(Duration::from_secs(60)),
            settle_within: Duration::from_millis(2),
            settle_batch: 64,
        }
    }
}

impl DispatcherOptions {
    /// How many deliveries may be in flight at once: from their lease to their settlement.
    /// Clamped to 1 to 65,536.
    pub fn in_flight(mut self, deliveries: u32) -> Self {
        self.in_flight = deliveries.clamp(1, IN_FLIGHT_MAX);
        self
    }

    /// How many of them may go to one webhook. Clamped to 1 to 65,536.
    pub fn in_flight_per_webhook(mut self, deliveries: u32) -> Self {
        self.in_flight_per_webhook = deliveries.clamp(1, IN_FLIGHT_MAX);
        self
    }

    /// How long the dispatcher's leases hold without a sign of life; it gives one every third of
    /// this. After a crash, others take over when it has passed. At least 3 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(Duration::from_secs(3));
        self
    }

    /// How often to look for work that nobody announced: events written by other processes, what
    /// a dead dispatcher left. At least 10 ms.
    pub fn poll(mut self, poll: Duration) -> Self {
        self.poll = poll.max(Duration::from_millis(10));
        self
    }

    /// How long a shutdown waits for what is in flight before it cuts it off and gives it back.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How often to do housekeeping (expiry, removal of old events); `None` leaves it to others.
    pub fn sweep_every(mut self, every: Option<Duration>) -> Self {
        self.sweep_every = every.map(|every| every.max(Duration::from_secs(1)));
        self
    }

    /// How long an outcome may wait for others to be written together with it.
    pub fn settle_within(mut self, time: Duration) -> Self {
        self.settle_within = time.min(Duration::from_secs(1));
        self
    }
}
