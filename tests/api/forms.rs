//! What callers send: what is understood, and what is wrong with the rest.

use axum::body::Body;
use serde_json::{Value, json};
use tidings::storage::MemoryStorage;
use tidings::{KeyId, KeyRing, SealingKey, Tidings};

use crate::contract::Contract;
use crate::stage::Stage;

fn hook(more: Value) -> Value {
    let mut body = json!({ "address": "https://a.example.com/hook", "types": ["order.*"] });
    let fields = body.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    body
}

/// Creates webhooks with each setting, and reads them back (table).
#[tokio::test]
async fn every_setting_is_understood() {
    let stage = Stage::new();
    for (sent, name, shown) in [
        (json!({ "enabled": true }), "enabled", json!(true)),
        (json!({ "enabled": false }), "disabledReason", json!("person")),
        (json!({ "liveMode": false }), "liveMode", json!(false)),
        (json!({ "description": "Orders" }), "description", json!("Orders")),
        (json!({ "metadata": { "a": "b" } }), "metadata", json!({ "a": "b" })),
        (json!({ "headers": { "x-key": "s3cret" } }), "headers", json!({ "x-key": "***" })),
        (
            json!({ "authentication": { "username": "u", "password": "s3cret" } }),
            "authentication",
            json!({ "username": "u" }),
        ),
        (
            json!({ "authentication": { "userName": "u", "password": "s3cret" } }),
            "authentication",
            json!({ "username": "u" }),
        ),
        (
            json!({ "oauth": {
                "tokenEndPoint": "https://t.example.com/token", "clientID": "c", "clientSecret": "s3cret",
                "userName": "u", "password": "s3cret",
            } }),
            "oauth",
            json!({
                "tokenEndPoint": "https://t.example.com/token", "clientID": "c",
                "grantType": "password", "userName": "u",
            }),
        ),
        (
            json!({ "oauth": {
                "tokenEndPoint": "https://t.example.com/token", "clientID": "c", "clientSecret": "s3cret",
                "grantType": "client_credentials", "audience": "a",
            } }),
            "transportType",
            json!("OAUTH"),
        ),
        (json!({ "apiVersion": "default" }), "apiVersion", json!("default")),
        (json!({ "timeoutMillis": 1_500 }), "timeoutMillis", json!(1_500)),
        (
            json!({ "schemes": [{ "kind": "digitalRiver" }] }),
            "schemes",
            json!([{ "kind": "digitalRiver", "header": "DigitalRiver-Signature" }]),
        ),
        (json!({ "ordering": "perObject" }), "ordering", json!("perObject")),
        (
            json!({ "rateLimit": { "perSecond": 50 } }),
            "rateLimit",
            json!({ "perSecond": 50, "burst": 1 }),
        ),
        (json!({ "concurrency": 5 }), "concurrency", json!(5)),
        (
            json!({ "condition": { "data.object.state": "accepted" } }),
            "condition",
            json!({ "data.object.state": "accepted" }),
        ),
        (json!({ "condition": null, "headers": null, "oauth": null }), "headers", json!({})),
    ] {
        let created = stage.post("Alice", "/webhooks", hook(sent.clone())).await;
        assert_eq!(created.status, 201, "{sent} {created:?}");
        assert_eq!(created.json[name], shown, "{sent}");
        assert!(!created.text.contains("s3cret"), "{sent}");
    }
}

