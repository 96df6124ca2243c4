//! A long backlog: what calls cost when a million deliveries wait, beside what they cost when a
//! thousand do; what statements touch then; and what pruning a million old rows does to live work.
//! With the feature `postgres`, and PostgreSQL's programs on this machine, over a throwaway server on
//! the same cores too.
//!
//! `cargo bench --bench backlog` prints a table for each, and a line of JSON for each row.
//! `TIDINGS_BENCH_WAITING` (1,000,000) and `TIDINGS_BENCH_WEBHOOKS` (10,000) say how much there is,
//! `TIDINGS_BENCH_ONLY` (part of a section's name and store) what is measured: `claim`, `buffers`,
//! `ended`, `prune`.

#[cfg(feature = "postgres")]
#[path = "../tests/support/cluster.rs"]
mod cluster;
#[cfg(feature = "postgres")]
#[path = "../tests/support/explain.rs"]
mod explain;
#[path = "../tests/support/fill.rs"]
mod fill;
#[path = "../tests/support/load.rs"]
mod load;
#[path = "support/setup.rs"]
mod setup;
#[path = "../tests/support/worker.rs"]
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tidings::storage::{SqliteStorage, Storage};

use self::fill::Fill;
use self::load::Load;
use self::setup::{env, stores, wanted};
use self::worker::Worker;

const CLAIMS: usize = 60;
const CLAIM: u32 = 100;

/// The stores that keep what they have.
fn durable() -> impl Iterator<Item = &'static str> {
    stores().iter().copied().filter(|store| *store != "memory")
}

/// A store with its past, and what it lives in.
struct Filled {
    storage: Arc<dyn Storage>,
    _folder: Option<tempfile::TempDir>,
    #[cfg(feature = "postgres")]
    server: Option<cluster::Cluster>,
}

/// The database of every server.
#[cfg(feature = "postgres")]
const DATABASE: &str = "backlog";

async fn filled(store: &str, fill: Fill) -> Filled {
    let began = Instant::now();
    let filled = match store {
        #[cfg(feature = "postgres")]
        "postgres" => {
            let server = cluster::Cluster::with(explain::options());
            let storage = connect(&server.create_database(DATABASE)).await;
            fill::postgres(&server, DATABASE, &storage, fill).await;
            Filled { storage, _folder: None, server: Some(server) }
        }
        _ => {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("tidings.db");
            let storage: Arc<dyn Storage> =
                Arc::new(SqliteStorage::open(&path).await.expect("a database"));
            fill::sqlite(&path, &storage, fill).await;
            Filled {
                storage,
                _folder: Some(folder),
                #[cfg(feature = "postgres")]
                server: None,
            }
        }
    };
    eprintln!("{store}: {fill:?} made in {:.1} s", began.elapsed().as_secs_f64());
    filled
}

#[cfg(feature = "postgres")]
async fn connect(url: &str) -> Arc<dyn Storage> {
    let options = tidings::storage::PostgresOptions::default();
    let connect = tidings::storage::PostgresStorage::connect_with(url, options);
    Arc::new(connect.await.expect("a database"))
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let waiting = env("TIDINGS_BENCH_WAITING", 1_000_000);
        let webhooks = env("TIDINGS_BENCH_WEBHOOKS", 10_000);
        for store in durable() {
            claims(store, waiting, webhooks).await;
        }
        #[cfg(feature = "postgres")]
        if stores().contains(&"postgres") {
            buffers(waiting, webhooks).await;
            ended(waiting, webhooks).await;
        }
        for store in durable() {
            prune(store, waiting).await;
        }
    });
}

