//! Storage in a SQLite file: durable, embedded, safe for several processes.
//!
//! Writes go through one thread ([`writer`]) that gives many callers one synced commit; listings
//! are served by a few reader threads ([`reader`]) beside it. The other files hold one group of
//! calls each, over the tables in `schema/`.
//!
//! SQLite lets one connection write at a time, and a write transaction sees everything that was
//! committed before it began. So the numbers that events get are the order in which they become
//! visible, and a lane and its deliveries cannot pass each other.

mod append;
mod claim;
mod dispatchers;
mod fault;
mod holds;
mod listings;
mod marks;
mod options;
mod order;
mod reader;
mod replay;
mod retention;
mod route;
mod rows;
mod schema;
mod settle;
mod slots;
mod spans;
mod statistics;
mod sweep;
mod webhooks;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

pub use self::options::SqliteOptions;

use self::fault::Step;
use self::schema::Place;
use self::writer::{Call, Db, Guard, Verdict, Writer};
use crate::ground::account::{Account, Mode};
use crate::ground::delivery::DeliveryView;
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::event::Event;
use crate::ground::id::{ReplayId, WebhookId};
use crate::ground::page::{Page, PageRequest};
use crate::ground::policy::SQLITE_QUEUE;
use crate::ground::query::{DeliveryQuery, EventQuery, WebhookQuery};
use crate::ground::replay::ReplayJob;
use crate::ground::replay_request::ReplayQuery;
use crate::ground::statistics::{Hour, StatisticsQuery};
use crate::ground::time::{Timestamp, to_millis};
use crate::ground::webhook::Webhook;
use crate::ports::replay::{Replay, ReplayStepped};
use crate::ports::statistics::{Counted, Statistics};
use crate::ports::storage::{
    Alive, Appended, Claimed, DeliveryQueue, Enqueued, EventStore, Expunge, Expunged, Heartbeat,
    NewEvent, Owed, Routed, Settled, Settlement, Sweep, Swept, TableSize, Turn, WebhookGroup,
    WebhookStore,
};

/// Keeps everything in one SQLite file.
///
/// `Ok` means synced to the disk (`synchronous=FULL`, on macOS `fullfsync`); callers that come at
/// the same time share a commit. Several processes may have the file open; it must lie on a local
/// disk. A clone is another handle to the same connections.
///
/// Dropping a call's future does not take the call back: it may still happen.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tidings::Result<()> {
/// use tidings::storage::SqliteStorage;
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("tidings.sqlite");
/// let storage = SqliteStorage::open(&path).await?;
/// storage.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteStorage(Arc<Inner>);

struct Inner {
    /// `None` for one in memory.
    path: Option<PathBuf>,
    writer: Sender<writer::Message>,
    /// `None` where listings take turns with the writes.
    readers: Option<Sender<reader::Message>>,
    reader_count: usize,
    /// Bounds the commands in memory, also those whose callers are gone.
    room: Arc<Semaphore>,
}

