//! What hostile receivers do, as values: a script of bytes, and what must be recorded of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidings::{FailureKind, Outcome};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::receiver::{Peer, Receiver};

/// What must be recorded.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expect {
    /// The status, whether or not the body was read whole.
    Answer(u16),
    /// The status, and that the body broke off.
    Truncated(u16),
    /// The status and a broken body, or this failure where the flood is noticed before the head is taken.
    TruncatedOr(u16, FailureKind),
    /// No answer, for one of these reasons.
    Fails(&'static [FailureKind]),
}

pub(crate) const PROTOCOL: Expect = Expect::Fails(&[FailureKind::Protocol]);
pub(crate) const TIMEOUT: Expect = Expect::Fails(&[FailureKind::Timeout]);
pub(crate) const CUT: Expect = Expect::Fails(&[FailureKind::Connect, FailureKind::Protocol]);
pub(crate) const CONNECT: Expect = Expect::Fails(&[FailureKind::Connect]);
pub(crate) const TLS: Expect = Expect::Fails(&[FailureKind::Tls]);
/// A flood may be noticed as one, or go on until the deadline.
pub(crate) const FLOOD: Expect = Expect::Fails(&[FailureKind::Protocol, FailureKind::Timeout]);

impl Expect {
    /// Whether this outcome, with this flag of the body, is right.
    pub(crate) fn allows(self, outcome: &Outcome, truncated: bool) -> bool {
        match (self, outcome) {
            (Self::Answer(expected), Outcome::Answered { status, .. }) => expected == *status,
            (Self::Truncated(expected), Outcome::Answered { status, .. }) => {
                expected == *status && truncated
            }
            (Self::TruncatedOr(expected, _), Outcome::Answered { status, .. }) => {
                expected == *status && truncated
            }
            (Self::TruncatedOr(_, expected), Outcome::Unanswered(kind)) => expected == *kind,
            (Self::Fails(kinds), Outcome::Unanswered(kind)) => kinds.contains(kind),
            _ => false,
        }
    }
}

/// Serves one connection.
pub(crate) type Serve = Arc<dyn Fn(Peer) -> BoxFuture<'static, ()> + Send + Sync>;

/// One kind of hostile receiver.
#[derive(Clone)]
pub(crate) struct Behaviour {
    pub(crate) name: &'static str,
    pub(crate) expect: Expect,
    pub(crate) serve: Serve,
}

impl Behaviour {
    pub(crate) fn new(
        name: &'static str,
        expect: Expect,
        serve: impl Fn(Peer) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        Self { name, expect, serve: Arc::new(serve) }
    }

    fn scripted(name: &'static str, expect: Expect, script: Script) -> Self {
        Self::new(name, expect, move |peer| {
            let script = script.clone();
            async move { script.play(peer.stream).await }.boxed()
        })
    }

    pub(crate) async fn start(&self) -> Receiver {
        let serve = Arc::clone(&self.serve);
        Receiver::start(move |peer| serve(peer)).await
    }
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Close,
    /// By closing with bytes unread, or as fast as a flood is cut off.
    Reset,
    Hang,
}

/// What is written after the request was read, or before.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) reads: bool,
    pub(crate) begin: Vec<u8>,
    /// A pause after each byte of the beginning.
    pub(crate) drips: bool,
    pub(crate) repeat: Vec<u8>,
    pub(crate) times: usize,
    pub(crate) pause: Duration,
    pub(crate) end: End,
}

impl Script {
    pub(crate) fn new(begin: impl Into<Vec<u8>>) -> Self {
        Self {
            reads: true,
            begin: begin.into(),
            drips: false,
            repeat: Vec::new(),
            times: 0,
            pause: Duration::ZERO,
            end: End::Close,
        }
    }

    /// Repeats these bytes for ever, in large pieces.
    pub(crate) fn flood(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.repeat = bytes.repeat((16 * 1024 / bytes.len()).max(1));
        self.times = usize::MAX;
        self
    }

    /// Repeats these bytes for ever with a pause.
    pub(crate) fn drip(mut self, bytes: &str) -> Self {
        self.repeat = bytes.into();
        self.times = usize::MAX;
        self.pause = Duration::from_millis(20);
        self
    }

    pub(crate) fn times(mut self, bytes: impl Into<Vec<u8>>, times: usize) -> Self {
        self.repeat = bytes.into();
        self.times = times;
        self
    }

