//! How a dispatcher ends.

use tidings::{Outcome, StateKind};
use tokio::time::Instant;

use super::faulty::{Call, Fault};
use super::kit::{Answer, FINE, Stage, millis, quiet, seconds};

/// Stops while nothing is to be done.
#[tokio::test(start_paused = true)]
async fn an_idle_dispatcher_stops_at_once() {
    let stage = Stage::new(|_| FINE);
    for idle in [0, 1, 3_600] {
        let run = stage.start(quiet());
        tokio::time::sleep(seconds(idle)).await;
        let begun = Instant::now();
        run.stop().await;
        assert!(begun.elapsed() < millis(5), "{:?}", begun.elapsed());
    }
}

/// Stops with more to send than may be in flight, every answer within the grace time.
#[tokio::test(start_paused = true)]
async fn what_is_in_flight_finishes_within_the_grace_time() {
    let stage = Stage::new(|_| Answer::Slow(seconds(2), 200));
    stage.webhook("a").await;
    let run = stage.start(quiet().in_flight(20).grace(seconds(10)));
    stage.publish(50).await;
    stage.until_hits(20).await;
    let begun = Instant::now();
    run.stop().await;
    assert!(begun.elapsed() <= millis(2_010), "{:?}", begun.elapsed());
    assert_eq!(stage.receivers.hits().len(), 20, "nothing new is sent");
    assert_eq!(stage.deliveries(&[StateKind::Delivered]).await.len(), 20);
    assert_eq!(stage.deliveries(&[StateKind::Leased]).await, []);
    let run = stage.start(quiet());
    stage.until_ended(50).await;
    run.stop().await;
    stage.assert_delivered_once(50).await;
}

/// Stops with receivers that never answer: what is cut off is recorded and given back at once.
#[tokio::test(start_paused = true)]
async fn what_does_not_finish_is_cut_off_and_given_back() {
    let stage = Stage::new(|hit| match hit.host.as_str() {
        "silent" => Answer::Stuck,
        _ => Answer::Slow(millis(300), 200),
    });
    stage.webhook("silent").await;
    stage.webhook("good").await;
    let run = stage.start(quiet().grace(seconds(3)));
    tokio::time::sleep(seconds(100)).await;
    stage.publish(10).await;
    stage.until_hits(20).await;
    tokio::time::sleep(millis(100)).await;
    let begun = Instant::now();
    run.stop().await;
    let took = begun.elapsed();
    assert!(seconds(3) <= took && took < millis(3_050), "{took:?}");
    assert_eq!(stage.receivers.open(), 0);
    assert_eq!(stage.deliveries(&[StateKind::Leased]).await, []);
    assert_eq!(stage.deliveries(&[StateKind::Delivered]).await.len(), 10);
    let waiting = stage.deliveries(&[StateKind::Waiting]).await;
    assert_eq!(waiting.len(), 10);
    for view in waiting {
        assert_eq!((view.delivery.failures, view.delivery.interruptions), (0, 0));
        assert!(!view.delivery.lapsed);
        let attempt = &view.attempts[0];
        assert_eq!(attempt.outcome, Outcome::Interrupted);
        assert!((millis(3_100)..millis(3_150)).contains(&attempt.latency));
        assert_eq!(attempt.started, super::kit::epoch() + seconds(100));
    }
    stage.receivers.change_to(|_| FINE);
    let run = stage.start(quiet());
    stage.until_ended(20).await;
    run.stop().await;
    assert_eq!(stage.deliveries(&[StateKind::Delivered]).await.len(), 20);
}

/// Stops while the probe of a paused lane is under way: the lane is not left paused for it.
#[tokio::test(start_paused = true)]
async fn a_probe_that_is_cut_off_leaves_its_lane_to_another() {
    let stage = Stage::new(|hit| if hit.nth == 1 { Answer::Status(503) } else { Answer::Stuck });
    stage.webhook("a").await;
    let run = stage.start(quiet().grace(seconds(1)));
    stage.publish(3).await;
    stage.until_hits(4).await;
    run.stop().await;
    stage.receivers.change_to(|_| FINE);
    let begun = Instant::now();
    let run = stage.start(quiet());
    stage.until_ended(3).await;
    assert!(begun.elapsed() < seconds(1), "{:?}", begun.elapsed());
    run.stop().await;
}

