//! One connection: a stream, and hyper's state machine for HTTP/1.1 or HTTP/2 on it.
//!
//! An HTTP/1.1 connection is driven by the exchange that uses it, with no task of its own: nothing
//! has to wake another task for each request, and dropping the exchange closes the socket at once.
//! An HTTP/2 connection serves several exchanges, so tasks drive it, which end with it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::rt::{Executor, Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, unconstrained};
use tokio_rustls::client::TlsStream;

use super::caps::Seats;
use super::failure;
use crate::FailureKind;
use crate::policy::{
    BODY_FRAMES_PER_POLL, HTTP2_CONNECTION_WINDOW, HTTP2_STREAM_WINDOW, READS_PER_POLL,
    RESPONSE_HEAD_BYTES_MAX,
};
use crate::ports::transport::TransportError;

/// A request on its way.
pub(super) type Outgoing = http::Request<Full<Bytes>>;

/// Why a request was not answered, and the request if not a byte of it was written.
pub(super) struct Unanswered {
    pub(super) error: TransportError,
    pub(super) request: Option<Outgoing>,
}

impl Unanswered {
    fn new(mut error: TrySendError<Outgoing>) -> Box<Self> {
        Box::new(Self { request: error.take_message(), error: failure::of_exchange(error.error()) })
    }
}

pub(super) type Answered = Result<http::Response<Incoming>, Box<Unanswered>>;

/// An HTTP/1.1 connection, for one exchange at a time.
pub(super) struct Own {
    sender: http1::SendRequest<Full<Bytes>>,
    connection: http1::Connection<Io, Full<Bytes>>,
    ended: bool,
    broke: Arc<AtomicBool>,
}

