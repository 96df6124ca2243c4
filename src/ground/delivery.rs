//! A delivery: one event owed to one webhook. Its state, its attempts, and what may happen to it.
//!
//! ```text
//!            lease                    2xx
//!  Waiting ─────────► Leased ───────────────────► Delivered
//!     ▲                 │ failure, tries left
//!     ├─────────────────┤
//!     │   reap, given   │ failure, none left
//!     └──── back ───────┼───────────────────────► Exhausted
//!  Waiting ── too old ──┴───────────────────────► Expired
//!  Waiting ── webhook deleted, replay cancelled ► Cancelled
//! ```
//!
//! What decides is [`advance`](crate::advance); this file only says what each change does to the
//! values, so that every store applies the same.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::failure::FailureKind;
use super::id::{Cause, DeliveryId, DispatcherId, EventId, WebhookId};
use super::time::Timestamp;

/// One event owed to one webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// [`DeliveryId::of`] the three fields that follow.
    pub id: DeliveryId,
    /// The event owed.
    pub event: EventId,
    /// The webhook it is owed to.
    pub webhook: WebhookId,
    /// Why it is owed.
    pub cause: Cause,
    /// When the event was published (for a redelivery: when that was asked for). Expiry counts
    /// from here.
    pub published: Timestamp,
    /// Where it stands.
    pub state: State,
    /// How often it was leased. Only grows: together with the dispatcher it is the fence.
    pub attempt: u32,
    /// Failures that counted towards the schedule.
    pub failures: u32,
    /// How often its sender died, or failed for reasons of its own.
    pub interruptions: u32,
    /// Whether the last lease ended by its holder's death, which is not yet accounted for.
    pub lapsed: bool,
    /// Who settled it last: lets a store answer a repeated settlement. `None` after a reap.
    pub settled_by: Option<DispatcherId>,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// To be sent at `due`, or later when its lane is paused or its webhook disabled.
    Waiting {
        /// The earliest moment of the next attempt.
        due: Timestamp,
    },
    /// Being sent.
    Leased {
        /// By whom.
        dispatcher: DispatcherId,
        /// In which of that dispatcher's calls it was leased.
        ticket: u64,
    },
    /// Acknowledged with a 2xx (seed row W16).
    Delivered {
        /// When.
        at: Timestamp,
    },
    /// The last try failed.
    Exhausted {
        /// When.
        at: Timestamp,
    },
    /// It waited too long.
    Expired {
        /// When.
        at: Timestamp,
    },
    /// Its webhook was deleted, a filter of the sender's refused it, or its replay was cancelled.
    Cancelled {
        /// When.
        at: Timestamp,
    },
}

/// The name of a [`State`], for filters and listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub enum StateKind {
    /// [`State::Waiting`].
    Waiting,
    /// [`State::Leased`].
    Leased,
    /// [`State::Delivered`].
    Delivered,
    /// [`State::Exhausted`].
    Exhausted,
    /// [`State::Expired`].
    Expired,
    /// [`State::Cancelled`].
    Cancelled,
}

impl State {
    /// The name of this state.
    pub const fn kind(&self) -> StateKind {
        match self {
            Self::Waiting { .. } => StateKind::Waiting,
            Self::Leased { .. } => StateKind::Leased,
            Self::Delivered { .. } => StateKind::Delivered,
            Self::Exhausted { .. } => StateKind::Exhausted,
            Self::Expired { .. } => StateKind::Expired,
            Self::Cancelled { .. } => StateKind::Cancelled,
        }
    }

    /// Whether nothing will happen to it any more.
    pub const fn is_ended(&self) -> bool {
        !matches!(self, Self::Waiting { .. } | Self::Leased { .. })
    }

    /// Whether it is in its lane, to be claimed at some time.
    pub const fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting { .. })
    }
}

/// The fence: what a settlement must name, and the store compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_structs)]
pub struct Fence {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Its attempt number when it was leased.
    pub attempt: u32,
    /// The dispatcher that leased it.
    pub dispatcher: DispatcherId,
}

/// What a fence finds at its delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)]
pub enum Standing {
    /// The lease holds: apply the settlement.
    Holds,
    /// This very settlement was applied before: answer with the same, change nothing.
    Repeated,
    /// The lease moved on: keep the attempt, leave the delivery alone.
    Lost,
}

impl Delivery {
    /// A delivery of `event` to `webhook`, due at once.
    pub fn owed(
        event: EventId,
        webhook: WebhookId,
        cause: Cause,
        published: Timestamp,
        due: Timestamp,
    ) -> Self {
        Self {
            id: DeliveryId::of(event, webhook, cause),
            event,
            webhook,
            cause,
            published,
            state: State::Waiting { due },
            attempt: 0,
            failures: 0,
            interruptions: 0,
            lapsed: false,
            settled_by: None,
        }
    }

