//! Replays: jobs, and their steps.

use std::convert::Infallible;
use std::ops::Bound;

use super::listing;
use super::state::State;
use crate::ground::delivery::Delivery;
use crate::ground::id::{Cause, DeliveryId, EventId, ReplayId, WebhookId};
use crate::ground::page::{Page, PageRequest};
use crate::ground::policy::{REPLAY_DUE_MAX, REPLAY_STEP_EVENTS, REPLAY_WAITING_MAX};
use crate::ground::replay::{ReplayEvent, ReplayJob, ReplayRoom, ReplayScope, ReplayState};
use crate::ground::replay_request::ReplayQuery;
use crate::ground::time::Timestamp;
use crate::ports::replay::ReplayStepped;

impl State {
    pub(super) fn start_replay(&mut self, job: &ReplayJob) -> ReplayJob {
        let last = self.last;
        let start = || {
            let mut job = job.clone();
            job.starts(last);
            job
        };
        self.replays.entry(job.id).or_insert_with(start).clone()
    }

    pub(super) fn replays(&self, query: &ReplayQuery, request: &PageRequest) -> Page<ReplayJob> {
        let job = |job: &ReplayJob| query.matches(job).then(|| job.clone());
        match query.id {
            Some(id) => listing::one(id, self.replays.get(&id).and_then(job), request),
            None => listing::page(&self.replays, request, job, |_| 0),
        }
    }

    pub(super) fn cancel_replay(&mut self, id: ReplayId, now: Timestamp) -> Option<ReplayJob> {
        let job = self.replays.get_mut(&id)?;
        job.cancel(now);
        Some(job.clone())
    }

    /// Forgets at most `limit` jobs that ended before this time and have nothing left to do.
    pub(super) fn prune_replays(&mut self, before: Timestamp, limit: usize) {
        let over = |job: &ReplayJob| {
            job.due.is_none() && job.state.ended().is_some_and(|ended| ended < before)
        };
        let over = self.replays.iter().filter(|(_, job)| over(job)).map(|(id, _)| *id);
        let over: Vec<ReplayId> = over.take(limit).collect();
        for id in over {
            self.replays.remove(&id);
        }
    }

    pub(super) fn step_replay(&mut self, now: Timestamp) -> ReplayStepped {
        let due = self.replays.values().filter_map(|job| Some((job.due?, job.id)));
        let Some((_, id)) = due.min().filter(|(due, _)| *due <= now) else {
            return ReplayStepped { next_due: self.next_replay(), ..ReplayStepped::default() };
        };
        let Some(mut job) = self.replays.get(&id).cloned() else {
            return ReplayStepped::default();
        };
        let made = match (job.state, job.scope) {
            (ReplayState::Running, ReplayScope::Range { webhook, .. }) => {
                self.step_range(&mut job, webhook, now)
            }
            (ReplayState::Running, ReplayScope::Event { event, webhook }) => {
                self.step_event(&mut job, event, webhook, now)
            }
            _ => {
                self.withdraw(&mut job, now);
                0
            }
        };
        self.replays.insert(id, job.clone());
        ReplayStepped { job: Some(job), made, next_due: self.next_replay() }
    }

    fn next_replay(&self) -> Option<Timestamp> {
        self.replays.values().filter_map(|job| job.due).min()
    }

    /// What there is room for at a webhook that is there.
    fn room(&self, job: &ReplayJob, webhook: WebhookId, now: Timestamp) -> Option<ReplayRoom> {
        let hook = self.hooks.get(&webhook)?;
        let enabled = hook.webhook.as_ref()?.is_enabled();
        let due = hook.waiting.iter().take_while(|(due, _)| *due <= now).take(REPLAY_DUE_MAX);
        let waiting = self.asked_of(job.id.cause()).take(REPLAY_WAITING_MAX);
        let (due, waiting) = (due.count(), waiting.count());
        Some(ReplayRoom { enabled, paused_until: hook.lane.paused_until, due, waiting })
    }

