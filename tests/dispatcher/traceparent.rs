//! The trace of an event goes with every attempt.

use std::sync::Arc;

use tidings::hooks::Hooks;
use tidings::storage::MemoryStorage;
use tidings::{Change, Edit, Headers, Tidings, TraceContext};

use super::kit::{Answer, FINE, Stage, quiet, registration};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn traced() -> Change {
    let change = Change::of("order.paid", &serde_json::json!({ "id": "1" })).unwrap();
    change.trace(TraceContext::parse(TRACE).unwrap().with_state("rojo=1,congo=t61").unwrap())
}

/// Delivers an event with a trace on the third try, and once more by redelivery; one without a trace; and
/// one to a webhook that has a header of that name.
#[tokio::test(start_paused = true)]
async fn every_attempt_carries_the_trace() {
    let stage = Stage::new(|hit| if hit.nth < 3 { Answer::Status(500) } else { FINE });
    stage.webhook("plain").await;
    let own = Headers::parse([("TraceParent", "of the webhook")]).unwrap();
    stage.webhook_with("own", Edit::new().headers(own)).await;
    let run = stage.start(quiet());
    let event = stage.tidings.event(traced()).unwrap();
    stage.tidings.publish(&event).await.unwrap();
    stage.until_ended(2).await;
    let plain = stage.deliveries(&[]).await.into_iter();
    let plain = plain.map(|view| view.delivery.id).collect::<Vec<_>>();
    for id in &plain {
        stage.tidings.redeliver(*id).await.unwrap();
    }
    stage.until_ended(4).await;
    let hits = stage.receivers.hits_of("plain");
    assert_eq!(hits.len(), 4);
    for hit in &hits {
        assert_eq!(hit.header("traceparent"), TRACE);
        assert_eq!(hit.header("tracestate"), "rojo=1,congo=t61");
        assert_eq!(hit.body, event.payload(), "it is no part of the payload");
    }
    for hit in stage.receivers.hits_of("own") {
        assert_eq!(hit.header("traceparent"), "of the webhook");
        assert!(!hit.headers.contains_key("tracestate"), "the state belongs to the other trace");
    }
    stage.publish(1).await;
    stage.until_ended(6).await;
    run.stop().await;
    let last = stage.receivers.hits_of("plain").pop().unwrap();
    assert!(!last.headers.contains_key("traceparent") && !last.headers.contains_key("tracestate"));
}

/// Has a hook write a span of the host's own.
#[tokio::test(start_paused = true)]
async fn a_hook_may_send_a_span_of_its_own() {
    let stage = Stage::new(|_| FINE);
    let hooks = Hooks::default().headers(|sending| {
        let trace = sending.event.trace().ok_or("no trace")?;
        let span = format!("00-{}-{:016x}-01", trace.trace_id(), sending.delivery.attempt);
        Ok(Headers::parse([("traceparent", span)])?)
    });
    let tidings = Tidings::builder(MemoryStorage::new()).hooks(hooks).build();
    tidings.create(registration("a")).await.unwrap();
    let event = tidings.event(traced()).unwrap();
    tidings.publish(&event).await.unwrap();
    let transport = stage.receivers.clone();
    let dispatcher = tidings.dispatcher_with(transport, quiet()).unwrap();
    let run = tokio::spawn(dispatcher.run(std::future::pending()));
    stage.until_hits(1).await;
    run.abort();
    let hit = stage.receivers.hits().remove(0);
    let span = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-01";
    assert_eq!(hit.header("traceparent"), span);
}

/// Publishes the same change with another trace.
#[tokio::test]
async fn a_repetition_with_another_trace_is_a_repetition() {
    let tidings = Tidings::builder_shared(Arc::new(MemoryStorage::new())).build();
    let first = tidings.event(traced()).unwrap();
    assert!(tidings.publish(&first).await.unwrap().new);
    let other = TraceContext::parse(&TRACE.replace("b7-01", "b8-00")).unwrap();
    let again = traced().trace(other).id(first.id());
    let again = tidings.event(again).unwrap();
    assert_eq!(again.digest(), first.digest());
    assert!(!tidings.publish(&again).await.unwrap().new);
    let stored = tidings.stored_event(first.id()).await.unwrap();
    assert_eq!(stored.trace(), first.trace(), "the first one stays");
}
