//! How connections are kept, bounded and ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidings::FailureKind;
use tidings::transport::{HyperTransport, Transport};
use tokio::sync::{Barrier, mpsc};

use crate::receiver::{CEILING, Peer, Receiver, options, post, send, transport};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
const EMPTY: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// Sends 20 times, with each framing of the answer (table).
#[tokio::test]
async fn one_connection_serves_one_request_after_another() {
    for answer in [OK, CHUNKED, EMPTY] {
        let receiver = Receiver::answering(answer).await;
        let transport = transport();
        for _ in 0..20 {
            let response = send(&transport, &receiver.url()).await.unwrap();
            assert!(!response.truncated);
        }
        assert_eq!(receiver.connections(), 1);
    }
}

/// Waits until the runtime has looked at the sockets.
async fn settle() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

/// Closes each connection after its first answer, without saying so.
#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced_without_a_failure() {
    let (closing, mut closed) = mpsc::unbounded_channel();
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let receiver = Receiver::start(move |mut peer: Peer| {
        let (closing, count) = (closing.clone(), Arc::clone(&count));
        async move {
            peer.request().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            peer.write(OK).await;
            drop(peer);
            closing.send(()).unwrap();
        }
    })
    .await;
    let transport = transport();
    for _ in 0..10 {
        let response = send(&transport, &receiver.url()).await.unwrap();
        assert_eq!(response.status, 200);
        closed.recv().await.unwrap();
        settle().await;
    }
    assert_eq!(requests.load(Ordering::SeqCst), 10);
    assert_eq!(receiver.connections(), 10);
}

/// Resets the kept connection after some bytes of the second request.
#[tokio::test]
async fn a_request_of_which_a_byte_was_written_is_not_repeated() {
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let receiver = Receiver::start(move |mut peer: Peer| {
        let count = Arc::clone(&count);
        async move {
            peer.request().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            peer.write(OK).await;
            let mut some = [0; 10];
            tokio::io::AsyncReadExt::read_exact(&mut peer.stream, &mut some).await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            // Closing with bytes unread resets the connection.
        }
    })
    .await;
    let transport = transport();
    assert_eq!(send(&transport, &receiver.url()).await.unwrap().status, 200);
    let error = send(&transport, &receiver.url()).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Protocol, "{error}");
    assert_eq!(begun.load(Ordering::SeqCst), 2);
    assert_eq!(receiver.connections(), 1);
}

/// Writes bytes that nobody asked for on a kept connection.
#[tokio::test]
async fn an_unasked_answer_is_never_taken_for_the_next_one() {
    let (writing, mut written) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut peer: Peer| {
        let writing = writing.clone();
        async move {
            while peer.request().await.is_some() {
                peer.write(OK).await;
                peer.write(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await;
                let _ = writing.send(());
            }
        }
    })
    .await;
    let transport = transport();
    for _ in 0..5 {
        assert_eq!(send(&transport, &receiver.url()).await.unwrap().status, 200);
        written.recv().await.unwrap();
        settle().await;
    }
}

/// Sends 30 requests at once with three connections allowed, each held until three are there.
#[tokio::test]
async fn connections_to_one_host_are_bounded() {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let barrier = Arc::new(Barrier::new(3));
    let seen = Arc::clone(&most);
    let receiver = Receiver::start(move |mut peer: Peer| {
        let (open, most, barrier) = (Arc::clone(&open), Arc::clone(&most), Arc::clone(&barrier));
        async move {
            let now = open.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            while peer.request().await.is_some() {
                barrier.wait().await;
                if !peer.write(OK).await {
                    break;
                }
            }
            open.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    let options = options().with_connections_per_host(3);
    let transport = Arc::new(HyperTransport::new(options).unwrap());
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let (transport, url) = (Arc::clone(&transport), receiver.url());
        sending.spawn(async move { send(&transport, &url).await });
    }
    while let Some(outcome) = sending.join_next().await {
        assert_eq!(outcome.unwrap().unwrap().status, 200);
    }
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    assert_eq!(receiver.connections(), 3);
}

/// Lets one request wait for the only connection until it is refused, then frees the connection.
#[tokio::test]
async fn waiting_for_a_connection_ends_long_before_the_deadline() {
    let (begun, mut begins) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut peer: Peer| {
        let begun = begun.clone();
        async move {
            while peer.request().await.is_some() {
                begun.send(()).unwrap();
                if peer.number > 1 {
                    peer.write(OK).await;
                }
            }
        }
    })
    .await;
    let options = options().with_connections_per_host(1);
    let transport = Arc::new(HyperTransport::new(options).unwrap());
    let (first, url) = (Arc::clone(&transport), receiver.url());
    let first = tokio::spawn(async move { send(&first, &url).await });
    begins.recv().await.unwrap();
    let mut request = post(&receiver.url(), "");
    request.deadline = Duration::from_millis(50);
    let error = transport.send(request).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Busy);
    assert!(error.message().contains("all places at it are taken"), "{error}");
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(send(&transport, &receiver.url()).await.unwrap().status, 200);
}

