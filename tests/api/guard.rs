//! Who may what: nobody without a login, nobody for a foreign page, nothing out of reach.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tidings::api::{Actor, Api, Permission, authorizer_fn};
use tidings::storage::MemoryStorage;
use tidings::{Error, ErrorKind, Tidings};
use tower::ServiceExt;
use uuid::Uuid;

use crate::contract::{Contract, Operation};
use crate::stage::{Answer, Stage, actor};

/// A body that this operation takes.
fn body(operation: &Operation, user: &str) -> Option<Value> {
    let ends = |end: &str| operation.path.ends_with(end);
    if !operation.changes() || operation.method == "DELETE" {
        return None;
    }
    let object = json!({ "id": "1" });
    Some(match operation.method.as_str() {
        "PATCH" => json!({ "description": "changed" }),
        _ if operation.path == "/webhooks" => {
            json!({ "address": "https://new.example.com/", "types": ["*"] })
        }
        _ if operation.path == "/events" => {
            json!({ "type": "order.accepted", "data": { "object": object } })
        }
        _ if ends("disable") || ends("reveal") || ends("rotate") => json!({ "confirmation": user }),
        _ if operation.path == "/webhooks/{id}/replays" => json!({ "kind": "all" }),
        _ => json!({}),
    })
}

/// Somebody's webhook, event, delivery and replay: the id for each operation.
struct Owned {
    webhook: String,
    event: String,
    delivery: String,
    replay: String,
}

impl Owned {
    async fn by(stage: &Stage, user: &str) -> Self {
        let hook =
            json!({ "address": "https://fine.example.com/", "types": ["*"], "enabled": true });
        let webhook = stage.post(user, "/webhooks", hook).await;
        let test = stage.post(user, &format!("/webhooks/{}/test", webhook.id()), json!({})).await;
        let text = |name: &str| test.json[name].as_str().expect("an id").to_owned();
        let replay = json!({ "kind": "missed" });
        let replay = stage.post(user, &format!("/webhooks/{}/replays", webhook.id()), replay).await;
        Self {
            webhook: webhook.id(),
            event: text("eventId"),
            delivery: text("deliveryId"),
            replay: replay.id(),
        }
    }

    fn of(&self, operation: &Operation) -> &str {
        match operation.path.split('/').nth(1).expect("a resource") {
            "webhooks" => &self.webhook,
            "events" => &self.event,
            "deliveries" => &self.delivery,
            "replays" => &self.replay,
            other => panic!("whose is {other}?"),
        }
    }
}

/// What two answers must have in common, so that nobody can tell them apart.
fn seen(answer: &Answer) -> (StatusCode, &str, Vec<String>) {
    let headers = answer.headers.iter();
    let mut headers: Vec<_> = headers.map(|(name, value)| format!("{name}: {value:?}")).collect();
    headers.sort();
    (answer.status, &answer.text, headers)
}

/// Sends every operation with the id of another's, an unknown one and none that is one, in four roles.
#[tokio::test]
async fn what_is_another_s_looks_as_if_it_did_not_exist() {
    let stage = Stage::new();
    let foreign = Owned::by(&stage, "Bob").await;
    let live = Owned::by(&stage, "Alice").await;
    let mut compared = 0;
    for operation in Contract::new().operations() {
        if !operation.path.contains("{id}") {
            continue;
        }
        for user in ["Alice", "Manager", "Viewer", "Tester"] {
            // What is live is out of a tester's reach, in whatever account.
            let hidden = if user == "Tester" { &live } else { &foreign };
            let ask = async |id: &str| {
                let (path, body) = (operation.at(id), body(&operation, user));
                stage.call(user, &operation.method, &path, body).await
            };
            let theirs = ask(hidden.of(&operation)).await;
            assert!(
                [403, 404].contains(&theirs.status.as_u16()),
                "{user} {operation:?} {theirs:?}"
            );
            for unknown in [Uuid::from_u128(7).to_string(), "nothing".to_owned()] {
                assert_eq!(seen(&theirs), seen(&ask(&unknown).await), "{user} {operation:?}");
            }
            compared += 1;
        }
    }
    assert!(compared >= 60, "{compared}");
    // And nothing was changed by all that.
    let theirs = stage.get("Bob", &format!("/webhooks/{}", foreign.webhook)).await;
    assert_eq!((&theirs.json["description"], &theirs.json["enabled"]), (&json!(""), &json!(true)));
}

