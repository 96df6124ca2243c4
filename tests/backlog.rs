//! A long backlog and a long record: calls cost what they cost without, and pruning is in nobody's
//! way. `benches/backlog.rs` measures the same in full.
#![cfg(feature = "sqlite")]

#[cfg(feature = "postgres")]
#[path = "support/cluster.rs"]
mod cluster;
#[cfg(feature = "postgres")]
#[path = "support/explain.rs"]
mod explain;
#[path = "support/fill.rs"]
mod fill;
#[path = "support/load.rs"]
mod load;
#[path = "support/worker.rs"]
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidings::storage::{SqliteStorage, Storage};

use self::fill::Fill;
use self::load::Load;
use self::worker::Worker;

/// A sweep's longest step: what its locks are held for, at most. Five times what is promised, for
/// machines that do other things too.
const LONGEST: Duration = Duration::from_millis(5 * 100);

async fn sqlite(fill: Fill) -> (Arc<dyn Storage>, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidings.db");
    let storage: Arc<dyn Storage> = Arc::new(SqliteStorage::open(&path).await.expect("a store"));
    fill::sqlite(&path, &storage, fill).await;
    (storage, folder)
}

/// The median of a few claims of 100, each given back.
async fn claim(worker: &Worker) -> Duration {
    let mut times = Vec::new();
    for _ in 0..15 {
        let began = Instant::now();
        let leased = worker.claim(100).await;
        times.push(began.elapsed());
        assert_eq!(leased.len(), 100);
        worker.give_back(&leased).await;
    }
    times.sort();
    times[times.len() / 2]
}

/// Prunes everything old beside a load, and answers with the longest step.
async fn prune(storage: &Arc<dyn Storage>, events: usize) -> Duration {
    let load = Load::begin(storage).await;
    let sweeps = load::sweep_all(storage.clone());
    let sweeping = tokio::spawn(sweeps);
    while !sweeping.is_finished() {
        load.run(Duration::from_millis(100)).await;
    }
    let swept = sweeping.await.expect("the sweeps");
    assert_eq!(swept.pruned, events);
    swept.steps.iter().max().copied().expect("a step")
}

/// Times claims beside a thousand and beside fifty thousand waiting deliveries (SQLite).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_takes_as_long_beside_a_long_backlog() {
    let fill = Fill { webhooks: 1_000, waiting: 1_000, ended: 0, fan: 10 };
    let (few, _first) = sqlite(fill).await;
    let (many, _second) = sqlite(Fill { waiting: 50_000, ..fill }).await;
    let few = claim(&Worker::begin(&few, 1).await).await;
    let many = claim(&Worker::begin(&many, 1).await).await;
    // Promised are three times.
    assert!(many <= few * 3 * 5, "{many:?} beside many, {few:?} beside few");
}

/// Prunes a record beside publish, route and settle (SQLite).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pruning_is_in_nobodys_way_in_sqlite() {
    let (storage, _folder) =
        sqlite(Fill { webhooks: 100, waiting: 0, ended: 20_000, fan: 10 }).await;
    let longest = prune(&storage, 2_000).await;
    assert!(longest <= LONGEST, "{longest:?}");
}

#[cfg(feature = "postgres")]
mod postgres {
    use tidings::storage::PostgresStorage;

    use super::*;
    use crate::cluster::Cluster;

    async fn filled(cluster: &Cluster, database: &str, fill: Fill) -> Arc<dyn Storage> {
        let url = cluster.create_database(database);
        let storage: Arc<dyn Storage> =
            Arc::new(PostgresStorage::connect(&url).await.expect("a store"));
        fill::postgres(cluster, database, &storage, fill).await;
        storage
    }

    /// What a statement may look at: ten pages for each row that it returns or writes, and as many to
    /// get there (down an index or four, past what the same call has moved).
    fn allowed(statement: &explain::Statement) -> f64 {
        // A lane is in four indexes, and none of them is left out when it is written.
        let lanes = statement.text.starts_with("UPDATE \"tidings\".webhook w SET next_due");
        let per_row = if lanes { 18.0 } else { load::BUFFERS_PER_ROW };
        per_row * (statement.rows + statement.runs) as f64
    }

    /// Listings of deliveries put three tables together, pass over what has left them, walk to where a
    /// stretch ends, and ask for attempts that there are not; pruning looks in four tables for each event that it removes. None of
    /// it is on an event's way.
    fn is_hot(statement: &explain::Statement) -> bool {
        let text = &statement.text;
        let listing = ["delivery d JOIN", " AS k FROM ", "attempt a WHERE"];
        let listing = listing.iter().any(|part| text.contains(part));
        !listing && !text.starts_with("SELECT o.seq, (SELECT count(*)")
    }

    /// Reads the plans of all statements beside 100,000 waiting and 100,000 ended deliveries, or a
    /// million each (`--long`), from the server's log.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL: tests/run"]
    async fn statements_touch_few_pages_beside_a_long_backlog() {
        let many = if std::env::var_os("TIDINGS_LONG").is_some() { 1_000_000 } else { 100_000 };
        let cluster = Cluster::with(explain::options());
        let fill = Fill { webhooks: 10_000, waiting: many, ended: many, fan: 10 };
        drop(filled(&cluster, "plans", fill).await);
        let statements = load::explained(&cluster, "plans").await;
        let hot: Vec<_> = statements.iter().filter(|statement| is_hot(statement)).collect();
        // Every statement of a turn was seen, and often enough for its later plan.
        for part in ["INSERT INTO \"tidings\".event", "SKIP LOCKED", "ended (id", "leased (id"] {
            let runs = hot.iter().filter(|it| it.text.contains(part)).map(|it| it.runs);
            assert!(runs.clone().max().unwrap_or_default() > 5, "{part}: {:?}", runs.max());
        }
        let hungry: Vec<String> = hot
            .iter()
            .filter(|statement| statement.buffers as f64 > allowed(statement))
            .map(|explain::Statement { text, runs, rows, buffers, worst, .. }| {
                format!("{buffers} pages for {rows} rows in {runs} runs of {text}\n{}", worst.2)
            })
            .collect();
        assert!(hungry.is_empty(), "{}", hungry.join("\n"));
        // A table that grows is never read from end to end.
        for statement in &statements {
            for table in ["event", "waiting", "ended", "span"] {
                let read = statement.scanned.get(table).copied().unwrap_or_default();
                assert!(read == 0, "{read} rows of {table} read by {}", statement.text);
            }
        }
    }

    /// Prunes a record beside publish, route and settle (PostgreSQL).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL: tests/run"]
    async fn pruning_is_in_nobodys_way_in_postgres() {
        let fill = Fill { webhooks: 100, waiting: 0, ended: 100_000, fan: 10 };
        let storage = filled(Cluster::shared(), "pruned", fill).await;
        let longest = prune(&storage, 10_000).await;
        assert!(longest <= LONGEST, "{longest:?}");
    }
}