impl fmt::Debug for SqliteStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStorage").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl SqliteStorage {
    /// Opens the file at `path`, or makes it, with the default options.
    ///
    /// # Errors
    /// As [`SqliteStorage::open_with`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, SqliteOptions::default()).await
    }

    /// Opens the file at `path`, or makes it, and brings it to the schema of this version. Its
    /// directory must exist.
    ///
    /// # Errors
    /// [`Schema`](ErrorKind::Schema) when the file was written by a newer version of this crate, or
    /// belongs to something else ([`SqliteOptions::shared`]); it is left as it was.
    /// [`Unavailable`](ErrorKind::Unavailable) when it cannot be opened, or stayed locked.
    pub async fn open_with(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self> {
        Self::start(Some(path.as_ref().to_owned()), options).await
    }

    /// A database in memory, gone with the last clone: SQLite's behaviour without a file, for
    /// tests. A host that wants nothing kept is better served by
    /// [`MemoryStorage`](crate::storage::MemoryStorage).
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) when no thread can be started.
    pub async fn in_memory() -> Result<Self> {
        Self::start(None, SqliteOptions::default().readers(0)).await
    }

    /// Waits for the calls that are under way, closes the file, and ends the threads. Every later
    /// call, also on a clone, fails with [`Unavailable`](ErrorKind::Unavailable).
    ///
    /// Not needed for safety: what was answered with `Ok` is on the disk. It leaves one file in
    /// place of three.
    pub async fn close(&self) {
        self.0.room.close();
        if let Some(readers) = &self.0.readers {
            for _ in 0..self.0.reader_count {
                let (done, stopped) = oneshot::channel();
                if readers.send(reader::Message::Stop(done)).is_ok() {
                    let _ = stopped.await;
                }
            }
        }
        let (done, stopped) = oneshot::channel();
        if self.0.writer.send(writer::Message::Stop(done)).is_ok() {
            let _ = stopped.await;
        }
    }

    async fn start(path: Option<PathBuf>, options: SqliteOptions) -> Result<Self> {
        let (opened, opening) = oneshot::channel();
        // Opening waits for the disk, and for other processes: not on the caller's thread.
        spawn("tidings-sqlite-write", move || {
            let (storage, writer) = match Self::connect(path, &options) {
                Ok(parts) => parts,
                Err(fault) => return drop(opened.send(Err(fault.into_error()))),
            };
            if opened.send(Ok(storage)).is_ok() {
                writer.run();
            }
        })?;
        opening.await.unwrap_or_else(|_| Err(closed()))
    }

    fn connect(path: Option<PathBuf>, options: &SqliteOptions) -> Step<(Self, Writer)> {
        let place = path.as_deref().map_or(Place::Memory, Place::File);
        let conn = schema::open_writer(place, options)?;
        let (writer, queue) = mpsc::channel();
        let reader_count = if path.is_some() { options.readers } else { 0 };
        let (readers, jobs) = mpsc::channel();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..reader_count {
            let Some(path) = &path else { break };
            let conn = schema::open_reader(path, options)?;
            let jobs = Arc::clone(&jobs);
            spawn("tidings-sqlite-read", move || reader::run(conn, &jobs))?;
        }
        let inner = Inner {
            path,
            writer,
            readers: (reader_count > 0).then_some(readers),
            reader_count,
            room: Arc::new(Semaphore::new(SQLITE_QUEUE)),
        };
        Ok((Self(Arc::new(inner)), Writer::new(conn, queue)))
    }

    /// Runs a command in the writer, in a transaction of its own as far as it can tell.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Db) -> Step<T> + Send + 'static,
    ) -> Result<T> {
        self.judge(Guard::Savepoint, move |db| work(db).map(Verdict::Keep)).await
    }

    /// Runs a command in the writer that says itself whether what it wrote is to stay.
    async fn judge<T: Send + 'static>(
        &self,
        guard: Guard,
        work: impl FnOnce(&mut Db) -> Step<Verdict<T>> + Send + 'static,
    ) -> Result<T> {
        let room = Arc::clone(&self.0.room).acquire_owned().await.map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        let call = Box::new(Call::new(work, guard, reply, room));
        self.0.writer.send(writer::Message::Run(call)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Runs a listing.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Step<T> + Send + 'static,
    ) -> Result<T> {
        let Some(readers) = &self.0.readers else {
            return self.judge(Guard::Group, |db| work(&db.conn).map(Verdict::Keep)).await;
        };
        if self.0.room.is_closed() {
            return Err(closed());
        }
        let (reply, answer) = oneshot::channel();
        readers.send(reader::job(work, reply)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "the SQLite storage is closed")
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    match std::thread::Builder::new().name(name.to_owned()).spawn(run) {
        Ok(_) => Ok(()),
        Err(error) => {
            let message = "no thread could be started for the SQLite storage";
            Err(Error::new(ErrorKind::Unavailable, message).with_source(error))
        }
    }
}

#[async_trait]
impl WebhookStore for SqliteStorage {
    async fn put(&self, webhook: &Webhook, now: Timestamp) -> Result<Webhook> {
        let webhook = webhook.clone();
        self.write(move |db| webhooks::put(db, &webhook, to_millis(now))).await
    }

    async fn webhooks(&self, query: &WebhookQuery, page: &PageRequest) -> Result<Page<Webhook>> {
        let (query, page) = (query.clone(), *page);
        self.read(move |conn| listings::webhooks(conn, &query, &page)).await
    }

    async fn count_webhooks(&self, group: &WebhookGroup, most: usize) -> Result<usize> {
        let group = group.clone();
        self.read(move |conn| listings::count_webhooks(conn, &group, most)).await
    }

    async fn delete(&self, id: WebhookId, _now: Timestamp) -> Result<bool> {
        self.write(move |db| webhooks::delete(db, id)).await
    }
}

#[async_trait]
impl EventStore for SqliteStorage {
    async fn append(&self, events: &[NewEvent], now: Timestamp) -> Result<Vec<Appended>> {
        let events = events.to_vec();
        let guard = append::guard(&events);
        self.judge(guard, move |db| append::append(db, &events, to_millis(now))).await
    }

    async fn events(&self, query: &EventQuery, page: &PageRequest) -> Result<Page<Event>> {
        let (query, page) = (query.clone(), *page);
        self.read(move |conn| listings::events(conn, &query, &page)).await
    }

    async fn enqueue(&self, owed: &[Owed], now: Timestamp) -> Result<Vec<Enqueued>> {
        let owed = owed.to_vec();
        self.write(move |db| append::enqueue(db, &owed, to_millis(now))).await
    }

    async fn expunge(&self, expunge: &Expunge) -> Result<Expunged> {
        let expunge = expunge.clone();
        self.write(move |db| retention::expunge(db, &expunge)).await
    }
}

#[async_trait]
impl DeliveryQueue for SqliteStorage {
    async fn route(&self, turn: &Turn) -> Result<Routed> {
        let turn = turn.clone();
        self.write(move |db| route::route(db, &turn)).await
    }

    async fn claim(&self, turn: &Turn) -> Result<Claimed> {
        let turn = turn.clone();
        self.write(move |db| claim::claim(db, &turn)).await
    }

    async fn settle(&self, settlements: &[Settlement], now: Timestamp) -> Result<Vec<Settled>> {
        let settlements = settlements.to_vec();
        self.write(move |db| settle::settle(db, &settlements, to_millis(now))).await
    }

    async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<Alive> {
        let heartbeat = heartbeat.clone();
        self.write(move |db| dispatchers::heartbeat(db, &heartbeat)).await
    }

    async fn deliveries(
        &self,
        query: &DeliveryQuery,
        page: &PageRequest,
    ) -> Result<Page<DeliveryView>> {
        let (query, page) = (query.clone(), *page);
        self.read(move |conn| listings::deliveries(conn, &query, &page)).await
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        let sweep = *sweep;
        self.write(move |db| sweep::sweep(db, &sweep)).await
    }

    async fn backlog(&self, account: Option<&Account>, most: usize) -> Result<usize> {
        let account = account.cloned();
        self.read(move |conn| retention::backlog(conn, account.as_ref(), most)).await
    }

    async fn sizes(&self) -> Result<Vec<TableSize>> {
        self.read(retention::sizes).await
    }

    async fn oldest_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        self.read(move |conn| listings::oldest_due(conn, now)).await
    }

    async fn failing(
        &self,
        account: Option<&Account>,
        mode: Option<Mode>,
        limit: usize,
    ) -> Result<Vec<(WebhookId, Timestamp)>> {
        let account = account.cloned();
        self.read(move |conn| listings::failing(conn, account.as_ref(), mode, limit)).await
    }

    fn statistics(&self) -> Option<&dyn Statistics> {
        Some(self)
    }

    fn exclusive(&self) -> bool {
        true
    }

    fn replay(&self) -> Option<&dyn Replay> {
        Some(self)
    }
}