impl Own {
    pub(super) async fn handshake(io: Io) -> Result<Box<Self>, TransportError> {
        let broke = Arc::clone(&io.write_broke);
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(RESPONSE_HEAD_BYTES_MAX)
            .handshake(io)
            .await
            .map_err(|error| failure::of_exchange(&error))?;
        Ok(Box::new(Self { sender, connection, ended: false, broke }))
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn send(&mut self, request: Outgoing) -> Answered {
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            drive(&mut self.connection, &mut self.ended, cx);
            let outcome = if self.ended {
                // The outcome is there. It must not look as if it were not because the task has
                // used up its share of the runtime.
                pin!(unconstrained(answer.as_mut())).poll(cx)
            } else {
                answer.as_mut().poll(cx)
            };
            match outcome {
                Poll::Ready(answer) => Poll::Ready(answer.map_err(Unanswered::new)),
                Poll::Pending if self.ended => Poll::Ready(Err(Box::new(Unanswered {
                    error: TransportError::new(FailureKind::Protocol, "the connection ended"),
                    request: None,
                }))),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Whether another request can be sent, after the answer was read whole.
    pub(super) async fn is_reusable(&mut self) -> bool {
        // Unconstrained, so that an end that is there is seen.
        unconstrained(poll_fn(|cx| {
            drive(&mut self.connection, &mut self.ended, cx);
            let broke = self.broke.load(Ordering::Relaxed);
            Poll::Ready(!self.ended && !broke && self.sender.is_ready())
        }))
        .await
    }
}

fn drive(
    connection: &mut http1::Connection<Io, Full<Bytes>>,
    ended: &mut bool,
    cx: &mut Context<'_>,
) {
    // What ended it reaches the exchange through the answer or its body.
    *ended = *ended || Pin::new(connection).poll(cx).is_ready();
}

/// An HTTP/2 connection, for several exchanges at once. Its tasks end when it is dropped.
pub(super) struct Shared {
    sender: http2::SendRequest<Full<Bytes>>,
    tasks: Tasks,
}

impl Shared {
    pub(super) async fn handshake(io: Io) -> Result<Self, TransportError> {
        let tasks = Tasks::default();
        let (sender, connection) = http2::Builder::new(tasks.clone())
            .initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(RESPONSE_HEAD_BYTES_MAX).unwrap_or(u32::MAX))
            .handshake(io)
            .await
            .map_err(|error| {
                tasks.end();
                failure::of_exchange(&error)
            })?;
        tasks.execute(async move {
            // What ends a connection reaches the exchanges on it.
            let _ = connection.await;
        });
        Ok(Self { sender, tasks })
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn send(&self, request: Outgoing) -> Answered {
        let mut sender = self.sender.clone();
        let answer = sender.try_send_request(request).await;
        answer.map_err(Unanswered::new)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

/// The tasks of one HTTP/2 connection. They hold this executor themselves, so they are ended by
/// hand.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    fn end(&self) {
        let tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        drop(tasks);
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

/// The beginning of a body.
pub(super) struct Kept {
    bytes: Vec<u8>,
    limit: usize,
}

impl Kept {
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit }
    }

    /// Adds what there is room for. Whether that was all.
    fn add(&mut self, data: &[u8]) -> bool {
        let room = self.limit - self.bytes.len();
        self.bytes.extend_from_slice(&data[..data.len().min(room)]);
        data.len() <= room
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes.into()
    }
}

/// Reads a body until it ends (`true`), breaks off, or is longer than what is kept. `own` is the
/// connection it comes from, where nothing else drives that.
pub(super) async fn read(body: &mut Incoming, mut own: Option<&mut Own>, kept: &mut Kept) -> bool {
    poll_fn(|cx| {
        let mut driven = false;
        for _ in 0..BODY_FRAMES_PER_POLL {
            if body.is_end_stream() {
                return Poll::Ready(true);
            }
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                Poll::Ready(Some(Ok(frame))) => {
                    driven = false;
                    if frame.data_ref().is_some_and(|data| !kept.add(data)) {
                        return Poll::Ready(false);
                    }
                }
                Poll::Pending => match &mut own {
                    Some(own) if !driven => {
                        drive(&mut own.connection, &mut own.ended, cx);
                        driven = true;
                    }
                    _ => return Poll::Pending,
                },
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// The bytes of a connection, in clear or in TLS.
pub(super) struct Io {
    stream: Stream,
    /// Nothing is read before something was written: an answer that is there before the request
    /// is an early answer to it, which the state machine would take for an intrusion.
    wrote: bool,
    /// How often it was read since there was nothing to read.
    reads: usize,
    /// Whether writing failed. It is shared with [`Own`], which is not kept then.
    write_broke: Arc<AtomicBool>,
    /// Free when the socket is closed and not before, whichever task that is left to: fields end in order.
    _seats: Arc<Seats>,
}

enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Io {
    pub(super) fn plain(stream: TcpStream, seats: Arc<Seats>) -> Self {
        Self::new(Stream::Plain(TokioIo::new(stream)), seats)
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>, seats: Arc<Seats>) -> Self {
        Self::new(Stream::Tls(Box::new(TokioIo::new(stream))), seats)
    }

    fn new(stream: Stream, seats: Arc<Seats>) -> Self {
        Self { stream, wrote: false, reads: 0, write_broke: Arc::default(), _seats: seats }
    }

    /// Begins to read with the first write.
    fn open_reads(&mut self, cx: &Context<'_>) {
        if !self.wrote {
            self.wrote = true;
            cx.waker().wake_by_ref();
        }
    }

    /// A receiver may answer before it has read the request, and close. Writing then fails while
    /// the answer waits to be read, so a broken pipe is left for reading to find: there the answer
    /// comes first, and then the end.
    fn forgive<T>(&mut self, outcome: io::Result<T>, as_if: T) -> io::Result<T> {
        match outcome {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionAborted
                ) =>
            {
                self.write_broke.store(true, Ordering::Relaxed);
                Ok(as_if)
            }
            outcome => outcome,
        }
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.wrote {
            return Poll::Pending;
        }
        // A state machine that finds nothing whole in a flood would read on for as long as it comes,
        // and nobody would look at the deadline.
        if self.reads >= READS_PER_POLL {
            self.reads = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let outcome = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        self.reads = if outcome.is_pending() { 0 } else { self.reads + 1 };
        outcome
    }
}

impl Write for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.open_reads(cx);
        if self.write_broke.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(buf.len()));
        }
        let outcome = ready!(match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        });
        Poll::Ready(self.forgive(outcome, buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.open_reads(cx);
        let all = bufs.iter().map(|buf| buf.len()).sum();
        if self.write_broke.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(all));
        }
        let outcome = ready!(match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        });
        Poll::Ready(self.forgive(outcome, all))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_broke.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let outcome = ready!(match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        });
        Poll::Ready(self.forgive(outcome, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::adapters::hyper::caps::{Cap, CapLimits, Caps, Keeper, Patience};

    struct Nobody;

    impl Keeper for Nobody {
        fn give_up(&self, _: &Arc<Cap>) -> bool {
            false
        }
    }

    /// Drops a connection whose socket is with a task, and looks at its seats before that has ended, and
    /// when the peer has seen the end.
    #[tokio::test]
    async fn seats_are_free_when_the_socket_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = CapLimits { host_connections: 1, address_connections: 1, per_second: None };
        let (caps, keeper) = (Caps::new(limits), Arc::new(Nobody) as Arc<dyn Keeper>);
        let (host, at) = (caps.host("a.example").unwrap(), caps.address(address.ip()).unwrap());
        let (keeper, mut patience) = (Arc::downgrade(&keeper), Patience::of(CEILING));
        let seats = Arc::new(Seats {
            host: host.sit(&keeper, &mut patience).await.unwrap(),
            address: at.sit(&keeper, &mut patience).await.unwrap(),
        });
        let held = Arc::downgrade(&seats);
        let stream = TcpStream::connect(address).await.unwrap();
        let shared = Shared::handshake(Io::plain(stream, seats)).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        drop(shared);
        assert_eq!(held.strong_count(), 1, "the socket is still open");
        peer.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(held.strong_count(), 0);
    }

    const CEILING: std::time::Duration = std::time::Duration::from_secs(60);
}
