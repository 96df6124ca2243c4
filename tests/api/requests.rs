//! What a delivery says that its next try would send, against what receivers get.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, Uri};
use serde_json::{Value, json};
use tidings::storage::MemoryStorage;
use tidings::transport::{HyperOptions, HyperTransport, Response, transport_fn};
use tidings::{Change, NetworkPolicy, Tidings, TraceContext};

use crate::stage::{Stage, account};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What was got, by path.
type Got = Arc<Mutex<BTreeMap<String, HeaderMap>>>;

fn network() -> NetworkPolicy {
    NetworkPolicy::public_only().allow_loopback()
}

/// A receiver that answers well, and where it is.
async fn receiver(got: Got) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let place = format!("http://{}", listener.local_addr().expect("an address"));
    let receive = async move |uri: Uri, headers: HeaderMap| {
        got.lock().expect("a map").insert(uri.path().to_owned(), headers);
    };
    let app = Router::new().fallback(receive);
    (place, tokio::spawn(async move { axum::serve(listener, app).await.expect("a server") }))
}

/// Publishes an event of a trace, and waits for the only delivery of each webhook; answers with what its
/// next try would send.
async fn foreseen(stage: &Stage, webhooks: &[String]) -> Vec<Value> {
    let trace = TraceContext::parse(TRACEPARENT).and_then(|trace| trace.with_state("shop=1"));
    let change = Change::of("order.accepted", &json!({ "id": "1" })).expect("a change");
    let change = change.account(account("acme")).trace(trace.expect("a trace"));
    let event = stage.tidings.event(change).expect("an event");
    stage.tidings.publish(&event).await.expect("published");
    let mut requests = Vec::new();
    for webhook in webhooks {
        let path = format!("/deliveries?webhook={webhook}");
        let list = stage.until(&path, |it| it["data"][0]["state"] == "delivered").await;
        let id = list["data"][0]["id"].as_str().expect("an id").to_owned();
        let shown = stage.get("Alice", &format!("/deliveries/{id}")).await;
        requests.push(shown.json["request"]["headers"].clone());
    }
    requests
}

/// What is shown is what was got, but for the names `left_out`, and for values that are `***`, which must
/// be those of the names `hidden`.
fn compare(shown: &Value, got: &HeaderMap, left_out: &[&str], hidden: &[&str]) {
    let expected: BTreeMap<&str, &str> = got
        .iter()
        .filter(|(name, _)| !left_out.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
        .map(|(name, value)| (name, if hidden.contains(&name) { "***" } else { value }))
        .collect();
    assert_eq!(*shown, json!(expected));
    for name in left_out.iter().chain(hidden) {
        assert!(got.contains_key(*name), "{name} was sent: {got:?}");
    }
}

/// Delivers to a receiver by each scheme, with headers and credentials of the webhook's own (table).
#[tokio::test]
async fn a_delivery_shows_the_headers_that_its_receiver_gets() {
    let builder = Tidings::builder(MemoryStorage::new());
    let stage = Stage::of(builder.network(network()).build());
    let got = Got::default();
    let (place, server) = receiver(got.clone()).await;
    let own = json!({ "x-key": "s3cret", "User-Agent": "shop", "traceparent": TRACEPARENT });
    let basic = json!({ "username": "u", "password": "s3cret" });
    let standard = ["webhook-timestamp", "webhook-signature"];
    let cases = [
        (json!([{ "kind": "standardWebhooks" }]), json!({}), standard.to_vec(), vec![]),
        (json!([{ "kind": "standardWebhooksAsymmetric" }]), json!({}), standard.to_vec(), vec![]),
        (
            json!([{ "kind": "digitalRiver" }]),
            json!({ "authentication": basic }),
            vec!["digitalriver-signature"],
            vec!["authorization"],
        ),
        (
            json!([{ "kind": "timestampedHex", "header": "X-Signature" }]),
            json!({ "headers": own }),
            vec!["x-signature"],
            vec!["x-key", "user-agent", "traceparent"],
        ),
        (
            json!([{ "kind": "standardWebhooks" }, { "kind": "timestampedHex", "header": "traceparent" }]),
            json!({ "headers": { "authorization": "s3cret" } }),
            vec!["webhook-timestamp", "webhook-signature", "traceparent"],
            vec!["authorization"],
        ),
    ];
    let mut webhooks = Vec::new();
    for (number, (schemes, more, ..)) in cases.iter().enumerate() {
        let mut body = json!({
            "address": format!("{place}/{number}"), "types": ["order.*"], "enabled": true, "schemes": schemes,
        });
        let fields = body.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        let created = stage.post("Alice", "/webhooks", body).await;
        assert_eq!(created.status, 201, "{created:?}");
        webhooks.push(created.id());
    }
    let options = HyperOptions::default().with_network(network());
    let transport = HyperTransport::new(options).expect("a transport");
    let dispatcher = stage.tidings.dispatcher(transport).expect("a dispatcher");
    let running = tokio::spawn(dispatcher.run(std::future::pending()));
    let shown = foreseen(&stage, &webhooks).await;
    for (number, (.., signed, hidden)) in cases.iter().enumerate() {
        let got = got.lock().expect("a map")[&format!("/{number}")].clone();
        let left_out = [&["host", "content-length"], signed.as_slice()].concat();
        compare(&shown[number], &got, &left_out, hidden);
    }
    running.abort();
    server.abort();
}

/// Delivers with a token, which a transport in memory sees.
#[tokio::test]
async fn a_token_is_shown_as_a_mask() {
    let stage = Stage::new();
    let oauth = json!({
        "tokenEndPoint": "https://t.example.com/token", "clientID": "c", "clientSecret": "s3cret",
        "grantType": "client_credentials",
    });
    let body = json!({
        "address": "https://a.example.com/hook", "types": ["order.*"], "enabled": true, "oauth": oauth,
    });
    let created = stage.post("Alice", "/webhooks", body).await;
    let got = Got::default();
    let kept = got.clone();
    let transport = transport_fn(move |request| {
        let uri = request.http.uri();
        let mut response = Response::new(200);
        if uri.path() == "/token" {
            response.body = br#"{"access_token":"s3cret","token_type":"Bearer"}"#.to_vec().into();
        } else {
            let headers = request.http.headers().clone();
            kept.lock().expect("a map").insert(uri.path().to_owned(), headers);
        }
        async move { Ok(response) }
    });
    let dispatcher = stage.tidings.dispatcher(transport).expect("a dispatcher");
    let running = tokio::spawn(dispatcher.run(std::future::pending()));
    let shown = foreseen(&stage, &[created.id()]).await;
    let got = got.lock().expect("a map")["/hook"].clone();
    compare(&shown[0], &got, &["webhook-timestamp", "webhook-signature"], &["authorization"]);
    running.abort();
}
