//! Connections to hosts: kept, shared, bounded, and ended in time.
//!
//! For each host (scheme, name, port, and the settings of TLS where a webhook has some) there is a number of slots. An exchange over HTTP/1.1 holds
//! one from before it takes or makes a connection until after it gave it back, and makes one only
//! where none is kept, so there are never more connections than slots. Waiting for a slot is in
//! the order of coming. Exchanges over HTTP/2 share one connection and hold no slot.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme, Uri};
use http::{HeaderMap, HeaderValue, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Phase;
use super::connection::{self, Answered, Kept, Outgoing, Own, Shared};
use super::connector::{Connected, Connector};
use crate::ports::transport::TransportError;
use crate::{FailureKind, TlsSettings};

/// The bounds of a pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) idle_timeout: Duration,
    pub(super) connections: usize,
    pub(super) idle_connections: usize,
}

/// The least time between two looks for connections that were kept for too long.
const SWEEP_PAUSE_MIN: Duration = Duration::from_millis(10);

/// All connections of a transport.
pub(super) struct Pool {
    connector: Connector,
    limits: Limits,
    hosts: Mutex<Hosts>,
}

/// Whether it is https, the authority, and the digest of a webhook's settings of TLS.
type HostKey = (bool, Authority, Option<[u8; 32]>);

#[derive(Default)]
struct Hosts {
    map: HashMap<HostKey, Arc<Host>>,
    sweeper: Option<AbortHandle>,
}

impl Pool {
    pub(super) fn new(connector: Connector, limits: Limits) -> Self {
        Self { connector, limits, hosts: Mutex::default() }
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        request: http::Request<Bytes>,
        tls: Option<Arc<TlsSettings>>,
        phase: &Phase,
    ) -> Result<Exchange, TransportError> {
        let host = self.host(request.uri(), tls)?;
        let mut request = prepare(request);
        let mut fresh = false;
        loop {
            phase.set(Phase::WAITING);
            let mut lease = self.lease(&host, fresh, phase).await?;
            phase.set(Phase::ANSWERING);
            match lease.send(request).await {
                Ok(answer) => return Ok(Exchange::new(lease, answer)),
                // The receiver closed a kept connection before a byte was written on it. That is
                // no failure of the receiver's, so it is repeated once, on a connection of now.
                Err(unanswered) if lease.reused => match unanswered.request {
                    Some(unsent) => {
                        request = unsent;
                        fresh = true;
                    }
                    None => return Err(unanswered.error),
                },
                Err(unanswered) => return Err(unanswered.error),
            }
        }
    }

