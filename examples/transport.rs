//! A transport of one's own, in two forms: a closure, and a struct that wraps and one that replaces.
//!
//! `cargo run --example transport`. Nothing leaves this machine: the closure prints what it is to
//! send, and the struct hands it to a sidecar over a Unix socket, as hosts do whose processes have
//! no way out of their own. Whoever dials addresses himself owes what the Contract of `Transport`
//! says: vet every address, follow no redirect, keep the deadline.

use std::error::Error;
use std::time::Instant;

use async_trait::async_trait;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use tidings::storage::MemoryStorage;
use tidings::transport::{Request, Response, Transport, TransportError, transport_fn};
use tidings::{Change, FailureKind, Notice, Observer, Registration, Tidings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("A closure that prints:");
    let printing = transport_fn(|request: Request| async move {
        let (to, bytes) = (request.http.uri(), request.http.body().len());
        println!("  {} {to} ({bytes} bytes)", request.http.method());
        Ok(Response::new(204))
    });
    deliver(printing).await?;

    println!("A struct that hands over to a sidecar, wrapped in one that logs:");
    let (ours, theirs) = UnixStream::pair()?;
    let sidecar = tokio::spawn(sidecar(theirs));
    deliver(Logged(Sidecar::new(ours))).await?;
    println!("  the sidecar saw {} requests", sidecar.await??);
    Ok(())
}

/// Publishes three events to one webhook and runs a dispatcher until they are settled.
async fn deliver(transport: impl Transport) -> Result<(), Box<dyn Error>> {
    let (settled, mut settlements) = mpsc::unbounded_channel();
    let tidings = Tidings::builder(MemoryStorage::new()).observer(Settlements(settled)).build();
    let registration = Registration::new("https://example.com/hook", ["order.*"])?.enabled(true);
    tidings.create(registration).await?;
    for (event_type, state) in [
        ("order.created", "pending_payment"),
        ("order.accepted", "accepted"),
        ("order.complete", "complete"),
    ] {
        let order = json!({ "id": "247468780336", "state": state });
        let event = tidings.event(Change::of(event_type, &order)?)?;
        tidings.publish(&event).await?;
    }
    let all = async {
        for _ in 0..3 {
            if let Some(line) = settlements.recv().await {
                println!("  settled: {line}");
            }
        }
    };
    tidings.dispatcher(transport)?.run(all).await;
    Ok(())
}

/// Tells what was settled. `Notice` comes after the storage has it.
#[derive(Debug)]
struct Settlements(mpsc::UnboundedSender<String>);

impl Observer for Settlements {
    fn notice(&self, notice: &Notice) {
        if let Notice::Settled { event, attempt, .. } = notice {
            let line = format!("{} {:?}", event.event_type(), attempt.outcome);
            let _ = self.0.send(line);
        }
    }
}

/// Logs what another transport does. `Debug` of a request shows no secret; its body may be one.
#[derive(Debug)]
struct Logged<T>(T);

#[async_trait]
impl<T: Transport> Transport for Logged<T> {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let began = Instant::now();
        let host = request.http.uri().host().unwrap_or_default().to_owned();
        let result = self.0.send(request).await;
        let took = began.elapsed();
        match &result {
            Ok(response) => println!("  {host} answered {} after {took:.1?}", response.status),
            Err(error) => println!("  {host} did not answer: {error}"),
        }
        result
    }
}

/// Hands requests to another process: a line of JSON there, a line with the status back.
#[derive(Debug)]
struct Sidecar {
    /// One exchange at a time. `None` after one that was cut off, for what comes back then belongs
    /// to nobody.
    socket: Mutex<Option<BufReader<UnixStream>>>,
}

impl Sidecar {
    fn new(socket: UnixStream) -> Self {
        Self { socket: Mutex::new(Some(BufReader::new(socket))) }
    }

    async fn exchange(&self, line: &str) -> Result<u16, TransportError> {
        // Taken out, so that a future that is dropped half way leaves no half exchange behind.
        let mut place = self.socket.lock().await;
        let gone = || TransportError::new(FailureKind::Local, "the sidecar is gone");
        let mut socket = place.take().ok_or_else(gone)?;
        socket.write_all(line.as_bytes()).await.map_err(|_| gone())?;
        let mut answer = String::new();
        socket.read_line(&mut answer).await.map_err(|_| gone())?;
        *place = Some(socket);
        answer.trim().parse().map_err(|_| gone())
    }
}

#[async_trait]
impl Transport for Sidecar {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        // What it cannot do it must refuse: sent without, it would go to whoever answers.
        if request.tls.is_some() {
            let message = "tls: the sidecar has no certificates of single webhooks";
            return Err(TransportError::new(FailureKind::Local, message));
        }
        let headers = request.http.headers().iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("")));
        let line = json!({
            "to": request.http.uri().to_string(),
            "headers": headers.collect::<Vec<_>>(),
            "body": String::from_utf8_lossy(request.http.body()),
        });
        let exchange = timeout(request.deadline, self.exchange(&format!("{line}\n"))).await;
        let late = |_| TransportError::new(FailureKind::Timeout, "no answer from the sidecar");
        exchange.map_err(late)?.map(Response::new)
    }
}

/// The other process; here it is a task that answers 204 to everything.
async fn sidecar(socket: UnixStream) -> std::io::Result<usize> {
    let mut socket = BufReader::new(socket);
    let (mut line, mut requests) = (String::new(), 0);
    while socket.read_line(&mut line).await? > 0 {
        requests += 1;
        socket.write_all(b"204\n").await?;
        line.clear();
    }
    Ok(requests)
}
