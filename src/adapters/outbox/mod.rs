//! Publishing in a transaction of the host's own, so that a change and its event are one fact.
//!
//! The storage has connections of its own, which the host's transaction cannot use. So here are only
//! statements and what their answers mean; the host's driver runs them ([`SqlExecutor`]). The event
//! and its mark are written, no webhook is read: who gets the event is found out when it is routed.

mod exchange;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "outbox-rusqlite")]
mod rusqlite;

use crate::adapters::schema_name::check_name;
use crate::ground::catalogue::Catalogue;
use crate::ground::error::{Error, Result};
use crate::ground::event::Event;
use crate::ground::publish::check_publish;
use crate::ports::sql::{BlockingSqlExecutor, BoxError, SqlExecutor};
use crate::ports::storage::Appended;
use exchange::Exchange;

/// Publishes in a transaction of the host's own, with the host's own driver.
///
/// When the transaction commits, the events are published; when it is rolled back, or only a
/// savepoint around the publish, they never were. The database is the one that the storage uses:
/// the same SQLite file (opened with [`SqliteOptions::shared`](crate::storage::SqliteOptions::shared)
/// if it holds the host's tables too), or the same PostgreSQL database.
///
/// ```
/// # use rusqlite::{Connection, TransactionBehavior};
/// # use tidings::{Change, Tidings, outbox::{BlockingSqlExecutor, BoxError, Outbox}};
/// # struct Tx<'a>(&'a Connection);
/// # impl BlockingSqlExecutor for Tx<'_> {
/// #     fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError> {
/// #         let mut statement = self.0.prepare_cached(sql)?;
/// #         let rows = statement.query_map([value], |row| row.get(0))?;
/// #         Ok(rows.collect::<Result<_, _>>()?)
/// #     }
/// # }
/// fn pay(db: &mut Connection, tidings: &Tidings, order: &str) -> Result<(), BoxError> {
///     let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
///     tx.execute("UPDATE orders SET state = 'paid' WHERE id = ?1", [order])?;
///     let paid = Change::of("order.paid", &serde_json::json!({ "id": order, "state": "paid" }))?;
///     Outbox::sqlite().publish_blocking(&mut Tx(&tx), &[tidings.event(paid)?])?;
///     tx.commit()?;
///     tidings.wake(); // Else the dispatcher finds it at its next poll.
///     Ok(())
/// }
/// ```
///
/// The text [`docs::outbox`](crate::docs::outbox) has what `Tx` is for the common drivers.
#[derive(Debug, Clone)]
pub struct Outbox {
    dialect: Dialect,
    catalogue: Option<Catalogue>,
}

/// What the statements are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Sqlite,
    /// With the one statement that calls the function of the schema.
    Postgres(Calls),
}

/// The statements that call the functions of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Calls {
    plain: &'static str,
    /// Where an event is rendered for older versions. A schema that has no place for these does not have
    /// this function either: what it cannot keep is an error.
    rendered: &'static str,
}

impl Outbox {
    /// For a SQLite file. The host's SQLite must be 3.41 or newer; what `sqlite-bundled` compiles is.
    ///
    /// Begin the transaction with `BEGIN IMMEDIATE`, as all that write to SQLite beside others should:
    /// one that has read before it writes fails when another one wrote in between. Without an open
    /// transaction each statement would be one of its own.
    #[must_use]
    pub const fn sqlite() -> Self {
        Self { dialect: Dialect::Sqlite, catalogue: None }
    }

    /// For PostgreSQL, where the storage is in the schema `tidings`, as it is by default.
    ///
    /// The host's role must be allowed to use the schema and its sequence `event_seq`, to execute its
    /// functions `publish` and `publish_rendered`, and to select from, insert into and delete from
    /// `event` and `mark`.
    #[must_use]
    pub const fn postgres() -> Self {
        let calls = Calls {
            plain: "SELECT answer FROM tidings.publish($1::text) AS answer",
            rendered: "SELECT answer FROM tidings.publish_rendered($1::text) AS answer",
        };
        Self { dialect: Dialect::Postgres(calls), catalogue: None }
    }

    /// For PostgreSQL, where the storage is in another schema.
    ///
    /// Make it once and keep it: drivers want statements that live as long as the program, so each
    /// call of this leaves one behind.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) unless the name is 1 to 63 lower-case letters, digits or
    /// `_`, and does not begin with a digit.
    pub fn postgres_in(schema: &str) -> Result<Self> {
        check_name(schema)?;
        let call = |function: &str| -> &'static str {
            format!("SELECT answer FROM \"{schema}\".{function}($1::text) AS answer").leak()
        };
        let calls = Calls { plain: call("publish"), rendered: call("publish_rendered") };
        Ok(Self { dialect: Dialect::Postgres(calls), catalogue: None })
    }

    /// Has events checked against the host's [`Catalogue`] before they are published.
    #[must_use]
    pub fn catalogue(mut self, catalogue: Catalogue) -> Self {
        self.catalogue = Some(catalogue);
        self
    }

    /// Publishes events, all or none, in the transaction of `executor`. The answers, in the order of
    /// the events, say which are [stored](Appended::Stored) by this call and which are
    /// [duplicates](Appended::Duplicate) of what was published before.
    ///
    /// Call [`Tidings::wake`](crate::Tidings::wake) after the commit.
    ///
    /// # Errors
    /// After these nothing of the call is kept and the transaction goes on:
    /// [`Invalid`](crate::ErrorKind::Invalid) when the [catalogue](Catalogue::check) refuses an event;
    /// [`Conflict`](crate::ErrorKind::Conflict) when an id is taken by an event with other content;
    /// [`Limit`](crate::ErrorKind::Limit) for more than 10,000 events or 64 MiB of payload, in all
    /// [`Versions`](crate::Versions) together.
    ///
    /// After [`Storage`](crate::ErrorKind::Storage), with the driver's error as its source, roll back.
    /// PostgreSQL makes a publish wait for another one of the same id to end; under `REPEATABLE READ`
    /// and above it then fails with a serialization failure (40001), and two transactions that publish
    /// the same ids in another order may deadlock (40P01): repeat the transaction.
    ///
    /// # Cancellation
    /// If the future is dropped, roll back.
    pub async fn publish(
        &self,
        executor: &mut dyn SqlExecutor,
        events: &[Event],
    ) -> Result<Vec<Appended>> {
        let mut exchange = self.begin(events)?;
        while let Some((sql, value)) = exchange.ask() {
            let rows = executor.fetch(sql, &value).await.map_err(failed)?;
            exchange.hear(&rows)?;
        }
        exchange.end()
    }

    /// As [`publish`](Self::publish), for drivers that block.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_blocking(
        &self,
        executor: &mut dyn BlockingSqlExecutor,
        events: &[Event],
    ) -> Result<Vec<Appended>> {
        let mut exchange = self.begin(events)?;
        while let Some((sql, value)) = exchange.ask() {
            let rows = executor.fetch(sql, &value).map_err(failed)?;
            exchange.hear(&rows)?;
        }
        exchange.end()
    }

    fn begin<'a>(&self, events: &'a [Event]) -> Result<Exchange<'a>> {
        check_publish(events, self.catalogue.as_ref())?;
        Ok(Exchange::new(self.dialect, events))
    }
}

fn failed(error: BoxError) -> Error {
    Error::storage("a statement of the publish failed in the host's transaction", error)
}
