//! Storages, transports, observers and processes that fail.

use std::sync::atomic::{AtomicUsize, Ordering};

use tidings::storage::{Heartbeat, Turn};
use tidings::{
    Change, DispatcherOptions, FailureKind, Mode, Outcome, Schedule, StateKind, transport,
};

use super::faulty::{Call, Fault};
use super::kit::{Answer, FINE, Stage, due, exact, millis, quiet, seconds};

/// Leases of 9 s, polls every 250 ms, housekeeping every second: everything happens soon.
fn brisk() -> DispatcherOptions {
    DispatcherOptions::default().lease(seconds(9)).sweep_every(Some(seconds(1)))
}

/// Fails each kind of call before and after it happened, lets it hang before and after, and
/// panics in it; the first, the second and the third of its kind, and three in a row.
#[tokio::test(start_paused = true)]
async fn an_error_of_the_storage_loses_and_doubles_nothing() {
    let calls = [Call::Route, Call::Claim, Call::Settle, Call::Heartbeat, Call::Sweep];
    use Fault::{After, Before, HangAfter, HangBefore, Panic};
    for call in calls {
        for fault in [Before, After, HangBefore, HangAfter, Panic] {
            for faulted in [1..=1, 2..=2, 3..=3, 1..=3] {
                let stage = Stage::new(|hit| match hit.nth {
                    1 if hit.event.ends_with(['0', '4', '8', 'c']) => Answer::Status(500),
                    _ => Answer::Slow(millis(30), 200),
                });
                stage.webhook("a").await;
                stage.webhook("b").await;
                let planned = faulted.clone();
                stage.plan(move |kind, nth| match kind == call && planned.contains(&nth) {
                    true => fault,
                    false => Fault::None,
                });
                let run = stage.start(brisk().in_flight(8));
                for _ in 0..4 {
                    stage.publish(5).await;
                    tokio::time::sleep(millis(20)).await;
                }
                stage.until_ended(40).await;
                // Time for calls that hang, and for housekeeping.
                tokio::time::sleep(seconds(30)).await;
                run.stop().await;
                let case = format!("{call:?} {fault:?} {faulted:?}");
                assert!(stage.faulty.count(call) >= 3, "{case}: too few calls to fail");
                for view in stage.deliveries(&[]).await {
                    assert_eq!(view.delivery.interruptions, 0, "{case}");
                }
                stage.assert_delivered_once(40).await;
            }
        }
    }
}

/// Fails every route call for minutes while heartbeats succeed, and counts the calls.
#[tokio::test(start_paused = true)]
async fn a_call_that_fails_is_not_repeated_in_a_hot_loop() {
    for (call, most) in [(Call::Route, 80), (Call::Claim, 80), (Call::Settle, 3_100)] {
        let stage = Stage::new(|_| FINE);
        stage.webhook("a").await;
        stage.plan(move |kind, _| if kind == call { Fault::Before } else { Fault::None });
        let run = stage.start(DispatcherOptions::default());
        stage.publish(3).await;
        tokio::time::sleep(seconds(300)).await;
        let count = stage.faulty.count(call);
        assert!((50..=most).contains(&count), "{call:?}: {count}");
        assert!(stage.faulty.total() < 8_000, "{call:?}: {}", stage.faulty.total());
        stage.plan(|_, _| Fault::None);
        stage.until_ended(3).await;
        run.stop().await;
        stage.assert_delivered_once(3).await;
    }
}

/// Fails settle calls, though they happen, again and again.
#[tokio::test(start_paused = true)]
async fn a_settlement_is_repeated_until_it_succeeds() {
    for fault in [Fault::Before, Fault::After] {
        let stage = Stage::new(|_| FINE);
        stage.webhook("a").await;
        stage.plan(move |call, nth| match call {
            Call::Settle if nth <= 50 => fault,
            _ => Fault::None,
        });
        let run = stage.start(quiet());
        stage.publish(100).await;
        stage.until_ended(100).await;
        run.stop().await;
        assert_eq!(stage.notices.settled(), 100, "the observer hears of each once");
        stage.assert_delivered_once(100).await;
    }
}

