//! A transport of one's own: a `reqwest` client, a closure, and a struct that hands over to a sidecar.
//!
//! `cargo run --example transport`. Nothing leaves this machine: the client calls a receiver on
//! loopback, the closure prints what it is to send, and the struct hands it to another process over a
//! Unix socket, as hosts do whose processes have no way out of their own.
//!
//! Whoever dials addresses himself owes what the Contract of `Transport` says: vet every address,
//! follow no redirect, ignore proxies, decompress nothing, keep the deadline.
//!
//! **Warning.** `reqwest` asks its resolver for names only. For `http://10.0.0.1/` or `http://[::1]/`
//! there is nothing to look up, so a resolver that vets addresses, however strict, never hears of it.
//! [`Client`] therefore judges the URL of each request first, with [`NetworkPolicy::check_url`].

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::BytesMut;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixStream, lookup_host};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{timeout, timeout_at};

use tidings::storage::MemoryStorage;
use tidings::transport::{Request, Response, Transport, TransportError, transport_fn};
use tidings::{
    Change, EndpointUrl, FailureKind, NetworkPolicy, Notice, Observer, Refusal, Registration,
    Tidings,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("A client of reqwest, to a receiver on loopback that the host allows:");
    let receiver = receiver().await?;
    let network = NetworkPolicy::public_only().allow_loopback();
    let hook = format!("http://{receiver}/hook");
    deliver(Client::new(network.clone())?, network, &hook).await?;

    println!("A closure that prints:");
    let printing = transport_fn(|request: Request| async move {
        let (to, bytes) = (request.http.uri(), request.http.body().len());
        println!("  {} {to} ({bytes} bytes)", request.http.method());
        Ok(Response::new(204))
    });
    deliver(printing, NetworkPolicy::public_only(), HOOK).await?;

    println!("A struct that hands over to a sidecar, wrapped in one that logs:");
    let (ours, theirs) = UnixStream::pair()?;
    let sidecar = tokio::spawn(sidecar(theirs));
    deliver(Logged(Sidecar::new(ours)), NetworkPolicy::public_only(), HOOK).await?;
    println!("  the sidecar saw {} requests", sidecar.await??);
    Ok(())
}

const HOOK: &str = "https://example.com/hook";

/// Publishes three events to one webhook and runs a dispatcher until they are settled.
async fn deliver(
    transport: impl Transport,
    network: NetworkPolicy,
    hook: &str,
) -> Result<(), Box<dyn Error>> {
    let (settled, mut settlements) = mpsc::unbounded_channel();
    let tidings = Tidings::builder(MemoryStorage::new())
        .network(network)
        .observer(Settlements(settled))
        .build();
    let registration = Registration::new(hook, ["order.*"])?.enabled(true);
    tidings.create(registration).await?;
    for (event_type, state) in [
        ("order.created", "pending_payment"),
        ("order.accepted", "accepted"),
        ("order.complete", "complete"),
    ] {
        let order = json!({ "id": "247468780336", "state": state });
        let event = tidings.event(Change::of(event_type, &order)?)?;
        tidings.publish(&event).await?;
    }
    let all = async {
        for _ in 0..3 {
            if let Some(line) = settlements.recv().await {
                println!("  settled: {line}");
            }
        }
    };
    tidings.dispatcher(transport)?.run(all).await;
    Ok(())
}

// --- a client of reqwest --------------------------------------------------------------------------

/// Sends through `reqwest`, and dials only what the policy allows.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    network: NetworkPolicy,
}

impl Client {
    fn new(network: NetworkPolicy) -> Result<Self, Box<dyn Error>> {
        let resolver = Vetted(network.clone());
        Self::with_resolver(network, resolver)
    }

    fn with_resolver(
        network: NetworkPolicy,
        resolver: impl Resolve + 'static,
    ) -> Result<Self, Box<dyn Error>> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        // The provider is named, so that it does not matter which one other crates have installed.
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(resolver)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            // Whatever features other crates switch on.
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .http1_only()
            .build()?;
        Ok(Self { http, network })
    }

    /// Judges what the resolver is not asked for: literal addresses, the scheme and the port.
    fn check(&self, uri: &http::Uri) -> Result<(), TransportError> {
        let url = EndpointUrl::parse(&uri.to_string());
        let checked = url.and_then(|url| self.network.check_url(&url));
        checked.map_err(|error| TransportError::new(FailureKind::Blocked, error.to_string()))
    }
}

