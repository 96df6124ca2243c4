//! Ten webhooks that want events by what is in them, and a day's events: which gets which, and what is on
//! record for the others.
//!
//! `cargo run --example conditions`

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tidings::storage::MemoryStorage;
use tidings::transport::{Request, Response, transport_fn};
use tidings::{
    Change, Condition, DeliveryQuery, DispatcherOptions, Edit, FailureKind, Notice, Observer,
    Outcome, PageRequest, Registration, StateKind, Tidings,
};
use tokio::sync::{mpsc, oneshot};

/// What a webhook is called, what it wants, and which of the events that are.
const WANTED: [(&str, &str, &[&str]); 10] = [
    ("austria", r#"{"data.object.customer.country": "AT"}"#, &["blocked", "complete"]),
    ("steps", r#"{"data.object.state": {"$changed": true}}"#, &["blocked", "complete"]),
    (
        "released",
        r#"{"data.object.state": "complete", "data.previousAttributes.state": "blocked"}"#,
        &["complete"],
    ),
    ("large", r#"{"data.object.total": {"$gte": 129.90}}"#, &["blocked", "complete"]),
    ("many", r#"{"data.object.items.quantity": {"$gt": 10}}"#, &["moved"]),
    ("books", r#"{"data.object.items.sku": {"$startsWith": "BOOK-"}}"#, &["blocked", "complete"]),
    (
        "march",
        r#"{"data.object.createdTime": {"$gte": "2026-03-01", "$lt": "2026-04-01"}}"#,
        &["blocked", "complete", "moved"],
    ),
    ("unpaid", r#"{"data.object.charge": {"$exists": false}}"#, &["blocked", "moved"]),
    (
        "either",
        r#"{"$or": [{"data.object.charge.state": "captured"}, {"data.object.total": {"$lt": 10}}]}"#,
        &["complete", "moved"],
    ),
    (
        "elsewhere",
        r#"{"metadata.region": {"$in": ["emea", "apac"]},
            "$not": {"data.object.customer.country": "AT"}}"#,
        &["moved"],
    ),
];

/// What happened in the shop: the state that each event is known by here, before and after.
fn day() -> Vec<(Value, Value)> {
    let order = |state: &str| {
        json!({ "id": "247", "state": state, "total": 129.90, "customer": { "country": "AT" },
            "items": [{ "sku": "BOOK-12", "quantity": 1 }, { "sku": "PEN-1", "quantity": 3 }],
            "createdTime": "2026-03-01T08:00:00.000Z" })
    };
    let mut complete = order("complete");
    complete["charge"] = json!({ "state": "captured" });
    let small = |city: &str| {
        json!({ "id": "248", "state": "moved", "total": 9.5, "customer": { "country": "CH", "city": city },
            "items": [{ "sku": "PEN-1", "quantity": 12 }], "createdTime": "2026-03-31T23:59:59.999Z" })
    };
    vec![
        (order("accepted"), order("blocked")),
        (order("blocked"), complete),
        (small("Basel"), small("Bern")),
    ]
}

/// Hears of every delivery that was sent, or was not wanted.
#[derive(Debug)]
struct Ear(mpsc::UnboundedSender<()>);

impl Observer for Ear {
    fn notice(&self, notice: &Notice) {
        if let Notice::Settled { .. } = notice {
            let _ = self.0.send(());
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    deliver().await
}

/// Fails when a webhook gets what it does not want, or not what it does.
async fn deliver() -> Result<(), Box<dyn Error>> {
    let (ear, mut settled) = mpsc::unbounded_channel();
    let tidings = Tidings::builder(MemoryStorage::new()).observer(Ear(ear)).build();
    for (name, condition, _) in WANTED {
        let registration = Registration::new(&format!("https://{name}.example/hook"), ["order.*"])?
            .with(Edit::new().condition(Some(Condition::parse(condition)?)))
            .enabled(true);
        tidings.create(registration).await?;
    }
    for (before, after) in day() {
        let change = Change::updated("order.updated", &before, &after)?
            .with("metadata", &json!({ "region": "emea" }))?;
        tidings.publish(&tidings.event(change)?).await?;
    }

    let got: Arc<Mutex<BTreeMap<String, Vec<String>>>> = Arc::default();
    let kept = got.clone();
    let transport = transport_fn(move |request: Request| {
        let host = request.http.uri().host().unwrap_or_default().to_owned();
        let body: Value = serde_json::from_slice(request.http.body()).unwrap_or_default();
        let state = body["data"]["object"]["state"].as_str().unwrap_or_default().to_owned();
        kept.lock().unwrap_or_else(PoisonError::into_inner).entry(host).or_default().push(state);
        async { Ok(Response::new(204)) }
    });
    let dispatcher = tidings.dispatcher_with(Arc::new(transport), DispatcherOptions::default())?;
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(dispatcher.run(async {
        let _ = stopped.await;
    }));
    for _ in 0..WANTED.len() * day().len() {
        settled.recv().await.ok_or("the dispatcher has gone")?;
    }
    let _ = stop.send(());
    running.await?;

    let got = std::mem::take(&mut *got.lock().unwrap_or_else(PoisonError::into_inner));
    for (name, condition, expected) in WANTED {
        let states = &got[&format!("{name}.example")];
        println!("{name:>9} got {:<28} by {condition}", states.join(", "));
        let mut states: Vec<_> = states.iter().map(String::as_str).collect();
        states.sort_unstable();
        assert_eq!(states, expected, "{name}");
    }
    let unwanted = DeliveryQuery { states: vec![StateKind::Cancelled], ..DeliveryQuery::default() };
    let unwanted = tidings.deliveries(&unwanted, &PageRequest::first(100)?).await?;
    let filtered = Outcome::Unanswered(FailureKind::Filtered);
    assert!(unwanted.items.iter().all(|view| view.attempts[0].outcome == filtered));
    let wanted: usize = WANTED.iter().map(|(.., states)| states.len()).sum();
    assert_eq!(wanted + unwanted.items.len(), WANTED.len() * day().len());
    println!("and {} are on record as not wanted", unwanted.items.len());
    Ok(())
}

/// Runs the example.
#[tokio::test]
async fn each_webhook_gets_what_it_wants() {
    deliver().await.unwrap();
}
