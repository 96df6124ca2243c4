//! Backpressure: how much may wait before a publish is refused, or warned of.
//!
//! The storage counts, up to the limit and now and then: counting costs as much as is counted, and
//! takes a small part of the time at most. What this handle publishes between two counts is added.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tracing::warn;

use super::core::Core;
use crate::ground::account::Account;
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::policy::{BACKLOG_ACCOUNTS_KEPT, BACKLOG_LOOK, BACKLOG_SHARE};
use crate::ports::observer::Notice;

/// How much may wait: deliveries that are not due yet, that nobody has had the time for, or whose webhook is
/// disabled, and events that are still to be routed.
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
    /// At a limit, publishes are refused with [`Limit`](ErrorKind::Limit): publish the same event again
    /// later. The repetition of a publish may be refused, too, though the first one was kept.
    pub const fn refuse() -> Self {
        Self { refuse: true, per_account: None, total: None }
    }

    /// At a limit, or when the storage cannot count, publishes go on; there is a warning in the log, and a
    /// [`Notice::Backlog`] for the observer with each count that finds it reached.
    pub const fn warn() -> Self {
        Self { refuse: false, per_account: None, total: None }
    }

    /// Sets how much may wait of one account; at least 1.
    pub const fn per_account(mut self, deliveries: usize) -> Self {
        self.per_account = Some(if deliveries == 0 { 1 } else { deliveries });
        self
    }

    /// Sets how much may wait in all; at least 1. What waits for webhooks that are disabled counts, until
    /// it expires: leave room for it, or one account's may be everybody's limit.
    pub const fn total(mut self, deliveries: usize) -> Self {
        self.total = Some(if deliveries == 0 { 1 } else { deliveries });
        self
    }
}

/// The limits of a handle, and what is known of the storage.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    pub(super) limits: Option<Backlog>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: Option<Count>,
    of: HashMap<Account, Count>,
}

/// What is known of one account, or of all.
#[derive(Debug, Clone, Copy)]
struct Count {
    /// As the storage counted it.
    waiting: usize,
    /// Admitted here since that count began.
    added: usize,
    /// Until when it is good enough.
    until: Instant,
    /// Somebody is counting.
    counting: bool,
}

impl Count {
    fn new(now: Instant) -> Self {
        Self { waiting: 0, added: 0, until: now, counting: false }
    }
}

impl Counts {
    /// The count of an account, or of all. Where there are too many, those are forgotten that are old.
    fn get(&mut self, whose: Option<&Account>, now: Instant) -> &mut Count {
        let Some(account) = whose else {
            return self.all.get_or_insert_with(|| Count::new(now));
        };
        if self.of.len() >= BACKLOG_ACCOUNTS_KEPT && !self.of.contains_key(account) {
            self.of.retain(|_, count| count.until > now || count.counting);
        }
        self.of.entry(account.clone()).or_insert_with(|| Count::new(now))
    }
}

impl Gauge {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Each change is one write.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody counts; if he is stopped, others may.
struct Counting<'a> {
    gauge: &'a Gauge,
    whose: Option<&'a Account>,
    /// What was admitted before the count began is in it.
    added: usize,
    begun: Instant,
}

impl<'a> Counting<'a> {
    /// `None` where a count is good enough, or somebody is at it.
    fn begin(gauge: &'a Gauge, whose: Option<&'a Account>) -> Option<Self> {
        let begun = Instant::now();
        let mut counts = gauge.counts();
        let count = counts.get(whose, begun);
        if begun < count.until || count.counting {
            return None;
        }
        count.counting = true;
        Some(Self { gauge, whose, added: count.added, begun })
    }

    fn learn(self, waiting: usize) {
        let now = Instant::now();
        let mut counts = self.gauge.counts();
        let count = counts.get(self.whose, now);
        count.waiting = waiting;
        count.added = count.added.saturating_sub(self.added);
        count.until = now + ((now - self.begun) * BACKLOG_SHARE).max(BACKLOG_LOOK);
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.gauge.counts().get(self.whose, Instant::now()).counting = false;
    }
}

/// Leave to publish. What is not [used](Self::used) was not published, and counts no more.
#[must_use]
pub(super) struct Admission<'a> {
    gauge: &'a Gauge,
    parts: Vec<(Option<&'a Account>, usize)>,
}

impl Admission<'_> {
    pub(super) fn used(mut self) {
        self.parts.clear();
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if self.parts.is_empty() {
            return;
        }
        let (mut counts, now) = (self.gauge.counts(), Instant::now());
        for (whose, events) in &self.parts {
            let count = counts.get(*whose, now);
            count.added = count.added.saturating_sub(*events);
        }
    }
}

impl Core {
    /// Leave to publish an event of each of these accounts.
    pub(super) async fn admit<'a>(
        &'a self,
        accounts: impl Iterator<Item = &'a Account>,
    ) -> Result<Admission<'a>> {
        let mut admission = Admission { gauge: &self.gauge, parts: Vec::new() };
        let Some(limits) = &self.gauge.limits else { return Ok(admission) };
        let (mut all, mut each) = (0, HashMap::<&Account, usize>::new());
        for account in accounts {
            all += 1;
            *each.entry(account).or_default() += 1;
        }
        if let Some(limit) = limits.total {
            self.admit_one(limits, None, limit, all).await?;
            admission.parts.push((None, all));
        }
        if let Some(limit) = limits.per_account {
            for (account, events) in each {
                self.admit_one(limits, Some(account), limit, events).await?;
                admission.parts.push((Some(account), events));
            }
        }
        Ok(admission)
    }

    /// A call with more events than a limit leaves room for is refused whole, unless nothing waits: or
    /// it could never be made.
    async fn admit_one(
        &self,
        limits: &Backlog,
        whose: Option<&Account>,
        limit: usize,
        events: usize,
    ) -> Result<()> {
        if let Some(counting) = Counting::begin(&self.gauge, whose) {
            self.count(counting, limits, limit).await?;
        }
        let mut counts = self.gauge.counts();
        let count = counts.get(whose, Instant::now());
        let waiting = count.waiting.saturating_add(count.added);
        if !limits.refuse || waiting == 0 || waiting.saturating_add(events) <= limit {
            count.added = count.added.saturating_add(events);
            return Ok(());
        }
        drop(counts);
        let place = match whose {
            Some(account) => format!("of account {}", account.as_str()),
            None => "in all".to_owned(),
        };
        let message = format!(
            "{waiting} deliveries wait {place}, and {limit} may: publish again when receivers have \
             caught up, look for disabled webhooks, or raise the limit"
        );
        Err(Error::new(ErrorKind::Limit, message))
    }

    async fn count(&self, counting: Counting<'_>, limits: &Backlog, limit: usize) -> Result<()> {
        let whose = counting.whose;
        let waiting = match self.storage.backlog(whose, limit).await {
            Ok(waiting) => waiting,
            Err(error) if !limits.refuse => {
                warn!(name: "tidings.storage.call_failed", call = "backlog", %error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        counting.learn(waiting);
        if waiting >= limit && !limits.refuse {
            let account = whose.map(Account::as_str);
            warn!(name: "tidings.backlog.full", account, waiting, limit);
            let account = whose.cloned();
            self.audience.tell(|| Notice::Backlog { account, limit });
        }
        Ok(())
    }
}