    /// The deliveries of a cause that wait.
    fn asked_of(&self, cause: Cause) -> impl Iterator<Item = DeliveryId> + '_ {
        let asked = self.asked.range((cause, DeliveryId::from_uuid(uuid::Uuid::nil()))..);
        asked.take_while(move |(of, _)| *of == cause).map(|(_, id)| *id)
    }

    fn step_range(&mut self, job: &mut ReplayJob, to: WebhookId, now: Timestamp) -> usize {
        let room = self.room(job, to, now);
        let webhook = self.hooks.get(&to).and_then(|hook| hook.webhook.clone());
        let (Some(mut pass), Some(webhook)) = (job.begin(room, now), webhook) else {
            return 0;
        };
        let cursor = u64::try_from(job.cursor()).unwrap_or(u64::MAX);
        let (mut seen, mut wanted) = (0, Vec::new());
        let after = (Bound::Excluded(cursor), Bound::Unbounded);
        for (number, kept) in self.events.range(after).take(REPLAY_STEP_EVENTS) {
            seen += 1;
            let (event, number, published) = (&kept.event, *number, kept.published);
            let covers = job.covers(event.account().as_str(), event.mode(), published);
            let covered = covers.then(|| event.event_type());
            let met = ReplayEvent { number, published, covered, marked: kept.marked };
            let had = || {
                let rows = kept.deliveries.iter().filter_map(|id| self.deliveries.get(id));
                let had = rows.map(|row| &row.delivery).filter(|delivery| delivery.webhook == to);
                Ok::<_, Infallible>(had.map(|had| (had.cause, had.state.kind())).collect())
            };
            let Ok(due) = pass.event(job, &webhook, met, had);
            wanted.extend(due.map(|due| (number, event.id(), due)));
            if pass.is_over() {
                break;
            }
        }
        for (number, event, due) in &wanted {
            let delivery = Delivery::owed(*event, to, job.id.cause(), now, *due);
            self.add_once(delivery, *number);
        }
        job.stepped(pass, seen < REPLAY_STEP_EVENTS);
        wanted.len()
    }

    fn step_event(
        &mut self,
        job: &mut ReplayJob,
        event: EventId,
        to: Option<WebhookId>,
        now: Timestamp,
    ) -> usize {
        let room = match to {
            Some(webhook) => self.room(job, webhook, now),
            None => Some(ReplayRoom::FREE),
        };
        let Some(mut pass) = job.begin(room, now) else {
            return 0;
        };
        let number = self.numbers.get(&event).copied();
        let Some((number, kept)) = number.and_then(|n| Some((n, self.events.get(&n)?))) else {
            job.stepped(pass, true);
            return 0;
        };
        let event_type = kept.event.event_type().clone();
        let cursor = WebhookId::from_uuid(uuid::Uuid::from_u128(job.cursor()));
        let range = match to {
            Some(webhook) => (Bound::Included(webhook), Bound::Included(webhook)),
            None => (Bound::Excluded(cursor), Bound::Unbounded),
        };
        let of = self.hooks.range(range).filter_map(|(id, hook)| Some((*id, hook.enabled()?)));
        let of = of.filter(|(_, hook)| *hook.account() == job.account && hook.mode() == job.mode);
        let (mut seen, mut wanted) = (0, Vec::new());
        for (id, webhook) in of.take(REPLAY_STEP_EVENTS) {
            seen += 1;
            let due = pass.webhook(job, id, Some(webhook), &event_type);
            wanted.extend(due.map(|due| (id, due)));
            if pass.is_over() {
                break;
            }
        }
        for (webhook, due) in &wanted {
            let delivery = Delivery::owed(event, *webhook, job.id.cause(), now, *due);
            self.add_once(delivery, number);
        }
        job.stepped(pass, seen < REPLAY_STEP_EVENTS);
        wanted.len()
    }

    /// Cancels what waits of a job that was cancelled.
    fn withdraw(&mut self, job: &mut ReplayJob, now: Timestamp) {
        let cause = job.id.cause();
        let waiting: Vec<DeliveryId> = self.asked_of(cause).take(REPLAY_STEP_EVENTS).collect();
        for id in &waiting {
            self.end(*id, |delivery| delivery.cancel(now));
        }
        let more = self.asked_of(cause).next().is_some();
        let leases = self.dispatchers.values().flat_map(|dispatcher| &dispatcher.leases);
        let mut leases = leases.filter_map(|(_, id)| self.deliveries.get(id));
        let leased = leases.any(|row| row.delivery.cause == cause);
        job.withdrew(waiting.len(), more, leased, now);
    }

    fn add_once(&mut self, delivery: Delivery, number: u64) {
        if !self.deliveries.contains_key(&delivery.id) {
            self.add(delivery, number, None);
        }
    }
}
