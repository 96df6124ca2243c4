//! The conformance suite can fail: storages that are wrong in one way each are caught by the case
//! that claims the contrary.
#![cfg(feature = "conformance")]

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use tidings::statistics::Hour;
use tidings::storage::conformance::{Case, case, cases};
use tidings::storage::{
    Alive, Appended, Claimed, Counted, DeliveryQueue, Enqueued, EventStore, Expunge, Expunged,
    Heartbeat, Held, Leased, MemoryStorage, NewEvent, Owed, Replay, ReplayStepped, Routed, Settled,
    Settlement, Statistics, Sweep, Swept, Turn, WebhookStore,
};
use tidings::{
    Account, Attempt, Cause, Cursor, DeliveryId, DeliveryQuery, DeliveryView, DispatcherId, Edit,
    Error, ErrorKind, Event, EventQuery, Fence, LaneChange, Next, Ordering, Page, PageRequest,
    Place, ReplayId, ReplayJob, ReplayQuery, Result, Seen, State, StateKind, StatisticsQuery,
    Timestamp, Transition, Webhook, WebhookId, WebhookQuery, policy,
};

/// What is wrong with a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing.
    None,
    /// A settlement applies to whoever has the lease.
    IgnoresTheFence,
    /// The attempt of a lost settlement is not recorded.
    ForgetsLostAttempts,
    /// A repeated settlement records its attempt once more.
    RecordsRepetitions,
    /// One lost settlement fails its whole call.
    FailsTheBatch,
    /// Answers come in another order than the settlements.
    AnswersInReverse,
    /// The dead keep what they had leased.
    NeverReaps,
    /// Whoever asks is alive.
    ServesTheDead,
    /// Abandoned calls keep what they had leased.
    ForgetsAbandonedCalls,
    /// One lease more than there are permits.
    LeasesBeyondPermits,
    /// What a webhook has in flight is not counted.
    IgnoresRoom,
    /// A delivery that is made to wait is not seen by claims for a long time.
    StrandsDeliveries,
    /// `next_due` is the greatest that was ever answered.
    NeverLowersNextDue,
    /// A lane is open again as soon as its pause is over.
    SendsNoProbe,
    /// Of two pauses the first one counts.
    ForgetsPauses,
    /// Other content under an id is taken for a repetition.
    TakesConflictsForDuplicates,
    /// Events are kept one by one.
    KeepsHalfOfACall,
    /// Payloads are kept as values, not as bytes.
    RewritesPayloads,
    /// What an event is for older versions is not kept.
    DropsRenderings,
    /// The trace of an event is not kept.
    DropsTraces,
    /// Everything is counted twice.
    CountsTwice,
    /// Old counts are forgotten in one step.
    ForgetsWithoutBound,
    /// Who gets an event is decided when it is routed.
    RoutesByPresentFilters,
    /// Marks that are left are not told of.
    SaysThatNothingIsLeft,
    /// A wide event is routed at once, whatever was asked.
    IgnoresTheRouteBounds,
    /// A stale edit is answered as if it had been written.
    SwallowsStaleEdits,
    /// Pages are counted from the top.
    PagesByOffset,
    /// Old events are pruned with what is still owed.
    PrunesTheUnfinished,
    /// A step of a sweep does all there is.
    SweepsWithoutBound,
    /// Whoever asks for lanes has given back those of the others before.
    TakesWhatIsHeld,
    /// A dead holder's lane is as free as one that was given back.
    WaitsForNobody,
    /// What a dispatcher does not name it goes on to hold.
    NeverGivesBack,
    /// Edits of limits are not told.
    TellsNoEdits,
    /// Order is kept for what waits, not for what is leased.
    OrderIgnoresLeases,
    /// What settlements report is not kept.
    DropsReports,
    /// Webhooks that need a holder are kept, and treated like all others.
    ForgetsLimits,
    /// A replay that is started again under its id replaces the first one.
    StartsReplaysAnew,
    /// A cancelled replay is answered as such, and goes on.
    CancelsByWord,
    /// What a cancelled replay has made is sent all the same.
    WithdrawsNothing,
    /// Steps of replays are done when they are asked for, due or not.
    StepsAtAnyTime,
    /// Nothing says when the next step of a replay is due.
    ForgetsTheNextStep,
    /// What a replay makes is made again with every step.
    ReplaysAgain,
}

