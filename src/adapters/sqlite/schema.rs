//! Opening a connection, and bringing a file to the schema of this version.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};

use super::fault::{Fault, Step};
use super::options::SqliteOptions;
use crate::ground::error::{Error, ErrorKind};
use crate::ground::policy::{
    SQLITE_BUSY_STEP, SQLITE_CACHE_KIB, SQLITE_CHECKPOINT_PAGES, SQLITE_STATEMENTS,
    SQLITE_WAL_BYTES_KEPT,
};

/// Each brings the schema one version further; they are never changed once released.
const MIGRATIONS: [&str; 5] = [
    include_str!("schema/001.sql"),
    include_str!("schema/002.sql"),
    include_str!("schema/003.sql"),
    include_str!("schema/004.sql"),
    include_str!("schema/005.sql"),
];

/// Marks files that are ours alone, for people who look at one (`file`, `PRAGMA application_id`):
/// "tidi".
const APPLICATION_ID: i64 = 0x7469_6469;

/// Where the database is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    File(&'a Path),
    Memory,
}

/// The connection of the writer, with the schema of this version.
pub(super) fn open_writer(place: Place<'_>, options: &SqliteOptions) -> Step<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = match place {
        Place::File(path) => Connection::open_with_flags(path, flags)?,
        Place::Memory => Connection::open_in_memory_with_flags(flags)?,
    };
    tune(&conn, options)?;
    // Looked at before anything is changed: a file that is refused stays as it is.
    patiently(options, || version(&conn, options))?;
    let mode: String = patiently(options, || {
        Ok(conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?)
    })?;
    if matches!(place, Place::File(_)) && mode != "wal" {
        let message = "SQLite cannot use its write-ahead log here; is it a network file system?";
        return Err(Error::new(ErrorKind::Unavailable, message).into());
    }
    migrate(&mut conn, options)?;
    Ok(conn)
}

/// The connection of a reader.
pub(super) fn open_reader(path: &Path, options: &SqliteOptions) -> Step<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    tune(&conn, options)?;
    conn.pragma_update(None, "query_only", 1)?;
    Ok(conn)
}

fn tune(conn: &Connection, options: &SqliteOptions) -> Step<()> {
    conn.busy_timeout(options.busy_timeout)?;
    conn.set_prepared_statement_cache_capacity(SQLITE_STATEMENTS);
    let synchronous = if options.unsafe_without_sync { "NORMAL" } else { "FULL" };
    conn.pragma_update(None, "synchronous", synchronous)?;
    // Only macOS heeds these: there a plain sync leaves the data in the drive's cache.
    conn.pragma_update(None, "fullfsync", 1)?;
    conn.pragma_update(None, "checkpoint_fullfsync", 1)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "cache_size", -SQLITE_CACHE_KIB)?;
    conn.pragma_update(None, "journal_size_limit", SQLITE_WAL_BYTES_KEPT)?;
    conn.pragma_update(None, "wal_autocheckpoint", SQLITE_CHECKPOINT_PAGES)?;
    Ok(())
}

/// The schema's version: 0 where there is nothing of ours yet.
fn version(conn: &Connection, options: &SqliteOptions) -> Step<usize> {
    let ours = "SELECT 1 FROM sqlite_master WHERE name = 'tidings_schema'";
    if conn.query_row(ours, [], |_| Ok(())).optional()?.is_none() {
        let other = "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
                     AND (?1 = 0 OR name LIKE 'tidings\\_%' ESCAPE '\\') LIMIT 1";
        let shared = i64::from(options.shared);
        let other: Option<String> = conn.query_row(other, [shared], |row| row.get(0)).optional()?;
        return match other {
            None => Ok(0),
            Some(name) => Err(schema(format!(
                "the SQLite file belongs to something else (it has a table {name}): give another \
                 path, or say that the file is shared"
            ))),
        };
    }
    let version: i64 =
        conn.query_row("SELECT version FROM tidings_schema", [], |row| row.get(0))?;
    match usize::try_from(version) {
        Ok(version @ 1..) if version <= MIGRATIONS.len() => Ok(version),
        _ => Err(schema(format!(
            "the SQLite file has schema {version}, and this version of tidings knows up to {}: \
             run a newer version of tidings",
            MIGRATIONS.len()
        ))),
    }
}

fn schema(message: String) -> Fault {
    Error::new(ErrorKind::Schema, message).into()
}

/// Runs what is missing, in one transaction. Of two processes that open a new file at once, the
/// second waits and finds nothing to do.
fn migrate(conn: &mut Connection, options: &SqliteOptions) -> Step<()> {
    if version(conn, options)? == MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction, options)?;
    if found == 0 {
        transaction.execute_batch("CREATE TABLE tidings_schema (version INTEGER NOT NULL)")?;
        transaction.execute("INSERT INTO tidings_schema (version) VALUES (0)", [])?;
        if !options.shared {
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
    }
    for migration in MIGRATIONS.iter().skip(found) {
        transaction.execute_batch(migration)?;
    }
    let version = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    transaction.execute("UPDATE tidings_schema SET version = ?1", params![version])?;
    transaction.commit()?;
    Ok(())
}

/// Tries again while another connection is in the way. Changing to the write-ahead log is refused
/// at once then, whatever the busy timeout.
fn patiently<T>(options: &SqliteOptions, attempt: impl Fn() -> Step<T>) -> Step<T> {
    let started = Instant::now();
    loop {
        match attempt() {
            Err(fault) if fault.is_busy() && started.elapsed() < options.busy_timeout => {
                std::thread::sleep(SQLITE_BUSY_STEP.min(Duration::from_millis(50)));
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pragma(conn: &Connection, name: &str) -> String {
        let value = conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0));
        match value.unwrap() {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    /// Asks the connections of writer and reader how they are set.
    #[test]
    fn commits_are_synced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let options = SqliteOptions::default();
        let writer = open_writer(Place::File(&path), &options).unwrap();
        assert_eq!(pragma(&writer, "synchronous"), "2", "FULL");
        assert_eq!(pragma(&writer, "journal_mode"), "wal");
        assert_eq!(pragma(&writer, "fullfsync"), "1");
        assert_eq!(pragma(&writer, "application_id"), APPLICATION_ID.to_string());
        let reader = open_reader(&path, &options).unwrap();
        assert!(reader.execute("DELETE FROM tidings_event", []).is_err(), "a reader writes");
        let unsynced = SqliteOptions::default().dangerously_without_sync(true);
        let writer = open_writer(Place::File(&path), &unsynced).unwrap();
        assert_eq!(pragma(&writer, "synchronous"), "1", "NORMAL");
    }
}
