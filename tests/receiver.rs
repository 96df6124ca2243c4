//! The receiver kit and the examples of receivers, over sockets: what is signed is acted upon once, and
//! everything else is answered by the status that it deserves.
#![cfg(feature = "receiver")]

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::routing::post;
use chrono::Utc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use tidings::receiver::{Dispatch, MemorySeen, Received, Receiver, Rejection, Seen};
use tidings::time::after;
use tidings::{
    ErrorKind, EventId, Secret, Secrets, SignatureScheme, Timestamp, Verifier, signature,
};

#[path = "../examples/receiver_axum.rs"]
mod receiver_axum;
#[path = "../examples/receiver_hyper.rs"]
mod receiver_hyper;

fn secret() -> Secret {
    Secret::from_random(&[7; 32])
}

fn id(n: u8) -> EventId {
    EventId::new(Timestamp::UNIX_EPOCH, &[n; 10])
}

fn payload(event_type: &str, n: u8) -> String {
    let id = id(n);
    format!(
        r#"{{"id":"{id}","type":"{event_type}","data":{{"object":{{"id":"order {n}","total":29.90}}}}}}"#
    )
}

/// A request of which each part can be spoilt.
struct Sent<'a> {
    secret: Secret,
    scheme: SignatureScheme,
    id: EventId,
    body: &'a [u8],
    at: Timestamp,
}

impl<'a> Sent<'a> {
    fn new(n: u8, body: &'a [u8]) -> Self {
        let scheme = SignatureScheme::StandardWebhooks;
        Self { secret: secret(), scheme, id: id(n), body, at: Utc::now() }
    }

