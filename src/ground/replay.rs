//! A replay: past events are delivered once more. What a job is, which events it is for, and how fast
//! it goes.
//!
//! A job is stored, and done in small steps: each looks at a few events after the job's cursor, makes
//! deliveries of those that are wanted, and moves the cursor, in one transaction. So a crash between
//! two steps loses nothing, and since the job's id is the cause of its deliveries
//! ([`ReplayId::cause`](crate::ReplayId::cause)), no event goes to a webhook twice for one job.
//!
//! Stores find and write; what to do they ask here: [`ReplayJob::begin`], [`ReplayJob::covers`],
//! [`ReplayPass`], [`ReplayJob::stepped`].

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::account::{Account, Mode};
use super::delivery::StateKind;
use super::error::{Error, Result};
use super::event_type::{EventType, TEST_EVENT_TYPE};
use super::id::{Cause, EventId, ReplayId, WebhookId};
use super::policy::{
    REPLAY_DUE_MAX, REPLAY_GRAIN, REPLAY_REST, REPLAY_REST_LONG, REPLAY_STEP_DELIVERIES,
    REPLAY_WAITING_MAX,
};
use super::time::{Timestamp, after};
use super::webhook::Webhook;

/// Which past events a webhook is to get again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub enum ReplayKind {
    /// Those that its present filters ask for, whatever became of them.
    All,
    /// Those of which a delivery to it was exhausted or expired, and none has arrived or is under way.
    Failed,
    /// Those that its present filters ask for and of which it never had a delivery: they were published
    /// while it was disabled, did not ask for them, or did not exist.
    Missed,
}

/// What a job delivers, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "scope")]
#[non_exhaustive]
pub enum ReplayScope {
    /// Events of a time, to one webhook.
    Range {
        /// To whom.
        webhook: WebhookId,
        /// Which of them.
        kind: ReplayKind,
        /// Published at this time or later.
        from: Timestamp,
        /// Published before this time; at most the millisecond that follows the job's start.
        until: Timestamp,
    },
    /// One event.
    Event {
        /// Which.
        event: EventId,
        /// To this webhook, whatever its filters; `None`: to all that are enabled and ask for it now.
        webhook: Option<WebhookId>,
    },
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
#[non_exhaustive]
pub enum ReplayState {
    /// It makes deliveries.
    Running,
    /// It has made all its deliveries. Some may still be under way.
    Done {
        /// When.
        at: Timestamp,
    },
    /// Somebody cancelled it. What it had made and was not sent yet is cancelled, too.
    Cancelled {
        /// When.
        at: Timestamp,
    },
    /// Its webhook was deleted.
    Gone {
        /// When that was found.
        at: Timestamp,
    },
}

impl ReplayState {
    /// When it ended, if it has.
    pub const fn ended(&self) -> Option<Timestamp> {
        match self {
            Self::Running => None,
            Self::Done { at } | Self::Cancelled { at } | Self::Gone { at } => Some(*at),
        }
    }
}

/// A replay as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ReplayJob {
    /// Its id, which is the [cause](ReplayId::cause) of its deliveries.
    pub id: ReplayId,
    /// Whose events these are.
    pub account: Account,
    /// Live or test.
    pub mode: Mode,
    /// What it delivers, and to whom.
    #[serde(flatten)]
    pub scope: ReplayScope,
    /// Deliveries per second, at most.
    pub rate: u32,
    /// How far it is.
    #[serde(flatten)]
    pub state: ReplayState,
    /// Events (of one event: webhooks) that it has looked at.
    pub looked: u64,
    /// Deliveries that it has made.
    pub made: u64,
    /// Deliveries that were cancelled with it, before they were sent.
    pub withdrawn: u64,
    /// The time of publish of the last event that it has looked at: with the range it tells the progress.
    pub reached: Option<Timestamp>,
    /// When it was started.
    pub created: Timestamp,
    /// When its next step is to be done; `None` when nothing is left to do.
    pub due: Option<Timestamp>,
    /// The place up to which it has looked; what it means is the store's.
    cursor: Uuid,
    /// Where nobody said until when: the number of the last event that was published when it was started.
    /// By number, since clocks disagree; [`OPEN`] until the store has [said it](Self::starts).
    #[serde(default)]
    through: Option<u64>,
}

