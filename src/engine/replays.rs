//! Replays: past events delivered once more, as stored jobs that dispatchers do in small steps.

use std::sync::atomic::Ordering;

use super::tidings::Tidings;
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::id::{Cause, EventId, ReplayId, WebhookId};
use crate::ground::page::{Page, PageRequest};
use crate::ground::policy::REPLAYS_RUNNING_MAX;
use crate::ground::replay::ReplayJob;
use crate::ground::replay_request::{ReplayQuery, ReplayRequest};
use crate::ports::replay::Replay;

impl Tidings {
    /// Starts a replay of past events to one webhook: all that it asks for, those that failed, or those
    /// that it missed. The answer is the job; a running [`Dispatcher`](crate::Dispatcher), in whichever
    /// process, does it.
    ///
    /// Each event is delivered at most once for one replay, with its own id and bytes, signed with the
    /// present secrets. What comes of it neither disables the webhook nor counts as its recovery.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when the webhook is disabled: nothing would be sent (seed row W25),
    /// when no time lies between the bounds, or for the nil id; [`NotFound`](ErrorKind::NotFound);
    /// [`Conflict`](ErrorKind::Conflict) when an id of your own is that of another replay;
    /// [`Limit`](ErrorKind::Limit) while [100](crate::policy::REPLAYS_RUNNING_MAX) replays of the account and
    /// mode run;
    /// [`Refused`](ErrorKind::Refused) over a storage that has no [`Replay`].
    ///
    /// # Cancellation
    /// If the future is dropped the replay may or may not be started. With an
    /// [id of your own](ReplayRequest::id), asking again does not make another one.
    pub async fn replay(&self, request: ReplayRequest) -> Result<ReplayJob> {
        let store = self.replays_kept()?;
        let webhook = self.webhook(request.webhook()).await?;
        let now = self.core.shared_now().await?;
        let id = match request.id_given() {
            // The id that means that routing made a delivery.
            Some(id) if id.cause() == Cause::ROUTED => {
                return Err(Error::invalid("id", "is the nil UUID: use another one"));
            }
            Some(id) => id,
            None => ReplayId::new(now, &self.core.id_bytes()?),
        };
        let asked = request.into_job(id, &webhook, now)?;
        let job = self.start_replay(store, &asked).await?;
        if !job.is_like(&asked) {
            let message = format!("the replay {id} is another one: give this one an id of its own");
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        self.ring_replays();
        Ok(job)
    }

    /// Starts a replay of one event: to one webhook, whatever its filters, or to all that are enabled and
    /// ask for its type now. Otherwise as [`replay`](Self::replay).
    ///
    /// # Errors
    /// As [`replay`](Self::replay); [`NotFound`](ErrorKind::NotFound) also when the event is no longer
    /// kept, and when the webhook is of another account or mode.
    pub async fn replay_event(
        &self,
        event: EventId,
        webhook: Option<WebhookId>,
    ) -> Result<ReplayJob> {
        let store = self.replays_kept()?;
        let event = self.stored_event(event).await?;
        event.kept_whole()?;
        let webhook = match webhook {
            Some(id) => Some(self.webhook(id).await?),
            None => None,
        };
        let now = self.core.shared_now().await?;
        let id = ReplayId::new(now, &self.core.id_bytes()?);
        let job = ReplayJob::of_event(id, &event, webhook.as_ref(), now)?;
        let job = self.start_replay(store, &job).await?;
        self.ring_replays();
        Ok(job)
    }

    /// Lists replays, the last started first. They are kept as long as events
    /// ([`Policy::retain`](crate::Policy::retain)) after their end.
    ///
    /// # Errors
    /// When the storage fails; [`Refused`](ErrorKind::Refused) over one that has no [`Replay`].
    pub async fn replays(
        &self,
        query: &ReplayQuery,
        page: &PageRequest,
    ) -> Result<Page<ReplayJob>> {
        self.replays_kept()?.jobs(query, page).await
    }

    /// The replay with this id.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound); otherwise as [`replays`](Self::replays).
    pub async fn replay_job(&self, id: ReplayId) -> Result<ReplayJob> {
        let query = ReplayQuery { id: Some(id), ..ReplayQuery::default() };
        let page = self.replays(&query, &PageRequest::default()).await?;
        page.items.into_iter().next().ok_or_else(|| Error::not_found("replay", id))
    }

    /// Cancels a replay: it makes no more deliveries, and those that were not sent yet are cancelled in
    /// the steps that follow, also where all were made. What is being sent comes to its end. Cancelling again
    /// looks once more for what is left.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound); otherwise as [`replays`](Self::replays).
    pub async fn cancel_replay(&self, id: ReplayId) -> Result<ReplayJob> {
        let store = self.replays_kept()?;
        let cancelled = store.cancel(id, self.core.shared_now().await?).await?;
        self.ring_replays();
        cancelled.ok_or_else(|| Error::not_found("replay", id))
    }

    /// Has the store start a job, unless as many run as may at once. Those that this handle starts are
    /// counted one after the other; each other process may be one ahead of the count.
    async fn start_replay(&self, store: &dyn Replay, job: &ReplayJob) -> Result<ReplayJob> {
        let _turn = self.core.replay_start.lock().await;
        let (account, mode) = (Some(job.account.clone()), Some(job.mode));
        let running = ReplayQuery { account, mode, running: Some(true), ..ReplayQuery::default() };
        let page = store.jobs(&running, &PageRequest::first(REPLAYS_RUNNING_MAX)?).await?;
        if page.items.len() >= REPLAYS_RUNNING_MAX {
            // One that is there already is not started anew.
            let same = ReplayQuery { id: Some(job.id), ..ReplayQuery::default() };
            if store.jobs(&same, &PageRequest::default()).await?.items.is_empty() {
                let message = format!(
                    "{REPLAYS_RUNNING_MAX} replays of the account {} run already in this mode: wait for one to end, \
                     or cancel one",
                    job.account
                );
                return Err(Error::new(ErrorKind::Limit, message));
            }
        }
        store.start(job).await
    }

    fn replays_kept(&self) -> Result<&dyn Replay> {
        self.core.storage.replay().ok_or_else(|| {
            let message = "this storage replays no past events: use redeliver for single deliveries, \
                           or a storage that has replays";
            Error::new(ErrorKind::Refused, message)
        })
    }

    /// Tells this handle's dispatchers that there is a step to do. Those of other processes look every
    /// few seconds.
    fn ring_replays(&self) {
        self.core.replays.fetch_add(1, Ordering::Relaxed);
        self.core.bell.notify_waiters();
    }
}
