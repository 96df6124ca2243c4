//! Storage in PostgreSQL: durable, for many nodes.
//!
//! Calls are transactions of two or three trips ([`tx`]), each over many rows; no lock and no
//! transaction is held while something is sent. What keeps nodes apart: marks and lanes are locked by
//! who works on them and passed over by the others (`SKIP LOCKED`), a lane is locked before the
//! deliveries in it, and several lanes in the order of their keys. The other files hold one group of
//! calls each, over the tables in `schema/`.

mod append;
mod claim;
mod connect;
mod dispatchers;
mod fault;
mod herald;
mod holds;
mod lanes;
mod listings;
mod marks;
mod options;
mod order;
mod ordered;
mod publisher;
mod replay;
mod retention;
mod route;
mod rows;
mod schema;
mod settle;
mod spans;
mod statistics;
mod sweep;
mod tx;
mod webhooks;

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use deadpool_postgres::Pool;
use tokio_postgres::types::Type;

pub use self::options::PostgresOptions;
pub use self::schema::Migration;

use self::fault::{Fault, Step};
use self::herald::Herald;
use self::lanes::Cache;
use self::marks::Looks;
use self::ordered::Publishes;
use self::publisher::Publisher;
use self::sweep::Broom;
use self::tx::{Database, Query, retried};
use crate::ground::account::{Account, Mode};
use crate::ground::delivery::DeliveryView;
use crate::ground::error::Result;
use crate::ground::event::Event;
use crate::ground::id::{ReplayId, WebhookId};
use crate::ground::page::{Page, PageRequest};
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
    NewEvent, Owed, Routed, Settled, Settlement, Sweep, Swept, TableSize, Turn, Wakeup,
    WebhookGroup, WebhookStore,
};

/// Keeps everything in one schema of a PostgreSQL database, for any number of nodes.
///
/// `Ok` means committed as the database is set up to commit: with its default,
/// `synchronous_commit = on`, that is synced to the disk. A clone is another handle to the same
/// connections. It needs PostgreSQL 13 or later, and a tokio runtime with time and I/O.
///
/// Dropping a call's future does not take the call back: it may still happen. The connection that it
/// ran on is closed.
///
/// ```no_run
/// # async fn run() -> tidings::Result<()> {
/// use tidings::Tidings;
/// use tidings::storage::PostgresStorage;
///
/// let storage = PostgresStorage::connect("postgres://host@localhost/shop").await?;
/// let tidings = Tidings::new(storage);
/// # let _ = tidings;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresStorage(Arc<Inner>);

struct Inner {
    database: Database,
    herald: Herald,
    publisher: Publisher,
    /// What follows only saves work.
    webhooks: Cache,
    looks: Mutex<Looks>,
    broom: Mutex<Broom>,
    publishes: Mutex<Publishes>,
}

impl fmt::Debug for PostgresStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStorage")
            .field("connections", &self.0.database.pool.status().size)
            .finish_non_exhaustive()
    }
}

