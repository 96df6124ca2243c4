//! The dispatcher: routes, claims, sends, settles.
//!
//! One future, one loop. All that is under way belongs to it: the storage's calls are futures that
//! it holds, the POSTs are tasks that it joins and that end with it. So dropping
//! [`Dispatcher::run`] stops everything, as a crash would, and nothing outlives it behind the
//! host's back. The loop only ever does what is ready:
//!
//! * at most one route or claim call at a time, with all free permits set aside for it;
//! * POSTs, each with a permit, up to the limits;
//! * at most one settle call at a time; what comes back meanwhile is the next batch, so batches
//!   grow with the load and nobody waits for one;
//! * a heartbeat every third of a lease, which also gives back what calls without an answer may
//!   have leased.
//!
//! Here are the loop and its calls; `settle.rs` writes what came of the POSTs, `replay.rs` does the steps
//! of replays, `end.rs` ends a run.

mod end;
mod replay;
mod settle;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{Instrument, debug, debug_span, info, warn};

use super::core::Core;
use super::holds::Holds;
use super::life::Life;
use super::meters;
use super::options::DispatcherOptions;
use super::permits::Permits;
use super::request::{Prepare, Sender};
use super::token::Tokens;
use super::turns::{Call, Turns};
use crate::ground::advance::{Seen, Transition, advance, must_account};
use crate::ground::delivery::{Attempt, Outcome};
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::failure::FailureKind;
use crate::ground::id::{DeliveryId, DispatcherId, WebhookId};
use crate::ground::policy::{
    PROBE_WAIT, ROUTE_DELIVERIES, ROUTE_MARKS, SWEEP_REST, SWEEP_REST_MIN, SWEEP_ROWS,
};
use crate::ground::statistics::Hour;
use crate::ground::time::{Timestamp, after, before, to_millis};
use crate::ground::trace::TraceContext;
use crate::ports::replay::ReplayStepped;
use crate::ports::storage::{
    Alive, Claimed, Heartbeat, Held, Leased, Routed, Settled, Settlement, Sweep, Swept, Turn,
};
use crate::ports::transport::Transport;

/// The least time between two signs of life where one seems to have come too late.
const LATE_REST: Duration = Duration::from_secs(1);

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
        Self { core, transport, options, id }
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
    /// Dropping the future is like a crash, and as safe: the POSTs under way end at the runtime's
    /// next turn, and are sent again when the lease has passed. Prefer `shutdown`, which leaves
    /// nothing in flight.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        meters::describe();
        info!(name: "tidings.dispatcher.started", dispatcher = %self.id);
        self.core.vault.warn_if_missing();
        let id = self.id;
        let core = self.core.clone();
        let mut running = Running::new(self);
        core.pulse.begins(id, &running.life);
        running.work(shutdown).await;
        running.end().await;
        core.pulse.ends(id);
        info!(name: "tidings.dispatcher.stopped", dispatcher = %id);
    }
}

/// How soon a sign of life that failed is repeated: nothing is sent before one is heard.
const BEAT_AGAIN: Duration = Duration::from_millis(250);

/// A POST that has ended.
struct Sent {
    leased: Leased,
    /// `None`: it was not sent, since its hold or its moment had passed.
    attempt: Option<Attempt>,
}

/// A POST under way.
struct Sending {
    leased: Leased,
    started: Timestamp,
    begun: Instant,
}

/// A lease whose end is decided but not yet written.
#[derive(Debug)]
struct Outgoing {
    leased: Leased,
    settlement: Settlement,
}

/// The answer to a sign of life, with the storage's own clock.
struct Beaten {
    begun: Instant,
    /// This machine's time then.
    wall: Timestamp,
    /// How many abandoned calls it named.
    count: usize,
    clock: Option<(Timestamp, Instant)>,
    answer: Result<Alive>,
}

/// A batch, and what became of it.
type Written = (Vec<Outgoing>, Result<Vec<Settled>>);

/// The answer to a route or claim call.
enum Answer {
    Route(Result<Routed>),
    Claim(Result<Claimed>),
}

/// A route or claim call under way.
struct Calling {
    called: Called,
    answer: BoxFuture<'static, Answer>,
}

/// What is to be remembered of a call until it is answered.
struct Called {
    call: Call,
    ticket: u64,
    reserved: u32,
    /// The lanes that it named as held, and how many it asked for.
    held: HashMap<WebhookId, Held>,
    holds: usize,
    /// In which life of this dispatcher it was made.
    lives: u32,
}