/// Sends what breaks a rule, each in one place: the answer names it (table).
#[tokio::test]
async fn what_is_wrong_is_named() {
    let stage = Stage::new();
    let (_, path) = stage.webhook("a").await;
    let path = path.as_str();
    let (create, replays) = ("/webhooks", format!("{path}/replays"));
    let invalid = "invalid_parameter";
    for (method, path, body, code, parameter) in [
        ("POST", create, json!({}), "missing_parameter", "address"),
        (
            "POST",
            create,
            json!({ "address": "https://a.example.com" }),
            "missing_parameter",
            "types",
        ),
        ("POST", create, hook(json!({ "address": "ftp://a.example.com" })), invalid, "address"),
        ("POST", create, hook(json!({ "address": "http://127.0.0.1/" })), invalid, "address"),
        ("POST", create, hook(json!({ "types": [] })), invalid, "types"),
        ("POST", create, hook(json!({ "types": ["order"] })), invalid, "types"),
        ("POST", create, hook(json!({ "types": "order.*" })), invalid, "types"),
        ("POST", create, hook(json!({ "types": ["order.*", 7] })), invalid, "types[1]"),
        ("POST", create, hook(json!({ "colour": "red" })), "unknown_parameter", "colour"),
        ("POST", create, hook(json!({ "enabled": "yes" })), invalid, "enabled"),
        ("POST", create, hook(json!({ "timeoutMillis": 5 })), invalid, "timeoutMillis"),
        ("POST", create, hook(json!({ "timeoutMillis": -5 })), invalid, "timeoutMillis"),
        ("POST", create, hook(json!({ "headers": { "host": "x" } })), invalid, "headers"),
        ("POST", create, hook(json!({ "rateLimit": { "perSecond": 0 } })), invalid, "rateLimit"),
        (
            "POST",
            create,
            hook(json!({ "rateLimit": { "burst": 1 } })),
            "missing_parameter",
            "rateLimit.perSecond",
        ),
        ("POST", create, hook(json!({ "account": "" })), invalid, "account"),
        ("POST", create, hook(json!({ "secret": "short" })), invalid, "secret"),
        (
            "POST",
            create,
            hook(
                json!({ "oauth": { "clientID": "c", "clientSecret": "s", "tokenEndPoint": "http://t.example.com" } }),
            ),
            invalid,
            "oauth.userName",
        ),
        (
            "POST",
            create,
            hook(
                json!({ "oauth": { "clientID": "c", "clientSecret": "s", "userName": "u", "tokenEndPoint": "nowhere" } }),
            ),
            invalid,
            "oauth.tokenEndPoint",
        ),
        ("POST", create, hook(json!({ "condition": { "$nothing": 1 } })), invalid, "condition"),
        ("PATCH", path, json!({ "liveMode": true }), "unknown_parameter", "liveMode"),
        ("PATCH", path, json!({ "enabled": true, "description": "x" }), invalid, "enabled"),
        ("PATCH", path, json!({ "confirmation": "Alice" }), invalid, "confirmation"),
        ("PATCH", path, json!({ "types": [] }), invalid, "types"),
        ("POST", "/events", json!({ "type": "order.accepted" }), "missing_parameter", "data"),
        ("POST", "/events", json!({ "type": "order", "data": { "object": {} } }), invalid, "type"),
        (
            "POST",
            "/events",
            json!({ "type": "order.accepted", "data": { "object": [] } }),
            invalid,
            "data.object",
        ),
        (
            "POST",
            "/events",
            json!({ "type": "order.accepted", "data": {} }),
            "missing_parameter",
            "data.object",
        ),
        (
            "POST",
            "/events",
            json!({ "type": "order.accepted", "data": { "object": {}, "a": 1 } }),
            "unknown_parameter",
            "data.a",
        ),
        (
            "POST",
            "/events",
            json!({ "type": "order.accepted", "data": { "object": {} }, "id": "7" }),
            invalid,
            "id",
        ),
        (
            "POST",
            "/events",
            json!({ "type": "order.accepted", "data": { "object": {} }, "key": "\0" }),
            invalid,
            "key",
        ),
        ("POST", replays.as_str(), json!({ "kind": "some" }), invalid, "kind"),
        ("POST", replays.as_str(), json!({ "kind": "all", "from": "yesterday" }), invalid, "from"),
        ("POST", replays.as_str(), json!({ "kind": "all", "rate": 0 }), invalid, "rate"),
    ] {
        let answer = stage.call("Alice", method, path, Some(body.clone())).await;
        assert_eq!(answer.error(), (400, code, parameter), "{method} {path} {body} {answer:?}");
    }
}

/// Clears authentication by `null`, of the kind that there is and of the other.
#[tokio::test]
async fn null_clears_what_it_names() {
    let stage = Stage::new();
    let basic = hook(json!({ "authentication": { "username": "u", "password": "p" } }));
    let path = format!("/webhooks/{}", stage.post("Alice", "/webhooks", basic).await.id());
    let edit = async |body: Value| stage.call("Alice", "PATCH", &path, Some(body)).await;
    let other = edit(json!({ "oauth": null, "description": "x" })).await;
    assert_eq!(other.json["authentication"], json!({ "username": "u" }), "{other:?}");
    let cleared = edit(json!({ "authentication": null })).await;
    assert_eq!((cleared.status.as_u16(), cleared.json.get("authentication")), (200, None));
}

/// Sends back headers as they are shown, with one more and one less, and looks at what is stored. Masks
/// names that have no value, in a change and at the creation. With and without keys of the host's.
#[tokio::test]
async fn a_masked_header_keeps_its_value() {
    let key = SealingKey::new(KeyId::parse("k1").expect("an id"), [1; 32]);
    let sealing = Tidings::builder(MemoryStorage::new()).keys(KeyRing::new(key.clone()));
    for stage in [Stage::new(), Stage::of(sealing.build())] {
        masked_headers_keep_their_values(&stage, &key).await;
    }
}

