//! Each kind alone: what is recorded, and that it ends in time.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidings::transport::{HyperTransport, Request, Resolver, Transport};
use tidings::{FailureKind, Outcome};

use crate::behaviour::{Behaviour, CONNECT, Expect, plain};
use crate::receiver::{Answers, Peer, Receiver, options, post};
use crate::secure::{NAME, http2, tls, trusting};

const DEADLINE: Duration = Duration::from_secs(1);
/// Five times what an attempt may take beyond its deadline; as much again four times where all that is logged
/// of a flood is written to a file, too.
fn overrun() -> Duration {
    let times = if std::env::var_os("TIDINGS_TRACE").is_some() { 5 } else { 1 };
    Duration::from_millis(5 * 250) * times
}

fn request(url: &str) -> Request {
    let mut request = post(url, r#"{"note":"for the receiver alone"}"#);
    request.deadline = DEADLINE;
    request
}

/// Sends one request and compares what came of it with what must.
async fn check(
    name: &str,
    expect: Expect,
    transport: &HyperTransport,
    url: &str,
) -> Option<String> {
    let begun = Instant::now();
    let outcome = transport.send(request(url)).await;
    let took = begun.elapsed();
    let shown = format!("{outcome:?}");
    let (outcome, truncated, kept) = match outcome {
        Ok(response) => {
            let outcome = Outcome::Answered { status: response.status, retry_after: None };
            (outcome, response.truncated, response.body.len())
        }
        Err(error) => (Outcome::Unanswered(error.kind()), false, 0),
    };
    if !expect.allows(&outcome, truncated) {
        return Some(format!("{name}: {shown} is not {expect:?}"));
    }
    if took > DEADLINE + overrun() {
        return Some(format!("{name}: took {took:?}"));
    }
    (kept > 16 * 1024).then(|| format!("{name}: kept {kept} bytes"))
}

/// Tries all of these, some at a time, and tells of all that went wrong.
async fn check_all(behaviours: Vec<Behaviour>, secure: bool) {
    let mut problems = Vec::new();
    let mut behaviours = behaviours.into_iter().peekable();
    while behaviours.peek().is_some() {
        let some = behaviours.by_ref().take(6).map(|behaviour| async move {
            let receiver = behaviour.start().await;
            let options = if secure { trusting() } else { options() };
            let options = options.with_connect_timeout(DEADLINE / 2);
            let transport = HyperTransport::new(options).unwrap();
            let port = receiver.address.port();
            let url = if secure { format!("https://{NAME}:{port}/hook") } else { receiver.url() };
            let problem = check(behaviour.name, behaviour.expect, &transport, &url).await;
            if receiver.connections() > 1 {
                return Some(format!("{}: was dialled twice", behaviour.name));
            }
            problem
        });
        problems.extend(futures_util::future::join_all(some).await.into_iter().flatten());
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

/// Sends to each receiver that misbehaves in clear (table, F29, F32 to F36, F38, F39).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_in_clear_is_recorded_and_ends_in_time() {
    check_all(plain(), false).await;
}

/// Sends to each receiver that misbehaves in TLS (table, F30).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_tls_is_recorded_and_ends_in_time() {
    check_all(tls(), true).await;
}

/// Sends to each receiver that misbehaves in HTTP/2 (table, F37).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_http2_is_recorded_and_ends_in_time() {
    check_all(http2(), true).await;
}

/// Dials nobody, a queue that is full, and an address that leads nowhere (table, F29).
#[tokio::test]
async fn nobody_there_is_a_failure_to_connect() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Nobody accepts: when its queue is full, the next one that knocks hears nothing.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut queued = Vec::new();
    for _ in 0..8 {
        let knock = tokio::net::TcpStream::connect(address);
        queued.push(tokio::time::timeout(Duration::from_millis(50), knock).await);
    }
    for (name, address) in [("refuses", closed), ("is a black hole", address)] {
        let options = options().with_connect_timeout(DEADLINE / 2);
        let transport = HyperTransport::new(options).unwrap();
        let url = format!("http://{address}/hook");
        assert_eq!(check(name, CONNECT, &transport, &url).await, None);
    }
}

/// A resolver that never answers, or does after a while.
#[derive(Debug)]
struct Slow(Duration);

#[async_trait::async_trait]
impl Resolver for Slow {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        tokio::time::sleep(self.0).await;
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }
}

/// Looks names up that fail, have no address, or answer late (table, F28).
#[tokio::test]
async fn a_name_that_leads_nowhere_is_a_failure_to_look_up() {
    use Expect::{Answer, Fails};
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let url = format!("http://victim.example:{}/hook", receiver.address.port());
    let missing = |_: &str| Err(std::io::Error::other("NXDOMAIN"));
    let failed = |_: &str| Err(std::io::ErrorKind::TimedOut.into());
    let dns = Fails(&[FailureKind::Dns]);
    let none = |_: &str| Ok(Vec::new());
    let private = |_: &str| Ok(vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, 1])]);
    for (name, expect, options) in [
        ("no such name", dns, options().with_resolver(Answers(missing))),
        ("failed", dns, options().with_resolver(Answers(failed))),
        ("no address", dns, options().with_resolver(Answers(none))),
        (
            "a private one",
            Fails(&[FailureKind::Blocked]),
            options().with_resolver(Answers(private)),
        ),
        (
            "no answer",
            Fails(&[FailureKind::Timeout, FailureKind::Dns]),
            options().with_resolver(Slow(Duration::from_secs(3_600))),
        ),
        ("slow", Answer(200), options().with_resolver(Slow(Duration::from_millis(200)))),
    ] {
        let transport = HyperTransport::new(options).unwrap();
        assert_eq!(check(name, expect, &transport, &url).await, None);
    }
    assert_eq!(receiver.connections(), 1, "the slow one alone");
}

/// Looks up a name with 1,000 addresses, of which the ninth would answer (F28).
#[tokio::test]
async fn of_a_thousand_addresses_eight_are_tried() {
    let answering = Receiver::at("127.0.0.9:0", |mut peer: Peer| async move {
        peer.request().await;
        peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let url = format!("http://victim.example:{}/hook", answering.address.port());
    let first = Arc::new(AtomicUsize::new(1));
    let from = Arc::clone(&first);
    let many = move |_: &str| {
        let first = from.load(Ordering::SeqCst);
        let address = |n: usize| IpAddr::from([127, 0, (n / 250) as u8, (n % 250) as u8]);
        Ok((first..first + 1_000).map(address).collect())
    };
    let transport = HyperTransport::new(options().with_resolver(Answers(many))).unwrap();
    assert_eq!(check("the ninth", CONNECT, &transport, &url).await, None);
    assert_eq!(answering.connections(), 0);
    first.store(2, Ordering::SeqCst);
    assert_eq!(check("the eighth", Expect::Answer(200), &transport, &url).await, None);
}

/// Reads the bytes of requests to a receiver that would send coded bodies (F35).
#[tokio::test]
async fn no_coding_is_ever_asked_for() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let receiver = Receiver::start(move |mut peer: Peer| {
        let seen = Arc::clone(&seen);
        async move {
            let (head, _) = peer.request().await.unwrap();
            seen.lock().unwrap().push(head);
            peer.write(
                b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n\x1f\x8b",
            )
            .await;
        }
    })
    .await;
    let transport = HyperTransport::new(options()).unwrap();
    let response = transport.send(request(&receiver.url())).await.unwrap();
    assert_eq!(&response.body[..], b"\x1f\x8b", "as it came");
    let heads = heads.lock().unwrap();
    assert!(heads[0].contains("accept-encoding: identity\r\n"), "{heads:?}");
}