/// The end of a job that is not started yet.
const OPEN: u64 = u64::MAX;

/// What a store finds of a job's webhook before a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct ReplayRoom {
    /// Whether the webhook is enabled.
    pub enabled: bool,
    /// Its lane's [`paused_until`](crate::Lane::paused_until).
    pub paused_until: Option<Timestamp>,
    /// Its deliveries that wait and are due, whatever their cause; counting may end at
    /// [`REPLAY_DUE_MAX`](crate::policy::REPLAY_DUE_MAX).
    pub due: usize,
    /// The job's own deliveries that wait, due or not; counting may end at
    /// [`REPLAY_WAITING_MAX`](crate::policy::REPLAY_WAITING_MAX).
    pub waiting: usize,
}

impl ReplayRoom {
    /// All the room there can be: for a job that is not for one webhook.
    pub const FREE: Self = Self { enabled: true, paused_until: None, due: 0, waiting: 0 };
}

/// One step of a job, while a store does it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ReplayPass {
    now: Timestamp,
    left: usize,
    looked: u64,
    made: u32,
    cursor: Option<u128>,
    reached: Option<Timestamp>,
    /// The end of the job's time.
    until: Option<Timestamp>,
    /// Whether all that was passed was published after that.
    late: bool,
    waits: bool,
    /// It came to what was published after the job was started.
    behind: bool,
}

/// An event that a step of a range comes to.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::exhaustive_structs)]
pub struct ReplayEvent<'a> {
    /// Its number of publish.
    pub number: u64,
    /// When it was published.
    pub published: Timestamp,
    /// Its type, if the job [covers](ReplayJob::covers) it.
    pub covered: Option<&'a EventType>,
    /// Whether it is still to be routed.
    pub marked: bool,
}

impl ReplayPass {
    /// It comes to the next event, by rising number; the answer says when a delivery of it to the job's
    /// `webhook` is due, if one is wanted.
    ///
    /// An event that may yet get by routing what the job would make of it, and one that was published
    /// after the job was started, end the step before them. `had` is asked for the deliveries of the event
    /// to the webhook, by cause and state, where [`asks_record`](ReplayJob::asks_record).
    ///
    /// # Errors
    /// Those of `had`.
    pub fn event<E>(
        &mut self,
        job: &ReplayJob,
        webhook: &Webhook,
        event: ReplayEvent<'_>,
        had: impl FnOnce() -> Result<Vec<(Cause, StateKind)>, E>,
    ) -> Result<Option<Timestamp>, E> {
        if self.is_over() {
            return Ok(None);
        }
        self.behind = job.is_behind(event.number);
        self.waits = event.marked && event.covered.is_some() && !self.behind;
        if self.is_over() {
            return Ok(None);
        }
        let mut due = None;
        if let Some(event_type) = event.covered {
            let had = if job.asks_record() { had()? } else { Vec::new() };
            due = job.wants(webhook, event_type, &had).then(|| self.deliver());
            self.looked += 1;
        }
        self.cursor = Some(event.number.into());
        self.reached = Some(event.published);
        self.late &= self.until.is_some_and(|until| event.published >= until);
        Ok(due)
    }

    /// It comes to the next webhook, by rising id, with the event of the job; the answer says when a
    /// delivery to it is due, if one is wanted. `None` is a webhook that cannot be read: it gets none.
    pub fn webhook(
        &mut self,
        job: &ReplayJob,
        id: WebhookId,
        webhook: Option<&Webhook>,
        event_type: &EventType,
    ) -> Option<Timestamp> {
        self.cursor = Some(id.uuid().as_u128());
        self.looked += 1;
        let wanted = webhook.is_some_and(|webhook| job.wants(webhook, event_type, &[]));
        wanted.then(|| self.deliver())
    }

    /// It makes one delivery more, which is due at the answer.
    fn deliver(&mut self) -> Timestamp {
        self.left = self.left.saturating_sub(1);
        self.made = self.made.saturating_add(1);
        self.now
    }

