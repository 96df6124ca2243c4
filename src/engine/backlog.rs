//! Backpressure: how much may wait before a publish is refused, or warned of.
//!
//! The storage counts, up to the limit and now and then: counting costs as much as is counted, and
//! takes a small part of the time at most. What this handle publishes between two counts is added.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::core::Core;
use crate::ground::account::Account;
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::event::Event;
use crate::ground::policy::{BACKLOG_ACCOUNTS_KEPT, BACKLOG_LOOK, BACKLOG_SHARE};
use crate::ports::observer::Notice;

/// How much may wait: deliveries that are not due yet or that nobody has had the time for, and events
/// that are still to be routed.
///
/// A limit is not exact: between two counts of the storage, at least 100 ms apart, each node adds what
/// it published itself, an event as one, however many webhooks want it.
///
/// ```
/// use tidings::{Backlog, Tidings, storage::MemoryStorage};
///
/// let limits = Backlog::refuse().per_account(100_000).total(5_000_000);
/// let tidings = Tidings::builder(MemoryStorage::new()).backlog(limits).build();
/// # let _ = tidings;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Backlog {
    refuse: bool,
    per_account: Option<usize>,
    total: Option<usize>,
}

impl Backlog {
    /// At a limit, publishes are refused with [`Limit`](ErrorKind::Limit).
    pub const fn refuse() -> Self {
        Self { refuse: true, per_account: None, total: None }
    }

    /// At a limit, publishes go on; there is a warning in the log, and a [`Notice::Backlog`] for the
    /// observer, with each count that finds it reached.
    pub const fn warn() -> Self {
        Self { refuse: false, per_account: None, total: None }
    }

    /// Sets how much may wait of one account; at least 1.
    pub const fn per_account(mut self, deliveries: usize) -> Self {
        self.per_account = Some(if deliveries == 0 { 1 } else { deliveries });
        self
    }

    /// Sets how much may wait in all; at least 1.
    pub const fn total(mut self, deliveries: usize) -> Self {
        self.total = Some(if deliveries == 0 { 1 } else { deliveries });
        self
    }

    pub(super) const fn account_limit(&self) -> Option<usize> {
        self.per_account
    }

    pub(super) const fn total_limit(&self) -> Option<usize> {
        self.total
    }
}

/// The limits of a handle, and what is known of the storage.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    pub(super) limits: Option<Backlog>,
    /// By account, and under `None` for all.
    counts: Mutex<HashMap<Option<Account>, Count>>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    waiting: usize,
    /// Until when it is good enough.
    until: Instant,
    /// Somebody is counting.
    counting: bool,
}

impl Gauge {
    fn counts(&self) -> MutexGuard<'_, HashMap<Option<Account>, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known, or `None` if the caller is to count. While one counts, others go by what was known.
    fn known(&self, whose: &Option<Account>) -> Option<usize> {
        let mut counts = self.counts();
        let count = counts.get_mut(whose)?;
        if Instant::now() < count.until || count.counting {
            return Some(count.waiting);
        }
        count.counting = true;
        None
    }

    fn learn(&self, whose: Option<Account>, waiting: usize, took: Duration) {
        let mut counts = self.counts();
        if counts.len() >= BACKLOG_ACCOUNTS_KEPT {
            counts.clear();
        }
        let until = Instant::now() + (took * BACKLOG_SHARE).max(BACKLOG_LOOK);
        counts.insert(whose, Count { waiting, until, counting: false });
    }

    fn add(&self, whose: &Option<Account>, events: usize) {
        if let Some(count) = self.counts().get_mut(whose) {
            count.waiting = count.waiting.saturating_add(events);
        }
    }
}

/// Somebody counts; if he is stopped, others may.
struct Counting<'a> {
    gauge: &'a Gauge,
    whose: &'a Option<Account>,
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.gauge.counts().get_mut(self.whose) {
            count.counting = false;
        }
    }
}

impl Core {
    /// Whether so many more may be published.
    pub(super) async fn admit(&self, events: &[Event]) -> Result<()> {
        let Some(limits) = &self.gauge.limits else { return Ok(()) };
        if let Some(limit) = limits.total {
            self.admit_one(limits, &None, limit, events.len()).await?;
        }
        if let Some(limit) = limits.per_account {
            let mut accounts: HashMap<&Account, usize> = HashMap::new();
            for event in events {
                *accounts.entry(event.account()).or_default() += 1;
            }
            for (account, count) in accounts {
                self.admit_one(limits, &Some(account.clone()), limit, count).await?;
            }
        }
        Ok(())
    }

    /// They were published.
    pub(super) fn admitted(&self, events: &[Event]) {
        let Some(limits) = &self.gauge.limits else { return };
        if limits.total.is_some() {
            self.gauge.add(&None, events.len());
        }
        if limits.per_account.is_some() {
            for event in events {
                self.gauge.add(&Some(event.account().clone()), 1);
            }
        }
    }

    /// A call with more events than a limit leaves room for is refused whole, unless nothing waits: or
    /// it could never be made.
    pub(super) async fn admit_one(
        &self,
        limits: &Backlog,
        whose: &Option<Account>,
        limit: usize,
        events: usize,
    ) -> Result<()> {
        let waiting = match self.gauge.known(whose) {
            Some(waiting) => waiting,
            None => self.count(limits, whose, limit).await?,
        };
        if !limits.refuse || waiting == 0 || waiting.saturating_add(events) <= limit {
            return Ok(());
        }
        let place = match whose {
            Some(account) => format!("of account {}", account.as_str()),
            None => "in all".to_owned(),
        };
        let message = format!(
            "{waiting} deliveries wait {place}, and {limit} may: publish again when receivers have \
             caught up, or raise the limit"
        );
        Err(Error::new(ErrorKind::Limit, message))
    }

    async fn count(
        &self,
        limits: &Backlog,
        whose: &Option<Account>,
        limit: usize,
    ) -> Result<usize> {
        let begun = Instant::now();
        let counting = Counting { gauge: &self.gauge, whose };
        let waiting = self.storage.backlog(whose.as_ref(), limit).await?;
        drop(counting);
        self.gauge.learn(whose.clone(), waiting, begun.elapsed());
        if waiting >= limit && !limits.refuse {
            let account = whose.as_ref().map(Account::as_str);
            warn!(name: "tidings.backlog.full", account, waiting, limit);
            let account = whose.clone();
            self.audience.tell(|| Notice::Backlog { account, limit });
        }
        Ok(waiting)
    }
}
