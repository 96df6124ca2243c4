//! The outbox in transactions of sea-orm 1: `outbox.publish(&mut Tx(&tx), &events)`.

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, Statement};
use tidings::outbox::{BoxError, SqlExecutor};

pub struct Tx<'a, C>(pub &'a C);

#[async_trait]
impl<C: ConnectionTrait> SqlExecutor for Tx<'_, C> {
    async fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError> {
        let backend = self.0.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, [value.into()]);
        let rows = self.0.query_all(statement).await?;
        rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
    }
}