#[async_trait]
impl Transport for Client {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let Request { http, deadline, keep, tls, .. } = request;
        let end = tokio::time::Instant::now() + deadline;
        self.check(http.uri())?;
        // One client has one configuration of TLS. What it cannot do it must refuse: sent without, it
        // would go to whoever answers.
        if tls.is_some() {
            let message = "tls: this client has no certificates of single webhooks";
            return Err(TransportError::new(FailureKind::Local, message));
        }
        let request = reqwest::Request::try_from(http).map_err(|error| failure(&error))?;
        // Up to the head of the answer an error is one; after it the status counts.
        let late =
            |_| TransportError::new(FailureKind::Timeout, format!("no answer within {deadline:?}"));
        let answer = timeout_at(end, self.http.execute(request)).await.map_err(late)?;
        let mut answer = answer.map_err(|error| failure(&error))?;
        let mut response = Response::new(answer.status().as_u16());
        response.headers = std::mem::take(answer.headers_mut());
        let mut body = BytesMut::new();
        response.truncated = loop {
            match timeout_at(end, answer.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    body.extend_from_slice(&chunk[..chunk.len().min(keep - body.len())]);
                    if body.len() == keep {
                        // It may have ended just there, which is not worth another read.
                        break true;
                    }
                }
                Ok(Ok(None)) => break false,
                Ok(Err(_)) | Err(_) => break true,
            }
        };
        response.body = body.freeze();
        Ok(response)
    }
}

/// Looks names up and vets what they resolve to: one refused address refuses the name. `reqwest`
/// dials what is returned here and asks nobody else.
#[derive(Debug)]
struct Vetted(NetworkPolicy);

impl Resolve for Vetted {
    fn resolve(&self, name: Name) -> Resolving {
        let network = self.0.clone();
        Box::pin(async move {
            let url = EndpointUrl::parse(&format!("http://{}/", name.as_str()))?;
            let found: Vec<SocketAddr> =
                lookup_host((name.as_str(), 0)).await.map_err(NoLookup)?.collect();
            for address in &found {
                network.check_resolved(&url, address.ip())?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// A look-up that failed, apart from other trouble with input and output.
#[derive(Debug)]
struct NoLookup(io::Error);

impl fmt::Display for NoLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the look-up of the name failed: {}", self.0)
    }
}

impl Error for NoLookup {}

/// What an error of `reqwest` means. The texts are kept with the attempt and shown to customers, so
/// they name no address of the host's network.
fn failure(error: &reqwest::Error) -> TransportError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(this) = cause {
        if let Some(refusal) = this.downcast_ref::<Refusal>() {
            let text = format!(
                "the name has an address that is {} ({})",
                refusal.reason(),
                refusal.rule()
            );
            return TransportError::new(FailureKind::Blocked, text);
        }
        if let Some(lookup) = this.downcast_ref::<NoLookup>() {
            return TransportError::new(FailureKind::Dns, lookup.to_string());
        }
        if let Some(error) = this.downcast_ref::<rustls::Error>() {
            return TransportError::new(FailureKind::Tls, error.to_string());
        }
        let io = this.downcast_ref::<io::Error>();
        // Too few file descriptors are the sender's own trouble.
        if let Some(error) = io.filter(|error| matches!(error.raw_os_error(), Some(23 | 24))) {
            return TransportError::new(FailureKind::Local, error.to_string());
        }
        // What an error of input and output wraps does not count as its source.
        let wrapped = io.and_then(io::Error::get_ref);
        cause = wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| this.source());
    }
    if error.is_timeout() {
        TransportError::new(FailureKind::Timeout, "no answer in time")
    } else if error.is_connect() {
        TransportError::new(FailureKind::Connect, "no connection to any of the addresses")
    } else {
        TransportError::new(FailureKind::Protocol, "what came back is no answer in HTTP")
    }
}

/// A receiver on loopback: answers 204 to the first request of each connection.
async fn receiver() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 16 * 1024];
                if stream.read(&mut request).await? > 0 {
                    let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                    stream.write_all(answer).await?;
                }
                io::Result::Ok(())
            });
        }
    });
    Ok(address)
}

// --- what else a transport can be -----------------------------------------------------------------

