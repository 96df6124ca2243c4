//! A storage by its place: a file's path is SQLite, a URL is PostgreSQL. So that one test runs over
//! both, and hands the place to its child processes.
#![allow(dead_code)] // Each user of this file needs another part of it.

use std::sync::Arc;

use tidings::storage::{SqliteStorage, Storage};

/// Opens the storage at `place`.
pub(crate) async fn open(place: &str) -> Arc<dyn Storage> {
    if place.starts_with("postgres") {
        #[cfg(feature = "postgres")]
        return Arc::new(tidings::storage::PostgresStorage::connect(place).await.expect("a store"));
    }
    Arc::new(SqliteStorage::open(place).await.expect("a store"))
}