impl PostgresStorage {
    /// Connects to the database at `url`, with the default options.
    ///
    /// # Errors
    /// As [`PostgresStorage::connect_with`].
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_with(url, PostgresOptions::default()).await
    }

    /// Connects to the database at `url` (`postgres://user:password@host:port/database`, with
    /// `?sslmode=require` for TLS, or in the form `host=… user=…`), and brings the schema to the one of
    /// this version. With TLS, the server's certificate is verified; without `sslmode` there is none,
    /// unless [`PostgresOptions::tls`] says how.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when the URL or the schema's name cannot be read;
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the database cannot be reached or refuses
    /// the user; [`Schema`](crate::ErrorKind::Schema) when the schema is newer, or is missing and may
    /// not be made.
    pub async fn connect_with(url: &str, options: PostgresOptions) -> Result<Self> {
        let parts = connect::open(url, &options)?;
        Self::start(parts, true, &options).await.map_err(Fault::into_error)
    }

    /// Uses a pool of the host's own. It must not be one whose connections outlive a transaction with
    /// settings of their own (`search_path` is of no consequence). To be woken by other nodes it needs
    /// [`PostgresOptions::listen_url`]; without that, it polls.
    ///
    /// # Errors
    /// As [`PostgresStorage::connect_with`].
    pub async fn from_pool(pool: Pool, options: PostgresOptions) -> Result<Self> {
        schema::check_name(&options.schema)?;
        let herald = match &options.listen_url {
            Some(url) if options.announce => connect::herald(url, &options)?,
            _ => Herald::silent(),
        };
        Self::start((pool, herald), false, &options).await.map_err(Fault::into_error)
    }

    /// Brings the schema to the one of this version, and nothing else: a step of its own, under a role
    /// that may create tables. Safe when many run it at once, and beside nodes that work: it waits for no
    /// table longer than 2 s at a time, and steps aside where an open transaction is in its way.
    ///
    /// The role that the storage runs under then needs `USAGE` on the schema, `USAGE, SELECT` on its
    /// sequences, and `SELECT, INSERT, UPDATE, DELETE` on its tables.
    ///
    /// # Errors
    /// As [`PostgresStorage::connect_with`]; [`Unavailable`](crate::ErrorKind::Unavailable) also when a
    /// transaction was in the way for as long as [`PostgresOptions::wait`].
    pub async fn migrate(url: &str, options: PostgresOptions) -> Result<()> {
        let options = options.announce(false).migrate(true);
        Self::connect_with(url, options).await.map(drop)
    }

    /// The migrations as SQL, for a tool of the host's own, which runs each once and in order.
    ///
    /// ```
    /// use tidings::storage::PostgresStorage;
    ///
    /// let steps = PostgresStorage::migrations("webhooks")?;
    /// assert!(steps[0].sql.contains(r#"CREATE TABLE "webhooks".event"#));
    /// # Ok::<(), tidings::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), naming `schema`.
    pub fn migrations(schema: &str) -> Result<Vec<Migration>> {
        schema::check_name(schema)?;
        Ok(schema::migrations(schema))
    }

    /// `own`: the connections are nobody else's.
    async fn start(
        (pool, herald): (Pool, Herald),
        own: bool,
        options: &PostgresOptions,
    ) -> Step<Self> {
        let database = Database::new(pool, &options.schema, options.pooler, own);
        if options.migrate {
            schema::migrate(&database, &options.schema, options.wait).await?;
        }
        schema::check(&database).await?;
        Ok(Self(Arc::new(Inner {
            database,
            herald,
            publisher: Publisher::default(),
            webhooks: Cache::default(),
            looks: Mutex::default(),
            broom: Mutex::default(),
            publishes: Mutex::default(),
        })))
    }
}

#[async_trait]
impl WebhookStore for PostgresStorage {
    async fn put(&self, webhook: &Webhook, now: Timestamp) -> Result<Webhook> {
        let put = retried(|| webhooks::put(&self.0, webhook, to_millis(now)));
        put.await.map_err(Fault::into_error)
    }

    async fn webhooks(&self, query: &WebhookQuery, page: &PageRequest) -> Result<Page<Webhook>> {
        listings::webhooks(&self.0, query, page).await.map_err(Fault::into_error)
    }

    async fn count_webhooks(&self, group: &WebhookGroup, most: usize) -> Result<usize> {
        listings::count_webhooks(&self.0, group, most).await.map_err(Fault::into_error)
    }

    async fn delete(&self, id: WebhookId, _now: Timestamp) -> Result<bool> {
        retried(|| webhooks::delete(&self.0, id)).await.map_err(Fault::into_error)
    }
}

#[async_trait]
impl EventStore for PostgresStorage {
    async fn append(&self, events: &[NewEvent], now: Timestamp) -> Result<Vec<Appended>> {
        if let [event @ NewEvent { only: None, .. }] = events {
            return Ok(vec![publisher::publish(&self.0, event, to_millis(now)).await?]);
        }
        let append = retried(|| append::append(&self.0, events, to_millis(now)));
        append.await.map_err(Fault::into_error)
    }

    async fn events(&self, query: &EventQuery, page: &PageRequest) -> Result<Page<Event>> {
        listings::events(&self.0, query, page).await.map_err(Fault::into_error)
    }

    async fn enqueue(&self, owed: &[Owed], now: Timestamp) -> Result<Vec<Enqueued>> {
        let enqueue = retried(|| append::enqueue(&self.0, owed, to_millis(now)));
        enqueue.await.map_err(Fault::into_error)
    }

    async fn expunge(&self, expunge: &Expunge) -> Result<Expunged> {
        let expunge = retried(|| retention::expunge(&self.0, expunge));
        expunge.await.map_err(Fault::into_error)
    }
}

