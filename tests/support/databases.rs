//! Empty databases with the tables of the crate and of a host.
#![allow(dead_code)] // Each user of this file needs another part of it.

#[path = "cluster.rs"]
pub(crate) mod cluster;

use tempfile::TempDir;
use tidings::storage::{PostgresStorage, SqliteOptions, SqliteStorage};

use cluster::Cluster;

/// A folder with the file `shop.db`.
pub(crate) async fn sqlite() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::default().shared(true);
    let file = folder.path().join("shop.db");
    SqliteStorage::open_with(file, options).await.unwrap().close().await;
    folder
}

/// The URL of a database, with the crate's tables in the schema `tidings`.
pub(crate) fn postgres() -> String {
    let cluster = Cluster::shared();
    let url = cluster.new_database();
    cluster.sql(url.rsplit('/').next().unwrap(), &schema("tidings"));
    url
}

/// What makes the crate's tables in a schema.
pub(crate) fn schema(name: &str) -> String {
    let steps = PostgresStorage::migrations(name).unwrap();
    steps.into_iter().map(|step| step.sql).collect()
}
