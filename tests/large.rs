//! The pages of a large store: what the console asks the API for is answered at once, however many webhooks,
//! events and deliveries there are, and whoever follows the cursors of a listing that few rows fit sees them
//! all.
#![cfg(all(feature = "api", feature = "sqlite"))]

#[cfg(feature = "postgres")]
#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/fill.rs"]
mod fill;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// A fifth of it is promised: machines do other things too, and this is not a build for speed.
const LONGEST: Duration = Duration::from_millis(5 * 100);

/// 100,000 webhooks and 1,000,000 events with a delivery each, a twentieth of which wait; ten times as many
/// events in the long run.
fn size() -> Fill {
    let events = if std::env::var_os("TIDINGS_LONG").is_some() { 10_000_000 } else { 1_000_000 };
    Fill { webhooks: 100_000, waiting: events / 20, ended: events - events / 20, fan: 1 }
}

/// Events of the rare type, and deliveries that failed.
const RARE: usize = 5;

/// What makes some of it rare: a type, a state, an account, an address; one webhook gets a third of all. Each
/// webhook has something in an hour of the last day's statistics.
fn variety(schema: &str, number: u64, hour: u64) -> String {
    let every = number / RARE as u64;
    let half = every / 2;
    format!(
        "UPDATE {schema}event SET type = 'refund.rare' WHERE seq % {every} = {half};
         UPDATE {schema}event SET account = 'small' WHERE seq % 100000 = 500;
         UPDATE {schema}webhook SET account = 'small' WHERE key = \
             (SELECT min(key) FROM {schema}webhook) + 501;
         UPDATE {schema}registration SET search = replace(search, 'example.com', 'needle.example'), \
             record = replace(record, 'example.com', 'needle.example') WHERE webhook IN (2, 50000);
         INSERT INTO {schema}statistic (webhook, hour, measure, count) \
             SELECT key, {hour} - key % 24, 1 + key % 3, 1 FROM {schema}webhook;
         INSERT INTO {schema}total (account, hour, mode, measure, count) \
             SELECT '', {hour} - key % 24, mode, 1 + key % 3, count(*) FROM {schema}webhook \
             GROUP BY 1, 2, 3, 4;"
    )
}

fn this_hour() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs() / 3600
}

fn api(storage: Arc<dyn Storage>) -> Router {
    let all = || Actor::new("Olga").all_accounts().may(Permission::ALL);
    let operator = authorizer_fn(move |_| Ok(Some(all())));
    Api::new(Tidings::builder_shared(storage).build(), operator).router()
}

async fn get(api: &Router, path: &str) -> (Value, Duration) {
    let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
    let began = Instant::now();
    let response = api.clone().oneshot(request).await.expect("an answer");
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let took = began.elapsed();
    assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
    (serde_json::from_slice(&body).expect("JSON"), took)
}

/// The id of an item of this listing.
async fn some(api: &Router, listing: &str) -> String {
    let (page, _) = get(api, listing).await;
    page["data"][3]["id"].as_str().expect("an id").to_owned()
}

/// All items of a listing, page by page.
async fn all(api: &Router, listing: &str) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let (mut page, took) = get(api, &format!("{listing}{cursor}")).await;
        assert!(took <= LONGEST, "{took:?} for {listing}{cursor}");
        found.append(page["data"].as_array_mut().expect("items"));
        let Some(next) = page["next"].as_str() else { return found };
        assert_eq!(page["hasMore"], true);
        cursor = format!("&startingAfter={next}");
    }
}

/// Asks for what every page of the console asks for, with every filter, dense or in vain.
async fn look_at_every_page(api: &Router) {
    let webhook = some(api, "/webhooks?limit=100").await;
    let event = some(api, "/events?limit=25").await;
    let delivery = some(api, "/deliveries?limit=25").await;
    let busy = "00000000-0000-7000-8000-000000000002";
    let mut paths: Vec<String> = [
        "/me",
        "/overview",
        "/overview?account=small",
        "/statistics",
        "/statistics?account=default",
        "/statistics?account=small",
        "/catalogue",
        "/replays",
        "/replays?running=true",
    ]
    .map(str::to_owned)
    .into();
    for filter in [
        "",
        "&search=needle",
        "&search=nothing-like-it",
        "&search=https",
        "&enabled=true",
        "&enabled=false",
        "&type=refund.rare",
        "&type=backlog.made",
        "&account=small",
        "&account=nobody",
        "&liveMode=true",
        "&liveMode=false",
    ] {
        paths.push(format!("/webhooks?limit=20{filter}"));
    }
    for filter in [
        "",
        "&state=waiting",
        "&state=leased",
        "&state=delivered",
        "&state=exhausted",
        "&state=cancelled",
        "&account=small",
        "&account=default",
        "&account=nobody",
        "&liveMode=true",
        "&liveMode=false",
        "&publishedTime[lt]=2020-01-01T00:00:00Z",
        "&publishedTime[gte]=2060-01-01T00:00:00Z",
    ] {
        paths.push(format!("/deliveries?limit=25{filter}"));
        paths.push(format!("/deliveries?limit=10&webhook={webhook}{filter}"));
        paths.push(format!("/deliveries?limit=10&webhook={busy}{filter}"));
    }
    for filter in [
        "",
        "&type=backlog.made",
        "&type=backlog.*",
        "&type=refund.rare",
        "&type=refund.*",
        "&type=no.such",
        "&account=small",
        "&account=default",
        "&account=small&type=refund.rare",
        "&liveMode=true",
        "&liveMode=false",
        "&createdTime[lt]=2020-01-01T00:00:00Z",
        "&createdTime[gte]=2060-01-01T00:00:00Z",
    ] {
        paths.push(format!("/events?limit=25{filter}"));
    }
    for (path, id) in [
        ("/webhooks/{}", &webhook),
        ("/webhooks/{}/statistics", &webhook),
        ("/events/{}", &event),
        ("/events/{}/deliveries", &event),
        ("/deliveries/{}", &delivery),
    ] {
        paths.push(path.replace("{}", id));
    }
    let mut slow = Vec::new();
    for path in &paths {
        let (_, first) = get(api, path).await;
        let (page, again) = get(api, path).await;
        let took = first.min(again);
        let items = page["data"].as_array().map_or(0, Vec::len);
        println!("{:9.1} ms {items:4} items  {path}", took.as_secs_f64() * 1000.0);
        if took > LONGEST {
            slow.push(format!("{took:?} for {path}"));
        }
    }
    assert!(slow.is_empty(), "{slow:#?}");
}

