//! What is sent, and what is made of the answers.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidings::FailureKind;
use tidings::transport::{HyperTransport, Request, Response, Transport, TransportError};
use tokio::sync::oneshot;

use crate::receiver::{CEILING, Peer, Receiver, post, send, transport};

/// Compares the bytes of a request and of its answer.
#[tokio::test]
async fn requests_and_answers_arrive_as_they_are() {
    let seen = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&seen);
    let receiver = Receiver::start(move |mut peer: Peer| {
        let keep = Arc::clone(&keep);
        async move {
            let request = peer.request().await.unwrap();
            *keep.lock().unwrap() = Some(request);
            let head =
                b"HTTP/1.1 202 Sure\r\nX-Twice: a\r\nx-twice: b\r\ncontent-length: 4\r\n\r\n";
            peer.write(head).await;
            peer.write(b"\xff\0\r\n").await;
        }
    })
    .await;
    let http = http::Request::post(format!("{}?a=b%20c", receiver.url()))
        .header("webhook-id", "msg_1")
        .header("host", "other.example")
        .header("connection", "close")
        .header("content-length", "3")
        .header("transfer-encoding", "chunked")
        .body(r#"{"a":1}"#.into())
        .unwrap();
    let request = Request::new(http, CEILING, 1024);
    let response = transport().send(request).await.unwrap();

    let (head, body) = seen.lock().unwrap().take().unwrap();
    assert_eq!(body, br#"{"a":1}"#);
    let mut lines: Vec<_> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "POST /hook?a=b%20c HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", receiver.address);
    assert_eq!(
        lines,
        ["accept-encoding: identity", "content-length: 7", &host, "webhook-id: msg_1"]
    );
    assert_eq!(response.status, 202);
    let twice: Vec<_> = response.headers.get_all("x-twice").iter().collect();
    assert_eq!(twice, ["a", "b"]);
    assert_eq!((&response.body[..], response.truncated), (&b"\xff\0\r\n"[..], false));
}

/// Answers with every code from 200 to 999 and reads them all back.
#[tokio::test]
async fn every_status_is_an_answer() {
    let receiver = Receiver::start(|mut peer: Peer| async move {
        while let Some((head, _)) = peer.request().await {
            let status = head.split(['?', ' ']).nth(2).unwrap();
            let answer = format!("HTTP/1.1 {status} \r\ncontent-length: 0\r\n\r\n");
            peer.write(answer.as_bytes()).await;
        }
    })
    .await;
    let transport = transport();
    for status in 200..=999 {
        let response = send(&transport, &format!("{}?{status}", receiver.url())).await.unwrap();
        assert_eq!(response.status, status);
    }
}

/// Redirects to another receiver by status and by odd headers, and counts what reaches it.
#[tokio::test]
async fn redirects_are_not_followed() {
    let target = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let transport = transport();
    for (status, header) in [
        (300, "location"),
        (301, "location"),
        (302, "location"),
        (303, "location"),
        (304, "location"),
        (305, "location"),
        (307, "location"),
        (308, "location"),
        (200, "location"),
        (200, "refresh"),
        (200, "alt-svc"),
        (200, "content-location"),
    ] {
        let url = target.url();
        let answer = format!("HTTP/1.1 {status} A\r\n{header}: {url}\r\ncontent-length: 0\r\n\r\n");
        let receiver = Receiver::answering(answer).await;
        let response = send(&transport, &receiver.url()).await.unwrap();
        assert_eq!(response.status, status);
        assert_eq!(response.headers[header], url);
        assert_eq!(receiver.connections(), 1);
    }
    assert_eq!(target.connections(), 0);
}

/// Sends with a short deadline; the ceiling is far above it.
async fn send_briefly(receiver: &Receiver) -> Result<Response, TransportError> {
    let mut request = post(&receiver.url(), "{}");
    request.deadline = Duration::from_millis(200);
    let begun = Instant::now();
    let outcome = transport().send(request).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    outcome
}

