//! Publishes that become visible late: their numbers lie below what was routed long ago.

use std::sync::Arc;
use std::time::Duration;

use tidings::storage::{DeliveryQueue, PostgresOptions, PostgresStorage, Sweep};
use tidings::{Account, DispatcherOptions, Edit, Filters, Tidings, Timestamp};

use crate::cluster::Cluster;
use crate::kit::{Receiver, Running, event, register};

/// Opens a transaction that publishes, holds it while the webhook's filter is replaced, 5,000 events
/// are routed past it and housekeeping runs, and commits: the event reaches the webhook, for both
/// filters wanted it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_late_publish_finds_the_filters_that_held_at_its_number() {
    let cluster = Cluster::shared();
    let url = cluster.new_database();
    let storage = PostgresStorage::connect_with(&url, PostgresOptions::default()).await.unwrap();
    let tidings = Tidings::new(storage.clone());
    register(&tidings, Account::default(), "one", &["order.*"]).await;
    let receiver = Arc::new(Receiver::default());
    let often = DispatcherOptions::default().poll(Duration::from_millis(20));
    let running = Running::start(&tidings, &receiver, often);

    let (mut client, connection) =
        tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let transaction = client.transaction().await.unwrap();
    let late = event(&tidings, Account::default(), "order.paid", 0);
    let text = serde_json::json!([{
        "id": late.id().to_string(), "account": "default", "mode": true, "type": "order.paid",
        "created": late.created().timestamp_millis(), "digest": hex(late.digest().as_bytes()),
        "payload": late.payload(),
    }]);
    let answer = transaction
        .query_one("SELECT answer FROM tidings.publish($1) AS answer", &[&text.to_string()])
        .await
        .unwrap();
    assert_eq!(answer.get::<_, String>(0), "stored");

    let webhook = tidings.webhooks(&Default::default(), &Default::default()).await.unwrap();
    let webhook = &webhook.items[0];
    let edit = Edit::new().types(Filters::parse(["*"]).unwrap());
    tidings.edit(webhook.id(), None, edit).await.unwrap();
    for batch in 0..50 {
        let events: Vec<_> = (0..100)
            .map(|at| event(&tidings, Account::default(), "order.sent", 1 + batch * 100 + at))
            .collect();
        tidings.publish_all(&events).await.unwrap();
        let sweep = Sweep {
            now: chrono::Utc::now(),
            limit: 500,
            expire_before: Timestamp::UNIX_EPOCH,
            prune_before: Timestamp::UNIX_EPOCH,
        };
        storage.sweep(&sweep).await.unwrap();
    }
    receiver.wait_for(5_000).await;
    assert_eq!(receiver.count(), 5_000, "what is not committed is not sent");
    transaction.commit().await.unwrap();
    receiver.wait_for(5_001).await;
    assert_eq!(receiver.duplicates(), 0);

    // Now nobody needs the closed span any more, and it goes.
    let sweep = Sweep {
        now: chrono::Utc::now(),
        limit: 500,
        expire_before: Timestamp::UNIX_EPOCH,
        prune_before: Timestamp::UNIX_EPOCH,
    };
    let database = url.rsplit('/').next().unwrap();
    let closed = "SELECT count(*) FROM tidings.span WHERE to_seq IS NOT NULL";
    assert_eq!(cluster.sql(database, closed)[0][0], "1");
    let gone = async {
        while cluster.sql(database, closed)[0][0] != "0" {
            storage.sweep(&sweep).await.unwrap();
        }
    };
    tokio::time::timeout(crate::kit::PATIENCE, gone).await.expect("the span is forgotten");
    running.stop().await;
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
