//! Health: what a readiness probe asks, answered in bounded time whatever hangs.

use std::time::Duration;

use serde::{Serialize, Serializer};
use tokio::time::Instant;

use super::core::Core;
use super::dispatcher::bounded;
use super::tidings::Tidings;
use crate::ground::error::{Error, Result};
use crate::ground::id::{DispatcherId, EventId};
use crate::ground::page::PageRequest;
use crate::ground::policy::HEALTH_PATIENCE;
use crate::ground::query::EventQuery;
use crate::ground::time::{Timestamp, after, between, format_time};

/// How the handle and what it works with are doing.
///
/// As JSON it has no text of an error, which may tell of the host's inside.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct HealthReport {
    /// Whether this node can do its work: the storage answers, and of the dispatchers that were run from
    /// this handle one is alive, if any was run.
    pub ready: bool,
    /// How long the storage took to answer; `None` if it did not, in 3 s.
    #[serde(rename = "storageMilliseconds", serialize_with = "milliseconds")]
    pub storage: Option<Duration>,
    /// Why it did not.
    #[serde(skip)]
    pub error: Option<Error>,
    /// The dispatchers of this handle that are running now.
    pub dispatchers: Vec<DispatcherHealth>,
    /// Since when there has been something to do that nobody has done, on whatever node: an event that is
    /// not routed, a delivery that is due and not paused. `None` when there is none, or the storage does
    /// not tell.
    ///
    /// It says nothing of this node alone, so it does not make it unready.
    #[serde(serialize_with = "text")]
    pub oldest_due: Option<Timestamp>,
    /// How long that is; zero when there is nothing.
    #[serde(rename = "lagMilliseconds", serialize_with = "milliseconds_of")]
    pub lag: Duration,
    /// How far the storage's clock is ahead of this machine's, in milliseconds, give or take the time
    /// that the storage took to answer; below zero when it is behind. `None` where the storage has no
    /// clock of its own.
    #[serde(rename = "clockOffsetMilliseconds")]
    pub clock_offset: Option<i64>,
}

/// How a dispatcher is doing.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DispatcherHealth {
    /// Its id.
    pub id: DispatcherId,
    /// Whether its leases hold: without them it sends nothing.
    pub alive: bool,
    /// How long ago the last sign of life began that the storage acknowledged; `None` if none did.
    #[serde(rename = "heartbeatMilliseconds", serialize_with = "milliseconds")]
    pub heartbeat: Option<Duration>,
}

impl HealthReport {
    /// [`ready`](Self::ready): the answer to a readiness probe.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }
}

impl Tidings {
    /// Looks whether the storage answers, the dispatchers of this handle are alive, deliveries are late,
    /// and clocks agree. For the readiness probe of the host: answer 200 if
    /// [`is_ready`](HealthReport::is_ready), else 503, with the report as JSON.
    ///
    /// It takes 3 s at most, never fails and never panics, whatever the storage does. Asked while the
    /// host is shutting down, it is not ready any more once its dispatchers have ended.
    ///
    /// ```
    /// # use tidings::{Result, Tidings, storage::MemoryStorage};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let tidings = Tidings::new(MemoryStorage::new());
    /// let report = tidings.health().await;
    /// assert!(report.is_ready(), "{}", serde_json::to_string(&report).unwrap());
    /// # }
    /// ```
    pub async fn health(&self) -> HealthReport {
        let core = &self.core;
        let begun = Instant::now();
        let asked = bounded(HEALTH_PATIENCE, ask(core)).await;
        let took = begun.elapsed();
        let (instant, now) = (Instant::now(), core.now());
        let running = core.pulse.running();
        let is_idle = running.is_none();
        let dispatchers: Vec<DispatcherHealth> = running
            .unwrap_or_default()
            .into_iter()
            .map(|(id, life)| DispatcherHealth {
                id,
                alive: life.lasts(instant, now),
                heartbeat: life.age(instant, now),
            })
            .collect();
        let is_alive = is_idle || dispatchers.iter().any(|dispatcher| dispatcher.alive);
        let (answer, error) = match asked {
            Ok(answer) => (Some(answer), None),
            Err(error) => (None, Some(error)),
        };
        let shared = answer.as_ref().and_then(|answer| answer.clock_offset);
        let oldest_due = answer.as_ref().and_then(|answer| answer.oldest_due);
        let lag = answer.as_ref().map_or(Duration::ZERO, |answer| {
            answer.oldest_due.map_or(Duration::ZERO, |due| between(due, answer.now))
        });
        HealthReport {
            ready: answer.is_some() && is_alive,
            storage: answer.is_some().then_some(took),
            error,
            dispatchers,
            oldest_due,
            lag,
            clock_offset: shared,
        }
    }
}

/// What the storage said.
struct Answer {
    /// The time by which deliveries are due.
    now: Timestamp,
    clock_offset: Option<i64>,
    oldest_due: Option<Timestamp>,
}

async fn ask(core: &Core) -> Result<Answer> {
    // Every storage looks for this; not every one tells the time or what is due.
    let query =
        EventQuery { id: Some(EventId::from_uuid(uuid::Uuid::nil())), ..EventQuery::default() };
    core.storage.events(&query, &PageRequest::first(1)?).await?;
    let (asked, wall) = (Instant::now(), core.now());
    let time = core.storage.time().await?;
    let middle = after(wall, asked.elapsed() / 2);
    let now = time.unwrap_or_else(|| core.now());
    let clock_offset = time.map(|time| time.signed_duration_since(middle).num_milliseconds());
    // It says how far behind all are, which makes nobody unready: nor does not knowing it.
    let look = bounded(HEALTH_PATIENCE / 3, core.storage.oldest_due(now));
    let oldest_due = look.await.unwrap_or_default();
    Ok(Answer { now, clock_offset, oldest_due })
}

fn milliseconds<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64() * 1e3).serialize(serializer)
}

fn milliseconds_of<S: Serializer>(
    time: &Duration,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64() * 1e3)
}

fn text<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    time.map(format_time).serialize(serializer)
}
