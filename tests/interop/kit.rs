//! What the tests share: real deliveries over sockets, the requests that they make, and ways to spoil
//! them.

use std::time::Duration;

use tidings::storage::MemoryStorage;
use tidings::transport::{HyperOptions, HyperTransport};
use tidings::{
    Change, DeliveryQuery, Edit, EventId, HeaderName, NetworkPolicy, PageRequest, Registration,
    Secret, Secrets, SignatureScheme, StateKind, Tidings, Timestamp, Verifier, VerifyError,
    signature,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Long enough for a loaded machine; nothing waits for it when all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A request as it came over a socket.
#[derive(Debug, Clone)]
pub struct Post {
    /// Its headers, with names as they were written.
    pub headers: Vec<(String, String)>,
    /// Its body's bytes.
    pub body: Vec<u8>,
}

impl Post {
    /// Our own verdict.
    pub fn verify(&self, verifier: &Verifier, now: Timestamp) -> Result<(), VerifyError> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        verifier.verify(headers, &self.body, now).map(drop)
    }

    /// The headers as the `http` crate has them.
    pub fn header_map(&self) -> http::HeaderMap {
        let pairs = self.headers.iter().map(|(name, value)| {
            (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())
        });
        pairs.collect()
    }

    /// One signed by us, of any body, at any time.
    pub fn signed(scheme: &SignatureScheme, secret: &Secret, body: &[u8], at: Timestamp) -> Self {
        let id = EventId::new(at, &[5; 10]);
        let secrets = Secrets::new(secret.clone(), at);
        let schemes = [scheme.clone()];
        let headers = signature::sign(&schemes, &secrets, id, body, at);
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { headers, body: body.to_vec() }
    }

    fn with(&self, name: &str, change: impl Fn(&str) -> String) -> Self {
        let mut post = self.clone();
        for (found, value) in &mut post.headers {
            if found.eq_ignore_ascii_case(name) {
                *value = change(value);
            }
        }
        post
    }

    /// Reads one request from a connection and answers it.
    pub async fn read(stream: &mut TcpStream, status: u16) -> Self {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
                break end;
            }
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "the head ended early");
        };
        let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
        let headers: Vec<_> = text
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.map_or(0, |(_, length)| length.parse().unwrap());
        let mut body = bytes.split_off(head + 4);
        while body.len() < length {
            assert!(stream.read_buf(&mut body).await.unwrap() > 0, "the body ended early");
        }
        let answer =
            format!("HTTP/1.1 {status} .\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        Self { headers, body }
    }

    /// Sends it, and reads the status of the answer.
    pub async fn send(&self, address: &str) -> u16 {
        let mut head = format!(
            "POST /hook HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
            self.body.len()
        );
        for (name, value) in &self.headers {
            let kept = ["host", "connection", "content-length", "transfer-encoding"];
            if !kept.contains(&name.to_ascii_lowercase().as_str()) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        stream.write_all(&self.body).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap().parse().unwrap()
    }
}

/// Requests that are not what was signed, each with what was done to it. All libraries refuse them.
pub fn spoilt(good: &Post, scheme: &SignatureScheme, secret: &Secret) -> Vec<(&'static str, Post)> {
    let now = good_time(good);
    let other = match secret.is_asymmetric() {
        true => Secret::asymmetric_from_random(&[77; 32]),
        false => Secret::from_random(&[77; 32]),
    };
    let hour = Duration::from_secs(3_600);
    let mut body = good.clone();
    let last = body.body.len() - 2;
    body.body[last] ^= 1;
    let mut longer = good.clone();
    longer.body.push(b' ');
    let mut found = vec![
        ("a changed body", body),
        ("a longer body", longer),
        ("another secret", Post::signed(scheme, &other, &good.body, now)),
        ("an old one", Post::signed(scheme, secret, &good.body, tidings::time::before(now, hour))),
    ];
    let names: Vec<_> = scheme.header_names().map(str::to_owned).collect();
    for name in &names {
        let mut without = good.clone();
        without.headers.retain(|(found, _)| !found.eq_ignore_ascii_case(name));
        found.push(("a header less", without));
        found.push(("an empty header", good.with(name, |_| String::new())));
    }
    // Nearer to the end of the value than any label: a digit of a code, of an id or of a time.
    let digit = |value: &str| {
        let at = value.len() - 6;
        let other = if value[at..].starts_with('1') { "2" } else { "1" };
        format!("{}{other}{}", &value[..at], &value[at + 1..])
    };
    found.extend(names.iter().map(|name| ("another digit", good.with(name, digit))));
    let signatures = &names[names.len() - 1];
    let half = |value: &str| value[..value.len() - 12].to_owned();
    found.push(("a cut signature", good.with(signatures, half)));
    let version = |value: &str| value.replace("v1", "v2");
    if good.with(signatures, version).headers != good.headers {
        found.push(("another version", good.with(signatures, version)));
    }
    found
}

fn good_time(good: &Post) -> Timestamp {
    let value =
        |name: &str| good.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
    let seconds = value("webhook-timestamp").map(|(_, value)| value.clone()).unwrap_or_else(|| {
        let value = &value("Stripe-Signature").unwrap().1;
        value.strip_prefix("t=").unwrap().split(',').next().unwrap().to_owned()
    });
    Timestamp::from_timestamp(seconds.parse().unwrap(), 0).unwrap()
}

/// The `t=…,v1=…` form, under the name that its libraries know.
pub fn timestamped_hex() -> SignatureScheme {
    SignatureScheme::TimestampedHex { header: HeaderName::parse("Stripe-Signature").unwrap() }
}

/// Publishes an event and has it delivered over a socket to `address`. Whether the answer was a good
/// one.
pub async fn deliver(address: &str, scheme: &SignatureScheme, secret: &Secret) -> bool {
    let network = NetworkPolicy::public_only().allow_loopback();
    let tidings = Tidings::builder(MemoryStorage::new()).network(network.clone()).build();
    let edit = Edit::new().schemes([scheme.clone()]);
    let registration = Registration::new(&format!("http://{address}/hook"), ["order.*"]).unwrap();
    let registration = registration.with(edit).secret(secret.clone()).enabled(true);
    tidings.create(registration).await.unwrap();
    let transport = HyperTransport::new(HyperOptions::default().with_network(network)).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let dispatcher = tidings.dispatcher(transport).unwrap();
    let running = tokio::spawn(dispatcher.run(async {
        let _ = stopped.await;
    }));
    let order =
        serde_json::json!({ "id": "247468780336", "name": "Zoë \u{1F4E6}\n", "total": 29.90 });
    let event = tidings.event(Change::of("order.accepted", &order).unwrap()).unwrap();
    tidings.publish(&event).await.unwrap();
    let tried = timeout(PATIENCE, async {
        loop {
            let all = (DeliveryQuery::default(), PageRequest::default());
            let page = tidings.deliveries(&all.0, &all.1).await.unwrap();
            let delivery = page.items.into_iter().next();
            if let Some(delivery) = delivery.filter(|it| !it.attempts.is_empty()) {
                break delivery.delivery.state.kind() == StateKind::Delivered;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let delivered = tried.await.expect("an attempt");
    stop.send(()).unwrap();
    running.await.unwrap();
    delivered
}

/// The request that a real delivery makes.
pub async fn captured(scheme: &SignatureScheme, secret: &Secret) -> Post {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let taken = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        Post::read(&mut stream, 204).await
    });
    assert!(deliver(&address, scheme, secret).await);
    taken.await.unwrap()
}
