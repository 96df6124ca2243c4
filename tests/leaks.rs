//! Secrets in every place where there is one, a whole life with them at the level TRACE, and a search of
//! everything that anybody could read afterwards.
#![cfg(all(feature = "hyper", feature = "sqlite", feature = "sealing"))]

#[path = "support/authority.rs"]
mod authority;
#[cfg(feature = "postgres")]
#[path = "support/cluster.rs"]
mod cluster;
#[path = "leaks/injection.rs"]
mod injection;
#[path = "leaks/journey.rs"]
mod journey;
#[path = "leaks/log.rs"]
mod log;

use std::sync::Arc;

use tidings::storage::{MemoryStorage, SqliteStorage};

use self::journey::Journey;

/// Lives with canaries over the memory, at TRACE, and looks for them in all that was shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_comes_out_over_memory() {
    Journey::over(Arc::new(MemoryStorage::new())).await.search();
}

/// The same over SQLite.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_comes_out_over_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let storage = SqliteStorage::open(folder.path().join("tidings.db")).await.unwrap();
    Journey::over(Arc::new(storage)).await.search();
}

/// The same over PostgreSQL, whose driver logs too.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn no_secret_comes_out_over_postgres() {
    use tidings::storage::{PostgresOptions, PostgresStorage};
    let cluster = cluster::Cluster::start();
    let options = PostgresOptions::default();
    let storage = PostgresStorage::connect_with(&cluster.new_database(), options).await.unwrap();
    Journey::over(Arc::new(storage)).await.search();
}

/// Finds a canary in each form in which one could come out (table): a search that finds nothing proves
/// nothing unless it would.
#[test]
fn the_search_finds_a_secret_in_every_form() {
    let secret = journey::PASSWORD;
    let base64 = |text: &str| {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    for text in [
        format!("a {secret} b"),
        base64(secret),
        base64(&format!("a:{secret}")),
        base64(&format!("ab:{secret}")),
        base64(&format!("abc:{secret}")),
        format!("{:?}", secret.as_bytes()),
        hex.to_uppercase(),
        hex,
    ] {
        assert!(!log::found(&text).is_empty(), "{text}");
    }
    assert!(log::found("nothing to see").is_empty());
}