/// A memory storage with one fault.
#[derive(Debug)]
struct Broken {
    inner: MemoryStorage,
    fault: Fault,
    memo: Mutex<Memo>,
}

#[derive(Debug, Default)]
struct Memo {
    attempts: HashMap<DeliveryId, Vec<Attempt>>,
    held_back: Vec<(Vec<NewEvent>, Timestamp)>,
    next_due: Option<Timestamp>,
    paused: bool,
    /// Who has claimed so far.
    claimers: HashSet<DispatcherId>,
    /// What each dispatcher has named or was told that it holds.
    held: HashMap<WebhookId, Held>,
}

impl Broken {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    async fn state(&self, id: DeliveryId) -> Result<Option<tidings::Delivery>> {
        let query = DeliveryQuery { id: Some(id), ..DeliveryQuery::default() };
        let page = self.inner.deliveries(&query, &PageRequest::default()).await?;
        Ok(page.items.into_iter().next().map(|view| view.delivery))
    }

    async fn turn(&self, turn: &Turn) -> Result<Turn> {
        let mut turn = turn.clone();
        match self.fault {
            Fault::LeasesBeyondPermits => turn.total += 1,
            Fault::IgnoresRoom => turn.busy.clear(),
            Fault::IgnoresTheRouteBounds => (turn.marks, turn.deliveries) = (1_000, 1_000),
            Fault::ServesTheDead => {
                let (dispatcher, now) = (turn.dispatcher, turn.now);
                let until = now + Duration::from_secs(1);
                let beat = Heartbeat { dispatcher, now, until, abandoned: Vec::new() };
                self.inner.heartbeat(&beat).await?;
            }
            _ => {}
        }
        Ok(turn)
    }

    fn rewrite(&self, event: &Event) -> Event {
        let mut stored = event.to_stored();
        if self.has(Fault::RewritesPayloads) {
            let value: serde_json::Value = serde_json::from_str(&stored.payload).expect("JSON");
            stored.payload = value.to_string().into();
        }
        if self.has(Fault::DropsRenderings) {
            stored.renderings = None;
        }
        if self.has(Fault::DropsTraces) {
            stored.trace = None;
        }
        Event::from_stored(stored)
    }
}

#[async_trait]
impl WebhookStore for Broken {
    async fn put(&self, webhook: &Webhook, now: Timestamp) -> Result<Webhook> {
        let mut webhook = webhook.clone();
        if self.has(Fault::ForgetsLimits) {
            let edit = Edit::new().ordering(Ordering::Unordered).rate_limit(None).concurrency(None);
            webhook = webhook.edit(edit)?;
        }
        let webhook = &webhook;
        match self.inner.put(webhook, now).await {
            Err(error)
                if self.has(Fault::SwallowsStaleEdits) && error.kind() == ErrorKind::Stale =>
            {
                Ok(webhook.stored(now))
            }
            answer => answer,
        }
    }

    async fn webhooks(&self, query: &WebhookQuery, page: &PageRequest) -> Result<Page<Webhook>> {
        if !self.has(Fault::PagesByOffset) {
            return self.inner.webhooks(query, page).await;
        }
        let all = self.inner.webhooks(query, &PageRequest::first(100)?).await?.items;
        let limit = page.limit();
        let key = |cursor: Cursor| usize::try_from(cursor.key()).unwrap_or(usize::MAX);
        let first = match page.place() {
            Place::First => 0,
            Place::After(cursor) => key(cursor) + 1,
            Place::Before(cursor) => key(cursor).saturating_sub(limit),
        };
        let items: Vec<_> = all.iter().skip(first).take(limit).cloned().collect();
        let last = first + items.len();
        let cursor = |index: usize| Cursor::new(index as u128);
        let next = (last < all.len()).then(|| cursor(last - 1));
        Ok(Page { items, next, previous: (first > 0).then(|| cursor(first)) })
    }

    async fn delete(&self, id: WebhookId, now: Timestamp) -> Result<bool> {
        self.inner.delete(id, now).await
    }
}

