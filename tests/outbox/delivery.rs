//! From a host's transaction to the receiver, on either storage.

use std::time::Duration;

use tidings::transport::{Response, transport_fn};
use tidings::{Registration, Tidings};
use tokio::sync::{mpsc, oneshot};

use crate::transactions::event;

/// Runs a dispatcher while `publish` publishes the events 0 to 19, each in a transaction, and keeps
/// the even ones. These arrive, and no other does.
pub(crate) async fn what_is_committed_is_delivered(
    tidings: &Tidings,
    mut publish: impl AsyncFnMut(u64),
) {
    let registration = Registration::new("https://example.com/hook", ["order.*"]).unwrap();
    tidings.create(registration.enabled(true)).await.unwrap();
    let (sent, mut arrived) = mpsc::unbounded_channel();
    let transport = transport_fn(move |request| {
        let id = request.http.headers()["webhook-id"].to_str().unwrap().to_owned();
        sent.send(id).unwrap();
        async { Ok(Response::new(204)) }
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let dispatcher = tidings.dispatcher(transport).unwrap();
    let running = tokio::spawn(dispatcher.run(async {
        let _ = stopped.await;
    }));

    for number in 0..20 {
        publish(number).await;
        tidings.wake();
    }
    let mut delivered = Vec::new();
    for _ in 0..10 {
        let waited = tokio::time::timeout(Duration::from_secs(30), arrived.recv()).await;
        delivered.push(waited.expect("a delivery").unwrap());
    }
    stop.send(()).unwrap();
    running.await.unwrap();
    assert!(arrived.try_recv().is_err());
    delivered.sort();
    let even = (0..20).step_by(2);
    assert_eq!(delivered, even.map(|number| event(number, 0).id().to_string()).collect::<Vec<_>>());
}