/// The state of a running dispatcher.
struct Running {
    core: Arc<Core>,
    options: DispatcherOptions,
    id: DispatcherId,
    sender: Arc<Sender>,
    permits: Permits,
    turns: Turns,
    holds: Holds,
    /// Counts how often the storage had to learn of this dispatcher anew.
    lives: u32,
    ticket: u64,
    calling: Option<Calling>,
    /// Calls whose answer never came, with the permits that their leases may need.
    abandoned: Vec<(u64, u32)>,
    /// In tasks of their own, so that every core has its part; they end with this value.
    sends: JoinSet<Sent>,
    /// What is being sent, for a shutdown that cuts it off.
    sending: BTreeMap<DeliveryId, Sending>,
    outcomes: Vec<Outgoing>,
    settle_at: Option<Instant>,
    settling: Option<BoxFuture<'static, Written>>,
    settle_rest: Option<Instant>,
    beating: Option<BoxFuture<'static, Beaten>>,
    beat_at: Instant,
    /// No sign of life before this, except by the plan.
    beat_rest: Instant,
    /// Whether the storage has heard of this dispatcher.
    known: bool,
    life: Arc<Life>,
    /// The storage's own clock, and when it was read.
    shared_clock: Option<(Timestamp, Instant)>,
    sweeping: Option<BoxFuture<'static, Result<Swept>>>,
    /// When the next step of a sweep begins, or when the one under way did.
    sweep_at: Option<Instant>,
    replaying: Option<BoxFuture<'static, Result<ReplayStepped>>>,
    /// `None` over a storage without replays.
    replay_at: Option<Instant>,
    /// How many replays this handle had started or cancelled at the last look.
    replays: u64,
    poll_at: Instant,
    /// How far behind all dispatchers are, for the metrics.
    watching: Option<BoxFuture<'static, Result<Duration>>>,
    watch_at: Instant,
    /// Set by the shutdown: when the grace time ends.
    draining: Option<Instant>,
}

impl Running {
    fn new(dispatcher: Dispatcher) -> Self {
        let Dispatcher { core, transport, options, id } = dispatcher;
        let now = Instant::now();
        let life = Arc::new(Life::default());
        let tokens = Tokens::default();
        let prepare = Prepare::default();
        let sender = Sender { core: core.clone(), transport, prepare, tokens, life: life.clone() };
        Self {
            sender: Arc::new(sender),
            permits: Permits::new(options.in_flight, options.in_flight_per_webhook),
            turns: Turns::new(core.now()),
            holds: Holds::new(options.in_flight_per_webhook),
            lives: 0,
            ticket: 0,
            calling: None,
            abandoned: Vec::new(),
            sends: JoinSet::new(),
            sending: BTreeMap::new(),
            outcomes: Vec::new(),
            settle_at: None,
            settling: None,
            settle_rest: None,
            beating: None,
            beat_at: now,
            beat_rest: now,
            known: false,
            life,
            shared_clock: None,
            sweeping: None,
            sweep_at: options.sweep_every.map(|every| now + every),
            replaying: None,
            replay_at: core.storage.replay().map(|_| now),
            replays: 0,
            poll_at: now + options.poll,
            watching: None,
            watch_at: now + watch::EVERY,
            draining: None,
            core,
            options,
            id,
        }
    }

