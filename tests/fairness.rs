//! Fairness: a webhook that hangs and an account that floods take little from the others.
//!
//! `benches/fairness.rs` measures the same fifty times as great; here the ceilings are five times as
//! wide, for machines that do other things too.
#![cfg(feature = "sqlite")]

#[cfg(feature = "postgres")]
#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/fair.rs"]
mod fair;
#[path = "support/worker.rs"]
mod worker;

use std::sync::Arc;
use std::time::Duration;

use tidings::storage::{MemoryStorage, SqliteStorage, Storage};

const GOOD: usize = 20;
const DUE: usize = 2_000;
const FLOOD: usize = 2_000;

/// Serves good webhooks without and with a hanging one beside them.
async fn a_hanging_one_takes_little(plain: Arc<dyn Storage>, beside: Arc<dyn Storage>) {
    for storage in [&plain, &beside] {
        fair::good_ones(storage, GOOD).await;
    }
    fair::hanging_one(&beside, DUE).await;
    let time = Duration::from_millis(1_500);
    let without = fair::serve(&plain, GOOD, time).await;
    let with = fair::serve(&beside, GOOD, time).await;
    let least = without.per_second * 0.9 / 5.0;
    assert!(with.per_second >= least, "{with:?} beside it, {without:?} without");
    let most = (without.p99 * 2.0 * 5.0).max(500.0);
    assert!(with.p99 <= most, "{with:?} beside it, {without:?} without");
}

/// Sends ten events alone and behind a flood.
async fn a_flood_passes_nobody_by(plain: Arc<dyn Storage>, flooded: Arc<dyn Storage>) {
    let idle = fair::ten_behind(&plain, 0).await;
    let behind = fair::ten_behind(&flooded, FLOOD).await;
    let most = idle + Duration::from_secs(2) * 5;
    assert!(behind <= most, "{behind:?} behind a flood, {idle:?} without");
}

/// Seven claims, settlements and changes of the webhook, whatever waits: each writes a row or two.
fn are_few(written: fair::Written) {
    assert!(written.deliveries <= 12 && written.webhooks <= 16, "{written:?}");
    assert!(written.deliveries > 0 && written.webhooks > 0, "{written:?}");
}

fn memory() -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::new())
}

/// A store in a folder that goes away with the second value.
async fn sqlite() -> (Arc<dyn Storage>, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = SqliteStorage::open(folder.path().join("tidings.db")).await.expect("a store");
    (Arc::new(storage), folder)
}

/// Serves good webhooks without and with a hanging one (in memory).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_webhook_takes_little_in_memory() {
    a_hanging_one_takes_little(memory(), memory()).await;
}

/// Serves good webhooks without and with a hanging one (SQLite).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_webhook_takes_little_in_sqlite() {
    let ((plain, _first), (beside, _second)) = (sqlite().await, sqlite().await);
    a_hanging_one_takes_little(plain, beside).await;
}

/// Sends ten events of one account alone and behind another's (in memory).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooding_account_delays_no_other_in_memory() {
    a_flood_passes_nobody_by(memory(), memory()).await;
}

/// Sends ten events of one account alone and behind another's (SQLite).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooding_account_delays_no_other_in_sqlite() {
    let ((plain, _first), (flooded, _second)) = (sqlite().await, sqlite().await);
    a_flood_passes_nobody_by(plain, flooded).await;
}

/// Counts by triggers what pausing and resuming a webhook with a queue writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pausing_a_webhook_writes_a_few_rows_in_sqlite() {
    let (storage, folder) = sqlite().await;
    let hanging = fair::hanging_one(&storage, DUE).await;
    let triggers = fair::Triggers::begin(&folder.path().join("tidings.db"));
    fair::pause_and_resume(&storage, hanging).await;
    are_few(triggers.end());
}

#[cfg(feature = "postgres")]
mod postgres {
    use tidings::storage::PostgresStorage;

    use super::*;
    use crate::cluster::Cluster;

    /// A store in a database of its own, with the database's name.
    async fn store() -> (Arc<dyn Storage>, String) {
        let url = Cluster::shared().new_database();
        let storage = PostgresStorage::connect(&url).await.expect("a store");
        (Arc::new(storage), url.rsplit('/').next().expect("a name").to_owned())
    }

    /// Serves good webhooks without and with a hanging one (PostgreSQL).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL: tests/run"]
    async fn a_hanging_webhook_takes_little_in_postgres() {
        a_hanging_one_takes_little(store().await.0, store().await.0).await;
    }

    /// Sends ten events of one account alone and behind another's (PostgreSQL).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL: tests/run"]
    async fn a_flooding_account_delays_no_other_in_postgres() {
        a_flood_passes_nobody_by(store().await.0, store().await.0).await;
    }

    /// Counts by transaction numbers what pausing and resuming a webhook with a queue writes.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL: tests/run"]
    async fn pausing_a_webhook_writes_a_few_rows_in_postgres() {
        let (storage, database) = store().await;
        let hanging = fair::hanging_one(&storage, DUE).await;
        let count = fair::Count::begin(Cluster::shared(), &database);
        fair::pause_and_resume(&storage, hanging).await;
        are_few(count.end(Cluster::shared(), &database));
    }
}
