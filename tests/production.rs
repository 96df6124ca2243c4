//! What the texts about production and operations say of PostgreSQL, done as they say.
#![cfg(all(unix, feature = "postgres"))]

#[path = "support/cluster.rs"]
mod cluster;

use std::time::Duration;

use serde_json::json;
use tidings::storage::{PostgresOptions, PostgresStorage};
use tidings::transport::{Response, transport_fn};
use tidings::{Change, Registration, Tidings};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Far more than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The only block of SQL of a text.
fn sql(text: &'static str) -> &'static str {
    let (_, block) = text.split_once("```sql\n").expect("a block of SQL");
    block.split("```").next().expect("its end")
}

fn grants() -> &'static str {
    sql(include_str!("../src/docs/production.md"))
}

/// What operators look at.
fn looks() -> impl Iterator<Item = String> {
    let statements = sql(include_str!("../src/docs/operations.md")).split(';').map(str::trim);
    statements.filter(|one| !one.is_empty()).map(|one| one.replace("tidings.", "webhooks."))
}

/// Migrates as `owner`, grants what the text grants, and publishes and delivers as `app`, which may
/// also use what `owner` makes later, and make nothing itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn the_documented_grants_are_enough() {
    let server = cluster::Cluster::start();
    let url = server.create_database("shop");
    server.sql("shop", "CREATE ROLE owner LOGIN; CREATE ROLE app LOGIN");
    server.sql("shop", "GRANT CREATE ON DATABASE shop TO owner");
    let role = |name: &str| url.replace("postgres@", &format!("{name}@"));
    let options = PostgresOptions::default().schema("webhooks");
    PostgresStorage::migrate(&role("owner"), options.clone()).await.unwrap();
    server.sql("shop", grants());

    let options = options.migrate(false);
    let storage = PostgresStorage::connect_with(&role("app"), options).await.unwrap();
    let tidings = Tidings::new(storage);
    let registration = Registration::new("https://example.com/hook", ["order.*"]).unwrap();
    tidings.create(registration.enabled(true)).await.unwrap();
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let transport = transport_fn(move |_| {
        let _ = arrived.send(());
        async { Ok(Response::new(204)) }
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(tidings.dispatcher(transport).unwrap().run(async {
        let _ = stopped.await;
    }));
    let change = Change::of("order.paid", &json!({ "id": "247468780336" })).unwrap();
    tidings.publish(&tidings.event(change).unwrap()).await.unwrap();
    timeout(PATIENCE, arrivals.recv()).await.expect("it arrives").expect("it arrives");
    let looks: Vec<_> = looks().map(|look| server.sql("shop", &look)).collect();
    assert_eq!(looks.len(), 4);
    assert_eq!(looks[3].len(), 1, "one dispatcher is alive: {looks:?}");
    drop(stop);
    running.await.unwrap();

    let later = "SET ROLE owner; CREATE TABLE webhooks.later (key bigserial, text text); SET ROLE app; \
                 INSERT INTO webhooks.later (text) VALUES ('x'); SELECT text FROM webhooks.later";
    assert_eq!(server.sql("shop", later), [["x"]]);
    let refused = server.try_sql("shop", "SET ROLE app; CREATE TABLE webhooks.own (key bigint)");
    assert!(refused.unwrap_err().to_string().contains("permission denied"));
}
