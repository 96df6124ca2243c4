//! What is dialled, and what is not.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidings::transport::{HyperOptions, HyperTransport, Transport};
use tidings::{AddressRule, FailureKind, NetworkPolicy};

use crate::lists;
use crate::receiver::{Answers, CEILING, Receiver, options, post, send, transport};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Sends to every spelling of loopback with the default policy and counts connections.
#[tokio::test]
async fn loopback_is_refused_in_every_spelling() {
    let receiver = Receiver::answering(OK).await;
    let port = receiver.address.port();
    let transport = HyperTransport::new(HyperOptions::default()).unwrap();
    for host in [
        "127.0.0.1",
        "0x7f000001",
        "2130706433",
        "127.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "user:hush@127.0.0.1",
        "user:hush@example.com",
    ] {
        let error = send(&transport, &format!("http://{host}:{port}/")).await;
        let error = error.expect_err(host);
        assert_eq!(error.kind(), FailureKind::Blocked, "{host}: {error}");
        assert!(!error.message().contains("hush"), "{error}");
    }
    assert_eq!(receiver.connections(), 0);
}

/// Sends to every URL that the rules refuse, as far as it can be written as a request at all: past
/// parser and registration, to the transport itself.
#[tokio::test]
async fn the_transport_refuses_what_registration_refuses() {
    let lookups = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&lookups);
    let options = HyperOptions::default().with_resolver(Answers(move |name: &str| {
        asked.lock().unwrap().push(name.to_owned());
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    }));
    let transport = HyperTransport::new(options).unwrap();
    let mut sent = 0;
    for (rule, text) in lists::refused() {
        // Text is the parser's affair, and a request has no fragment.
        let Ok(uri) = text.parse::<http::Uri>() else { continue };
        if rule == AddressRule::Text || text.contains('#') || uri.host().is_none() {
            continue;
        }
        let error = send(&transport, &text).await.expect_err(&text);
        assert_eq!(error.kind(), FailureKind::Blocked, "{text}: {error}");
        let lookups = std::mem::take(&mut *lookups.lock().unwrap());
        assert!(lookups.is_empty(), "{text} had {lookups:?} looked up");
        sent += 1;
    }
    assert!(sent > 250, "{sent}");
}

/// Resolves a public name to lists with one bad address in any place and counts connections.
#[tokio::test]
async fn one_bad_address_refuses_all_of_them() {
    let receiver = Receiver::answering(OK).await;
    let port = receiver.address.port();
    let good = IpAddr::from(Ipv4Addr::LOCALHOST);
    for bad in ["10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fd00::1"] {
        let bad: IpAddr = bad.parse().unwrap();
        for answer in
            [vec![bad], vec![good, bad], vec![bad, good], [vec![good; 20], vec![bad]].concat()]
        {
            let network = NetworkPolicy::public_only().allow("127.0.0.0/8".parse().unwrap());
            let options = HyperOptions::default()
                .with_network(network)
                .with_resolver(Answers(move |_: &str| Ok(answer.clone())));
            let transport = HyperTransport::new(options).unwrap();
            let url = format!("http://hooks.example:{port}/");
            let error = send(&transport, &url).await.expect_err("dialled");
            assert_eq!(error.kind(), FailureKind::Blocked, "{error}");
            assert!(error.message().ends_with("(rule R5: address)"), "{error}");
            assert!(!error.message().contains(&bad.to_string()), "{error} tells the address");
        }
    }
    assert_eq!(receiver.connections(), 0);
}

