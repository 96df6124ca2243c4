//! What a host can set on the hyper transport.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::caps::CapLimits;
use super::pool::Limits;
use super::resolver::{Resolver, SystemResolver};
use crate::NetworkPolicy;
use crate::policy::{
    CONNECT_TIMEOUT, HOST_CONNECTIONS, HOST_IDLE_CONNECTIONS, IDLE_TIMEOUT, TIMEOUT_RANGE,
};

/// How a [`HyperTransport`](super::HyperTransport) works.
///
/// By default: public addresses only, the root certificates of the `webpki-roots` crate, HTTP/2
/// where the receiver offers it, 5 s to connect, 64 connections to one host and to one address, of
/// which 32 to each host are kept for 30 s without a request, names looked up by the operating system.
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
    address_connections: Option<usize>,
    per_second: Option<u32>,
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
            address_connections: None,
            per_second: None,
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

    /// Sets how many connections to one host may be open, and how many requests under way: one at
    /// least. A host is a name, whatever the scheme and the port. Over HTTP/2, where requests share a
    /// connection, it is the requests that are bounded.
    ///
    /// It holds across all webhooks and accounts. Others wait for a quarter of their deadline, at most
    /// 1 s; where somebody waited in vain within the last 15 s, only as many again wait (64 at least).
    /// What comes beyond fails with
    /// [`FailureKind::Busy`](crate::FailureKind::Busy), for which the receiver is not blamed.
    #[must_use]
    pub fn with_connections_per_host(mut self, connections: usize) -> Self {
        self.connections = connections.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        self
    }

    /// Sets the same for one address (of IPv6, one /64), whatever the names that lead to it. Without
    /// this it is as for one host.
    ///
    /// Many names may share an address that is not under attack, such as that of a large hoster:
    /// what this allows them is shared by all.
    #[must_use]
    pub fn with_connections_per_address(mut self, connections: usize) -> Self {
        self.address_connections = Some(connections.clamp(1, tokio::sync::Semaphore::MAX_PERMITS));
        self
    }

    /// Sets how many requests may leave in a second to one host, and to one address; at least 1. By
    /// default there is no such limit.
    ///
    /// As many may leave at once after a rest, so no second sees more than twice the number. An
    /// attempt at connecting counts as a request. It holds across all webhooks and accounts of this
    /// transport: several processes are each granted as many.
    #[must_use]
    pub fn with_requests_per_second(mut self, requests: u32) -> Self {
        self.per_second = Some(requests.max(1));
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
            idle_connections: self.idle_connections,
            caps: CapLimits {
                host_connections: self.connections,
                address_connections: self.address_connections.unwrap_or(self.connections),
                per_second: self.per_second,
            },
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