    fn host(
        self: &Arc<Self>,
        uri: &Uri,
        tls: Option<Arc<TlsSettings>>,
    ) -> Result<Arc<Host>, TransportError> {
        let blocked = |message| TransportError::new(FailureKind::Blocked, message);
        let https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(blocked("the address must begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| blocked("the address has no host"))?;
        if authority.as_str().contains('@') {
            return Err(blocked("the address must not have a user name or password"));
        }
        let default_port = if https { 443 } else { 80 };
        if tls.is_some() && !https {
            let message = "tls: certificates are set, and the address does not begin with https://";
            return Err(TransportError::new(FailureKind::Local, message));
        }
        let digest = tls.as_ref().map(|tls| *tls.digest());
        let mut key = (https, authority.clone(), digest);
        if authority.port_u16() == Some(default_port)
            && let Ok(short) = authority.host().parse()
        {
            key.1 = short;
        }
        let mut hosts = lock(&self.hosts);
        if let Some(host) = hosts.map.get(&key) {
            return Ok(Arc::clone(host));
        }
        let header = HeaderValue::from_str(key.1.as_str())
            .map_err(|_| blocked("the address has a host that cannot be sent"))?;
        let host = Arc::new(Host::new(https, key.1.clone(), header, tls, self.limits));
        hosts.map.insert(key, Arc::clone(&host));
        if hosts.sweeper.as_ref().is_none_or(AbortHandle::is_finished) {
            hosts.sweeper = Some(self.spawn_sweeper());
        }
        Ok(host)
    }

    /// Ends connections that were kept for too long, while there are any.
    fn spawn_sweeper(self: &Arc<Self>) -> AbortHandle {
        let pool = Arc::downgrade(self);
        let pause = (self.limits.idle_timeout / 2).max(SWEEP_PAUSE_MIN);
        let sweeper = tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                match pool.upgrade() {
                    Some(pool) if pool.sweep() => {}
                    _ => return,
                }
            }
        });
        sweeper.abort_handle()
    }

    /// Whether anything is left to sweep.
    fn sweep(&self) -> bool {
        let mut hosts = lock(&self.hosts);
        hosts.map.retain(|_, host| {
            let kept = host.sweep();
            // Exchanges hold the host too; none begins while the map is locked.
            kept || Arc::strong_count(host) > 1
        });
        if hosts.map.is_empty() {
            hosts.sweeper = None;
        }
        !hosts.map.is_empty()
    }

    /// A connection to `host`: one that is there, or a new one. `fresh` asks for one that is new
    /// since the last that failed.
    async fn lease(
        &self,
        host: &Arc<Host>,
        fresh: bool,
        phase: &Phase,
    ) -> Result<Lease, TransportError> {
        if let Some(shared) = host.shared() {
            return Ok(Lease::shared(host, shared, true));
        }
        let slot = Slot::take(host).await;
        if fresh {
            host.forget_idle();
        } else if let Some(own) = host.pop_idle() {
            return Ok(Lease::own(slot, own, true));
        }
        if !host.may_share() {
            return self.connect(slot, phase).await;
        }
        // While it is not known whether the receiver shares, one exchange finds out for all. When
        // that fails, the others try each on its own instead of queueing for the same failure.
        let failures = host.failures.load(Ordering::Relaxed);
        let turn = host.dialling.lock().await;
        if let Some(shared) = host.shared() {
            return Ok(Lease::shared(host, shared, true));
        }
        if !fresh && let Some(own) = host.pop_idle() {
            return Ok(Lease::own(slot, own, true));
        }
        if !host.may_share() || host.failures.load(Ordering::Relaxed) != failures {
            drop(turn);
            return self.connect(slot, phase).await;
        }
        let attempt = Attempt { host, failed: true };
        let lease = self.connect(slot, phase).await?;
        attempt.succeeded();
        Ok(lease)
    }

    async fn connect(&self, slot: Slot, phase: &Phase) -> Result<Lease, TransportError> {
        let host = &slot.host;
        let connected = self
            .connector
            .connect(host.https, host.authority.as_str(), host.tls.as_deref(), phase)
            .await?;
        Ok(match connected {
            Connected::Own(own) => {
                lock(&host.state).shares = false;
                Lease::own(slot, own, false)
            }
            Connected::Shared(shared) => {
                let shared = Arc::new(shared);
                let mut state = lock(&host.state);
                state.shares = true;
                if state.shared.is_none() {
                    state.shared = Some(Arc::clone(&shared));
                }
                drop(state);
                Lease::shared(host, shared, false)
            }
        })
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("connector", &self.connector)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(sweeper) = &lock(&self.hosts).sweeper {
            sweeper.abort();
        }
    }
}

/// Makes the request one that can be written: what the protocol needs is set here and nowhere else.
fn prepare(request: http::Request<Bytes>) -> Outgoing {
    let mut request = request.map(Full::new);
    let headers = request.headers_mut();
    for name in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers.entry(ACCEPT_ENCODING).or_insert(const { HeaderValue::from_static("identity") });
    request
}

/// One host and its connections.
struct Host {
    https: bool,
    authority: Authority,
    header: HeaderValue,
    tls: Option<Arc<TlsSettings>>,
    limits: Limits,
    slots: Semaphore,
    dialling: tokio::sync::Mutex<()>,
    failures: AtomicU64,
    state: Mutex<State>,
}

struct State {
    idle: Vec<Idle>,
    shared: Option<Arc<Shared>>,
    /// Whether the receiver may speak HTTP/2, as far as is known.
    shares: bool,
    /// Whether the shared connection was used since the last sweep.
    shared_used: bool,
}

struct Idle {
    own: Box<Own>,
    since: Instant,
}

impl Host {
    fn new(
        https: bool,
        authority: Authority,
        header: HeaderValue,
        tls: Option<Arc<TlsSettings>>,
        limits: Limits,
    ) -> Self {
        Self {
            https,
            authority,
            header,
            tls,
            limits,
            slots: Semaphore::new(limits.connections),
            dialling: tokio::sync::Mutex::default(),
            failures: AtomicU64::new(0),
            state: Mutex::new(State {
                idle: Vec::new(),
                shared: None,
                shares: https,
                shared_used: false,
            }),
        }
    }

    fn may_share(&self) -> bool {
        self.https && lock(&self.state).shares
    }

    fn shared(&self) -> Option<Arc<Shared>> {
        if !self.https {
            return None;
        }
        let mut state = lock(&self.state);
        let usable = state.shared.as_ref().is_some_and(|shared| shared.is_usable());
        if !usable {
            state.shared = None;
        }
        state.shared_used = true;
        state.shared.clone()
    }

    /// Lets no further exchange use this connection.
    fn retire(&self, shared: &Arc<Shared>) {
        let mut state = lock(&self.state);
        if state.shared.as_ref().is_some_and(|now| Arc::ptr_eq(now, shared)) {
            state.shared = None;
        }
    }

    /// The connection that was given back last, so that the others grow old and end.
    fn pop_idle(&self) -> Option<Box<Own>> {
        let idle = lock(&self.state).idle.pop()?;
        if idle.since.elapsed() < self.limits.idle_timeout {
            return Some(idle.own);
        }
        self.forget_idle();
        None
    }

