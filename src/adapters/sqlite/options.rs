//! What a host may choose when it opens a file.

use std::time::Duration;

use crate::ground::policy::{SQLITE_BUSY_TIMEOUT, SQLITE_READERS, SQLITE_READERS_MAX};

/// How a SQLite file is opened. The default is right for almost everyone.
///
/// ```
/// use std::time::Duration;
/// use tidings::storage::SqliteOptions;
///
/// let options = SqliteOptions::default().readers(4).busy_timeout(Duration::from_secs(30));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct SqliteOptions {
    pub(super) readers: usize,
    pub(super) busy_timeout: Duration,
    pub(super) shared: bool,
    pub(super) unsafe_without_sync: bool,
}

impl Default for SqliteOptions {
    /// Two readers, ten seconds of patience, a file of its own, every commit synced.
    fn default() -> Self {
        Self {
            readers: SQLITE_READERS,
            busy_timeout: SQLITE_BUSY_TIMEOUT,
            shared: false,
            unsafe_without_sync: false,
        }
    }
}

impl SqliteOptions {
    /// How many threads serve listings, at most 16. With none, listings take turns with the writes.
    pub fn readers(mut self, readers: usize) -> Self {
        self.readers = readers.min(SQLITE_READERS_MAX);
        self
    }

    /// How long to wait for another process that has locked the file, before a call fails with
    /// [`Unavailable`](crate::ErrorKind::Unavailable).
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Whether the file may hold tables of the host too. All names of this crate begin with
    /// `tidings_`. Unless this is set, a file that belongs to something else is refused.
    pub fn shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// **Dangerous**: commits are not synced (`synchronous=NORMAL`), so a power cut can take back
    /// publishes that were answered with `Ok`. Without the promise that this crate is for, it is
    /// there for tests that show what the sync is worth.
    pub fn dangerously_without_sync(mut self, without: bool) -> Self {
        self.unsafe_without_sync = without;
        self
    }
}
