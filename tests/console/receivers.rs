//! The receivers: one server on this machine, with an answer for each path that a test can change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a receiver got.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) name: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

#[derive(Clone, Default)]
struct Shared {
    answers: Arc<Mutex<HashMap<String, (u16, String)>>>,
    received: Arc<Mutex<Vec<Received>>>,
    /// Whether receivers whose name begins with `held` answer yet.
    released: watch::Sender<bool>,
}

pub(crate) struct Receivers {
    /// Scheme, host and port.
    pub(crate) origin: String,
    shared: Shared,
    _tasks: JoinSet<()>,
}

impl Receivers {
    pub(crate) async fn start() -> Self {
        let shared = Shared::default();
        let app = Router::new().route("/{*name}", axum::routing::any(answer));
        let app = app.with_state(shared.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, app).await.expect("a server") });
        Self { origin, shared, _tasks: tasks }
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.origin)
    }

    /// From now on the receiver of this name answers so; those that nobody names answer 200.
    pub(crate) fn answer(&self, name: &str, status: u16, body: &str) {
        let mut answers = self.shared.answers.lock().expect("the answers");
        answers.insert(name.to_owned(), (status, body.to_owned()));
    }

    /// Lets those answer that are held.
    pub(crate) fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// What came to the receiver of this name.
    pub(crate) fn received(&self, name: &str) -> Vec<Received> {
        let received = self.shared.received.lock().expect("the requests");
        received.iter().filter(|one| one.name == name).cloned().collect()
    }
}

async fn answer(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let received = Received { name: name.clone(), headers, body };
    shared.received.lock().expect("the requests").push(received);
    if name.starts_with("held") {
        let mut released = shared.released.subscribe();
        let _ = released.wait_for(|released| *released).await;
    }
    let answer = shared.answers.lock().expect("the answers").get(&name).cloned();
    let (status, text) = answer.unwrap_or((200, "thank you".into()));
    let status = StatusCode::from_u16(status).expect("a status");
    // As markup, which a browser would draw if it were given it as it is.
    (status, [("content-type", "text/html"), ("x-answer", "<b>bold</b>")], text).into_response()
}
