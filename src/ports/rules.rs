//! What every store does in the same way: the rules of the storage contract, as methods of the
//! values that a store is handed. Each is given what the store has found, and changes it in memory;
//! to find and to write is left to the store.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ground::advance::Next;
use crate::ground::delivery::{Attempt, Delivery, Outcome, Standing, State};
use crate::ground::digest::Digest;
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::event::Event;
use crate::ground::id::{EventId, WebhookId};
use crate::ground::lane::{Lane, Turned};
use crate::ground::policy::EXPUNGE_WIDE;
use crate::ground::report::ReportKind;
use crate::ground::time::{Timestamp, after};
use crate::ground::webhook::{DisabledReason, Webhook};
use crate::ports::storage::{
    Appended, Expunge, ExpungePlace, Expunging, Heartbeat, Leased, NewEvent, Routed, Settled,
    Settlement, Sweep, Swept, Turn,
};

impl Appended {
    /// What an event with this digest is to a store in which its id has the digest `known`.
    pub fn of(digest: Digest, known: Option<Digest>) -> Self {
        match known {
            None => Self::Stored,
            Some(known) if known == digest => Self::Duplicate,
            Some(_) => Self::Conflict,
        }
    }

    /// The answers to [`append`](crate::storage::EventStore::append), and the events that the store
    /// is to keep: those that are new, or none if there is a conflict.
    ///
    /// `known` finds the digest that the store has for an id; `takes` says whether there is such a
    /// webhook and it [takes](Webhook::takes) the event.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when a new event is for one webhook that does not take it.
    pub fn of_all(
        events: &[NewEvent],
        known: impl Fn(EventId) -> Option<Digest>,
        takes: impl Fn(WebhookId, &Event) -> bool,
    ) -> Result<(Vec<Self>, Vec<&NewEvent>)> {
        let mut earlier = HashMap::with_capacity(events.len());
        let (mut answers, mut new) = (Vec::with_capacity(events.len()), Vec::new());
        for one in events {
            let (id, digest) = (one.event.id(), one.event.digest());
            let answer = Self::of(digest, known(id).or_else(|| earlier.get(&id).copied()));
            if answer == Self::Stored {
                if let Some(webhook) = one.only.filter(|webhook| !takes(*webhook, &one.event)) {
                    return Err(Error::not_found("webhook", webhook));
                }
                earlier.insert(id, digest);
                new.push(one);
            }
            answers.push(answer);
        }
        if answers.contains(&Self::Conflict) {
            new.clear();
        }
        Ok((answers, new))
    }
}

impl Expunge {
    /// Where the step goes on. `last` is the number of the last event that was published: a request is
    /// about what there was when its first step began.
    pub fn begins(&self, last: u64) -> ExpungePlace {
        self.place.unwrap_or(ExpungePlace { after: 0, through: last })
    }

    /// Bodies of answers that the step takes away, at most.
    pub const fn bodies(&self) -> usize {
        self.limit.saturating_mul(EXPUNGE_WIDE)
    }

    /// Where the next step goes on, after one that found so many events and is through with all, the last
    /// of them under this number.
    pub fn ends(&self, place: ExpungePlace, found: usize, last: u64) -> Option<ExpungePlace> {
        let more = found == self.limit && matches!(self.what, Expunging::Account(_));
        more.then_some(ExpungePlace { after: last, ..place })
    }
}

impl Turn {
    /// Rule 6: leases are given to the living only, and not to calls that were given up. `found` is
    /// what the store has of the dispatcher: until when it lives, and whether it gave this call up.
    ///
    /// # Errors
    /// [`NotAlive`](ErrorKind::NotAlive).
    pub fn check(&self, found: Option<(Timestamp, bool)>) -> Result<()> {
        if found.is_some_and(|(until, abandoned)| until > self.now && !abandoned) {
            return Ok(());
        }
        let message = format!("dispatcher {} is not alive, or gave this call up", self.dispatcher);
        Err(Error::new(ErrorKind::NotAlive, message))
    }