#[async_trait]
impl EventStore for Broken {
    async fn append(&self, events: &[NewEvent], now: Timestamp) -> Result<Vec<Appended>> {
        match self.fault {
            Fault::RewritesPayloads | Fault::DropsRenderings | Fault::DropsTraces => {
                let rewrite =
                    |new: &NewEvent| NewEvent { event: self.rewrite(&new.event), only: new.only };
                let events: Vec<_> = events.iter().map(rewrite).collect();
                self.inner.append(&events, now).await
            }
            Fault::RoutesByPresentFilters => {
                self.memo.lock().expect("a lock").held_back.push((events.to_vec(), now));
                Ok(vec![Appended::Stored; events.len()])
            }
            Fault::KeepsHalfOfACall => {
                let mut answers = Vec::new();
                for event in events {
                    answers.extend(self.inner.append(std::slice::from_ref(event), now).await?);
                }
                Ok(answers)
            }
            Fault::TakesConflictsForDuplicates => {
                let mut answers = self.inner.append(events, now).await?;
                for answer in &mut answers {
                    if *answer == Appended::Conflict {
                        *answer = Appended::Duplicate;
                    }
                }
                Ok(answers)
            }
            _ => self.inner.append(events, now).await,
        }
    }

    async fn events(&self, query: &EventQuery, page: &PageRequest) -> Result<Page<Event>> {
        self.inner.events(query, page).await
    }

    async fn enqueue(&self, owed: &[Owed], now: Timestamp) -> Result<Vec<Enqueued>> {
        self.inner.enqueue(owed, now).await
    }

    async fn expunge(&self, expunge: &Expunge) -> Result<Expunged> {
        self.inner.expunge(expunge).await
    }
}

#[async_trait]
impl DeliveryQueue for Broken {
    async fn route(&self, turn: &Turn) -> Result<Routed> {
        let held_back = std::mem::take(&mut self.memo.lock().expect("a lock").held_back);
        for (events, now) in held_back {
            self.inner.append(&events, now).await?;
        }
        let mut routed = self.inner.route(&self.turn(turn).await?).await?;
        if self.has(Fault::SaysThatNothingIsLeft) {
            routed.more = false;
        }
        Ok(routed)
    }

    async fn claim(&self, turn: &Turn) -> Result<Claimed> {
        let mut turn = self.turn(turn).await?;
        let (dispatcher, now) = (turn.dispatcher, turn.now);
        match self.fault {
            Fault::TakesWhatIsHeld if turn.holds > 0 => {
                let mut others = self.memo.lock().expect("a lock").claimers.clone();
                others.remove(&dispatcher);
                for other in others {
                    let until = now + Duration::from_secs(1_000);
                    for until in [now, until] {
                        let beat = Heartbeat { dispatcher: other, now, until, abandoned: vec![] };
                        self.inner.heartbeat(&beat).await?;
                    }
                }
            }
            Fault::WaitsForNobody if turn.holds > 0 => turn.now += policy::TAKEOVER_WAIT,
            Fault::NeverGivesBack => {
                let held = self.memo.lock().expect("a lock").held.clone();
                turn.held.extend(held.into_iter().map(|(id, held)| (id, Held { room: 0, ..held })));
            }
            Fault::TellsNoEdits => {
                for (id, held) in &mut turn.held {
                    let query = WebhookQuery { id: Some(*id), ..WebhookQuery::default() };
                    let page = self.inner.webhooks(&query, &PageRequest::default()).await?;
                    held.version = page.items.first().map_or(0, Webhook::version);
                }
            }
            Fault::OrderIgnoresLeases => {
                let query =
                    DeliveryQuery { states: vec![StateKind::Leased], ..DeliveryQuery::default() };
                let page = self.inner.deliveries(&query, &PageRequest::first(100)?).await?;
                for view in page.items {
                    let delivery = &view.delivery;
                    let fence =
                        Fence { delivery: delivery.id, attempt: delivery.attempt, dispatcher };
                    let mut transition = Transition::given_back(delivery, Seen::default(), now);
                    transition.next = Next::Delivered;
                    let settlement =
                        Settlement { fence, attempt: None, transition, reports: Vec::new() };
                    self.inner.settle(&[settlement], now).await?;
                }
            }
            _ => {}
        }
        let mut claimed = self.inner.claim(&turn).await?;
        {
            let mut memo = self.memo.lock().expect("a lock");
            memo.claimers.insert(dispatcher);
            let held = claimed.held.iter();
            let held = held.map(|one| (one.id(), Held { version: one.version(), room: 0 }));
            memo.held.extend(held);
        }
        if self.has(Fault::SendsNoProbe) {
            claimed.leased.iter_mut().for_each(|leased: &mut Leased| leased.probe = false);
        }
        if self.has(Fault::NeverLowersNextDue) {
            let mut memo = self.memo.lock().expect("a lock");
            claimed.next_due = claimed.next_due.max(memo.next_due);
            memo.next_due = claimed.next_due;
        }
        Ok(claimed)
    }

