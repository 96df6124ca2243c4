//! A host with versions, and its receivers.

use std::time::Duration;

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tidings::outbox::BoxError;
use tidings::time::parse_time;
use tidings::transport::{Request, Response, transport_fn};
use tidings::{
    Change, Edit, Event, EventId, Mode, Policy, Registration, Schedule, Tidings, VersionedData,
    Versions, Webhook,
};
use tokio::sync::{mpsc, oneshot};

pub(crate) const NEWEST: &str = "2026-01-01";
pub(crate) const FLAT: &str = "2025-06-01";
pub(crate) const OLDEST: &str = "2024-01-01";

/// The event that most tests publish, up to its version.
pub(crate) const HEAD: &str =
    r#"{"id":"0198c4ae-6d0c-7cc1-9d5b-5a1d0a3c9f10","type":"order.paid","data":"#;
pub(crate) const TAIL: &str =
    r#","liveMode":true,"createdTime":"2026-01-31T08:15:30.120Z","apiVersion":"#;

pub(crate) const NEWEST_DATA: &str = concat!(
    r#"{"object":{"id":"o-1","amount":{"value":29.90,"currency":"EUR"}},"#,
    r#""previousAttributes":{"amount":{"value":1e1}}}"#
);
pub(crate) const FLAT_DATA: &str =
    r#"{"object":{"id":"o-1","amount":29.90},"previousAttributes":{"amount":1e1}}"#;
pub(crate) const OLDEST_DATA: &str = r#"{"object":{"type":"order.paid"}}"#;

/// The whole payload of the event of [`paid`].
pub(crate) fn payload(data: &str, version: &str) -> String {
    format!(r#"{HEAD}{data}{TAIL}"{version}","request":"r-1"}}"#)
}

pub(crate) fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

/// An order was paid.
pub(crate) fn paid() -> Change {
    let object = raw(r#"{"id":"o-1","amount":{"value":29.90,"currency":"EUR"}}"#);
    Change::of("order.paid", &object)
        .and_then(|change| change.previous_attributes(&raw(r#"{"amount":{"value":1e1}}"#)))
        .and_then(|change| change.with("request", "r-1"))
        .unwrap()
        .id(EventId::parse("0198c4ae-6d0c-7cc1-9d5b-5a1d0a3c9f10").unwrap())
        .created(parse_time("2026-01-31T08:15:30.120Z").unwrap())
}

#[derive(Deserialize)]
struct Order {
    id: Option<String>,
    amount: Amount,
}

#[derive(Deserialize)]
struct Amount {
    value: Box<RawValue>,
}

#[derive(Serialize)]
struct FlatOrder {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    amount: Box<RawValue>,
}

/// Amounts had no currency.
pub(crate) fn flat(event: &Event) -> Result<VersionedData, BoxError> {
    let old = |new: &RawValue| -> serde_json::Result<FlatOrder> {
        let Order { id, amount } = serde_json::from_str(new.get())?;
        Ok(FlatOrder { id, amount: amount.value })
    };
    let data = VersionedData::of(&old(event.object()?)?)?;
    Ok(match event.previous_attributes()? {
        Some(previous) => data.previous_attributes(&old(previous)?)?,
        None => data,
    })
}

/// There was nothing but the type.
pub(crate) fn oldest(event: &Event) -> tidings::Result<VersionedData> {
    VersionedData::of(&json!({ "type": event.event_type().as_str() }))
}

/// The newest version and two older ones.
pub(crate) fn versions() -> Versions {
    let versions = Versions::new(NEWEST).unwrap();
    versions.older(FLAT, flat).unwrap().older(OLDEST, oldest).unwrap()
}

/// Tries once a second, for as long as a test takes.
pub(crate) fn eager() -> Policy {
    let schedule = Schedule::new([Duration::from_secs(1); 60]).unwrap();
    Policy::default().with_jitter_percent(0).with_schedule(Mode::Live, schedule)
}

/// An enabled webhook at `/<name>`, pinned to a version.
pub(crate) async fn pinned(tidings: &Tidings, name: &str, version: Option<&str>) -> Webhook {
    let address = format!("https://example.com/{name}");
    let registration = Registration::new(&address, ["order.*"]).unwrap().enabled(true);
    let edit = Edit::new().api_version(version.map(Into::into));
    tidings.create(registration.with(edit)).await.unwrap().webhook
}

/// A request that a receiver got.
#[derive(Debug)]
pub(crate) struct Hit {
    pub(crate) name: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// Runs a dispatcher until `count` requests came, each answered with `status`. What came.
pub(crate) async fn deliver(tidings: &Tidings, status: u16, count: usize) -> Vec<Hit> {
    let (sent, mut arrived) = mpsc::unbounded_channel();
    let transport = transport_fn(move |request: Request| {
        let (parts, body) = request.http.into_parts();
        let name = parts.uri.path()[1..].to_owned();
        let body = String::from_utf8(body.to_vec()).unwrap();
        sent.send(Hit { name, headers: parts.headers, body }).unwrap();
        async move { Ok(Response::new(status)) }
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(tidings.dispatcher(transport).unwrap().run(async {
        let _ = stopped.await;
    }));
    let mut hits = Vec::new();
    while hits.len() < count {
        let waited = tokio::time::timeout(Duration::from_secs(60), arrived.recv()).await;
        hits.push(waited.expect("a request").expect("a transport"));
    }
    stop.send(()).unwrap();
    running.await.unwrap();
    while let Ok(hit) = arrived.try_recv() {
        hits.push(hit);
    }
    hits.sort_by(|one, other| one.name.cmp(&other.name));
    hits
}