/// The value that so much of all values, which are sorted, does not exceed.
fn quantile(values: &[f64], part: f64) -> f64 {
    let at = (values.len() as f64 * part).ceil() as usize;
    values.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

// --- claim -------------------------------------------------------------------------------------

/// Milliseconds of a claim of 100. What was claimed goes back, to the end of its lane.
async fn time_claim(worker: &Worker) -> f64 {
    let began = Instant::now();
    let leased = worker.claim(CLAIM).await;
    let took = began.elapsed();
    assert_eq!(leased.len(), CLAIM as usize);
    worker.give_back(&leased).await;
    took.as_secs_f64() * 1_000.0
}

async fn claims(store: &'static str, waiting: u64, webhooks: u64) {
    if !wanted("claim", store) {
        return;
    }
    let few = filled(store, Fill { webhooks, waiting: 1_000, ended: 0, fan: 10 }).await;
    let many = filled(store, Fill { webhooks, waiting, ended: 0, fan: 10 }).await;
    let workers = [Worker::begin(&few.storage, 1).await, Worker::begin(&many.storage, 1).await];
    let mut times = [Vec::new(), Vec::new()];
    // In turn, so that what else the machine does meets both.
    for number in 0..CLAIMS + 10 {
        for (worker, times) in workers.iter().zip(&mut times) {
            let took = time_claim(worker).await;
            // The first ones warm up.
            if number >= 10 {
                times.push(took);
            }
        }
    }
    let mut medians = Vec::new();
    for (mut times, waiting) in times.into_iter().zip([1_000, waiting]) {
        times.sort_by(f64::total_cmp);
        let (median, slow) = (quantile(&times, 0.5), quantile(&times, 0.95));
        medians.push(median);
        println!(
            "claim of {CLAIM:<8}{store:<10}{waiting:>10} waiting{median:>9.2} ms, p95 {slow:.2} ms"
        );
        println!(
            "{}",
            json!({"bench": "claim", "store": store, "waiting": waiting, "webhooks": webhooks,
                "median_ms": median, "p95_ms": slow})
        );
    }
    println!("claim of {CLAIM:<8}{store:<10}{:>7.2} times as long\n", medians[1] / medians[0]);
}

// --- what statements touch ---------------------------------------------------------------------

#[cfg(feature = "postgres")]
async fn buffers(waiting: u64, webhooks: u64) {
    if !wanted("buffers", "postgres") {
        return;
    }
    let fill = Fill { webhooks, waiting, ended: waiting, fan: 10 };
    let filled = filled("postgres", fill).await;
    let server = filled.server.as_ref().expect("a server");
    let statements = load::explained(server, DATABASE).await;
    println!("{:>6}{:>10}{:>10}{:>9}  statement", "runs", "buffers", "rows", "per row");
    for statement in &statements {
        let explain::Statement { text, runs, buffers, rows, scanned, .. } = statement;
        let per_row = statement.per_row();
        let cut: String = text.chars().take(110).collect();
        println!("{runs:>6}{buffers:>10}{rows:>10}{per_row:>9.1}  {cut}");
        if !scanned.is_empty() {
            println!("{:>37}from end to end: {scanned:?}", "");
        }
        if std::env::var_os("TIDINGS_BENCH_PLANS").is_some() && per_row > load::BUFFERS_PER_ROW {
            println!("{text}\n{}", statement.worst.2);
        }
    }
    for statement in &statements {
        let explain::Statement { text, runs, buffers, rows, .. } = statement;
        println!(
            "{}",
            json!({"bench": "buffers", "statement": text, "runs": runs, "buffers": buffers,
                "rows": rows, "per_row": statement.per_row()})
        );
    }
    println!();
}

// --- a long record -----------------------------------------------------------------------------

/// Publish, route and settle beside a record of a million, and while nothing can be vacuumed.
#[cfg(feature = "postgres")]
async fn ended(waiting: u64, webhooks: u64) {
    if !wanted("ended", "postgres") {
        return;
    }
    for record in [0, waiting] {
        let filled =
            filled("postgres", Fill { webhooks, waiting: 1_000, ended: record, fan: 10 }).await;
        let server = filled.server.as_ref().expect("a server");
        let load = Load::begin(&filled.storage).await;
        load.run(Duration::from_secs(2)).await;
        let plain = load.run(Duration::from_secs(10)).await;
        let rate = plain.per_second();
        println!("publish, route, settle  postgres{record:>10} ended{rate:>9.0} per s");
        println!(
            "{}",
            json!({"bench": "ended", "store": "postgres", "ended": record, "per_s": rate})
        );
        // A snapshot that stays: what is removed from now on stays in the tables and indexes.
        let hold = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM tidings.webhook; \
                    SELECT pg_sleep(32); COMMIT";
        std::thread::scope(|scope| {
            scope.spawn(|| server.sql(DATABASE, hold));
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    for part in 1..=3 {
                        let rate = load.run(Duration::from_secs(10)).await.per_second();
                        println!(
                            "  without vacuum, {:>3} s   postgres{record:>10} ended{rate:>9.0} per s",
                            part * 10
                        );
                        println!(
                            "{}",
                            json!({"bench": "unvacuumed", "store": "postgres", "ended": record,
                                "after_s": part * 10, "per_s": rate})
                        );
                    }
                });
            });
        });
    }
    println!();
}

// --- pruning -----------------------------------------------------------------------------------

async fn prune(store: &str, old: u64) {
    if !wanted("prune", store) {
        return;
    }
    let filled = filled(store, Fill { webhooks: 1_000, waiting: 1_000, ended: old, fan: 10 }).await;
    let load = Load::begin(&filled.storage).await;
    load.run(Duration::from_secs(2)).await;
    let quiet = load.run(Duration::from_secs(8)).await;
    let began = Instant::now();
    let sweeping = tokio::spawn(load::sweep_all(filled.storage.clone()));
    let mut busy = load::Done::default();
    while !sweeping.is_finished() {
        busy += load.run(Duration::from_secs(1)).await;
    }
    let load::Swept { pruned, steps } = sweeping.await.expect("the sweeps");
    let took = began.elapsed();
    let mut times: Vec<f64> = steps.iter().map(|step| step.as_secs_f64() * 1_000.0).collect();
    times.sort_by(f64::total_cmp);
    assert_eq!(pruned as u64, old / 10, "all old events are removed");
    let (median, slow) = (quantile(&times, 0.5), quantile(&times, 0.99));
    let longest = times.last().copied().unwrap_or_default();
    let (alone, beside) = (quiet.per_second(), busy.per_second());
    println!(
        "prune {old} deliveries with {pruned} events  {store}: {} steps in {:.1} s, median {median:.1} ms, \
         p99 {slow:.1} ms, longest {longest:.1} ms; live {alone:.0} per s alone, {beside:.0} beside it\n",
        times.len(),
        took.as_secs_f64()
    );
    println!(
        "{}",
        json!({"bench": "prune", "store": store, "deliveries": old, "events": pruned,
            "steps": times.len(), "seconds": took.as_secs_f64(), "median_ms": median,
            "p99_ms": slow, "longest_ms": longest, "alone_per_s": alone, "beside_per_s": beside})
    );
}
