//! Permits: how much more may be in flight. Every lease has one, from before the call that may
//! give the lease until its settlement is written.

use std::collections::HashMap;

use super::meters;
use crate::ground::id::WebhookId;

/// The permits of one dispatcher.
#[derive(Debug)]
pub(super) struct Permits {
    total: u32,
    /// Taken by leases.
    used: u32,
    /// Set aside for calls that may give leases.
    reserved: u32,
    busy: HashMap<WebhookId, u32>,
}

impl Permits {
    pub(super) fn new(total: u32) -> Self {
        Self { total, used: 0, reserved: 0, busy: HashMap::new() }
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

    /// Leases by webhook.
    pub(super) fn busy(&self) -> HashMap<WebhookId, u32> {
        self.busy.clone()
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

    /// Reserves, takes and releases in turn, and counts.
    #[test]
    fn permits_never_exceed_their_total() {
        let webhook = WebhookId::new(Timestamp::UNIX_EPOCH, &[1; 10]);
        let mut permits = Permits::new(3);
        let reserved = permits.reserve();
        assert_eq!((reserved, permits.free()), (3, 0));
        permits.take(webhook);
        permits.take(webhook);
        permits.unreserve(reserved);
        assert_eq!((permits.used(), permits.free()), (2, 1));
        assert_eq!(permits.busy()[&webhook], 2);
        permits.release(webhook);
        permits.release(webhook);
        assert_eq!((permits.used(), permits.free()), (0, 3));
        assert!(permits.busy().is_empty());
    }
}
