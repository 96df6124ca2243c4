//! What publishing in a transaction promises, through sqlx and PostgreSQL.

#[path = "../../../support/databases.rs"]
mod databases;
#[path = "../../../support/transactions.rs"]
mod transactions;

use async_trait::async_trait;
use recipe::Postgres;
use sqlx::{Connection as _, PgConnection};
use tidings::Event;
use tidings::outbox::{BoxError, Outbox, SqlExecutor as _};
use tidings::storage::Appended::{self, Stored};
use transactions::{Host, POSTGRES, counts, event, promises, with_shop};

struct Db(PgConnection);

#[async_trait]
impl Host for Db {
    async fn run(&mut self, sql: &'static str) -> Result<(), BoxError> {
        sqlx::query(sql).execute(&mut self.0).await?;
        Ok(())
    }

    async fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError> {
        Postgres(&mut self.0).fetch(sql, value).await
    }

    async fn publish(&mut self, events: &[Event]) -> tidings::Result<Vec<Appended>> {
        Outbox::postgres().publish(&mut Postgres(&mut self.0), events).await
    }
}

async fn host() -> (Db, String) {
    let url = databases::postgres();
    (with_shop(Db(PgConnection::connect(&url).await.unwrap())).await, url)
}

promises!(POSTGRES, host(), 2_000);

/// Publishes in the driver's own transactions, one of which is dropped.
#[tokio::test]
async fn the_drivers_own_transactions_publish() {
    let (mut host, _kept) = host().await;
    for number in [1, 2] {
        let mut tx = host.0.begin().await.unwrap();
        let answers = Outbox::postgres().publish(&mut Postgres(&mut tx), &[event(number, 0)]).await;
        assert_eq!(answers.unwrap(), [Stored]);
        if number == 1 {
            tx.commit().await.unwrap();
        }
    }
    assert_eq!(counts(&mut host, POSTGRES).await, [0, 1, 1]);
}
