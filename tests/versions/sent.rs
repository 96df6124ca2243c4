//! What is sent: to each webhook the bytes of its version, signed, the same on every attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use serde_json::json;
use tempfile::TempDir;
use tidings::outbox::Outbox;
use tidings::storage::{MemoryStorage, SqliteOptions, SqliteStorage};
use tidings::{
    Change, DeliveryQuery, FailureKind, Notice, Observer, Outcome, PageRequest, Tidings, Verifier,
    VersionedData, Versions,
};
use tokio::sync::mpsc;
use tokio_postgres::NoTls;

use crate::kit::{
    FLAT, FLAT_DATA, Hit, NEWEST, NEWEST_DATA, OLDEST, OLDEST_DATA, deliver, eager, oldest, paid,
    payload, pinned, versions,
};
use crate::{databases, place};

fn host() -> Tidings {
    Tidings::builder(MemoryStorage::new()).versions(versions()).policy(eager()).build()
}

/// A webhook of each kind of pin, by the data and the version that it gets.
async fn one_of_each(tidings: &Tidings) -> Vec<(tidings::Webhook, String)> {
    let mut webhooks = Vec::new();
    for (name, pin, data, version) in [
        ("a", None, NEWEST_DATA, NEWEST),
        ("b", Some("default"), NEWEST_DATA, NEWEST),
        ("c", Some("latest"), NEWEST_DATA, NEWEST),
        ("d", Some(NEWEST), NEWEST_DATA, NEWEST),
        ("e", Some(FLAT), FLAT_DATA, FLAT),
        ("f", Some(OLDEST), OLDEST_DATA, OLDEST),
    ] {
        webhooks.push((pinned(tidings, name, pin).await, payload(data, version)));
    }
    webhooks
}

/// Publishes one event to webhooks with every kind of pin, compares the bytes, and verifies the
/// signatures over them.
#[tokio::test]
async fn each_webhook_gets_the_bytes_of_its_version() {
    let tidings = host();
    let webhooks = one_of_each(&tidings).await;
    let event = tidings.event(paid()).unwrap();
    tidings.publish(&event).await.unwrap();
    let hits = deliver(&tidings, 204, webhooks.len()).await;
    assert_eq!(hits.len(), webhooks.len());
    for (hit, (webhook, expected)) in hits.iter().zip(&webhooks) {
        assert_eq!(&hit.body, expected, "{}", hit.name);
        assert_eq!(hit.headers["webhook-id"], event.id().to_string());
        let verifier =
            Verifier::standard_webhooks([webhook.secrets().unwrap().current().clone()]).unwrap();
        let headers = hit.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        verifier.verify(headers, hit.body.as_bytes(), chrono::Utc::now()).unwrap();
    }
}

/// Moves a pin between two attempts, as an address can be moved; the event has bytes for both.
#[tokio::test]
async fn a_pin_that_is_moved_holds_for_what_waits() {
    let tidings = host();
    let webhook = pinned(&tidings, "a", Some(FLAT)).await;
    tidings.publish(&tidings.event(paid()).unwrap()).await.unwrap();
    let mut bodies = Vec::new();
    for (pin, status) in [(FLAT, 500), (OLDEST, 500), (FLAT, 500), ("default", 204)] {
        let edit = tidings::Edit::new().api_version(Some(pin.into()));
        tidings.edit(webhook.id(), None, edit).await.unwrap();
        bodies.push(deliver(&tidings, status, 1).await.remove(0).body);
    }
    let expected = [
        payload(FLAT_DATA, FLAT),
        payload(OLDEST_DATA, OLDEST),
        payload(FLAT_DATA, FLAT),
        payload(NEWEST_DATA, NEWEST),
    ];
    assert_eq!(bodies, expected);
}

