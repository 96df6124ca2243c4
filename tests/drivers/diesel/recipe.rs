//! The outbox in transactions of diesel: `outbox.publish_blocking(&mut Sqlite(conn), &events)`.

use diesel::sql_types::Text;
use diesel::{PgConnection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query};
use tidings::outbox::{BlockingSqlExecutor, BoxError};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    answer: String,
}

pub struct Sqlite<'a>(pub &'a mut SqliteConnection);

impl BlockingSqlExecutor for Sqlite<'_> {
    fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError> {
        let rows: Vec<Row> = sql_query(sql).bind::<Text, _>(value).load(self.0)?;
        Ok(rows.into_iter().map(|row| row.answer).collect())
    }
}

pub struct Postgres<'a>(pub &'a mut PgConnection);

impl BlockingSqlExecutor for Postgres<'_> {
    fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError> {
        let rows: Vec<Row> = sql_query(sql).bind::<Text, _>(value).load(self.0)?;
        Ok(rows.into_iter().map(|row| row.answer).collect())
    }
}