/// Lets a receiver repeat some bytes with a pause between them, for ever.
async fn dripping(begin: &'static str, drip: &'static str) -> Receiver {
    Receiver::start(move |mut peer: Peer| async move {
        peer.request().await;
        peer.write(begin.as_bytes()).await;
        while peer.write(drip.as_bytes()).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// Hangs, drips and repeats interim answers without an end before the head is whole (table).
#[tokio::test]
async fn the_deadline_ends_every_wait_for_an_answer() {
    for (begin, drip) in [
        ("", ""),
        ("HTTP/1.1 200 OK\r\nx-drip: ", "a"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("", "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n"),
    ] {
        let receiver = dripping(begin, drip).await;
        let error = send_briefly(&receiver).await.expect_err("answered");
        assert_eq!(error.kind(), FailureKind::Timeout, "{drip:?}: {error}");
        assert!(error.message().contains("200ms, waiting for the head"), "{error}");
    }
}

/// Floods with interim answers as fast as the socket takes them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_interim_answers_ends_at_the_deadline() {
    let receiver = Receiver::start(|mut peer: Peer| async move {
        peer.request().await;
        let many = "HTTP/1.1 100 Continue\r\n\r\n".repeat(400);
        while peer.write(many.as_bytes()).await {}
    })
    .await;
    let error = send_briefly(&receiver).await.expect_err("answered");
    assert!(matches!(error.kind(), FailureKind::Timeout | FailureKind::Protocol), "{error}");
}

/// Drips the body, with a length, in chunks, and until the end of the connection (table).
#[tokio::test]
async fn a_status_counts_though_its_body_never_ends() {
    for (begin, drip) in [
        ("HTTP/1.1 201 A\r\ncontent-length: 100000\r\n\r\nbegin", "a"),
        ("HTTP/1.1 201 A\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegin\r\n", "1\r\na\r\n"),
        ("HTTP/1.1 201 A\r\n\r\nbegin", "a"),
    ] {
        let receiver = dripping(begin, drip).await;
        let response = send_briefly(&receiver).await.unwrap();
        assert_eq!((response.status, response.truncated), (201, true));
        assert!(response.body.starts_with(b"begin"), "{:?}", response.body);
    }
}

/// Cuts the connection within the body, or breaks the framing of chunks (table).
#[tokio::test]
async fn a_status_counts_though_its_body_breaks_off() {
    for (answer, body) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "half"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", "half"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n", "half"),
    ] {
        let receiver = Receiver::start(move |mut peer: Peer| async move {
            peer.request().await;
            peer.write(answer.as_bytes()).await;
        })
        .await;
        let response = send(&transport(), &receiver.url()).await.unwrap();
        assert_eq!((response.status, response.truncated), (200, true), "{answer:?}");
        assert_eq!(response.body, body, "{answer:?}");
    }
}

/// Answers with an endless body and waits for the sender to hang up.
#[tokio::test]
async fn an_endless_body_is_cut_and_its_connection_closed() {
    let (hung_up, closed) = oneshot::channel();
    let hung_up = Mutex::new(Some(hung_up));
    let receiver = Receiver::start(move |mut peer: Peer| {
        let hung_up = hung_up.lock().unwrap().take().unwrap();
        async move {
            peer.request().await;
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n";
            peer.write(head).await;
            let mut written = 0_usize;
            while peer.write(&[b'a'; 4096]).await {
                written += 4096;
            }
            hung_up.send(written).unwrap();
        }
    })
    .await;
    let transport = transport();
    let response = send(&transport, &receiver.url()).await.unwrap();
    assert_eq!((response.status, response.truncated), (200, true));
    assert_eq!(response.body, vec![b'a'; 16 * 1024]);
    let written = tokio::time::timeout(CEILING, closed).await.unwrap().unwrap();
    assert!(written < 64 * 1024 * 1024, "{written} bytes were taken");
}

/// Keeps as many bytes as the body has, one less, and none (table).
#[tokio::test]
async fn the_body_is_whole_up_to_the_very_cap() {
    for framing in [
        "content-length: 5\r\n\r\nabcde",
        "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n",
    ] {
        let receiver = Receiver::answering(format!("HTTP/1.1 200 OK\r\n{framing}")).await;
        for (keep, body, truncated) in
            [(6, "abcde", false), (5, "abcde", false), (4, "abcd", true), (0, "", true)]
        {
            let mut request = post(&receiver.url(), "");
            request.keep = keep;
            let response = transport().send(request).await.unwrap();
            assert_eq!(
                (&response.body[..], response.truncated),
                (body.as_bytes(), truncated),
                "{keep}"
            );
        }
    }
}

/// Answers with a body that says it is compressed.
#[tokio::test]
async fn nothing_is_decompressed() {
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xcb\x48\xcd\xc9\xc9\x07\0\x86\xa6\x10\x36\x05\0\0\0";
    let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 25\r\n\r\n";
    let receiver = Receiver::answering([head.as_bytes(), gzip].concat()).await;
    let response = send(&transport(), &receiver.url()).await.unwrap();
    assert_eq!(&response.body[..], gzip);
    assert_eq!(response.headers["content-encoding"], "gzip");
}

/// Answers with what is not HTTP, or too much of it (table).
#[tokio::test]
async fn what_is_not_http_is_a_protocol_failure() {
    let long = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "a".repeat(1024 * 1024));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-many: a\r\n".repeat(10_000));
    for answer in [
        "hello\n",
        "<html></html>",
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/0.9 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx-nul: a\0b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx-fold: a\r\n b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "",
        "HTTP/1.1 200",
        &long,
        &many,
    ] {
        let answer: Arc<str> = answer.into();
        let shown: String = answer.chars().take(40).collect();
        let receiver = Receiver::start(move |mut peer: Peer| {
            let answer = Arc::clone(&answer);
            async move {
                peer.request().await;
                peer.write(answer.as_bytes()).await;
            }
        })
        .await;
        let error = send(&transport(), &receiver.url()).await;
        let error = error.expect_err(&shown);
        assert_eq!(error.kind(), FailureKind::Protocol, "{shown:?}: {error}");
    }
}

/// Answers and closes without reading the request, 50 times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_before_the_request_was_read_counts() {
    let receiver = Receiver::start(|mut peer: Peer| async move {
        peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    })
    .await;
    let transport: HyperTransport = transport();
    for _ in 0..50 {
        let request = post(&receiver.url(), vec![b' '; 1024 * 1024]);
        let response = transport.send(request).await.unwrap();
        assert_eq!((response.status, &response.body[..]), (200, &b"ok"[..]));
    }
}
