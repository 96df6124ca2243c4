//! Thousands of simulated months: the real engine, a virtual clock, faults of eighteen kinds, and a
//! model that knows what must be true. A failure names its seed; `TIDINGS_SEED=n` repeats it.
#![cfg(feature = "engine")]

mod sim;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use sim::faults::{FAULTS, Fired};
use sim::world::{Gate, Report, Size, run};
use tidings::storage::{MemoryStorage, Storage};

const MONTH: Size = Size { events: 500, days: 30, threads: false };

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn in_memory(seed: u64) -> Result<Report, String> {
    run(seed, MONTH, || async { Arc::new(MemoryStorage::new()) as Arc<dyn Storage> })
}

/// Runs one world, and ends the whole process, naming the seed, if it takes longer than
/// `TIDINGS_PATIENCE` seconds: a world in which time stands still would hold everybody up for ever.
fn watched(seed: u64, world: impl FnOnce() -> Result<Report, String>) -> Result<Report, String> {
    let patience = env("TIDINGS_PATIENCE").unwrap_or(300);
    let (done, wait) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let waited = wait.recv_timeout(Duration::from_secs(patience));
            if waited == Err(RecvTimeoutError::Timeout) {
                eprintln!(
                    "seed {seed}: spins: it has not ended in {patience} s (TIDINGS_PATIENCE)"
                );
                std::process::exit(1);
            }
        });
        let report = world();
        drop(done);
        report
    })
}

/// Planted panics would fill the output.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// Runs `seeds` worlds on two threads and says what happened in all.
fn run_all(seeds: u64, world: impl Fn(u64) -> Result<Report, String> + Sync) -> Fired {
    quiet_panics();
    let (from, until) = match env("TIDINGS_SEED") {
        Some(seed) => (seed, seed + 1),
        None => (0, seeds),
    };
    let next = AtomicU64::new(from);
    let fired = Fired::default();
    let totals: [AtomicU64; 6] = Default::default();
    let failure = std::sync::Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= until || failure.lock().unwrap().is_some() {
                        return;
                    }
                    match watched(seed, || world(seed)) {
                        Ok(report) => {
                            fired.add(&report.fired);
                            for (total, value) in totals.iter().zip([
                                report.events as u64,
                                report.deliveries as u64,
                                report.leases,
                                report.lost,
                                report.exposed,
                                report.disabled,
                            ]) {
                                total.fetch_add(value, Ordering::Relaxed);
                            }
                        }
                        Err(text) => {
                            failure.lock().unwrap().get_or_insert((seed, text));
                            return;
                        }
                    }
                }
            });
        }
    });
    let total = |at: usize| totals[at].load(Ordering::Relaxed);
    println!(
        "{} seeds: {} events, {} deliveries, {} leases, {} late settlements, {} exposed to a duplicate, {} webhooks disabled, lost 0",
        until - from,
        total(0),
        total(1),
        total(2),
        total(3),
        total(4),
        total(5)
    );
    for fault in FAULTS {
        println!("  {fault:?} fired {} times", fired.count(fault));
    }
    if let Some((seed, text)) = failure.into_inner().unwrap() {
        let _ = std::panic::take_hook();
        panic!("seed {seed}: {text}\nrepeat with TIDINGS_SEED={seed}");
    }
    fired
}

/// 2,000 seeds over memory (`TIDINGS_SEEDS` for more or fewer): every invariant holds in each, and
/// every kind of fault fired at least 100 times.
#[test]
fn nothing_is_lost_in_memory() {
    let seeds = env("TIDINGS_SEEDS").unwrap_or(2_000);
    let fired = run_all(seeds, in_memory);
    if seeds >= 2_000 && env("TIDINGS_SEED").is_none() {
        for fault in FAULTS {
            assert!(fired.count(fault) >= 100, "{fault:?} fired too seldom to show anything");
        }
    }
}

/// 50 seeds over SQLite (`TIDINGS_SQLITE_SEEDS` for more or fewer), each in a file of its own that
/// is sound in the end. Nothing is synced: power cuts are another test's matter.
#[cfg(feature = "sqlite")]
#[test]
fn nothing_is_lost_in_sqlite() {
    use tidings::storage::{SqliteOptions, SqliteStorage};

    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::default().dangerously_without_sync(true);
    let size = Size { threads: true, ..MONTH };
    run_all(env("TIDINGS_SQLITE_SEEDS").unwrap_or(50), |seed| {
        let path = folder.path().join(format!("{seed}.db"));
        let report = run(seed, size, || async {
            let storage = SqliteStorage::open_with(&path, options.clone()).await;
            Arc::new(storage.unwrap()) as Arc<dyn Storage>
        })?;
        let file = rusqlite::Connection::open(&path).unwrap();
        let sound: String = file.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
        match sound.as_str() {
            "ok" => Ok(report),
            errors => Err(format!("I12: {errors}")),
        }
    });
}

/// The same seed twice gives the same history, to the last lease.
#[test]
fn a_seed_repeats_itself() {
    quiet_panics();
    for seed in [3, 7, 11] {
        let first = in_memory(seed).unwrap();
        let second = in_memory(seed).unwrap();
        assert_eq!(first.digest, second.digest, "seed {seed}");
        assert_eq!(first.leases, second.leases, "seed {seed}");
    }
}

/// Stops a process, and while it stands still once more, for a shorter time and for a longer one:
/// neither lets it go on before a call of it does.
#[tokio::test(start_paused = true)]
async fn a_process_and_its_calls_go_on_together() {
    for (second, until) in [(1, 8), (9, 11)] {
        let hour = |hours: u64| Duration::from_secs(hours * 3_600);
        let (gate, begun) = (Arc::new(Gate::default()), tokio::time::Instant::now());
        gate.pause(hour(8));
        let call = tokio::spawn({
            let gate = gate.clone();
            async move { gate.pass().await }
        });
        tokio::time::sleep(hour(2)).await;
        gate.pause(hour(second));
        gate.pass().await;
        assert_eq!(begun.elapsed(), hour(until));
        tokio::task::yield_now().await;
        assert!(call.is_finished());
    }
}
