//! A dispatcher by hand: the storage's calls as the engine makes them, without a network between.
#![allow(dead_code)] // Each user of this file needs another part of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidings::storage::{Heartbeat, Leased, Settlement, Storage, Turn};
use tidings::time::after;
use tidings::{
    Attempt, Clock, DispatcherId, Fence, Outcome, Policy, Seen, State, SystemClock, Timestamp,
    Transition, advance,
};

/// A dispatcher that a test moves step by step.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) id: DispatcherId,
    ticket: AtomicU64,
}

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

impl Worker {
    /// One that lives for an hour.
    pub(crate) async fn begin(storage: &Arc<dyn Storage>, number: u128) -> Self {
        let id = DispatcherId::from_uuid(uuid::Uuid::from_u128(0xd0_0000 + number));
        let worker = Self { storage: storage.clone(), id, ticket: AtomicU64::new(1) };
        worker.beat(Vec::new()).await;
        worker
    }

    pub(crate) async fn beat(&self, abandoned: Vec<u64>) {
        let until = after(now(), Duration::from_secs(3_600));
        let beat = Heartbeat { dispatcher: self.id, now: now(), until, abandoned };
        self.storage.heartbeat(&beat).await.expect("a heartbeat");
    }

    /// The next turn, with room for `total` leases.
    pub(crate) fn turn(&self, total: u32) -> Turn {
        Turn {
            dispatcher: self.id,
            ticket: self.ticket.fetch_add(1, Ordering::Relaxed),
            now: now(),
            marks: 512,
            deliveries: 1_024,
            total,
            each: 64,
            busy: HashMap::new(),
            probe: Duration::from_secs(60),
            held: HashMap::new(),
            holds: 0,
        }
    }

    pub(crate) async fn claim(&self, total: u32) -> Vec<Leased> {
        self.storage.claim(&self.turn(total)).await.expect("a claim").leased
    }

    /// Gives back what was leased, as if nothing had been sent.
    pub(crate) async fn give_back(&self, leased: &[Leased]) {
        let settlements: Vec<Settlement> = leased
            .iter()
            .map(|leased| Settlement {
                fence: fence(leased),
                attempt: None,
                transition: Transition::given_back(&leased.delivery, seen(leased), now()),
                reports: Vec::new(),
            })
            .collect();
        self.storage.settle(&settlements, now()).await.expect("a settle");
    }

    /// Settles what was leased with an answer of this status.
    pub(crate) async fn settle(&self, leased: &[Leased], status: u16) {
        let settlements: Vec<Settlement> =
            leased.iter().map(|leased| settlement(leased, status)).collect();
        self.storage.settle(&settlements, now()).await.expect("a settle");
    }
}

fn seen(leased: &Leased) -> Seen {
    Seen { failing_since: leased.failing_since, probe: leased.probe }
}

fn fence(leased: &Leased) -> Fence {
    let delivery = &leased.delivery;
    let State::Leased { dispatcher, .. } = delivery.state else { panic!("{delivery:?}") };
    Fence { delivery: delivery.id, attempt: delivery.attempt, dispatcher }
}

fn settlement(leased: &Leased, status: u16) -> Settlement {
    let outcome = Outcome::Answered { status, retry_after: None };
    let (delivery, policy) = (&leased.delivery, Policy::default());
    let transition = advance(delivery, &leased.webhook, seen(leased), &outcome, &policy, now());
    let attempt = Attempt::new(delivery.attempt, now(), Duration::from_millis(1), outcome);
    Settlement { fence: fence(leased), attempt: Some(attempt), transition, reports: Vec::new() }
}
