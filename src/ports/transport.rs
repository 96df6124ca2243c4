//! The transport port: how one HTTP request leaves, and what comes back.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;

use crate::ground::plain::plain;
use crate::policy::ERROR_BYTES_KEPT;
use crate::{FailureKind, TlsSettings};

/// Sends requests.
///
/// # Contract
///
/// A transport sends what it is given once, and tells what happened:
///
/// - Any HTTP answer is `Ok`, whatever its status. Redirects are never followed. `Err` means that
///   there was no answer. An answer whose status is known but whose body broke off, came too late
///   or is longer than what is kept is still `Ok`, with [`Response::truncated`] set.
/// - The deadline of the request covers everything: the look-up of the name, connecting, TLS,
///   sending, and the answer to its last byte. A transport returns by then.
/// - At most [`Request::keep`] bytes of the body are kept, and not many more are read. The body is
///   never decompressed.
/// - What [`Request::tls`] asks for holds for the connection that the request goes over: its
///   certificate is shown there, and the receiver's is judged by its authorities alone. No request
///   with other settings, or none, goes over the same connection. A transport that cannot do so
///   answers [`Local`](FailureKind::Local), naming `tls`, and sends nothing; so does every transport
///   where the address is not `https`.
/// - Every address is vetted before it is dialled, as a [`NetworkPolicy`](crate::NetworkPolicy)
///   does, and what is dialled is the vetted address, not a second look-up. Proxies that the
///   environment names are ignored.
/// - A request of which a byte may have left is not sent again: what came of it is unknown, and
///   the engine decides whether to try again.
/// - Cancellation: dropping the future of [`Transport::send`] ends the exchange. The connection is
///   closed, or, where several requests share it, this request's part of it.
///
/// A panic in a transport is taken by the engine as a failed attempt.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Sends `request` once and returns the answer, whatever its status.
    ///
    /// # Errors
    /// A [`TransportError`] when there was no answer.
    ///
    /// # Cancellation
    /// Dropping the future ends the exchange; the receiver may have got the request or not.
    async fn send(&self, request: Request) -> Result<Response, TransportError>;
}

#[async_trait]
impl<T: Transport + ?Sized> Transport for Arc<T> {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        self.as_ref().send(request).await
    }
}

/// A request to send.
#[non_exhaustive]
pub struct Request {
    /// The request, with an absolute URI. The transport adds what the protocol needs (`host`,
    /// `content-length`).
    pub http: http::Request<Bytes>,
    /// How long the whole exchange may take, from the look-up of the name to the last byte.
    pub deadline: Duration,
    /// How many bytes of the answer's body to keep.
    pub keep: usize,
    /// What the webhook asks of TLS beyond what holds for all.
    pub tls: Option<Arc<TlsSettings>>,
}

impl Request {
    /// A request with its deadline and the number of bytes to keep of the answer's body.
    pub fn new(http: http::Request<Bytes>, deadline: Duration, keep: usize) -> Self {
        Self { http, deadline, keep, tls: None }
    }

    /// The same with settings of TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Arc<TlsSettings>>) -> Self {
        self.tls = tls;
        self
    }
}

/// Shows no values of headers and no path: they may hold secrets.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", self.http.method())
            .field("host", &self.http.uri().host())
            .field("headers", &Names(self.http.headers()))
            .field("body_bytes", &self.http.body().len())
            .field("deadline", &self.deadline)
            .field("keep", &self.keep)
            .field("tls", &self.tls)
            .finish()
    }
}

/// An HTTP answer.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came, or its beginning.
    pub body: Bytes,
    /// Whether the body is not all of it: it was longer than asked for, or it broke off.
    pub truncated: bool,
}

impl Response {
    /// An answer with this status, no headers and no body.
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

/// Shows no values of headers and no body: a receiver may echo secrets.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &Names(&self.headers))
            .field("body_bytes", &self.body.len())
            .field("truncated", &self.truncated)
            .finish()
    }
}

struct Names<'a>(&'a HeaderMap);

impl fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// Why there was no answer: a kind for decisions, a text for people.
///
/// The text has at most 512 bytes, and what would not be seen in it is escaped. It is kept with the attempt and shown
/// to customers, so whoever makes one keeps secrets out of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct TransportError {
    kind: FailureKind,
    message: Cow<'static, str>,
}

impl TransportError {
    /// A failure of `kind`. The text is cut to 512 bytes; control characters and marks of direction are
    /// escaped.
    pub fn new(kind: FailureKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: plain(message.into(), ERROR_BYTES_KEPT) }
    }

    /// What failed.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// What happened, for people.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// A transport that calls `send` for each request: for tests, and for hosts with a client of their
/// own. It owes what the Contract of [`Transport`] says.
///
/// ```
/// use tidings::transport::{Request, Response, Transport, transport_fn};
///
/// let transport = transport_fn(|request: Request| async move {
///     assert_eq!(request.http.method(), "POST");
///     Ok(Response::new(204))
/// });
/// # fn takes(_: impl Transport) {}
/// # takes(transport);
/// ```
pub fn transport_fn<F, A>(send: F) -> impl Transport
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Response, TransportError>> + Send + 'static,
{
    TransportFn(send)
}

struct TransportFn<F>(F);

impl<F> fmt::Debug for TransportFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransportFn")
    }
}

#[async_trait]
impl<F, A> Transport for TransportFn<F>
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Response, TransportError>> + Send + 'static,
{
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        (self.0)(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes errors of texts that are long, wide and full of control characters.
    #[test]
    fn error_texts_are_bounded_and_printable() {
        let error = TransportError::new(FailureKind::Dns, "ü".repeat(1_000));
        assert_eq!(error.message().len(), ERROR_BYTES_KEPT);
        let error = TransportError::new(FailureKind::Dns, format!("a{}", "ü".repeat(1_000)));
        assert_eq!(error.message().len(), ERROR_BYTES_KEPT - 1);
        let error = TransportError::new(FailureKind::Dns, "a\r\nb\u{1b}[31m");
        assert_eq!(error.to_string(), r"dns: a\r\nb\u{1b}[31m");
    }

    /// Prints a request and an answer that hold secrets in every place.
    #[test]
    fn debug_shows_no_secret() {
        let http = http::Request::post("https://example.com/hush?key=hush")
            .header("authorization", "hush")
            .body(Bytes::from_static(b"hush"));
        let request = Request::new(http.unwrap(), Duration::from_secs(1), 16);
        let mut response = Response::new(200);
        response.headers = request.http.headers().clone();
        response.body = Bytes::from_static(b"hush");
        let text = format!("{request:?} {response:?}");
        assert!(text.contains("example.com") && text.contains("authorization"));
        assert!(!text.contains("hush"), "{text}");
    }
}