    /// Leases a new delivery if it may be born leased: its webhook is there and enabled and needs no
    /// holder, nothing stands before it in the lane, and there is a permit, which is taken from this
    /// turn. It joins the lane otherwise. Either way the store writes the delivery, and the lane with it.
    pub fn route(
        &mut self,
        delivery: &mut Delivery,
        event: &Event,
        webhook: Option<Arc<Webhook>>,
        lane: &mut Lane,
        routed: &mut Routed,
    ) {
        let webhook = webhook.filter(|webhook| lane.is_plain() && !webhook.needs_holder());
        match self.lease(delivery, event, webhook, lane, false) {
            Some(leased) => routed.leased.push(leased),
            None => {
                lane.join(delivery);
                routed.waiting += 1;
            }
        }
    }

    /// Leases the first delivery of a lane if that may be: its webhook is there and enabled, the
    /// lane is ready, and there is a permit, which is taken from this turn. Where a holder is needed,
    /// it is this turn's dispatcher, with room for one more by its limits (rule 8). A probe moves the
    /// pause. For the store it is to offer no delivery that stands behind another of its key (rule
    /// 9), and to raise the lane's `next_due` afterwards.
    pub fn claim(
        &mut self,
        delivery: &mut Delivery,
        event: &Event,
        webhook: Option<Arc<Webhook>>,
        lane: &mut Lane,
    ) -> Option<Leased> {
        let ready = lane.ready(delivery).is_some_and(|at| at <= self.now);
        let webhook = webhook.filter(|_| ready);
        let probe = lane.paused_until.is_some();
        let leased = self.lease(delivery, event, webhook, lane, probe)?;
        if probe {
            lane.probe(after(self.now, self.probe));
        }
        Some(leased)
    }

    fn lease(
        &mut self,
        delivery: &mut Delivery,
        event: &Event,
        webhook: Option<Arc<Webhook>>,
        lane: &Lane,
        probe: bool,
    ) -> Option<Leased> {
        let webhook = webhook.filter(|webhook| webhook.is_enabled())?;
        let room = if !webhook.needs_holder() {
            self.room(delivery.webhook)
        } else if lane.holder == Some(self.dispatcher) {
            self.held_room(delivery.webhook, webhook.version())
        } else {
            0
        };
        if self.total == 0 || room == 0 {
            return None;
        }
        self.total -= 1;
        if let Some(held) = self.held.get_mut(&delivery.webhook) {
            held.room = held.room.saturating_sub(1);
        }
        *self.busy.entry(delivery.webhook).or_default() += 1;
        delivery.lease(self.dispatcher, self.ticket);
        Some(Leased {
            delivery: delivery.clone(),
            event: event.clone(),
            webhook,
            failing_since: lane.failing_since,
            probe,
        })
    }
}

impl Settlement {
    /// Applies it to its delivery and to the lane of its webhook, which is `enabled` or is not;
    /// `None` is a webhook that was deleted. Answers what became of it, and the reason if the
    /// webhook is to be [disabled](Webhook::disable).
    ///
    /// Where the fence does not hold (rule 7), neither the delivery nor the lane is changed.
    pub fn apply(
        &self,
        delivery: &mut Delivery,
        lane: &mut Lane,
        enabled: Option<bool>,
        now: Timestamp,
    ) -> (Settled, Option<DisabledReason>) {
        let Self { fence, transition, .. } = self;
        match (delivery.standing(fence), enabled) {
            (Standing::Lost, _) => (Settled::Lost, None),
            (Standing::Repeated, None) => (Settled::Gone, None),
            (Standing::Repeated, Some(_)) => (Settled::Applied { turned: None }, None),
            (Standing::Holds, None) => {
                transition.apply(delivery, fence.dispatcher);
                if transition.next != Next::Delivered {
                    delivery.cancel(now);
                }
                (Settled::Gone, None)
            }
            (Standing::Holds, Some(enabled)) => {
                transition.apply(delivery, fence.dispatcher);
                lane.join(delivery);
                lane.change(transition.lane);
                let outcome = self.attempt.as_ref().map(|attempt| attempt.outcome);
                if lane.holder.is_some() && outcome == Some(Outcome::Interrupted) {
                    // It was cut off, and its receiver may still be at it.
                    lane.bar(now);
                }
                // A webhook that is disabled already keeps its reason.
                let turned = lane.health(transition.health).filter(|_| enabled);
                let reason = match turned {
                    Some(Turned::Disabled { reason }) => Some(reason),
                    _ => None,
                };
                (Settled::Applied { turned }, reason)
            }
        }
    }

