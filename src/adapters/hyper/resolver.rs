//! Looking names up.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::policy::LOOKUPS_MAX;

/// Looks up the addresses of names for a [`HyperTransport`](super::HyperTransport).
///
/// What it returns is vetted; it need not be trusted. It is never asked about literal addresses.
#[async_trait]
pub trait Resolver: fmt::Debug + Send + Sync + 'static {
    /// The addresses of `name`, in the order in which they are to be tried.
    ///
    /// # Errors
    /// When the look-up failed. Its text is kept with the attempt.
    ///
    /// # Cancellation
    /// The future is dropped after 5 s, or when the attempt ends before.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The operating system's resolver.
#[derive(Debug)]
pub(super) struct SystemResolver {
    turns: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let turns = Arc::clone(&self.turns);
        let turn = turns.acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        let lookup = tokio::task::spawn_blocking(move || {
            // Held until the system answers, even when nobody waits any more: what is bounded is
            // the number of blocked threads.
            let _turn = turn;
            let addresses = (name.as_str(), 0).to_socket_addrs()?;
            Ok(addresses.map(|address| address.ip()).collect())
        });
        lookup.await.map_err(io::Error::other)?
    }
}
