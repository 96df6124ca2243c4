//! TLS, and HTTP/2 over it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidings::FailureKind;
use tidings::transport::{HyperOptions, HyperTransport, Transport};
use tokio_rustls::TlsAcceptor;

use crate::authority::Authority;
use crate::receiver::{Answers, CEILING, Peer, Receiver, options, post, send};

impl Authority {
    /// Options that trust this authority and find every name on loopback.
    fn options(&self) -> HyperOptions {
        options()
            .with_root_certificate(self.0.der().to_vec())
            .with_resolver(Answers(|_: &str| Ok(vec![Ipv4Addr::LOCALHOST.into()])))
    }
}

/// What a receiver behind TLS has seen.
#[derive(Default)]
struct Seen {
    requests: AtomicUsize,
    handshakes: AtomicUsize,
}

/// Answers over TLS with the HTTP version and the `:authority` or `host` that came; never answers
/// `/hang`.
async fn secure(acceptor: TlsAcceptor) -> (Receiver, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let all = Arc::clone(&seen);
    let receiver = Receiver::start(move |peer: Peer| {
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&all));
        async move {
            let Ok(stream) = acceptor.accept(peer.stream).await else {
                return;
            };
            seen.handshakes.fetch_add(1, Ordering::SeqCst);
            let service = service_fn(|request: http::Request<Incoming>| {
                let seen = Arc::clone(&seen);
                async move {
                    seen.requests.fetch_add(1, Ordering::SeqCst);
                    if request.uri().path() == "/hang" {
                        std::future::pending::<()>().await;
                    }
                    let host = request.headers().get("host").map(|host| host.to_str().unwrap());
                    let authority = request.uri().authority().map(|name| name.as_str());
                    let text = format!("{:?} {:?} {host:?}", request.version(), authority);
                    let sent = request.into_body().collect().await.unwrap().to_bytes();
                    let text = format!("{text} {}", sent.len());
                    Ok::<_, std::convert::Infallible>(http::Response::new(text))
                }
            });
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
    (receiver, seen)
}

/// Sends to receivers whose certificate is unknown, for another name, or no certificate (table).
#[tokio::test]
async fn only_a_trusted_certificate_of_the_right_name_is_accepted() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for (signer, name, trusted) in [
        (&ours, "hooks.example", true),
        (&theirs, "hooks.example", false),
        (&ours, "other.example", false),
    ] {
        let (receiver, seen) = secure(signer.acceptor(name, &["http/1.1"])).await;
        let transport = HyperTransport::new(ours.options()).unwrap();
        let url = format!("https://hooks.example:{}/", receiver.address.port());
        let outcome = send(&transport, &url).await;
        assert_eq!(outcome.is_ok(), trusted, "{name}: {outcome:?}");
        assert_eq!(seen.requests.load(Ordering::SeqCst), usize::from(trusted));
        assert_eq!(receiver.connections(), 1, "there was a second try");
        if let Err(error) = outcome {
            assert_eq!(error.kind(), FailureKind::Tls, "{error}");
        }
    }
}

/// Sends https to the default roots, where a certificate of our own cannot be known.
#[tokio::test]
async fn a_self_signed_certificate_is_refused() {
    let authority = Authority::new();
    let (receiver, seen) = secure(authority.acceptor("127.0.0.1", &[])).await;
    let url = format!("https://127.0.0.1:{}/", receiver.address.port());
    let error = send(&HyperTransport::new(options()).unwrap(), &url).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Tls, "{error}");
    assert_eq!(seen.requests.load(Ordering::SeqCst), 0);
    let trusting = HyperTransport::new(authority.options().without_public_roots()).unwrap();
    assert_eq!(send(&trusting, &url).await.unwrap().status, 200);
}

