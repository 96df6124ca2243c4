//! The SQL port: how an [`Outbox`](crate::outbox::Outbox) speaks in a transaction of the host's own,
//! through whatever driver the host has.
//!
//! As narrow as it can be, so that a driver needs about ten lines: a statement takes one text and
//! answers with one text a row. What is more is packed into the text, as JSON.

use async_trait::async_trait;

/// An error of the host's driver.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Runs statements in an open transaction of the host.
///
/// # Contract
/// `fetch` runs `sql` with its one parameter (`?1` in SQLite, `$1` in PostgreSQL) bound to `value` as
/// text, to the end, and returns the column `answer` of every row, the only one; no rows where the
/// statement has none. It runs in the transaction that the host will commit, and does not begin or
/// end one.
#[async_trait]
pub trait SqlExecutor: Send {
    /// Runs one statement and returns its rows.
    ///
    /// # Errors
    /// Those of the driver, as they are.
    ///
    /// # Cancellation
    /// As the driver's own: roll the transaction back.
    async fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError>;
}

/// As [`SqlExecutor`], for drivers that block.
///
/// # Contract
/// That of [`SqlExecutor`].
pub trait BlockingSqlExecutor {
    /// Runs one statement and returns its rows.
    ///
    /// # Errors
    /// Those of the driver, as they are.
    fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError>;
}
