//! A step beside nodes and hosts that go on working: none of them waits for long.

use std::time::Duration;

use tidings::storage::{PostgresOptions, PostgresStorage};
use tidings::{Account, ErrorKind, Tidings};
use tokio_postgres::{Client, NoTls};

use crate::cluster::Cluster;
use crate::kit::{PATIENCE, event};

fn options() -> PostgresOptions {
    PostgresOptions::default().connections(2).announce(false)
}

/// The URL of a database with the first schema.
fn first_schema() -> String {
    let cluster = Cluster::shared();
    let url = cluster.new_database();
    let first = PostgresStorage::migrations("tidings").unwrap().remove(0);
    cluster.sql(url.rsplit('/').next().unwrap(), &first.sql);
    url
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Publishes the event of this number as a program of the first version does.
async fn publish(client: &Client, number: usize) {
    let host = Tidings::new(tidings::storage::MemoryStorage::new());
    let event = event(&host, Account::default(), "order.paid", number);
    let row = serde_json::json!([{
        "id": event.id().uuid().simple().to_string(),
        "account": event.account().as_str(),
        "mode": true,
        "type": event.event_type().as_str(),
        "created": event.created().timestamp_millis(),
        "digest": event.digest().as_bytes().map(|byte| format!("{byte:02x}")).concat(),
        "payload": event.payload(),
        "key": null,
    }]);
    let sql = "SELECT answer FROM tidings.publish($1::text) AS answer";
    let answer: String = client.query_one(sql, &[&row.to_string()]).await.unwrap().get(0);
    assert_eq!(answer, "stored");
}

/// Waits until a step stands in the queue for a table.
async fn a_step_waits(client: &Client) {
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let looking = async {
        while client.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("a step that waits");
}

/// Migrates while a transaction is open that has published; others publish meanwhile, each of them
/// behind a step that waits. When the transaction ends the step goes through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_migration_holds_nobody_up() {
    let url = first_schema();
    let (held, other, watcher) = tokio::join!(connect(&url), connect(&url), connect(&url));
    held.batch_execute("BEGIN").await.unwrap();
    publish(&held, 0).await;
    let start = {
        let (url, options) = (url.clone(), options().wait(PATIENCE));
        tokio::spawn(async move { PostgresStorage::connect_with(&url, options).await })
    };
    for number in 1..=2 {
        a_step_waits(&watcher).await;
        // A publish in the queue behind it: the step steps aside after 2 s.
        let publish = tokio::time::timeout(Duration::from_secs(10), publish(&other, number));
        publish.await.expect("a publish that does not wait for long");
    }
    held.batch_execute("COMMIT").await.unwrap();
    drop(tokio::time::timeout(PATIENCE, start).await.unwrap().unwrap().unwrap());
    let counts = "SELECT (SELECT count(*) FROM tidings.event), (SELECT count(*) FROM tidings.mark), \
                  (SELECT max(version) FROM tidings.migration), \
                  (SELECT count(*) FROM tidings.event WHERE renderings IS NULL)";
    let row = watcher.query_one(counts, &[]).await.unwrap();
    let counts: (i64, i64, i32, i64) = (row.get(0), row.get(1), row.get(2), row.get(3));
    let last = PostgresStorage::migrations("tidings").unwrap().len();
    assert_eq!(counts, (3, 3, i32::try_from(last).unwrap(), 3));
}

/// Migrates against a transaction that does not end: the error says so, and the schema stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_migration_that_cannot_get_through_says_why() {
    let url = first_schema();
    let held = connect(&url).await;
    held.batch_execute("BEGIN").await.unwrap();
    publish(&held, 0).await;
    let options = options().wait(Duration::from_secs(1));
    let start = PostgresStorage::connect_with(&url, options);
    let error = tokio::time::timeout(PATIENCE, start).await.expect("an end").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("stands in the way of the migration"), "{error}");
    let version = "SELECT max(version) FROM tidings.migration";
    assert_eq!(held.query_one(version, &[]).await.unwrap().get::<_, i32>(0), 1);
}
