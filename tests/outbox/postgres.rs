//! The outbox over tokio-postgres.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use tidings::outbox::{BoxError, Outbox, SqlExecutor};
use tidings::storage::Appended::{self, Duplicate, Stored};
use tidings::storage::PostgresStorage;
use tidings::{ErrorKind, Event, Tidings};
use tokio_postgres::{Client, NoTls};

use crate::databases::{self, cluster::Cluster};
use crate::delivery;
use crate::transactions::{Host, POSTGRES, Random, counts, event, promises, with_shop};

struct Db(Client);

#[async_trait]
impl Host for Db {
    async fn run(&mut self, sql: &'static str) -> Result<(), BoxError> {
        Ok(self.0.batch_execute(sql).await?)
    }

    async fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError> {
        SqlExecutor::fetch(&mut self.0, sql, value).await
    }

    async fn publish(&mut self, events: &[Event]) -> tidings::Result<Vec<Appended>> {
        Outbox::postgres().publish(&mut self.0, events).await
    }
}

/// A database with the tables of the crate (in the schema `tidings`) and of the host.
async fn database() -> String {
    let url = databases::postgres();
    with_shop(Db(connect(&url).await)).await;
    url
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn host() -> (Db, String) {
    let url = database().await;
    (Db(connect(&url).await), url)
}

promises!(POSTGRES, host(), 2_000, #[ignore = "needs PostgreSQL: tests/run"]);

/// Publishes through the driver's transactions, one in the other, in a schema of another name.
#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run"]
async fn every_kind_of_transaction_publishes() {
    let url = database().await;
    let name = url.rsplit('/').next().unwrap();
    Cluster::shared().sql(name, &databases::schema("hooks_2"));
    let outbox = Outbox::postgres_in("hooks_2").unwrap();
    let mut client = connect(&url).await;
    let mut tx = client.transaction().await.unwrap();
    assert_eq!(outbox.publish(&mut tx, &[event(1, 0)]).await.unwrap(), [Stored]);
    let mut savepoint = tx.savepoint("a").await.unwrap();
    let answers = outbox.publish(&mut savepoint, &[event(1, 0), event(2, 0)]).await.unwrap();
    assert_eq!(answers, [Duplicate, Stored]);
    savepoint.commit().await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(Cluster::shared().sql(name, "SELECT count(*) FROM hooks_2.event"), [["2"]]);
    assert_eq!(counts(&mut Db(client), POSTGRES).await, [0, 0, 0]);
}

/// Names schemas that would have to be quoted, or are none (table).
#[test]
fn only_plain_names_are_schemas() {
    for name in ["", "Tidings", "a-b", "a\"b", "a.b", "1a", "é", &"a".repeat(64)] {
        let error = Outbox::postgres_in(name).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("schema")), "{name}");
    }
    for name in ["a", "_", "order", "tidings_2", &"a".repeat(63)] {
        assert!(Outbox::postgres_in(name).is_ok(), "{name}");
    }
}

/// Publishes an id that an open transaction has published; it ends while the second one waits.
#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_racing_publish_waits_for_the_first_and_tells_what_became_of_it() {
    let url = database().await;
    let (mut one, mut two) = (connect(&url).await, connect(&url).await);
    for (number, end, content, expected) in [
        (1, "COMMIT", 0, Ok(Duplicate)),
        (2, "COMMIT", 1, Err(ErrorKind::Conflict)),
        (3, "ROLLBACK", 0, Ok(Stored)),
        (4, "ROLLBACK", 1, Ok(Stored)),
    ] {
        one.batch_execute("BEGIN").await.unwrap();
        let first = Outbox::postgres().publish(&mut one, &[event(number, 0)]).await;
        assert_eq!(first.unwrap(), [Stored]);
        let racing = tokio::spawn(async move {
            two.batch_execute("BEGIN").await.unwrap();
            let events = [event(number + 100, 0), event(number, content)];
            let answers = Outbox::postgres().publish(&mut two, &events).await;
            two.batch_execute("COMMIT").await.unwrap();
            (two, answers)
        });
        wait_for_a_lock(&url).await;
        one.batch_execute(end).await.unwrap();
        let (back, answers) = racing.await.unwrap();
        two = back;
        let expected = expected.map(|last| vec![Stored, last]);
        assert_eq!(answers.map_err(|error| error.kind()), expected, "{number}");
    }
    // Of the conflicting call nothing is kept.
    assert_eq!(counts(&mut Db(two), POSTGRES).await, [0, 7, 7]);
}

