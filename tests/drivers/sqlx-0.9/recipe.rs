//! The outbox in transactions of sqlx 0.9: `outbox.publish(&mut Sqlite(&mut tx), &events)`.

use async_trait::async_trait;
use sqlx::{PgConnection, SqliteConnection, query_scalar};
use tidings::outbox::{BoxError, SqlExecutor};

pub struct Sqlite<'a>(pub &'a mut SqliteConnection);

#[async_trait]
impl SqlExecutor for Sqlite<'_> {
    async fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError> {
        Ok(query_scalar(sql).bind(value).fetch_all(&mut *self.0).await?)
    }
}

pub struct Postgres<'a>(pub &'a mut PgConnection);

#[async_trait]
impl SqlExecutor for Postgres<'_> {
    async fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError> {
        Ok(query_scalar(sql).bind(value).fetch_all(&mut *self.0).await?)
    }
}
