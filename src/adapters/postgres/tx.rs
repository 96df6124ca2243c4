//! Transactions: statements of this crate, run on a connection of the pool.
//!
//! `BEGIN` travels with the first statement, and statements that need nothing of each other travel
//! together: a turn of the dispatcher is two or three trips to the database. A transaction that is
//! dropped halfway, because its caller went away, takes its connection with it; the database rolls
//! back what was on it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use deadpool_postgres::{Object, Pool};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::fault::Step;
use crate::ground::policy::{POSTGRES_STALL, POSTGRES_TRIES};

/// A statement, with `{s}` for the schema, and the types of its values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query {
    pub(super) sql: &'static str,
    pub(super) types: &'static [Type],
}

impl Query {
    pub(super) const fn new(sql: &'static str, types: &'static [Type]) -> Self {
        Self { sql, types }
    }
}

/// A value of a statement.
pub(super) type Value<'v> = &'v (dyn ToSql + Sync);

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// What our transactions need to be set.
///
/// Tables of which little is left at a time (marks, leases) look small to the planner, and it reads them
/// from end to end; but they are as long as what was removed from them since the last vacuum, and while
/// any transaction stays open that is everything. So an index is taken wherever there is one. (The
/// planner does this by a penalty, which would have it compile what has no index.)
///
/// And a node may stop within a transaction (a machine that sleeps, a network that swallows): what it
/// has locked is everybody's again when PostgreSQL gives it up.
fn settings() -> [(&'static str, String); 3] {
    [
        ("enable_seqscan", "off".to_owned()),
        ("jit", "off".to_owned()),
        ("idle_in_transaction_session_timeout", POSTGRES_STALL.as_millis().to_string()),
    ]
}

/// The settings, as an option of a connection that is ours alone.
pub(super) fn startup() -> String {
    settings().map(|(name, value)| format!("-c {name}={value}")).join(" ")
}

/// The beginning of a transaction where others use the connection, too.
fn begin_shared() -> String {
    let set = settings().map(|(name, value)| format!("; SET LOCAL {name} = {value}"));
    format!("{BEGIN}{}", set.concat())
}

/// Where statements are run.
pub(super) struct Database {
    pub(super) pool: Pool,
    schema: String,
    pooler: bool,
    /// How transactions begin.
    begin: Cow<'static, str>,
    /// The statements with the schema's name in them.
    texts: RwLock<HashMap<&'static str, Arc<str>>>,
}

impl Database {
    /// `own`: nobody else uses the connections, and they were opened with [`startup`].
    pub(super) fn new(pool: Pool, schema: &str, pooler: bool, own: bool) -> Self {
        let texts = RwLock::default();
        let begin = if own && !pooler { Cow::Borrowed(BEGIN) } else { Cow::Owned(begin_shared()) };
        Self { pool, schema: format!("\"{schema}\""), pooler, begin, texts }
    }

    /// A statement with the schema's name in it.
    fn text(&self, sql: &'static str) -> Arc<str> {
        let known = self.texts.read().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        known.unwrap_or_else(|| {
            let text: Arc<str> = sql.replace("{s}", &self.schema).into();
            let mut texts = self.texts.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(texts.entry(sql).or_insert(text))
        })
    }

    async fn run(&self, client: &Object, query: &Query, values: &[Value<'_>]) -> Step<Vec<Row>> {
        let text = self.text(query.sql);
        self.run_text(client, &text, query.types, values).await
    }

    async fn run_text(
        &self,
        client: &Object,
        text: &str,
        types: &[Type],
        values: &[Value<'_>],
    ) -> Step<Vec<Row>> {
        if self.pooler {
            let typed: Vec<_> = values.iter().copied().zip(types.iter().cloned()).collect();
            return Ok(client.query_typed(text, &typed).await?);
        }
        let statement = client.prepare_typed_cached(text, types).await?;
        Ok(client.query(&statement, values).await?)
    }

    /// Runs one statement, in a transaction of its own.
    pub(super) async fn once(&self, query: &Query, values: &[Value<'_>]) -> Step<Vec<Row>> {
        let mut loan = Loan(Some(self.pool.get().await?));
        let Some(client) = &loan.0 else { return Ok(Vec::new()) };
        let answer = self.run(client, query, values).await;
        drop(loan.0.take());
        answer
    }

    /// As [`once`](Self::once), for a text that was put together.
    pub(super) async fn once_text(
        &self,
        sql: &str,
        types: &[Type],
        values: &[Value<'_>],
    ) -> Step<Vec<Row>> {
        let mut loan = Loan(Some(self.pool.get().await?));
        let Some(client) = &loan.0 else { return Ok(Vec::new()) };
        let text = sql.replace("{s}", &self.schema);
        let answer = self.run_text(client, &text, types, values).await;
        drop(loan.0.take());
        answer
    }

    /// A transaction. It begins with its first statement.
    pub(super) async fn begin(&self) -> Step<Tx<'_>> {
        let client = self.pool.get().await?;
        Ok(Tx { database: self, client: Some(client), begun: AtomicBool::new(false) })
    }
}

/// A connection while its statement runs. Whoever does not wait for the answer must not give it back: the
/// next one would wait behind what the server is still at.
struct Loan(Option<Object>);

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Object::take(client));
        }
    }
}