    /// Whether the step has to end here: it has made what it may, or must not pass what it came to.
    pub fn is_over(&self) -> bool {
        self.left == 0 || self.waits || self.behind
    }

    /// How many more it may make.
    pub fn left(&self) -> usize {
        self.left
    }
}

/// How long so many deliveries take at this rate.
fn spent(made: u32, rate: u32) -> Duration {
    Duration::from_secs(1).saturating_mul(made) / rate.max(1)
}

impl ReplayJob {
    /// A job of which nothing is done yet.
    pub(super) fn new(
        id: ReplayId,
        account: Account,
        mode: Mode,
        scope: ReplayScope,
        rate: u32,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            account,
            mode,
            scope,
            rate,
            state: ReplayState::Running,
            looked: 0,
            made: 0,
            withdrawn: 0,
            reached: None,
            created: now,
            due: Some(now),
            cursor: Uuid::nil(),
            through: None,
        }
    }

    /// It ends with what is published when it is started, whatever clocks say.
    pub(super) fn open(self) -> Self {
        Self { through: Some(OPEN), ..self }
    }

    /// A store starts it; `last` is the number of the last event that was published.
    pub fn starts(&mut self, last: u64) {
        self.through = self.through.map(|through| through.min(last));
    }

    /// Whether what was published under this number, or later, came after it was started.
    fn is_behind(&self, number: u64) -> bool {
        self.through.is_some_and(|through| number > through)
    }

    /// Whether the other one is to do the same.
    #[cfg(feature = "engine")]
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let asks = |job: &Self| match job.scope {
            ReplayScope::Range { kind, from, .. } => Some((kind, from)),
            ReplayScope::Event { .. } => None,
        };
        let of = |job: &Self| (job.account.clone(), job.mode, job.webhook(), asks(job));
        of(self) == of(other)
    }

    /// The one webhook that it is for.
    pub const fn webhook(&self) -> Option<WebhookId> {
        match self.scope {
            ReplayScope::Range { webhook, .. } => Some(webhook),
            ReplayScope::Event { webhook, .. } => webhook,
        }
    }

    /// The place up to which it has looked; 0 at the beginning.
    pub const fn cursor(&self) -> u128 {
        self.cursor.as_u128()
    }

    /// Whether an event lies in its range: it is of the account, of the mode, and of the time.
    pub fn covers(&self, account: &str, mode: Mode, published: Timestamp) -> bool {
        let in_time = match self.scope {
            ReplayScope::Range { from, until, .. } => {
                from <= published && (self.through.is_some() || published < until)
            }
            ReplayScope::Event { .. } => true,
        };
        in_time && mode == self.mode && account == self.account.as_str()
    }

    /// Whether [`ReplayPass::event`] asks what deliveries there were.
    pub const fn asks_record(&self) -> bool {
        matches!(
            self.scope,
            ReplayScope::Range { kind: ReplayKind::Failed | ReplayKind::Missed, .. }
        )
    }

    /// Whether an event of this type, which it [covers](Self::covers), is to be delivered to `webhook`;
    /// `had` are the deliveries of the event to it, by cause and state, where the job
    /// [asks](Self::asks_record).
    ///
    /// Test events ([`TEST_EVENT_TYPE`]) were for one webhook alone: no range has them. A delivery that
    /// was taken back with its replay counts as if it had never been made.
    fn wants(&self, webhook: &Webhook, event_type: &EventType, had: &[(Cause, StateKind)]) -> bool {
        let asks = webhook.types().matches(event_type) && event_type.as_str() != TEST_EVENT_TYPE;
        let counts =
            |had: &&(Cause, StateKind)| had.1 != StateKind::Cancelled || had.0 == Cause::ROUTED;
        match self.scope {
            ReplayScope::Event { webhook: Some(_), .. } => true,
            ReplayScope::Event { webhook: None, .. }
            | ReplayScope::Range { kind: ReplayKind::All, .. } => asks,
            ReplayScope::Range { kind: ReplayKind::Missed, .. } => {
                asks && had.iter().filter(counts).count() == 0
            }
            ReplayScope::Range { kind: ReplayKind::Failed, .. } => {
                let mut states = had.iter().map(|(_, state)| state);
                let failed =
                    |state: &StateKind| matches!(state, StateKind::Exhausted | StateKind::Expired);
                event_type.as_str() != TEST_EVENT_TYPE
                    && had.iter().any(|(_, state)| failed(state))
                    && states.all(|state| failed(state) || *state == StateKind::Cancelled)
            }
        }
    }

    /// Begins a step, if it may go on now; else the job rests or has ended, as is now written in it.
    /// `room` is what its webhook has; `None` is one that was deleted.
    ///
    /// It rests while its webhook is disabled or left in peace, while many deliveries of the webhook are
    /// due (so that live ones never stand behind a long replay), and while very many of its own wait.
    pub fn begin(&mut self, room: Option<ReplayRoom>, now: Timestamp) -> Option<ReplayPass> {
        let Some(room) = room else {
            (self.state, self.due) = (ReplayState::Gone { at: now }, None);
            return None;
        };
        let peace = room.paused_until.filter(|until| *until > now);
        let rest = if !room.enabled || room.waiting >= REPLAY_WAITING_MAX {
            Some(after(now, REPLAY_REST_LONG))
        } else if let Some(until) = peace {
            Some(until.min(after(now, REPLAY_REST_LONG)))
        } else if room.due >= REPLAY_DUE_MAX {
            Some(after(now, REPLAY_REST))
        } else {
            None
        };
        if rest.is_some() {
            self.due = rest;
            return None;
        }
        let grains = Duration::from_secs(1).as_millis() / REPLAY_GRAIN.as_millis();
        let left = usize::try_from(u128::from(self.rate) / grains).unwrap_or(usize::MAX);
        let left = left
            .clamp(1, REPLAY_STEP_DELIVERIES)
            .min(REPLAY_DUE_MAX - room.due)
            .min(REPLAY_WAITING_MAX - room.waiting);
        let until = match self.scope {
            ReplayScope::Range { until, .. } => Some(until).filter(|_| self.through.is_none()),
            ReplayScope::Event { .. } => None,
        };
        Some(ReplayPass {
            now,
            left,
            looked: 0,
            made: 0,
            cursor: None,
            reached: None,
            until,
            late: until.is_some(),
            waits: false,
            behind: false,
        })
    }

    /// Ends a step. `ends`: there was nothing more to look at behind what it was shown. A step over a
    /// stretch of events that were all published too late ends the job as well, as does one that came to
    /// what was published after the start.
    pub fn stepped(&mut self, pass: ReplayPass, ends: bool) {
        let ReplayPass { now, looked, made, late, waits, behind, .. } = pass;
        self.looked = self.looked.saturating_add(looked);
        self.made = self.made.saturating_add(made.into());
        self.reached = pass.reached.or(self.reached);
        if let Some(place) = pass.cursor {
            self.cursor = Uuid::from_u128(place);
        }
        let single = matches!(self.scope, ReplayScope::Event { webhook: Some(_), .. });
        let passed_all = ends || late && pass.cursor.is_some();
        if single || behind || !pass.is_over() && passed_all {
            (self.state, self.due) = (ReplayState::Done { at: now }, None);
            return;
        }
        let pace = spent(made, self.rate);
        self.due = Some(after(now, if waits { pace.max(REPLAY_REST) } else { pace }));
    }

    /// Cancels it, also when it has made all its deliveries; its next steps withdraw those that were not
    /// sent yet.
    pub fn cancel(&mut self, now: Timestamp) {
        match self.state {
            ReplayState::Running | ReplayState::Done { .. } => {
                (self.state, self.due) = (ReplayState::Cancelled { at: now }, Some(now));
            }
            // What is left after all is looked for once more.
            ReplayState::Cancelled { .. } => self.due = Some(now),
            ReplayState::Gone { .. } => {}
        }
    }

    /// A step of a cancelled job has withdrawn so many deliveries; `more` says whether others wait, and
    /// `leased` whether some are being sent, which may come back to wait.
    pub fn withdrew(&mut self, count: usize, more: bool, leased: bool, now: Timestamp) {
        self.withdrawn = self.withdrawn.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        self.due = match (more, leased) {
            (true, _) => Some(now),
            (false, true) => Some(after(now, REPLAY_REST)),
            (false, false) => None,
        };
    }

    /// The text in which stores keep it.
    ///
    /// # Errors
    /// [`Storage`](crate::ErrorKind::Storage), which does not happen to a job that this crate made.
    pub fn to_stored(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::storage("a replay cannot be written", error))
    }

    /// Reads what [`to_stored`](Self::to_stored) wrote.
    ///
    /// # Errors
    /// [`Storage`](crate::ErrorKind::Storage) when the text is something else.
    pub fn from_stored(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|error| Error::storage("a stored replay cannot be read", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::replay_request::ReplayRequest;
    use crate::ground::secret::Secret;
    use crate::ground::webhook::Registration;

    fn at(millis: u64) -> Timestamp {
        after(Timestamp::UNIX_EPOCH, Duration::from_secs(1_700_000_000))
            + Duration::from_millis(millis)
    }

    fn webhook() -> Webhook {
        let registration = Registration::new("https://example.com/", ["order.*", "webhook.*"]);
        let id = WebhookId::new(at(0), &[1; 10]);
        let registration = registration.unwrap().enabled(true);
        registration.into_webhook(id, Secret::from_random(&[7; 32]), at(0)).unwrap()
    }

    fn id() -> ReplayId {
        ReplayId::new(at(0), &[2; 10])
    }

    fn job(kind: ReplayKind, rate: u32) -> ReplayJob {
        let request = ReplayRequest::new(webhook().id(), kind).from(at(100)).until(at(200));
        request.rate(rate).unwrap().into_job(id(), &webhook(), at(500)).unwrap()
    }

    fn event_type(text: &str) -> EventType {
        EventType::parse(text).unwrap()
    }

    /// Asks each kind of job about events with every record of deliveries (table).
    #[test]
    fn each_kind_wants_its_events() {
        use StateKind::{Cancelled, Delivered, Exhausted, Expired, Leased, Waiting};
        let (routed, other) = (Cause::ROUTED, Cause::new(at(0), &[3; 10]));
        for (had, failed, missed) in [
            (vec![], false, true),
            (vec![(routed, Delivered)], false, false),
            (vec![(routed, Waiting)], false, false),
            (vec![(routed, Leased)], false, false),
            (vec![(routed, Exhausted)], true, false),
            (vec![(routed, Expired)], true, false),
            (vec![(routed, Cancelled)], false, false),
            (vec![(other, Cancelled)], false, true),
            (vec![(routed, Exhausted), (other, Delivered)], false, false),
            (vec![(routed, Exhausted), (other, Waiting)], false, false),
            (vec![(routed, Exhausted), (other, Exhausted)], true, false),
            (vec![(routed, Exhausted), (other, Cancelled)], true, false),
            (vec![(routed, Delivered), (other, Exhausted)], false, false),
        ] {
            for (kind, wanted) in [
                (ReplayKind::All, true),
                (ReplayKind::Failed, failed),
                (ReplayKind::Missed, missed),
            ] {
                let job = job(kind, 1);
                assert_eq!(job.asks_record(), kind != ReplayKind::All);
                let wants = |text| job.wants(&webhook(), &event_type(text), &had);
                assert_eq!(wants("order.paid"), wanted, "{kind:?} with {had:?}");
                assert!(!wants(TEST_EVENT_TYPE), "a test event was for one webhook");
                let asked = kind == ReplayKind::Failed && failed;
                assert_eq!(wants("invoice.paid"), asked, "what failed was owed: {kind:?} {had:?}");
            }
        }
    }

    /// Covers events at the bounds of the range, of other accounts and modes (table).
    #[test]
    fn a_range_has_its_first_moment_and_not_its_last() {
        let job = job(ReplayKind::All, 1);
        for (account, mode, millis, covers) in [
            ("default", Mode::Live, 100, true),
            ("default", Mode::Live, 199, true),
            ("default", Mode::Live, 99, false),
            ("default", Mode::Live, 200, false),
            ("other", Mode::Live, 150, false),
            ("default", Mode::Test, 150, false),
        ] {
            assert_eq!(job.covers(account, mode, at(millis)), covers, "{account} {millis}");
        }
    }

    /// Begins steps with every kind of room (table).
    #[test]
    fn a_job_rests_where_there_is_no_room() {
        let free = ReplayRoom::FREE;
        for (rate, room, left, due) in [
            (10_000, free, REPLAY_STEP_DELIVERIES, None),
            (7, free, 1, None),
            (70, free, 7, None),
            (10_000, ReplayRoom { due: 250, ..free }, REPLAY_DUE_MAX - 250, None),
            (10_000, ReplayRoom { waiting: REPLAY_WAITING_MAX - 3, ..free }, 3, None),
            (10_000, ReplayRoom { paused_until: Some(at(1_000)), ..free }, 256, None),
            (1, ReplayRoom { due: REPLAY_DUE_MAX, ..free }, 0, Some(REPLAY_REST)),
            (1, ReplayRoom { waiting: REPLAY_WAITING_MAX, ..free }, 0, Some(REPLAY_REST_LONG)),
            (1, ReplayRoom { enabled: false, ..free }, 0, Some(REPLAY_REST_LONG)),
            (
                1,
                ReplayRoom { paused_until: Some(at(1_700)), ..free },
                0,
                Some(Duration::from_millis(700)),
            ),
            (
                1,
                ReplayRoom { paused_until: Some(at(9_000_000)), ..free },
                0,
                Some(REPLAY_REST_LONG),
            ),
        ] {
            let mut job = job(ReplayKind::All, rate);
            let pass = job.begin(Some(room), at(1_000));
            assert_eq!(pass.map_or(0, |pass| pass.left), left, "{room:?}");
            let rests = due.map_or(at(500), |rest| after(at(1_000), rest));
            assert_eq!((job.due, job.state), (Some(rests), ReplayState::Running), "{room:?}");
        }
        let mut job = job(ReplayKind::All, 1);
        assert!(job.begin(None, at(1_000)).is_none());
        assert_eq!((job.state, job.due), (ReplayState::Gone { at: at(1_000) }, None));
    }

    /// Ends steps that made some, none, waited, and came to the end (table).
    #[test]
    fn a_step_moves_the_job_on() {
        let running = ReplayState::Running;
        let done = ReplayState::Done { at: at(1_000) };
        let (webhook, order) = (webhook(), event_type("order.paid"));
        let stepped = |make: u32, reached: u64, waits: bool, ends: bool| {
            let mut job = job(ReplayKind::All, 100);
            let mut pass = job.begin(Some(ReplayRoom::FREE), at(1_000)).unwrap();
            let mut meet = |number: u32, covered, marked| {
                let (number, published) = (number.into(), at(reached));
                let event = ReplayEvent { number, published, covered, marked };
                pass.event(&job, &webhook, event, || Ok::<_, Error>(Vec::new())).unwrap()
            };
            assert_eq!(meet(3, None, true), None, "it is not in the range");
            let dues: Vec<_> = (0..make).map(|made| meet(4 + made, Some(&order), false)).collect();
            if waits {
                assert_eq!(meet(4 + make, Some(&order), true), None, "it is still to be routed");
                assert_eq!(meet(5 + make, Some(&order), false), None, "it is behind that one");
            }
            job.stepped(pass, ends);
            (job, dues)
        };
        for (make, reached, waits, ends, state, due) in [
            (0, 150, false, false, running, Some(at(1_000))),
            (3, 150, false, false, running, Some(at(1_030))),
            (10, 150, false, true, running, Some(at(1_100))),
            (3, 150, false, true, done, None),
            (0, 150, true, true, running, Some(at(1_250))),
            (5, 150, true, false, running, Some(at(1_250))),
            (0, 200, false, false, done, None),
            (0, 200, true, false, running, Some(at(1_250))),
        ] {
            let (job, dues) = stepped(make, reached, waits, ends);
            let why = format!("{make} {reached} {waits} {ends}");
            assert_eq!((job.state, job.due), (state, due), "{why}");
            let cursor = u128::from(3 + make);
            assert_eq!((job.made, job.looked, job.cursor()), (make.into(), make.into(), cursor));
            assert_eq!(job.reached, Some(at(reached)));
            assert!(dues.iter().all(|due| *due == Some(at(1_000))), "{why}");
        }
    }

    /// Shows a job without an end events before and after its start, of late and early clocks (table).
    #[test]
    fn a_job_without_an_end_ends_with_what_was_published_before_it_started() {
        let (webhook, order) = (webhook(), event_type("order.paid"));
        for (number, published, marked, made, state) in [
            (8, 150, false, 1, ReplayState::Running),
            (9, 9_000, false, 1, ReplayState::Running),
            (10, 150, false, 0, ReplayState::Done { at: at(1_000) }),
            (10, 150, true, 0, ReplayState::Done { at: at(1_000) }),
        ] {
            let request = ReplayRequest::new(webhook.id(), ReplayKind::All).from(at(100));
            let mut job = request.into_job(id(), &webhook, at(500)).unwrap();
            job.starts(9);
            let mut pass = job.begin(Some(ReplayRoom::FREE), at(1_000)).unwrap();
            assert!(job.covers("default", Mode::Live, at(published)), "no clock ends it");
            let event =
                ReplayEvent { number, published: at(published), covered: Some(&order), marked };
            let due = pass.event(&job, &webhook, event, || Ok::<_, Error>(Vec::new())).unwrap();
            assert_eq!(due, (made == 1).then(|| at(1_000)), "{number} {published}");
            job.stepped(pass, false);
            assert_eq!((job.state, job.made), (state, made), "{number} {published}");
            let cursor = if made == 1 { number.into() } else { 0 };
            assert_eq!((job.looked, job.cursor()), (made, cursor), "{number} {published}");
        }
    }

    /// Cancels a job that runs, is done, was cancelled and is gone; withdraws what it made (table).
    #[test]
    fn a_cancelled_job_withdraws_what_is_not_sent() {
        let cancelled = ReplayState::Cancelled { at: at(900) };
        for (state, expected, due) in [
            (ReplayState::Running, cancelled, Some(at(900))),
            (ReplayState::Done { at: at(5) }, cancelled, Some(at(900))),
            (ReplayState::Gone { at: at(5) }, ReplayState::Gone { at: at(5) }, None),
            (
                ReplayState::Cancelled { at: at(5) },
                ReplayState::Cancelled { at: at(5) },
                Some(at(900)),
            ),
        ] {
            let mut job = ReplayJob { state, due: None, ..job(ReplayKind::All, 1) };
            job.cancel(at(900));
            assert_eq!((job.state, job.due), (expected, due));
        }
        let mut job = job(ReplayKind::All, 1);
        job.cancel(at(900));
        for (more, leased, due) in [
            (true, true, Some(at(1_000))),
            (true, false, Some(at(1_000))),
            (false, true, Some(at(1_250))),
            (false, false, None),
        ] {
            job.withdrew(2, more, leased, at(1_000));
            assert_eq!(job.due, due);
        }
        assert_eq!(job.withdrawn, 8);
    }

    /// Writes jobs of each scope and state as a text, and reads them back; reads what is none.
    #[test]
    fn a_job_is_read_back_from_its_text() {
        let mut jobs = vec![job(ReplayKind::Failed, 3)];
        for webhook in [None, Some(webhook().id())] {
            let scope = ReplayScope::Event { event: EventId::new(at(0), &[9; 10]), webhook };
            jobs.push(ReplayJob { scope, ..jobs[0].clone() });
        }
        for state in [
            ReplayState::Done { at: at(1) },
            ReplayState::Cancelled { at: at(2) },
            ReplayState::Gone { at: at(3) },
        ] {
            let reached = Some(at(7));
            let cursor = Uuid::from_u128(u128::MAX - 5);
            jobs.push(ReplayJob { state, reached, cursor, due: None, ..jobs[0].clone() });
        }
        for job in jobs {
            let text = job.to_stored().unwrap();
            assert_eq!(ReplayJob::from_stored(&text).unwrap(), job, "{text}");
        }
        let error = ReplayJob::from_stored("{}").unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Storage);
    }
}
