//! The dispatcher: routes, claims, sends, settles.
//!
//! One future, one loop. All that is under way (storage calls, POSTs) are futures that the loop
//! holds, so dropping [`Dispatcher::run`] stops everything at once, as a crash would, and nothing
//! is spawned behind the host's back. The loop only ever does what is ready:
//!
//! * at most one route or claim call at a time, with all free permits set aside for it;
//! * POSTs, each with a permit, up to the limits;
//! * at most one settle call at a time; what comes back meanwhile is the next batch, so batches
//!   grow with the load and nobody waits for one;
//! * a heartbeat every third of a lease, which also gives back what calls without an answer may
//!   have leased.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::core::Core;
use super::options::DispatcherOptions;
use super::permits::Permits;
use super::request::{Prepare, attempt};
use super::turns::{Call, Turns};
use crate::ground::advance::{Health, LaneChange, Next, Seen, Transition, advance, must_account};
use crate::ground::delivery::{Attempt, Fence, Outcome};
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::id::{DeliveryId, DispatcherId};
use crate::ground::policy::{
    ROUTE_DELIVERIES, ROUTE_MARKS, SETTLE_BATCH, SWEEP_ROWS, TIMEOUT_RANGE,
};
use crate::ground::time::{after, before};
use crate::ground::webhook::DisabledReason;
use crate::ports::observer::Notice;
use crate::ports::storage::{
    Alive, Claimed, Heartbeat, Leased, Routed, Settled, Settlement, Sweep, Swept, Turn,
};
use crate::ports::transport::Transport;

/// Sends what is to be sent, while it is [run](Dispatcher::run).
#[derive(Debug)]
#[must_use = "a dispatcher does nothing until it is run"]
pub struct Dispatcher {
    core: Arc<Core>,
    transport: Arc<dyn Transport>,
    options: DispatcherOptions,
    id: DispatcherId,
}

impl Dispatcher {
    pub(super) fn new(
        core: Arc<Core>,
        transport: Arc<dyn Transport>,
        options: DispatcherOptions,
        id: DispatcherId,
    ) -> Self {
        Self {
            core,
            transport,
            options,
            id,
        }
    }

    /// The id that its leases name.
    #[must_use]
    pub fn id(&self) -> DispatcherId {
        self.id
    }

    /// Works until `shutdown` completes; then lets what is in flight finish within the grace time,
    /// gives back the rest, and returns.
    ///
    /// Spawn it, or await it beside other things. Trouble with the storage is logged and waited
    /// out. It needs a tokio runtime with time, and with I/O if the transport does.
    ///
    /// # Cancellation
    /// Dropping the future is like a crash, and as safe: what was in flight is sent again when the
    /// lease has passed. Prefer `shutdown`, which leaves nothing in flight.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        info!(name: "tidings.dispatcher.started", dispatcher = %self.id);
        let id = self.id;
        let mut running = Running::new(self);
        running.work(shutdown).await;
        running.end().await;
        info!(name: "tidings.dispatcher.stopped", dispatcher = %id);
    }
}

/// A POST that has ended.
struct Sent {
    leased: Leased,
    attempt: Attempt,
}

/// A lease whose end is decided but not yet written.
#[derive(Debug)]
struct Outgoing {
    leased: Leased,
    settlement: Settlement,
}

/// The answer to a route or claim call.
enum Answer {
    Route(Result<Routed>),
    Claim(Result<Claimed>),
}

/// A route or claim call under way.
struct Calling {
    call: Call,
    ticket: u64,
    reserved: u32,
    answer: BoxFuture<'static, Answer>,
}

