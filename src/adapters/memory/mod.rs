//! Storage in memory: the reference of the storage contract, for tests, simulations, and hosts that
//! keep nothing beyond the process.
//!
//! All state lies behind one mutex, and each call holds it from beginning to end: that is its
//! transaction. Nothing is decided by the order of a hash map, so that the same calls always give
//! the same answers.
//!
//! [`state`] has the tables and keeps their indexes; the other files hold one group of calls each.

mod counts;
mod events;
mod listing;
mod marks;
mod queue;
mod replay;
mod retention;
mod settle;
mod spans;
mod state;
mod sweep;
mod webhooks;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use self::state::State;
use crate::ground::account::{Account, Mode};
use crate::ground::delivery::DeliveryView;
use crate::ground::error::Result;
use crate::ground::event::Event;
use crate::ground::id::{ReplayId, WebhookId};
use crate::ground::page::{Page, PageRequest};
use crate::ground::query::{DeliveryQuery, EventQuery, WebhookQuery};
use crate::ground::replay::ReplayJob;
use crate::ground::replay_request::ReplayQuery;
use crate::ground::statistics::{Hour, StatisticsQuery};
use crate::ground::time::{Timestamp, to_millis};
use crate::ground::webhook::Webhook;
use crate::ports::replay::{Replay, ReplayStepped};
use crate::ports::statistics::{Counted, Statistics};
use crate::ports::storage::{
    Alive, Appended, Claimed, DeliveryQueue, Enqueued, EventStore, Expunge, Expunged, Heartbeat,
    NewEvent, Owed, Routed, Settled, Settlement, Sweep, Swept, TableSize, Turn, WebhookGroup,
    WebhookStore,
};

/// Keeps everything in memory; it is gone with the last clone.
///
/// A clone is another handle to the same storage, so several dispatchers of one process can work
/// on it. Calls never wait for anything but each other, and a call whose future was polled has
/// happened.
#[derive(Clone, Default)]
pub struct MemoryStorage(Arc<Mutex<State>>);

impl MemoryStorage {
    /// An empty storage.
    pub fn new() -> Self {
        Self::default()
    }

    /// A panic elsewhere never happens between two writes that belong together, so a poisoned lock
    /// is as good as any.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("MemoryStorage")
            .field("webhooks", &state.hooks.len())
            .field("events", &state.events.len())
            .field("deliveries", &state.deliveries.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl WebhookStore for MemoryStorage {
    async fn put(&self, webhook: &Webhook, now: Timestamp) -> Result<Webhook> {
        self.state().put(webhook, to_millis(now))
    }

    async fn webhooks(&self, query: &WebhookQuery, page: &PageRequest) -> Result<Page<Webhook>> {
        Ok(self.state().webhooks(query, page))
    }

    async fn count_webhooks(&self, group: &WebhookGroup, most: usize) -> Result<usize> {
        let WebhookGroup { account, mode, enabled } = group.clone();
        let query = WebhookQuery { account, mode, enabled, ..WebhookQuery::default() };
        let state = self.state();
        let webhooks = state.hooks.values().filter_map(|hook| hook.webhook.as_ref());
        Ok(webhooks.filter(|webhook| query.matches(webhook)).take(most).count())
    }

    async fn delete(&self, id: WebhookId, _now: Timestamp) -> Result<bool> {
        Ok(self.state().delete(id))
    }
}

#[async_trait]
impl EventStore for MemoryStorage {
    async fn append(&self, events: &[NewEvent], now: Timestamp) -> Result<Vec<Appended>> {
        self.state().append(events, to_millis(now))
    }

    async fn events(&self, query: &EventQuery, page: &PageRequest) -> Result<Page<Event>> {
        Ok(self.state().events(query, page))
    }

    async fn enqueue(&self, owed: &[Owed], now: Timestamp) -> Result<Vec<Enqueued>> {
        Ok(self.state().enqueue(owed, to_millis(now)))
    }

    async fn expunge(&self, expunge: &Expunge) -> Result<Expunged> {
        Ok(self.state().expunge(expunge))
    }
}

#[async_trait]
impl DeliveryQueue for MemoryStorage {
    async fn route(&self, turn: &Turn) -> Result<Routed> {
        self.state().route(turn, to_millis(turn.now))
    }

    async fn claim(&self, turn: &Turn) -> Result<Claimed> {
        self.state().claim(turn, to_millis(turn.now))
    }

    async fn settle(&self, settlements: &[Settlement], now: Timestamp) -> Result<Vec<Settled>> {
        Ok(self.state().settle(settlements, to_millis(now)))
    }

    async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<Alive> {
        Ok(self.state().heartbeat(heartbeat, to_millis(heartbeat.now)))
    }

    async fn deliveries(
        &self,
        query: &DeliveryQuery,
        page: &PageRequest,
    ) -> Result<Page<DeliveryView>> {
        Ok(self.state().deliveries(query, page))
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        Ok(self.state().sweep(sweep, to_millis(sweep.now)))
    }

    async fn backlog(&self, account: Option<&Account>, most: usize) -> Result<usize> {
        Ok(self.state().backlog(account, most))
    }

    async fn sizes(&self) -> Result<Vec<TableSize>> {
        Ok(self.state().sizes())
    }

    async fn oldest_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        Ok(self.state().oldest_due(now))
    }

    async fn failing(
        &self,
        account: Option<&Account>,
        mode: Option<Mode>,
        limit: usize,
    ) -> Result<Vec<(WebhookId, Timestamp)>> {
        Ok(self.state().failing(account, mode, limit))
    }

    fn statistics(&self) -> Option<&dyn Statistics> {
        Some(self)
    }

    fn exclusive(&self) -> bool {
        true
    }

    fn replay(&self) -> Option<&dyn Replay> {
        Some(self)
    }
}

#[async_trait]
impl Replay for MemoryStorage {
    async fn start(&self, job: &ReplayJob) -> Result<ReplayJob> {
        Ok(self.state().start_replay(job))
    }

    async fn jobs(&self, query: &ReplayQuery, page: &PageRequest) -> Result<Page<ReplayJob>> {
        Ok(self.state().replays(query, page))
    }

    async fn cancel(&self, id: ReplayId, now: Timestamp) -> Result<Option<ReplayJob>> {
        Ok(self.state().cancel_replay(id, to_millis(now)))
    }

    async fn step(&self, now: Timestamp) -> Result<ReplayStepped> {
        Ok(self.state().step_replay(to_millis(now)))
    }
}

#[async_trait]
impl Statistics for MemoryStorage {
    async fn counts(&self, query: &StatisticsQuery) -> Result<Vec<Counted>> {
        Ok(self.state().counts.find(query))
    }

    async fn forget(&self, hour: Hour, limit: usize) -> Result<usize> {
        Ok(self.state().counts.forget(hour, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::id::DispatcherId;

    /// Makes a dispatcher known through one handle and asks a clone of it; looks at the text.
    #[tokio::test]
    async fn a_clone_is_the_same_storage() {
        let storage = MemoryStorage::new();
        let now = Timestamp::UNIX_EPOCH;
        let beat = Heartbeat {
            dispatcher: DispatcherId::new(now, &[1; 10]),
            now,
            until: Timestamp::MAX_UTC,
            abandoned: Vec::new(),
        };
        assert_eq!(storage.heartbeat(&beat).await.unwrap(), Alive::New);
        let clone = storage.clone();
        assert_eq!(clone.heartbeat(&beat).await.unwrap(), Alive::Known);
        let text = "MemoryStorage { webhooks: 0, events: 0, deliveries: 0, .. }";
        assert_eq!(format!("{clone:?}"), text);
    }
}