/// Tells what was settled. `Notice` comes after the storage has it.
#[derive(Debug)]
struct Settlements(mpsc::UnboundedSender<String>);

impl Observer for Settlements {
    fn notice(&self, notice: &Notice) {
        if let Notice::Settled { event, attempt, .. } = notice {
            let line = format!("{} {:?}", event.event_type(), attempt.outcome);
            let _ = self.0.send(line);
        }
    }
}

/// Logs what another transport does. `Debug` of a request shows no secret; its body may be one.
#[derive(Debug)]
struct Logged<T>(T);

#[async_trait]
impl<T: Transport> Transport for Logged<T> {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let began = Instant::now();
        let host = request.http.uri().host().unwrap_or_default().to_owned();
        let result = self.0.send(request).await;
        let took = began.elapsed();
        match &result {
            Ok(response) => println!("  {host} answered {} after {took:.1?}", response.status),
            Err(error) => println!("  {host} did not answer: {error}"),
        }
        result
    }
}

/// Hands requests to another process: a line of JSON there, a line with the status back.
#[derive(Debug)]
struct Sidecar {
    /// One exchange at a time. `None` after one that was cut off, for what comes back then belongs
    /// to nobody.
    socket: Mutex<Option<BufReader<UnixStream>>>,
}

impl Sidecar {
    fn new(socket: UnixStream) -> Self {
        Self { socket: Mutex::new(Some(BufReader::new(socket))) }
    }

    async fn exchange(&self, line: &str) -> Result<u16, TransportError> {
        // Taken out, so that a future that is dropped half way leaves no half exchange behind.
        let mut place = self.socket.lock().await;
        let gone = || TransportError::new(FailureKind::Local, "the sidecar is gone");
        let mut socket = place.take().ok_or_else(gone)?;
        socket.write_all(line.as_bytes()).await.map_err(|_| gone())?;
        let mut answer = String::new();
        socket.read_line(&mut answer).await.map_err(|_| gone())?;
        *place = Some(socket);
        answer.trim().parse().map_err(|_| gone())
    }
}

#[async_trait]
impl Transport for Sidecar {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        // What it cannot do it must refuse: sent without, it would go to whoever answers.
        if request.tls.is_some() {
            let message = "tls: the sidecar has no certificates of single webhooks";
            return Err(TransportError::new(FailureKind::Local, message));
        }
        let headers = request.http.headers().iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("")));
        let line = json!({
            "to": request.http.uri().to_string(),
            "headers": headers.collect::<Vec<_>>(),
            "body": String::from_utf8_lossy(request.http.body()),
        });
        let exchange = timeout(request.deadline, self.exchange(&format!("{line}\n"))).await;
        let late = |_| TransportError::new(FailureKind::Timeout, "no answer from the sidecar");
        exchange.map_err(late)?.map(Response::new)
    }
}