/// Tells by a channel when the sender closed a connection.
async fn noticing(answer: &'static [u8]) -> (Receiver, mpsc::UnboundedReceiver<&'static str>) {
    let (notice, notices) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut peer: Peer| {
        let notice = notice.clone();
        async move {
            peer.request().await.unwrap();
            notice.send("asked").unwrap();
            peer.write(answer).await;
            peer.closed().await;
            let _ = notice.send("closed");
        }
    })
    .await;
    (receiver, notices)
}

async fn next(notices: &mut mpsc::UnboundedReceiver<&'static str>) -> &'static str {
    tokio::time::timeout(CEILING, notices.recv()).await.unwrap().unwrap()
}

/// Drops the future of a send while the receiver thinks, and in the middle of the body (table).
#[tokio::test]
async fn dropping_the_future_closes_its_connection() {
    for answer in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"] {
        let (receiver, mut notices) = noticing(answer).await;
        let transport = Arc::new(transport());
        let (sender, url) = (Arc::clone(&transport), receiver.url());
        let sending = tokio::spawn(async move { send(&sender, &url).await });
        assert_eq!(next(&mut notices).await, "asked");
        settle().await;
        sending.abort();
        assert_eq!(next(&mut notices).await, "closed");
    }
}

/// Keeps a connection and drops the transport.
#[tokio::test]
async fn dropping_the_transport_closes_kept_connections() {
    let (receiver, mut notices) = noticing(OK).await;
    let transport = transport();
    send(&transport, &receiver.url()).await.unwrap();
    assert_eq!(next(&mut notices).await, "asked");
    settle().await;
    assert!(notices.try_recv().is_err(), "the connection was not kept");
    drop(transport);
    assert_eq!(next(&mut notices).await, "closed");
}

/// Keeps a connection for a short time and waits until it is closed, with no further request.
#[tokio::test]
async fn a_connection_is_not_kept_for_ever() {
    let (receiver, mut notices) = noticing(OK).await;
    let options = options().with_idle_timeout(Duration::from_millis(30));
    let transport = HyperTransport::new(options).unwrap();
    send(&transport, &receiver.url()).await.unwrap();
    assert_eq!(next(&mut notices).await, "asked");
    assert_eq!(next(&mut notices).await, "closed");
}

/// Frees five connections at once where two may be kept.
#[tokio::test]
async fn no_more_connections_are_kept_than_allowed() {
    let (closing, mut closed) = mpsc::unbounded_channel();
    let barrier = Arc::new(Barrier::new(5));
    let receiver = Receiver::start(move |mut peer: Peer| {
        let (closing, barrier) = (closing.clone(), Arc::clone(&barrier));
        async move {
            peer.request().await.unwrap();
            barrier.wait().await;
            peer.write(OK).await;
            peer.closed().await;
            let _ = closing.send(());
        }
    })
    .await;
    let options = options().with_idle_connections_per_host(2);
    let transport = HyperTransport::new(options).unwrap();
    let url = receiver.url();
    let all = (0..5).map(|_| send(&transport, &url));
    for outcome in futures_util::future::join_all(all).await {
        assert_eq!(outcome.unwrap().status, 200);
    }
    for _ in 0..3 {
        tokio::time::timeout(CEILING, closed.recv()).await.unwrap().unwrap();
    }
    settle().await;
    assert!(closed.try_recv().is_err(), "a kept connection was closed");
}