/// Lists as several people what two accounts have, and asks for accounts out of reach.
#[tokio::test]
async fn listings_have_what_is_within_reach() {
    let stage = Stage::new();
    let (_bobs, alices) = (Owned::by(&stage, "Bob").await, Owned::by(&stage, "Alice").await);
    for path in ["/webhooks", "/events", "/deliveries", "/replays"] {
        let count = async |user: &str, query: &str| {
            let answer = stage.get(user, &format!("{path}?{query}")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            (answer.json["data"].as_array().expect("a list").len(), answer.text)
        };
        assert_eq!(count("Olga", "").await.0, 2, "{path}");
        assert_eq!(count("Olga", "account=acme").await.0, 1, "{path}");
        assert_eq!(count("Alice", "").await.0, 1, "{path}");
        assert_eq!(count("Viewer", "account=acme").await.0, 1, "{path}");
        assert_eq!(count("Both", "account=other").await.0, 1, "{path}");
        assert_eq!(count("Tester", "").await.0, 0, "{path}");
        assert_eq!(count("Tester", "liveMode=true").await.0, 0, "{path}");
        assert_eq!(count("Nothing", "").await.0, 0, "{path}");
        let foreign = count("Alice", "account=other").await;
        assert_eq!(foreign, count("Alice", "account=unknown").await, "{path}");
        assert_eq!(foreign.0, 0, "{path}");
        let unsaid = stage.get("Both", path).await;
        assert_eq!(unsaid.error(), (400, "missing_parameter", "account"), "{path}");
    }
    let foreign = stage.get("Bob", &format!("/deliveries?webhook={}", alices.webhook)).await;
    assert_eq!(foreign.json["data"], json!([]));
    for (user, account, status) in [
        ("Alice", "other", 403),
        ("Alice", "unknown", 403),
        ("Olga", "unknown", 201),
        ("Nothing", "acme", 403),
    ] {
        let hook =
            json!({ "address": "https://a.example.com/", "types": ["*"], "account": account });
        assert_eq!(stage.post(user, "/webhooks", hook).await.status, status, "{user} {account}");
        let event = json!({
            "type": "order.accepted", "data": { "object": {} }, "account": account,
        });
        assert_eq!(stage.post(user, "/events", event).await.status, status, "{user} {account}");
    }
    let hook = json!({ "address": "https://a.example.com/", "types": ["*"], "liveMode": true });
    assert_eq!(stage.post("Tester", "/webhooks", hook).await.status, 403);
    let hook = json!({ "address": "https://a.example.com/", "types": ["*"] });
    assert_eq!(stage.post("Tester", "/webhooks", hook).await.json["liveMode"], json!(false));
}

/// Sends every operation as people with each permission alone.
#[tokio::test]
async fn nobody_does_what_they_may_not() {
    let stage = Stage::new();
    let alices = Owned::by(&stage, "Alice").await;
    let allowed = |operation: &Operation, user: &str| {
        let path = operation.path.as_str();
        let needs = match operation.method.as_str() {
            "GET" => None,
            _ if path.contains("secrets") => Some(Permission::Reveal),
            _ if path.ends_with("replays")
                || path.starts_with("/replays")
                || path.starts_with("/deliveries") =>
            {
                Some(Permission::Operate)
            }
            "POST" if path == "/events" => Some(Permission::Operate),
            _ => Some(Permission::Manage),
        };
        needs.is_none_or(|needs| actor(user).expect("somebody").can(needs))
    };
    let mut refused = 0;
    for operation in Contract::new().operations() {
        for user in ["Viewer", "Manager", "Revealer", "Operator"] {
            if operation.method == "DELETE" && user == "Manager" {
                continue; // It would take the webhook from the others.
            }
            let id = if operation.path.contains("{id}") { alices.of(&operation) } else { "" };
            let answer = stage
                .call(user, &operation.method, &operation.at(id), body(&operation, user))
                .await;
            if allowed(&operation, user) {
                assert!(answer.status.is_success(), "{user} {operation:?} {answer:?}");
            } else {
                assert_eq!(answer.error(), (403, "permission", ""), "{user} {operation:?}");
                refused += 1;
            }
        }
    }
    assert!(refused >= 39, "{refused}");
    let hook = json!({ "address": "https://a.example.com/", "types": ["*"] });
    let created = stage.post("Manager", "/webhooks", hook).await;
    assert!(created.json.get("secret").is_none(), "who may not reveal does not see it once either");
    let own = json!({
        "address": "https://a.example.com/", "types": ["*"], "secret": format!("whsec_{}", "A".repeat(43) + "="),
    });
    assert_eq!(stage.post("Manager", "/webhooks", own).await.error(), (403, "permission", ""));
}

/// Forges every change in five ways that a foreign page has.
#[tokio::test]
async fn no_foreign_page_changes_anything() {
    let stage = Stage::new();
    let alices = Owned::by(&stage, "Alice").await;
    let forgeries: [&[(&str, &str)]; 5] = [
        &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")],
        &[("origin", "null")],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://hooks.example.com.evil.example")],
        &[("content-type", "text/plain")],
    ];
    let mut forged = 0;
    for operation in Contract::new().operations().iter().filter(|operation| operation.changes()) {
        let id = if operation.path.contains("{id}") { alices.of(operation) } else { "" };
        for headers in forgeries {
            let body = body(operation, "Alice");
            let mut request =
                stage.request("Alice", &operation.method, &operation.at(id), body.as_ref());
            request.headers_mut().insert("host", "hooks.example.com".parse().expect("a host"));
            for (name, value) in headers {
                request.headers_mut().insert(*name, value.parse().expect("a value"));
            }
            // No form sends a DELETE, whatever its type.
            if operation.method == "DELETE" && headers[0].0 == "content-type" {
                continue;
            }
            let answer = stage.send(request).await;
            let code = match headers[0].0 {
                "content-type" => (415, "content_type", "Content-Type"),
                _ => (403, "foreign_origin", ""),
            };
            assert_eq!(answer.error(), code, "{operation:?} {headers:?} {answer:?}");
            forged += 1;
        }
    }
    assert!(forged >= 60, "{forged}");
    let webhook = stage.get("Alice", &format!("/webhooks/{}", alices.webhook)).await;
    assert_eq!(webhook.json["version"], json!(1), "nothing was changed");
    for path in ["/webhooks", "/events", "/deliveries", "/replays"] {
        let listed = stage.get("Alice", path).await;
        assert_eq!(
            listed.json["data"].as_array().map(Vec::len),
            Some(1),
            "nothing was made: {path}"
        );
    }
    // From a page of the host's own, the same is done.
    for operation in Contract::new().operations().iter().filter(|operation| operation.changes()) {
        if operation.method == "DELETE" || operation.path.ends_with("disable") {
            continue;
        }
        let id = if operation.path.contains("{id}") { alices.of(operation) } else { "" };
        let body = body(operation, "Alice");
        let mut request =
            stage.request("Alice", &operation.method, &operation.at(id), body.as_ref());
        for (name, value) in [
            ("host", "hooks.example.com"),
            ("origin", "https://hooks.example.com"),
            ("sec-fetch-site", "same-origin"),
        ] {
            request.headers_mut().insert(name, value.parse().expect("a value"));
        }
        let answer = stage.send(request).await;
        assert!(answer.status.is_success(), "{operation:?} {answer:?}");
    }
}

/// Asks every operation of hosts whose authorizers know nobody, fail, panic, and hang.
#[tokio::test(start_paused = true)]
async fn without_an_answer_of_the_host_nothing_is_done() {
    #[derive(Debug)]
    struct Hangs;
    #[async_trait::async_trait]
    impl tidings::api::Authorizer for Hangs {
        async fn authorize(
            &self,
            _: &axum::http::request::Parts,
        ) -> tidings::Result<Option<Actor>> {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            Ok(Some(Actor::new("Olga").all_accounts().may(Permission::ALL)))
        }
    }
    let tidings = Tidings::new(MemoryStorage::new());
    let error = |kind| move |_: &_| Err(Error::new(kind, "the login is down: password=hunter2"));
    let routers = [
        (Api::new(tidings.clone(), authorizer_fn(|_| Ok(None))).router(), 401),
        (Api::new(tidings.clone(), authorizer_fn(error(ErrorKind::Storage))).router(), 503),
        (Api::new(tidings.clone(), authorizer_fn(error(ErrorKind::Refused))).router(), 403),
        (Api::new(tidings.clone(), authorizer_fn(|_| panic!("planted"))).router(), 403),
        (Api::new(tidings.clone(), Hangs).router(), 503),
    ];
    for (router, status) in routers {
        for operation in Contract::new().operations() {
            let request = Request::builder().method(operation.method.as_str());
            let request = request.uri(operation.at(&Uuid::from_u128(7).to_string()));
            let request = request.header("content-type", "application/json");
            let text = body(&operation, "Olga").map(|body| body.to_string()).unwrap_or_default();
            let request = request.body(Body::from(text)).expect("a request");
            let response = router.clone().oneshot(request).await.expect("an answer");
            assert_eq!(response.status(), status, "{operation:?}");
            let body = axum::body::to_bytes(response.into_body(), 10_000).await.expect("a body");
            assert!(!String::from_utf8_lossy(&body).contains("hunter2"));
        }
    }
    let (query, page) = (tidings::WebhookQuery::default(), tidings::PageRequest::default());
    assert_eq!(tidings.webhooks(&query, &page).await.expect("a listing").items, []);
}

/// Names what is another's in parameters and bodies: it is as if it did not exist.
#[tokio::test]
async fn no_parameter_reaches_what_is_another_s() {
    let stage = Stage::new();
    let (bobs, alices) = (Owned::by(&stage, "Bob").await, Owned::by(&stage, "Alice").await);
    let unknown = Uuid::from_u128(7).to_string();
    let same = async |method: &str, of: &dyn Fn(&str) -> (String, Option<Value>), theirs: &str| {
        let (path, body) = of(theirs);
        let theirs = stage.call("Alice", method, &path, body).await;
        let (path, body) = of(&unknown);
        let unknown = stage.call("Alice", method, &path, body).await;
        assert_eq!(seen(&theirs), seen(&unknown), "{method} {path}");
        theirs
    };
    let replays = format!("/events/{}/replays", alices.event);
    let to = |id: &str| (replays.clone(), Some(json!({ "webhook": id })));
    assert_eq!(same("POST", &to, &bobs.webhook).await.status, 404);
    for path in ["/deliveries", "/replays"] {
        let of = |id: &str| (format!("{path}?webhook={id}"), None);
        assert_eq!(same("GET", &of, &bobs.webhook).await.json["data"], json!([]), "{path}");
    }
    let of = |id: &str| (format!("/deliveries?event={id}"), None);
    assert_eq!(same("GET", &of, &bobs.event).await.json["data"], json!([]));
    let of = |id: &str| (format!("/catalogue?webhook={id}"), None);
    assert_eq!(same("GET", &of, &bobs.webhook).await.status, 404);
    let publish = |id: &str| {
        let data = json!({ "object": {} });
        ("/events".to_owned(), Some(json!({ "id": id, "type": "order.accepted", "data": data })))
    };
    assert_eq!(same("POST", &publish, &bobs.event).await.error(), (403, "out_of_reach", "id"));
    let own = format!("/webhooks/{}/replays", alices.webhook);
    let start = |id: &str| (own.clone(), Some(json!({ "kind": "all", "id": id })));
    assert_eq!(same("POST", &start, &bobs.replay).await.error(), (403, "out_of_reach", "id"));
    let both = stage.get("Both", &format!("/events/{}/deliveries", alices.event)).await;
    assert_eq!(both.status, 200, "the event says whose they are");
    let tester = stage.get("Tester", "/overview").await.json;
    assert!(tester.get("backlog").is_none(), "it counts what is live");
    assert_eq!(tester["webhooks"]["enabled"], json!(0));
}