/// The other process; here it is a task that answers 204 to everything.
async fn sidecar(socket: UnixStream) -> std::io::Result<usize> {
    let mut socket = BufReader::new(socket);
    let (mut line, mut requests) = (String::new(), 0);
    while socket.read_line(&mut line).await? > 0 {
        requests += 1;
        socket.write_all(b"204\n").await?;
        line.clear();
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// A listener that answers `answer` to every connection, and how many there were.
    async fn answering(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    if stream.read(&mut request).await.unwrap() == 0 {
                        return;
                    }
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    // Until the client goes away.
                    while stream.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {}
                });
            }
        });
        (address, connections)
    }

    async fn send(
        network: NetworkPolicy,
        url: &str,
        seconds: f64,
    ) -> Result<Response, TransportError> {
        let http = http::Request::post(url).body("{}".into()).unwrap();
        let request = Request::new(http, Duration::from_secs_f64(seconds), 16);
        Client::new(network).unwrap().send(request).await
    }

    fn local() -> NetworkPolicy {
        NetworkPolicy::public_only().allow_loopback()
    }

    /// Asks for an authority of the webhook's own.
    #[tokio::test]
    async fn what_it_cannot_do_it_refuses() {
        let (address, connections) = answering(OK).await;
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let roots = tidings::RootCertificates::from_pem(&pem).unwrap();
        let http = http::Request::post(format!("http://{address}/")).body("{}".into()).unwrap();
        let request = Request::new(http, Duration::from_secs(20), 16)
            .with_tls(tidings::TlsSettings::new(None, Some(roots)));
        let error = Client::new(local()).unwrap().send(request).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Local);
        assert!(error.message().contains("tls"), "{error}");
        assert_eq!(connections.load(Ordering::SeqCst), 0);
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    /// Sends to literal addresses and private names under the default policy and counts connections.
    #[tokio::test]
    async fn what_the_resolver_is_not_asked_for_is_refused_too() {
        let (address, connections) = answering(OK).await;
        let port = address.port();
        for host in
            ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0x7f.1", "localhost", "2130706433"]
        {
            let error =
                send(NetworkPolicy::public_only(), &format!("http://{host}:{port}/"), 20.0).await;
            let error = error.unwrap_err();
            assert_eq!(error.kind(), FailureKind::Blocked, "{host}: {error}");
        }
        assert_eq!(connections.load(Ordering::SeqCst), 0);
        let answer = send(local(), &format!("http://{address}/"), 20.0).await.unwrap();
        assert_eq!((answer.status, &answer.body[..], answer.truncated), (200, &b"ok"[..], false));
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    }

    /// Finds no name.
    struct Nowhere;

    impl Resolve for Nowhere {
        fn resolve(&self, _: Name) -> Resolving {
            Box::pin(async { Err(NoLookup(io::Error::other("no such name")).into()) })
        }
    }

    /// Resolves a name whose address the policy refuses, one that is allowed, and one that is none.
    #[tokio::test]
    async fn what_a_name_resolves_to_is_vetted() {
        let (address, connections) = answering(OK).await;
        let url = format!("http://localhost:{}/", address.port());
        // Some network is allowed, so the name passes; its address is not in it.
        let elsewhere = NetworkPolicy::public_only().allow("10.9.0.0/16".parse().unwrap());
        let error = send(elsewhere, &url, 20.0).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Blocked, "{error}");
        assert!(error.message().contains("loopback (rule R5: address)"), "{error}");
        assert_eq!(connections.load(Ordering::SeqCst), 0);
        assert_eq!(send(local(), &url, 20.0).await.unwrap().status, 200);
        let http = http::Request::post("http://no-such-name.example/").body("{}".into()).unwrap();
        let request = Request::new(http, Duration::from_secs(20), 16);
        let lost = Client::with_resolver(local(), Nowhere).unwrap();
        let error = lost.send(request).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Dns, "{error}");
    }

    /// Answers with a redirect, too much, half of a body, compressed bytes, and nothing (table).
    #[tokio::test]
    async fn answers_are_taken_as_they_are() {
        let (target, visits) = answering(OK).await;
        let redirect =
            format!("HTTP/1.1 307 A\r\nlocation: http://{target}/\r\ncontent-length: 0\r\n\r\n");
        for (answer, status, body, truncated) in [
            (redirect.as_str(), 307, "", false),
            (
                "HTTP/1.1 500 A\r\ncontent-length: 99\r\n\r\n0123456789abcdefghi",
                500,
                "0123456789abcdef",
                true,
            ),
            ("HTTP/1.1 200 A\r\ncontent-length: 99\r\n\r\nhalf", 200, "half", true),
            (
                "HTTP/1.1 200 A\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nzips",
                200,
                "zips",
                false,
            ),
        ] {
            let (address, _) = answering(answer.to_owned().leak()).await;
            let response = send(local(), &format!("http://{address}/"), 1.0).await.unwrap();
            assert_eq!(response.status, status);
            assert_eq!((&response.body[..], response.truncated), (body.as_bytes(), truncated));
        }
        assert_eq!(visits.load(Ordering::SeqCst), 0);
        for (answer, kind) in [("", FailureKind::Timeout), ("SSH-2.0-a\r\n", FailureKind::Protocol)]
        {
            let (address, _) = answering(answer).await;
            let error = send(local(), &format!("http://{address}/"), 1.0).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{answer:?}: {error}");
        }
        let (address, _) = answering("not TLS\r\n").await;
        let error = send(local(), &format!("https://{address}/"), 5.0).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Tls, "{error}");
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = send(local(), &format!("http://{closed}/"), 5.0).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Connect, "{error}");
    }

    /// Runs the example.
    #[test]
    fn the_example_runs() {
        main().unwrap();
    }
}