    async fn settle(&self, settlements: &[Settlement], now: Timestamp) -> Result<Vec<Settled>> {
        let mut settlements = settlements.to_vec();
        for settlement in &mut settlements {
            let transition = &mut settlement.transition;
            let found = self.state(settlement.fence.delivery).await?;
            let holds = |d: &tidings::Delivery| d.standing(&settlement.fence);
            let lost = found.as_ref().map(holds) == Some(tidings::Standing::Lost);
            match (self.fault, found.map(|delivery| (delivery.state, delivery.attempt))) {
                (Fault::IgnoresTheFence, Some((State::Leased { dispatcher, .. }, attempt))) => {
                    settlement.fence.dispatcher = dispatcher;
                    settlement.fence.attempt = attempt;
                }
                (Fault::DropsReports, _) => settlement.reports.clear(),
                (Fault::ForgetsLostAttempts, _) if lost => settlement.attempt = None,
                (Fault::FailsTheBatch, _) if lost => {
                    return Err(Error::new(ErrorKind::Storage, "a settlement is lost"));
                }
                (Fault::StrandsDeliveries, _) => {
                    if let Next::Waiting { due } = &mut transition.next {
                        *due += Duration::from_secs(100_000);
                    }
                }
                (Fault::ForgetsPauses, _) => {
                    if let LaneChange::Pause { .. } | LaneChange::Probed { .. } = transition.lane {
                        let mut memo = self.memo.lock().expect("a lock");
                        if std::mem::replace(&mut memo.paused, true) {
                            transition.lane = LaneChange::None;
                        }
                    }
                }
                _ => {}
            }
            if let Some(attempt) = &settlement.attempt {
                let mut memo = self.memo.lock().expect("a lock");
                let attempts = memo.attempts.entry(settlement.fence.delivery).or_default();
                attempts.push(attempt.clone());
            }
        }
        let mut answers = self.inner.settle(&settlements, now).await?;
        if self.has(Fault::AnswersInReverse) {
            answers.reverse();
        }
        Ok(answers)
    }

    async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<Alive> {
        let mut heartbeat = heartbeat.clone();
        match self.fault {
            Fault::NeverReaps if heartbeat.until > heartbeat.now => {
                heartbeat.until += Duration::from_secs(1_000_000);
            }
            Fault::ForgetsAbandonedCalls => heartbeat.abandoned.clear(),
            _ => {}
        }
        self.inner.heartbeat(&heartbeat).await
    }

    async fn deliveries(
        &self,
        query: &DeliveryQuery,
        page: &PageRequest,
    ) -> Result<Page<DeliveryView>> {
        let mut page = self.inner.deliveries(query, page).await?;
        if self.has(Fault::RecordsRepetitions) {
            let memo = self.memo.lock().expect("a lock");
            for view in &mut page.items {
                view.attempts = memo.attempts.get(&view.delivery.id).cloned().unwrap_or_default();
            }
        }
        Ok(page)
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        let mut sweep = *sweep;
        match self.fault {
            Fault::PrunesTheUnfinished => {
                sweep.expire_before = sweep.expire_before.max(sweep.prune_before);
            }
            Fault::SweepsWithoutBound => sweep.limit = 10_000,
            _ => {}
        }
        self.inner.sweep(&sweep).await
    }

    async fn backlog(&self, account: Option<&Account>, most: usize) -> Result<usize> {
        self.inner.backlog(account, most).await
    }

    fn statistics(&self) -> Option<&dyn Statistics> {
        Some(self)
    }

    fn exclusive(&self) -> bool {
        self.inner.exclusive()
    }

