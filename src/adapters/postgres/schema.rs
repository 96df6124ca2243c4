//! Migrations: bringing a schema to the one of this version, by whoever may.

use std::time::Duration;

use tokio::time::Instant;

use super::fault::{Fault, Step};
use super::tx::{Database, Query, Tx};
pub(super) use crate::adapters::schema_name::check_name;
use crate::ground::error::{Error, ErrorKind};
use crate::ground::policy::{POSTGRES_MIGRATION_LOCK, POSTGRES_MIGRATION_PAUSE};

/// Each brings the schema one version further; they are never changed once released.
const MIGRATIONS: [&str; 5] = [
    concat!(include_str!("schema/001.sql"), include_str!("schema/publish.sql")),
    include_str!("schema/002.sql"),
    include_str!("schema/003.sql"),
    include_str!("schema/004.sql"),
    include_str!("schema/005.sql"),
];

/// A step that brings a schema one version further, as text for a migration tool of the host's own.
///
/// Run the steps in order, each once, each in a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// The schema's version after it, from 1.
    pub version: u32,
    /// What to run: several statements.
    pub sql: String,
}

/// The steps from an empty database, for a schema with this name.
pub(super) fn migrations(schema: &str) -> Vec<Migration> {
    let name = format!("\"{schema}\"");
    let steps = MIGRATIONS.iter().zip(1..).map(|(text, version)| {
        let begin = if version == 1 { BEGINNING } else { "" };
        let sql =
            format!("{begin}{text}INSERT INTO {{s}}.migration (version) VALUES ({version});\n");
        Migration { version, sql: sql.replace("{s}", &name) }
    });
    steps.collect()
}

const BEGINNING: &str = "\
CREATE SCHEMA IF NOT EXISTS {s};
-- The steps that were run.
CREATE TABLE {s}.migration (
    version integer PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now()
);
";

// From the catalogue itself: a look-up by name may answer from before the wait for the lock.
const THERE: Query = Query::new(
    "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relname = 'migration' AND '\"' || n.nspname || '\"' = '{s}')",
    &[],
);
const VERSION: Query = Query::new("SELECT coalesce(max(version), 0) FROM {s}.migration", &[]);

fn newest() -> i32 {
    i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX)
}

/// The schema's version: 0 where there is nothing of ours yet.
async fn version(tx: &Tx<'_>) -> Step<i32> {
    let rows = tx.rows(&THERE, &[]).await?;
    if !rows.first().map_or(Ok(false), |row| row.try_get(0))? {
        return Ok(0);
    }
    let rows = tx.rows(&VERSION, &[]).await?;
    let version = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
    if version > newest() {
        return Err(refused(format!(
            "the schema has version {version}, and this version of tidings knows up to {}: run a \
             newer version of tidings",
            newest()
        )));
    }
    Ok(version)
}

fn refused(message: String) -> Fault {
    Error::new(ErrorKind::Schema, message).into()
}

/// Refuses a schema that is not the one of this version.
pub(super) async fn check(database: &Database) -> Step<()> {
    let tx = database.begin().await?;
    let found = version(&tx).await;
    match tx.end(found).await? {
        0 => Err(refused(
            "the schema is missing: run the migrations, or let the storage run them at its start"
                .to_owned(),
        )),
        found if found < newest() => Err(refused(format!(
            "the schema has version {found}, and this version of tidings needs {}: run the migrations",
            newest()
        ))),
        _ => Ok(()),
    }
}

/// Runs what is missing, in one transaction. Of several that start at once, one does the work and the
/// others wait, and find nothing to do.
///
/// A step changes tables that are in use, and everybody who wants one of them waits behind it. So where
/// an open transaction is in its way it steps aside and tries again, for as long as `wait`.
pub(super) async fn migrate(database: &Database, schema: &str, wait: Duration) -> Step<()> {
    let begun = Instant::now();
    // Without a lock first: most starts find nothing to do, and may run under a role that may not.
    let tx = database.begin().await?;
    let found = version(&tx).await;
    if tx.end(found).await? == newest() {
        return Ok(());
    }
    let tx = database.begin().await?;
    let result = async {
        // Held to the end of the transaction, so that it works behind a pooler too.
        let lock = format!("SELECT pg_advisory_xact_lock(1953063017, hashtext('{schema}'))");
        tx.batch(&lock).await?;
        let found = version(&tx).await?;
        let steps = migrations(schema).into_iter();
        let missing = steps.filter(|step| i64::from(step.version) > i64::from(found));
        let missing: String = missing.map(|step| step.sql).collect();
        let patience = POSTGRES_MIGRATION_LOCK.as_millis();
        let attempt = format!("SAVEPOINT steps; SET LOCAL lock_timeout = {patience}; {missing}");
        loop {
            match tx.batch(&attempt).await {
                Err(fault) if fault.is_locked_out() => {
                    // The transaction stays, and with it the lock that keeps other nodes from trying.
                    tx.batch("ROLLBACK TO SAVEPOINT steps; RELEASE SAVEPOINT steps").await?;
                    if begun.elapsed() + POSTGRES_MIGRATION_PAUSE >= wait {
                        return Err(in_the_way());
                    }
                    tokio::time::sleep(POSTGRES_MIGRATION_PAUSE).await;
                }
                result => return result,
            }
        }
    };
    let result = result.await;
    tx.end(result).await
}

fn in_the_way() -> Fault {
    let message = "a transaction stands in the way of the migration: it uses tables of tidings and \
                   stays open; end it (pg_stat_activity shows it), or wait for its end, and start again";
    Error::new(ErrorKind::Unavailable, message).into()
}