    pub(crate) fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    pub(crate) async fn play<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) {
        if self.reads {
            let mut some = [0; 4096];
            let _ = stream.read(&mut some).await;
        }
        if self.drips {
            for byte in &self.begin {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                let _ = stream.flush().await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        } else if stream.write_all(&self.begin).await.is_err() {
            return;
        }
        let _ = stream.flush().await;
        for _ in 0..self.times {
            if stream.write_all(&self.repeat).await.is_err() {
                return;
            }
            let _ = stream.flush().await;
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
        }
        if self.end == End::Hang {
            let mut some = [0; 4096];
            while stream.read(&mut some).await.is_ok_and(|bytes| bytes > 0) {}
        }
    }
}

/// Writes the beginning, then resets the connection.
fn resets(name: &'static str, expect: Expect, reads: bool, begin: &'static str) -> Behaviour {
    Behaviour::new(name, expect, move |peer| {
        async move {
            let mut stream = peer.stream;
            if reads {
                let mut some = [0; 4096];
                let _ = stream.read(&mut some).await;
            }
            let _ = stream.write_all(begin.as_bytes()).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = stream.set_zero_linger();
        }
        .boxed()
    })
}

const OK: &str = "HTTP/1.1 200 OK\r\n";
/// An answer that is right, from one who closes: the next request would go into a closed connection.
const LAST: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// All that can be done in clear over HTTP/1.1.
pub(crate) fn plain() -> Vec<Behaviour> {
    use Expect::{Answer, Truncated};
    let say = |name, expect, text: &str| Behaviour::scripted(name, expect, Script::new(text));
    let script = Behaviour::scripted;
    let ok = |rest: &str| Script::new(format!("{OK}{rest}"));
    let early = |script: Script| Script { reads: false, ..script };
    let bomb = |name, coding: &str| {
        let head = format!("content-encoding: {coding}\r\ncontent-length: 10485760\r\n\r\n");
        script(name, Truncated(200), ok(&head).flood([0x1f, 0x8b, 8, 0]))
    };
    vec![
        // F32, F29: silence.
        script("accepts and says nothing", TIMEOUT, Script::new("").end(End::Hang)),
        script("says nothing and reads nothing", TIMEOUT, early(Script::new("").drip(""))),
        // F33: one byte after the other.
        script(
            "drips the status line",
            TIMEOUT,
            Script { drips: true, ..Script::new(OK.repeat(9)).end(End::Hang) },
        ),
        script("drips one header", TIMEOUT, ok("x-drip: ").drip("a")),
        script("drips headers", TIMEOUT, ok("").drip("a: b\r\n")),
        script("drips the body", Truncated(200), ok("content-length: 9999\r\n\r\n").drip("a")),
        script("drips chunks", Truncated(200), Script::new(CHUNKED).drip("1\r\na\r\n")),
        // F34: no end.
        script("sends a body without end", Truncated(200), ok("\r\n").flood("a")),
        script(
            "announces 10 GB and sends them",
            Truncated(200),
            ok("content-length: 10737418240\r\n\r\n").flood("a"),
        ),
        script(
            "announces 10 GB and hangs",
            Truncated(200),
            ok("content-length: 10737418240\r\n\r\n").end(End::Hang),
        ),
        script(
            "sends chunks without end",
            Truncated(200),
            Script::new(CHUNKED).flood("1\r\na\r\n"),
        ),
        script(
            "sends a chunk extension without end",
            Truncated(200),
            Script::new(format!("{CHUNKED}5;")).flood("a"),
        ),
        script(
            "sends the size of a chunk without end",
            Truncated(200),
            Script::new(CHUNKED).flood("0"),
        ),
        // F35: what would grow if it were decoded.
        bomb("sends a gzip bomb", "gzip"),
        bomb("sends a brotli bomb", "br"),
        bomb("sends a zstd bomb", "zstd"),
        bomb("sends a bomb in a bomb", "gzip, gzip, deflate"),
        // F36: heads and framing.
        script("sends a header of 1 MB", PROTOCOL, ok("x-long: ").times("a".repeat(1024), 1024)),
        script("sends a header without end", PROTOCOL, ok("x-long: ").flood("a")),
        script("sends 10,000 headers", PROTOCOL, ok("").times("a: b\r\n".repeat(100), 100)),
        script("sends headers without end", PROTOCOL, ok("").flood("a: b\r\n")),
        script("sends a reason without end", PROTOCOL, Script::new("HTTP/1.1 200 ").flood("a")),
        script("sends 100 without end", TIMEOUT, Script::new("").flood("HTTP/1.1 100 C\r\n\r\n")),
        script(
            "sends 103 without end",
            TIMEOUT,
            Script::new("").flood("HTTP/1.1 103 H\r\nlink: a\r\n\r\n"),
        ),
        script(
            "sends trailers without end",
            Truncated(200),
            Script::new(format!("{CHUNKED}0\r\n")).flood("a: b\r\n"),
        ),
        say("names a chunk size that is none", Truncated(200), &format!("{CHUNKED}zz\r\na\r\n")),
        say(
            "names a chunk size beyond all numbers",
            Truncated(200),
            &format!("{CHUNKED}fffffffffffffffff\r\na\r\n"),
        ),
        say("names a negative chunk size", Truncated(200), &format!("{CHUNKED}-1\r\na\r\n")),
        say("speaks HTTP/0.9", PROTOCOL, "<html>hello</html>\r\n"),
        say("speaks HTTP/3.7", PROTOCOL, "HTTP/3.7 200 OK\r\n\r\n"),
        say("puts NUL into a header", PROTOCOL, &format!("{OK}x: a\0b\r\n\r\n")),
        say("folds a header", PROTOCOL, &format!("{OK}x: a\r\n b\r\n\r\n")),
        say("names a header with a space", PROTOCOL, &format!("{OK}x y: a\r\n\r\n")),
        say("sends a header without a colon", PROTOCOL, &format!("{OK}hello\r\n\r\n")),
        say(
            "names two lengths",
            PROTOCOL,
            &format!("{OK}content-length: 1\r\ncontent-length: 2\r\n\r\nab"),
        ),
        say(
            "names a length and chunks",
            Answer(200),
            &format!("{LAST}content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        say("names a negative length", PROTOCOL, &format!("{OK}content-length: -1\r\n\r\n")),
        say("names a length that is none", PROTOCOL, &format!("{OK}content-length: 1e9\r\n\r\n")),
        say("answers 99", PROTOCOL, "HTTP/1.1 99 No\r\n\r\n"),
        say("answers 1000", PROTOCOL, "HTTP/1.1 1000 No\r\n\r\n"),
        say("speaks SSH", PROTOCOL, "SSH-2.0-OpenSSH_9.9\r\n"),
        say("speaks TLS", PROTOCOL, "\x15\x03\x01\0\x02\x02\x28"),
        say("speaks HTTP/2", PROTOCOL, "\0\0\0\x04\0\0\0\0\0"),
        // F39: too early.
        script(
            "answers before it has read",
            Answer(200),
            early(Script::new(format!("{LAST}content-length: 0\r\n\r\n"))),
        ),
        script(
            "answers twice",
            Answer(200),
            Script::new(format!("{LAST}content-length: 0\r\n\r\n").repeat(2)),
        ),
        // F29, F38: ends at each stage.
        script("closes on accept", PROTOCOL, early(Script::new(""))),
        script("closes after the request", PROTOCOL, Script::new("")),
        script("closes within the status line", PROTOCOL, Script::new("HTTP/1.1 2")),
        script("closes within the head", PROTOCOL, ok("x: ")),
        script("closes within the body", Truncated(200), ok("content-length: 9\r\n\r\nab")),
        script("closes within a chunk", Truncated(200), Script::new(format!("{CHUNKED}9\r\nab"))),
        script(
            "closes before the last chunk",
            Truncated(200),
            Script::new(format!("{CHUNKED}1\r\na\r\n")),
        ),
        // The reset may come while the connection is being made, or when it is there.
        resets("resets on accept", CUT, false, ""),
        resets("resets after the request", PROTOCOL, true, ""),
        resets("resets within the head", PROTOCOL, true, OK),
        resets(
            "resets after the head",
            Truncated(200),
            true,
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
        ),
        resets(
            "resets within the body",
            Truncated(200),
            true,
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab",
        ),
        resets(
            "resets within the body of a 500",
            Truncated(500),
            true,
            "HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nab",
        ),
    ]
}
