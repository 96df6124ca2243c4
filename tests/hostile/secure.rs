//! Hostile receivers behind TLS: bad certificates, bad handshakes, and HTTP/2 by hand.

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use futures_util::FutureExt;
use rcgen::{CertificateParams, KeyPair};
use tidings::transport::HyperOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::authority::{self, Authority};
use crate::behaviour::{Behaviour, End, Expect, FLOOD, PROTOCOL, Script, TIMEOUT, TLS};
use crate::receiver::{Answers, options};

/// The name that all of them have.
pub(crate) const NAME: &str = "hooks.example";

/// The authority that is trusted.
static OURS: LazyLock<Authority> = LazyLock::new(Authority::new);

/// Options that trust the authority and find every name on loopback.
pub(crate) fn trusting() -> HyperOptions {
    trusting_in(root())
}

/// The authority's certificate.
pub(crate) fn root() -> Vec<u8> {
    OURS.0.der().to_vec()
}

/// Options that trust the holder of this certificate, and find every name on loopback.
pub(crate) fn trusting_in(root: Vec<u8>) -> HyperOptions {
    options()
        .with_root_certificate(root)
        .with_resolver(Answers(|_: &str| Ok(vec![Ipv4Addr::LOCALHOST.into()])))
}

enum Signer {
    Ours,
    Theirs,
    Own,
}

fn acceptor(signer: &Signer, name: &str, expired: bool, protocols: &[&str]) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    }
    let certificate = match signer {
        Signer::Ours => params.signed_by(&key, &OURS.0).unwrap(),
        Signer::Theirs => params.signed_by(&key, &Authority::new().0).unwrap(),
        Signer::Own => params.self_signed(&key).unwrap(),
    };
    authority::acceptor((certificate, key), None, protocols)
}

/// Plays a script behind TLS, if the handshake succeeds.
fn behind(name: &'static str, expect: Expect, acceptor: TlsAcceptor, script: Script) -> Behaviour {
    Behaviour::new(name, expect, move |peer| {
        let (acceptor, script) = (acceptor.clone(), script.clone());
        async move {
            if let Ok(mut stream) = acceptor.accept(peer.stream).await {
                script.play(&mut stream).await;
                // Dropped without close_notify.
            }
        }
        .boxed()
    })
}

/// Answers the beginning of a handshake with these bytes, and looks for what must not come in clear.
fn raw(name: &'static str, answer: &'static [u8], end: End) -> Behaviour {
    Behaviour::new(name, TLS, move |peer| {
        async move {
            let mut stream = peer.stream;
            let mut read = vec![0; 4096];
            let bytes = stream.read(&mut read).await.unwrap_or(0);
            let _ = stream.write_all(answer).await;
            if end == End::Reset {
                let _ = stream.set_zero_linger();
                return;
            }
            read.truncate(bytes);
            if end == End::Hang {
                let _ = stream.read_to_end(&mut read).await;
            }
            let clear = read.windows(5).any(|five| five == b"/hook" || five == b"POST ");
            assert!(!clear, "a request in clear");
        }
        .boxed()
    })
}

