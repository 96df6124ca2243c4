//! A host with the HTTP API, and callers of several kinds. Every answer is held against the description.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tidings::api::{Actor, Api, Permission, authorizer_fn};
use tidings::storage::{MemoryStorage, Storage};
use tidings::transport::{Response, transport_fn};
use tidings::{Account, Catalogue, CatalogueEntry, Mode, Tidings};
use tower::ServiceExt;

use crate::contract::Contract;

pub(crate) struct Stage {
    pub(crate) tidings: Tidings,
    pub(crate) router: Router,
    contract: Contract,
    /// The requests that receivers got, by host.
    pub(crate) received: Arc<Mutex<Vec<String>>>,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Answer {
    /// The code and the parameter of the only error.
    pub(crate) fn error(&self) -> (u16, &str, &str) {
        let error = &self.json["errors"][0];
        let text = |name: &str| error[name].as_str().unwrap_or_default();
        (self.status.as_u16(), text("code"), text("parameter"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("text")).unwrap_or_default()
    }

    pub(crate) fn id(&self) -> String {
        self.json["id"].as_str().expect("an id").to_owned()
    }
}

pub(crate) fn account(name: &str) -> Account {
    Account::new(name).expect("an account")
}

/// Who the header `x-user` says: an operator, two customers, and lesser people.
pub(crate) fn actor(name: &str) -> Option<Actor> {
    let all = Permission::ALL;
    let actor = Actor::new(name);
    Some(match name {
        "Olga" => actor.all_accounts().may(all),
        "Alice" => actor.accounts([account("acme")]).may(all),
        "Bob" => actor.accounts([account("other")]).may(all),
        "Manager" => actor.accounts([account("acme")]).may([Permission::Manage]),
        "Revealer" => actor.accounts([account("acme")]).may([Permission::Reveal]),
        "Operator" => actor.accounts([account("acme")]).may([Permission::Operate]),
        "Viewer" => actor.accounts([account("acme")]),
        "Tester" => actor.accounts([account("acme")]).mode(Mode::Test).may(all),
        "Both" => actor.accounts([account("acme"), account("other")]).may(all),
        "Nothing" => actor.accounts([]).may(all),
        _ => return None,
    })
}

fn catalogue() -> Catalogue {
    let entry = |name: &str| CatalogueEntry::new(name).expect("a type");
    let accepted = entry("order.accepted").description("Paid and free of doubt").key();
    let builder = Catalogue::builder().entry(accepted).entry(entry("order.blocked"));
    builder.entry(entry("invoice.paid").deprecated()).build().expect("a catalogue")
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::over(Arc::new(MemoryStorage::new()))
    }

    pub(crate) fn over(storage: Arc<dyn Storage>) -> Self {
        Self::of(Tidings::builder_shared(storage).catalogue(catalogue()).build())
    }

    pub(crate) fn of(tidings: Tidings) -> Self {
        let authorizer = authorizer_fn(|request| {
            let name = request.headers.get("x-user").and_then(|name| name.to_str().ok());
            Ok(name.and_then(actor))
        });
        let router = Api::new(tidings.clone(), authorizer).router();
        Self { tidings, router, contract: Contract::new(), received: Arc::default() }
    }

    /// Runs a dispatcher whose receivers answer by their host: `gone`, `failing`, or well.
    pub(crate) fn run(&self) -> tokio::task::JoinHandle<()> {
        let received = self.received.clone();
        let transport = transport_fn(move |request| {
            let host = request.http.uri().host().unwrap_or_default().to_owned();
            let status = if host.starts_with("failing") { 500 } else { 200 };
            received.lock().expect("a list").push(host);
            async move { Ok(Response::new(status)) }
        });
        let dispatcher = self.tidings.dispatcher(transport).expect("a dispatcher");
        tokio::spawn(dispatcher.run(std::future::pending()))
    }

    /// Serves the API at this path on a port of its own, and says where that is.
    pub(crate) async fn serve(&self, path: &str) -> (String, tokio::task::JoinHandle<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let place = format!("http://{}{path}", listener.local_addr().expect("an address"));
        let app = match path {
            "" => self.router.clone(),
            path => Router::new().nest(path, self.router.clone()),
        };
        let server = async move { axum::serve(listener, app).await.expect("a server") };
        (place, tokio::spawn(server))
    }

    /// A request of this user, as a program sends it.
    pub(crate) fn request(
        &self,
        user: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Request<Body> {
        let request = Request::builder().method(method).uri(path).header("x-user", user);
        let request = request.header("content-type", "application/json");
        let body = body.map(Value::to_string).unwrap_or_default();
        request.body(Body::from(body)).expect("a request")
    }

    /// Sends a request, and holds the answer against the description.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let text = body.collect().await.expect("a body").to_bytes();
        let text = String::from_utf8(text.to_vec()).expect("UTF-8");
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ] {
            assert_eq!(parts.headers.get(name).expect(name), value, "{method} {path}");
        }
        let json =
            if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") };
        let answer = Answer { status: parts.status, headers: parts.headers, text, json };
        self.contract.check(method.as_str(), &path, &answer);
        answer
    }

    pub(crate) async fn call(
        &self,
        user: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        self.send(self.request(user, method, path, body.as_ref())).await
    }

    pub(crate) async fn get(&self, user: &str, path: &str) -> Answer {
        self.call(user, "GET", path, None).await
    }

    pub(crate) async fn post(&self, user: &str, path: &str, body: Value) -> Answer {
        self.call(user, "POST", path, Some(body)).await
    }

    /// A webhook of Alice's, and its path.
    pub(crate) async fn webhook(&self, host: &str) -> (Answer, String) {
        let address = format!("https://{host}.example.com/hook");
        let body = json!({ "address": address, "types": ["order.*"], "enabled": true });
        let created = self.post("Alice", "/webhooks", body).await;
        assert_eq!(created.status, 201, "{created:?}");
        let path = format!("/webhooks/{}", created.id());
        (created, path)
    }

    /// An event of Alice's.
    pub(crate) async fn event(&self, number: usize) -> Answer {
        let object = json!({ "id": number.to_string(), "state": "accepted" });
        let body = json!({ "type": "order.accepted", "data": { "object": object } });
        let published = self.post("Alice", "/events", body).await;
        assert_eq!(published.status, 201, "{published:?}");
        published
    }

    /// Reads `path` until `done`.
    pub(crate) async fn until(&self, path: &str, done: impl Fn(&Value) -> bool) -> Value {
        let look = async {
            loop {
                let answer = self.get("Alice", path).await;
                if done(&answer.json) {
                    return answer.json;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let patience = std::time::Duration::from_secs(20);
        tokio::time::timeout(patience, look).await.expect("it never happens")
    }
}
