//! Fairness: what good webhooks lose by one that hangs, and small accounts by one that floods. With
//! the feature `postgres`, and PostgreSQL's programs on this machine, over a throwaway server on the
//! same cores too.
//!
//! `cargo bench --bench fairness` prints a table, and a line of JSON for each row. With and without
//! are measured in turn, on stores of their own, and compared round by round: read the medians of the
//! ratios. `TIDINGS_BENCH_DUE` (100,000), `TIDINGS_BENCH_WEBHOOKS` (99), `TIDINGS_BENCH_FLOOD`
//! (100,000), `TIDINGS_BENCH_SECONDS` (5) and `TIDINGS_BENCH_ROUNDS` (5) change how much there is,
//! `TIDINGS_BENCH_ONLY` (part of a section's name and store: `hanging`, `pause`, `flood`) what is
//! measured.

#[cfg(feature = "postgres")]
#[path = "../tests/support/cluster.rs"]
mod cluster;
#[path = "../tests/support/fair.rs"]
mod fair;
#[cfg(feature = "postgres")]
#[path = "support/server.rs"]
mod server;
#[path = "support/setup.rs"]
mod setup;
#[path = "../tests/support/worker.rs"]
mod worker;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidings::storage::{MemoryStorage, SqliteStorage, Storage};

#[cfg(feature = "postgres")]
use server::server;
use setup::{env, stores, wanted};

/// A store, the folder that it lives in, and the name of its database.
struct Opened {
    storage: Arc<dyn Storage>,
    folder: Option<tempfile::TempDir>,
    #[cfg(feature = "postgres")]
    database: String,
}

async fn open(store: &str) -> Opened {
    let (storage, folder): (Arc<dyn Storage>, _) = match store {
        "memory" => (Arc::new(MemoryStorage::new()), None),
        #[cfg(feature = "postgres")]
        "postgres" => {
            let url = server().new_database();
            let options = tidings::storage::PostgresOptions::default();
            let storage = tidings::storage::PostgresStorage::connect_with(&url, options).await;
            let database = url.rsplit('/').next().unwrap_or_default().to_owned();
            let storage = Arc::new(storage.expect("a database"));
            return Opened { storage, folder: None, database };
        }
        _ => {
            let folder = tempfile::tempdir().expect("a folder");
            let storage = SqliteStorage::open(folder.path().join("tidings.db")).await;
            (Arc::new(storage.expect("a database")), Some(folder))
        }
    };
    Opened {
        storage,
        folder,
        #[cfg(feature = "postgres")]
        database: String::new(),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for store in stores() {
            hanging(store).await;
            flood(store).await;
        }
    });
}

/// The good ones with and without a hanging one; then what pausing that one writes.
async fn hanging(store: &str) {
    let due = env("TIDINGS_BENCH_DUE", 100_000) as usize;
    let good = env("TIDINGS_BENCH_WEBHOOKS", 99) as usize;
    let (rounds, seconds) = (env("TIDINGS_BENCH_ROUNDS", 5), env("TIDINGS_BENCH_SECONDS", 5));
    if wanted("hanging", store) {
        let time = Duration::from_secs(seconds);
        let (plain, beside) = (open(store).await, open(store).await);
        for opened in [&plain, &beside] {
            fair::good_ones(&opened.storage, good).await;
        }
        fair::hanging_one(&beside.storage, due).await;
        let mut found = Vec::new();
        for round in 0..=rounds {
            let without = fair::serve(&plain.storage, good, time).await;
            let with = fair::serve(&beside.storage, good, time).await;
            // The first round warms up.
            if round > 0 {
                found.push((without, with));
            }
        }
        let of = |value: fn(&(fair::Figures, fair::Figures)) -> f64| {
            median(found.iter().map(value).collect())
        };
        let (alone, rate) = (of(|(it, _)| it.per_second), of(|(_, it)| it.per_second));
        let (calm, p99) = (of(|(it, _)| it.p99), of(|(_, it)| it.p99));
        let kept = of(|(without, with)| with.per_second / without.per_second);
        let slower = of(|(without, with)| with.p99 / without.p99);
        println!(
            "{store:<10}{good} webhooks beside one that hangs with {due} due: {alone:.0} per s alone, \
             {rate:.0} beside it ({kept:.2}); p99 {calm:.1} ms alone, {p99:.1} ms beside it ({slower:.2})"
        );
        println!(
            "{}",
            json!({"bench": "hanging", "store": store, "due": due, "alone_per_s": alone,
                "per_s": rate, "kept": kept, "alone_p99_ms": calm, "p99_ms": p99, "p99_ratio": slower})
        );
    }
    if wanted("pause", store) && store != "memory" {
        let opened = open(store).await;
        let hanging = fair::hanging_one(&opened.storage, due).await;
        let written = written(store, &opened, hanging).await;
        let fair::Written { deliveries, webhooks } = written;
        println!(
            "{store:<10}pausing and resuming a webhook with {due} due, twice: {deliveries} rows of \
             deliveries and {webhooks} of webhooks written, claims and settlements included"
        );
        println!(
            "{}",
            json!({"bench": "pause", "store": store, "due": due, "deliveries": deliveries,
                "webhooks": webhooks})
        );
    }
}

async fn written(store: &str, opened: &Opened, webhook: tidings::WebhookId) -> fair::Written {
    #[cfg(feature = "postgres")]
    if store == "postgres" {
        let count = fair::Count::begin(server(), &opened.database);
        fair::pause_and_resume(&opened.storage, webhook).await;
        return count.end(server(), &opened.database);
    }
    let folder = opened.folder.as_ref();
    let folder = folder.unwrap_or_else(|| panic!("{store} has no file"));
    let triggers = fair::Triggers::begin(&folder.path().join("tidings.db"));
    fair::pause_and_resume(&opened.storage, webhook).await;
    triggers.end()
}

/// Ten events of one account, alone and behind another's flood.
async fn flood(store: &str) {
    if !wanted("flood", store) {
        return;
    }
    let flood = env("TIDINGS_BENCH_FLOOD", 100_000) as usize;
    let (mut idle, mut behind) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (plain, flooded) = (open(store).await, open(store).await);
        idle.push(fair::ten_behind(&plain.storage, 0).await.as_secs_f64() * 1_000.0);
        behind.push(fair::ten_behind(&flooded.storage, flood).await.as_secs_f64() * 1_000.0);
    }
    let (idle, behind) = (median(idle), median(behind));
    println!(
        "{store:<10}10 events of one account: {idle:.0} ms alone, {behind:.0} ms behind {flood} of \
         another"
    );
    println!(
        "{}",
        json!({"bench": "flood", "store": store, "flood": flood, "idle_ms": idle, "ms": behind})
    );
}
