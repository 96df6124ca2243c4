//! Permits: how much more may be in flight. Every lease has one, from before the call that may
//! give the lease until its settlement is written.

use std::collections::HashMap;

use tokio::time::Instant;

use super::meters;
use crate::ground::id::WebhookId;
use crate::ground::policy::{RAMP_START, RAMP_TIME, RAMPS_MAX};

/// The permits of one dispatcher.
#[derive(Debug)]
pub(super) struct Permits {
    total: u32,
    /// Taken by leases.
    used: u32,
    /// Set aside for calls that may give leases.
    reserved: u32,
    busy: HashMap<WebhookId, u32>,
    /// How many one webhook may have.
    each: u32,
    /// Webhooks that have just come back. What waited for them goes out at a growing rate, not at once.
    ramps: HashMap<WebhookId, Ramp>,
}

/// How many deliveries of a webhook that has just come back may be in flight.
#[derive(Debug, Clone, Copy)]
struct Ramp {
    may: u32,
    /// When it is over in any case.
    until: Instant,
}

impl Permits {
    pub(super) fn new(total: u32, each: u32) -> Self {
        let (busy, ramps) = (HashMap::new(), HashMap::new());
        Self { total, used: 0, reserved: 0, busy, each, ramps }
    }

    /// How many are free.
    pub(super) fn free(&self) -> u32 {
        self.total.saturating_sub(self.used).saturating_sub(self.reserved)
    }

    /// How many leases there are.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// Sets all free ones aside and says how many.
    pub(super) fn reserve(&mut self) -> u32 {
        let reserved = self.free();
        self.reserved += reserved;
        reserved
    }

    /// The call that they were set aside for has ended.
    pub(super) fn unreserve(&mut self, reserved: u32) {
        self.reserved = self.reserved.saturating_sub(reserved);
    }

    /// A lease was given.
    pub(super) fn take(&mut self, webhook: WebhookId) {
        self.used += 1;
        meters::in_flight(1.0);
        *self.busy.entry(webhook).or_default() += 1;
    }

    /// A lease has ended.
    pub(super) fn release(&mut self, webhook: WebhookId) {
        meters::in_flight(if self.used > 0 { -1.0 } else { 0.0 });
        self.used = self.used.saturating_sub(1);
        if let Some(count) = self.busy.get_mut(&webhook) {
            *count -= 1;
            if *count == 0 {
                self.busy.remove(&webhook);
            }
        }
    }

    /// How many leases there are of one webhook.
    pub(super) fn of(&self, webhook: WebhookId) -> u32 {
        self.busy.get(&webhook).copied().unwrap_or(0)
    }

    /// Leases by webhook, as far as they bound how many more there may be: of one that has just come
    /// back so many count as leave no more than that.
    pub(super) fn busy(&mut self, now: Instant) -> HashMap<WebhookId, u32> {
        self.ramps.retain(|_, ramp| ramp.until > now);
        let mut busy = self.busy.clone();
        for (webhook, ramp) in &self.ramps {
            *busy.entry(*webhook).or_default() += self.each.saturating_sub(ramp.may);
        }
        busy
    }

    /// A probe found the webhook's receiver answering.
    pub(super) fn came_back(&mut self, webhook: WebhookId, now: Instant) {
        if self.ramps.len() < RAMPS_MAX && self.each > RAMP_START {
            self.ramps.insert(webhook, Ramp { may: RAMP_START, until: now + RAMP_TIME });
        }
    }

    /// One of its deliveries has ended, and the receiver took it or did not. Each success allows one
    /// more, so that as many as are in flight double in the time of one; a failure halves them.
    pub(super) fn answered(&mut self, webhook: WebhookId, success: bool) {
        let Some(ramp) = self.ramps.get_mut(&webhook) else { return };
        ramp.may = if success { ramp.may + 1 } else { (ramp.may / 2).max(1) };
        if ramp.may >= self.each {
            self.ramps.remove(&webhook);
        }
    }
}

impl Drop for Permits {
    /// What a dispatcher had in flight when it ended is not in flight in this process.
    fn drop(&mut self) {
        meters::in_flight(-f64::from(self.used));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::time::Timestamp;

    /// Lets a webhook come back, succeed, fail, succeed on, and come back and wait.
    #[tokio::test(start_paused = true)]
    async fn what_waited_goes_out_at_a_growing_rate() {
        let webhook = WebhookId::new(Timestamp::UNIX_EPOCH, &[1; 10]);
        let mut permits = Permits::new(9, 8);
        let now = Instant::now();
        let room = |permits: &mut Permits, now| {
            8_u32.saturating_sub(permits.busy(now).get(&webhook).copied().unwrap_or_default())
        };
        assert_eq!(room(&mut permits, now), 8, "nothing is known of it");
        permits.came_back(webhook, now);
        assert_eq!(room(&mut permits, now), 2);
        permits.take(webhook);
        permits.take(webhook);
        assert_eq!(room(&mut permits, now), 0);
        for (success, expected) in [(true, 1), (true, 2), (true, 3), (false, 0), (false, 0)] {
            permits.answered(webhook, success);
            assert_eq!(room(&mut permits, now), expected, "{success}");
        }
        permits.release(webhook);
        assert_eq!(room(&mut permits, now), 0, "one may be in flight, and is");
        (0..7).for_each(|_| permits.answered(webhook, true));
        assert_eq!((room(&mut permits, now), permits.ramps.len()), (7, 0), "it is as any other");
        permits.came_back(webhook, now);
        assert_eq!(room(&mut permits, now + RAMP_TIME), 7, "it has an end");
    }

    /// Reserves, takes and releases in turn, and counts.
    #[test]
    fn permits_never_exceed_their_total() {
        let webhook = WebhookId::new(Timestamp::UNIX_EPOCH, &[1; 10]);
        let mut permits = Permits::new(3, 3);
        let reserved = permits.reserve();
        assert_eq!((reserved, permits.free()), (3, 0));
        permits.take(webhook);
        permits.take(webhook);
        permits.unreserve(reserved);
        assert_eq!((permits.used(), permits.free()), (2, 1));
        assert_eq!(permits.busy(Instant::now())[&webhook], 2);
        permits.release(webhook);
        permits.release(webhook);
        assert_eq!((permits.used(), permits.free()), (0, 3));
        assert!(permits.busy(Instant::now()).is_empty());
    }
}
