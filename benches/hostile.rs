//! What a hundred hostile receivers cost a hundred good ones: rates, memory, and how late an attempt
//! ends at worst. `cargo bench --bench hostile`.
#![allow(missing_docs)]

#[path = "../tests/support/authority.rs"]
#[allow(dead_code)] // The tests need the rest of it.
mod authority;
#[path = "../tests/hostile/behaviour.rs"]
#[allow(dead_code)]
mod behaviour;
#[path = "../tests/hostile/crowd.rs"]
mod crowd;
#[path = "../tests/transport/receiver.rs"]
#[allow(dead_code)]
mod receiver;
#[path = "../tests/hostile/secure.rs"]
#[allow(dead_code)]
mod secure;
#[path = "../tests/support/trace.rs"]
mod trace;

use std::time::Duration;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    // Started by itself, as the process of the hostile ones.
    if std::env::args().any(|argument| argument == "--exact") {
        runtime.block_on(crowd::serve());
        return;
    }
    let figures = runtime.block_on(crowd::run(Duration::from_secs(15)));
    println!("good ones alone       {:>8.0} / s", figures.alone);
    let share = 100.0 * figures.beside / figures.alone;
    println!("beside the hostile    {:>8.0} / s ({share:.0} %)", figures.beside);
    println!("memory grew at most   {:>8.1} MiB", figures.grown as f64 / 1_024.0);
    println!("longest overrun       {:>8.1} ms", figures.overrun.as_secs_f64() * 1_000.0);
    println!("hostile attempts      {:>8} of {} kinds", figures.attempts, figures.kinds);
    println!("recorded wrongly      {:>8}", figures.wrong.len());
    for wrong in figures.wrong.iter().take(10) {
        println!("  {wrong}");
    }
}
