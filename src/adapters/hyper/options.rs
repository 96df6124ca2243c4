//! What a host can set on the hyper transport.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::pool::Limits;
use super::resolver::{Resolver, SystemResolver};
use crate::NetworkPolicy;
use crate::policy::{
    CONNECT_TIMEOUT, HOST_CONNECTIONS, HOST_IDLE_CONNECTIONS, IDLE_TIMEOUT, TIMEOUT_RANGE,
};

/// How a [`HyperTransport`](super::HyperTransport) works.
///
/// By default: public addresses only, the root certificates of the `webpki-roots` crate, HTTP/2
/// where the receiver offers it, 5 s to connect, 64 connections to one host of which 32 are kept
/// for 30 s without a request, names looked up by the operating system.
#[derive(Clone)]
pub struct HyperOptions {
    pub(super) network: NetworkPolicy,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) roots: Roots,
    pub(super) own_roots: Vec<Vec<u8>>,
    pub(super) http2: bool,
    pub(super) connect_timeout: Duration,
    idle_timeout: Duration,
    connections: usize,
    idle_connections: usize,
}

/// Whose certificates are trusted besides the host's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Roots {
    Webpki,
    #[cfg(feature = "native-roots")]
    Native,
    None,
}

impl Default for HyperOptions {
    fn default() -> Self {
        Self {
            network: NetworkPolicy::public_only(),
            resolver: Arc::new(SystemResolver::default()),
            roots: Roots::Webpki,
            own_roots: Vec::new(),
            http2: true,
            connect_timeout: CONNECT_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            connections: HOST_CONNECTIONS,
            idle_connections: HOST_IDLE_CONNECTIONS,
        }
    }
}

impl HyperOptions {
    /// Sets which addresses may be dialled.
    #[must_use]
    pub fn with_network(mut self, network: NetworkPolicy) -> Self {
        self.network = network;
        self
    }

    /// Looks names up with `resolver`. Its answers are vetted like all others.
    #[must_use]
    pub fn with_resolver(mut self, resolver: impl Resolver) -> Self {
        self.resolver = Arc::new(resolver);
        self
    }

    /// Trusts certificates that the holder of this certificate (X.509, DER) has signed, too.
    #[must_use]
    pub fn with_root_certificate(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.own_roots.push(der.into());
        self
    }

    /// Trusts the operating system's root certificates instead of those of `webpki-roots`.
    #[cfg(feature = "native-roots")]
    #[cfg_attr(docsrs, doc(cfg(feature = "native-roots")))]
    #[must_use]
    pub fn with_native_roots(mut self) -> Self {
        self.roots = Roots::Native;
        self
    }

    /// Trusts no public root certificates, only those that were added one by one.
    #[must_use]
    pub fn without_public_roots(mut self) -> Self {
        self.roots = Roots::None;
        self
    }

    /// Sets whether HTTP/2 is offered. Without it every `https` receiver is sent HTTP/1.1.
    #[must_use]
    pub fn with_http2(mut self, offered: bool) -> Self {
        self.http2 = offered;
        self
    }

    /// Sets how long connecting may take over all addresses of a name, and the TLS handshake after
    /// it; clamped to 60 s. The deadline of a request holds besides.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout.min(*TIMEOUT_RANGE.end());
        self
    }

    /// Sets how long a connection without a request is kept. A kept connection was vetted when it
    /// was dialled, so this is also how long an older look-up can stay in use.
    #[must_use]
    pub fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sets how many connections to one host (scheme, name and port) may be open; at least 1.
    #[must_use]
    pub fn with_connections_per_host(mut self, connections: usize) -> Self {
        self.connections = connections.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        self
    }

    /// Sets how many connections without a request are kept to one host.
    #[must_use]
    pub fn with_idle_connections_per_host(mut self, connections: usize) -> Self {
        self.idle_connections = connections;
        self
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            idle_timeout: self.idle_timeout,
            connections: self.connections,
            idle_connections: self.idle_connections,
        }
    }
}

impl fmt::Debug for HyperOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HyperOptions")
            .field("network", &self.network)
            .field("resolver", &self.resolver)
            .field("roots", &self.roots)
            .field("own_roots", &self.own_roots.len())
            .field("http2", &self.http2)
            .field("connect_timeout", &self.connect_timeout)
            .field("limits", &self.limits())
            .finish()
    }
}
