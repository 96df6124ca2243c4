//! Holds: the lanes that this dispatcher alone sends from, and the limits that it keeps for them.
//!
//! A rate limit is a timetable: each delivery gets the moment at which it may go when it is leased,
//! a little ahead, so that neither the storage's answer nor a timer that fires late uses the limit
//! up. The timetable of a lane that was just taken is as if a burst had just gone, whoever sent it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::permits::Permits;
use crate::ground::id::WebhookId;
use crate::ground::policy::{CLAIM_HOLDS, HOLD_IDLE, HOLD_REST, RATE_AHEAD};
use crate::ground::rate_limit::RateLimit;
use crate::ground::webhook::Webhook;
use crate::ports::storage::Held;

/// The holds of one dispatcher.
#[derive(Debug)]
pub(super) struct Holds {
    /// How many deliveries of one webhook this dispatcher has in flight at most.
    each: u32,
    holds: HashMap<WebhookId, Hold>,
    /// When the last call asked for lanes.
    asked: Option<Instant>,
}

/// When a delivery of a lane that is held may go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Departure {
    /// While the hold lasts.
    Open,
    /// At this moment or a little later, while the hold lasts.
    At(Instant),
}

#[derive(Debug)]
struct Hold {
    version: u64,
    /// How many may be under way, by the webhook's limit and the dispatcher's own.
    concurrency: u32,
    timetable: Option<Timetable>,
    /// When it was taken, or something of it was leased last.
    used: Instant,
    /// The last claim leased all that there was room for, so there may be more.
    hungry: bool,
    claimed: Instant,
}

impl Holds {
    pub(super) fn new(each: u32) -> Self {
        Self { each, holds: HashMap::new(), asked: None }
    }

    /// What a claim call names of them, with their room at `now`. Those that were of no use for a
    /// while are not named, and so given back.
    pub(super) fn name(&mut self, permits: &Permits, now: Instant) -> HashMap<WebhookId, Held> {
        self.holds.retain(|webhook, hold| {
            let idle = now.saturating_duration_since(hold.used) >= HOLD_IDLE;
            !idle || permits.of(*webhook) > 0
        });
        let name = |(id, hold): (&WebhookId, &Hold)| {
            (*id, Held { version: hold.version, room: hold.room(permits.of(*id), now) })
        };
        self.holds.iter().map(name).collect()
    }

    /// How many lanes a claim call may take: some now and then, so that others find some too.
    pub(super) fn ask(&mut self, now: Instant) -> usize {
        let rests = self.asked.is_some_and(|asked| now < asked + HOLD_REST);
        if rests {
            return 0;
        }
        self.asked = Some(now);
        CLAIM_HOLDS
    }

    /// When a claim call may take lanes again, if that is later than `now`.
    pub(super) fn asks_at(&self, now: Instant) -> Option<Instant> {
        self.asked.map(|asked| asked + HOLD_REST).filter(|at| *at > now)
    }

    /// What the claim call answered, that named these.
    pub(super) fn claimed(
        &mut self,
        named: &HashMap<WebhookId, Held>,
        held: &[Arc<Webhook>],
        lost: &[WebhookId],
        leased: &HashMap<WebhookId, u32>,
        now: Instant,
    ) {
        for webhook in lost {
            self.holds.remove(webhook);
        }
        for (webhook, named) in named {
            if let Some(hold) = self.holds.get_mut(webhook) {
                hold.claimed = now;
                let leased = leased.get(webhook).copied().unwrap_or(0);
                if leased > 0 {
                    hold.used = now;
                }
                if named.room > 0 {
                    hold.hungry = leased >= named.room;
                }
            }
        }
        for webhook in held {
            let hold = self.holds.entry(webhook.id()).or_insert_with(|| Hold {
                version: 0,
                concurrency: u32::MAX,
                timetable: None,
                used: now,
                hungry: true,
                claimed: now,
            });
            hold.learn(webhook, self.each, now);
        }
    }

    /// When a delivery that was leased may go. `None`: this dispatcher does not hold the lane, so it
    /// must not be sent.
    pub(super) fn departure(&mut self, webhook: WebhookId, now: Instant) -> Option<Departure> {
        let hold = self.holds.get_mut(&webhook)?;
        Some(match &mut hold.timetable {
            Some(timetable) => Departure::At(timetable.next(now)),
            None => Departure::Open,
        })
    }

    /// Whether the end of a delivery of this webhook lets others go.
    pub(super) fn follows(&self, webhook: &Webhook, permits: &Permits, now: Instant) -> bool {
        let hold = self.holds.get(&webhook.id());
        let hold = hold.filter(|hold| hold.hungry || webhook.is_ordered());
        hold.is_some_and(|hold| hold.room(permits.of(webhook.id()), now) > 0)
    }

    /// Nothing is held any more: the storage gave this dispatcher up.
    pub(super) fn clear(&mut self) {
        self.holds.clear();
    }

    /// Whether something may be claimable now that was not when a claim call last looked.
    pub(super) fn wants(&self, permits: &Permits, now: Instant) -> bool {
        self.wake_at(permits, now).is_some_and(|at| at <= now)
    }

    /// When that will be, as far as time alone decides.
    pub(super) fn wake_at(&self, permits: &Permits, now: Instant) -> Option<Instant> {
        let wake = |(id, hold): (&WebhookId, &Hold)| hold.wake_at(permits.of(*id), now);
        self.holds.iter().filter_map(wake).min()
    }
}

