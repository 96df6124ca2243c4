//! Connections to hosts: kept, shared, bounded, and ended in time.
//!
//! An exchange holds a place at its host and at the address that it goes to ([`caps`](super::caps))
//! from before it takes or makes a connection until after it gave it back, whatever the version of
//! HTTP. A connection holds a seat at both for as long as it is open. Where all seats are taken,
//! a connection that nobody uses is ended for a new one; that of an exchange with a place never is.
//!
//! Webhooks with settings of TLS of their own have connections of their own; what caps count is the
//! destination, whoever asks.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme, Uri};
use http::{HeaderMap, HeaderValue, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Phase;
use super::caps::{Cap, CapLimits, Caps, Entry, Keeper, Patience, Seats};
use super::connection::{self, Answered, Kept, Outgoing, Own, Shared};
use super::connector::{Connected, Connector};
use crate::ports::transport::TransportError;
use crate::{FailureKind, TlsSettings};

/// The bounds of a pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) idle_timeout: Duration,
    pub(super) idle_connections: usize,
    pub(super) caps: CapLimits,
}

/// The least time between two looks for connections that were kept for too long.
const SWEEP_PAUSE_MIN: Duration = Duration::from_millis(10);

/// All connections of a transport.
pub(super) struct Pool {
    connector: Connector,
    limits: Limits,
    caps: Caps,
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
        Self { connector, limits, caps: Caps::new(limits.caps), hosts: Mutex::default() }
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        request: http::Request<Bytes>,
        tls: Option<Arc<TlsSettings>>,
        deadline: Duration,
        phase: &Phase,
    ) -> Result<Exchange, TransportError> {
        let host = self.host(request.uri(), tls)?;
        let mut patience = Patience::of(deadline);
        let mut request = prepare(request);
        let mut fresh = false;
        loop {
            phase.set(Phase::WAITING);
            let mut lease = self.lease(&host, fresh, phase, &mut patience).await?;
            phase.set(Phase::ANSWERING);
            lease.places.spend(true);
            match lease.send(request).await {
                Ok(answer) => return Ok(Exchange::new(lease, answer)),
                // The receiver closed a kept connection before a byte was written on it. That is
                // no failure of the receiver's, so it is repeated once, on a connection of now.
                Err(unanswered) if lease.reused => match unanswered.request {
                    Some(unsent) => {
                        lease.places.spend(false);
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
        if tls.is_some() && !https {
            let message = "tls: certificates are set, and the address does not begin with https://";
            return Err(TransportError::new(FailureKind::Local, message));
        }
        // As it is written: as a number, `+80` would be one, too.
        let default_port = if https { "443" } else { "80" };
        let digest = tls.as_ref().map(|tls| *tls.digest());
        let mut key = (https, authority.clone(), digest);
        if authority.port().is_some_and(|port| port.as_str() == default_port)
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
        let cap = self.caps.host(key.1.host())?;
        let host = Arc::new_cyclic(|this| {
            let this = Weak::clone(this);
            Host::new(https, key.1.clone(), header, tls, self.limits, cap, this)
        });
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
        let capped = self.caps.sweep();
        if hosts.map.is_empty() && !capped {
            hosts.sweeper = None;
        }
        hosts.sweeper.is_some()
    }

    /// A connection to `host`: one that is there, or a new one. `fresh` asks for one that is new
    /// since the last that failed.
    async fn lease(
        &self,
        host: &Arc<Host>,
        fresh: bool,
        phase: &Phase,
        patience: &mut Patience,
    ) -> Result<Lease, TransportError> {
        let entry = host.cap.enter(patience).await?;
        if fresh {
            host.forget_idle();
        }
        if let Some((at, kept)) = host.kept(!fresh, patience).await? {
            return Ok(Lease::kept(host, Places { host: entry, address: at }, kept));
        }
        let gate = Gate { caps: &self.caps, host, entry, patience };
        if !host.may_share() {
            return self.connect(gate, phase).await;
        }
        // While it is not known whether the receiver shares, one exchange finds out for all. When
        // that fails, the others try each on its own instead of queueing for the same failure.
        let failures = host.failures.load(Ordering::Relaxed);
        let turn = host.dialling.lock().await;
        if let Some((at, kept)) = host.kept(!fresh, gate.patience).await? {
            return Ok(Lease::kept(host, Places { host: gate.entry, address: at }, kept));
        }
        if !host.may_share() || host.failures.load(Ordering::Relaxed) != failures {
            drop(turn);
            return self.connect(gate, phase).await;
        }
        let attempt = Attempt { host, failed: true };
        let lease = self.connect(gate, phase).await?;
        attempt.succeeded();
        Ok(lease)
    }

    async fn connect(&self, mut gate: Gate<'_>, phase: &Phase) -> Result<Lease, TransportError> {
        let host = gate.host;
        let (name, tls) = (host.authority.as_str(), host.tls.as_deref());
        let (connected, pass) =
            self.connector.connect(host.https, name, tls, phase, &mut gate).await?;
        let Pass { address, seats } = pass;
        let places = Places { host: gate.entry, address };
        let connection = match connected {
            Connected::Own(own) => {
                lock(&host.state).shares = false;
                Leased::Own(Seated { connection: own, seats })
            }
            Connected::Shared(connection) => {
                let shared = Arc::new(Seated { connection, seats });
                let mut state = lock(&host.state);
                state.shares = true;
                if state.shared.is_none() {
                    state.shared = Some(Arc::clone(&shared));
                }
                drop(state);
                Leased::Shared(SharedLease { shared, host: Arc::clone(host), answered: false })
            }
        };
        Ok(Lease { connection, reused: false, places, host: Arc::clone(host) })
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
    cap: Arc<Cap>,
    /// Itself, as the keeper of its connections.
    this: Weak<Self>,
    dialling: tokio::sync::Mutex<()>,
    failures: AtomicU64,
    state: Mutex<State>,
}

struct State {
    idle: Vec<Idle>,
    shared: Option<Arc<Seated<Shared>>>,
    /// Whether the receiver may speak HTTP/2, as far as is known.
    shares: bool,
    /// Whether the shared connection was used since the last sweep.
    shared_used: bool,
}

struct Idle {
    own: Seated<Box<Own>>,
    since: Instant,
}

/// A connection, and which seats it has.
struct Seated<C> {
    connection: C,
    seats: Arc<Seats>,
}

/// The places of one exchange.
struct Places {
    host: Entry,
    address: Entry,
}

impl Places {
    fn spend(&mut self, spent: bool) {
        self.host.spend(spent);
        self.address.spend(spent);
    }
}

/// A connection that was kept.
enum KeptConnection {
    Own(Seated<Box<Own>>),
    Shared(Arc<Seated<Shared>>),
}

/// Where a request asks for its place at an address before that is dialled.
pub(super) struct Gate<'a> {
    caps: &'a Caps,
    host: &'a Arc<Host>,
    entry: Entry,
    patience: &'a mut Patience,
}

/// What a request that may dial an address holds there.
pub(super) struct Pass {
    address: Entry,
    pub(super) seats: Arc<Seats>,
}

impl Gate<'_> {
    /// Lets a request dial `address`. Where `waits` is not said, only if it may at once.
    pub(super) async fn pass(
        &mut self,
        address: IpAddr,
        waits: bool,
    ) -> Result<Option<Pass>, TransportError> {
        let cap = self.caps.address(address)?;
        let mut entry = match cap.try_enter() {
            Some(entry) => entry,
            None if waits => cap.enter(self.patience).await?,
            None => return Ok(None),
        };
        let keeper: Weak<dyn Keeper> = Weak::<Host>::clone(&self.host.this);
        let seats = Arc::new(Seats {
            host: self.host.cap.sit(&keeper, self.patience).await?,
            address: cap.sit(&keeper, self.patience).await?,
        });
        // From here on the destination feels it, whatever comes of it.
        entry.spend(true);
        self.entry.spend(true);
        Ok(Some(Pass { address: entry, seats }))
    }
}

impl Host {
    fn new(
        https: bool,
        authority: Authority,
        header: HeaderValue,
        tls: Option<Arc<TlsSettings>>,
        limits: Limits,
        cap: Arc<Cap>,
        this: Weak<Self>,
    ) -> Self {
        Self {
            https,
            authority,
            header,
            tls,
            limits,
            cap,
            this,
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

    /// A connection that is there, and a place at its address. `idle`: one for one exchange at a
    /// time will do.
    async fn kept(
        &self,
        idle: bool,
        patience: &mut Patience,
    ) -> Result<Option<(Entry, KeptConnection)>, TransportError> {
        // While it waits for the place, others may take what was there.
        while let Some(cap) = self.kept_at(idle) {
            let entry = cap.enter(patience).await?;
            if let Some(kept) = self.take_kept(&cap, idle) {
                return Ok(Some((entry, kept)));
            }
        }
        Ok(None)
    }

    /// The cap of the address to which there is a connection.
    fn kept_at(&self, idle: bool) -> Option<Arc<Cap>> {
        let mut state = lock(&self.state);
        if let Some(shared) = state.shared() {
            return Some(Arc::clone(shared.seats.address()));
        }
        let limit = self.limits.idle_timeout;
        let last = state.idle.last().filter(|_| idle)?;
        if last.since.elapsed() < limit {
            return Some(Arc::clone(last.own.seats.address()));
        }
        // The last is the youngest.
        let old = std::mem::take(&mut state.idle);
        drop(state);
        drop(old);
        None
    }

    fn take_kept(&self, cap: &Arc<Cap>, idle: bool) -> Option<KeptConnection> {
        let mut state = lock(&self.state);
        if let Some(shared) = state.shared() {
            let there = Arc::ptr_eq(shared.seats.address(), cap);
            return there.then_some(KeptConnection::Shared(shared));
        }
        let there = |kept: &Idle| Arc::ptr_eq(kept.own.seats.address(), cap);
        let at = state.idle.iter().rposition(there).filter(|_| idle)?;
        Some(KeptConnection::Own(state.idle.remove(at).own))
    }

    /// Lets no further exchange use this connection.
    fn retire(&self, shared: &Arc<Seated<Shared>>) {
        let mut state = lock(&self.state);
        if state.shared.as_ref().is_some_and(|now| Arc::ptr_eq(now, shared)) {
            state.shared = None;
        }
    }

    fn push_idle(&self, own: Seated<Box<Own>>) {
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
        let in_use = |shared: &Arc<Seated<Shared>>| Arc::strong_count(shared) > 1;
        let ends = |shared: &Arc<Seated<Shared>>| {
            !shared.connection.is_usable() || !used && !in_use(shared)
        };
        let shared = state.shared.take_if(|shared| ends(shared));
        let left = !state.idle.is_empty() || state.shared.is_some();
        drop(state);
        drop((ended, shared));
        left
    }
}

impl Keeper for Host {
    fn give_up(&self, cap: &Arc<Cap>) -> bool {
        let mut state = lock(&self.state);
        // The oldest come first.
        if let Some(at) = state.idle.iter().position(|idle| idle.own.seats.are_of(cap)) {
            let idle = state.idle.remove(at);
            drop(state);
            drop(idle);
            return true;
        }
        // Who uses it has another reference, made under this lock.
        let unused = |shared: &Arc<Seated<Shared>>| {
            Arc::strong_count(shared) == 1 && shared.seats.are_of(cap)
        };
        let shared = state.shared.take_if(|shared| unused(shared));
        drop(state);
        shared.is_some()
    }
}

impl State {
    /// The connection that several exchanges can share, if there is one that can be used.
    fn shared(&mut self) -> Option<Arc<Seated<Shared>>> {
        if self.shared.as_ref().is_some_and(|shared| !shared.connection.is_usable()) {
            self.shared = None;
        }
        self.shared_used = true;
        self.shared.clone()
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

/// A connection in use. Dropped in this order: the connection ends before its places are free.
struct Lease {
    connection: Leased,
    reused: bool,
    places: Places,
    host: Arc<Host>,
}

enum Leased {
    Own(Seated<Box<Own>>),
    Shared(SharedLease),
}

struct SharedLease {
    shared: Arc<Seated<Shared>>,
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
    fn kept(host: &Arc<Host>, places: Places, kept: KeptConnection) -> Self {
        let host = Arc::clone(host);
        let connection = match kept {
            KeptConnection::Own(own) => Leased::Own(own),
            KeptConnection::Shared(shared) => {
                Leased::Shared(SharedLease { shared, host: Arc::clone(&host), answered: false })
            }
        };
        Self { connection, reused: true, places, host }
    }

    async fn send(&mut self, mut request: Outgoing) -> Answered {
        match &mut self.connection {
            Leased::Own(own) => {
                *request.version_mut() = Version::HTTP_11;
                request.headers_mut().insert(HOST, self.host.header.clone());
                // What is sent is the path alone; the full address serves a repetition.
                let uri = std::mem::take(request.uri_mut());
                if let Some(path) = uri.path_and_query() {
                    *request.uri_mut() = path.clone().into();
                }
                let mut answer = own.connection.send(request).await;
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
                let answer = lease.shared.connection.send(request).await;
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
            Leased::Own(own) => Some(&mut *own.connection),
            Leased::Shared(_) => None,
        };
        connection::read(&mut self.body, own, kept).await
    }

    /// Keeps the connection for others, after the body was read to its end.
    pub(super) async fn finish(self) {
        let Lease { connection, places, host, .. } = self.lease;
        let Leased::Own(mut own) = connection else {
            return;
        };
        if own.connection.is_reusable().await {
            host.push_idle(own);
        } else {
            drop(own);
        }
        drop(places);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