/// Waits until a connection waits for another one to end.
async fn wait_for_a_lock(url: &str) {
    let client = connect(url).await;
    let sql = "SELECT count(*) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let began = Instant::now();
    while client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "nobody waits");
    }
}

/// Lets connections publish the same ids at the same time, each keeping or rolling back every other.
#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run"]
async fn of_racing_publishes_one_is_stored() {
    let url = database().await;
    let mut racers = Vec::new();
    for racer in 0..8 {
        let mut client = connect(&url).await;
        racers.push(tokio::spawn(async move {
            let (mut random, mut stored) = (Random(racer), Vec::new());
            for number in 0..200 {
                let mut tx = client.transaction().await.unwrap();
                let events = [event(number, 0)];
                let answers = Outbox::postgres().publish(&mut tx, &events).await.unwrap();
                if racer == 0 || random.below(2) == 0 {
                    tx.commit().await.unwrap();
                    stored.extend((answers == [Stored]).then_some(number));
                } else {
                    tx.rollback().await.unwrap();
                }
            }
            stored
        }));
    }
    let mut stored = Vec::new();
    for racer in racers {
        stored.extend(racer.await.unwrap());
    }
    stored.sort_unstable();
    assert_eq!(stored, (0..200).collect::<Vec<_>>());
    assert_eq!(counts(&mut Db(connect(&url).await), POSTGRES).await, [0, 200, 200]);
}

/// Races under the stricter isolation, where the loser cannot see the winner.
#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_strict_transaction_that_lost_a_race_is_told_to_repeat() {
    let url = database().await;
    let (mut one, mut two) = (connect(&url).await, connect(&url).await);
    for (number, isolation) in [(1, "REPEATABLE READ"), (2, "SERIALIZABLE")] {
        two.batch_execute(&format!("BEGIN ISOLATION LEVEL {isolation}; SELECT 1 FROM shop"))
            .await
            .unwrap();
        Outbox::postgres().publish(&mut one, &[event(number, 0)]).await.unwrap();
        let error = Outbox::postgres().publish(&mut two, &[event(number, 0)]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage);
        let source = std::error::Error::source(&error).unwrap();
        let source = source.downcast_ref::<tokio_postgres::Error>().unwrap();
        let serialization = tokio_postgres::error::SqlState::T_R_SERIALIZATION_FAILURE;
        assert_eq!(source.code(), Some(&serialization), "{isolation}");
        two.batch_execute("ROLLBACK").await.unwrap();
        two.batch_execute(&format!("BEGIN ISOLATION LEVEL {isolation}")).await.unwrap();
        let answers = Outbox::postgres().publish(&mut two, &[event(number, 0)]).await.unwrap();
        assert_eq!(answers, [Duplicate], "{isolation}");
        two.batch_execute("COMMIT").await.unwrap();
    }
}

/// Publishes as a role that has just the rights that the documentation names, and as one without.
#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_role_needs_the_rights_that_are_documented() {
    let url = database().await;
    let name = url.rsplit('/').next().unwrap();
    let cluster = Cluster::shared();
    let role = format!("host_of_{name}");
    cluster.sql(name, &format!("CREATE ROLE {role} LOGIN"));
    let mut client = connect(&url.replace("postgres@", &format!("{role}@"))).await;
    let error = Outbox::postgres().publish(&mut client, &[event(1, 0)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    cluster.sql(
        name,
        &format!(
            "GRANT USAGE ON SCHEMA tidings TO {role}; \
             GRANT EXECUTE ON FUNCTION tidings.publish(text) TO {role}; \
             GRANT USAGE ON SEQUENCE tidings.event_seq TO {role}; \
             GRANT SELECT, INSERT, DELETE ON tidings.event, tidings.mark TO {role};"
        ),
    );
    assert_eq!(Outbox::postgres().publish(&mut client, &[event(1, 0)]).await.unwrap(), [Stored]);
    let error = Outbox::postgres().publish(&mut client, &[event(2, 0), event(1, 1)]).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Conflict);
}

/// Publishes beside a running dispatcher, which a rolled-back event never reaches.
#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run"]
async fn what_is_committed_is_delivered() {
    let url = database().await;
    let tidings = Tidings::new(PostgresStorage::connect(&url).await.unwrap());
    let mut client = connect(&url).await;
    delivery::what_is_committed_is_delivered(&tidings, async |number| {
        let mut tx = client.transaction().await.unwrap();
        Outbox::postgres().publish(&mut tx, &[event(number, 0)]).await.unwrap();
        if number % 2 == 0 { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
    })
    .await;
}