    fn push_idle(&self, own: Box<Own>) {
        let since = Instant::now();
        let mut state = lock(&self.state);
        if state.idle.len() < self.limits.idle_connections {
            state.idle.push(Idle { own, since });
        }
    }

    fn forget_idle(&self) {
        let idle = std::mem::take(&mut lock(&self.state).idle);
        drop(idle);
    }

    /// Ends what was kept for too long. Whether anything is left.
    fn sweep(&self) -> bool {
        let mut state = lock(&self.state);
        let limit = self.limits.idle_timeout;
        // The oldest come first.
        let old = state.idle.partition_point(|idle| idle.since.elapsed() >= limit);
        let ended: Vec<_> = state.idle.drain(..old).collect();
        let used = std::mem::take(&mut state.shared_used);
        let in_use = |shared: &Arc<Shared>| Arc::strong_count(shared) > 1;
        let shared = state.shared.take_if(|shared| !shared.is_usable() || !used && !in_use(shared));
        let left = !state.idle.is_empty() || state.shared.is_some();
        drop(state);
        drop((ended, shared));
        left
    }
}

/// The right to have one connection.
struct Slot {
    host: Arc<Host>,
}

impl Slot {
    async fn take(host: &Arc<Host>) -> Self {
        // It is never closed, so there is always a permit to come.
        if let Ok(permit) = host.slots.acquire().await {
            permit.forget();
        }
        Self { host: Arc::clone(host) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.host.slots.add_permits(1);
    }
}

/// The one attempt at connecting that others wait for.
struct Attempt<'a> {
    host: &'a Host,
    failed: bool,
}

impl Attempt<'_> {
    fn succeeded(mut self) {
        self.failed = false;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.failed {
            self.host.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A connection in use.
struct Lease {
    connection: Leased,
    reused: bool,
}

enum Leased {
    /// Dropped in this order: the connection ends before its slot is free.
    Own {
        own: Box<Own>,
        slot: Slot,
    },
    Shared(SharedLease),
}

struct SharedLease {
    shared: Arc<Shared>,
    host: Arc<Host>,
    answered: bool,
}

impl Drop for SharedLease {
    fn drop(&mut self) {
        // A connection that left a request without an answer may be dead without knowing.
        if !self.answered {
            self.host.retire(&self.shared);
        }
    }
}

impl Lease {
    fn own(slot: Slot, own: Box<Own>, reused: bool) -> Self {
        Self { connection: Leased::Own { own, slot }, reused }
    }

    fn shared(host: &Arc<Host>, shared: Arc<Shared>, reused: bool) -> Self {
        let host = Arc::clone(host);
        Self { connection: Leased::Shared(SharedLease { shared, host, answered: false }), reused }
    }

    async fn send(&mut self, mut request: Outgoing) -> Answered {
        match &mut self.connection {
            Leased::Own { own, slot } => {
                *request.version_mut() = Version::HTTP_11;
                request.headers_mut().insert(HOST, slot.host.header.clone());
                // What is sent is the path alone; the full address serves a repetition.
                let uri = std::mem::take(request.uri_mut());
                if let Some(path) = uri.path_and_query() {
                    *request.uri_mut() = path.clone().into();
                }
                let mut answer = own.send(request).await;
                if let Err(unanswered) = &mut answer
                    && let Some(request) = &mut unanswered.request
                {
                    *request.uri_mut() = uri;
                }
                answer
            }
            Leased::Shared(lease) => {
                *request.version_mut() = Version::HTTP_2;
                // Here the address itself names the host.
                request.headers_mut().remove(HOST);
                let answer = lease.shared.send(request).await;
                lease.answered = answer.is_ok();
                answer
            }
        }
    }
}

/// A request that was answered, up to the head of the answer.
pub(super) struct Exchange {
    body: Incoming,
    head: http::response::Parts,
    lease: Lease,
}

impl Exchange {
    fn new(lease: Lease, answer: http::Response<Incoming>) -> Self {
        let (head, body) = answer.into_parts();
        Self { body, head, lease }
    }

    pub(super) fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    pub(super) fn take_headers(&mut self) -> HeaderMap {
        std::mem::take(&mut self.head.headers)
    }

    /// Reads the body. Whether it ended.
    pub(super) async fn read(&mut self, kept: &mut Kept) -> bool {
        let own = match &mut self.lease.connection {
            Leased::Own { own, .. } => Some(&mut **own),
            Leased::Shared(_) => None,
        };
        connection::read(&mut self.body, own, kept).await
    }

    /// Keeps the connection for others, after the body was read to its end.
    pub(super) async fn finish(self) {
        let Leased::Own { mut own, slot } = self.lease.connection else {
            return;
        };
        if own.is_reusable().await {
            slot.host.push_idle(own);
        } else {
            drop(own);
        }
        drop(slot);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
