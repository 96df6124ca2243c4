//! What goes wrong inside the adapter, and what callers are told of it.
//!
//! A type of its own, so that `?` works on every statement, and so that what PostgreSQL asks to try
//! again is told from what it refuses.

use std::error::Error as _;

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

use crate::ground::error::{Error, ErrorKind};

pub(super) type Step<T> = Result<T, Fault>;

#[derive(Debug)]
pub(super) enum Fault {
    /// PostgreSQL said no, or could not be reached.
    Sql(tokio_postgres::Error),
    /// There was no connection to be had.
    Pool(PoolError),
    /// We did.
    Said(Error),
    /// What was read had changed by the time it was to be written.
    Raced,
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<PoolError> for Fault {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::Sql(error),
            other => Self::Pool(other),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Said(error)
    }
}

impl Fault {
    /// Something in the database is not what this crate writes.
    pub(super) fn unreadable(what: &'static str) -> Self {
        Self::Said(Error::new(ErrorKind::Storage, format!("the PostgreSQL schema holds {what}")))
    }

    /// Whether PostgreSQL took the transaction back only because of what others did at the same
    /// time: the same again may well succeed.
    pub(super) fn is_transient(&self) -> bool {
        if matches!(self, Self::Raced) {
            return true;
        }
        let Self::Sql(error) = self else { return false };
        error.code().is_some_and(|code| {
            // No statement writes a row that it has not looked for: somebody was faster.
            [
                SqlState::T_R_SERIALIZATION_FAILURE,
                SqlState::T_R_DEADLOCK_DETECTED,
                SqlState::UNIQUE_VIOLATION,
                // What travels behind a statement that fails: that one was the cause.
                SqlState::IN_FAILED_SQL_TRANSACTION,
            ]
            .contains(code)
        })
    }

    /// Whether a lock was not to be had in the time that was set.
    pub(super) fn is_locked_out(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
    }

    /// Whether one of the values was refused, not the whole: alone, others may be accepted.
    pub(super) fn is_data(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        error.code().is_some_and(|code| code.code().starts_with("22"))
    }

    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Said(error) => error,
            Self::Raced => {
                let message = "others changed the same rows again and again: try again";
                Error::new(ErrorKind::Unavailable, message)
            }
            Self::Pool(error) => {
                let message = "no connection to PostgreSQL became free in time: let the pool have \
                               more, or see what holds them";
                Error::new(ErrorKind::Unavailable, message).with_source(error)
            }
            Self::Sql(error) => told(error),
        }
    }
}

/// What a person can do about it.
fn told(error: tokio_postgres::Error) -> Error {
    let Some(database) = error.as_db_error() else {
        if error.source().is_some_and(|source| source.is::<tokio_postgres::types::WrongType>()) {
            let message = "a column of the schema has another type: is it the schema of tidings?";
            return Error::new(ErrorKind::Storage, message).with_source(error);
        }
        let message = if error.source().is_some_and(|source| source.is::<std::io::Error>()) {
            "PostgreSQL cannot be reached, or the connection broke: is it running, and are host and \
             port right?"
        } else {
            "the connection to PostgreSQL failed"
        };
        return Error::new(ErrorKind::Unavailable, message).with_source(error);
    };
    let code = database.code();
    let (kind, message) = match code.code() {
        "28P01" | "28000" => {
            (ErrorKind::Unavailable, "PostgreSQL refused the user or the password: check the URL")
        }
        "3D000" => (
            ErrorKind::Unavailable,
            "there is no such database: create it, or correct its name in the URL",
        ),
        "3F000" | "42P01" | "42883" | "42703" => (
            ErrorKind::Schema,
            "the schema is missing or incomplete: run the migrations (they run by themselves unless \
             they were switched off)",
        ),
        "42501" => (
            ErrorKind::Schema,
            "the role lacks a privilege: grant it, or run the migrations under another role",
        ),
        "53100" => (ErrorKind::Unavailable, "the disk of PostgreSQL is full"),
        "53300" => (
            ErrorKind::Unavailable,
            "PostgreSQL has no connection left: lower the pool's size, or raise max_connections",
        ),
        "57014" => (ErrorKind::Unavailable, "PostgreSQL cancelled the statement: it took too long"),
        "25006" => (
            ErrorKind::Unavailable,
            "PostgreSQL takes no writes: is this a standby, or was it made read-only?",
        ),
        other => match other.get(..2) {
            // Connection, transaction taken back, resources, the operator stepped in, the system.
            Some("08" | "40" | "53" | "57" | "58" | "55") => {
                (ErrorKind::Unavailable, "PostgreSQL is not available right now")
            }
            _ => (ErrorKind::Storage, "PostgreSQL failed"),
        },
    };
    // The text of the database, not its detail: that may quote what was to be stored.
    let message = format!("{message} ({}: {})", code.code(), database.message());
    Error::new(kind, message)
}