/// Alternates the answers of 1,000 look-ups between an allowed and a refused address.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_name_that_changes_its_address_never_leads_inside() {
    let outer = Receiver::answering(OK).await;
    let port = outer.address.port();
    let inner = Receiver::at(&format!("127.0.0.2:{port}"), |_| async {}).await;
    let lookups = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lookups);
    let options = HyperOptions::default()
        .with_network(NetworkPolicy::public_only().allow("127.0.0.1/32".parse().unwrap()))
        .with_idle_connections_per_host(0)
        .with_resolver(Answers(move |_: &str| {
            let last = 1 + count.fetch_add(1, Ordering::SeqCst) % 2;
            Ok(vec![format!("127.0.0.{last}").parse().unwrap()])
        }));
    let transport = HyperTransport::new(options).unwrap();
    let url = format!("http://hooks.example:{port}/");
    let (mut sent, mut blocked) = (0, 0);
    for _ in 0..1_000 {
        match send(&transport, &url).await {
            Ok(response) => sent += usize::from(response.status == 200),
            Err(error) => blocked += usize::from(error.kind() == FailureKind::Blocked),
        }
    }
    assert_eq!((sent, blocked), (500, 500));
    assert_eq!(lookups.load(Ordering::SeqCst), 1_000);
    assert_eq!((outer.connections(), inner.connections()), (500, 0));
}

/// Lets a private name resolve into and out of the allowed networks.
#[tokio::test]
async fn a_private_name_needs_an_allowed_network() {
    let receiver = Receiver::answering(OK).await;
    let port = receiver.address.port();
    let url = format!("http://localhost:{port}/");
    let inside = options().with_resolver(Answers(|_: &str| Ok(vec![Ipv4Addr::LOCALHOST.into()])));
    let inside = HyperTransport::new(inside).unwrap();
    assert_eq!(send(&inside, &url).await.unwrap().status, 200);
    let outside =
        options().with_resolver(Answers(|_: &str| Ok(vec![Ipv4Addr::new(8, 8, 8, 8).into()])));
    let outside = HyperTransport::new(outside).unwrap();
    let error = send(&outside, &url).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Blocked, "{error}");
}

/// Gives the system's resolver the one name that every system has.
#[tokio::test]
async fn the_systems_resolver_is_asked() {
    let receiver = Receiver::answering(OK).await;
    let url = format!("http://localhost:{}/", receiver.address.port());
    assert_eq!(send(&transport(), &url).await.unwrap().status, 200);
}

/// Lets look-ups fail, answer nothing, and name a closed address before the open one.
#[tokio::test]
async fn look_ups_and_dials_fail_with_their_kinds() {
    let receiver = Receiver::answering(OK).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed_port = closed.local_addr().unwrap().port();
    drop(closed);
    let url = |port: u16| format!("http://hooks.example:{port}/");

    let failing =
        options().with_resolver(Answers(|_: &str| Err(std::io::Error::other("no such\r\nname"))));
    let error = send(&HyperTransport::new(failing).unwrap(), &url(80)).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Dns);
    assert!(error.message().ends_with(r"no such\r\nname"), "{error}");

    let empty = options().with_resolver(Answers(|_: &str| Ok(Vec::new())));
    let error = send(&HyperTransport::new(empty).unwrap(), &url(80)).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Dns);

    let error = send(&transport(), &format!("http://127.0.0.1:{closed_port}/")).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Connect);

    if cfg!(target_os = "linux") {
        let second = options().with_resolver(Answers(|_: &str| {
            Ok(vec![Ipv4Addr::new(127, 0, 0, 9).into(), Ipv4Addr::LOCALHOST.into()])
        }));
        let second = HyperTransport::new(second).unwrap();
        let response = send(&second, &url(receiver.address.port())).await.unwrap();
        assert_eq!(response.status, 200);
    }
}

/// Hangs in the look-up and waits for the deadline.
#[tokio::test]
async fn the_deadline_covers_the_look_up() {
    #[derive(Debug)]
    struct Hangs;
    #[async_trait::async_trait]
    impl tidings::transport::Resolver for Hangs {
        async fn resolve(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
            std::future::pending().await
        }
    }
    let transport = HyperTransport::new(options().with_resolver(Hangs)).unwrap();
    let mut request = post("http://hooks.example/", "");
    request.deadline = Duration::from_millis(50);
    let error = tokio::time::timeout(CEILING, transport.send(request)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), FailureKind::Timeout);
    assert!(error.message().contains("looking up"), "{error}");
}

