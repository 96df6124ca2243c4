//! What may go to one destination at once, whatever its names.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidings::FailureKind;
use tidings::transport::{HyperTransport, Transport};

use crate::receiver::{Answers, Peer, Receiver, options, post};

/// Sends to many names of one address at once, with few connections allowed there.
#[tokio::test]
async fn the_names_of_an_address_share_its_connections() {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let receiver = Receiver::start(move |mut peer: Peer| {
        let (open, most) = (Arc::clone(&open), Arc::clone(&most));
        async move {
            while peer.request().await.is_some() {
                let now = open.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
                open.fetch_sub(1, Ordering::SeqCst);
                peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    let resolver = Answers(|_: &str| Ok(vec![IpAddr::from([127, 0, 0, 1])]));
    let options = options().with_connections_per_address(3).with_resolver(resolver);
    let transport = HyperTransport::new(options).unwrap();
    for _ in 0..2 {
        let all = (0..60).map(|number| {
            let url = format!("http://name{number}.example:{}/", receiver.address.port());
            transport.send(post(&url, "{}"))
        });
        for outcome in futures_util::future::join_all(all).await {
            assert_eq!(outcome.unwrap().status, 200);
        }
    }
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    assert!(receiver.connections() >= 60, "an unused connection gives way");
}

/// Sends to a destination whose only place is taken, and to another one.
#[tokio::test]
async fn who_finds_no_place_is_refused_and_others_are_not() {
    let hanging = Receiver::start(|mut peer: Peer| async move { peer.closed().await }).await;
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let other = Receiver::at("127.0.0.2:0", move |mut peer: Peer| async move {
        peer.request().await;
        peer.write(answer.as_bytes()).await;
    })
    .await;
    let options = options().with_connections_per_host(1);
    let transport = Arc::new(HyperTransport::new(options).unwrap());
    let (sender, url) = (Arc::clone(&transport), hanging.url());
    let first = tokio::spawn(async move { sender.send(post(&url, "{}")).await });
    while hanging.connections() == 0 {
        tokio::task::yield_now().await;
    }
    let mut second = post(&hanging.url(), "{}");
    second.deadline = Duration::from_millis(400);
    let error = transport.send(second).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Busy, "{error}");
    assert_eq!(transport.send(post(&other.url(), "{}")).await.unwrap().status, 200);
    assert_eq!(hanging.connections(), 1);
    first.abort();
}

/// Sends to a name with two addresses, in both orders: at one the only place is taken, and nobody
/// listens at the other. That is our limit, and not the receiver's failure.
#[tokio::test]
async fn an_address_that_is_full_beside_one_that_refuses_is_busy() {
    let (full, refusing) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
    for order in [[full, refusing], [refusing, full]] {
        let hanging = Receiver::start(|mut peer: Peer| async move { peer.closed().await }).await;
        let resolver = Answers(move |name: &str| {
            Ok(if name == "first.example" { vec![full] } else { order.to_vec() })
        });
        let options = options().with_connections_per_address(1).with_resolver(resolver);
        let transport = Arc::new(HyperTransport::new(options).unwrap());
        let url = |name| format!("http://{name}.example:{}/", hanging.address.port());
        let (sender, first) = (Arc::clone(&transport), url("first"));
        let first = tokio::spawn(async move { sender.send(post(&first, "{}")).await });
        while hanging.connections() == 0 {
            tokio::task::yield_now().await;
        }
        let mut second = post(&url("second"), "{}");
        second.deadline = Duration::from_secs(2);
        let error = transport.send(second).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Busy, "{error}");
        first.abort();
    }
}

/// Sends more in a second than is allowed.
#[tokio::test]
async fn what_is_over_the_rate_is_refused_soon() {
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let transport = HyperTransport::new(options().with_requests_per_second(2)).unwrap();
    let all = (0..20).map(|_| {
        let mut request = post(&receiver.url(), "{}");
        request.deadline = Duration::from_millis(400);
        transport.send(request)
    });
    let outcomes = futures_util::future::join_all(all).await;
    let (sent, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(sent.len(), 2, "a second's worth at once");
    for outcome in refused {
        assert_eq!(outcome.unwrap_err().kind(), FailureKind::Busy);
    }
}
