//! The outbox in transactions of tokio-postgres, and so of deadpool-postgres (`&mut *transaction`).
//!
//! The statement is not prepared under a name: that saves a round trip, and a pooler in transaction
//! mode need not know it.

use async_trait::async_trait;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, GenericClient, Transaction};

use crate::ports::sql::{BoxError, SqlExecutor};

async fn fetch(
    client: &impl GenericClient,
    sql: &str,
    value: &str,
) -> Result<Vec<String>, BoxError> {
    let rows = client.query_typed(sql, &[(&value, Type::TEXT)]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

#[async_trait]
impl SqlExecutor for Transaction<'_> {
    async fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError> {
        fetch(self, sql, value).await
    }
}

/// A connection on which the host has begun a transaction by a statement of its own.
#[async_trait]
impl SqlExecutor for Client {
    async fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError> {
        fetch(self, sql, value).await
    }
}
