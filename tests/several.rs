//! Several dispatchers over one SQLite file, each with connections of its own, as processes have.
#![cfg(feature = "sqlite")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tidings::storage::SqliteStorage;
use tidings::transport::{Request, Response, transport_fn};
use tidings::{Change, DispatcherOptions, PageRequest, Registration, Tidings};

const EVENTS: u64 = 5_000;
const WEBHOOKS: u64 = 4;

/// What the receivers saw, and who sent it.
#[derive(Debug, Default)]
struct Seen {
    requests: Mutex<HashMap<(String, String), u32>>,
    by: [AtomicU64; 3],
    left: AtomicU64,
    done: tokio::sync::Notify,
}

/// Publishes 5,000 events for 4 webhooks through three handles on one file, while a dispatcher runs
/// on each: 20,000 deliveries, none twice, none lost, and each dispatcher had its part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_dispatchers_share_a_file_without_a_duplicate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidings.db");
    let seen = Arc::new(Seen { left: AtomicU64::new(EVENTS * WEBHOOKS), ..Seen::default() });
    let mut handles = Vec::new();
    for _ in 0..3 {
        handles.push(Tidings::new(SqliteStorage::open(&path).await.unwrap()));
    }
    for number in 0..WEBHOOKS {
        let address = format!("https://example.com/hook/{number}");
        let registration = Registration::new(&address, ["order.*"]).unwrap().enabled(true);
        handles[0].create(registration).await.unwrap();
    }
    let mut stops = Vec::new();
    let mut running = Vec::new();
    for (at, tidings) in handles.iter().enumerate() {
        let seen = seen.clone();
        let transport = transport_fn(move |request: Request| {
            let seen = seen.clone();
            async move {
                let id = request.http.headers()["webhook-id"].to_str().unwrap().to_owned();
                let key = (id, request.http.uri().path().to_owned());
                *seen.requests.lock().unwrap().entry(key).or_default() += 1;
                seen.by[at].fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(2)).await;
                if seen.left.fetch_sub(1, Ordering::Relaxed) == 1 {
                    seen.done.notify_one();
                }
                Ok(Response::new(204))
            }
        });
        let options = DispatcherOptions::default().in_flight(64).poll(Duration::from_millis(20));
        let dispatcher = tidings.dispatcher_with(Arc::new(transport), options).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        stops.push(stop);
        running.push(tokio::spawn(dispatcher.run(async {
            let _ = stopped.await;
        })));
    }
    for number in 0..EVENTS / 50 {
        let tidings = &handles[(number % 3) as usize];
        let events: Vec<_> = (0..50)
            .map(|at| {
                let object = json!({ "id": (number * 50 + at).to_string(), "state": "paid" });
                tidings.event(Change::of("order.paid", &object).unwrap()).unwrap()
            })
            .collect();
        tidings.publish_all(&events).await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(120), seen.done.notified()).await.unwrap();
    for stop in stops {
        stop.send(()).unwrap();
    }
    for running in running {
        running.await.unwrap();
    }
    {
        let requests = seen.requests.lock().unwrap();
        assert_eq!(requests.len() as u64, EVENTS * WEBHOOKS, "none is lost");
        assert!(requests.values().all(|count| *count == 1), "none is sent twice");
    }
    let by: Vec<u64> = seen.by.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    assert!(by.iter().all(|count| *count > 0), "each had a part: {by:?}");
    let page = handles[1].deliveries(&Default::default(), &PageRequest::default()).await.unwrap();
    assert!(page.items.iter().all(|view| view.delivery.attempt == 1), "one lease each");
}