impl Hold {
    /// The limits as they are from now on.
    fn learn(&mut self, webhook: &Webhook, each: u32, now: Instant) {
        self.version = webhook.version();
        self.concurrency = webhook.concurrency().map_or(each, |requests| requests.min(each));
        self.hungry = true;
        self.timetable = match (webhook.rate_limit(), self.timetable.take()) {
            (None, _) => None,
            (Some(limit), Some(timetable)) if timetable.limit == limit => Some(timetable),
            (Some(limit), _) => Some(Timetable::new(limit, now)),
        };
    }

    fn room(&self, busy: u32, now: Instant) -> u32 {
        let free = self.concurrency.saturating_sub(busy);
        let seats = self.timetable.as_ref().map(|timetable| timetable.seats(now + RATE_AHEAD));
        seats.map_or(free, |seats| free.min(seats))
    }

    fn wake_at(&self, busy: u32, now: Instant) -> Option<Instant> {
        let timetable = self.timetable.as_ref()?;
        if !self.hungry || self.concurrency <= busy {
            return None;
        }
        // Some at a time, and never again before the answer to the last call can matter.
        let ahead = timetable.first(now).checked_sub(RATE_AHEAD).unwrap_or(now);
        Some(ahead.max(self.claimed + RATE_AHEAD / 2))
    }
}

/// When the next deliveries of a webhook with a rate limit may go.
#[derive(Debug)]
struct Timetable {
    limit: RateLimit,
    /// When the next one would go if all went evenly, one after the other, from the first on: one
    /// may go a burst's worth of intervals before.
    even: Instant,
}

impl Timetable {
    /// As if a burst had just gone.
    fn new(limit: RateLimit, now: Instant) -> Self {
        Self { limit, even: now + limit.interval() * limit.burst() }
    }

    fn slack(&self) -> Duration {
        self.limit.interval() * (self.limit.burst() - 1)
    }

    /// When the next one may go.
    fn first(&self, now: Instant) -> Instant {
        self.even.checked_sub(self.slack()).unwrap_or(now).max(now)
    }

    /// How many may go until `end`.
    fn seats(&self, end: Instant) -> u32 {
        let Some(latest) =
            end.checked_duration_since(self.even.checked_sub(self.slack()).unwrap_or(end))
        else {
            return 0;
        };
        let seats = latest.as_nanos() / self.limit.interval().as_nanos().max(1) + 1;
        // After a rest there are a burst, and what comes in the time ahead.
        let ahead = RATE_AHEAD.as_nanos() / self.limit.interval().as_nanos().max(1);
        let most = ahead + u128::from(self.limit.burst());
        u32::try_from(seats.min(most)).unwrap_or(u32::MAX)
    }

    /// Gives the next moment away.
    fn next(&mut self, now: Instant) -> Instant {
        let departure = self.first(now);
        self.even = self.even.max(departure) + self.limit.interval();
        departure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(per_second: u32, burst: u32) -> RateLimit {
        RateLimit::new(per_second).and_then(|limit| limit.with_burst(burst)).unwrap()
    }

    /// Lets a webhook of each of several limits send all it may, with rests in between, and counts
    /// each second that begins with a departure.
    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_than_the_rate_and_the_burst() {
        for (per_second, burst) in [(50, 1), (50, 10), (1, 1), (3, 7), (1_000, 1), (10_000, 100)] {
            let start = Instant::now();
            let mut timetable = Timetable::new(limit(per_second, burst), start);
            let mut departures: Vec<Instant> = Vec::new();
            let (mut now, end) = (start, start + Duration::from_secs(6));
            while now < end {
                let rests = (now - start).as_millis() / 1_500 == 1;
                if !rests {
                    for _ in 0..timetable.seats(now + RATE_AHEAD) {
                        departures.push(timetable.next(now));
                    }
                }
                now += Duration::from_millis(7);
            }
            assert!(departures.is_sorted());
            let second = Duration::from_secs(1);
            assert!(departures[0] >= start + second / per_second, "it begins empty");
            for (at, from) in departures.iter().enumerate() {
                let count = departures[at..].partition_point(|one| *one < *from + second);
                assert!(count <= (per_second + burst) as usize, "{count} of {per_second}+{burst}");
            }
            let used = departures.iter().filter(|at| **at >= start + second * 4).count();
            assert!(used >= 2 * per_second as usize * 9 / 10, "{used} of {per_second} in 2 s");
        }
    }

    /// Asks for the room of an idle, a busy and an empty hold, and when to ask again.
    #[tokio::test(start_paused = true)]
    async fn a_hold_has_room_by_its_limits() {
        let now = Instant::now();
        let mut hold = Hold {
            version: 1,
            concurrency: 3,
            timetable: None,
            used: now,
            hungry: true,
            claimed: now,
        };
        assert_eq!([0, 2, 3, 4].map(|busy| hold.room(busy, now)), [3, 1, 0, 0]);
        assert_eq!(hold.wake_at(0, now), None, "no time frees it");
        hold.timetable = Some(Timetable::new(limit(1, 1), now));
        assert_eq!(hold.room(0, now), 0, "it begins empty");
        let due = now + Duration::from_secs(1) - RATE_AHEAD;
        assert_eq!(hold.wake_at(0, now), Some(due));
        assert_eq!((hold.room(0, due), hold.room(3, due)), (1, 0));
        assert_eq!(hold.wake_at(3, now), None, "a settlement frees it");
        hold.hungry = false;
        assert_eq!(hold.wake_at(0, now), None, "there is nothing more to send");
    }
}
