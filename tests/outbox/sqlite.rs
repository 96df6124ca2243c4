//! The outbox over rusqlite.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, TransactionBehavior};
use tempfile::TempDir;
use tidings::outbox::{BlockingSqlExecutor, BoxError, Outbox};
use tidings::storage::Appended::{self, Duplicate, Stored};
use tidings::storage::{SqliteOptions, SqliteStorage};
use tidings::{ErrorKind, Event, Tidings};

use crate::transactions::{Host, SQLITE, counts, event, promises, with_shop};
use crate::{databases, delivery};

struct Db(Connection);

#[async_trait]
impl Host for Db {
    async fn run(&mut self, sql: &'static str) -> Result<(), BoxError> {
        Ok(self.0.execute_batch(sql)?)
    }

    async fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError> {
        BlockingSqlExecutor::fetch(&mut self.0, sql, value)
    }

    async fn publish(&mut self, events: &[Event]) -> tidings::Result<Vec<Appended>> {
        Outbox::sqlite().publish_blocking(&mut self.0, events)
    }
}

/// A file with the tables of the crate and of the host.
async fn file() -> TempDir {
    let folder = databases::sqlite().await;
    with_shop(Db(connect(&folder))).await;
    folder
}

async fn open(folder: &TempDir) -> SqliteStorage {
    // Without syncs: these are thousands of commits, and no power is cut.
    let options = SqliteOptions::default().shared(true).dangerously_without_sync(true);
    SqliteStorage::open_with(folder.path().join("shop.db"), options).await.unwrap()
}

fn connect(folder: &TempDir) -> Connection {
    let conn = Connection::open(folder.path().join("shop.db")).unwrap();
    conn.busy_timeout(Duration::from_secs(60)).unwrap();
    conn.pragma_update(None, "synchronous", "OFF").unwrap();
    conn
}

async fn host() -> (Db, TempDir) {
    let folder = file().await;
    (Db(connect(&folder)), folder)
}

promises!(SQLITE, host(), 2_000);

/// Publishes through each type that rusqlite has for a transaction.
#[tokio::test]
async fn every_kind_of_transaction_publishes() {
    let folder = file().await;
    let mut conn = connect(&folder);
    let mut tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    assert_eq!(Outbox::sqlite().publish_blocking(&mut tx, &[event(1, 0)]).unwrap(), [Stored]);
    let mut savepoint = tx.savepoint().unwrap();
    let events = [event(1, 0), event(2, 0)];
    let answers = Outbox::sqlite().publish_blocking(&mut savepoint, &events).unwrap();
    assert_eq!(answers, [Duplicate, Stored]);
    savepoint.commit().unwrap();
    tx.commit().unwrap();
    assert_eq!(counts(&mut Db(conn), SQLITE).await, [0, 2, 2]);
}

/// Begins without the lock, lets another connection write, and publishes.
#[tokio::test]
async fn a_publish_takes_the_lock_before_it_reads() {
    let folder = file().await;
    let (mut one, two) = (connect(&folder), connect(&folder));
    let mut tx = one.transaction().unwrap();
    two.execute_batch("INSERT INTO shop VALUES (1)").unwrap();
    // Nothing is inserted, so that it is the question alone that takes the lock.
    assert_eq!(Outbox::sqlite().publish_blocking(&mut tx, &[event(1, 0)]).unwrap(), [Stored]);
    tx.rollback().unwrap();
    Outbox::sqlite().publish_blocking(&mut one, &[event(1, 0)]).unwrap();
    let mut tx = one.transaction().unwrap();
    assert_eq!(Outbox::sqlite().publish_blocking(&mut tx, &[event(1, 0)]).unwrap(), [Duplicate]);
    two.busy_timeout(Duration::ZERO).unwrap();
    let error = two.execute_batch("INSERT INTO shop VALUES (1)").unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
    tx.commit().unwrap();
    two.execute_batch("INSERT INTO shop VALUES (1)").unwrap();
}

/// Lets threads publish the same ids at the same time, each keeping or rolling back every other.
#[tokio::test]
async fn of_racing_publishes_one_is_stored() {
    let folder = file().await;
    let stored = Arc::new(Mutex::new(vec![0; 100]));
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (mut conn, stored) = (connect(&folder), stored.clone());
            thread::spawn(move || {
                for number in 0..100 {
                    let mut tx =
                        conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
                    let events = [event(number, 0)];
                    let answers = Outbox::sqlite().publish_blocking(&mut tx, &events).unwrap();
                    if (number + thread) % 2 == 0 {
                        tx.commit().unwrap();
                        let index = usize::try_from(number).unwrap();
                        stored.lock().unwrap()[index] += usize::from(answers == [Stored]);
                    } else {
                        tx.rollback().unwrap();
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(*stored.lock().unwrap(), vec![1; 100]);
    assert_eq!(counts(&mut Db(connect(&folder)), SQLITE).await, [0, 100, 100]);
}

/// Publishes more than one call may have, and through a connection without the tables.
#[tokio::test]
async fn a_publish_that_cannot_be_says_why() {
    let mut empty = Connection::open_in_memory().unwrap();
    let publish = |conn: &mut Connection, events: &[Event]| {
        Outbox::sqlite().publish_blocking(conn, events).unwrap_err()
    };
    let error = publish(&mut empty, &[event(1, 0)]);
    assert_eq!(error.kind(), ErrorKind::Storage);
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.to_string().contains("no such table: tidings_event"), "{source}");

    let many: Vec<Event> = (0..10_001).map(|number| event(number, 0)).collect();
    let error = publish(&mut empty, &many);
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains("10001 events"), "{error}");

    let large = serde_json::json!({ "text": "x".repeat(1_000_000) });
    let change = tidings::Change::of("order.paid", &large).unwrap();
    let event = change.into_event(event(1, 0).id(), tidings::Timestamp::UNIX_EPOCH).unwrap();
    let error = publish(&mut empty, &vec![event; 70]);
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains("67108864 are allowed"), "{error}");
}

/// Publishes beside a running dispatcher, which a rolled-back event never reaches.
#[tokio::test]
async fn what_is_committed_is_delivered() {
    let folder = file().await;
    let tidings = Tidings::new(open(&folder).await);
    let mut conn = connect(&folder);
    delivery::what_is_committed_is_delivered(&tidings, async |number| {
        let mut tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        Outbox::sqlite().publish_blocking(&mut tx, &[event(number, 0)]).unwrap();
        if number % 2 == 0 { tx.commit().unwrap() } else { tx.rollback().unwrap() }
    })
    .await;
}
