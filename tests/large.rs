//! The pages of a large store: what the console and the API ask for is answered at once, however many
//! webhooks, events and deliveries there are.
#![cfg(all(feature = "api", feature = "sqlite"))]

#[cfg(feature = "postgres")]
#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/fill.rs"]
mod fill;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::Value;
use tidings::Tidings;
use tidings::api::{Actor, Api, Permission, authorizer_fn};
use tidings::storage::{SqliteStorage, Storage};
use tower::ServiceExt;

use self::fill::Fill;

/// The promise is a fifth of it: machines do other things too, and this is not a build for speed.
const LONGEST: Duration = Duration::from_millis(5 * 100);

/// What there is; ten times as many events in the long run.
fn size() -> Fill {
    let events = if std::env::var_os("TIDINGS_LONG").is_some() { 10_000_000 } else { 1_000_000 };
    Fill { webhooks: 100_000, waiting: events / 20, ended: events - events / 20, fan: 1 }
}

fn api(storage: Arc<dyn Storage>) -> Router {
    let operator =
        authorizer_fn(|_| Ok(Some(Actor::new("Olga").all_accounts().may(Permission::ALL))));
    Api::new(Tidings::builder_shared(storage).build(), operator).router()
}

async fn get(api: &Router, path: &str) -> (Value, Duration, usize) {
    let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
    let began = Instant::now();
    let response = api.clone().oneshot(request).await.expect("an answer");
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let took = began.elapsed();
    assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
    (serde_json::from_slice(&body).expect("JSON"), took, body.len())
}

#[tokio::test]
async fn every_page_is_quick_in_a_large_sqlite_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = match std::env::var("TIDINGS_KEEP") {
        Ok(p) => p.into(),
        _ => folder.path().join("tidings.db"),
    };
    let fresh = !std::path::Path::new(&path).exists();
    let storage: Arc<dyn Storage> = Arc::new(SqliteStorage::open(&path).await.expect("a store"));
    if fresh {
        let began = Instant::now();
        fill::sqlite(&path, &storage, size()).await;
        let path2 = path.clone();
        tokio::task::spawn_blocking(move || {
            let hour = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 3600;
            rusqlite::Connection::open(path2).unwrap().execute_batch(&format!("
            PRAGMA busy_timeout = 10000; PRAGMA synchronous = OFF; BEGIN IMMEDIATE;
            UPDATE tidings_event SET type = 'refund.rare' WHERE seq % 200000 = 100003;
            UPDATE tidings_delivery SET state = 3 WHERE event % 200000 = 100003 AND state = 2;
            UPDATE tidings_event SET account = 'small' WHERE seq % 100000 = 500;
            UPDATE tidings_webhook SET account = 'small' WHERE key = 502;
            UPDATE tidings_registration SET search = search || 'needle' WHERE webhook IN (2, 50000);
            UPDATE tidings_delivery SET webhook = 3 WHERE event % 3 = 0;
            INSERT INTO tidings_attempt SELECT id, 1, published, 1000000, 200, NULL, NULL, NULL, 0, NULL FROM tidings_delivery WHERE state = 2;
            INSERT INTO tidings_statistic SELECT key, {hour} - key % 24, 1 + key % 3, 1 FROM tidings_webhook;
            COMMIT; PRAGMA wal_checkpoint(TRUNCATE);")).unwrap();
        }).await.unwrap();
        println!("filled in {:?}", began.elapsed());
    }
    let api = api(storage);
    measure(&api).await;
}

async fn measure(api: &Router) {
    let hooks = get(api, "/webhooks?limit=100").await.0;
    let hook = hooks["data"][50]["id"].as_str().unwrap().to_owned();
    let third = "00000000-0000-7000-8000-000000000002";
    let events = get(api, "/events?limit=25").await.0;
    let event = events["data"][3]["id"].as_str().unwrap().to_owned();
    let deliveries = get(api, "/deliveries?limit=25").await.0;
    let delivery = deliveries["data"][3]["id"].as_str().unwrap().to_owned();
    for path in [
        "/me".to_owned(),
        "/overview".into(),
        "/statistics".into(),
        "/catalogue".into(),
        "/statistics?account=default".into(),
        "/overview?account=small".into(),
        "/statistics?account=small".into(),
        "/webhooks?limit=20".into(),
        "/webhooks?limit=100".into(),
        "/webhooks?limit=20&search=needle".into(),
        "/webhooks?limit=20&search=nothing-like-it".into(),
        format!("/webhooks?limit=20&search={hook}"),
        "/webhooks?limit=20&enabled=false".into(),
        "/webhooks?limit=20&type=refund.rare".into(),
        "/webhooks?limit=20&account=small".into(),
        "/webhooks?limit=20&liveMode=false".into(),
        format!("/webhooks/{hook}"),
        format!("/webhooks/{hook}/statistics"),
        format!("/deliveries?webhook={hook}&limit=1"),
        format!("/deliveries?webhook={hook}&limit=10"),
        format!("/deliveries?webhook={third}&limit=10"),
        format!("/deliveries?webhook={third}&limit=10&state=exhausted"),
        format!("/deliveries?webhook={third}&limit=10&state=waiting"),
        format!("/deliveries?webhook={third}&limit=10&state=leased"),
        "/deliveries?limit=25".into(),
        "/deliveries?limit=100".into(),
        "/deliveries?limit=25&state=exhausted".into(),
        "/deliveries?limit=25&state=waiting".into(),
        "/deliveries?limit=25&state=delivered".into(),
        "/deliveries?limit=25&state=leased".into(),
        "/deliveries?limit=25&state=cancelled".into(),
        "/deliveries?limit=25&account=small".into(),
        "/deliveries?limit=25&account=nobody".into(),
        "/deliveries?limit=25&publishedTime[lt]=2020-01-01T00:00:00Z".into(),
        "/deliveries?limit=25&liveMode=false".into(),
        "/events?limit=25".into(),
        "/events?limit=100".into(),
        "/events?limit=25&type=refund.*".into(),
        "/events?limit=25&type=refund.rare".into(),
        "/events?limit=25&type=no.such".into(),
        "/events?limit=25&createdTime[lt]=2020-01-01T00:00:00Z".into(),
        "/events?limit=25&createdTime[gte]=2030-01-01T00:00:00Z".into(),
        "/events?limit=25&account=small".into(),
        "/events?limit=25&account=small&type=refund.rare".into(),
        "/events?limit=25&account=default".into(),
        "/events?limit=25&liveMode=false".into(),
        format!("/events/{event}"),
        format!("/events/{event}/deliveries"),
        format!("/deliveries/{delivery}"),
        "/replays".into(),
        "/replays?running=true".into(),
    ] {
        let mut times = Vec::new();
        let mut about = (0, 0);
        for _ in 0..3 {
            let (value, took, bytes) = get(api, &path).await;
            about = (value["data"].as_array().map_or(0, Vec::len), bytes);
            times.push(took);
        }
        let flag = if times[0] > Duration::from_millis(100) { "  <<<<" } else { "" };
        println!(
            "{:>9.1} {:>9.1} ms  {:>4} rows {:>7} bytes  {path}{flag}",
            times[0].as_secs_f64() * 1e3,
            times[2].as_secs_f64() * 1e3,
            about.0,
            about.1
        );
    }
    let _ = LONGEST;
}
