//! The health report: what is ready, and what is not, whatever the storage does.

use std::time::Duration;

use tidings::storage::MemoryStorage;
use tidings::{ErrorKind, StatisticsQuery, Tidings};
use tokio::time::Instant;

use super::faulty::{Call, Fault};
use super::kit::{Answer, FINE, Stage, epoch, millis, quiet, seconds};

/// Asks a handle that has no dispatcher, as a process that only publishes.
#[tokio::test(start_paused = true)]
async fn who_only_publishes_is_ready_without_a_dispatcher() {
    let stage = Stage::new(|_| FINE);
    let report = stage.tidings.health().await;
    assert!(report.is_ready(), "{report:?}");
    assert!(report.dispatchers.is_empty() && report.storage.is_some());
    assert_eq!((report.oldest_due, report.lag), (None, Duration::ZERO));
    assert_eq!(report.clock_offset, None, "this storage has no clock of its own");
}

/// Asks before a dispatcher has its first answer, while it works, after it was killed, beside another
/// one, and after a shutdown.
#[tokio::test(start_paused = true)]
async fn a_node_is_ready_while_a_dispatcher_lives() {
    let stage = Stage::new(|_| FINE);
    stage.webhook("a").await;
    stage.plan(|call, _| match call {
        Call::Heartbeat => Fault::Slow(seconds(1)),
        _ => Fault::None,
    });
    let run = stage.start(quiet());
    tokio::time::sleep(millis(10)).await;
    let report = stage.tidings.health().await;
    assert!(!report.is_ready(), "nothing is sent before the first sign of life: {report:?}");
    assert_eq!(report.dispatchers.len(), 1);
    assert_eq!(report.dispatchers[0].heartbeat, None);
    stage.publish(1).await;
    stage.until_ended(1).await;
    let report = stage.tidings.health().await;
    assert!(report.is_ready() && report.dispatchers[0].alive, "{report:?}");
    assert!(report.dispatchers[0].heartbeat.unwrap() < seconds(12));
    run.crash().await;
    let report = stage.tidings.health().await;
    assert!(!report.is_ready() && report.dispatchers.is_empty(), "{report:?}");
    stage.plan(|_, _| Fault::None);
    let run = stage.start(quiet());
    stage.publish(1).await;
    stage.until_ended(2).await;
    assert!(stage.tidings.health().await.is_ready());
    run.stop().await;
    assert!(!stage.tidings.health().await.is_ready(), "it was shut down");
}

/// Keeps the storage from hearing signs of life for longer than a lease.
#[tokio::test(start_paused = true)]
async fn a_dispatcher_without_leases_is_not_alive() {
    let stage = Stage::new(|_| FINE);
    let run = stage.start(quiet().lease(seconds(9)));
    tokio::time::sleep(seconds(5)).await;
    assert!(stage.tidings.health().await.is_ready());
    stage.plan(|call, _| match call {
        Call::Heartbeat => Fault::Before,
        _ => Fault::None,
    });
    tokio::time::sleep(seconds(10)).await;
    let report = stage.tidings.health().await;
    assert!(!report.is_ready() && !report.dispatchers[0].alive, "{report:?}");
    assert!(report.dispatchers[0].heartbeat.unwrap() >= seconds(9));
    assert!(report.storage.is_some(), "the storage answers");
    stage.plan(|_, _| Fault::None);
    tokio::time::sleep(seconds(1)).await;
    assert!(stage.tidings.health().await.is_ready());
    run.stop().await;
}

