//! The statistics of a storage: numbers that it adds to as things happen, and reads by the hour.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::ground::error::Result;
#[cfg(doc)]
use crate::ground::statistics::counted;
use crate::ground::statistics::{Hour, Measure, StatisticsQuery};
#[cfg(doc)]
use crate::ports::storage::DeliveryQueue;

/// The statistics that a storage keeps ([`DeliveryQueue::statistics`]).
///
/// # Contract
/// For each webhook, hour and [`Measure`] the storage keeps a number. To these it adds what
/// [`counted`] says, in the transaction in which it happens, so that they are exact whatever
/// crashes:
///
/// * in [`settle`](DeliveryQueue::settle), for each settlement whose attempt was written down by it
///   (not for one under whose number there was an attempt already, and also where the settlement was
///   lost), and that ended its delivery;
/// * in [`sweep`](DeliveryQueue::sweep), and in whatever else ends a delivery, for each that it ends.
///
/// Counts outlive the events and deliveries that they tell of, and the webhook, too.
#[async_trait]
pub trait Statistics: Debug + Send + Sync {
    /// What was counted, summed up over the webhooks that the query wants; in any order, but no hour
    /// and measure twice. `webhook`, `account` and `mode` of a query go together: one that contradicts
    /// the webhook's own finds nothing.
    async fn counts(&self, query: &StatisticsQuery) -> Result<Vec<Counted>>;

    /// Forgets the counts of hours before `hour`, at most `limit` numbers, and says of how many.
    async fn forget(&self, hour: Hour, limit: usize) -> Result<usize>;
}

/// A number of the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_structs)]
pub struct Counted {
    /// Of which hour.
    pub hour: Hour,
    /// Of what.
    pub measure: Measure,
    /// How many.
    pub count: u64,
}
