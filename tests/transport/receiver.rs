//! Receivers on loopback that speak HTTP byte by byte, so that they can speak it badly.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tidings::NetworkPolicy;
use tidings::transport::{
    HyperOptions, HyperTransport, Request, Resolver, Response, Transport, TransportError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Far more time than anything here needs.
pub(crate) const CEILING: Duration = Duration::from_secs(20);

/// A listener and its connections.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// Hands each connection to `serve`.
    pub(crate) async fn start<F, A>(serve: F) -> Self
    where
        F: Fn(Peer) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        Self::at("127.0.0.1:0", serve).await
    }

    /// The same at an address.
    pub(crate) async fn at<F, A>(address: &str, serve: F) -> Self
    where
        F: Fn(Peer) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let read = Vec::new();
                serving.spawn(serve(Peer { stream, read, number }));
            }
        });
        Self { address, connections, task }
    }

    /// Answers each request with `answer`.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::start(move |mut peer| {
            let answer = Arc::clone(&answer);
            async move {
                while peer.request().await.is_some() {
                    if !peer.write(&answer).await {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The receiver's end of a connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
    /// Which connection this is; the first is 1.
    pub(crate) number: usize,
}

impl Peer {
    /// The head and the body of the next request; `None` when the connection ended.
    pub(crate) async fn request(&mut self) -> Option<(String, Vec<u8>)> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        while self.read.len() < length {
            self.more().await?;
        }
        Some((head, self.read.drain(..length).collect()))
    }

    /// Reads some bytes.
    pub(crate) async fn more(&mut self) -> Option<usize> {
        match self.stream.read_buf(&mut self.read).await {
            Ok(0) | Err(_) => None,
            Ok(bytes) => Some(bytes),
        }
    }

    /// Whether the bytes could be written.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Waits until the sender closes the connection.
    pub(crate) async fn closed(&mut self) {
        while self.more().await.is_some() {}
    }
}

/// A transport that may dial loopback.
pub(crate) fn transport() -> HyperTransport {
    HyperTransport::new(options()).unwrap()
}

/// Options that allow loopback.
pub(crate) fn options() -> HyperOptions {
    crate::trace::listen();
    HyperOptions::default().with_network(NetworkPolicy::public_only().allow_loopback())
}

/// A POST with time enough.
pub(crate) fn post(url: &str, body: impl Into<Bytes>) -> Request {
    let http = http::Request::post(url)
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap();
    Request::new(http, CEILING, 16 * 1024)
}

/// Sends a POST with time enough.
pub(crate) async fn send(
    transport: &HyperTransport,
    url: &str,
) -> Result<Response, TransportError> {
    transport.send(post(url, "{}")).await
}

/// A resolver that calls a function.
pub(crate) struct Answers<F>(pub(crate) F);

impl<F> std::fmt::Debug for Answers<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answers")
    }
}

#[async_trait::async_trait]
impl<F> Resolver for Answers<F>
where
    F: Fn(&str) -> std::io::Result<Vec<IpAddr>> + Send + Sync + 'static,
{
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        (self.0)(name)
    }
}
