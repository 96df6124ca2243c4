//! A lane: a webhook's queue of waiting deliveries, as one small value.
//!
//! It lives as long as its webhook. It says when there is something to claim (`next_due`), whether
//! the webhook is left in peace for now (`paused_until`), and since when nothing but failures has
//! come back (`failing_since`). Pausing a webhook with a million waiting deliveries changes this
//! one value.
//!
//! Where the webhook [needs a holder](Webhook::needs_holder), the lane also says who that is
//! (`holder`), and until when nobody else may take it (`held_until`).

use super::advance::{Health, LaneChange};
use super::delivery::{Delivery, State};
use super::id::DispatcherId;
use super::policy::TAKEOVER_WAIT;
use super::time::{Timestamp, after};
use super::webhook::{DisabledReason, Webhook};

/// The queue of a webhook's waiting deliveries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Lane {
    /// A lower bound of the due times of the waiting deliveries; `None` when there are none.
    pub next_due: Option<Timestamp>,
    /// Nothing is claimed before this, and then one delivery only, as a probe.
    pub paused_until: Option<Timestamp>,
    /// The same without the pause that a probe makes for itself, while it is out.
    pub asked_until: Option<Timestamp>,
    /// The first failure after the last success.
    pub failing_since: Option<Timestamp>,
    /// The beginning of the last stretch of failure that was [warned of](Turned::Failing).
    pub warned: Option<Timestamp>,
    /// The dispatcher that alone sends to a webhook that needs a holder. It holds the lane for as
    /// long as it is alive, unless it gives it back.
    pub holder: Option<DispatcherId>,
    /// While there is no holder, nobody takes the lane before this: somebody may still be sending
    /// what was begun before.
    pub held_until: Option<Timestamp>,
}

/// What a settlement made of a webhook: what its host will want to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Turned {
    /// It has done nothing but fail for so long that it is warned of; once in a stretch of failure.
    Failing {
        /// When the stretch began.
        since: Timestamp,
    },
    /// A success ended a stretch of failure that had been warned of.
    Recovered {
        /// When the stretch began.
        since: Timestamp,
    },
    /// It is to be [disabled](Webhook::disable).
    Disabled {
        /// Why.
        reason: DisabledReason,
    },
}

/// What may be claimed from a lane now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)]
pub enum Readiness {
    /// Nothing: it is empty, not yet due, or paused.
    NotReady,
    /// One delivery, as the probe after a pause.
    Probe,
    /// As many as the limits allow.
    Open,
}

impl Lane {
    /// A delivery that is due at `due` has joined the lane.
    pub fn lower(&mut self, due: Timestamp) {
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
    }

    /// A delivery of this webhook was written: if it waits, it has joined the lane.
    pub fn join(&mut self, delivery: &Delivery) {
        if let State::Waiting { due } = delivery.state {
            self.lower(due);
        }
    }

    /// Leaves the webhook in peace until `until`; of two pauses the later one counts.
    pub fn pause(&mut self, until: Timestamp) {
        for pause in [&mut self.paused_until, &mut self.asked_until] {
            *pause = Some(pause.map_or(until, |paused| paused.max(until)));
        }
    }

    /// A probe was claimed: nobody else claims before `until`, the end of the probe.
    pub fn probe(&mut self, until: Timestamp) {
        self.paused_until = Some(until);
    }

    /// When there will be something to claim, as far as is known.
    pub fn ready_at(&self) -> Option<Timestamp> {
        let due = self.next_due?;
        Some(self.paused_until.map_or(due, |paused| paused.max(due)))
    }

    /// When `delivery` may be claimed, if it waits: it is due, and the pause is over.
    pub fn ready(&self, delivery: &Delivery) -> Option<Timestamp> {
        match delivery.state {
            State::Waiting { due } => Self { next_due: Some(due), ..*self }.ready_at(),
            _ => None,
        }
    }

    /// What may be claimed at `now`.
    pub fn readiness(&self, now: Timestamp) -> Readiness {
        match (self.ready_at(), self.paused_until) {
            (None, _) => Readiness::NotReady,
            (Some(at), _) if at > now => Readiness::NotReady,
            (Some(_), Some(_)) => Readiness::Probe,
            (Some(_), None) => Readiness::Open,
        }
    }