/// The state of a running dispatcher.
struct Running {
    core: Arc<Core>,
    transport: Arc<dyn Transport>,
    options: DispatcherOptions,
    id: DispatcherId,
    prepare: Prepare,
    permits: Permits,
    turns: Turns,
    ticket: u64,
    calling: Option<Calling>,
    /// Calls whose answer never came, with the permits that their leases may need.
    abandoned: Vec<(u64, u32)>,
    sends: FuturesUnordered<BoxFuture<'static, Sent>>,
    /// What is being sent, for a shutdown that cuts it off.
    sending: BTreeMap<DeliveryId, Leased>,
    outcomes: Vec<Outgoing>,
    settle_at: Option<Instant>,
    settling: Option<BoxFuture<'static, (Vec<Outgoing>, Result<Vec<Settled>>)>>,
    settle_rest: Option<Instant>,
    beating: Option<BoxFuture<'static, (Instant, usize, Result<Alive>)>>,
    beat_at: Instant,
    /// Whether the storage has heard of this dispatcher.
    known: bool,
    alive_until: Option<Instant>,
    sweeping: Option<BoxFuture<'static, Result<Swept>>>,
    sweep_at: Option<Instant>,
    poll_at: Instant,
    /// Set by the shutdown: when the grace time ends.
    draining: Option<Instant>,
}

impl Running {
    fn new(dispatcher: Dispatcher) -> Self {
        let Dispatcher {
            core,
            transport,
            options,
            id,
        } = dispatcher;
        let now = Instant::now();
        Self {
            permits: Permits::new(options.in_flight),
            turns: Turns::new(core.now()),
            prepare: Prepare::default(),
            ticket: 0,
            calling: None,
            abandoned: Vec::new(),
            sends: FuturesUnordered::new(),
            sending: BTreeMap::new(),
            outcomes: Vec::new(),
            settle_at: None,
            settling: None,
            settle_rest: None,
            beating: None,
            beat_at: now,
            known: false,
            alive_until: None,
            sweeping: None,
            sweep_at: options.sweep_every.map(|every| now + every),
            poll_at: now + options.poll,
            draining: None,
            core,
            transport,
            options,
            id,
        }
    }