    /// The events that the store is to keep, in the transaction of the settlement, now that it has
    /// become this.
    pub fn reported(&self, settled: Settled) -> impl Iterator<Item = &Event> {
        let exhausted = self.transition.next == Next::Exhausted;
        let is_true = move |kind| match settled {
            Settled::Applied { turned } => match kind {
                ReportKind::Failing => matches!(turned, Some(Turned::Failing { .. })),
                ReportKind::Recovered => matches!(turned, Some(Turned::Recovered { .. })),
                ReportKind::Disabled => matches!(turned, Some(Turned::Disabled { .. })),
                // A repetition of the settlement says so again, by an event with the same id.
                ReportKind::Exhausted => exhausted,
            },
            Settled::Lost | Settled::Gone => false,
        };
        let reports = self.reports.iter().filter(move |report| is_true(report.kind));
        reports.map(|report| &report.event)
    }

    /// Writes its attempt, whatever became of the settlement, among those of its delivery, in order
    /// of their numbers; not a second time under the same number.
    pub fn record(&self, attempts: &mut Vec<Attempt>) {
        let Some(attempt) = &self.attempt else { return };
        let place = attempts.binary_search_by_key(&attempt.number, |kept| kept.number);
        if let Err(place) = place {
            // Most deliveries have one attempt for good.
            attempts.reserve_exact(1);
            attempts.insert(place, attempt.clone());
        }
    }
}

impl Heartbeat {
    /// Whether the dispatcher ends with it.
    pub fn ends(&self) -> bool {
        self.until <= self.now
    }

    /// Frees the lane of a holder that ends with it. `leased`: it takes back a lease of that lane,
    /// which may be under way.
    pub fn frees_lane(&self, lane: &mut Lane, leased: bool) {
        if leased {
            lane.bar(self.now);
        }
        lane.release();
    }

    /// Whether it gives this delivery back: it ends the lease's holder, or the call that leased it
    /// was abandoned.
    pub fn frees(&self, delivery: &Delivery) -> bool {
        matches!(delivery.state, State::Leased { dispatcher, ticket }
            if dispatcher == self.dispatcher && (self.ends() || self.abandoned.contains(&ticket)))
    }
}

