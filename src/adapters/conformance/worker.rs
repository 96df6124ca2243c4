//! A dispatcher at work, and what holds of every answer that it gets.

use std::sync::atomic::{self, AtomicU64};

use super::fixtures::*;
use crate::ground::time::after;

/// How long a [`Worker`] lives unless it is told otherwise: longer than most cases.
pub(super) const LIFE: Duration = Duration::from_secs(86_400);

/// How long a probe may take.
pub(super) const PROBE: Duration = Duration::from_secs(30);

/// A dispatcher at work.
pub(super) struct Worker<'s> {
    store: &'s dyn Storage,
    pub(super) id: DispatcherId,
    tickets: AtomicU64,
}

impl<'s> Worker<'s> {
    /// A dispatcher that lives for a day.
    pub(super) async fn start(store: &'s dyn Storage, number: u64, now: Timestamp) -> Self {
        Self::until(store, number, now, after(now, LIFE)).await
    }

    /// A dispatcher that lives until then.
    pub(super) async fn until(
        store: &'s dyn Storage,
        number: u64,
        now: Timestamp,
        until: Timestamp,
    ) -> Self {
        let worker = Self::unknown(store, number);
        assert_eq!(worker.beat(now, until).await, Alive::New, "a first sign of life is new");
        worker
    }

    /// A dispatcher of which the store has never heard.
    pub(super) fn unknown(store: &'s dyn Storage, number: u64) -> Self {
        Self { store, id: dispatcher_id(number), tickets: AtomicU64::new(1) }
    }

    /// A sign of life.
    pub(super) async fn beat(&self, now: Timestamp, until: Timestamp) -> Alive {
        self.heartbeat(now, until, &[]).await
    }

    /// A sign of life that abandons calls.
    pub(super) async fn heartbeat(
        &self,
        now: Timestamp,
        until: Timestamp,
        abandoned: &[u64],
    ) -> Alive {
        let abandoned = abandoned.to_vec();
        let heartbeat = Heartbeat { dispatcher: self.id, now, until, abandoned };
        self.store.heartbeat(&heartbeat).await.expect("heartbeat")
    }

    /// The end of the dispatcher.
    pub(super) async fn end(&self, now: Timestamp) {
        self.beat(now, now).await;
    }

    /// The frame of the next call, with wide bounds.
    pub(super) fn turn(&self, now: Timestamp) -> Turn {
        Turn {
            dispatcher: self.id,
            ticket: self.tickets.fetch_add(1, atomic::Ordering::Relaxed),
            now,
            marks: 500,
            deliveries: 1_000,
            total: 1_000,
            each: 1_000,
            busy: HashMap::new(),
            probe: PROBE,
            held: HashMap::new(),
            holds: 0,
        }
    }

    /// The frame of the next call, with so many permits.
    pub(super) fn turn_of(&self, now: Timestamp, total: u32) -> Turn {
        Turn { total, ..self.turn(now) }
    }

    /// Routes within wide bounds until no mark is left.
    pub(super) async fn route(&self, now: Timestamp) -> Routed {
        self.route_all(|| self.turn(now)).await
    }

    /// Routes, with no permit, until no mark is left: everything is born waiting.
    pub(super) async fn route_waiting(&self, now: Timestamp) -> Routed {
        let routed = self.route_all(|| self.turn_of(now, 0)).await;
        assert!(routed.leased.is_empty(), "route leases only with a permit");
        routed
    }

    /// Routes in turns of this kind until no mark is left.
    pub(super) async fn route_all(&self, turn: impl Fn() -> Turn) -> Routed {
        let mut all = Routed::default();
        for _ in 0..20_000 {
            let routed = self.store.route(&turn()).await.expect("route");
            all.leased.extend(routed.leased);
            all.waiting += routed.waiting;
            all.unmatched += routed.unmatched;
            if !routed.more {
                return all;
            }
        }
        panic!("route says for ever that marks are left");
    }

    /// Claims within wide bounds.
    pub(super) async fn claim(&self, now: Timestamp) -> Claimed {
        self.claim_in(&self.turn(now)).await
    }

    /// Claims so many at most.
    pub(super) async fn claim_of(&self, now: Timestamp, total: u32) -> Claimed {
        self.claim_in(&self.turn_of(now, total)).await
    }

    /// Claims in this frame, and looks at what no answer may ever break.
    pub(super) async fn claim_in(&self, turn: &Turn) -> Claimed {
        let claimed = self.store.claim(turn).await.expect("claim");
        within(turn, &claimed.leased);
        claimed
    }

    /// Claims exactly one delivery.
    pub(super) async fn claim_one(&self, now: Timestamp) -> Leased {
        let mut leased = self.claim(now).await.leased;
        assert_eq!(leased.len(), 1, "exactly one delivery is there to claim");
        leased.remove(0)
    }

    /// Claims, and finds nothing.
    pub(super) async fn claims_nothing(&self, now: Timestamp, why: &str) -> Option<Timestamp> {
        let claimed = self.claim(now).await;
        assert!(claimed.leased.is_empty(), "{why}, but these were leased: {:?}", claimed.leased);
        claimed.next_due
    }

    /// Claims and delivers until nothing is due any more; returns what was delivered, in order.
    pub(super) async fn drain(&self, now: Timestamp) -> Vec<DeliveryId> {
        let mut done = Vec::new();
        for _ in 0..20_000 {
            let leased = self.claim(now).await.leased;
            if leased.is_empty() {
                return done;
            }
            done.extend(leased.iter().map(|leased| leased.delivery.id));
            settle_all(self.store, &leased, now).await;
        }
        panic!("claim finds something for ever");
    }
}

/// What holds of every answer to route and claim: the limits, and whose the leases are.
pub(super) fn within(turn: &Turn, leased: &[Leased]) {
    let total = usize::try_from(turn.total).unwrap_or(usize::MAX);
    assert!(leased.len() <= total, "{} leases with {total} permits", leased.len());
    ids(leased);
    for (webhook, count) in by_webhook(leased) {
        let room = usize::try_from(turn.room(webhook)).unwrap_or(usize::MAX);
        assert!(count <= room, "{count} leases of {webhook:?}, which has room for {room}");
    }
    for leased in leased {
        let delivery = &leased.delivery;
        let lease = State::Leased { dispatcher: turn.dispatcher, ticket: turn.ticket };
        assert_eq!(delivery.state, lease, "a lease names the turn's dispatcher and ticket");
        assert!(delivery.attempt > 0, "a lease raises the attempt");
        assert_eq!(delivery.event, leased.event.id(), "a lease comes with its event");
        assert_eq!(delivery.webhook, leased.webhook.id(), "a lease comes with its webhook");
        assert!(leased.webhook.is_enabled(), "only what an enabled webhook is owed is leased");
    }
}