async fn masked_headers_keep_their_values(stage: &Stage, key: &SealingKey) {
    let headers = json!({ "headers": { "x-key": "s3cret", "x-old": "old" }, "enabled": true });
    let path = format!("/webhooks/{}", stage.post("Alice", "/webhooks", hook(headers)).await.id());
    let shown = stage.get("Alice", &path).await.json["headers"].clone();
    assert_eq!(shown, json!({ "x-key": "***", "x-old": "***" }));
    let edit = async |headers: Value| {
        stage.call("Alice", "PATCH", &path, Some(json!({ "headers": headers }))).await
    };
    let same = edit(shown).await;
    assert_eq!((same.status.as_u16(), &same.json["version"]), (200, &json!(1)), "{same:?}");
    let other = edit(json!({ "X-Key": "***", "x-new": "new" })).await;
    assert_eq!(other.json["headers"], json!({ "X-Key": "***", "x-new": "***" }), "{other:?}");
    let id = other.id().parse().expect("an id");
    let kept = stage.tidings.webhook(id).await.and_then(|webhook| webhook.open(key));
    let kept = kept.expect("a webhook");
    let kept = kept.headers().iter().map(|(name, value)| (name.as_str(), value.reveal()));
    assert_eq!(kept.collect::<Vec<_>>(), [("X-Key", "s3cret"), ("x-new", "new")]);
    let refused = edit(json!({ "x-key": "***", "x-gone": "***" })).await;
    assert_eq!(refused.error(), (400, "invalid_parameter", "headers"));
    assert!(refused.text.contains("x-gone"), "{refused:?}");
    let refused =
        stage.post("Alice", "/webhooks", hook(json!({ "headers": { "x-key": "***" } }))).await;
    assert_eq!(refused.error(), (400, "invalid_parameter", "headers"));
}

/// Moves webhooks with and without credentials, as somebody who may not reveal.
#[tokio::test]
async fn credentials_are_not_moved_by_who_may_not_see_them() {
    let stage = Stage::new();
    let (elsewhere, near) = ("https://b.example.com/", "https://a.example.com/other");
    let header = json!({ "headers": { "x-key": "s3cret" } });
    let basic = json!({ "authentication": { "username": "u", "password": "p" } });
    for (has, edit, status) in [
        (header.clone(), json!({ "address": elsewhere }), 403),
        (basic.clone(), json!({ "address": elsewhere }), 403),
        (header.clone(), json!({ "address": near }), 200),
        (json!({}), json!({ "address": elsewhere }), 200),
        (header.clone(), json!({ "address": elsewhere, "headers": null }), 200),
        (header.clone(), json!({ "address": elsewhere, "headers": { "x-key": "***" } }), 403),
        (header.clone(), json!({ "address": elsewhere, "headers": { "x-key": "new" } }), 200),
        (basic, json!({ "address": elsewhere, "authentication": null }), 200),
    ] {
        let path = format!("/webhooks/{}", stage.post("Alice", "/webhooks", hook(has)).await.id());
        let moved = stage.call("Manager", "PATCH", &path, Some(edit.clone())).await;
        assert_eq!(moved.status, status, "{edit} {moved:?}");
        let moved = stage.call("Alice", "PATCH", &path, Some(edit.clone())).await;
        assert_eq!(moved.status, 200, "{edit} {moved:?}");
    }
}

/// Asks with parameters that are none, or stand against each other (table).
#[tokio::test]
async fn wrong_queries_are_named() {
    let stage = Stage::new();
    let (_, path) = stage.webhook("a").await;
    for (path, code, parameter) in [
        ("/webhooks?limit=0", "invalid_parameter", "limit"),
        ("/webhooks?limit=101", "invalid_parameter", "limit"),
        ("/webhooks?limit=many", "invalid_parameter", "limit"),
        ("/webhooks?startingAfter=x", "invalid_parameter", "startingAfter"),
        ("/webhooks?endingBefore=x", "invalid_parameter", "endingBefore"),
        ("/webhooks?colour=red", "unknown_parameter", "colour"),
        ("/webhooks?enabled=1", "invalid_parameter", "enabled"),
        ("/webhooks?type=order", "invalid_parameter", "type"),
        ("/webhooks?type=a.b&types=a.b", "invalid_parameter", "types"),
        ("/webhooks?types=a.*", "invalid_parameter", "types"),
        ("/webhooks?account=", "invalid_parameter", "account"),
        ("/events?type=a.b&types=a.b", "invalid_parameter", "types"),
        ("/events?types=a.*", "invalid_parameter", "types"),
        ("/events?type=order", "invalid_parameter", "type"),
        ("/events?createdTime[gt]=yesterday", "invalid_parameter", "createdTime[gt]"),
        (
            "/events?createdTime[near]=2020-01-01T00:00:00Z",
            "unknown_parameter",
            "createdTime[near]",
        ),
        ("/deliveries?state=lost", "invalid_parameter", "state[0]"),
        ("/deliveries?publishedTime[lt]=now", "invalid_parameter", "publishedTime[lt]"),
        ("/replays?running=perhaps", "invalid_parameter", "running"),
        ("/statistics?from=2020-01-01T00:00:00Z", "invalid_parameter", "to"),
        (&format!("{path}/statistics?to=soon"), "invalid_parameter", "to"),
    ] {
        let answer = stage.get("Alice", path).await;
        assert_eq!(answer.error(), (400, code, parameter), "{path} {answer:?}");
    }
    let both = format!("/webhooks?startingAfter={0}&endingBefore={0}", "0".repeat(32));
    assert_eq!(stage.get("Alice", &both).await.error(), (400, "invalid_parameter", "endingBefore"));
    let many: String = (0..21).map(|number| format!("types=order.t{number}&")).collect();
    for list in ["/events", "/webhooks"] {
        let answer = stage.get("Alice", &format!("{list}?{many}limit=1")).await;
        assert_eq!(answer.error(), (400, "invalid_parameter", "types"), "{list}");
    }
}