/// Lets a claim hang that has leased: its deliveries go back without an interruption and are sent
/// by a later claim; the permits come back, too.
#[tokio::test(start_paused = true)]
async fn what_a_hanging_call_leased_goes_back_uncharged() {
    let stage = Stage::new(|hit| if hit.nth == 1 { Answer::Status(500) } else { FINE });
    stage.webhook("a").await;
    let run = stage.start(brisk().in_flight(5));
    stage.publish(5).await;
    stage.until(|stage| stage.notices.settled() == 5).await;
    let due = stage.deliveries(&[]).await.iter().map(|view| due(&view.delivery)).min();
    let (begun, hung) = (tokio::time::Instant::now(), AtomicUsize::new(0));
    stage.plan(move |call, _| {
        let hangs = call == Call::Claim
            && begun.elapsed() >= seconds(5)
            && hung.fetch_add(1, Ordering::Relaxed) < 2;
        if hangs { Fault::HangAfter } else { Fault::None }
    });
    stage.until_ended(5).await;
    assert!(stage.now() > due.unwrap() + seconds(18));
    for view in stage.deliveries(&[]).await {
        assert_eq!((view.delivery.interruptions, view.attempts.len()), (0, 2));
        assert_eq!(view.delivery.attempt, 4, "two leases were given back");
    }
    run.stop().await;
}

/// The storage forgets the dispatcher, because no heartbeat reached it for longer than a lease,
/// while requests are open: they are sent again, and what came too late changes nothing.
#[tokio::test(start_paused = true)]
async fn a_dispatcher_that_was_given_up_goes_on() {
    let stage = Stage::new(|hit| match hit.nth {
        1 => Answer::Slow(seconds(14), 500),
        _ => FINE,
    });
    stage.webhook("a").await;
    let cut_off = stage.start(brisk());
    stage.publish(3).await;
    stage.until_hits(3).await;
    stage.plan(|call, nth| match call {
        Call::Heartbeat if nth <= 60 => Fault::Before,
        _ => Fault::None,
    });
    // Somebody else looks for the dead after a lease.
    tokio::time::sleep(seconds(10)).await;
    let now = stage.now();
    let dispatcher = stage.tidings.dispatcher(stage.receivers.clone()).unwrap().id();
    let heartbeat = Heartbeat { dispatcher, now, until: now + seconds(1), abandoned: Vec::new() };
    stage.faulty.inner.heartbeat(&heartbeat).await.unwrap();
    let turn = Turn {
        dispatcher,
        ticket: 1,
        now,
        marks: 0,
        deliveries: 0,
        total: 0,
        each: 0,
        busy: Default::default(),
        probe: seconds(1),
        held: Default::default(),
        holds: 0,
    };
    stage.faulty.inner.claim(&turn).await.unwrap();
    stage.until_ended(3).await;
    cut_off.stop().await;
    for view in stage.deliveries(&[]).await {
        assert_eq!(view.delivery.state.kind(), StateKind::Delivered);
        assert_eq!((view.delivery.interruptions, view.delivery.failures), (1, 0));
        let outcomes: Vec<_> = view.attempts.iter().map(|attempt| attempt.outcome).collect();
        assert_eq!(outcomes.len(), 2, "each request left a record: {outcomes:?}");
    }
}

/// Panics in the transport for one webhook only.
#[tokio::test(start_paused = true)]
async fn a_panic_in_the_transport_is_a_failed_attempt() {
    let stage = Stage::new(|hit| match (hit.host.as_str(), hit.nth) {
        ("bad", 1 | 2) => Answer::Panic,
        _ => FINE,
    });
    stage.webhook("bad").await;
    stage.webhook("good").await;
    let run = stage.start(quiet());
    stage.publish(5).await;
    stage.until_ended(10).await;
    run.stop().await;
    stage.assert_delivered_once(10).await;
    for view in stage.deliveries(&[]).await {
        let panics = Outcome::Unanswered(FailureKind::Panic);
        let panics = view.attempts.iter().filter(|attempt| attempt.outcome == panics);
        assert_eq!(panics.count(), view.attempts.len() - 1);
        assert_eq!(view.delivery.failures, 0, "the receiver is not to blame");
    }
}

/// Panics in the observer for a while.
#[tokio::test(start_paused = true)]
async fn a_panic_in_the_observer_changes_nothing() {
    let stage = Stage::new(|_| FINE);
    stage.webhook("a").await;
    stage.notices.panic_next(7);
    let run = stage.start(quiet());
    stage.publish(20).await;
    stage.until_ended(20).await;
    assert!(run.is_running());
    run.stop().await;
    stage.assert_delivered_once(20).await;
}

