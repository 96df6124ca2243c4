//! What publishing in a transaction promises, through diesel and SQLite.

#[path = "../../../support/databases.rs"]
mod databases;
#[path = "../../../support/transactions.rs"]
mod transactions;

use async_trait::async_trait;
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tidings::Event;
use tidings::outbox::{BlockingSqlExecutor as _, BoxError, Outbox};
use tidings::storage::Appended::{self, Stored};
use tidings_diesel::Sqlite;
use transactions::{Host, SQLITE, counts, event, promises, with_shop};

struct Db(SqliteConnection);

#[async_trait]
impl Host for Db {
    async fn run(&mut self, sql: &'static str) -> Result<(), BoxError> {
        Ok(self.0.batch_execute(sql)?)
    }

    async fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError> {
        Sqlite(&mut self.0).fetch(sql, value)
    }

    async fn publish(&mut self, events: &[Event]) -> tidings::Result<Vec<Appended>> {
        Outbox::sqlite().publish_blocking(&mut Sqlite(&mut self.0), events)
    }
}

async fn host() -> (Db, TempDir) {
    let folder = databases::sqlite().await;
    let file = folder.path().join("shop.db");
    let mut conn = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    conn.batch_execute("PRAGMA synchronous = OFF").unwrap();
    (with_shop(Db(conn)).await, folder)
}

promises!(SQLITE, host(), 2_000);

/// Publishes in the driver's own transactions, one of which fails.
#[tokio::test]
async fn the_drivers_own_transactions_publish() {
    let (mut host, _kept) = host().await;
    for number in [1, 2] {
        let ended = host.0.transaction::<(), BoxError, _>(|conn| {
            let answers =
                Outbox::sqlite().publish_blocking(&mut Sqlite(conn), &[event(number, 0)])?;
            assert_eq!(answers, [Stored]);
            if number == 1 { Ok(()) } else { Err("no".into()) }
        });
        assert_eq!(ended.is_ok(), number == 1);
    }
    assert_eq!(counts(&mut host, SQLITE).await, [0, 1, 1]);
}
