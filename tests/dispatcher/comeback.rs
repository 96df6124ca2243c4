//! How what waited goes out when a receiver comes back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tidings::policy::RAMP_START;
use tidings::storage::MemoryStorage;
use tidings::transport::{Request, Response, TransportError, transport_fn};
use tidings::{Change, FailureKind, Tidings, clock_fn, time};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::kit::{Answer, FINE, Stage, epoch, millis, quiet, seconds};

/// A receiver that was down while 300 events waited: after the probe few are under way, then more and
/// more, and all arrive.
#[tokio::test(start_paused = true)]
async fn what_waited_goes_out_at_a_growing_rate() {
    let stage = Stage::new(|_| Answer::Status(503));
    let webhook = stage.webhook("a").await;
    let run = stage.start(quiet());
    stage.publish(1).await;
    stage.until_hits(1).await;
    stage.publish(300).await;
    stage.receivers.change_to(|_| Answer::Slow(millis(100), 200));
    stage.until_ended(301).await;
    run.stop().await;
    let hits = stage.receivers.hits_of("a");
    let probe = hits[1].at;
    // What may be under way doubles in the time of one request; nothing of it in the first two.
    for (begins, most) in [(0, 1), (100, RAMP_START as usize), (200, 4), (300, 8), (400, 16)] {
        let from = probe + millis(begins);
        let count = hits.iter().filter(|hit| hit.at >= from && hit.at < from + millis(100)).count();
        assert!(
            (1..=most).contains(&count),
            "{count} in the tenth after {begins} ms, {most} allowed"
        );
    }
    assert_eq!(stage.receivers.most("a"), 64, "the usual limit holds in the end");
    assert!(stage.tidings.webhook(webhook.id()).await.unwrap().is_enabled());
}

/// Enables a webhook for which 200 deliveries wait, whose receiver is still broken.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_still_broken_gets_one_request() {
    let stage = Stage::new(|_| Answer::Status(503));
    let webhook = stage.webhook("a").await;
    let run = stage.start(quiet());
    stage.publish(200).await;
    stage.until_hits(1).await;
    run.stop().await;
    let user = tidings::Confirmation::new("Ada", "Ada");
    stage.tidings.disable(webhook.id(), &user).await.unwrap();
    let before = stage.receivers.hits().len();
    stage.tidings.enable(webhook.id()).await.unwrap();
    let run = stage.start(quiet());
    tokio::time::sleep(seconds(4)).await;
    assert_eq!(stage.receivers.hits().len() - before, 1, "one probe");
    let ready = Arc::new(AtomicUsize::new(0));
    let seen = ready.clone();
    stage.receivers.change_to(move |_| {
        seen.fetch_add(1, Ordering::Relaxed);
        FINE
    });
    stage.until_ended(200).await;
    run.stop().await;
    assert_eq!(ready.load(Ordering::Relaxed), 200);
}

/// 10,000 webhooks at receivers that go down together for half an hour, while five events wait for each,
/// and come back together: the busiest hundredth of the time in which nine tenths of all goes out carries
/// at most twice the mean of the time in which the first half does. (What failed several times has due
/// times of its own, half an hour later: there is a lull between.)
#[tokio::test(start_paused = true)]
async fn many_that_come_back_together_do_not_come_at_once() {
    const WEBHOOKS: usize = 10_000;
    const EVENTS: usize = 5;
    let start = Instant::now();
    let tidings = Tidings::builder(MemoryStorage::new())
        .clock(clock_fn(move || time::after(epoch(), start.elapsed())))
        .build();
    for number in 0..WEBHOOKS {
        tidings.create(super::kit::registration(&format!("r{number}"))).await.unwrap();
    }
    let (down, done) = (Arc::new(AtomicBool::new(true)), Arc::new(Notify::new()));
    let taken: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let transport = {
        let (down, taken, done) = (down.clone(), taken.clone(), done.clone());
        transport_fn(move |_: Request| {
            let (down, taken, done) = (down.clone(), taken.clone(), done.clone());
            async move {
                tokio::time::sleep(millis(20)).await;
                if down.load(Ordering::Relaxed) {
                    return Err(TransportError::new(FailureKind::Connect, "down"));
                }
                let mut taken = taken.lock().unwrap();
                taken.push(Instant::now());
                if taken.len() == WEBHOOKS * EVENTS * 9 / 10 {
                    done.notify_one();
                }
                Ok(Response::new(200))
            }
        })
    };
    let dispatcher = tidings.dispatcher(transport).unwrap();
    let run = tokio::spawn(dispatcher.run(std::future::pending()));
    for _ in 0..EVENTS {
        let event = Change::of("order.paid", &serde_json::json!({})).unwrap();
        tidings.publish(&tidings.event(event).unwrap()).await.unwrap();
        tokio::time::sleep(seconds(360)).await;
    }
    let back = Instant::now();
    down.store(false, Ordering::Relaxed);
    done.notified().await;
    run.abort();
    let taken = taken.lock().unwrap();
    let window = *taken.last().unwrap() - back;
    let mut hundredths = [0_usize; 100];
    for at in taken.iter() {
        let part = (*at - back).as_micros() * 100 / (window.as_micros() + 1);
        hundredths[usize::try_from(part).unwrap()] += 1;
    }
    let half = WEBHOOKS * EVENTS / 2;
    let first = (taken[half - 1] - back).as_secs_f64() / window.as_secs_f64() * 100.0;
    let (peak, mean) = (*hundredths.iter().max().unwrap() as f64, half as f64 / first);
    println!("peak to mean {:.2}, in {window:?}", peak / mean);
    assert!(peak <= 2.0 * mean, "peak {peak}, mean {mean}, in {window:?}: {hundredths:?}");
}