/// Sends https to receivers that speak plain HTTP, close, or stall in the handshake (table).
#[tokio::test]
async fn what_is_not_tls_is_a_tls_failure() {
    for (answer, stalls) in
        [("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false), ("", false), ("", true)]
    {
        let receiver = Receiver::start(move |mut peer: Peer| async move {
            peer.more().await;
            peer.write(answer.as_bytes()).await;
            if stalls {
                peer.closed().await;
            }
        })
        .await;
        let options = options().with_connect_timeout(Duration::from_millis(500));
        let transport = HyperTransport::new(options).unwrap();
        let url = format!("https://127.0.0.1:{}/", receiver.address.port());
        let error = send(&transport, &url).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Tls, "{error}");
        assert_eq!(receiver.connections(), 1);
    }
}

/// Sends 100 requests at once to a receiver that offers HTTP/2.
#[tokio::test]
async fn http2_requests_share_one_connection() {
    let authority = Authority::new();
    let (receiver, seen) = secure(authority.acceptor("hooks.example", &["h2", "http/1.1"])).await;
    let host = format!("hooks.example:{}", receiver.address.port());
    let transport = HyperTransport::new(authority.options()).unwrap();
    let all = (0..100).map(|_| {
        let body = vec![b' '; 100_000];
        transport.send(post(&format!("https://{host}/hook"), body))
    });
    for outcome in futures_util::future::join_all(all).await {
        let response = outcome.unwrap();
        assert_eq!(response.body, format!("HTTP/2.0 Some({host:?}) None 100000"));
    }
    assert_eq!(receiver.connections(), 1);
    assert_eq!(seen.requests.load(Ordering::SeqCst), 100);
}

/// Sends 60 requests at once over HTTP/2, with four allowed, and counts them at the receiver.
#[tokio::test]
async fn http2_requests_under_way_are_bounded() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("hooks.example", &["h2"]);
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let receiver = Receiver::start(move |peer: Peer| {
        let (acceptor, open, most) = (acceptor.clone(), Arc::clone(&open), Arc::clone(&most));
        async move {
            let stream = acceptor.accept(peer.stream).await.unwrap();
            let service = service_fn(move |_: http::Request<Incoming>| {
                let (open, most) = (Arc::clone(&open), Arc::clone(&most));
                async move {
                    most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                    Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
                }
            });
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
    let url = format!("https://hooks.example:{}/", receiver.address.port());
    let options = authority.options().with_connections_per_address(4);
    let transport = HyperTransport::new(options).unwrap();
    let all = (0..60).map(|_| transport.send(post(&url, "{}")));
    for outcome in futures_util::future::join_all(all).await {
        assert_eq!(outcome.unwrap().status, 200);
    }
    assert_eq!((seen.load(Ordering::SeqCst), receiver.connections()), (4, 1));
}

/// Sends to receivers and with transports of which one side does not offer HTTP/2 (table).
#[tokio::test]
async fn http2_needs_both_sides() {
    let authority = Authority::new();
    for (protocols, offered) in
        [(&["http/1.1"][..], true), (&["h2", "http/1.1"], false), (&[], true)]
    {
        let (receiver, _) = secure(authority.acceptor("hooks.example", protocols)).await;
        let host = format!("hooks.example:{}", receiver.address.port());
        let transport = HyperTransport::new(authority.options().with_http2(offered)).unwrap();
        for _ in 0..3 {
            let response = send(&transport, &format!("https://{host}/")).await.unwrap();
            assert_eq!(response.body, format!("HTTP/1.1 None Some({host:?}) 2"));
        }
        assert_eq!(receiver.connections(), 1);
    }
}

/// Lets an HTTP/2 request hang until its deadline, and sends others after it.
#[tokio::test]
async fn an_http2_connection_that_did_not_answer_is_not_used_again() {
    let authority = Authority::new();
    let (receiver, _) = secure(authority.acceptor("hooks.example", &["h2"])).await;
    let url = format!("https://hooks.example:{}", receiver.address.port());
    let transport = HyperTransport::new(authority.options()).unwrap();
    assert_eq!(send(&transport, &format!("{url}/")).await.unwrap().status, 200);
    let mut request = post(&format!("{url}/hang"), "");
    request.deadline = Duration::from_millis(100);
    let error = tokio::time::timeout(CEILING, transport.send(request)).await.unwrap();
    assert_eq!(error.unwrap_err().kind(), FailureKind::Timeout);
    assert_eq!(receiver.connections(), 1);
    for _ in 0..3 {
        assert_eq!(send(&transport, &format!("{url}/")).await.unwrap().status, 200);
    }
    assert_eq!(receiver.connections(), 2);
}

/// Drops a transport with an HTTP/2 connection and waits for the receiver to see it closed.
#[tokio::test]
async fn dropping_the_transport_ends_its_tasks() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("hooks.example", &["h2"]);
    let (ending, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let receiver = Receiver::start(move |peer: Peer| {
        let (acceptor, ending) = (acceptor.clone(), ending.clone());
        async move {
            let stream = acceptor.accept(peer.stream).await.unwrap();
            let service = service_fn(|_: http::Request<Incoming>| async {
                Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
            });
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            let _ = ending.send(());
        }
    })
    .await;
    let url = format!("https://hooks.example:{}/", receiver.address.port());
    let transport = HyperTransport::new(authority.options()).unwrap();
    assert_eq!(send(&transport, &url).await.unwrap().status, 200);
    assert!(ended.try_recv().is_err(), "the connection was not kept");
    drop(transport);
    tokio::time::timeout(CEILING, ended.recv()).await.unwrap().unwrap();
}

/// Hands over a root certificate that is none.
#[test]
fn a_bad_root_certificate_is_refused() {
    let error = HyperTransport::new(options().with_root_certificate(vec![1, 2, 3])).unwrap_err();
    assert_eq!(error.field(), Some("root certificate"));
}