    /// Whether a delivery that is routed now may be born leased: nothing waits, nothing pauses.
    pub fn is_plain(&self) -> bool {
        self.next_due.is_none() && self.paused_until.is_none()
    }

    /// When another dispatcher may take the lane of a webhook that needs a holder, as far as is
    /// known: there is something to claim, and the wait after the last holder is over. `None` while
    /// it is held, or empty.
    pub fn free_at(&self) -> Option<Timestamp> {
        let ready = self.ready_at().filter(|_| self.holder.is_none())?;
        Some(self.held_until.map_or(ready, |until| until.max(ready)))
    }

    /// Takes the lane if it is [free](Self::free_at) at `now`; says whether it was.
    pub fn take(&mut self, dispatcher: DispatcherId, now: Timestamp) -> bool {
        let free = self.free_at().is_some_and(|at| at <= now);
        if free {
            (self.holder, self.held_until) = (Some(dispatcher), None);
        }
        free
    }

    /// Its holder gives it back and has nothing under way: it can be taken at once, unless
    /// something [was cut off](Self::bar).
    pub fn release(&mut self) {
        self.holder = None;
    }

    /// Its holder died: it was alive until `ended`.
    pub fn bereave(&mut self, ended: Timestamp) {
        self.release();
        self.bar(ended);
    }

    /// At `now` somebody may be sending who is not the next holder: nobody takes the lane until that
    /// is over for certain.
    pub fn bar(&mut self, now: Timestamp) {
        let until = after(now, TAKEOVER_WAIT);
        self.held_until = Some(self.held_until.map_or(until, |held| held.max(until)));
    }

    /// Its webhook was written: `before` was replaced by `stored`. Where a holder is needed from now
    /// on, those who send without one must have finished before there is a first one.
    pub fn replaced(&mut self, before: &Webhook, stored: &Webhook, now: Timestamp) {
        match (before.needs_holder(), stored.needs_holder()) {
            (false, true) => self.bereave(now),
            (_, false) => (self.holder, self.held_until) = (None, None),
            (true, true) => {}
        }
        if stored.is_enabled() && !before.is_enabled() {
            self.enable(now);
        }
    }

    /// Applies what a settlement says of the lane.
    pub fn change(&mut self, change: LaneChange) {
        match change {
            LaneChange::None => {}
            LaneChange::Pause { until } => self.pause(until),
            LaneChange::Open => (self.paused_until, self.asked_until) = (None, None),
            LaneChange::Probed { until } => {
                self.pause(until);
                self.paused_until = self.asked_until;
            }
        }
    }

    /// Applies what a settlement says of the webhook's health, by the stored facts: returns what that
    /// makes of the webhook, if it makes anything of it.
    ///
    /// A decision may carry what it saw, and the store may compare it, but never writes it back: a
    /// stretch of failure that a success has ended in the meantime stays ended.
    pub fn health(&mut self, health: Health) -> Option<Turned> {
        match health {
            Health::Unchanged => None,
            Health::Recovered => {
                let since = self.failing_since.take();
                let warned = self.warned.take();
                since.filter(|_| warned == since).map(|since| Turned::Recovered { since })
            }
            Health::Failing { at } => {
                self.failing_since.get_or_insert(at);
                None
            }
            Health::Warn { observed, at } => {
                let since = *self.failing_since.get_or_insert(at);
                if since != observed || self.warned == Some(since) {
                    return None;
                }
                self.warned = Some(since);
                Some(Turned::Failing { since })
            }
            Health::Disable { observed, at } => {
                if self.failing_since == Some(observed) {
                    Some(Turned::Disabled { reason: DisabledReason::Failing })
                } else {
                    self.failing_since.get_or_insert(at);
                    None
                }
            }
            Health::Gone { at } => {
                self.failing_since.get_or_insert(at);
                Some(Turned::Disabled { reason: DisabledReason::Gone })
            }
        }
    }

    /// The webhook was enabled: it starts with a clean record and without a pause.
    ///
    /// If deliveries wait, the first one goes out as a probe, so that a receiver that is still
    /// broken does not get them all at once.
    pub fn enable(&mut self, now: Timestamp) {
        (self.failing_since, self.warned) = (None, None);
        self.paused_until = self.next_due.map(|_| now);
        self.asked_until = self.paused_until;
    }
}