/// Asks storages that fail, hang and panic, in either of their calls (table).
#[tokio::test(start_paused = true)]
async fn the_report_comes_whatever_the_storage_does() {
    let stage = Stage::new(|_| FINE);
    for (fault, kind) in [
        (Fault::Before, ErrorKind::Unavailable),
        (Fault::HangBefore, ErrorKind::Unavailable),
        (Fault::HangAfter, ErrorKind::Unavailable),
        (Fault::Slow(seconds(60)), ErrorKind::Unavailable),
        (Fault::Panic, ErrorKind::Storage),
    ] {
        stage.plan(move |call, _| if call == Call::OldestDue { fault } else { Fault::None });
        let asked = Instant::now();
        let report = stage.tidings.health().await;
        assert!(asked.elapsed() <= seconds(3), "{fault:?}: {:?}", asked.elapsed());
        assert!(report.is_ready() && report.oldest_due.is_none(), "{fault:?}: {report:?}");
        for failing in [Call::Events] {
            stage.plan(move |call, _| if call == failing { fault } else { Fault::None });
            let asked = Instant::now();
            let report = stage.tidings.health().await;
            assert!(asked.elapsed() <= seconds(3), "{fault:?}: {:?}", asked.elapsed());
            assert!(!report.is_ready() && report.storage.is_none(), "{fault:?}: {report:?}");
            assert_eq!(report.error.as_ref().unwrap().kind(), kind, "{fault:?}");
            let json = serde_json::to_value(&report).unwrap();
            assert_eq!(json["ready"], false);
            assert_eq!(json["storageMilliseconds"], serde_json::Value::Null);
            assert!(!json.to_string().contains("planted"), "an error's text is not for strangers");
        }
    }
    stage.plan(|_, _| Fault::None);
    assert!(stage.tidings.health().await.is_ready(), "it is over");
}

/// Leaves an event unrouted, a delivery overdue, one paused, and one of a disabled webhook.
#[tokio::test(start_paused = true)]
async fn the_lag_is_that_of_the_oldest_due() {
    let stage = Stage::new(|hit| match hit.host.as_str() {
        "busy" => Answer::Status(503),
        _ => FINE,
    });
    let webhook = stage.webhook("a").await;
    let published = stage.now();
    stage.publish(1).await;
    tokio::time::sleep(seconds(7)).await;
    let report = stage.tidings.health().await;
    assert_eq!((report.oldest_due, report.lag), (Some(published), seconds(7)), "not routed");
    assert!(report.is_ready(), "a backlog makes nobody unready");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["oldestDue"], "2026-01-01T00:00:00.000Z");
    assert_eq!(json["lagMilliseconds"], 7_000.0);
    let run = stage.start(quiet());
    stage.until_ended(1).await;
    assert_eq!(stage.tidings.health().await.oldest_due, None);
    run.crash().await;
    // What nobody routes for a disabled webhook alone is still to be routed; then it is due to nobody.
    let typed = tidings::Confirmation::new("ada", "ada");
    let other = stage.webhook("busy").await;
    let run = stage.start(quiet());
    stage.publish(1).await;
    stage.until_ended(2).await;
    stage.until(|stage| stage.notices.settled() >= 3).await;
    run.stop().await;
    assert_eq!(stage.tidings.health().await.oldest_due, None, "it is paused");
    tokio::time::sleep(seconds(3_600)).await;
    let report = stage.tidings.health().await;
    assert!(report.lag > seconds(3_000), "its pause is over: {report:?}");
    for id in [webhook.id(), other.id()] {
        stage.tidings.disable(id, &typed).await.unwrap();
    }
    assert_eq!(stage.tidings.health().await.oldest_due, None, "it is disabled");
}

/// Asks for statistics where the storage keeps none, as most of a host's own.
#[tokio::test(start_paused = true)]
async fn without_statistics_there_are_none() {
    let stage = Stage::new(|_| FINE);
    let query = StatisticsQuery::new(epoch(), stage.now() + seconds(1)).unwrap();
    let error = stage.tidings.statistics(&query).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}

/// Asks over another handle to the same storage: each has its own dispatchers.
#[tokio::test(start_paused = true)]
async fn a_dispatcher_counts_for_its_own_handle() {
    let storage = MemoryStorage::new();
    let (one, two) = (Tidings::new(storage.clone()), Tidings::new(storage));
    let transport =
        tidings::transport::transport_fn(|_| async { Ok(tidings::transport::Response::new(204)) });
    let run = tokio::spawn(one.dispatcher(transport).unwrap().run(std::future::pending()));
    tokio::time::sleep(seconds(1)).await;
    assert_eq!(one.clone().health().await.dispatchers.len(), 1, "clones are the same handle");
    assert!(two.health().await.dispatchers.is_empty());
    run.abort();
}