/// A transaction, READ COMMITTED.
pub(super) struct Tx<'d> {
    database: &'d Database,
    client: Option<Object>,
    begun: AtomicBool,
}

impl Tx<'_> {
    /// Runs a statement. Several futures of this may be polled together: the statements run in the
    /// order of their first polls.
    pub(super) async fn rows(&self, query: &Query, values: &[Value<'_>]) -> Step<Vec<Row>> {
        let Some(client) = &self.client else { return Ok(Vec::new()) };
        let run = self.database.run(client, query, values);
        if self.begun.swap(true, Ordering::Relaxed) {
            return run.await;
        }
        let begin = async { Ok(client.batch_execute(&self.database.begin).await?) };
        // In this order: the first poll sends.
        let ((), rows) = futures_util::future::try_join(begin, run).await?;
        Ok(rows)
    }

    /// Runs a statement whose rows do not matter.
    pub(super) async fn run(&self, query: &Query, values: &[Value<'_>]) -> Step<()> {
        self.rows(query, values).await.map(drop)
    }

    /// Runs plain statements, several in one text.
    pub(super) async fn batch(&self, sql: &str) -> Step<()> {
        let Some(client) = &self.client else { return Ok(()) };
        let text = sql.replace("{s}", &self.database.schema);
        if !self.begun.swap(true, Ordering::Relaxed) {
            client.batch_execute(&self.database.begin).await?;
        }
        Ok(client.batch_execute(&text).await?)
    }

    /// Ends it: with a commit if all went well, else as if it had not been.
    pub(super) async fn end<T>(mut self, result: Step<T>) -> Step<T> {
        if !self.begun.load(Ordering::Relaxed) {
            drop(self.client.take());
            return result;
        }
        let Some(client) = &self.client else { return result };
        let ended = match &result {
            Ok(_) => client.batch_execute("COMMIT").await,
            Err(_) => client.batch_execute("ROLLBACK").await,
        };
        match (result, ended) {
            (result, Ok(())) => {
                drop(self.client.take());
                result
            }
            (Ok(_), Err(error)) => Err(error.into()),
            // The connection is of no use any more; the first error says why.
            (Err(fault), Err(_)) => Err(fault),
        }
    }
}

impl Tx<'_> {
    /// Ends it as if it had not been.
    pub(super) async fn undo(mut self) -> Step<()> {
        if let Some(client) = &self.client
            && self.begun.load(Ordering::Relaxed)
        {
            client.batch_execute("ROLLBACK").await?;
        }
        drop(self.client.take());
        Ok(())
    }
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client.take()
            && self.begun.load(Ordering::Relaxed)
        {
            // Out of the pool, and closed: whatever is still open on it ends with it.
            drop(Object::take(client));
        }
    }
}

/// Tries again what PostgreSQL took back because of what others did at the same time.
pub(super) async fn retried<T, F: Future<Output = Step<T>>>(attempt: impl Fn() -> F) -> Step<T> {
    let mut tries = 1;
    loop {
        match attempt().await {
            Err(fault) if fault.is_transient() && tries < POSTGRES_TRIES => {
                tracing::debug!(name: "tidings.postgres.again", tries, ?fault);
                tries += 1;
            }
            result => return result,
        }
    }
}
