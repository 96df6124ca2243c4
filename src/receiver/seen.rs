//! Which events were handled before: a port, and the one in memory.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::ground::error::Result;
use crate::ground::time::{Timestamp, after};
use crate::policy::{SEEN_AGE, SEEN_EVENTS_MAX};

/// Remembers which events were handled, by their ids.
///
/// # Contract
/// `seen` says `true` only of what `record` was told, by whichever process. An id is at most 256 bytes
/// long; it is enough to remember it for as long as the sender tries again (with this crate three to
/// five days as a rule, and 30 days at most unless the sender set more). `record` of what is recorded is
/// no error. A host that works in a database gives this its table, or records the id in the
/// transaction of the work and lets `record` do nothing.
///
/// ```
/// use async_trait::async_trait;
/// use tidings::receiver::Seen;
/// use tidings::{Result, Timestamp};
///
/// #[derive(Debug)]
/// struct Never;
///
/// #[async_trait]
/// impl Seen for Never {
///     async fn seen(&self, _id: &str, _now: Timestamp) -> Result<bool> {
///         Ok(false)
///     }
///     async fn record(&self, _id: &str, _now: Timestamp) -> Result<()> {
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Seen: Debug + Send + Sync + 'static {
    /// Whether the event with this id was handled. Asked before the work.
    ///
    /// # Errors
    /// When it cannot be found out: the sender is answered 503 and tries again.
    async fn seen(&self, id: &str, now: Timestamp) -> Result<bool>;

    /// The event with this id was handled. Told after the work.
    ///
    /// # Errors
    /// When it cannot be kept: a repetition would be handled again.
    async fn record(&self, id: &str, now: Timestamp) -> Result<()>;
}

/// The last events in memory, bounded by count and age. A restart forgets them, and no other process
/// knows them.
///
/// By default the last 100,000 events of five days, at most about 40 MiB: a sender tries again for three
/// and a half days as a rule, so fewer than one event in three seconds should come. Where more do, set a
/// greater count, or keep the ids in a database.
#[derive(Debug)]
pub struct MemorySeen {
    count: usize,
    age: Duration,
    events: Mutex<Events>,
}

#[derive(Debug, Default)]
struct Events {
    known: HashMap<Arc<str>, Timestamp>,
    /// In the order in which they were recorded, each time anew.
    order: VecDeque<(Arc<str>, Timestamp)>,
}

impl MemorySeen {
    /// Remembers the last `count` events, each for `age`.
    pub fn new(count: usize, age: Duration) -> Self {
        Self { count, age, events: Mutex::default() }
    }

    fn is_over(&self, recorded: Timestamp, now: Timestamp) -> bool {
        after(recorded, self.age) <= now
    }
}

impl Default for MemorySeen {
    fn default() -> Self {
        Self::new(SEEN_EVENTS_MAX, SEEN_AGE)
    }
}

#[async_trait]
impl Seen for MemorySeen {
    async fn seen(&self, id: &str, now: Timestamp) -> Result<bool> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(events.known.get(id).is_some_and(|recorded| !self.is_over(*recorded, now)))
    }

    async fn record(&self, id: &str, now: Timestamp) -> Result<()> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let id: Arc<str> = id.into();
        if events.known.insert(id.clone(), now) != Some(now) {
            events.order.push_back((id, now));
        }
        while let Some((oldest, recorded)) = events.order.front().cloned() {
            // One that was recorded again stands further behind, too.
            let current = events.known.get(&oldest) == Some(&recorded);
            if current && !self.is_over(recorded, now) && events.known.len() <= self.count {
                break;
            }
            events.order.pop_front();
            if current {
                events.known.remove(&oldest);
            }
        }
        Ok(())
    }
}
