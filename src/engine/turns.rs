//! When a dispatcher calls the storage next: what it knows of the work that waits there.

use std::time::Duration;

use tokio::time::Instant;

use crate::ground::time::{Timestamp, between};

/// What is known of the work that waits in the storage.
#[derive(Debug)]
pub(super) struct Turns {
    /// Marks may be waiting.
    marks: bool,
    /// Waiting deliveries may be claimable from then on.
    next_due: Option<Timestamp>,
    /// The last claim left due deliveries that have no room; nothing changes until a lease ends.
    blocked: bool,
    /// Whether the last call was a claim: route and claim take turns.
    claimed_last: bool,
    /// No calls before this: the storage is in trouble.
    rest_until: Option<Instant>,
    troubles: u32,
}

/// The next call to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Route,
    Claim,
}

/// The shortest and the longest rest after a failed call.
const REST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

impl Turns {
    /// At the start everything may be waiting.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            marks: true,
            next_due: Some(now),
            blocked: false,
            claimed_last: false,
            rest_until: None,
            troubles: 0,
        }
    }

    /// Somebody may have written something: look at everything.
    pub(super) fn look(&mut self, now: Timestamp) {
        self.marks = true;
        self.waiting_at(now);
    }

    /// A delivery waits until `due`.
    pub(super) fn waiting_at(&mut self, due: Timestamp) {
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
    }

    /// A lease has ended: there may be room again.
    pub(super) fn room(&mut self) {
        self.blocked = false;
    }

    /// A route call was answered.
    pub(super) fn routed(&mut self, more: bool, waiting: bool, now: Timestamp) {
        self.fine();
        self.marks |= more;
        if waiting {
            self.waiting_at(now);
        }
    }

    /// A claim call was answered. `full`: it used every permit it had.
    pub(super) fn claimed(&mut self, next_due: Option<Timestamp>, full: bool, now: Timestamp) {
        self.fine();
        if let Some(due) = next_due {
            self.blocked = !full && due <= now;
            self.waiting_at(due);
        }
    }

    /// A call failed: rest before the next one.
    pub(super) fn trouble(&mut self, call: Option<Call>, now: Timestamp) {
        match call {
            Some(Call::Route) => self.marks = true,
            Some(Call::Claim) => self.waiting_at(now),
            None => {}
        }
        let rest = REST.0.saturating_mul(1 << self.troubles.min(10)).min(REST.1);
        self.troubles = self.troubles.saturating_add(1);
        self.rest_until = Some(Instant::now() + rest);
    }

    /// A call succeeded.
    pub(super) fn fine(&mut self) {
        self.troubles = 0;
        self.rest_until = None;
    }

    /// Whether calls must wait for a while.
    pub(super) fn rests(&self) -> bool {
        self.rest_until.is_some_and(|until| Instant::now() < until)
    }

    /// The call to make at `now`, if there is reason for one. Forgets the reason: the answer, or
    /// [`trouble`](Self::trouble), brings what is left of it back.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Call> {
        if self.rests() {
            return None;
        }
        let claim = !self.blocked && self.next_due.is_some_and(|due| due <= now);
        let call = match (self.marks, claim) {
            (false, false) => return None,
            (true, true) if self.claimed_last => Call::Route,
            (true, false) => Call::Route,
            (_, true) => Call::Claim,
        };
        self.claimed_last = call == Call::Claim;
        match call {
            Call::Route => self.marks = false,
            Call::Claim => self.next_due = None,
        }
        Some(call)
    }

    /// When to look at [`next`](Self::next) again, if nothing else happens before.
    pub(super) fn wake_at(&self, now: Timestamp, has_room: bool) -> Option<Instant> {
        if self.rest_until.is_some() && self.rests() {
            return self.rest_until;
        }
        if !has_room {
            return None;
        }
        if self.marks {
            return Some(Instant::now());
        }
        let due = self.next_due.filter(|_| !self.blocked)?;
        // Timers may fire a little early by the other clock: never spin.
        Some(Instant::now() + between(now, due).max(Duration::from_millis(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::time::after;

    fn start() -> (Turns, Timestamp) {
        let now = Timestamp::UNIX_EPOCH;
        (Turns::new(now), now)
    }

    /// Asks for calls while both kinds of work wait.
    #[tokio::test(start_paused = true)]
    async fn route_and_claim_take_turns() {
        let (mut turns, now) = start();
        let mut calls = Vec::new();
        for _ in 0..4 {
            turns.look(now);
            calls.push(turns.next(now));
        }
        use Call::{Claim, Route};
        assert_eq!(calls, [Some(Claim), Some(Route), Some(Claim), Some(Route)]);
    }

    /// Answers a claim with due work but no lease, then ends a lease.
    #[tokio::test(start_paused = true)]
    async fn a_claim_without_room_waits_for_the_end_of_a_lease() {
        let (mut turns, now) = start();
        turns.marks = false;
        assert_eq!(turns.next(now), Some(Call::Claim));
        turns.claimed(Some(now), false, now);
        assert_eq!(turns.next(now), None);
        assert_eq!(turns.wake_at(now, true), None);
        turns.room();
        assert_eq!(turns.next(now), Some(Call::Claim));
    }

    /// Fails a call, and looks before and after the rest.
    #[tokio::test(start_paused = true)]
    async fn a_failed_call_is_repeated_after_a_rest() {
        let (mut turns, now) = start();
        turns.next_due = None;
        assert_eq!(turns.next(now), Some(Call::Route));
        turns.trouble(Some(Call::Route), now);
        assert_eq!(turns.next(now), None);
        tokio::time::advance(REST.0).await;
        assert_eq!(turns.next(now), Some(Call::Route));
        turns.routed(false, false, now);
        assert_eq!(turns.next(now), None);
    }

    /// Learns of a later and an earlier due time.
    #[tokio::test(start_paused = true)]
    async fn the_earliest_due_time_counts() {
        let (mut turns, now) = start();
        turns.marks = false;
        turns.next_due = None;
        turns.waiting_at(after(now, Duration::from_secs(9)));
        turns.waiting_at(after(now, Duration::from_secs(5)));
        turns.waiting_at(after(now, Duration::from_secs(7)));
        assert_eq!(turns.wake_at(now, true), Some(Instant::now() + Duration::from_secs(5)));
        assert_eq!(turns.next(after(now, Duration::from_secs(4))), None);
        assert_eq!(turns.next(after(now, Duration::from_secs(5))), Some(Call::Claim));
    }
}
