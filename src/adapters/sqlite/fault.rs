//! What goes wrong inside the adapter, and what callers are told of it.
//!
//! A type of its own, so that `?` works on every statement and yet no type of the driver shows in
//! the crate's public API.

use rusqlite::ErrorCode;

use crate::ground::error::{Error, ErrorKind};

pub(super) type Step<T> = Result<T, Fault>;

#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite said no.
    Sql(rusqlite::Error),
    /// We did.
    Said(Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Said(error)
    }
}

impl Fault {
    /// Something in the file is not what this crate writes.
    pub(super) fn unreadable(what: &'static str) -> Self {
        Self::Said(Error::new(ErrorKind::Storage, format!("the SQLite file holds {what}")))
    }

    /// Whether another connection held the lock for too long.
    pub(super) fn is_busy(&self) -> bool {
        matches!(
            self,
            Self::Sql(rusqlite::Error::SqliteFailure(error, _))
                if matches!(error.code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        )
    }

    pub(super) fn into_error(self) -> Error {
        let error = match self {
            Self::Said(error) => return error,
            Self::Sql(error) => error,
        };
        let rusqlite::Error::SqliteFailure(code, _) = &error else {
            return Error::storage("the SQLite file could not be read or written", error);
        };
        let (kind, message) = match code.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                (ErrorKind::Unavailable, "the SQLite file stayed locked by another connection")
            }
            ErrorCode::DiskFull => {
                (ErrorKind::Unavailable, "the disk with the SQLite file is full")
            }
            ErrorCode::CannotOpen => (
                ErrorKind::Unavailable,
                "the SQLite file cannot be opened; is there its directory?",
            ),
            ErrorCode::ReadOnly => (ErrorKind::Unavailable, "the SQLite file cannot be written to"),
            ErrorCode::SystemIoFailure => {
                (ErrorKind::Unavailable, "the SQLite file cannot be read or written")
            }
            ErrorCode::NotADatabase => (
                ErrorKind::Schema,
                "the file is not a SQLite database: give another path, or move the file away",
            ),
            ErrorCode::DatabaseCorrupt => {
                (ErrorKind::Storage, "the SQLite file is damaged: restore it from a backup")
            }
            _ => (ErrorKind::Storage, "SQLite failed"),
        };
        Error::new(kind, message).with_source(error)
    }
}
