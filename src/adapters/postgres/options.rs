//! How a PostgreSQL storage is set up.

use std::sync::Arc;
use std::time::Duration;

use crate::ground::policy::{POSTGRES_CONNECTIONS, POSTGRES_CONNECTIONS_MAX, POSTGRES_WAIT};

/// How a PostgreSQL storage is set up. The defaults suit a database that can be reached directly.
///
/// ```
/// use tidings::storage::PostgresOptions;
///
/// let options = PostgresOptions::default().schema("webhooks").connections(20);
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct PostgresOptions {
    pub(super) schema: String,
    pub(super) connections: usize,
    pub(super) wait: Duration,
    pub(super) migrate: bool,
    pub(super) announce: bool,
    pub(super) listen_url: Option<String>,
    pub(super) pooler: bool,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
}

impl Default for PostgresOptions {
    /// Schema `tidings`, 10 connections, migrations at the start, wake-up by LISTEN and NOTIFY.
    fn default() -> Self {
        Self {
            schema: "tidings".to_owned(),
            connections: POSTGRES_CONNECTIONS,
            wait: POSTGRES_WAIT,
            migrate: true,
            announce: true,
            listen_url: None,
            pooler: false,
            tls: None,
        }
    }
}

impl PostgresOptions {
    /// The schema that all tables are in. Several storages may share a database, each in a schema
    /// of its own. A name of lower-case letters, digits and `_`, at most 63 bytes; anything else is
    /// refused at the start.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// How many connections there are at most. Clamped to 2 to 1,000. One more is used to listen.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.clamp(2, POSTGRES_CONNECTIONS_MAX);
        self
    }

    /// How long a call waits for a free connection, and a connection for the database, before the
    /// call fails with [`Unavailable`](crate::ErrorKind::Unavailable). And how long a migration tries to
    /// get past open transactions that are in its way.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Whether the start brings the schema to this version. Without it, the schema must be there:
    /// made by [`PostgresStorage::migrate`](super::PostgresStorage::migrate) under another role, or
    /// from [`PostgresStorage::migrations`](super::PostgresStorage::migrations) by a tool of the
    /// host.
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Whether nodes wake each other by LISTEN and NOTIFY. Without it they find each other's work
    /// by polling ([`DispatcherOptions::poll`](crate::DispatcherOptions::poll)).
    pub fn announce(mut self, announce: bool) -> Self {
        self.announce = announce;
        self
    }

    /// Where to listen, if not at the storage's own address: LISTEN does not pass a pooler in
    /// transaction mode. Without this, a storage behind a [pooler](Self::pooler) polls.
    pub fn listen_url(mut self, url: impl Into<String>) -> Self {
        self.listen_url = Some(url.into());
        self
    }

    /// States that a pooler in transaction mode (PgBouncer, say) stands before the database: no
    /// named statement and nothing else that outlives a transaction is used then. That costs the
    /// database a parse and a plan for each statement.
    pub fn pooler(mut self, pooler: bool) -> Self {
        self.pooler = pooler;
        self
    }

    /// How TLS connections are made (own roots, a client certificate). Without this, they trust the
    /// roots of the web. Whether TLS is used is for the URL to say: `sslmode=require`.
    pub fn tls(mut self, config: Arc<rustls::ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }
}