/// Counts the calls of the functions: for two events, published twice, to three webhooks, which fail
/// first, and delivered once more on request; and for a test event.
#[tokio::test]
async fn a_function_runs_once_for_each_event() {
    let calls = Arc::new([const { AtomicUsize::new(0) }; 2]);
    let counting = |at: usize| {
        let calls = calls.clone();
        move |event: &tidings::Event| {
            calls[at].fetch_add(1, Ordering::SeqCst);
            oldest(event)
        }
    };
    let versions = Versions::new(NEWEST).unwrap();
    let versions = versions.older(FLAT, counting(0)).unwrap().older(OLDEST, counting(1)).unwrap();
    let tidings = Tidings::builder(MemoryStorage::new()).versions(versions).policy(eager()).build();
    let counts = || [0, 1].map(|at| calls[at].load(Ordering::SeqCst));
    let first = pinned(&tidings, "a", Some(FLAT)).await;
    pinned(&tidings, "b", Some(FLAT)).await;
    pinned(&tidings, "c", Some(OLDEST)).await;
    let events = ["1", "2"]
        .map(|id| tidings.event(Change::of("order.paid", &json!({ "id": id })).unwrap()).unwrap());
    tidings.publish_all(&events).await.unwrap();
    tidings.publish_all(&events).await.unwrap();
    deliver(&tidings, 500, 6).await;
    deliver(&tidings, 204, 6).await;
    let query = DeliveryQuery { webhook: Some(first.id()), ..DeliveryQuery::default() };
    let views = tidings.deliveries(&query, &PageRequest::default()).await.unwrap().items;
    tidings.redeliver(views[0].delivery.id).await.unwrap();
    let again = deliver(&tidings, 204, 1).await.remove(0);
    assert_eq!(again.body, views[0].event.rendered(Some(FLAT)));
    assert_eq!(counts(), [2, 2]);

    // The crate's own event is none of the host's resources.
    tidings.send_test(first.id()).await.unwrap();
    let test = deliver(&tidings, 204, 1).await.remove(0);
    let own = format!(r#""id":"{}""#, first.id());
    assert!(test.body.contains(&own), "{}", test.body);
    assert!(test.body.contains(r#""apiVersion":"2025-06-01""#), "{}", test.body);
    assert_eq!(counts(), [2, 2]);
}

/// The host at one of its releases: the functions of each say which it is, and some have no such
/// version any more, or none at all.
async fn release(place: &str, number: usize) -> Tidings {
    let tidings = Tidings::builder_shared(place::open(place).await).policy(eager());
    let says = move |_: &tidings::Event| VersionedData::of(&json!({ "release": number }));
    match number {
        1 | 2 => {
            let versions = Versions::new(NEWEST).unwrap().older(FLAT, says).unwrap();
            tidings.versions(versions).build()
        }
        3 => tidings
            .versions(Versions::new("2027-01-01").unwrap().older(NEWEST, says).unwrap())
            .build(),
        _ => tidings.build(),
    }
}

/// Publishes under one release of the host; each attempt is made by another one, after a restart.
async fn releases_send_the_same_bytes(place: &str) {
    let first = release(place, 1).await;
    pinned(&first, "a", Some(FLAT)).await;
    pinned(&first, "b", None).await;
    let event = first.event(paid()).unwrap();
    first.publish(&event).await.unwrap();
    drop(first);
    let old = payload(r#"{"object":{"release":1}}"#, FLAT);
    let new = payload(NEWEST_DATA, NEWEST);
    for number in 1..=4 {
        let tidings = release(place, number).await;
        let status = if number < 4 { 500 } else { 204 };
        if number == 2 {
            // It is published already: what this release would make of it is nobody's business.
            let again = tidings.event(paid()).unwrap();
            assert_ne!(again.rendered(Some(FLAT)), old);
            assert!(!tidings.publish(&again).await.unwrap().new);
        }
        let hits = deliver(&tidings, status, 2).await;
        for hit in &hits {
            let expected = if hit.name == "a" { &old } else { &new };
            assert_eq!(&hit.body, expected, "{} under release {number}", hit.name);
        }
        assert!(["a", "b"].iter().all(|name| hits.iter().any(|hit| hit.name == *name)));
    }
    let tidings = release(place, 2).await;
    let views = tidings.deliveries(&DeliveryQuery::default(), &PageRequest::default()).await;
    for view in views.unwrap().items {
        assert!(view.delivery.failures >= 3 && view.delivery.state.is_ended(), "{view:?}");
    }
}

/// Restarts over one SQLite file.
#[tokio::test]
async fn every_release_sends_what_the_first_one_made() {
    let folder = TempDir::new().unwrap();
    releases_send_the_same_bytes(folder.path().join("tidings.db").to_str().unwrap()).await;
}

/// Restarts over one PostgreSQL database.
#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run"]
async fn every_release_sends_what_the_first_one_made_in_postgresql() {
    releases_send_the_same_bytes(&databases::postgres()).await;
}

/// Has to be the body of the webhook `a`, pinned to an older version.
fn is_flat(hits: &[Hit]) {
    let bodies: Vec<_> = hits.iter().map(|hit| (hit.name.as_str(), hit.body.as_str())).collect();
    let (flat, newest) = (payload(FLAT_DATA, FLAT), payload(NEWEST_DATA, NEWEST));
    assert_eq!(bodies, [("a", flat.as_str()), ("b", newest.as_str())]);
}

/// Publishes in a transaction of the host's own in SQLite.
#[tokio::test]
async fn an_outbox_in_sqlite_keeps_what_was_rendered() {
    let folder = databases::sqlite().await;
    let file = folder.path().join("shop.db");
    let options = SqliteOptions::default().shared(true);
    let storage = SqliteStorage::open_with(&file, options).await.unwrap();
    let tidings = Tidings::builder(storage).versions(versions()).build();
    pinned(&tidings, "a", Some(FLAT)).await;
    pinned(&tidings, "b", None).await;
    let mut host = Connection::open(&file).unwrap();
    let mut tx = host.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let event = tidings.event(paid()).unwrap();
    Outbox::sqlite().publish_blocking(&mut tx, &[event]).unwrap();
    tx.commit().unwrap();
    is_flat(&deliver(&tidings, 204, 2).await);
}

/// Publishes in a transaction of the host's own in PostgreSQL.
#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run"]
async fn an_outbox_in_postgresql_keeps_what_was_rendered() {
    let url = databases::postgres();
    let tidings = Tidings::builder_shared(place::open(&url).await).versions(versions()).build();
    pinned(&tidings, "a", Some(FLAT)).await;
    pinned(&tidings, "b", None).await;
    let (mut client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let mut tx = client.transaction().await.unwrap();
    let event = tidings.event(paid()).unwrap();
    Outbox::postgres().publish(&mut tx, &[event]).await.unwrap();
    tx.commit().await.unwrap();
    is_flat(&deliver(&tidings, 204, 2).await);
}

/// Counts what is older than the newest version as payload of a publish, in the host's transaction and
/// at the handle: of an event with three renderings of 1 MB, 16 go at once and 17 do not.
#[tokio::test]
async fn renderings_count_in_a_publish() {
    let text = "x".repeat(1_000_000);
    let big = move |_: &tidings::Event| VersionedData::of(&json!({ "text": &text }));
    let mut versions = Versions::new(NEWEST).unwrap();
    for version in ["v1", "v2", "v3"] {
        versions = versions.older(version, big.clone()).unwrap();
    }
    let tidings = Tidings::builder(MemoryStorage::new()).versions(versions).build();
    let text = json!({ "text": "x".repeat(1_000_000) });
    let event = tidings.event(Change::of("order.paid", &text).unwrap()).unwrap();
    let events = vec![event; 17];
    let mut nowhere = Connection::open_in_memory().unwrap();
    for refused in [
        Outbox::sqlite().publish_blocking(&mut nowhere, &events).unwrap_err(),
        tidings.publish_all(&events).await.unwrap_err(),
    ] {
        assert_eq!(refused.kind(), tidings::ErrorKind::Limit, "{refused}");
        assert!(refused.to_string().contains("67108864"), "{refused}");
    }
    tidings.publish_all(&events[..16]).await.unwrap();
}

/// Tells what came of attempts, each with the pin of its webhook.
#[derive(Debug)]
struct Outcomes(mpsc::UnboundedSender<(Option<String>, Outcome, Option<String>)>);

impl Observer for Outcomes {
    fn notice(&self, notice: &Notice) {
        if let Notice::Settled { webhook, attempt, .. } = notice {
            let pin = webhook.api_version().map(ToOwned::to_owned);
            let _ = self.0.send((pin, attempt.outcome, attempt.error.clone()));
        }
    }
}

/// Cuts off the end of what a file keeps for older versions. A webhook that is pinned to one gets
/// nothing, rather than other bytes under the same id; the others get what they always got.
#[tokio::test]
async fn damaged_renderings_are_not_sent() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("tidings.db");
    let storage = SqliteStorage::open(&file).await.unwrap();
    let (sent, mut heard) = mpsc::unbounded_channel();
    let tidings = Tidings::builder(storage).versions(versions()).observer(Outcomes(sent)).build();
    let pins = [FLAT, OLDEST, "latest", "default"];
    for pin in pins {
        pinned(&tidings, pin, Some(pin)).await;
    }
    let event = tidings.event(paid()).unwrap();
    tidings.publish(&event).await.unwrap();
    let cut = "UPDATE tidings_event SET renderings = substr(renderings, 1, length(renderings) - 9)";
    assert_eq!(Connection::open(&file).unwrap().execute(cut, []).unwrap(), 1);
    let hits = deliver(&tidings, 204, 2).await;
    let names: Vec<_> = hits.iter().map(|hit| hit.name.as_str()).collect();
    assert_eq!(names, ["default", "latest"]);
    assert!(hits.iter().all(|hit| hit.body == event.payload()), "{hits:?}");
    // Those that waited behind them are tried by now, or by the next dispatcher.
    let running = tokio::spawn(async move { deliver(&tidings, 204, 1).await });
    for _ in pins {
        let waited = tokio::time::timeout(Duration::from_secs(60), heard.recv()).await;
        let (pin, outcome, error) = waited.expect("an attempt").expect("an observer");
        match pin.as_deref() {
            Some(FLAT | OLDEST) => {
                assert_eq!(outcome, Outcome::Unanswered(FailureKind::Local), "{error:?}");
                assert!(error.as_ref().is_some_and(|error| error.contains("damaged")), "{error:?}");
            }
            _ => assert_eq!(outcome, Outcome::Answered { status: 204, retry_after: None }),
        }
    }
    running.abort();
}