/// Stops while a call is under way that has leased, or will: nothing stays leased.
#[tokio::test(start_paused = true)]
async fn what_a_call_leases_during_the_shutdown_is_given_back() {
    for fault in [Fault::HangAfter, Fault::HangBefore, Fault::Slow(seconds(2))] {
        let stage = Stage::new(|_| FINE);
        stage.webhook("a").await;
        let run = stage.start(quiet().grace(seconds(1)));
        tokio::time::sleep(seconds(1)).await;
        stage.plan(move |call, _| if call == Call::Route { fault } else { Fault::None });
        stage.publish(5).await;
        tokio::time::sleep(millis(100)).await;
        let begun = Instant::now();
        run.stop().await;
        assert!(begun.elapsed() < millis(1_100), "{fault:?}: {:?}", begun.elapsed());
        assert_eq!(stage.deliveries(&[StateKind::Leased]).await, []);
        assert_eq!(stage.receivers.hits().len(), 0);
        stage.plan(|_, _| Fault::None);
        let run = stage.start(quiet());
        stage.until_ended(5).await;
        run.stop().await;
        stage.assert_delivered_once(5).await;
    }
}

/// Stops while no call to the storage answers, or all fail: it ends soon after the grace time.
#[tokio::test(start_paused = true)]
async fn a_storage_in_trouble_does_not_hold_up_the_end() {
    for fault in [Fault::HangBefore, Fault::HangAfter, Fault::Before, Fault::Panic] {
        let stage = Stage::new(|_| Answer::Slow(millis(500), 200));
        stage.webhook("a").await;
        let run = stage.start(quiet().grace(seconds(2)));
        stage.publish(5).await;
        stage.until_hits(5).await;
        stage.plan(move |_, _| fault);
        let begun = Instant::now();
        run.stop().await;
        assert!(begun.elapsed() <= millis(7_050), "{fault:?}: {:?}", begun.elapsed());
    }
}

/// Lets the process stand still at the end, while one settlement is under way and others wait behind
/// it: it goes on with little of its time left, or none, and the storage is well.
#[tokio::test(start_paused = true)]
async fn what_is_known_is_written_after_the_process_was_stopped() {
    for stopped in [seconds(2), seconds(10), seconds(1_000)] {
        let stage = Stage::new(|hit| if hit.host == "good" { FINE } else { Answer::Stuck });
        for host in ["good", "silent"] {
            stage.webhook(host).await;
        }
        let run = stage.start(quiet().grace(millis(500)).lease(seconds(3_600)));
        stage.plan(|call, nth| match call {
            Call::Settle if nth == 1 => Fault::Slow(seconds(1)),
            Call::Settle => Fault::Yield(1),
            _ => Fault::None,
        });
        stage.publish(1).await;
        stage.until_hits(2).await;
        let ending = tokio::spawn(run.stop());
        tokio::time::sleep(millis(900)).await;
        assert_eq!(stage.receivers.open(), 0, "it is at its end");
        assert!(!ending.is_finished());
        tokio::time::advance(stopped).await;
        ending.await.unwrap();
        assert_eq!(stage.deliveries(&[StateKind::Delivered]).await.len(), 1);
        let waiting = stage.deliveries(&[StateKind::Waiting]).await;
        assert_eq!(waiting.len(), 1, "given back");
        assert_eq!(waiting[0].attempts.len(), 1, "stopped for {stopped:?}");
    }
}

/// Fails the settlement and the goodbye of a shutdown a few times.
#[tokio::test(start_paused = true)]
async fn the_last_calls_are_repeated() {
    let stage = Stage::new(|_| Answer::Stuck);
    stage.webhook("a").await;
    let run = stage.start(quiet().grace(seconds(1)));
    stage.publish(5).await;
    stage.until_hits(5).await;
    stage.plan(|call, nth| match call {
        Call::Settle if nth <= 5 => Fault::Before,
        Call::Heartbeat if nth <= 5 => Fault::After,
        _ => Fault::None,
    });
    run.stop().await;
    let waiting = stage.deliveries(&[StateKind::Waiting]).await;
    assert_eq!(waiting.len(), 5);
    assert!(waiting.iter().all(|view| view.attempts.len() == 1));
}