const NOW: Query =
    Query::new("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint", &[] as &[Type]);

#[async_trait]
impl DeliveryQueue for PostgresStorage {
    async fn route(&self, turn: &Turn) -> Result<Routed> {
        retried(|| route::route(&self.0, turn)).await.map_err(Fault::into_error)
    }

    async fn claim(&self, turn: &Turn) -> Result<Claimed> {
        retried(|| claim::claim(&self.0, turn)).await.map_err(Fault::into_error)
    }

    async fn settle(&self, settlements: &[Settlement], now: Timestamp) -> Result<Vec<Settled>> {
        let settle = retried(|| settle::settle(&self.0, settlements, to_millis(now)));
        settle.await.map_err(Fault::into_error)
    }

    async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<Alive> {
        let beat = retried(|| dispatchers::heartbeat(&self.0, heartbeat));
        beat.await.map_err(Fault::into_error)
    }

    async fn deliveries(
        &self,
        query: &DeliveryQuery,
        page: &PageRequest,
    ) -> Result<Page<DeliveryView>> {
        listings::deliveries(&self.0, query, page).await.map_err(Fault::into_error)
    }

    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        retried(|| sweep::sweep(&self.0, sweep)).await.map_err(Fault::into_error)
    }

    async fn backlog(&self, account: Option<&Account>, most: usize) -> Result<usize> {
        retention::backlog(&self.0, account, most).await.map_err(Fault::into_error)
    }

    async fn sizes(&self) -> Result<Vec<TableSize>> {
        retention::sizes(&self.0).await.map_err(Fault::into_error)
    }

    async fn time(&self) -> Result<Option<Timestamp>> {
        let rows = self.0.database.once(&NOW, &[]).await.map_err(Fault::into_error)?;
        let read = |row: &tokio_postgres::Row| row.try_get(0).map(rows::time);
        rows.first().map(read).transpose().map_err(|error| Fault::from(error).into_error())
    }

    fn exclusive(&self) -> bool {
        true
    }

    async fn oldest_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        listings::oldest_due(&self.0, now).await.map_err(Fault::into_error)
    }

    async fn failing(
        &self,
        account: Option<&Account>,
        mode: Option<Mode>,
        limit: usize,
    ) -> Result<Vec<(WebhookId, Timestamp)>> {
        listings::failing(&self.0, account, mode, limit).await.map_err(Fault::into_error)
    }

    fn statistics(&self) -> Option<&dyn Statistics> {
        Some(self)
    }

    fn wakeup(&self) -> Option<&dyn Wakeup> {
        Some(self)
    }

    fn replay(&self) -> Option<&dyn Replay> {
        Some(self)
    }
}

#[async_trait]
impl Replay for PostgresStorage {
    async fn start(&self, job: &ReplayJob) -> Result<ReplayJob> {
        retried(|| replay::start(&self.0, job)).await.map_err(Fault::into_error)
    }

    async fn jobs(&self, query: &ReplayQuery, page: &PageRequest) -> Result<Page<ReplayJob>> {
        replay::jobs(&self.0, query, page).await.map_err(Fault::into_error)
    }

    async fn cancel(&self, id: ReplayId, now: Timestamp) -> Result<Option<ReplayJob>> {
        let cancel = retried(|| replay::cancel(&self.0, id, to_millis(now)));
        cancel.await.map_err(Fault::into_error)
    }

    async fn step(&self, now: Timestamp) -> Result<ReplayStepped> {
        let stepped = retried(|| replay::step(&self.0, to_millis(now))).await;
        if stepped.is_err() {
            // The step's own error says more than one of this.
            let _ = replay::postpone(&self.0, to_millis(now)).await;
        }
        stepped.map_err(Fault::into_error)
    }
}

#[async_trait]
impl Statistics for PostgresStorage {
    async fn counts(&self, query: &StatisticsQuery) -> Result<Vec<Counted>> {
        statistics::counts(&self.0, query).await.map_err(Fault::into_error)
    }

    async fn forget(&self, hour: Hour, limit: usize) -> Result<usize> {
        retried(|| statistics::forget(&self.0, hour, limit)).await.map_err(Fault::into_error)
    }
}

#[async_trait]
impl Wakeup for PostgresStorage {
    fn announce(&self) {
        self.0.herald.announce();
    }

    async fn heard(&self, seen: u64) -> u64 {
        self.0.herald.heard(seen).await
    }
}
