//! A PostgreSQL server for a whole run.

use crate::cluster::{Cluster, Options};

/// The server, as it is after an installation: every commit is synced.
pub(crate) fn server() -> &'static Cluster {
    static SERVER: std::sync::OnceLock<Cluster> = std::sync::OnceLock::new();
    SERVER.get_or_init(|| Cluster::with(Options::default().sync(true)))
}