    /// The loop, until `shutdown` completes and what was in flight has ended or the grace time has
    /// passed.
    async fn work(&mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let core = self.core.clone();
        let mut rung = pin!(core.bell.notified());
        rung.as_mut().enable();
        let mut heard = pin!(heard(&core, 0));
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
                Some(sent) = self.sends.join_next(), if !self.sends.is_empty() => {
                    self.sent(sent);
                    // What else has come back already, without another round of the loop.
                    while let Some(sent) = self.sends.try_join_next() {
                        self.sent(sent);
                    }
                }
                answer = ready(&mut self.settling) => self.settled(answer),
                answer = called(&mut self.calling) => self.answered(answer),
                answer = ready(&mut self.beating) => self.beaten(answer),
                answer = ready(&mut self.sweeping) => self.swept(answer),
                answer = ready(&mut self.replaying) => self.replayed(answer),
                lag = ready(&mut self.watching) => self.watched(lag),
                () = &mut rung => {
                    // First listen again, then look: no ring is missed.
                    rung.set(core.bell.notified());
                    rung.as_mut().enable();
                    self.turns.look(self.now());
                }
                count = &mut heard => {
                    heard.set(self::heard(&core, count));
                    self.turns.look(self.now());
                }
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
        if self.beating.is_none() && (instant >= self.beat_at || self.is_late(instant)) {
            self.beat(instant);
        }
        self.start_settle(instant);
        if self.draining.is_some() {
            return;
        }
        if instant >= self.poll_at {
            self.poll_at = instant + self.options.poll;
            self.turns.look(self.now());
        }
        if self.may_call(instant) && self.permits.free() > 0 {
            let now = self.now();
            if self.holds.wants(&self.permits, instant) {
                self.turns.waiting_at(now);
            }
            if let Some(call) = self.turns.next(now) {
                self.call(call);
            }
        }
        if self.sweeping.is_none() && self.sweep_at.is_some_and(|at| instant >= at) {
            self.sweep();
        }
        self.start_replay(instant);
        if meters::ON && self.watching.is_none() && instant >= self.watch_at {
            self.watch(instant);
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
            let (instant, room) = (Instant::now(), self.permits.free() > 0);
            let (mut call, mut hold) = (None, None);
            if self.may_call(instant) {
                call = self.turns.wake_at(self.now(), room);
                // What is past was told to `turns` already, which knows of rests.
                let wake = self.holds.wake_at(&self.permits, instant).filter(|_| room);
                hold = wake.filter(|at| *at > instant);
            }
            let replay = self.replay_wake_at(instant);
            at = [sweep, call, hold, replay].into_iter().flatten().fold(at, Instant::min);
        }
        at
    }

    /// The time: the storage's, where several machines share it, else this machine's.
    fn now(&self) -> Timestamp {
        self.shared_clock.map_or_else(|| self.core.now(), running_clock)
    }

    /// Whether leases hold: no call and no POST starts when they may not.
    fn is_alive(&self, instant: Instant) -> bool {
        self.life.lasts(instant, self.core.now())
    }

    /// Whether its life has passed before the next sign of it is due, as after a suspension.
    fn is_late(&self, instant: Instant) -> bool {
        self.known && instant >= self.beat_rest && !self.is_alive(instant)
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
        let instant = Instant::now();
        let (mut held, mut holds) = (HashMap::new(), 0);
        if call == Call::Claim && self.core.storage.exclusive() {
            held = self.holds.name(&self.permits, instant);
            holds = self.holds.ask(instant);
        }
        let turn = Turn {
            dispatcher: self.id,
            ticket: self.ticket,
            now: self.now(),
            marks: ROUTE_MARKS,
            deliveries: usize::try_from(reserved).unwrap_or(usize::MAX).min(ROUTE_DELIVERIES),
            total: reserved,
            each: self.options.in_flight_per_webhook,
            busy: self.permits.busy(instant),
            probe: PROBE_WAIT,
            held: held.clone(),
            holds,
        };
        let storage = self.core.storage.clone();
        let bound = self.options.lease;
        let answer = match call {
            Call::Route => async move {
                let call = bounded(bound, async { storage.route(&turn).await });
                Answer::Route(meters::timed("route", call).await)
            }
            .boxed(),
            Call::Claim => async move {
                let call = bounded(bound, async { storage.claim(&turn).await });
                Answer::Claim(meters::timed("claim", call).await)
            }
            .boxed(),
        };
        let (ticket, lives) = (self.ticket, self.lives);
        let called = Called { call, ticket, reserved, held, holds, lives };
        self.calling = Some(Calling { called, answer });
    }

