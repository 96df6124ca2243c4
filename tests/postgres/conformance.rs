//! The conformance suite over PostgreSQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidings::storage::conformance::{self, Case};
use tidings::storage::{PostgresOptions, PostgresStorage, Storage};

use crate::cluster::Cluster;

/// A store in a schema of its own, with few connections.
async fn store(url: &str, number: usize) -> Arc<dyn Storage> {
    let options =
        PostgresOptions::default().schema(format!("case_{number}")).connections(4).announce(false);
    Arc::new(PostgresStorage::connect_with(url, options).await.expect("a store"))
}

/// Runs every case on a store of its own, two at a time, and names all that fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn the_store_conforms() {
    let cluster = Cluster::shared();
    let url = cluster.create_database("conformance");
    let only = std::env::var("TIDINGS_CASE").unwrap_or_default();
    let cases: Vec<Case> = conformance::cases()
        .into_iter()
        .filter(|case| format!("{case:?}").contains(&only))
        .collect();
    assert!(!cases.is_empty());
    let next = Arc::new(AtomicUsize::new(0));
    let cases = Arc::new(cases);
    let local = async |cases: Arc<Vec<Case>>, next: Arc<AtomicUsize>, url: String| {
        let mut failed = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(number).copied() else { return failed };
            let store = store(&url, number).await;
            // A thread of its own, so that a case that panics ends nothing else.
            let runtime = tokio::runtime::Handle::current();
            let run = std::thread::spawn(move || runtime.block_on(case.run(store)));
            if tokio::task::spawn_blocking(|| run.join()).await.expect("a join").is_err() {
                failed.push(format!("{case:?}"));
            }
        }
    };
    let (first, second) = tokio::join!(
        local(cases.clone(), next.clone(), url.clone()),
        local(cases.clone(), next.clone(), url.clone())
    );
    let failed: Vec<String> = first.into_iter().chain(second).collect();
    assert!(failed.is_empty(), "{} of {} cases failed: {failed:#?}", failed.len(), cases.len());
}