#[async_trait]
impl Replay for SqliteStorage {
    async fn start(&self, job: &ReplayJob) -> Result<ReplayJob> {
        let job = job.clone();
        self.write(move |db| replay::start(db, &job)).await
    }

    async fn jobs(&self, query: &ReplayQuery, page: &PageRequest) -> Result<Page<ReplayJob>> {
        let (query, page) = (query.clone(), *page);
        self.read(move |conn| replay::jobs(conn, &query, &page)).await
    }

    async fn cancel(&self, id: ReplayId, now: Timestamp) -> Result<Option<ReplayJob>> {
        self.write(move |db| replay::cancel(db, id, to_millis(now))).await
    }

    async fn step(&self, now: Timestamp) -> Result<ReplayStepped> {
        let stepped = self.write(move |db| replay::step(db, to_millis(now))).await;
        if stepped.is_err() {
            // The step's own error says more than one of this.
            let _ = self.write(move |db| replay::postpone(db, to_millis(now))).await;
        }
        stepped
    }
}

#[async_trait]
impl Statistics for SqliteStorage {
    async fn counts(&self, query: &StatisticsQuery) -> Result<Vec<Counted>> {
        let query = query.clone();
        self.read(move |conn| statistics::counts(conn, &query)).await
    }

    async fn forget(&self, hour: Hour, limit: usize) -> Result<usize> {
        self.write(move |db| statistics::forget(db, hour, limit)).await
    }
}
