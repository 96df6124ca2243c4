//! When a dispatcher calls the storage next: what it knows of the work that waits there.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::ground::time::{Timestamp, between};

/// What is known of the work that waits in the storage.
#[derive(Debug)]
pub(super) struct Turns {
    /// Marks may be waiting.
    marks: bool,
    /// Waiting deliveries may be claimable at these moments. Several are kept, because a claim
    /// that leaves due work without room learns nothing of what is due later.
    dues: BTreeSet<Timestamp>,
    /// The last claim left due deliveries that have no room: a lease must end before they can go.
    blocked: bool,
    /// Whether the last call was a claim: route and claim take turns.
    claimed_last: bool,
    /// When the storage is in trouble with one kind of call, the other goes on.
    route_rest: Rest,
    claim_rest: Rest,
}

/// The next call to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Route,
    Claim,
}

/// A rest after calls that failed; it doubles with each.
#[derive(Debug, Default)]
struct Rest {
    until: Option<Instant>,
    troubles: u32,
}

impl Rest {
    fn begin(&mut self) {
        let (least, most) = REST;
        let rest = least.saturating_mul(1 << self.troubles.min(10)).min(most);
        self.troubles = self.troubles.saturating_add(1);
        self.until = Some(Instant::now() + rest);
    }

    /// A call succeeded.
    fn end(&mut self) {
        *self = Self::default();
    }

    /// The next call is to come at `at`, or when the rest is over.
    fn or_later(&self, at: Instant) -> Instant {
        self.until.map_or(at, |until| until.max(at))
    }

    fn is_over(&self) -> bool {
        self.until.is_none_or(|until| until <= Instant::now())
    }
}

/// The shortest and the longest rest after a failed call.
const REST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Due times that are remembered. Polls find what is due at others.
const DUES_MAX: usize = 64;

impl Turns {
    /// At the start everything may be waiting.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            marks: true,
            dues: BTreeSet::from([now]),
            blocked: false,
            claimed_last: false,
            route_rest: Rest::default(),
            claim_rest: Rest::default(),
        }
    }

    /// Somebody may have written something: look at everything.
    pub(super) fn look(&mut self, now: Timestamp) {
        self.marks = true;
        self.waiting_at(now);
    }

    /// A delivery waits until `due`.
    pub(super) fn waiting_at(&mut self, due: Timestamp) {
        self.dues.insert(due);
        if self.dues.len() > DUES_MAX {
            self.dues.pop_last();
        }
    }

    /// A lease has ended: there is room again.
    pub(super) fn room(&mut self, now: Timestamp) {
        if std::mem::take(&mut self.blocked) {
            self.waiting_at(now);
        }
    }

    /// A route call was answered.
    pub(super) fn routed(&mut self, more: bool, waiting: bool, now: Timestamp) {
        self.route_rest.end();
        self.marks |= more;
        if waiting {
            self.waiting_at(now);
        }
    }

    /// A claim call was answered. `full`: it used every permit it had.
    pub(super) fn claimed(&mut self, next_due: Option<Timestamp>, full: bool, now: Timestamp) {
        self.claim_rest.end();
        self.blocked = !full && next_due.is_some_and(|due| due <= now);
        if let Some(due) = next_due.filter(|_| !self.blocked) {
            self.waiting_at(due);
        }
    }

    /// A call failed: rest before the next one of its kind.
    pub(super) fn failed(&mut self, call: Call, now: Timestamp) {
        match call {
            Call::Route => {
                self.marks = true;
                self.route_rest.begin();
            }
            Call::Claim => {
                self.waiting_at(now);
                self.claim_rest.begin();
            }
        }
    }

    /// The call to make at `now`, if there is reason for one. Forgets the reason: the answer, or
    /// [`failed`](Self::failed), brings what is left of it back.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Call> {
        let route = self.marks && self.route_rest.is_over();
        let due = self.dues.first().is_some_and(|due| *due <= now);
        let claim = due && self.claim_rest.is_over();
        let call = match (route, claim) {
            (false, false) => return None,
            (true, true) if self.claimed_last => Call::Route,
            (true, false) => Call::Route,
            (_, true) => Call::Claim,
        };
        self.claimed_last = call == Call::Claim;
        match call {
            Call::Route => self.marks = false,
            Call::Claim => self.dues.retain(|due| *due > now),
        }
        Some(call)
    }

    /// When to look at [`next`](Self::next) again, if nothing else happens before.
    pub(super) fn wake_at(&self, now: Timestamp, has_room: bool) -> Option<Instant> {
        if !has_room {
            return None;
        }
        let instant = Instant::now();
        let route = self.marks.then(|| self.route_rest.or_later(instant));
        let claim = self.dues.first().map(|due| {
            // Timers may fire a little early by the other clock: never spin.
            let wait = between(now, *due).max(Duration::from_millis(1));
            self.claim_rest.or_later(instant + wait)
        });
        [route, claim].into_iter().flatten().min()
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
        turns.room(now);
        assert_eq!(turns.next(now), Some(Call::Claim));
    }

    /// Answers a claim with due work but no lease while other work is due later, and looks then
    /// and at the next poll.
    #[tokio::test(start_paused = true)]
    async fn a_lane_without_room_does_not_hide_what_is_due_later() {
        let (mut turns, now) = start();
        turns.marks = false;
        let later = after(now, Duration::from_secs(5));
        turns.waiting_at(later);
        assert_eq!(turns.next(now), Some(Call::Claim));
        turns.claimed(Some(now), false, now);
        assert_eq!(turns.next(now), None);
        assert_eq!(turns.wake_at(now, true), Some(Instant::now() + Duration::from_secs(5)));
        assert_eq!(turns.next(later), Some(Call::Claim));
        turns.claimed(Some(now), false, later);
        turns.look(later);
        turns.marks = false;
        assert_eq!(turns.next(later), Some(Call::Claim));
    }

    /// Learns of more due times than are remembered.
    #[tokio::test(start_paused = true)]
    async fn the_latest_due_times_are_forgotten_first() {
        let (mut turns, now) = start();
        for seconds in (0..1_000).rev() {
            turns.waiting_at(after(now, Duration::from_secs(seconds)));
        }
        assert_eq!(turns.dues.len(), DUES_MAX);
        assert_eq!(turns.dues.first(), Some(&now));
    }

    /// Fails a call, and looks before and after the rest.
    #[tokio::test(start_paused = true)]
    async fn a_failed_call_is_repeated_after_a_rest() {
        let (mut turns, now) = start();
        turns.dues.clear();
        assert_eq!(turns.next(now), Some(Call::Route));
        turns.failed(Call::Route, now);
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
        turns.dues.clear();
        turns.waiting_at(after(now, Duration::from_secs(9)));
        turns.waiting_at(after(now, Duration::from_secs(5)));
        turns.waiting_at(after(now, Duration::from_secs(7)));
        assert_eq!(turns.wake_at(now, true), Some(Instant::now() + Duration::from_secs(5)));
        assert_eq!(turns.next(after(now, Duration::from_secs(4))), None);
        assert_eq!(turns.next(after(now, Duration::from_secs(5))), Some(Call::Claim));
    }
}
