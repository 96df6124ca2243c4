//! The throwaway PostgreSQL of the tests: it starts, survives being stopped, and leaves nothing.

#[path = "support/cluster.rs"]
mod cluster;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, panic, thread};

use cluster::{Cluster, Options, Stop};

/// Tells the test that is run as a child to hang with a running server.
const CHILD: &str = "TIDINGS_CLUSTER_CHILD";

/// Writes, stops in both ways, starts again and reads.
#[test]
#[ignore = "needs PostgreSQL: tests/run"]
fn a_cluster_keeps_its_data_over_every_stop() {
    let mut cluster = Cluster::with(Options::default().set("max_connections", "7"));
    let url = cluster.create_database("shop");
    assert_eq!(url, format!("postgresql://postgres@127.0.0.1:{}/shop", cluster.port()));
    cluster.sql("shop", "CREATE TABLE a (b int); INSERT INTO a VALUES (1)");
    for how in [Stop::Fast, Stop::Immediate] {
        cluster.restart(how);
        assert_eq!(cluster.sql("shop", "SELECT b, NULL FROM a"), [["1", ""]]);
    }
    assert_eq!(cluster.sql("shop", "SHOW max_connections"), [["7"]]);
    assert_eq!(cluster.sql("shop", "SHOW fsync"), [["off"]]);
    let error = cluster.try_sql("shop", "SELECT").and_then(|_| cluster.try_sql("shop", "SELEC"));
    assert!(error.unwrap_err().to_string().contains("42601"));
    let error = cluster.try_sql("nowhere", "SELECT 1").unwrap_err();
    assert!(error.to_string().contains("3D000"), "{error}");
    assert!(cluster.log().contains("ready to accept connections"));
}

/// Loads the library that counts statements, and asks it.
#[test]
#[ignore = "needs PostgreSQL: tests/run"]
fn statements_can_be_counted() {
    let options = Options::default().set("shared_preload_libraries", "pg_stat_statements");
    let cluster = Cluster::with(options);
    cluster.sql("postgres", "CREATE EXTENSION pg_stat_statements");
    cluster.sql("postgres", "SELECT 42");
    let sql = "SELECT calls FROM pg_stat_statements WHERE query = 'SELECT $1'";
    assert_ne!(cluster.sql("postgres", sql), Vec::<Vec<String>>::new());
}

/// Drops a cluster, and unwinds past one.
#[test]
#[ignore = "needs PostgreSQL: tests/run"]
fn nothing_is_left_of_a_cluster() {
    let gone = |folder: &Path, pid: u32| {
        assert!(!folder.exists(), "{} is left", folder.display());
        assert!(!runs(pid), "{pid} is left");
    };
    let cluster = Cluster::start();
    let (folder, pid) = (cluster.folder().to_owned(), cluster.pid().unwrap());
    assert!(folder.exists() && runs(pid));
    drop(cluster);
    gone(&folder, pid);

    let panicked = panic::catch_unwind(|| {
        let cluster = Cluster::start();
        panic::panic_any((cluster.folder().to_owned(), cluster.pid().unwrap()));
    });
    let left = panicked.unwrap_err();
    let (folder, pid) = left.downcast_ref::<(std::path::PathBuf, u32)>().unwrap();
    gone(folder, *pid);
}

/// Kills a process that has a cluster, and waits for the cluster's end.
#[test]
#[ignore = "needs PostgreSQL: tests/run"]
fn a_cluster_does_not_outlive_a_killed_test() {
    if let Some(told) = env::var_os(CHILD) {
        let cluster = Cluster::start();
        let text = format!("{}\n{}", cluster.folder().display(), cluster.pid().unwrap());
        let half = Path::new(&told).with_extension("half");
        fs::write(&half, text).unwrap();
        fs::rename(half, &told).unwrap();
        loop {
            thread::park();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_cluster_does_not_outlive_a_killed_test", "--include-ignored"])
        .env(CHILD, &told)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let text = until(|| fs::read_to_string(&told).ok());
    let (folder, pid) = text.split_once('\n').unwrap();
    let pid = pid.parse().unwrap();
    assert!(runs(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    until(|| (!Path::new(folder).exists() && !runs(pid)).then_some(()));
}

/// Asks for a password over TCP, where a client that knows none is turned away.
#[test]
#[ignore = "needs PostgreSQL: tests/run"]
fn a_password_is_asked_for() {
    let cluster = Cluster::with(Options::default().password("it's"));
    let rules = fs::read_to_string(cluster.folder().join("data/pg_hba.conf")).unwrap();
    assert!(rules.contains("127.0.0.1/32 scram-sha-256"), "{rules}");
    let sql = "SELECT rolpassword LIKE 'SCRAM-%' FROM pg_authid WHERE rolname = 'postgres'";
    let kept = cluster.sql("postgres", sql);
    assert_eq!(kept, [["t"]]);
}

fn runs(pid: u32) -> bool {
    let status = Command::new("sh").args(["-c", &format!("kill -s 0 {pid} 2>/dev/null")]).status();
    status.unwrap().success()
}

/// Waits for something to become true, up to a minute.
fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "waited for a minute");
        thread::sleep(Duration::from_millis(10));
    }
}
