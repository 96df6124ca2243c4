//! What publishing in a transaction promises, through sea-orm and SQLite.

#[path = "../../../support/databases.rs"]
mod databases;
#[path = "../../../support/transactions.rs"]
mod transactions;

use async_trait::async_trait;
use recipe::Tx;
use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, TransactionTrait as _,
};
use tempfile::TempDir;
use tidings::Event;
use tidings::outbox::{BoxError, Outbox, SqlExecutor as _};
use tidings::storage::Appended::{self, Stored};
use transactions::{Host, SQLITE, counts, event, promises, with_shop};

/// A pool of one connection.
struct Db(DatabaseConnection);

#[async_trait]
impl Host for Db {
    async fn run(&mut self, sql: &'static str) -> Result<(), BoxError> {
        self.0.execute_unprepared(sql).await?;
        Ok(())
    }

    async fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError> {
        Tx(&self.0).fetch(sql, value).await
    }

    async fn publish(&mut self, events: &[Event]) -> tidings::Result<Vec<Appended>> {
        Outbox::sqlite().publish(&mut Tx(&self.0), events).await
    }
}

async fn connect(url: String) -> Db {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    Db(Database::connect(options).await.unwrap())
}

async fn host() -> (Db, TempDir) {
    let folder = databases::sqlite().await;
    let url = format!("sqlite://{}", folder.path().join("shop.db").display());
    let db = connect(url).await;
    db.0.execute_unprepared("PRAGMA synchronous = OFF").await.unwrap();
    (with_shop(db).await, folder)
}

promises!(SQLITE, host(), 2_000);

/// Publishes in the driver's own transactions, one within the other, one of which is rolled back.
#[tokio::test]
async fn the_drivers_own_transactions_publish() {
    let (mut host, _kept) = host().await;
    let tx = host.0.begin().await.unwrap();
    for number in [1, 2] {
        let savepoint = tx.begin().await.unwrap();
        let answers = Outbox::sqlite().publish(&mut Tx(&savepoint), &[event(number, 0)]).await;
        assert_eq!(answers.unwrap(), [Stored]);
        if number == 1 {
            savepoint.commit().await.unwrap();
        } else {
            savepoint.rollback().await.unwrap();
        }
    }
    tx.commit().await.unwrap();
    assert_eq!(counts(&mut host, SQLITE).await, [0, 1, 1]);
}