/// Never answers, in a transport that never returns.
#[tokio::test(start_paused = true)]
async fn a_transport_that_ignores_its_deadline_is_cut_off() {
    let stage = Stage::new(|hit| if hit.nth == 1 { Answer::Stuck } else { FINE });
    stage.webhook("a").await;
    let run = stage.start(quiet());
    stage.publish(1).await;
    stage.until(|stage| stage.notices.settled() == 1).await;
    let view = stage.only().await;
    let attempt = &view.attempts[0];
    assert_eq!(attempt.outcome, Outcome::Unanswered(FailureKind::Timeout));
    assert!((seconds(15)..seconds(17)).contains(&attempt.latency), "{:?}", attempt.latency);
    assert_eq!(stage.receivers.open(), 0, "the exchange has ended");
    stage.until_ended(1).await;
    run.stop().await;
    stage.assert_delivered_once(1).await;
}

/// Kills a dispatcher with requests open beside a living one that takes over.
#[tokio::test(start_paused = true)]
async fn another_dispatcher_takes_over_after_a_crash() {
    let stage = Stage::new(|hit| if hit.nth == 1 { Answer::Stuck } else { FINE });
    stage.webhook("a").await;
    let first = stage.start(brisk());
    stage.publish(10).await;
    stage.until_hits(10).await;
    first.crash().await;
    let crashed = tokio::time::Instant::now();
    assert_eq!(stage.receivers.open(), 0, "nothing runs behind the host's back");
    let second = stage.start(brisk());
    stage.until_ended(10).await;
    let waited = crashed.elapsed();
    assert!(seconds(8) < waited && waited < seconds(10), "the lease must pass: {waited:?}");
    second.stop().await;
    for view in stage.deliveries(&[]).await {
        let delivery = view.delivery;
        assert_eq!(delivery.state.kind(), StateKind::Delivered);
        assert_eq!((delivery.interruptions, delivery.failures, delivery.attempt), (1, 0, 2));
    }
}

/// Every request kills its sender. Three interruptions are free; each later one costs a failure
/// on the schedule of three tries, before the next request.
#[tokio::test(start_paused = true)]
async fn a_payload_that_kills_its_sender_ends() {
    let schedule = Schedule::new([seconds(10), seconds(20)]).unwrap();
    let stage = Stage::with(exact().with_schedule(Mode::Live, schedule), |_| Answer::Stuck);
    stage.webhook("a").await;
    stage.publish(1).await;
    let mut crashes = 0;
    loop {
        let run = stage.start(brisk());
        let ended = |stage: &Stage| stage.notices.ended() == 1;
        stage.until(|stage| ended(stage) || stage.receivers.open() == 1).await;
        if ended(&stage) {
            run.stop().await;
            break;
        }
        run.crash().await;
        crashes += 1;
    }
    // The first and three free repetitions, then one after each of the two delays.
    assert_eq!(crashes, 6);
    let view = stage.only().await;
    assert_eq!(view.delivery.state.kind(), StateKind::Exhausted);
    assert_eq!((view.delivery.interruptions, view.delivery.failures), (6, 3));
    assert!(view.attempts.iter().all(|attempt| attempt.outcome == Outcome::Interrupted));
    assert_eq!(view.attempts.len(), 3);
    let hits = stage.receivers.hits();
    assert!(hits[4].at - hits[3].at >= seconds(10));
    assert!(hits[5].at - hits[4].at >= seconds(20));
}

/// Looks at everything from inside a transport: the handle may be used there.
#[tokio::test(start_paused = true)]
async fn a_transport_may_call_the_handle() {
    let stage = Stage::new(|_| FINE);
    stage.webhook("a").await;
    let (tidings, receivers) = (stage.tidings.clone(), stage.receivers.clone());
    let calling = transport::transport_fn(move |request| {
        let (tidings, receivers) = (tidings.clone(), receivers.clone());
        async move {
            let more = receivers.hits().len() < 5;
            if more {
                let change = Change::of("order.paid", &serde_json::json!({})).unwrap();
                let event = tidings.event(change).unwrap();
                tidings.publish(&event).await.unwrap();
            }
            transport::Transport::send(&receivers, request).await
        }
    });
    let dispatcher = stage.tidings.dispatcher(calling).unwrap();
    let run = tokio::spawn(dispatcher.run(std::future::pending()));
    stage.publish(1).await;
    stage.until_ended(6).await;
    run.abort();
    stage.assert_delivered_once(6).await;
}
