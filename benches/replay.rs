//! A replay of 100,000 events beside live traffic: a steady live rate of half of what the machine does
//! keeps 90 percent and more; and what is left of all that it does.
//!
//! `cargo bench --bench replay`. Memory and SQLite (synced), one process, receivers in the process.
//! `TIDINGS_PAST` says how many events, `TIDINGS_RATE` how many per second; in memory, where all that arrives
//! meanwhile has to fit, ten times as many. `TIDINGS_BENCH_ONLY=sqlite` measures that storage alone.

#[path = "../tests/support/replaying.rs"]
mod replaying;

use std::sync::Arc;
use std::time::Duration;

use self::replaying::Live;
use tidings::storage::{MemoryStorage, SqliteStorage, Storage};

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let past = number("TIDINGS_PAST", 100_000);
    let rate = u32::try_from(number("TIDINGS_RATE", 1_000)).expect("a rate");
    for (name, rate) in [("memory", (rate * 10).min(10_000)), ("sqlite", rate)] {
        if std::env::var("TIDINGS_BENCH_ONLY").is_ok_and(|only| only != name) {
            continue;
        }
        for live in [Live::Half, Live::AllThatArrives] {
            let folder = tempfile::tempdir().expect("a folder");
            let storage: Arc<dyn Storage> = match name {
                "memory" => Arc::new(MemoryStorage::new()),
                _ => {
                    let file = folder.path().join("tidings.db");
                    Arc::new(SqliteStorage::open(file).await.expect("a store"))
                }
            };
            let report =
                replaying::measure(storage, past, rate, Duration::from_secs(10), live).await;
            println!(
                "{name}, {live:?}: {} events replayed in {:.1} s ({:.0}/s); live {:.0}/s alone, \
                 {:.0}/s beside: {:.0} %",
                report.replayed,
                report.took.as_secs_f64(),
                report.replayed as f64 / report.took.as_secs_f64(),
                report.alone,
                report.beside,
                report.ratio() * 100.0,
            );
        }
    }
}
