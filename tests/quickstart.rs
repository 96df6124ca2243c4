//! Runs the quickstart's own code: what it publishes arrives, and its count notices a loss.

#![cfg(all(feature = "sqlite", feature = "hyper"))]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

#[allow(dead_code)]
#[path = "../examples/quickstart.rs"]
mod quickstart;

use quickstart::{Manner, Receiver, changes, receivers, run};

fn data() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(root.join("examples/data/changes.jsonl")).expect("the changes")
}

/// Runs it over a file of its own, with more patience than a quiet machine needs.
#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_at_everyone_who_wants_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidings.db");
    let text = data();
    let changes = changes(&text).unwrap();
    let patience = Duration::from_secs(90);

    let report = run(&file, &changes, &receivers().await.unwrap(), patience).await.unwrap();

    let text = report.to_string();
    let last = text.lines().last().unwrap();
    let beginning = format!("published {} events, delivered ", changes.len());
    assert!(last.starts_with(&beginning), "{text}");
    assert!(last.ends_with(", lost 0"), "{text}");
    assert!(report.is_complete(), "{text}");
    assert_eq!(report.code(), ExitCode::SUCCESS, "{text}");
    assert!(file.metadata().unwrap().len() > 0);
}

/// Lets a receiver acknowledge an event and forget it: the sender is sure, the receiver's books are
/// not.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_event_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let text = data();
    let changes = changes(&text).unwrap();
    let receiver = Receiver::start("forgetful", Manner::Forgetful, &["order.created"]);
    let receivers = [receiver.await.unwrap()];
    let orders = changes.iter().filter(|line| line.event_type == "order.created").count();
    let patience = Duration::from_secs(6);

    let file = folder.path().join("tidings.db");
    let report = run(&file, &changes, &receivers, patience).await.unwrap();

    let last = format!("delivered {} of {orders}, lost 1", orders - 1);
    assert!(report.to_string().ends_with(&last), "{report}");
    assert!(!report.is_complete());
    assert_eq!(report.code(), ExitCode::FAILURE);
}

/// Reads the file: how much, of what, and whether each line is an event.
#[test]
fn the_changes_are_those_of_a_shop() {
    let text = data();
    let changes = changes(&text).unwrap();
    assert!(changes.len() >= 500, "{} changes", changes.len());
    assert!(text.len() < 1_000_000, "{} bytes", text.len());
    let types: BTreeSet<_> = changes.iter().map(|line| line.event_type).collect();
    for beginning in [
        "order.accepted",
        "order.line_item.",
        "order.charge.capture.",
        "order.charge.refund.",
        "order.charge.cancel.",
        "subscription.created",
        "subscription.updated",
        "subscription.reminder",
        "subscription.extended",
        "subscription.lapsed",
        "subscription.deleted",
        "return.",
        "refund.",
    ] {
        assert!(types.iter().any(|it| it.starts_with(beginning)), "no {beginning}");
    }
    for line in &changes {
        let change = line.change().unwrap();
        assert_eq!(change.event_type().as_str(), line.event_type);
    }
}
