//! All hostile receivers at once, beside good ones, in a process of their own.

use std::time::Duration;

use crate::crowd;

/// Runs the good receivers alone, and then beside the hostile ones, and compares what they get.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test below, in a process of its own"]
async fn a_crowd() {
    let figures = crowd::run(Duration::from_secs(5)).await;
    println!("{figures:?}");
    assert!(figures.attempts > 0);
    assert!(figures.kinds >= 40, "{} kinds", figures.kinds);
    assert!(figures.wrong.is_empty(), "{:#?}", figures.wrong);
    // Five times each margin: 250 ms, 64 MiB, and 80 %.
    assert!(figures.overrun < Duration::from_millis(5 * 250), "{:?}", figures.overrun);
    assert!(figures.grown < 5 * 64 * 1024, "grew by {} KiB", figures.grown);
    assert!(figures.beside >= 0.16 * figures.alone, "{} of {}", figures.beside, figures.alone);
}

/// The hostile receivers, for the test above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test above, in a process of its own"]
async fn the_hostile_ones() {
    crowd::serve().await;
}

/// Runs the crowd in a child process, so that its memory is its own.
#[test]
fn a_hundred_hostile_receivers_cost_a_hundred_good_ones_little() {
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new(program)
        .args(["--exact", "together::a_crowd", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}