/// Follows listings to their ends that few rows fit.
async fn follow_to_the_end(api: &Router) {
    for (listing, count) in [
        ("/events?limit=100&type=refund.rare", RARE),
        ("/events?limit=2&type=refund.rare", RARE),
        ("/events?limit=100&type=no.such", 0),
        ("/webhooks?limit=100&search=needle", 2),
        ("/deliveries?limit=100&state=exhausted", RARE),
        ("/deliveries?limit=2&state=exhausted", RARE),
        ("/deliveries?limit=100&publishedTime[lt]=2020-01-01T00:00:00Z", 0),
    ] {
        let found = all(api, listing).await;
        assert_eq!(found.len(), count, "{listing}");
        // The payloads are copies, with one id.
        let ids = found.iter().map(|item| item["id"].as_str().expect("an id"));
        let ids: Vec<_> = ids.filter(|_| !listing.starts_with("/events")).collect();
        assert!(ids.is_sorted_by(|one, next| one > next), "{listing}: {ids:?}");
    }
}

/// Measures each request of the console over a SQLite file, and walks the sparse listings to their ends.
#[tokio::test]
async fn every_page_is_quick_in_a_large_sqlite_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidings.db");
    let storage: Arc<dyn Storage> = Arc::new(SqliteStorage::open(&path).await.expect("a store"));
    let size = size();
    fill::sqlite(&path, &storage, size).await;
    let events = size.waiting + size.ended;
    let (every, half) = (events / RARE as u64, events / RARE as u64 / 2);
    let text = format!(
        "PRAGMA busy_timeout = 10000; PRAGMA synchronous = OFF; BEGIN IMMEDIATE; {}
         UPDATE tidings_delivery SET state = 3 WHERE event % {every} = {half};
         UPDATE tidings_delivery SET webhook = 3 WHERE event % 3 = 0;
         INSERT INTO tidings_attempt (delivery, number, started, latency, status, truncated)
             SELECT id, 1, published, 1000000, 200, 0 FROM tidings_delivery WHERE state > 1;
         COMMIT; PRAGMA wal_checkpoint(TRUNCATE);",
        variety("tidings_", events, this_hour())
    );
    let work = move || rusqlite::Connection::open(path).expect("a file").execute_batch(&text);
    tokio::task::spawn_blocking(work).await.expect("a thread").expect("a changed file");
    let api = api(storage);
    look_at_every_page(&api).await;
    follow_to_the_end(&api).await;
}

#[cfg(feature = "postgres")]
mod postgres {
    use tidings::storage::PostgresStorage;

    use super::*;
    use crate::cluster::Cluster;

    /// The same over PostgreSQL.
    #[tokio::test]
    #[ignore = "needs PostgreSQL: tests/run"]
    async fn every_page_is_quick_in_a_large_postgres_database() {
        let cluster = Cluster::shared();
        let url = cluster.create_database("large");
        let storage: Arc<dyn Storage> =
            Arc::new(PostgresStorage::connect(&url).await.expect("a store"));
        let size = size();
        fill::postgres(cluster, "large", &storage, size).await;
        let events = size.waiting + size.ended;
        let (every, half) = (events / RARE as u64, events / RARE as u64 / 2);
        let variety = variety("tidings.", events, this_hour())
            .replace("measure, count)", "measure, part, count)")
            .replace("key % 3, 1 FROM", "key % 3, 0, 1 FROM")
            .replace("key % 3, count(*)", "key % 3, 0::smallint, count(*)");
        let text = format!(
            "SET synchronous_commit = off; {variety}
             UPDATE tidings.ended SET state = 3 WHERE event % {every} = {half};
             UPDATE tidings.ended SET webhook = 3 WHERE event % 3 = 0;
             UPDATE tidings.waiting SET webhook = 3 WHERE event % 3 = 0;"
        );
        cluster.sql("large", &text);
        cluster.sql("large", "VACUUM ANALYZE");
        let api = api(storage);
        look_at_every_page(&api).await;
        follow_to_the_end(&api).await;
    }
}
