//! What publishing in a transaction promises, through sqlx and SQLite.

#[path = "../../../support/databases.rs"]
mod databases;
#[path = "../../../support/transactions.rs"]
mod transactions;

use async_trait::async_trait;
use recipe::Sqlite;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use tidings::Event;
use tidings::outbox::{BoxError, Outbox, SqlExecutor as _};
use tidings::storage::Appended::{self, Stored};
use transactions::{Host, SQLITE, counts, event, promises, with_shop};

struct Db(SqliteConnection);

#[async_trait]
impl Host for Db {
    async fn run(&mut self, sql: &'static str) -> Result<(), BoxError> {
        sqlx::query(sql).execute(&mut self.0).await?;
        Ok(())
    }

    async fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError> {
        Sqlite(&mut self.0).fetch(sql, value).await
    }

    async fn publish(&mut self, events: &[Event]) -> tidings::Result<Vec<Appended>> {
        Outbox::sqlite().publish(&mut Sqlite(&mut self.0), events).await
    }
}

async fn host() -> (Db, TempDir) {
    let folder = databases::sqlite().await;
    let options = SqliteConnectOptions::new().filename(folder.path().join("shop.db"));
    let options = options.synchronous(SqliteSynchronous::Off);
    (with_shop(Db(options.connect().await.unwrap())).await, folder)
}

promises!(SQLITE, host(), 2_000);

/// Publishes in the driver's own transactions, one of which is dropped.
#[tokio::test]
async fn the_drivers_own_transactions_publish() {
    let (mut host, _kept) = host().await;
    for number in [1, 2] {
        let mut tx = host.0.begin().await.unwrap();
        let answers = Outbox::sqlite().publish(&mut Sqlite(&mut tx), &[event(number, 0)]).await;
        assert_eq!(answers.unwrap(), [Stored]);
        if number == 1 {
            tx.commit().await.unwrap();
        }
    }
    assert_eq!(counts(&mut host, SQLITE).await, [0, 1, 1]);
}