/// Faults of TLS (F30).
pub(crate) fn tls() -> Vec<Behaviour> {
    use Signer::{Ours, Own, Theirs};
    const ALPN: &[&str] = &["http/1.1"];
    let fine = || Script::new("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let sound = || acceptor(&Ours, NAME, false, ALPN);
    vec![
        behind("has an expired certificate", TLS, acceptor(&Ours, NAME, true, ALPN), fine()),
        behind("has another's name", TLS, acceptor(&Ours, "other.example", false, ALPN), fine()),
        behind("has signed its own certificate", TLS, acceptor(&Own, NAME, false, ALPN), fine()),
        behind("has a stranger's signature", TLS, acceptor(&Theirs, NAME, false, ALPN), fine()),
        raw(
            "speaks TLS 1.0 alone",
            // A ServerHello of 1.0 with TLS_RSA_WITH_AES_128_CBC_SHA.
            b"\x16\x03\x01\0\x2a\x02\0\0\x26\x03\x01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\0\0\x2f\0",
            End::Hang,
        ),
        raw("refuses the version", b"\x15\x03\x01\0\x02\x02\x46", End::Close),
        raw("refuses the handshake", b"\x15\x03\x03\0\x02\x02\x28", End::Close),
        raw("stalls in the handshake", b"", End::Hang),
        raw("stalls within a record", b"\x16\x03\x03\x40\0\x02", End::Hang),
        raw("closes in the handshake", b"", End::Close),
        raw("resets in the handshake", b"", End::Reset),
        raw("answers in clear", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", End::Close),
        raw(
            "asks for plain HTTP",
            b"HTTP/1.1 307 Go\r\nlocation: http://hooks.example/\r\n\r\n",
            End::Hang,
        ),
        behind(
            "is cut within the body without close_notify",
            Expect::Truncated(200),
            sound(),
            Script::new("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"),
        ),
        behind(
            "is cut after a body of unknown length without close_notify",
            Expect::Truncated(200),
            sound(),
            Script::new("HTTP/1.1 200 OK\r\n\r\nab"),
        ),
        behind("is cut before the answer", PROTOCOL_OR_TLS, sound(), Script::new("")),
        behind("hangs behind TLS", TIMEOUT, sound(), Script::new("").end(End::Hang)),
        behind(
            "floods behind TLS",
            Expect::Truncated(200),
            sound(),
            Script::new("HTTP/1.1 200 OK\r\n\r\n").flood("a"),
        ),
    ]
}

const PROTOCOL_OR_TLS: Expect =
    Expect::Fails(&[tidings::FailureKind::Protocol, tidings::FailureKind::Tls]);

// --- HTTP/2 --------------------------------------------------------------------------------------

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `:status: 200` of the static table.
const STATUS_200: &[u8] = &[0x88];

/// Plays frames after the settings.
fn h2(
    name: &'static str,
    expect: Expect,
    begin: &[Vec<u8>],
    script: fn(Script) -> Script,
) -> Behaviour {
    let mut bytes = frame(SETTINGS, 0, 0, &[]);
    bytes.extend(frame(SETTINGS, 1, 0, &[]));
    bytes.extend(begin.concat());
    h2_raw(name, expect, bytes, script)
}

fn h2_raw(
    name: &'static str,
    expect: Expect,
    bytes: Vec<u8>,
    script: fn(Script) -> Script,
) -> Behaviour {
    let acceptor = acceptor(&Signer::Ours, NAME, false, &["h2"]);
    let script = script(Script::new(bytes).end(End::Hang));
    Behaviour::new(name, expect, move |peer| {
        let (acceptor, script) = (acceptor.clone(), script.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(peer.stream).await else { return };
            if !asked(&mut stream).await {
                return;
            }
            let (mut reader, mut writer) = tokio::io::split(stream);
            let drain = async {
                let mut some = [0; 4096];
                while reader.read(&mut some).await.is_ok_and(|bytes| bytes > 0) {}
            };
            let play = async {
                let Script { begin, repeat, times, .. } = script;
                if writer.write_all(&begin).await.is_err() {
                    return;
                }
                for _ in 0..times {
                    if writer.write_all(&repeat).await.is_err() {
                        return;
                    }
                }
                let _ = writer.flush().await;
                if script.end == End::Hang {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! { () = drain => {}, () = play => {} }
        }
        .boxed()
    })
}

/// Reads the preface, and frames until there is a request. Whether it came.
async fn asked(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut bytes = [0; 24];
    let mut read = stream.read_exact(&mut bytes).await;
    while read.is_ok() {
        let mut head = [0; 9];
        read = stream.read_exact(&mut head).await;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        if read.is_ok() {
            read = stream.read_exact(&mut payload).await;
        }
        if read.is_ok() && head[3] == HEADERS {
            return true;
        }
    }
    false
}

/// Faults of HTTP/2 (F37).
pub(crate) fn http2() -> Vec<Behaviour> {
    let hangs = |script| script;
    let headers = frame(HEADERS, END_HEADERS, 1, STATUS_200);
    vec![
        h2("hangs after its settings", TIMEOUT, &[], hangs),
        h2("resets the stream", PROTOCOL, &[frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])], hangs),
        h2("resets rapidly", FLOOD, &[], |script| {
            script.flood(frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]))
        }),
        h2("resets streams that are not there", FLOOD, &[], |script| {
            script.flood(frame(RST_STREAM, 0, 9, &[0, 0, 0, 8]))
        }),
        h2("continues a head without end", FLOOD, &[frame(HEADERS, 0, 1, STATUS_200)], |script| {
            script.flood(frame(CONTINUATION, 0, 1, &[]))
        }),
        h2(
            "continues a head of much without end",
            FLOOD,
            &[frame(HEADERS, 0, 1, STATUS_200)],
            |script| script.flood(frame(CONTINUATION, 0, 1, b"\0\x01a\x01b")),
        ),
        h2_raw("opens no window", TIMEOUT, frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]), hangs),
        h2("floods with settings", FLOOD, &[], |script| {
            script.flood(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]))
        }),
        h2("floods with pings", FLOOD, &[], |script| script.flood(frame(PING, 0, 0, &[7; 8]))),
        h2("floods with answers to pings", FLOOD, &[], |script| {
            script.flood(frame(PING, 1, 0, &[7; 8]))
        }),
        h2("floods with empty frames", FLOOD, &[], |script| script.flood(frame(0xee, 0, 0, &[]))),
        h2("goes away", PROTOCOL, &[frame(GOAWAY, 0, 0, &[0; 8])], |script| script.end(End::Close)),
        h2("goes away and stays", FLOOD, &[frame(GOAWAY, 0, 0, &[0; 8])], hangs),
        h2(
            "sends a bomb of headers",
            FLOOD,
            &[frame(
                HEADERS,
                END_HEADERS,
                1,
                // An entry of 4,000 bytes, and 12,000 references to it.
                &[STATUS_200, &[0x40, 1, b'a', 0x7f, 0xa1, 0x1e], &[b'b'; 4_000], &[0xbe; 12_000]]
                    .concat(),
            )],
            hangs,
        ),
        h2_raw("speaks junk", PROTOCOL, vec![0x5a; 4096], hangs),
        h2_raw("speaks HTTP/1.1", PROTOCOL, b"HTTP/1.1 200 OK\r\n\r\n".repeat(9), hangs),
        h2_raw(
            "begins a frame of 16 MB",
            PROTOCOL,
            b"\xff\xff\xff\0\0\0\0\0\x01".to_vec(),
            |script| script.flood("a"),
        ),
        h2("sends a body before the head", PROTOCOL, &[frame(DATA, 0, 1, b"a")], hangs),
        h2("pushes", PROTOCOL, &[frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02\x88")], hangs),
        h2(
            "opens a window beyond all numbers",
            PROTOCOL,
            &[frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])],
            hangs,
        ),
        h2("sends 103 without end over HTTP/2", FLOOD, &[], |script| {
            script.flood(frame(HEADERS, END_HEADERS, 1, b"\x08\x03103"))
        }),
        h2(
            "sends a body without end over HTTP/2",
            Expect::Truncated(200),
            std::slice::from_ref(&headers),
            |script| script.flood(frame(DATA, 0, 1, &[b'a'; 1024])),
        ),
        h2(
            "sends empty pieces of a body without end",
            Expect::TruncatedOr(200, tidings::FailureKind::Protocol),
            std::slice::from_ref(&headers),
            |script| script.flood(frame(DATA, 0, 1, &[])),
        ),
        h2(
            "resets within the body over HTTP/2",
            Expect::Truncated(200),
            &[headers, frame(DATA, 0, 1, b"ab"), frame(RST_STREAM, 0, 1, &[0, 0, 0, 2])],
            hangs,
        ),
    ]
}