impl Sweep {
    /// Ends a delivery that waits for too long, or whose webhook was `deleted`, and counts it;
    /// `limit` of either at most.
    pub fn apply(&self, delivery: &mut Delivery, deleted: bool, swept: &mut Swept) {
        if !delivery.state.is_waiting() {
            return;
        }
        if delivery.published < self.expire_before && swept.expired < self.limit {
            delivery.expire(self.now);
            swept.expired += 1;
        } else if deleted && swept.cancelled < self.limit {
            delivery.cancel(self.now);
            swept.cancelled += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ground::account::{Account, Mode};
    use crate::ground::advance::{Health, LaneChange, Seen, Transition};
    use crate::ground::delivery::Fence;
    use crate::ground::id::{Cause, DispatcherId};
    use crate::ground::policy::TAKEOVER_WAIT;
    use crate::ground::secret::Secret;
    use crate::ground::webhook::{Edit, Registration};
    use crate::ports::storage::Held;

    fn at(seconds: u64) -> Timestamp {
        after(Timestamp::UNIX_EPOCH, Duration::from_secs(1_700_000_000 + seconds))
    }

    fn dispatcher(number: u8) -> DispatcherId {
        DispatcherId::new(at(0), &[number; 10])
    }

    fn webhook(mode: Mode, types: &str) -> Webhook {
        let registration = Registration::new("https://example.com/", [types]).unwrap();
        let id = WebhookId::new(at(0), &[1; 10]);
        let registration = registration.mode(mode).enabled(true);
        registration.into_webhook(id, Secret::from_random(&[7; 32]), at(0)).unwrap()
    }

    fn event(number: u8, state: &str) -> Event {
        let id = EventId::new(at(0), &[number; 10]);
        let payload =
            format!(r#"{{"id":"{id}","type":"order.paid","data":{{"object":{{"s":"{state}"}}}}}}"#);
        Event::parse(payload, Account::default(), at(0)).unwrap()
    }

    fn delivery(number: u8) -> Delivery {
        let webhook = webhook(Mode::Live, "*").id();
        Delivery::owed(event(number, "new").id(), webhook, Cause::ROUTED, at(0), at(10))
    }

    fn turn(now: Timestamp) -> Turn {
        Turn {
            dispatcher: dispatcher(1),
            ticket: 7,
            now,
            marks: 9,
            deliveries: 9,
            total: 2,
            each: 2,
            busy: HashMap::new(),
            probe: Duration::from_secs(30),
            held: HashMap::new(),
            holds: 0,
        }
    }

    /// Compares webhooks with an event of their own and another mode, enabled and disabled.
    #[test]
    fn a_webhook_wants_what_it_takes_and_asks_for() {
        let event = event(1, "new");
        for (webhook, takes, wants) in [
            (webhook(Mode::Live, "order.*"), true, true),
            (webhook(Mode::Live, "invoice.*"), true, false),
            (webhook(Mode::Test, "order.*"), false, false),
            (webhook(Mode::Live, "order.*").disable(DisabledReason::Gone), true, false),
        ] {
            assert_eq!((webhook.takes(&event), webhook.wants(&event)), (takes, wants));
        }
    }

    /// Stores versions 0 and 2 over nothing, a tombstone, the same and another version.
    #[test]
    fn a_webhook_replaces_the_version_that_it_was_made_from() {
        let new = webhook(Mode::Live, "*");
        let second = new.stored(at(0)).stored(at(1));
        for (webhook, stored, expected) in [
            (&new, None, Ok(1)),
            (&new, Some(0), Err(ErrorKind::Conflict)),
            (&new, Some(2), Err(ErrorKind::Conflict)),
            (&second, None, Err(ErrorKind::NotFound)),
            (&second, Some(0), Err(ErrorKind::NotFound)),
            (&second, Some(1), Err(ErrorKind::Stale)),
            (&second, Some(2), Ok(3)),
            (&second, Some(3), Err(ErrorKind::Stale)),
        ] {
            let found = webhook.stored_over(stored, at(5));
            let found = found.map(|webhook| webhook.version()).map_err(|error| error.kind());
            assert_eq!(found, expected, "{} over {stored:?}", webhook.version());
        }
    }

    /// Appends events that are new, known, and in the call twice.
    #[test]
    fn an_id_is_compared_with_the_store_and_with_its_call() {
        let new = |number, state| NewEvent { event: event(number, state), only: None };
        let events = [new(1, "a"), new(2, "a"), new(2, "b"), new(3, "a"), new(3, "a"), new(3, "b")];
        let known = |id| (id != events[3].event.id()).then(|| event_digest(id, &events));
        let (answers, new) = Appended::of_all(&events, known, |_, _| false).unwrap();
        use Appended::{Conflict, Duplicate, Stored};
        assert_eq!(answers, [Duplicate, Duplicate, Conflict, Stored, Duplicate, Conflict]);
        assert!(new.is_empty(), "one conflict, and nothing is kept");
        let (answers, new) = Appended::of_all(&events[..2], |_| None, |_, _| false).unwrap();
        assert_eq!(answers, [Stored, Stored]);
        assert_eq!(new[1].event, events[1].event);
    }

    /// The digest of the first of these events that has this id.
    fn event_digest(id: EventId, events: &[NewEvent]) -> Digest {
        events.iter().find(|new| new.event.id() == id).unwrap().event.digest()
    }

    /// Appends an event for one webhook that is not there, new and as a repetition.
    #[test]
    fn only_a_new_event_needs_its_webhook() {
        let only = Some(delivery(1).webhook);
        let events = [NewEvent { event: event(1, "new"), only }];
        let digest = events[0].event.digest();
        let (answers, new) = Appended::of_all(&events, |_| Some(digest), |_, _| false).unwrap();
        assert_eq!((answers, new.len()), (vec![Appended::Duplicate], 0));
        let (answers, new) = Appended::of_all(&events, |_| None, |_, _| true).unwrap();
        assert_eq!((answers, new.len()), (vec![Appended::Stored], 1));
        let missing = Appended::of_all(&events, |_| None, |_, _| false).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    /// Asks before, at and after the last moment, unknown, and for an abandoned call.
    #[test]
    fn only_the_living_lease() {
        for (found, alive) in [
            (Some((at(6), false)), true),
            (Some((at(5), false)), false),
            (Some((at(4), false)), false),
            (Some((at(6), true)), false),
            (None, false),
        ] {
            let answer = turn(at(5)).check(found).map_err(|error| error.kind());
            assert_eq!(answer, alive.then_some(()).ok_or(ErrorKind::NotAlive), "{found:?}");
        }
    }

    /// Routes and claims with every kind of lane and webhook, permitted or not.
    #[test]
    fn a_delivery_is_leased_where_nothing_stands_in_the_way() {
        let enabled = Arc::new(webhook(Mode::Live, "*"));
        let disabled = Arc::new(enabled.disable(DisabledReason::Person));
        let lane = |next_due: Option<u64>, paused_until: Option<u64>| Lane {
            next_due: next_due.map(at),
            paused_until: paused_until.map(at),
            failing_since: Some(at(1)),
            ..Lane::default()
        };
        let none = Turn { total: 0, ..turn(at(20)) };
        let narrow = Turn { each: 0, ..turn(at(20)) };
        for (turn, webhook, lane, routed, claimed) in [
            (turn(at(20)), Some(&enabled), lane(None, None), true, true),
            (turn(at(20)), Some(&enabled), lane(Some(10), None), false, true),
            (turn(at(9)), Some(&enabled), lane(Some(9), None), false, false),
            (turn(at(20)), Some(&enabled), lane(Some(10), Some(20)), false, true),
            (turn(at(20)), Some(&enabled), lane(Some(10), Some(21)), false, false),
            (turn(at(20)), Some(&enabled), lane(None, Some(20)), false, true),
            (turn(at(20)), Some(&enabled), lane(None, Some(21)), false, false),
            (turn(at(20)), Some(&disabled), lane(Some(10), None), false, false),
            (turn(at(20)), Some(&disabled), lane(None, None), false, false),
            (turn(at(20)), None, lane(Some(10), None), false, false),
            (turn(at(20)), None, lane(None, None), false, false),
            (none.clone(), Some(&enabled), lane(None, None), false, false),
            (none, Some(&enabled), lane(Some(10), None), false, false),
            (narrow.clone(), Some(&enabled), lane(None, None), false, false),
            (narrow, Some(&enabled), lane(Some(10), None), false, false),
        ] {
            let why = format!("{lane:?} of {webhook:?} in {turn:?}");
            let event = event(1, "new");
            let (mut left, mut row, mut after_it) = (turn.clone(), delivery(1), lane);
            let mut answer = Routed::default();
            left.route(&mut row, &event, webhook.cloned(), &mut after_it, &mut answer);
            let leased = answer.leased.pop();
            assert_eq!((leased.is_some(), answer.waiting == 0), (routed, routed), "route: {why}");
            let next_due = lane.next_due.map_or(at(10), |next| next.min(at(10)));
            let joined = Lane { next_due: Some(next_due), ..lane };
            assert_eq!(after_it, if routed { lane } else { joined }, "route: {why}");
            assert_eq!(leased.map_or(delivery(1), |leased| leased.delivery), row);
            assert_eq!(left.total, turn.total - u32::from(routed));

            let (mut left, mut row, mut after_it) = (turn.clone(), delivery(1), lane);
            let leased = left.claim(&mut row, &event, webhook.cloned(), &mut after_it);
            assert_eq!(leased.is_some(), claimed, "claim: {why}");
            let Some(leased) = leased else {
                assert_eq!((row, after_it), (delivery(1), lane), "claim: {why}");
                continue;
            };
            assert_eq!((left.total, left.room(row.webhook)), (1, 1));
            assert_eq!((&leased.delivery, row.attempt), (&row, 1));
            assert_eq!(row.state, State::Leased { dispatcher: turn.dispatcher, ticket: 7 });
            let paused = lane.paused_until.map(|_| at(50));
            assert_eq!(leased.probe, lane.paused_until.is_some(), "claim: {why}");
            assert_eq!(leased.failing_since, Some(at(1)));
            assert_eq!(after_it, Lane { paused_until: paused, ..lane }, "claim: {why}");
        }
    }

    /// Routes and claims for a webhook that needs a holder: held by this one or another, known or
    /// not, with and without room.
    #[test]
    fn where_a_holder_is_needed_it_alone_leases() {
        let plain = webhook(Mode::Live, "*");
        let limited = Arc::new(plain.edit(Edit::new().concurrency(Some(2))).unwrap());
        let event = event(1, "new");
        let lane = |holder: Option<u8>| Lane {
            next_due: Some(at(10)),
            holder: holder.map(dispatcher),
            ..Lane::default()
        };
        for (holder, version, room, claimed) in [
            (Some(1), 0, 1, true),
            (Some(1), 0, 0, false),
            (Some(1), 1, 1, false),
            (Some(2), 0, 1, false),
            (None, 0, 1, false),
        ] {
            let held = HashMap::from([(limited.id(), Held { version, room })]);
            let mut turn = Turn { held, ..turn(at(20)) };
            let (mut row, mut lane) = (delivery(1), lane(holder));
            let leased = turn.claim(&mut row, &event, Some(limited.clone()), &mut lane);
            assert_eq!(leased.is_some(), claimed, "{holder:?}, {version}, {room}");
            assert_eq!(turn.held_room(limited.id(), version), room - u32::from(claimed));
            let again = turn.claim(&mut delivery(2), &event, Some(limited.clone()), &mut lane);
            assert!(again.is_none(), "there was room for one");

            let mut routed = Routed::default();
            let (mut row, mut empty) = (delivery(1), Lane { next_due: None, ..lane });
            turn.route(&mut row, &event, Some(limited.clone()), &mut empty, &mut routed);
            assert_eq!((routed.leased.len(), routed.waiting), (0, 1), "never born leased");
        }
    }

    /// Ends holders with and without a lease under way, and settles what was cut off.
    #[test]
    fn what_may_be_under_way_bars_the_lane() {
        let beat =
            Heartbeat { dispatcher: dispatcher(1), now: at(5), until: at(5), abandoned: vec![] };
        let held = Lane { holder: Some(dispatcher(1)), ..Lane::default() };
        let barred = |seconds| Some(after(at(seconds), TAKEOVER_WAIT));
        for (leased, held_until) in [(false, None), (true, barred(5))] {
            let mut lane = held;
            beat.frees_lane(&mut lane, leased);
            assert_eq!((lane.holder, lane.held_until), (None, held_until));
        }
        let cut_off = Attempt::new(1, at(1), Duration::ZERO, Outcome::Interrupted);
        let answer = Outcome::Answered { status: 500, retry_after: None };
        let answered = Attempt::new(1, at(1), Duration::ZERO, answer);
        for (attempt, holder, held_until) in [
            (Some(cut_off.clone()), Some(dispatcher(1)), barred(7)),
            (Some(cut_off), None, None),
            (Some(answered), Some(dispatcher(1)), None),
            (None, Some(dispatcher(1)), None),
        ] {
            let mut leased = delivery(1);
            leased.lease(dispatcher(1), 7);
            let transition = Transition::given_back(&leased, Seen::default(), at(6));
            let fence = Fence { delivery: leased.id, attempt: 1, dispatcher: dispatcher(1) };
            let mut lane = Lane { holder, ..held };
            let settlement = Settlement { fence, attempt, transition, reports: Vec::new() };
            settlement.apply(&mut leased, &mut lane, Some(true), at(7));
            assert_eq!((lane.holder, lane.held_until), (holder, held_until));
        }
    }

    /// Settles under every standing, with the webhook enabled, disabled and deleted.
    #[test]
    fn a_settlement_applies_while_its_lease_holds() {
        let mut leased = delivery(1);
        leased.lease(dispatcher(1), 7);
        let mut transition = Transition::given_back(&leased, Seen::default(), at(30));
        transition.health = Health::Gone { at: at(30) };
        transition.lane = LaneChange::Pause { until: at(60) };
        let fence = Fence { delivery: leased.id, attempt: 1, dispatcher: dispatcher(1) };
        let failed = Settlement { fence, attempt: None, transition, reports: Vec::new() };
        let mut delivered = failed.clone();
        delivered.transition.next = Next::Delivered;
        let mut late = failed.clone();
        late.fence.attempt = 2;

        let gone = DisabledReason::Gone;
        let waiting = State::Waiting { due: at(30) };
        let (cancelled, done) = (State::Cancelled { at: at(31) }, State::Delivered { at: at(30) });
        for (settlement, enabled, settled, reason, state) in [
            (
                &failed,
                Some(true),
                Settled::Applied { turned: Some(Turned::Disabled { reason: gone }) },
                Some(gone),
                waiting,
            ),
            (&failed, Some(false), Settled::Applied { turned: None }, None, waiting),
            (&failed, None, Settled::Gone, None, cancelled),
            (&delivered, None, Settled::Gone, None, done),
            (&late, Some(true), Settled::Lost, None, leased.state),
            (&late, None, Settled::Lost, None, leased.state),
        ] {
            let (mut row, mut lane) = (leased.clone(), Lane::default());
            let answer = settlement.apply(&mut row, &mut lane, enabled, at(31));
            assert_eq!(answer, (settled, reason));
            assert_eq!(row.state, state, "{enabled:?}: {settlement:?}");
            let applied = matches!(settled, Settled::Applied { .. });
            let changed = Lane {
                next_due: Some(at(30)),
                paused_until: Some(at(60)),
                asked_until: Some(at(60)),
                failing_since: Some(at(30)),
                ..Lane::default()
            };
            assert_eq!(lane, if applied { changed } else { Lane::default() });

            if settled == Settled::Lost {
                assert_eq!(row, leased, "a lost settlement changes nothing");
                continue;
            }
            let before = (row.clone(), lane);
            let repeated = settlement.apply(&mut row, &mut lane, enabled, at(40));
            let expected = match settled {
                Settled::Applied { .. } => Settled::Applied { turned: None },
                other => other,
            };
            assert_eq!(repeated, (expected, None));
            assert_eq!((row, lane), before, "a repetition changes nothing");
        }
    }

    /// Records attempts out of order, one of them twice.
    #[test]
    fn attempts_are_kept_once_in_order() {
        let mut attempts = Vec::new();
        for number in [3, 1, 2, 3] {
            let fence =
                Fence { delivery: delivery(1).id, attempt: number, dispatcher: dispatcher(1) };
            let transition = Transition::given_back(&delivery(1), Seen::default(), at(1));
            let attempt = Attempt::new(number, at(1), Duration::ZERO, Outcome::Interrupted);
            Settlement { fence, attempt: None, transition, reports: Vec::new() }
                .record(&mut attempts);
            Settlement { fence, attempt: Some(attempt), transition, reports: Vec::new() }
                .record(&mut attempts);
        }
        let numbers: Vec<_> = attempts.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, [1, 2, 3]);
    }

    /// Beats with an abandoned call, and for the last time.
    #[test]
    fn a_sign_of_life_frees_what_was_given_up() {
        let beat = |until, abandoned: &[u64]| Heartbeat {
            dispatcher: dispatcher(1),
            now: at(5),
            until,
            abandoned: abandoned.to_vec(),
        };
        let leased = |holder, ticket| {
            let mut delivery = delivery(1);
            delivery.lease(dispatcher(holder), ticket);
            delivery
        };
        for (beat, holder, ticket, frees) in [
            (beat(at(6), &[7]), 1, 7, true),
            (beat(at(6), &[7]), 1, 8, false),
            (beat(at(6), &[7]), 2, 7, false),
            (beat(at(6), &[]), 1, 7, false),
            (beat(at(5), &[]), 1, 7, true),
            (beat(at(5), &[]), 2, 7, false),
        ] {
            assert_eq!(beat.frees(&leased(holder, ticket)), frees, "{beat:?}: {holder}, {ticket}");
            assert!(!beat.frees(&delivery(1)), "what waits is nobody's");
        }
    }

    /// Sweeps old, young, leased and orphaned deliveries, more of them than the limit.
    #[test]
    fn a_sweep_ends_what_waits_too_long_or_for_nobody() {
        let mut leased = delivery(1);
        leased.lease(dispatcher(1), 7);
        assert_eq!((leased.holder(), delivery(1).holder()), (Some(dispatcher(1)), None));
        let (expired, cancelled) = (State::Expired { at: at(9) }, State::Cancelled { at: at(9) });
        for (row, before, deleted, state) in [
            (delivery(1), at(1), false, expired),
            (delivery(1), at(1), true, expired),
            (delivery(1), at(0), true, cancelled),
            (delivery(1), at(0), false, delivery(1).state),
            (leased.clone(), at(1), true, leased.state),
        ] {
            let sweep = Sweep { now: at(9), limit: 1, expire_before: before, prune_before: at(0) };
            let mut swept = Swept::default();
            let (mut first, mut second) = (row.clone(), row.clone());
            sweep.apply(&mut first, deleted, &mut swept);
            assert_eq!(first.state, state, "{row:?}: {deleted}");
            let counted = (usize::from(state == expired), usize::from(state == cancelled));
            assert_eq!((swept.expired, swept.cancelled), counted);
            sweep.apply(&mut second, false, &mut swept);
            assert_eq!(second, row, "a limit of one");
        }
    }
}