    fn headers(&self) -> Vec<(String, String)> {
        let secrets = Secrets::new(self.secret.clone(), self.at);
        let schemes = [self.scheme.clone()];
        let signed = signature::sign(&schemes, &secrets, self.id, self.body, self.at);
        signed.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn map(&self) -> HeaderMap {
        let pairs = self.headers().into_iter();
        pairs
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    async fn to(&self, address: &str) -> u16 {
        post_to(address, &self.headers(), self.body).await.expect("an answer")
    }
}

/// Sends a request of one connection, and reads the status of the answer.
async fn post_to(
    address: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> Result<u16, Box<dyn Error>> {
    let mut head = format!(
        "POST /hook HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("{head}\r\n").as_bytes()).await?;
    // A server that refuses by the head alone may close before the body is written.
    let _ = stream.write_all(body).await;
    status(&mut stream).await
}

async fn status(stream: &mut TcpStream) -> Result<u16, Box<dyn Error>> {
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    while !answer.windows(2).any(|end| end == b"\r\n") {
        match stream.read(&mut part).await? {
            0 => break,
            read => answer.extend_from_slice(&part[..read]),
        }
    }
    let line = String::from_utf8_lossy(&answer).into_owned();
    Ok(line.split(' ').nth(1).ok_or("no status")?.parse()?)
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

async fn serve(router: Router) -> String {
    let (listener, address) = listen().await;
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Sends a receiver what each example must get right, and looks at the orders that it ships.
async fn play(address: &str, orders: &Mutex<Vec<String>>) {
    let accepted = payload("order.accepted", 1);
    let unknown = payload("order.line_item.engraved", 2);
    let forger =
        Sent { secret: Secret::from_random(&[8; 32]), ..Sent::new(3, accepted.as_bytes()) };
    assert_eq!(forger.to(address).await, 401, "signed by somebody else");
    let ping = payload("ping", 6);
    let bare = br#"{"id":7,"type":"order.line_item.engraved"}"#;
    let late = Utc::now() - chrono::TimeDelta::hours(1);
    let late = Sent { at: late, ..Sent::new(1, accepted.as_bytes()) };
    assert_eq!(late.to(address).await, 401, "signed an hour ago");
    assert!(orders.lock().unwrap().is_empty());

    assert_eq!(Sent::new(1, accepted.as_bytes()).to(address).await, 204, "a signed one");
    assert_eq!(orders.lock().unwrap().len(), 1);
    assert_eq!(Sent::new(1, accepted.as_bytes()).to(address).await, 204, "a repetition");
    assert_eq!(orders.lock().unwrap().len(), 1, "acted twice");
    assert_eq!(Sent::new(2, unknown.as_bytes()).to(address).await, 204, "an unknown type");
    assert_eq!(Sent::new(6, ping.as_bytes()).to(address).await, 204, "a type of one word");
    assert_eq!(Sent::new(7, bare).to(address).await, 204, "another sender's envelope");
    assert_eq!(Sent::new(4, b"{}").to(address).await, 400, "no event");
    let long = vec![b' '; 1024 * 1024 + 1];
    assert_eq!(Sent::new(5, &long).to(address).await, 413, "too long");
    assert_eq!(orders.lock().unwrap().len(), 1);
    assert!(orders.lock().unwrap()[0].contains("order 1"));
}

/// Sends the example good, bad, repeated and unknown requests.
#[tokio::test]
async fn the_example_in_axum_acts_once() {
    let orders = receiver_axum::Orders::default();
    let address = serve(receiver_axum::router(secret(), orders.clone()).unwrap()).await;
    play(&address, &orders).await;
}

/// Sends the example good, bad, repeated and unknown requests.
#[tokio::test]
async fn the_example_in_plain_hyper_acts_once() {
    let orders = receiver_hyper::Orders::default();
    let (listener, address) = listen().await;
    tokio::spawn(receiver_hyper::serve(listener, secret(), orders.clone()));
    play(&address, &orders).await;
}

fn verifier() -> Verifier {
    Verifier::standard_webhooks([secret()]).unwrap()
}

/// A route that counts what it extracts.
fn counting(receiver: Receiver) -> (Router, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let hook = move |_: Received| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { StatusCode::OK }
    };
    (Router::new().route("/hook", post(hook)).with_state(receiver), count)
}

/// Sends requests that break one rule each (table).
#[tokio::test]
async fn a_rejection_is_the_right_status() {
    let (router, count) = counting(Receiver::new(verifier(), Utc::now));
    let address = serve(router).await;
    for (body, expected) in [
        ("", 400),
        ("[]", 400),
        ("{}", 400),
        ("{", 400),
        (r#"{"type":1,"data":{}}"#, 400),
        (r#"["id","a.b",{}]"#, 400),
        (r#"{"data":{}}"#, 400),
        (r#"{"type":null,"data":{}}"#, 400),
        (r#"{"type":"a.b","type":"c.d","data":{}}"#, 400),
        ("{\"type\":\"a.b\",\"data\":{}} x", 400),
        // What any sender of Standard Webhooks writes.
        (r#"{"type":"a.b","timestamp":"2026-01-31T08:15:30Z","data":{"a":1}}"#, 200),
        (r#"{"type":"not one of ours!","data":null}"#, 200),
        (r#"{"type":"a.b"}"#, 200),
        (r#"{"type":"a.b","amount":1}"#, 200),
        (r#"{"id":7,"type":"a.b","data":{}}"#, 200),
        (r#"{"id":null,"type":"a.b","data":[1]}"#, 200),
        (r#"{"id":{"of":["a"]},"type":"a.b","timestamp":0,"data":"text"}"#, 200),
    ] {
        assert_eq!(Sent::new(1, body.as_bytes()).to(&address).await, expected, "{body}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 7);
    let good = Sent::new(1, br#"{"type":"a.b","data":{}}"#);
    for at in 0..3 {
        let mut headers = good.headers();
        headers.remove(at);
        assert_eq!(post_to(&address, &headers, good.body).await.unwrap(), 401);
        let mut headers = good.headers();
        headers.push(headers[at].clone());
        assert_eq!(post_to(&address, &headers, good.body).await.unwrap(), 401);
    }
    assert_eq!(post_to(&address, &good.headers(), b"{}").await.unwrap(), 401);
    assert_eq!(count.load(Ordering::SeqCst), 7);
}

/// Announces too long a body and sends none of it; sends an endless one without a length.
#[tokio::test]
async fn a_body_is_bounded_while_it_comes() {
    let receiver = Receiver::new(verifier(), Utc::now).with_body_limit(64);
    let (router, count) = counting(receiver);
    let address = serve(router).await;

    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head = "POST /hook HTTP/1.1\r\nhost: a\r\ncontent-length: 65\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(status(&mut stream).await.unwrap(), 413, "by the head alone");

    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head = "POST /hook HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..5 {
        stream.write_all(b"10\r\n0123456789abcdef\r\n").await.unwrap();
    }
    // The last chunk never comes.
    assert_eq!(status(&mut stream).await.unwrap(), 413, "without a length");

    let short = format!(r#"{{"type":"a.b","data":"{}"}}"#, "x".repeat(40));
    assert_eq!(short.len(), 64);
    assert_eq!(Sent::new(1, short.as_bytes()).to(&address).await, 200, "at the bound");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

/// Lets handlers succeed, fail and fail once, and repeats each request.
#[tokio::test]
async fn an_event_is_recorded_only_after_its_handler() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let called = |name: &'static str, fails: usize| {
        let calls = calls.clone();
        move |event: Received| {
            let mut calls = calls.lock().unwrap();
            calls.push((name, event.event_type().to_owned()));
            let before = calls.iter().filter(|(called, _)| *called == name).count();
            async move { if before <= fails { Err(StatusCode::IM_A_TEAPOT) } else { Ok(()) } }
        }
    };
    let dispatch = Dispatch::new()
        .on("order.accepted", called("exact", 0))
        .and_then(|it| it.on("order.*", called("pattern", 1)))
        .unwrap()
        .otherwise(called("other", usize::MAX));
    assert!(Dispatch::new().on("order..*", called("never", 0)).is_err());

    let receiver = Receiver::new(verifier(), Utc::now).with_seen(MemorySeen::default());
    let (listener, address) = listen().await;
    let router = Router::new()
        .route(
            "/hook",
            post(move |event: Received| {
                let dispatch = dispatch.clone();
                async move { dispatch.run(event).await }
            }),
        )
        .with_state(receiver);
    tokio::spawn(async move { axum::serve(listener, router).await });

    for (event_type, n, answers, name, times) in [
        ("order.accepted", 1, [204, 204, 204], "exact", 1),
        ("order.cancelled", 2, [418, 204, 204], "pattern", 2),
        ("invoice.paid", 3, [418, 418, 418], "other", 3),
    ] {
        let body = payload(event_type, n);
        for answer in answers {
            assert_eq!(Sent::new(n, body.as_bytes()).to(&address).await, answer, "{event_type}");
        }
        let calls = calls.lock().unwrap();
        let found = calls.iter().filter(|call| **call == (name, event_type.to_owned())).count();
        assert_eq!(found, times, "{name}");
    }
}

/// Sends types that this crate would not publish to a receiver of everything.
#[tokio::test]
async fn everything_is_everything_whatever_it_is_called() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let heard = calls.clone();
    let dispatch = Dispatch::new()
        .on("*", move |event: Received| {
            heard.lock().unwrap().push(event.event_type().to_owned());
            async { Ok::<(), StatusCode>(()) }
        })
        .unwrap();
    let hook = move |event: Received| {
        let dispatch = dispatch.clone();
        async move { dispatch.run(event).await }
    };
    let receiver = Receiver::new(verifier(), Utc::now);
    let address = serve(Router::new().route("/hook", post(hook)).with_state(receiver)).await;
    let types = ["order.accepted", "ping", "a.b.c.d.e.f.g.h.i.j", "Not One-of ours!"];
    for (n, event_type) in (1..).zip(types) {
        let body = payload(event_type, n);
        assert_eq!(Sent::new(n, body.as_bytes()).to(&address).await, 204, "{event_type}");
    }
    assert_eq!(*calls.lock().unwrap(), types);
}

/// Reads every part of an event, typed and raw, and what does not fit.
#[tokio::test]
async fn an_event_is_read_as_it_was_written() {
    let receiver = Receiver::new(verifier(), Utc::now);
    let body = payload("order.accepted", 1);
    let sent = Sent::new(9, body.as_bytes());
    let body = axum::body::Bytes::from(body.clone());
    let event = receiver.receive(&sent.map(), body.clone()).await.unwrap();
    assert_eq!((event.id(), event.event_type()), (&*id(9).to_string(), "order.accepted"));
    assert_eq!(event.timestamp().timestamp(), sent.at.timestamp());
    assert_eq!(event.object().get(), r#"{"id":"order 1","total":29.90}"#);
    assert_eq!(event.data().get(), r#"{"object":{"id":"order 1","total":29.90}}"#);
    assert_eq!((event.body(), event.repeated()), (&body, false));
    event.done().await.unwrap();

    #[derive(serde::Deserialize)]
    struct Order {
        id: String,
    }
    assert_eq!(event.object_as::<Order>().unwrap().id, "order 1");
    let error = event.data_as::<Order>().map(|_| ()).unwrap_err();
    assert!(matches!(error, Rejection::Malformed { .. }) && error.status() == 400, "{error:?}");
    let shown = format!("{event:?} {receiver:?}");
    assert!(!shown.contains("29.90") && !shown.contains(secret().reveal()), "{shown}");

    // A scheme without an id takes that of the payload, and needs one.
    let scheme = SignatureScheme::digital_river();
    let receiver = Receiver::new(Verifier::new(scheme.clone(), [secret()]).unwrap(), Utc::now);
    let sent = Sent { scheme: scheme.clone(), ..Sent::new(9, &body) };
    assert_eq!(receiver.receive(&sent.map(), body.clone()).await.unwrap().id(), id(1).to_string());
    for without in [
        r#"{"type":"a.b","data":{}}"#,
        r#"{"id":"","type":"a.b","data":{}}"#,
        r#"{"id":7,"type":"a.b","data":{}}"#,
        r#"{"id":["a"],"type":"a.b","data":{}}"#,
    ] {
        let sent = Sent { scheme: scheme.clone(), ..Sent::new(9, without.as_bytes()) };
        let error = receiver.receive(&sent.map(), without.into()).await.unwrap_err();
        assert!(matches!(error, Rejection::WithoutId), "{without}: {error:?}");
    }
}

/// Reads payloads with `data` of every kind and without (table).
#[tokio::test]
async fn what_has_no_data_is_its_own() {
    let receiver = Receiver::new(verifier(), Utc::now);
    let whole = r#" {"type":"a.b","object":{"id":"1"},"amount":1}"#;
    for (body, data, object) in [
        (whole, whole.trim_start(), whole.trim_start()),
        (r#"{"type":"a.b"}"#, r#"{"type":"a.b"}"#, r#"{"type":"a.b"}"#),
        (r#"{"type":"a.b","data":null}"#, "null", "null"),
        (r#"{"type":"a.b","data":[1, 2]}"#, "[1, 2]", "[1, 2]"),
        (r#"{"type":"a.b","data":{"a":1}}"#, r#"{"a":1}"#, r#"{"a":1}"#),
        (r#"{"type":"a.b","data":{"object":null}}"#, r#"{"object":null}"#, "null"),
    ] {
        let sent = Sent::new(1, body.as_bytes());
        let event = receiver.receive(&sent.map(), body.into()).await.unwrap();
        assert_eq!((event.data().get(), event.object().get()), (data, object), "{body}");
    }
    #[derive(serde::Deserialize)]
    struct Payment {
        amount: u32,
    }
    let sent = Sent::new(1, whole.as_bytes());
    let event = receiver.receive(&sent.map(), whole.into()).await.unwrap();
    assert_eq!(event.data_as::<Payment>().unwrap().amount, 1);
}

/// Asks a store that fails; the sender is told to try again, and a handled event is acknowledged.
#[tokio::test]
async fn a_store_that_fails_costs_no_event() {
    #[derive(Debug)]
    struct Broken {
        asks: bool,
    }
    #[async_trait]
    impl Seen for Broken {
        async fn seen(&self, _: &str, _: Timestamp) -> tidings::Result<bool> {
            if self.asks {
                Err(tidings::Error::new(ErrorKind::Unavailable, "gone"))
            } else {
                Ok(false)
            }
        }
        async fn record(&self, _: &str, _: Timestamp) -> tidings::Result<()> {
            Err(tidings::Error::new(ErrorKind::Unavailable, "gone"))
        }
    }
    for (asks, expected) in [(true, 503), (false, 204)] {
        let receiver = Receiver::new(verifier(), Utc::now).with_seen(Broken { asks });
        let dispatch = Dispatch::new().on("*", async |_| Ok::<(), StatusCode>(())).unwrap();
        let hook = move |event: Received| {
            let dispatch = dispatch.clone();
            async move { dispatch.run(event).await }
        };
        let address = serve(Router::new().route("/hook", post(hook)).with_state(receiver)).await;
        let body = payload("order.accepted", 1);
        assert_eq!(Sent::new(1, body.as_bytes()).to(&address).await, expected);
    }
}

/// Records more events than fit, and lets the oldest ones age.
#[tokio::test]
async fn memory_is_bounded_by_count_and_age() {
    let now = Timestamp::UNIX_EPOCH;
    let at = |seconds| after(now, Duration::from_secs(seconds));
    let seen = MemorySeen::new(3, Duration::from_secs(10));
    let known = async |id: &str, seconds| seen.seen(id, at(seconds)).await.unwrap();
    for (second, id) in ["a", "b", "a", "c", "d"].into_iter().enumerate() {
        seen.record(id, at(second as u64)).await.unwrap();
    }
    assert!(!known("b", 4).await, "longer ago than the last three");
    for id in ["a", "c", "d"] {
        assert!(known(id, 4).await, "{id}");
    }
    assert!(known("a", 11).await && !known("a", 12).await, "counted from the last time");
    assert!(known("d", 13).await && !known("d", 14).await);
    seen.record("e", at(14)).await.unwrap();
    assert!(known("e", 14).await && !known("c", 14).await);
    let default = MemorySeen::default();
    default.record("a", now).await.unwrap();
    assert!(default.seen("a", at(84 * 3_600)).await.unwrap(), "the last retry");
    assert!(!default.seen("a", at(5 * 86_400)).await.unwrap());
    let none = MemorySeen::new(0, Duration::from_secs(10));
    none.record("a", now).await.unwrap();
    assert!(!none.seen("a", now).await.unwrap());
}