    fn replay(&self) -> Option<&dyn Replay> {
        Some(self)
    }
}

#[async_trait]
impl Replay for Broken {
    async fn start(&self, job: &ReplayJob) -> Result<ReplayJob> {
        let kept = self.inner.start(job).await?;
        Ok(if self.has(Fault::StartsReplaysAnew) { job.clone() } else { kept })
    }

    async fn jobs(&self, query: &ReplayQuery, page: &PageRequest) -> Result<Page<ReplayJob>> {
        self.inner.jobs(query, page).await
    }

    async fn cancel(&self, id: ReplayId, now: Timestamp) -> Result<Option<ReplayJob>> {
        if !self.has(Fault::CancelsByWord) {
            return self.inner.cancel(id, now).await;
        }
        let query = ReplayQuery { id: Some(id), ..ReplayQuery::default() };
        let mut found = self.inner.jobs(&query, &PageRequest::default()).await?.items;
        found.iter_mut().for_each(|job| job.cancel(now));
        Ok(found.pop())
    }

    async fn step(&self, now: Timestamp) -> Result<ReplayStepped> {
        let late = Duration::from_secs(3_600);
        let now = if self.has(Fault::StepsAtAnyTime) { now + late } else { now };
        let mut stepped = self.inner.step(now).await?;
        let job = stepped.job.as_ref();
        match self.fault {
            Fault::ForgetsTheNextStep => stepped.next_due = None,
            Fault::WithdrawsNothing if job.is_some_and(|job| job.withdrawn > 0) => {
                let of = job.expect("a job").webhook().expect("a webhook");
                let query = DeliveryQuery { webhook: Some(of), ..DeliveryQuery::default() };
                let page = self.inner.deliveries(&query, &PageRequest::first(100)?).await?;
                self.again(&page.items, now).await?;
            }
            Fault::ReplaysAgain if stepped.made > 0 => {
                let page = PageRequest::first(100)?;
                let all = self.inner.deliveries(&DeliveryQuery::default(), &page).await?;
                self.again(&all.items, now).await?;
            }
            _ => {}
        }
        Ok(stepped)
    }
}

impl Broken {
    /// Delivers these once more, for a cause of their own.
    async fn again(&self, views: &[DeliveryView], now: Timestamp) -> Result<()> {
        let owed = |view: &DeliveryView| Owed {
            event: view.event.id(),
            webhook: view.delivery.webhook,
            cause: Cause::from_uuid(view.delivery.id.uuid()),
        };
        let owed: Vec<Owed> = views.iter().map(owed).collect();
        self.inner.enqueue(&owed, now).await.map(drop)
    }
}

#[async_trait]
impl Statistics for Broken {
    async fn counts(&self, query: &StatisticsQuery) -> Result<Vec<Counted>> {
        let mut counts = self.inner.counts(query).await?;
        if self.has(Fault::CountsTwice) {
            counts.iter_mut().for_each(|one| one.count *= 2);
        }
        Ok(counts)
    }

    async fn forget(&self, hour: Hour, limit: usize) -> Result<usize> {
        let limit = if self.has(Fault::ForgetsWithoutBound) { 10_000 } else { limit };
        self.inner.forget(hour, limit).await
    }
}

