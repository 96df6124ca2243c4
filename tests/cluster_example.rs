//! Runs the example's own code: three processes over one PostgreSQL, one of which is killed.
#![cfg(all(unix, feature = "postgres", feature = "hyper"))]

use std::process::Command;

#[allow(dead_code)]
#[path = "../examples/cluster.rs"]
mod example;

use example::{NODE, node, run};

/// Not a test by itself: a process that delivers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a parent: runs inside the test of the example"]
async fn the_node() {
    if std::env::var_os(NODE).is_some() {
        node().await.unwrap();
    }
}

/// Runs it over a throwaway server: all arrives, every process has its part, and the last line says
/// so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn what_a_killed_process_had_is_delivered_by_the_others() {
    let server = example::cluster::Cluster::start();
    let program = std::env::current_exe().unwrap();
    let child = || {
        let mut command = Command::new(&program);
        command.args(["--exact", "the_node", "--nocapture", "--include-ignored"]);
        command
    };
    let report = run(&server.new_database(), child).await.unwrap();
    assert!(report.is_complete(), "{report}");
    assert!(report.rows.iter().all(|row| row.delivered() > 0), "{report}");
    let text = report.to_string();
    let last = text.lines().last().unwrap();
    assert_eq!(last, "published 3000 events, delivered 4500 of 4500, lost 0", "{text}");
}