    /// Whether somebody asked for it: it is a redelivery, or part of a replay, and tells nothing of how
    /// its webhook does.
    pub fn is_asked_for(&self) -> bool {
        self.cause != Cause::ROUTED
    }

    /// Leases it: the attempt number grows by one.
    pub fn lease(&mut self, dispatcher: DispatcherId, ticket: u64) {
        self.state = State::Leased { dispatcher, ticket };
        self.attempt += 1;
        self.settled_by = None;
    }

    /// Its holder died: back to waiting, due at `now`, with one interruption more.
    pub fn reap(&mut self, now: Timestamp) {
        self.state = State::Waiting { due: now };
        self.interruptions += 1;
        self.lapsed = true;
        self.settled_by = None;
    }

    /// Its holder never learned that it had it: back to waiting, due at `now`, uncharged.
    pub fn abandon(&mut self, now: Timestamp) {
        self.state = State::Waiting { due: now };
        self.settled_by = None;
    }

    /// It waited too long.
    pub fn expire(&mut self, now: Timestamp) {
        self.state = State::Expired { at: now };
    }

    /// Its webhook was deleted, or its replay cancelled.
    pub fn cancel(&mut self, now: Timestamp) {
        self.state = State::Cancelled { at: now };
    }

    /// Who has it leased.
    pub const fn holder(&self) -> Option<DispatcherId> {
        match self.state {
            State::Leased { dispatcher, .. } => Some(dispatcher),
            _ => None,
        }
    }

    /// Compares a settlement's fence with the lease.
    pub fn standing(&self, fence: &Fence) -> Standing {
        let same_attempt = self.id == fence.delivery && self.attempt == fence.attempt;
        match self.state {
            State::Leased { dispatcher, .. } if same_attempt && dispatcher == fence.dispatcher => {
                Standing::Holds
            }
            State::Leased { .. } => Standing::Lost,
            _ if same_attempt && self.settled_by == Some(fence.dispatcher) => Standing::Repeated,
            _ => Standing::Lost,
        }
    }
}

/// What the network said to one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// An HTTP answer, whatever its status.
    Answered {
        /// The status code.
        status: u16,
        /// What `Retry-After` asked for, counted from the answer.
        retry_after: Option<Duration>,
    },
    /// No answer.
    Unanswered(FailureKind),
    /// The sender died before it could write down what happened.
    Interrupted,
}

impl Outcome {
    /// Whether it acknowledges the delivery: 200 to 299 and nothing else (seed rows W16, W18).
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Answered { status: 200..=299, .. })
    }
}

/// The record of one try of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The delivery's attempt number, from 1. Numbers may be missing: a lease that was given back
    /// unused leaves none.
    pub number: u32,
    /// When it began, by the sender's clock.
    pub started: Timestamp,
    /// From the look-up of the name to the end of the answer.
    pub latency: Duration,
    /// What came of it.
    pub outcome: Outcome,
    /// The first bytes of the answer's body, at most
    /// [`RESPONSE_BYTES_KEPT`](crate::policy::RESPONSE_BYTES_KEPT).
    pub response: Vec<u8>,
    /// Whether the answer's body went on after the bytes kept.
    pub truncated: bool,
    /// What went wrong, in words, where there was no answer.
    pub error: Option<String>,
}

impl Attempt {
    /// The record of attempt `number`, with nothing kept of the answer.
    pub fn new(number: u32, started: Timestamp, latency: Duration, outcome: Outcome) -> Self {
        Self {
            number,
            started,
            latency,
            outcome,
            response: Vec::new(),
            truncated: false,
            error: None,
        }
    }
}

/// A delivery with what a listing shows beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct DeliveryView {
    /// The delivery.
    pub delivery: Delivery,
    /// Its event.
    pub event: Event,
    /// Its attempts that were written down, in order of their numbers.
    pub attempts: Vec<Attempt>,
}

impl DeliveryView {
    /// A delivery of `event`, not tried yet.
    pub fn new(delivery: Delivery, event: &Event) -> Self {
        Self { delivery, event: event.clone(), attempts: Vec::new() }
    }

    /// Bytes of what it was made of and of what was answered.
    #[cfg(feature = "engine")]
    pub(crate) fn bytes(&self) -> usize {
        let answers = self.attempts.iter().map(|attempt| attempt.response.len());
        self.event.bytes() + answers.sum::<usize>()
    }
}
