//! The outbox in transactions of rusqlite.

use rusqlite::{Connection, Savepoint, Transaction};

use crate::ports::sql::{BlockingSqlExecutor, BoxError};

fn fetch(conn: &Connection, sql: &str, value: &str) -> Result<Vec<String>, BoxError> {
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map([value], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A connection on which the host has begun a transaction.
impl BlockingSqlExecutor for Connection {
    fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError> {
        fetch(self, sql, value)
    }
}

impl BlockingSqlExecutor for Transaction<'_> {
    fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError> {
        fetch(self, sql, value)
    }
}

impl BlockingSqlExecutor for Savepoint<'_> {
    fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError> {
        fetch(self, sql, value)
    }
}