/// Sends every operation a parameter that it does not have, to what is there, is not, and is another's: the
/// answer names it, and nothing is done.
#[tokio::test]
async fn no_operation_takes_an_unknown_parameter() {
    let stage = Stage::new();
    let (webhook, path) = stage.webhook("a").await;
    for operation in Contract::new().operations() {
        let path = operation.at(&webhook.id());
        for user in ["Alice", "Bob"] {
            let path = format!("{path}?colour=red");
            let body = operation.changes().then(|| json!({}));
            let answer = stage.call(user, &operation.method, &path, body).await;
            let expected = (400, "unknown_parameter", "colour");
            assert_eq!(answer.error(), expected, "{operation:?} {answer:?}");
        }
    }
    assert_eq!(stage.get("Alice", &path).await.status, 200, "it is not deleted");
    let head = stage.call("Alice", "HEAD", "/me?_=1", None).await;
    assert_eq!(head.status, 400, "no cache keeps answers that have to be told apart");
    assert_eq!(stage.get("Alice", "/me?").await.status, 200);
    assert_eq!(stage.get("Nobody", "/me?colour=red").await.error().0, 401);
    assert_eq!(stage.get("Alice", "/nothing?colour=red").await.error().0, 404);
}

/// Sends bodies that are no JSON, too large, or too deep, and asks for what is not there.
#[tokio::test]
async fn strange_requests_are_answered_in_order() {
    let stage = Stage::new();
    let with = |body: Body| {
        let mut request = stage.request("Alice", "POST", "/webhooks", None);
        *request.body_mut() = body;
        request
    };
    let (_, path) = stage.webhook("a").await;
    for end in ["enable", "disable", "test", "secrets/reveal", "secrets/rotate", "replays"] {
        for list in [json!([]), json!(["Alice"]), json!(["all"])] {
            let answer = stage.post("Alice", &format!("{path}/{end}"), list).await;
            assert_eq!(answer.error(), (400, "invalid_body", "body"), "{end}");
        }
    }
    let long = json!({ "x".repeat(100_000): 1, "\u{202e}": 1 });
    let answer = stage.post("Alice", "/webhooks", long).await;
    assert!(answer.text.len() < 2_000 && !answer.text.contains('\u{202e}'), "{answer:?}");
    for (body, status) in [
        (Body::from("{"), 400),
        (Body::from("[]"), 400),
        (Body::from("null"), 400),
        (Body::from("{} {}"), 400),
        (Body::from(vec![0xff, 0xfe]), 400),
        (Body::from("[".repeat(100_000)), 400),
        (Body::from(format!("{{\"a\":{}1{}}}", "[".repeat(500), "]".repeat(500))), 400),
        (Body::from(" ".repeat(2 << 20)), 413),
    ] {
        let answer = stage.send(with(body)).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(
            answer.json["errors"][0]["message"].as_str().is_some_and(|text| text.len() < 2_000)
        );
    }
    assert_eq!(stage.get("Alice", "/nothing").await.error(), (404, "not_found", ""));
    let answer = stage.call("Alice", "PUT", "/webhooks", Some(json!({}))).await;
    assert_eq!(answer.error().0, 405, "{answer:?}");
    assert_eq!(answer.header("allow"), "GET,HEAD,POST");
    let head = stage.call("Alice", "HEAD", "/webhooks", None).await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
}