/// Requires https and sends to http.
#[tokio::test]
async fn https_can_be_required() {
    let receiver = Receiver::answering(OK).await;
    let network = NetworkPolicy::public_only().allow_loopback().require_https(true);
    let transport = HyperTransport::new(HyperOptions::default().with_network(network)).unwrap();
    let error = send(&transport, &receiver.url()).await.unwrap_err();
    assert_eq!((error.kind(), receiver.connections()), (FailureKind::Blocked, 0));
}

/// Allows one port and sends to another.
#[tokio::test]
async fn ports_can_be_limited() {
    let receiver = Receiver::answering(OK).await;
    let port = receiver.address.port();
    let sent = |ports: [u16; 1]| {
        let network = NetworkPolicy::public_only().allow_loopback().only_ports(ports);
        let transport = HyperTransport::new(HyperOptions::default().with_network(network)).unwrap();
        let url = receiver.url();
        async move { send(&transport, &url).await }
    };
    let error = sent([443]).await.unwrap_err();
    assert_eq!((error.kind(), receiver.connections()), (FailureKind::Blocked, 0));
    assert!(error.message().ends_with("(rule R4: port)"), "{error}");
    assert_eq!(sent([port]).await.unwrap().status, 200);
}

/// Redirects by each code to four kinds of places, and by four odd headers, and counts what reaches
/// the target and the redirector again.
#[tokio::test]
async fn nothing_that_an_answer_names_is_visited() {
    let target = Receiver::answering(OK).await;
    let transport = transport();
    let address = target.address;
    let locations = [
        format!("http://{address}/inner"),
        format!("//{address}/inner"),
        "/again".to_owned(),
        "http://169.254.169.254/latest/".to_owned(),
    ];
    let redirects = (300..=308)
        .flat_map(|status| locations.iter().map(move |to| (status, "location", to.clone())));
    let odd = [
        (200, "refresh", format!("0; url=http://{address}/")),
        (200, "alt-svc", format!("h2=\"{address}\"; ma=86400")),
        (201, "location", format!("http://{address}/")),
        (200, "link", format!("<http://{address}/>; rel=preload")),
    ];
    let mut answers = 0;
    for (status, header, value) in redirects.chain(odd) {
        let text = format!("HTTP/1.1 {status} A\r\n{header}: {value}\r\ncontent-length: 0\r\n\r\n");
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        let receiver = Receiver::start(move |mut peer| {
            let (text, count) = (text.clone(), Arc::clone(&count));
            async move {
                while peer.request().await.is_some() {
                    count.fetch_add(1, Ordering::SeqCst);
                    peer.write(text.as_bytes()).await;
                }
            }
        })
        .await;
        // Twice: what an answer says must not move the next request either.
        for _ in 0..2 {
            assert_eq!(send(&transport, &receiver.url()).await.unwrap().status, status);
        }
        assert_eq!(requests.load(Ordering::SeqCst), 2, "{status} {header}: {value}");
        answers += 1;
    }
    assert_eq!((answers, target.connections()), (40, 0));
}

/// Starts itself again with proxies in the environment: four variables in both spellings.
#[test]
fn proxies_of_the_environment_are_ignored() {
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = proxy.local_addr().unwrap();
    proxy.set_nonblocking(true).unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "addresses::child_sends_past_proxies", "--ignored"]);
    for name in ["http_proxy", "https_proxy", "all_proxy", "socks_proxy"] {
        child.env(name, format!("http://{address}"));
        child.env(name.to_uppercase(), format!("http://{address}"));
    }
    let output = child.env("no_proxy", "").env("NO_PROXY", "").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    assert!(proxy.accept().is_err(), "the proxy was dialled");
}

/// The child of the test above: sends and expects the receiver itself to answer.
#[tokio::test]
#[ignore = "a part of proxies_of_the_environment_are_ignored"]
async fn child_sends_past_proxies() {
    let receiver = Receiver::answering(OK).await;
    assert_eq!(send(&transport(), &receiver.url()).await.unwrap().status, 200);
    assert_eq!(receiver.connections(), 1);
}
