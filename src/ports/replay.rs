//! The port for replays: what a storage does so that past events can be delivered once more.
//!
//! # Contract
//!
//! The rules of [`storage`](crate::storage) hold: whole calls, no decision, no clock, and rule 5 for
//! deliveries that are made. Jobs are kept whole ([`ReplayJob::to_stored`] is a text to keep), and what
//! changes in one is said by its own methods.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::ground::error::Result;
use crate::ground::id::ReplayId;
use crate::ground::page::{Page, PageRequest};
use crate::ground::replay::ReplayJob;
#[cfg(doc)]
use crate::ground::replay::{ReplayPass, ReplayRoom};
use crate::ground::replay_request::ReplayQuery;
use crate::ground::time::Timestamp;

/// Where replays are kept and done.
#[async_trait]
pub trait Replay: Debug + Send + Sync {
    /// Keeps a job, unless there is one with its id; answers with the one that is kept. Before it is kept,
    /// it is told the number of the last event that was published ([`ReplayJob::starts`]): one of which
    /// nobody said until when ends there.
    async fn start(&self, job: &ReplayJob) -> Result<ReplayJob>;

    /// Lists jobs, newest first: by falling id.
    async fn jobs(&self, query: &ReplayQuery, page: &PageRequest) -> Result<Page<ReplayJob>>;

    /// Cancels a job ([`ReplayJob::cancel`]); `None` if there is none.
    async fn cancel(&self, id: ReplayId, now: Timestamp) -> Result<Option<ReplayJob>>;

    /// One bounded step of the job whose [`due`](ReplayJob::due) is the least and not after `now`, in one
    /// transaction. A job that somebody else is at is passed over.
    ///
    /// * A job that was cancelled: at most [`REPLAY_STEP_EVENTS`] of its waiting deliveries (those with
    ///   [its cause](ReplayId::cause)) are cancelled, and the job is told ([`ReplayJob::withdrew`]).
    /// * A job for one webhook [begins](ReplayJob::begin) with the [`ReplayRoom`] of that webhook, or ends
    ///   without it; one for all webhooks begins with [`ReplayRoom::FREE`].
    /// * Of a range: at most [`REPLAY_STEP_EVENTS`] events after the [cursor](ReplayJob::cursor), by rising
    ///   number, are [shown](ReplayPass::event) to the pass, until it [is over](ReplayPass::is_over). For
    ///   each that it answers with a time a delivery is made with the job's cause, published now, due then.
    ///   A store may begin further on where it knows that what lies before was published too early.
    /// * Of an event: the same with the webhooks of its account and mode that are enabled, by rising id,
    ///   or with the one webhook ([`ReplayPass::webhook`]). An event that is no longer there ends the job.
    ///
    /// Then the job is [told](ReplayJob::stepped). A job whose step failed is put off by
    /// [`REPLAY_REST_LONG`], so that it does not stand before the others.
    ///
    /// [`REPLAY_REST_LONG`]: crate::policy::REPLAY_REST_LONG
    /// [`REPLAY_STEP_EVENTS`]: crate::policy::REPLAY_STEP_EVENTS
    async fn step(&self, now: Timestamp) -> Result<ReplayStepped>;
}

/// The answer to one step.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(clippy::exhaustive_structs)]
pub struct ReplayStepped {
    /// The job, as it is now; `None` if none was due.
    pub job: Option<ReplayJob>,
    /// Deliveries that this step made.
    pub made: usize,
    /// The least [`due`](ReplayJob::due) of the jobs that have something left to do.
    pub next_due: Option<Timestamp>,
}