    fn answered(&mut self, (calling, answer): (Called, Answer)) {
        let Called { call, ticket, reserved, held, holds, lives } = calling;
        let now = self.now();
        let leased = match answer {
            Answer::Route(Ok(routed)) => {
                meters::routed(routed.leased.len(), routed.waiting, routed.unmatched);
                self.turns.routed(routed.more, routed.waiting > 0, now);
                Ok(routed.leased)
            }
            Answer::Claim(Ok(claimed)) => {
                meters::claimed(claimed.leased.len());
                let full = claimed.leased.len() >= usize::try_from(reserved).unwrap_or(usize::MAX);
                self.turns.claimed(claimed.next_due, full, now);
                // What an earlier life held is another's by now.
                if lives == self.lives {
                    self.hold(&held, holds, &claimed, now);
                }
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
                self.turns.failed(call, now);
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

    /// What a claim says of the lanes that are held, and when to claim again for them.
    fn hold(
        &mut self,
        named: &HashMap<WebhookId, Held>,
        asked: usize,
        claimed: &Claimed,
        now: Timestamp,
    ) {
        let instant = Instant::now();
        let mut leased: HashMap<WebhookId, u32> = HashMap::new();
        for one in &claimed.leased {
            *leased.entry(one.delivery.webhook).or_default() += 1;
        }
        self.holds.claimed(named, &claimed.held, &claimed.lost, &leased, instant);
        if !claimed.held.is_empty() {
            self.turns.waiting_at(now);
        }
        if let Some(at) = self.holds.asks_at(instant).filter(|_| asked == 0)
            && claimed.next_due.is_some_and(|due| due <= now)
        {
            self.turns.waiting_at(after(now, at - instant));
        }
    }

    // --- send ----------------------------------------------------------------------------------

    fn send(&mut self, leased: Leased) {
        self.permits.take(leased.webhook.id());
        let instant = Instant::now();
        let held = leased.webhook.needs_holder();
        let departure = self.holds.departure(leased.webhook.id(), instant).filter(|_| held);
        let barred = held && departure.is_none();
        let policy = &self.core.policy;
        if self.draining.is_some() || !self.is_alive(Instant::now()) || barred {
            // Too late: the time is up, or it may be somebody else's by now. Nothing was sent.
            let now = self.now();
            let back = Transition::given_back(&leased.delivery, seen(&leased), now);
            self.outcome(leased, None, back);
        } else if must_account(&leased.delivery, policy) {
            let now = self.now();
            let mut attempt =
                Attempt::new(leased.delivery.attempt, now, Duration::ZERO, Outcome::Interrupted);
            attempt.error = Some("the sender died during the attempt before".into());
            self.decide(leased, attempt);
        } else {
            let sender = self.sender.clone();
            let sending =
                Sending { leased: leased.clone(), started: self.core.now(), begun: Instant::now() };
            let started = sending.started;
            self.sending.insert(leased.delivery.id, sending);
            let span = debug_span!(
                "tidings.send",
                delivery = %leased.delivery.id,
                webhook = %leased.delivery.webhook,
                trace = leased.event.trace().as_ref().map(TraceContext::trace_id),
            );
            let send = async move {
                let attempt = sender.depart(&leased, started, departure).await;
                Sent { leased, attempt }
            };
            self.sends.spawn(send.instrument(span));
        }
    }

    fn sent(&mut self, sent: Result<Sent, JoinError>) {
        // An attempt never panics, and is never aborted while the loop runs.
        let Ok(sent) = sent else { return };
        self.sending.remove(&sent.leased.delivery.id);
        let Some(attempt) = sent.attempt else {
            let now = self.core.now();
            let back = Transition::given_back(&sent.leased.delivery, seen(&sent.leased), now);
            return self.outcome(sent.leased, None, back);
        };
        debug!(
            name: "tidings.attempt",
            delivery = %sent.leased.delivery.id,
            event = %sent.leased.delivery.event,
            webhook = %sent.leased.delivery.webhook,
            number = attempt.number,
            outcome = ?attempt.outcome,
            latency_ms = attempt.latency.as_millis(),
            trace = sent.leased.event.trace().as_ref().map(TraceContext::trace_id),
        );
        self.decide(sent.leased, attempt);
    }

    /// What the attempt changes.
    fn decide(&mut self, leased: Leased, attempt: Attempt) {
        let transition = advance(
            &leased.delivery,
            &leased.webhook,
            seen(&leased),
            &attempt.outcome,
            &self.core.policy,
            self.now(),
        );
        // What was never sent is no attempt.
        let sent = attempt.outcome != Outcome::Unanswered(FailureKind::Busy);
        if sent {
            meters::attempted(&attempt);
        }
        self.outcome(leased, sent.then_some(attempt), transition);
    }

    // --- heartbeat -----------------------------------------------------------------------------

    fn beat(&mut self, instant: Instant) {
        self.beat_at = instant + self.options.lease / 3;
        self.beat_rest = instant + LATE_REST;
        let abandoned: Vec<u64> = self.abandoned.iter().map(|(ticket, _)| *ticket).collect();
        let (id, lease, count) = (self.id, self.options.lease, abandoned.len());
        let core = self.core.clone();
        let beat = async move {
            let (wall, mut clock) = (core.now(), None);
            let call = async {
                clock = shared_clock(&core).await?;
                let now = clock.map_or_else(|| core.now(), running_clock);
                let until = after(now, lease);
                core.storage.heartbeat(&Heartbeat { dispatcher: id, now, until, abandoned }).await
            };
            let answer = meters::timed("heartbeat", bounded(lease / 3, call)).await;
            Beaten { begun: instant, wall, count, clock, answer }
        };
        self.beating = Some(beat.boxed());
    }

    fn beaten(&mut self, beaten: Beaten) {
        let Beaten { begun, wall, count, clock, answer } = beaten;
        self.shared_clock = clock.or(self.shared_clock);
        match answer {
            Ok(alive) => {
                meters::beaten(if alive == Alive::New { "new" } else { "known" });
                self.life.renew(begun, wall, self.options.lease);
                let now = self.now();
                for (_, reserved) in self.abandoned.drain(..count) {
                    self.permits.unreserve(reserved);
                    self.turns.look(now);
                }
                if alive == Alive::New {
                    self.lives += 1;
                    self.holds.clear();
                }
                if alive == Alive::New && self.known {
                    warn!(name: "tidings.dispatcher.given_up", dispatcher = %self.id,
                        "the storage had given this dispatcher up; its deliveries are sent again");
                }
                self.known = true;
            }
            Err(error) => {
                meters::beaten("failed");
                warn!(name: "tidings.storage.heartbeat_failed", %error);
                let soon = (self.options.lease / 10).min(BEAT_AGAIN);
                self.beat_at = Instant::now() + soon;
                self.beat_rest = self.beat_at;
            }
        }
    }

    // --- housekeeping --------------------------------------------------------------------------

    fn sweep(&mut self) {
        let now = self.now();
        let sweep = Sweep {
            now,
            limit: SWEEP_ROWS,
            expire_before: before(now, self.core.policy.expire_after()),
            prune_before: before(now, self.core.policy.retain()),
        };
        let forgotten = Hour::of(before(now, self.core.policy.retain_statistics()));
        let storage = self.core.storage.clone();
        let bound = self.options.lease;
        let step = async move {
            let call = bounded(bound, async { storage.sweep(&sweep).await });
            let mut swept = meters::timed("sweep", call).await?;
            if let Some(statistics) = storage.statistics() {
                // What was swept was swept, whatever becomes of this.
                match bounded(bound, statistics.forget(forgotten, SWEEP_ROWS)).await {
                    Ok(gone) => swept.more |= gone >= SWEEP_ROWS,
                    Err(error) => warn!(name: "tidings.storage.sweep_failed", %error),
                }
            }
            Ok(swept)
        };
        self.sweep_at = Some(Instant::now());
        self.sweeping = Some(step.boxed());
    }

    fn swept(&mut self, answer: Result<Swept>) {
        let every = self.options.sweep_every.unwrap_or(Duration::from_secs(60));
        let more = match answer {
            Ok(swept) => {
                meters::swept(&swept);
                debug!(name: "tidings.swept", ?swept);
                swept.more
            }
            Err(error) => {
                warn!(name: "tidings.storage.sweep_failed", %error);
                false
            }
        };
        // A long job is done in steps with room for other work between them.
        let instant = Instant::now();
        let took = self.sweep_at.map_or(Duration::ZERO, |began| instant - began);
        let rest = (took * SWEEP_REST).max(SWEEP_REST_MIN).min(every);
        self.sweep_at = Some(instant + if more { rest } else { every });
    }
}

/// A call that does not answer in time, or panics, may or may not have happened, as any call that
/// fails.
pub(super) async fn bounded<T>(
    bound: Duration,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    let call = AssertUnwindSafe(call).catch_unwind();
    match tokio::time::timeout(bound, call).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(Error::new(ErrorKind::Storage, "the storage panicked")),
        Err(_) => Err(Error::new(ErrorKind::Unavailable, "the storage did not answer in time")),
    }
}

/// Waits until another process announces work; never completes where nobody can.
async fn heard(core: &Core, seen: u64) -> u64 {
    match core.storage.wakeup() {
        Some(wakeup) => wakeup.heard(seen).await,
        None => std::future::pending().await,
    }
}

/// The storage's own clock, if it has one, as of the middle of the call.
async fn shared_clock(core: &Core) -> Result<Option<(Timestamp, Instant)>> {
    let asked = Instant::now();
    let time = core.storage.time().await?;
    Ok(time.map(|time| (time, asked + asked.elapsed() / 2)))
}

/// What a clock shows that was read a while ago.
fn running_clock((time, at): (Timestamp, Instant)) -> Timestamp {
    to_millis(after(time, at.elapsed()))
}

fn seen(leased: &Leased) -> Seen {
    Seen { failing_since: leased.failing_since, probe: leased.probe }
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
async fn called(place: &mut Option<Calling>) -> (Called, Answer) {
    if let Some(calling) = place {
        let answer = (&mut calling.answer).await;
        if let Some(Calling { called, .. }) = place.take() {
            return (called, answer);
        }
    }
    std::future::pending().await
}
