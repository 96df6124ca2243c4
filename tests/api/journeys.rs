//! What callers do, from the first webhook to the last replay.

use serde_json::{Value, json};

use crate::stage::Stage;

/// Creates, prompts, enables, edits, disables, reveals, rotates and deletes a webhook.
#[tokio::test]
async fn a_webhook_lives_its_life() {
    let stage = Stage::new();
    let body = json!({ "address": "https://a.example.com/hook", "types": ["order.*"] });
    let created = stage.post("Alice", "/webhooks", body).await;
    assert_eq!(created.status, 201);
    assert_eq!(created.header("location"), format!("webhooks/{}", created.id()));
    let is =
        |json: &Value, name: &str, value: Value| assert_eq!(json[name], value, "{name}: {json}");
    is(&created.json, "enabled", json!(false));
    is(&created.json, "disabledReason", json!("neverEnabled"));
    is(&created.json, "prompt", json!(true));
    is(&created.json, "account", json!("acme"));
    let first = created.json["secret"].as_str().expect("a secret").to_owned();
    assert!(first.starts_with("whsec_"));
    let path = format!("/webhooks/{}", created.id());

    let read = stage.get("Alice", &path).await;
    assert_eq!(read.header("etag"), created.header("etag"));
    assert!(!read.text.contains(&first), "a secret is no part of a webhook");
    let enabled = stage.post("Alice", &format!("{path}/enable"), json!({})).await;
    is(&enabled.json, "enabled", json!(true));

    let stale = created.header("etag").to_owned();
    let edit =
        json!({ "description": "Orders", "metadata": { "team": "a" }, "timeoutMillis": 2_000 });
    let with = |tag: &str, body: &Value| {
        let mut request = stage.request("Alice", "PATCH", &path, Some(body));
        request.headers_mut().insert("if-match", tag.parse().expect("a tag"));
        request
    };
    let refused = stage.send(with(&stale, &edit)).await;
    assert_eq!(refused.error(), (412, "stale", ""));
    let edited = stage.send(with(enabled.header("etag"), &edit)).await;
    assert_eq!(edited.status, 200, "{edited:?}");
    is(&edited.json, "timeoutMillis", json!(2_000));
    is(&edited.json, "metadata", json!({ "team": "a" }));
    let cleared = json!({ "timeoutMillis": null, "metadata": null });
    let edited = stage.call("Alice", "PATCH", &path, Some(cleared)).await;
    is(&edited.json, "timeoutMillis", Value::Null);
    is(&edited.json, "metadata", json!({}));
    is(&edited.json, "description", json!("Orders"));

    for typed in ["", "alice", "Alice ", "Bob"] {
        let body = json!({ "confirmation": typed });
        let refused = stage.post("Alice", &format!("{path}/disable"), body.clone()).await;
        assert_eq!(refused.error(), (403, "confirmation", "confirmation"), "{typed:?}");
        let refused = stage.post("Alice", &format!("{path}/secrets/reveal"), body).await;
        assert_eq!(refused.error(), (403, "confirmation", "confirmation"), "{typed:?}");
        let body = json!({ "enabled": false, "confirmation": typed });
        let refused = stage.call("Alice", "PATCH", &path, Some(body)).await;
        assert_eq!(refused.error(), (403, "confirmation", "confirmation"), "{typed:?}");
    }
    is(&stage.get("Alice", &path).await.json, "enabled", json!(true));

    let confirmed = json!({ "confirmation": "Alice" });
    let revealed = stage.post("Alice", &format!("{path}/secrets/reveal"), confirmed.clone()).await;
    assert_eq!(revealed.json["secrets"][0]["secret"], json!(first));
    let rotation = json!({ "confirmation": "Alice", "overlapHours": 6 });
    let rotated = stage.post("Alice", &format!("{path}/secrets/rotate"), rotation).await;
    let secrets = rotated.json["secrets"].as_array().expect("secrets");
    assert_eq!(secrets.len(), 2);
    assert!(secrets[0]["secret"] != json!(first) && secrets[0]["expiresTime"].is_null());
    assert!(secrets[1]["secret"] == json!(first) && secrets[1]["expiresTime"].is_string());
    let rotation = json!({ "confirmation": "Alice", "overlapHours": 5 });
    let refused = stage.post("Alice", &format!("{path}/secrets/rotate"), rotation).await;
    assert_eq!(refused.error(), (400, "invalid_parameter", "overlapHours"));
    for _ in 0..3 {
        let rotation = json!({ "confirmation": "Alice", "overlapHours": 24 });
        let rotated = stage.post("Alice", &format!("{path}/secrets/rotate"), rotation).await;
        assert_eq!(rotated.status, 200);
    }
    let rotation = json!({ "confirmation": "Alice" });
    let refused = stage.post("Alice", &format!("{path}/secrets/rotate"), rotation).await;
    assert_eq!(refused.error().0, 409, "five secrets are alive");

    let disabled = stage.post("Alice", &format!("{path}/disable"), confirmed).await;
    is(&disabled.json, "disabledReason", json!("person"));
    let refused = stage.post("Alice", &format!("{path}/test"), json!({})).await;
    assert_eq!(refused.error(), (409, "disabled", "status"));
    for (method, end, body) in [
        ("DELETE", "", None),
        ("POST", "/enable", Some(json!({}))),
        ("POST", "/disable", Some(json!({ "confirmation": "Alice" }))),
        ("POST", "/secrets/rotate", Some(json!({ "confirmation": "Alice" }))),
    ] {
        let mut request = stage.request("Alice", method, &format!("{path}{end}"), body.as_ref());
        request.headers_mut().insert("if-match", stale.parse().expect("a tag"));
        assert_eq!(stage.send(request).await.error().0, 412, "{method} {end}");
    }
    assert_eq!(stage.call("Alice", "DELETE", &path, None).await.status, 204);
    assert_eq!(stage.get("Alice", &path).await.error(), (404, "not_found", ""));
    assert_eq!(stage.call("Alice", "DELETE", &path, None).await.status, 404);
}

