//! Runs the example's own code: a killed process leaves the change and its event, or neither.
#![cfg(all(unix, feature = "sqlite"))]

use std::process::Command;

#[allow(dead_code)]
#[path = "../examples/transaction.rs"]
mod transaction;

use transaction::{CHILD, run, take_payment};

/// Not a test by itself: the process that is killed.
#[test]
#[ignore = "needs a parent: runs inside the kill test"]
fn the_child() {
    if let Ok(told) = std::env::var(CHILD) {
        take_payment(&told).unwrap();
    }
}

/// Lets processes die at every point of their transactions, and compares orders with deliveries.
#[tokio::test]
async fn a_killed_process_leaves_both_or_neither() {
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let child = || {
        let mut command = Command::new(&program);
        command.args(["--exact", "the_child", "--include-ignored"]);
        command
    };
    let report = run(&folder.path().join("shop.db"), child).await.unwrap();
    assert_eq!((report.payments, report.killed), (30, 25), "{report}");
    // Those that died after the commit, and those that did not.
    assert_eq!((report.paid, report.delivered, report.halves), (10, 10, 0), "{report}");
    let last = report.to_string();
    assert!(
        last.ends_with("10 orders paid, 10 events delivered, 0 one without the other"),
        "{last}"
    );
}
