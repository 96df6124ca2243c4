//! The pace of a replay, in the virtual time of the test kit.

use std::time::Duration;

use serde_json::json;
use tidings::testing::{Kit, Receiver, seconds};
use tidings::{Change, ReplayJob, ReplayRequest, ReplayState};

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

fn published(kit: &Kit, count: usize) {
    for number in 0..count {
        let change = Change::of("order.paid", &json!({ "id": number.to_string() }));
        kit.publish(change.expect("a change"));
    }
}

fn job(kit: &Kit, job: &ReplayJob) -> ReplayJob {
    wait(kit.tidings().replay_job(job.id)).expect("a replay")
}

/// How many requests came in each second from `from` on.
fn per_second(receiver: &Receiver, from: tidings::Timestamp) -> Vec<usize> {
    let mut counts = Vec::new();
    for attempt in receiver.attempts() {
        let Ok(after) = (attempt.started - from).to_std() else { continue };
        let second = usize::try_from(after.as_secs()).expect("a number");
        if counts.len() <= second {
            counts.resize(second + 1, 0);
        }
        counts[second] += 1;
    }
    counts
}

/// Replays 95 events at ten a second.
#[test]
fn a_replay_keeps_its_rate() {
    let kit = Kit::new();
    let shop = kit.webhook(["order.*"]);
    published(&kit, 95);
    kit.settle();
    kit.advance(seconds(1));
    let began = kit.now();
    let request = ReplayRequest::all(shop.id()).rate(10).expect("a rate");
    let started = wait(kit.tidings().replay(request)).expect("a replay");
    kit.advance(Duration::from_millis(4_950));
    let halfway = job(&kit, &started);
    assert_eq!(halfway.state, ReplayState::Running);
    assert!((40..=50).contains(&halfway.made), "{halfway:?}");
    kit.advance(seconds(15));
    let over = job(&kit, &started);
    assert_eq!((over.made, over.due), (95, None));
    let counts = per_second(&shop, began);
    assert_eq!(counts.iter().sum::<usize>(), 95);
    assert!(counts.len() >= 9 && counts.iter().all(|count| *count <= 11), "{counts:?}");
}

/// Replays to a receiver that asks for peace.
#[test]
fn a_replay_leaves_a_receiver_in_peace() {
    let kit = Kit::new();
    let shop = kit.webhook(["order.*"]);
    published(&kit, 50);
    kit.settle();
    let before = shop.attempts().len();
    shop.then(tidings::testing::Answer::status(429).header("retry-after", "60"));
    let request = ReplayRequest::all(shop.id()).rate(1).expect("a rate");
    let started = wait(kit.tidings().replay(request)).expect("a replay");
    kit.advance(seconds(50));
    assert_eq!(shop.attempts().len(), before + 1, "the one that was refused");
    assert!(job(&kit, &started).made <= 2, "and nothing is piled up meanwhile");
    kit.advance(seconds(120));
    assert_eq!(job(&kit, &started).made, 50);
    assert_eq!(shop.attempts().len(), before + 51, "the refused one again, and the others");
}