/// Runs a case and says what it complains of.
fn complaint(case: Case, fault: Fault) -> Option<String> {
    let store = Broken { inner: MemoryStorage::new(), fault, memo: Mutex::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let run = AssertUnwindSafe(case.run(Arc::new(store))).catch_unwind();
    let panic = runtime.block_on(run).err()?;
    Some(panic.downcast_ref::<String>().expect("a text").clone())
}

/// Which case claims the contrary of which fault.
const CAUGHT: [(Fault, &str); 41] = [
    (Fault::IgnoresTheFence, "a_late_settlement_is_lost"),
    (Fault::ForgetsLostAttempts, "a_settlement_after_a_reap_is_lost"),
    (Fault::RecordsRepetitions, "a_repeated_settlement_changes_nothing"),
    (Fault::FailsTheBatch, "what_is_lost_or_gone_does_not_touch_the_others"),
    (Fault::AnswersInReverse, "what_is_lost_or_gone_does_not_touch_the_others"),
    (Fault::NeverReaps, "a_dead_dispatchers_leases_go_back"),
    (Fault::ServesTheDead, "only_a_living_dispatcher_claims"),
    (Fault::ForgetsAbandonedCalls, "abandoned_leases_go_back_uncharged"),
    (Fault::LeasesBeyondPermits, "leases_never_exceed_the_permits"),
    (Fault::IgnoresRoom, "a_webhook_gets_no_more_leases_than_it_has_room_for"),
    (Fault::StrandsDeliveries, "no_delivery_is_stranded_by_a_settle_and_a_claim"),
    (Fault::NeverLowersNextDue, "whatever_makes_a_delivery_wait_lowers_next_due"),
    (Fault::SendsNoProbe, "after_a_pause_one_probe_is_out_at_a_time"),
    (Fault::ForgetsPauses, "of_two_pauses_the_later_counts"),
    (Fault::TakesConflictsForDuplicates, "of_concurrent_contents_one_is_stored"),
    (Fault::KeepsHalfOfACall, "a_conflict_keeps_nothing_of_its_call"),
    (Fault::RewritesPayloads, "payloads_are_kept_byte_for_byte"),
    (Fault::DropsRenderings, "renderings_are_kept_byte_for_byte"),
    (Fault::DropsTraces, "a_trace_is_kept_with_its_event"),
    (Fault::CountsTwice, "counts_are_those_of_the_record"),
    (Fault::ForgetsWithoutBound, "old_hours_are_forgotten_step_by_step"),
    (Fault::RoutesByPresentFilters, "a_disabled_webhook_gets_nothing_published_meanwhile"),
    (Fault::SaysThatNothingIsLeft, "a_wide_event_is_routed_over_several_turns"),
    (Fault::IgnoresTheRouteBounds, "no_more_marks_are_looked_at_than_asked"),
    (Fault::SwallowsStaleEdits, "a_stale_edit_changes_nothing"),
    (Fault::PagesByOffset, "pages_of_webhooks_hold_while_things_change"),
    (Fault::PrunesTheUnfinished, "an_unfinished_event_is_never_pruned"),
    (Fault::SweepsWithoutBound, "a_step_is_bounded_and_says_whether_there_is_more"),
    (Fault::TakesWhatIsHeld, "a_lane_has_one_holder"),
    (Fault::WaitsForNobody, "a_dead_holders_lane_is_taken_after_the_wait"),
    (Fault::NeverGivesBack, "a_lane_that_is_not_named_is_given_back"),
    (Fault::TellsNoEdits, "an_edit_is_learned_before_the_next_lease"),
    (Fault::OrderIgnoresLeases, "events_of_one_object_go_one_after_the_other"),
    (Fault::DropsReports, "a_report_is_kept_if_it_comes_true"),
    (Fault::ForgetsLimits, "nothing_is_born_leased_where_a_holder_is_needed"),
    (Fault::StartsReplaysAnew, "a_job_is_kept_whole_and_once"),
    (Fault::CancelsByWord, "a_cancelled_job_withdraws_what_waits"),
    (Fault::WithdrawsNothing, "a_cancelled_job_withdraws_what_waits"),
    (Fault::StepsAtAnyTime, "a_job_keeps_its_pace_in_bounded_steps"),
    (Fault::ForgetsTheNextStep, "a_job_keeps_its_pace_in_bounded_steps"),
    (Fault::ReplaysAgain, "a_job_delivers_an_event_once"),
];

/// Runs the case named for each fault over the storage that has it, and over one that has none.
#[test]
fn each_fault_is_caught_by_the_case_that_claims_the_contrary() {
    for (fault, name) in CAUGHT {
        let text = complaint(case(name), fault);
        let text = text.unwrap_or_else(|| panic!("{fault:?} passes {name}"));
        assert!(text.contains(name), "the complaint names its case: {text}");
        assert_eq!(complaint(case(name), Fault::None), None, "the fault is what {name} catches");
    }
}

/// Looks for two cases of one name, which could not be told apart in a report.
#[test]
fn each_case_has_a_name_of_its_own() {
    let names: HashSet<_> = cases().iter().map(Case::name).collect();
    assert_eq!(names.len(), cases().len());
    assert!(cases().len() > 150);
}