    /// The loop, until `shutdown` completes and what was in flight has ended or the grace time has
    /// passed.
    async fn work(&mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut bell = self.core.bell.subscribe();
        loop {
            self.start();
            if let Some(end) = self.draining
                && (self.is_idle() || Instant::now() >= end)
            {
                return;
            }
            let wake_at = self.wake_at();
            tokio::select! {
                biased;
                () = &mut shutdown, if self.draining.is_none() => {
                    self.draining = Some(Instant::now() + self.options.grace);
                }
                Some(sent) = self.sends.next(), if !self.sends.is_empty() => {
                    self.sent(sent);
                    // What else has come back already, without another round of the loop.
                    while let Some(Some(sent)) = self.sends.next().now_or_never() {
                        self.sent(sent);
                    }
                }
                answer = ready(&mut self.settling) => self.settled(answer),
                answer = called(&mut self.calling) => self.answered(answer),
                answer = ready(&mut self.beating) => self.beaten(answer),
                answer = ready(&mut self.sweeping) => self.swept(answer),
                Ok(()) = bell.changed() => self.turns.look(self.core.now()),
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.permits.used() == 0 && self.calling.is_none() && self.settling.is_none()
    }

    /// Starts every call that there is reason for.
    fn start(&mut self) {
        let instant = Instant::now();
        if self.beating.is_none() && instant >= self.beat_at {
            self.beat(instant);
        }
        self.start_settle(instant);
        if self.draining.is_some() {
            return;
        }
        if instant >= self.poll_at {
            self.poll_at = instant + self.options.poll;
            self.turns.look(self.core.now());
        }
        if self.may_call(instant) && self.permits.free() > 0 {
            let now = self.core.now();
            if let Some(call) = self.turns.next(now) {
                self.call(call);
            }
        }
        if self.sweeping.is_none() && self.sweep_at.is_some_and(|at| instant >= at) {
            self.sweep();
        }
    }

    /// When something is to be started, if nothing comes back before.
    fn wake_at(&self) -> Instant {
        let own = self.draining.unwrap_or(self.poll_at);
        let beat = self.beating.is_none().then_some(self.beat_at);
        let settle = match self.settle_rest {
            Some(rest) => Some(rest),
            None => self.settle_at,
        };
        let settle = settle.filter(|_| self.settling.is_none());
        let mut at = [beat, settle].into_iter().flatten().fold(own, Instant::min);
        if self.draining.is_none() {
            let sweep = self.sweep_at.filter(|_| self.sweeping.is_none());
            let call = if self.may_call(Instant::now()) {
                self.turns.wake_at(self.core.now(), self.permits.free() > 0)
            } else {
                None
            };
            at = [sweep, call].into_iter().flatten().fold(at, Instant::min);
        }
        at
    }

    /// Whether leases hold: no call and no POST starts when they may not.
    fn is_alive(&self, instant: Instant) -> bool {
        self.alive_until.is_some_and(|until| instant < until)
    }

    /// Whether a route or claim call may start: one at a time, while leases hold, and not while
    /// there may be leases that this dispatcher does not know of, or the limits might not hold.
    fn may_call(&self, instant: Instant) -> bool {
        self.calling.is_none() && self.abandoned.is_empty() && self.is_alive(instant)
    }

    // --- route and claim -----------------------------------------------------------------------

    fn call(&mut self, call: Call) {
        self.ticket += 1;
        let reserved = self.permits.reserve();
        let turn = Turn {
            dispatcher: self.id,
            ticket: self.ticket,
            now: self.core.now(),
            marks: ROUTE_MARKS,
            deliveries: usize::try_from(reserved)
                .unwrap_or(usize::MAX)
                .min(ROUTE_DELIVERIES),
            total: reserved,
            each: self.options.in_flight_per_webhook,
            busy: self.permits.busy(),
            // A probe ends by its deadline; its settlement follows soon after.
            probe: *TIMEOUT_RANGE.end() * 2,
        };
        let storage = self.core.storage.clone();
        let bound = self.options.lease;
        let answer = match call {
            Call::Route => {
                async move { Answer::Route(bounded(bound, storage.route(&turn)).await) }.boxed()
            }
            Call::Claim => {
                async move { Answer::Claim(bounded(bound, storage.claim(&turn)).await) }.boxed()
            }
        };
        self.calling = Some(Calling {
            call,
            ticket: self.ticket,
            reserved,
            answer,
        });
    }

    fn answered(&mut self, (call, ticket, reserved, answer): (Call, u64, u32, Answer)) {
        let now = self.core.now();
        let leased = match answer {
            Answer::Route(Ok(routed)) => {
                self.turns.routed(routed.more, routed.waiting > 0, now);
                Ok(routed.leased)
            }
            Answer::Claim(Ok(claimed)) => {
                let full = claimed.leased.len() >= usize::try_from(reserved).unwrap_or(usize::MAX);
                self.turns.claimed(claimed.next_due, full, now);
                Ok(claimed.leased)
            }
            Answer::Route(Err(error)) | Answer::Claim(Err(error)) => Err(error),
        };
        match leased {
            Ok(leased) => {
                self.permits.unreserve(reserved);
                for leased in leased {
                    self.send(leased);
                }
            }
            Err(error) => {
                warn!(name: "tidings.storage.call_failed", ?call, %error);
                self.turns.trouble(Some(call), now);
                self.beat_at = Instant::now();
                if error.kind() == ErrorKind::NotAlive {
                    self.permits.unreserve(reserved);
                } else {
                    // The call may have leased all the same. Its permits stay set aside until a
                    // heartbeat has given back what it leased.
                    self.abandoned.push((ticket, reserved));
                }
            }
        }
    }

    // --- send ----------------------------------------------------------------------------------

    fn send(&mut self, leased: Leased) {
        self.permits.take(leased.webhook.id());
        let policy = &self.core.policy;
        if self.draining.is_some() || !self.is_alive(Instant::now()) {
            // Too late: the time is up, or it may be somebody else's by now. Nothing was sent.
            let now = self.core.now();
            let back = Transition::given_back(&leased.delivery, seen(&leased), now);
            self.outcome(leased, None, back);
        } else if must_account(&leased.delivery, policy) {
            let now = self.core.now();
            let mut attempt = Attempt::new(
                leased.delivery.attempt,
                now,
                Duration::ZERO,
                Outcome::Interrupted,
            );
            attempt.error = Some("the sender died during the attempt before".into());
            self.decide(leased, attempt);
        } else {
            let prepared = self.prepare.of(&leased.webhook);
            let (core, transport) = (self.core.clone(), self.transport.clone());
            self.sending.insert(leased.delivery.id, leased.clone());
            self.sends.push(
                async move {
                    let timeout = core.policy.timeout();
                    let attempt =
                        attempt(&leased, prepared, &*transport, &*core.clock, timeout).await;
                    Sent { leased, attempt }
                }
                .boxed(),
            );
        }
    }

    fn sent(&mut self, sent: Sent) {
        self.sending.remove(&sent.leased.delivery.id);
        debug!(
            name: "tidings.attempt",
            delivery = %sent.leased.delivery.id,
            event = %sent.leased.delivery.event,
            webhook = %sent.leased.delivery.webhook,
            number = sent.attempt.number,
            outcome = ?sent.attempt.outcome,
            latency_ms = sent.attempt.latency.as_millis(),
        );
        self.decide(sent.leased, sent.attempt);
    }

    /// What the attempt changes.
    fn decide(&mut self, leased: Leased, attempt: Attempt) {
        let transition = advance(
            &leased.delivery,
            &leased.webhook,
            seen(&leased),
            &attempt.outcome,
            &self.core.policy,
            self.core.now(),
        );
        self.outcome(leased, Some(attempt), transition);
    }

    fn outcome(&mut self, leased: Leased, attempt: Option<Attempt>, transition: Transition) {
        let fence = Fence {
            delivery: leased.delivery.id,
            attempt: leased.delivery.attempt,
            dispatcher: self.id,
        };
        let settlement = Settlement {
            fence,
            attempt,
            transition,
        };
        self.outcomes.push(Outgoing { leased, settlement });
        self.settle_at
            .get_or_insert_with(|| Instant::now() + self.options.settle_within);
    }

    // --- settle --------------------------------------------------------------------------------

    fn start_settle(&mut self, instant: Instant) {
        let wanted = self.outcomes.len() >= self.options.settle_batch
            || self.settle_at.is_some_and(|at| instant >= at)
            || (self.sends.is_empty() && !self.outcomes.is_empty());
        let rests = self.settle_rest.is_some_and(|rest| instant < rest);
        if self.settling.is_some() || !wanted || rests {
            return;
        }
        self.settle_rest = None;
        let size = self.outcomes.len().min(SETTLE_BATCH);
        let batch: Vec<Outgoing> = self.outcomes.drain(..size).collect();
        // What did not fit has waited long enough already.
        self.settle_at = (!self.outcomes.is_empty()).then_some(instant);
        self.settling = Some(settle(self.core.clone(), batch, self.options.lease).boxed());
    }

    fn settled(&mut self, (batch, answer): (Vec<Outgoing>, Result<Vec<Settled>>)) {
        let answers = match answer {
            Ok(answers) if answers.len() == batch.len() => answers,
            other => {
                match other {
                    Err(error) => warn!(name: "tidings.storage.settle_failed", %error),
                    Ok(_) => {
                        error!(name: "tidings.storage.settle_failed", "wrong number of answers")
                    }
                }
                // It may have been applied: a repetition is answered with the same.
                self.turns.trouble(None, self.core.now());
                self.settle_rest = Some(Instant::now() + Duration::from_millis(100));
                self.settle_at = Some(Instant::now());
                self.outcomes.splice(..0, batch);
                return;
            }
        };
        let now = self.core.now();
        self.turns.fine();
        for (outgoing, answer) in batch.into_iter().zip(answers) {
            self.permits.release(outgoing.leased.webhook.id());
            self.turns.room();
            let transition = &outgoing.settlement.transition;
            if let Next::Waiting { due } = transition.next {
                let due = match transition.lane {
                    LaneChange::Pause { until } => due.max(until),
                    _ => due,
                };
                self.turns.waiting_at(due);
            }
            if transition.lane != LaneChange::None {
                // The rest of the lane may be claimable from here on.
                match transition.lane {
                    LaneChange::Pause { until } => self.turns.waiting_at(until),
                    _ => self.turns.waiting_at(now),
                }
            }
            self.notify(outgoing, answer);
        }
    }

    fn notify(&self, outgoing: Outgoing, answer: Settled) {
        let Outgoing { leased, settlement } = outgoing;
        match answer {
            Settled::Applied { disabled } => {
                if disabled {
                    let reason = match settlement.transition.health {
                        Health::Gone { .. } => DisabledReason::Gone,
                        _ => DisabledReason::Failing,
                    };
                    warn!(name: "tidings.webhook.disabled", webhook = %leased.webhook.id(), ?reason);
                    self.notice(&Notice::Disabled {
                        webhook: leased.webhook.clone(),
                        reason,
                    });
                }
                if let Some(attempt) = settlement.attempt {
                    let mut delivery = leased.delivery;
                    settlement.transition.apply(&mut delivery, self.id);
                    self.notice(&Notice::Settled {
                        delivery,
                        event: leased.event,
                        webhook: leased.webhook,
                        attempt,
                    });
                }
            }
            Settled::Lost => {
                warn!(name: "tidings.lease.lost", delivery = %leased.delivery.id);
            }
            Settled::Gone => {
                debug!(name: "tidings.delivery.gone", delivery = %leased.delivery.id);
            }
        }
    }

    fn notice(&self, notice: &Notice) {
        let observer = &self.core.observer;
        if catch_unwind(AssertUnwindSafe(|| observer.notice(notice))).is_err() {
            error!(name: "tidings.observer.panicked", "the observer panicked");
        }
    }

    // --- heartbeat -----------------------------------------------------------------------------

    fn beat(&mut self, instant: Instant) {
        self.beat_at = instant + self.options.lease / 3;
        let now = self.core.now();
        let heartbeat = Heartbeat {
            dispatcher: self.id,
            now,
            until: after(now, self.options.lease),
            abandoned: self.abandoned.iter().map(|(ticket, _)| *ticket).collect(),
        };
        let count = self.abandoned.len();
        let bound = self.options.lease / 3;
        let storage = self.core.storage.clone();
        self.beating = Some(
            async move {
                (
                    instant,
                    count,
                    bounded(bound, storage.heartbeat(&heartbeat)).await,
                )
            }
            .boxed(),
        );
    }

    fn beaten(&mut self, (begun, count, answer): (Instant, usize, Result<Alive>)) {
        match answer {
            Ok(alive) => {
                self.turns.fine();
                self.alive_until = Some(begun + self.options.lease);
                for (_, reserved) in self.abandoned.drain(..count) {
                    self.permits.unreserve(reserved);
                    self.turns.look(self.core.now());
                }
                if alive == Alive::New && self.known {
                    warn!(name: "tidings.dispatcher.given_up", dispatcher = %self.id,
                        "the storage had given this dispatcher up; its deliveries are sent again");
                }
                self.known = true;
            }
            Err(error) => {
                warn!(name: "tidings.storage.heartbeat_failed", %error);
                self.turns.trouble(None, self.core.now());
                let soon = (self.options.lease / 10).min(Duration::from_secs(1));
                self.beat_at = Instant::now() + soon;
            }
        }
    }

    // --- housekeeping --------------------------------------------------------------------------

    fn sweep(&mut self) {
        let now = self.core.now();
        let sweep = Sweep {
            now,
            limit: SWEEP_ROWS,
            expire_before: before(now, self.core.policy.expire_after()),
            prune_before: before(now, self.core.policy.retain()),
        };
        let storage = self.core.storage.clone();
        self.sweeping = Some(async move { storage.sweep(&sweep).await }.boxed());
    }

    fn swept(&mut self, answer: Result<Swept>) {
        let every = self.options.sweep_every.unwrap_or(Duration::from_secs(60));
        let more = match answer {
            Ok(swept) => {
                debug!(name: "tidings.swept", ?swept);
                swept.more
            }
            Err(error) => {
                warn!(name: "tidings.storage.sweep_failed", %error);
                false
            }
        };
        // A long job is done in steps with room for other work between them.
        let pause = if more {
            Duration::from_millis(20)
        } else {
            every
        };
        self.sweep_at = Some(Instant::now() + pause);
    }

    // --- the end -------------------------------------------------------------------------------

    /// Writes what is known, gives back the rest, and says goodbye; gives up after a while if the
    /// storage does not answer, and leaves the rest to the lease's end.
    async fn end(mut self) {
        self.beating = None;
        self.sweeping = None;
        let storage = self.core.storage.clone();
        let dispatcher = self.id;
        let bound = self.options.lease.min(Duration::from_secs(5));
        let last = async {
            if let Some(calling) = self.calling.take() {
                // What it leases is given back by the goodbye.
                let _ = calling.answer.await;
            }
            if let Some(settling) = self.settling.take() {
                let answer = settling.await;
                self.settled(answer);
            }
            // Cut off: the receivers may have seen these requests, so each leaves a record.
            drop(std::mem::take(&mut self.sends));
            for (_, leased) in std::mem::take(&mut self.sending) {
                let now = self.core.now();
                let mut attempt = Attempt::new(
                    leased.delivery.attempt,
                    now,
                    Duration::ZERO,
                    Outcome::Interrupted,
                );
                attempt.error = Some("the sender was shut down during the attempt".into());
                let back = Transition::given_back(&leased.delivery, seen(&leased), now);
                self.outcome(leased, Some(attempt), back);
            }
            let mut tries = 0;
            while !self.outcomes.is_empty() && tries < 3 {
                let size = self.outcomes.len().min(SETTLE_BATCH);
                let batch: Vec<Outgoing> = self.outcomes.drain(..size).collect();
                let answer = settle(self.core.clone(), batch, bound).await;
                tries = if answer.1.is_err() { tries + 1 } else { 0 };
                self.settled(answer);
            }
            let now = self.core.now();
            let goodbye = Heartbeat {
                dispatcher,
                now,
                until: now,
                abandoned: Vec::new(),
            };
            storage.heartbeat(&goodbye).await
        };
        match tokio::time::timeout(bound, last).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => warn!(name: "tidings.storage.heartbeat_failed", %error),
            Err(_) => warn!(name: "tidings.storage.heartbeat_failed", "no answer at shutdown"),
        }
    }
}

async fn settle(
    core: Arc<Core>,
    batch: Vec<Outgoing>,
    bound: Duration,
) -> (Vec<Outgoing>, Result<Vec<Settled>>) {
    let settlements: Vec<Settlement> = batch
        .iter()
        .map(|outgoing| outgoing.settlement.clone())
        .collect();
    let answer = bounded(bound, core.storage.settle(&settlements, core.now())).await;
    (batch, answer)
}

/// A call that does not answer in time may or may not have happened, as any call that fails.
async fn bounded<T>(bound: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(bound, call).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Unavailable,
            "the storage did not answer in time",
        ))
    })
}

fn seen(leased: &Leased) -> Seen {
    Seen {
        failing_since: leased.failing_since,
        probe: leased.probe,
    }
}

/// Completes when the future in `place` does, and clears the place; never while it is empty.
async fn ready<T>(place: &mut Option<BoxFuture<'static, T>>) -> T {
    match place {
        Some(future) => {
            let value = future.await;
            *place = None;
            value
        }
        None => std::future::pending().await,
    }
}

/// As [`ready`], for a route or claim call.
async fn called(place: &mut Option<Calling>) -> (Call, u64, u32, Answer) {
    match place {
        Some(calling) => {
            let answer = (&mut calling.answer).await;
            let (call, ticket, reserved) = (calling.call, calling.ticket, calling.reserved);
            *place = None;
            (call, ticket, reserved, answer)
        }
        None => std::future::pending().await,
    }
}