/// Searches webhooks by id, address, status and type, page by page, while others are created.
#[tokio::test]
async fn webhooks_are_searched() {
    let stage = Stage::new();
    let mut ids = Vec::new();
    for number in 0..25 {
        let (created, _) = stage.webhook(&format!("host-{number:02}")).await;
        ids.push(created.id());
    }
    let found = async |query: &str| {
        let answer = stage.get("Alice", &format!("/webhooks?limit=100&{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let data = answer.json["data"].as_array().expect("a list").clone();
        data.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found(&format!("search={}", ids[3])).await, [ids[3].clone()]);
    assert_eq!(found("search=HOST-07").await, [ids[7].clone()]);
    assert_eq!(found("search=nothing%20like%20it").await, Vec::<String>::new());
    assert_eq!(found("enabled=false").await, Vec::<String>::new());
    assert_eq!(found("type=order.accepted").await.len(), 25);
    assert_eq!(found("type=invoice.paid").await.len(), 0);
    assert_eq!(found("type=order.*").await.len(), 25);
    assert_eq!(found("type=*").await.len(), 25);
    assert_eq!(found("type=invoice.*").await.len(), 0);
    assert_eq!(found("types=invoice.paid&types=order.accepted").await.len(), 25);
    assert_eq!(found("types=invoice.paid&types=refund.failed").await.len(), 0);
    assert_eq!(found("liveMode=false").await.len(), 0);

    let mut seen = Vec::new();
    let mut path = "/webhooks?limit=10".to_owned();
    loop {
        let page = stage.get("Alice", &path).await.json;
        seen.extend(page["data"].as_array().expect("a list").iter().map(|it| it["id"].clone()));
        stage.webhook("later").await;
        assert_eq!(page["hasMore"].as_bool().expect("a flag"), !page["next"].is_null());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/webhooks?limit=10&startingAfter={next}");
    }
    // One that came later in the same millisecond may stand among them.
    seen.retain(|id| ids.iter().any(|known| id == known));
    ids.sort_by(|one, two| two.cmp(one));
    assert_eq!(seen, ids, "what came later moves no page");
    let back =
        stage.get("Alice", &format!("/webhooks?limit=5&endingBefore={}", "0".repeat(32))).await;
    assert_eq!(back.json["data"].as_array().expect("a list").len(), 5, "the oldest ones");
    assert_eq!(back.json["hasMore"], json!(true));
}

/// Publishes with and without a key and an id, twice and with other content, and lists what there is.
#[tokio::test]
async fn events_are_published_once_and_listed() {
    let stage = Stage::new();
    let body = |total: &str| {
        let text = format!(
            r#"{{"type":"order.accepted","data":{{"object":{{"id":"1","total":{total}}},"previousAttributes":{{"total":1.50}}}}}}"#
        );
        axum::body::Body::from(text)
    };
    let keyed = |user: &str, key: &str, total: &str| {
        let mut request = stage.request(user, "POST", "/events", None);
        request.headers_mut().insert("idempotency-key", key.parse().expect("a key"));
        *request.body_mut() = body(total);
        request
    };
    let first = stage.send(keyed("Alice", "k-1", "29.90")).await;
    assert_eq!(first.status, 201, "{first:?}");
    assert!(
        first.text.contains(r#""object":{"id":"1","total":29.90}"#),
        "byte for byte: {first:?}"
    );
    assert!(first.text.contains(r#""previousAttributes":{"total":1.50}"#));
    let again = stage.send(keyed("Alice", "k-1", "29.90")).await;
    assert_eq!((again.status.as_u16(), &again.text), (200, &first.text), "as it was kept");
    let other = stage.send(keyed("Alice", "k-1", "30.00")).await;
    assert_eq!(other.error().0, 409, "another content under the same key");
    let elsewhere = stage.send(keyed("Bob", "k-1", "30.00")).await;
    assert_eq!(elsewhere.status, 201, "another account's key is another key");
    let long = "k".repeat(256);
    let refused = stage.send(keyed("Alice", &long, "1")).await;
    assert_eq!(refused.error(), (400, "invalid_parameter", "Idempotency-Key"));

    for (event_type, id) in [("order.blocked", 2), ("invoice.paid", 3)] {
        let object = json!({ "id": id.to_string() });
        let body = json!({ "type": event_type, "data": { "object": object } });
        assert_eq!(stage.post("Alice", "/events", body).await.status, 201);
    }
    let count = async |query: &str| {
        let answer = stage.get("Alice", &format!("/events?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        answer.json["data"].as_array().expect("a list").len()
    };
    let created = first.json["createdTime"].as_str().expect("a time");
    for (query, expected) in [
        (String::new(), 3),
        ("type=order.*".into(), 2),
        ("type=order.accepted".into(), 1),
        ("types=order.blocked&types=invoice.paid".into(), 2),
        (format!("type=order.accepted&createdTime={created}"), 1),
        (format!("type=order.accepted&createdTime%5Bgt%5D={created}"), 0),
        (format!("type=order.accepted&createdTime[gte]={created}"), 1),
        (format!("type=order.accepted&createdTime[lt]={created}"), 0),
        (format!("type=order.accepted&createdTime[lte]={created}"), 1),
        ("createdTime[lt]=2020-01-01T00:00:00Z".into(), 0),
        ("liveMode=false".into(), 0),
    ] {
        assert_eq!(count(&query).await, expected, "{query}");
    }
    let id = first.json["id"].as_str().expect("an id");
    assert_eq!(stage.get("Alice", &format!("/events/{id}")).await.text, first.text);
    stage.tidings.expunge(id.parse().expect("an id")).await.expect("expunge");
    let expunged = stage.get("Alice", &format!("/events/{id}")).await;
    assert_eq!(expunged.json["expunged"], json!(true));
    assert!(expunged.json.get("data").is_none());
}

/// Sends a test, publishes, delivers again, replays, and reads what became of each.
#[tokio::test]
async fn what_is_sent_can_be_followed() {
    let stage = Stage::new();
    let (_, path) = stage.webhook("fine").await;
    let (failing, _) = stage.webhook("failing").await;
    let running = stage.run();
    let test = stage.post("Alice", &format!("{path}/test"), json!({})).await;
    assert_eq!(test.status, 202, "{test:?}");
    let delivery = format!("/deliveries/{}", test.json["deliveryId"].as_str().expect("an id"));
    let done = stage.until(&delivery, |it| it["state"] == "delivered").await;
    assert_eq!(done["attempts"][0]["status"], json!(200));
    assert_eq!(done["type"], json!("webhook.test"));
    assert_eq!(done["request"]["url"], json!("https://fine.example.com/hook"));
    assert_eq!(done["eventId"], test.json["eventId"]);

    let event = stage.event(1).await;
    let of_event = format!("/events/{}/deliveries", event.id());
    let ends = |it: &Value| {
        let items = it["data"].as_array().expect("a list");
        items.len() == 2 && items.iter().all(|it| it["attempts"][0].is_object())
    };
    let both = stage.until(&of_event, ends).await;
    let (one, two) = (&both["data"][0], &both["data"][1]);
    let fine = if one["state"] == "delivered" { one } else { two };
    let waiting = if one["state"] == "delivered" { two } else { one };
    assert_eq!((&fine["state"], &waiting["state"]), (&json!("delivered"), &json!("waiting")));
    assert_eq!(waiting["attempts"][0]["status"], json!(500));
    for (query, count) in [
        ("state=waiting".to_owned(), 1),
        ("state=waiting&state=delivered".to_owned(), 3),
        (format!("webhook={}", failing.id()), 1),
        (format!("event={}", event.id()), 2),
        ("publishedTime[gte]=2020-01-01T00:00:00Z".to_owned(), 3),
        ("publishedTime[lt]=2020-01-01T00:00:00Z".to_owned(), 0),
        ("webhook=nothing".to_owned(), 0),
    ] {
        let listed = stage.get("Alice", &format!("/deliveries?{query}")).await;
        assert_eq!(listed.json["data"].as_array().map(Vec::len), Some(count), "{query}");
    }

    let again = format!("/deliveries/{}/redeliver", fine["id"].as_str().expect("an id"));
    let again = stage.post("Alice", &again, json!({})).await;
    assert_eq!(again.status, 202, "{again:?}");
    let delivery = format!("/deliveries/{}", again.json["deliveryId"].as_str().expect("an id"));
    let done = stage.until(&delivery, |it| it["state"] == "delivered").await;
    assert!(done["cause"].is_string(), "somebody asked for it: {done}");

    let request = json!({ "kind": "all", "from": "2020-01-01T00:00:00Z", "rate": 10_000 });
    let replay = stage.post("Alice", &format!("{path}/replays"), request).await;
    assert_eq!(replay.status, 202, "{replay:?}");
    let watch = format!("/replays/{}", replay.id());
    let done = stage.until(&watch, |it| it["state"] == "done").await;
    assert_eq!((&done["looked"], &done["made"]), (&json!(2), &json!(1)), "tests are not replayed");
    let one = stage.post("Alice", &format!("/events/{}/replays", event.id()), json!({})).await;
    assert_eq!((one.status.as_u16(), &one.json["scope"]), (202, &json!("event")));
    let listed = stage.get("Alice", "/replays").await;
    assert_eq!(listed.json["data"].as_array().map(Vec::len), Some(2));
    let cancelled = stage.post("Alice", &format!("{watch}/cancel"), json!({})).await;
    assert_eq!(cancelled.status, 200);

    let of_webhook = stage.get("Alice", &format!("{path}/statistics")).await;
    assert_eq!(
        of_webhook.json["outcomes"]["succeeded"].as_u64().map(|count| count >= 3),
        Some(true),
        "{of_webhook:?}"
    );
    let all = stage.get("Alice", "/statistics").await;
    assert!(all.json["attempts"].as_u64() > of_webhook.json["attempts"].as_u64());
    assert_eq!(stage.get("Bob", "/statistics").await.json["attempts"], json!(0));
    let overview = stage.get("Alice", "/overview").await;
    assert!(overview.json.get("health").is_none(), "the node is the operator's");
    assert_eq!(overview.json["webhooks"]["enabled"], json!(2));
    assert_eq!(overview.json["failing"][0]["id"], json!(failing.id()));
    assert!(overview.json["failing"][0]["failingSince"].is_string());
    let overview = stage.get("Olga", "/overview").await;
    assert_eq!(overview.json["health"]["ready"], json!(true));
    running.abort();
}

/// Reads who one is, and the catalogue, plain and with a webhook's selection.
#[tokio::test]
async fn callers_see_who_they_are_and_what_there_is() {
    let stage = Stage::new();
    let me = stage.get("Manager", "/me").await.json;
    assert_eq!(
        me,
        json!({
            "user": "Manager", "accounts": ["acme"], "liveMode": null, "permissions": ["view", "manage"],
        })
    );
    let me = stage.get("Olga", "/me").await.json;
    assert_eq!(
        (&me["accounts"], me["permissions"].as_array().map(Vec::len)),
        (&Value::Null, Some(4))
    );
    assert_eq!(stage.get("Tester", "/me").await.json["liveMode"], json!(false));
    let catalogue = stage.get("Viewer", "/catalogue").await.json;
    assert_eq!(
        (&catalogue["strict"], catalogue["data"].as_array().map(Vec::len)),
        (&json!(false), Some(3))
    );
    let (webhook, _) = stage.webhook("a").await;
    let selected = stage.get("Viewer", &format!("/catalogue?webhook={}", webhook.id())).await.json;
    let of = |name: &str| {
        let entries = selected["data"].as_array().expect("a list");
        entries.iter().find(|entry| entry["type"] == name).expect("an entry")["selected"].clone()
    };
    assert_eq!((of("order.accepted"), of("invoice.paid")), (json!(true), json!(false)));
    assert_eq!(stage.get("Viewer", "/openapi.json").await.json["info"]["title"], json!("Webhooks"));
}
