//! The life of one delivery as the model knows it.

use std::collections::BTreeSet;
use std::time::Duration;

use tidings::storage::Leased;
use tidings::{
    Attempt, Cause, DeliveryId, DispatcherId, EventId, Mode, StateKind, Timestamp, WebhookId,
};

use super::rules::Before;

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Waiting { due: Timestamp },
    Leased { by: DispatcherId, ticket: u64, at: Timestamp },
    Ended(StateKind),
}

/// One delivery.
#[derive(Debug)]
pub struct Life {
    pub event: EventId,
    pub webhook: WebhookId,
    pub published: Timestamp,
    pub phase: Phase,
    pub attempt: u32,
    pub failures: u32,
    pub interruptions: u32,
    /// Its last lease ended by the death of its holder, which is not accounted for.
    pub lapsed: bool,
    pub settled_by: Option<DispatcherId>,
    /// What the store said when it was leased last.
    pub leased: Option<Leased>,
    /// Its receiver saw a request of this lease.
    pub requested: bool,
    /// What the receiver said to it: the status, and how long to wait.
    pub said: Option<(u16, Option<Duration>)>,
    /// Its sender saw a 2xx, and still has the lease.
    pub acknowledged: bool,
    /// The numbers of the attempts that were written down.
    pub recorded: BTreeSet<u32>,
}

/// A request that a receiver saw.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub delivery: DeliveryId,
    pub number: u32,
    pub by: DispatcherId,
    /// Counts the requests.
    pub serial: usize,
}

impl Life {
    /// It is due when its event is published.
    pub fn new(event: EventId, webhook: WebhookId, published: Timestamp) -> Self {
        Self {
            event,
            webhook,
            published,
            phase: Phase::Waiting { due: published },
            attempt: 0,
            failures: 0,
            interruptions: 0,
            lapsed: false,
            settled_by: None,
            leased: None,
            requested: false,
            said: None,
            acknowledged: false,
            recorded: BTreeSet::new(),
        }
    }

    pub fn pair(&self) -> (EventId, WebhookId) {
        (self.event, self.webhook)
    }

    pub fn lease(&mut self, by: DispatcherId, ticket: u64, at: Timestamp, leased: &Leased) {
        self.phase = Phase::Leased { by, ticket, at };
        self.attempt += 1;
        self.settled_by = None;
        self.leased = Some(leased.clone());
        (self.requested, self.said) = (false, None);
    }

    /// Its lease ends without a settlement.
    pub fn wait(&mut self, due: Timestamp) {
        self.phase = Phase::Waiting { due };
        self.settled_by = None;
    }

    /// An attempt is written down.
    pub fn record(&mut self, attempt: Option<&Attempt>) {
        self.recorded.extend(attempt.map(|attempt| attempt.number));
    }

    pub fn leased_at(&self) -> Timestamp {
        match self.phase {
            Phase::Leased { at, .. } => at,
            _ => self.published,
        }
    }

    /// What its settlement is judged by.
    pub fn before(&self, mode: Mode) -> Before {
        let leased = self.leased.as_ref();
        Before {
            mode,
            published: self.published,
            failures: self.failures,
            interruptions: self.interruptions,
            lapsed: self.lapsed,
            probe: leased.is_some_and(|leased| leased.probe),
            asked_for: leased.is_some_and(|leased| leased.delivery.cause != Cause::ROUTED),
            failing_since: leased.and_then(|leased| leased.failing_since),
        }
    }

    /// Attempt, failures, interruptions, and whether it lapsed.
    pub fn counters(&self) -> (u32, u32, u32, bool) {
        (self.attempt, self.failures, self.interruptions, self.lapsed)
    }
}
