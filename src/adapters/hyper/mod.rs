//! The transport that comes with the crate: HTTP/1.1 and HTTP/2 over hyper, TLS over rustls.
//!
//! The connector and the pool are the crate's own. Ready-made ones skip the resolver for literal
//! addresses, look a name up apart from the dial, and repeat requests by rules that fit browsers.
//! Here one place vets every address and dials what it vetted, and a request is repeated only when
//! not a byte of it was written.

mod caps;
mod connection;
mod connector;
mod failure;
mod options;
mod pool;
mod resolver;
mod tls;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;

use async_trait::async_trait;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep};

use self::connection::Kept;
use self::connector::Connector;
use self::pool::Pool;
use crate::ports::transport::{Request, Response, Transport, TransportError};
use crate::{FailureKind, Result};

pub use self::options::HyperOptions;
pub use self::resolver::Resolver;

/// A [`Transport`] over hyper and rustls.
///
/// It needs a tokio runtime with time and I/O enabled. Connections are kept for reuse. There are at
/// most so many of them, and of requests under way, to one host and to one address as
/// [`HyperOptions`] say; a request waits for a free one a little, in the order of coming, and is
/// refused as [`Busy`](FailureKind::Busy) when there is none. Where the receiver speaks HTTP/2 (over
/// TLS), requests share one connection.
///
/// When a receiver closed a kept connection meanwhile, the request is sent once more on a new one,
/// but only if not a byte of it had been written. Dropping the transport closes its connections.
///
/// ```
/// use tidings::transport::{HyperOptions, HyperTransport};
///
/// let transport = HyperTransport::new(HyperOptions::default())?;
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Debug)]
pub struct HyperTransport {
    pool: Arc<Pool>,
}

impl HyperTransport {
    /// A transport with these options. Nothing is dialled yet.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when a root certificate cannot be read, and
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the operating system's are wanted and it
    /// has none.
    pub fn new(options: HyperOptions) -> Result<Self> {
        let limits = options.limits();
        let connector = Connector::new(options)?;
        Ok(Self { pool: Arc::new(Pool::new(connector, limits)) })
    }
}

#[async_trait]
impl Transport for HyperTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let Request { http, deadline, keep, tls } = request;
        let mut timer = pin!(tokio::time::sleep(deadline));
        let end = timer.deadline();
        let phase = Phase::default();
        // What has not begun to write by the deadline must not: after a stop of the process the
        // connection may be there, and long past the moment to send.
        let too_late = || phase.is_before_writing() && Instant::now() >= end;
        let exchange = self.pool.exchange(http, tls, deadline, &phase);
        let head = before(timer.as_mut(), too_late, exchange).await;
        let Some(head) = head else {
            let message = format!("no answer within {deadline:?}, {}", phase.text());
            return Err(TransportError::new(FailureKind::Timeout, message));
        };
        let mut exchange = head?;
        let mut response = Response::new(exchange.status());
        response.headers = exchange.take_headers();
        let mut kept = Kept::new(keep);
        let whole = before(timer, || false, exchange.read(&mut kept)).await;
        response.truncated = whole != Some(true);
        if !response.truncated {
            exchange.finish().await;
        }
        response.body = kept.into_bytes();
        Ok(response)
    }
}

/// The outcome of `work`, unless `timer` ends before, or it is `too_late` to go on with it. One timer
/// serves several steps.
async fn before<F: Future>(
    mut timer: Pin<&mut Sleep>,
    too_late: impl Fn() -> bool,
    work: F,
) -> Option<F::Output> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if too_late() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        // Work that is always ready uses up what the runtime grants a task for one poll. The timer
        // must be looked at even then, or a flood would outlast every deadline.
        pin!(unconstrained(timer.as_mut())).poll(cx).map(|()| None)
    })
    .await
}

/// What an exchange is doing, so that a deadline can tell what it cut.
#[derive(Debug, Default)]
struct Phase(AtomicU8);

impl Phase {
    const WAITING: u8 = 0;
    const LOOKING_UP: u8 = 1;
    const CONNECTING: u8 = 2;
    const SECURING: u8 = 3;
    const ANSWERING: u8 = 4;

    fn set(&self, phase: u8) {
        self.0.store(phase, Ordering::Relaxed);
    }

    fn is_before_writing(&self) -> bool {
        self.0.load(Ordering::Relaxed) < Self::ANSWERING
    }

    fn text(&self) -> &'static str {
        match self.0.load(Ordering::Relaxed) {
            Self::WAITING => "waiting for a free connection",
            Self::LOOKING_UP => "looking up the name",
            Self::CONNECTING => "connecting",
            Self::SECURING => "in the TLS handshake",
            _ => "waiting for the head of the answer",
        }
    }
}
