//! A receiver: verify in an axum handler, then act once.
//!
//! `cargo run --example receiver` sends itself a few requests, good and bad, and ends.
//! `cargo run --example receiver -- --serve <address>` listens until it is stopped and verifies with
//! the secret in `WEBHOOK_SECRET`. A receiver needs no feature of the crate
//! (`default-features = false`): no storage, no HTTP client, no runtime.

use std::collections::HashSet;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use chrono::Utc;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use tidings::{
    Change, Event, EventId, Secret, Secrets, SignatureScheme, Timestamp, Verifier, signature,
};

/// What the handler needs: the secrets it trusts, and the ids it has seen.
///
/// The ids belong into the database that the work writes to, in the same transaction; a set in
/// memory forgets them at a restart.
struct Inbox {
    verifier: Verifier,
    seen: Mutex<HashSet<String>>,
}

/// What any sender of Standard Webhooks writes. The rest of it is the sender's matter.
#[derive(Deserialize)]
struct Message<'a> {
    /// New types come without notice, and may be called whatever the sender likes: they are fine.
    #[serde(rename = "type")]
    event_type: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// The data of the types that are acted upon.
#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    object: &'a RawValue,
}

impl<'a> Message<'a> {
    /// The order as it was written: a `Value` would make 29.9 of `29.90`.
    fn order(&self) -> serde_json::Result<&'a str> {
        let data: Data<'a> = serde_json::from_str(self.data.map_or("null", RawValue::get))?;
        Ok(data.object.get())
    }
}

async fn receive(
    State(inbox): State<Arc<Inbox>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    // Verify the bytes as they came, before anything parses them. One answer for every reason.
    let Ok(verified) = inbox.verifier.verify(pairs, &body, Utc::now()) else {
        return (StatusCode::UNAUTHORIZED, "not verified");
    };
    let message = serde_json::from_slice::<Message<'_>>(&body);
    let (Ok(message), Some(id)) = (message, verified.id) else {
        return (StatusCode::BAD_REQUEST, "no event");
    };
    // Held over the work, so that of two requests with one id only one does it.
    let mut seen = inbox.seen.lock().unwrap_or_else(PoisonError::into_inner);
    // A sender that saw no answer sends again, with the same id: acknowledge, and do nothing.
    if seen.contains(&id) {
        return (StatusCode::NO_CONTENT, "seen before");
    }
    match (message.event_type.as_str(), message.order()) {
        ("order.accepted", Ok(order)) => println!("  ship it: {order}"),
        ("order.cancelled", Ok(order)) => println!("  keep it: {order}"),
        // One that it knows, and cannot read.
        ("order.accepted" | "order.cancelled", Err(_)) => {
            return (StatusCode::BAD_REQUEST, "no order");
        }
        (other, _) => println!("  nothing to do for {other}"),
    }
    // After the work, never before: a crash in between makes a repetition, and loses no event.
    seen.insert(id);
    (StatusCode::NO_CONTENT, "done")
}

fn router(secrets: impl IntoIterator<Item = Secret>) -> tidings::Result<Router> {
    let inbox = Inbox { verifier: Verifier::standard_webhooks(secrets)?, seen: Mutex::default() };
    Ok(Router::new().route("/hook", post(receive)).with_state(Arc::new(inbox)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("--serve") {
        let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
        let secret = Secret::parse(&std::env::var("WEBHOOK_SECRET")?)?;
        let listener = TcpListener::bind(address).await?;
        println!("listening at http://{}/hook", listener.local_addr()?);
        axum::serve(listener, router([secret])?).await?;
        return Ok(());
    }

    let secret = Secret::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let router = router([secret.clone()])?;
    tokio::spawn(async move { axum::serve(listener, router).await });

    let now = Utc::now();
    let order = json!({ "id": "247468780336", "state": "accepted" });
    let accepted =
        Change::of("order.accepted", &order)?.into_event(EventId::new(now, &[1; 10]), now)?;
    let unknown = Change::of("order.line_item.engraved", &order)?;
    let unknown = unknown.into_event(EventId::new(now, &[2; 10]), now)?;
    let forger = Secret::from_random(&[7; 32]);

    for (what, event, secret, at, expected) in [
        ("a signed request", &accepted, &secret, now, 204),
        ("the same once more", &accepted, &secret, now, 204),
        ("a type that it does not know", &unknown, &secret, now, 204),
        ("signed by somebody else", &accepted, &forger, now, 401),
        ("signed an hour ago", &accepted, &secret, now - chrono::TimeDelta::hours(1), 401),
    ] {
        let status = send(&address, event, secret, at).await?;
        println!("{what}: {status}");
        if status != expected {
            return Err(format!("{what}: {status} instead of {expected}").into());
        }
    }
    Ok(())
}

/// Sends an event as a sender would: signed at `at`, over a bare connection.
async fn send(
    address: &str,
    event: &Event,
    secret: &Secret,
    at: Timestamp,
) -> Result<u16, Box<dyn Error>> {
    let body = event.payload();
    let secrets = Secrets::new(secret.clone(), at);
    let schemes = [SignatureScheme::StandardWebhooks];
    let mut head = format!(
        "POST /hook HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in signature::sign(&schemes, &secrets, event.id(), body.as_bytes(), at) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).ok_or("no status")?;
    Ok(status.parse()?)
}
