//! The stage: a host with the console over a real storage, a running dispatcher, and receivers.
//!
//! Its login is a cookie that names the user, whom the authorizer then knows: an operator, customers, and
//! others by any name.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, header};
use axum::response::Html;
use axum::routing::get;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidings::api::{Actor, Console, Permission, authorizer_fn};
use tidings::storage::{MemoryStorage, SqliteStorage, Storage};
use tidings::transport::{HyperOptions, HyperTransport, Transport};
use tidings::{
    Account, Catalogue, Change, Edit, Event, EventId, NetworkPolicy, Registration, Tidings,
    Webhook, WebhookId,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::form_urlencoded;

use super::receivers::Receivers;

/// Where the console is mounted, unless a test says otherwise.
const MOUNT: &str = "/admin/hooks";

pub(crate) struct Stage {
    pub(crate) tidings: Tidings,
    pub(crate) receivers: Receivers,
    /// The server: scheme, host and port.
    pub(crate) origin: String,
    /// The console, with a slash at its end.
    pub(crate) place: String,
    _folder: TempDir,
    _tasks: JoinSet<()>,
}

impl Stage {
    /// Over a file of SQLite, with the shop's catalogue.
    pub(crate) async fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("tidings.db");
        let storage = SqliteStorage::open(&file).await.expect("a storage");
        Self::over(folder, Arc::new(storage), shop(), |console| console.at(MOUNT)).await
    }

    /// In memory, with this catalogue.
    pub(crate) async fn with_catalogue(catalogue: Option<Catalogue>) -> Self {
        let folder = TempDir::new().expect("a folder");
        let storage = Arc::new(MemoryStorage::new());
        Self::over(folder, storage, catalogue, |console| console.at(MOUNT)).await
    }

    /// In memory, with the console mounted as `mount` does it.
    pub(crate) async fn mounted(mount: impl FnOnce(Console) -> Router) -> Self {
        let folder = TempDir::new().expect("a folder");
        Self::over(folder, Arc::new(MemoryStorage::new()), shop(), mount).await
    }

    /// Over a storage that has a past, with other receivers.
    pub(crate) async fn after(storage: Arc<dyn Storage>, receivers: impl Transport) -> Self {
        let folder = TempDir::new().expect("a folder");
        Self::made(folder, storage, shop(), receivers, |console| console.at(MOUNT)).await
    }

    async fn over(
        folder: TempDir,
        storage: Arc<dyn Storage>,
        catalogue: Option<Catalogue>,
        mount: impl FnOnce(Console) -> Router,
    ) -> Self {
        let network = NetworkPolicy::public_only().allow_loopback();
        let options = HyperOptions::default().with_network(network);
        let transport = HyperTransport::new(options).expect("a transport");
        Self::made(folder, storage, catalogue, transport, mount).await
    }

    async fn made(
        folder: TempDir,
        storage: Arc<dyn Storage>,
        catalogue: Option<Catalogue>,
        transport: impl Transport,
        mount: impl FnOnce(Console) -> Router,
    ) -> Self {
        let network = NetworkPolicy::public_only().allow_loopback();
        let mut builder = Tidings::builder_shared(storage).network(network);
        if let Some(catalogue) = catalogue {
            builder = builder.catalogue(catalogue);
        }
        let tidings = builder.build();
        let receivers = Receivers::start().await;
        let dispatcher = tidings.dispatcher(transport).expect("a dispatcher");
        let mut tasks = JoinSet::new();
        tasks.spawn(dispatcher.run(std::future::pending()));

        let authorizer =
            authorizer_fn(|request| Ok(user(&request.headers).map(|name| actor(&name))));
        let console = mount(Console::new(tidings.clone(), authorizer));
        let planted = planted(&receivers);
        let app = console.route("/planted", get(async || planted));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        tasks.spawn(async move { axum::serve(listener, app).await.expect("a server") });
        let place = format!("{origin}{MOUNT}/");
        Self { tidings, receivers, origin, place, _folder: folder, _tasks: tasks }
    }

    /// A webhook of the receiver of this name, enabled for these types.
    pub(crate) async fn webhook(&self, receiver: &str, types: &[&str]) -> Webhook {
        let registration =
            Registration::new(&self.receivers.url(receiver), types).expect("a webhook");
        self.register(registration.enabled(true)).await
    }

    pub(crate) async fn register(&self, registration: Registration) -> Webhook {
        self.tidings.create(registration).await.expect("a webhook").webhook
    }

    pub(crate) async fn describe(&self, id: WebhookId, text: &str) {
        let edit = Edit::new().description(text);
        self.tidings.edit(id, None, edit).await.expect("an edit");
    }

    /// Publishes that the order was accepted.
    pub(crate) async fn order(&self, id: &str) -> EventId {
        self.publish(accepted(id)).await
    }

    pub(crate) async fn publish(&self, change: Change) -> EventId {
        let event: Event = self.tidings.event(change).expect("an event");
        self.tidings.publish(&event).await.expect("a publish");
        event.id()
    }
}

/// An order that was reviewed, and is accepted now.
pub(crate) fn accepted(id: &str) -> Change {
    let before: Value =
        json!({ "id": id, "state": "in_review", "total": 29.9, "customer": { "name": "Kim Doe" } });
    let mut after = before.clone();
    after["state"] = json!("accepted");
    after["total"] = json!(34.5);
    Change::updated("order.accepted", &before, &after).expect("a change")
}

pub(crate) fn account(name: &str) -> Account {
    Account::new(name).expect("an account")
}

fn shop() -> Option<Catalogue> {
    let text = include_str!("../../examples/commerce/catalogue.json");
    Some(Catalogue::builder().json(text).expect("JSON").build().expect("a catalogue"))
}

fn user(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    // The cookie has the form of a form, so that any name fits.
    let mut pairs = cookies.split("; ").flat_map(|pair| form_urlencoded::parse(pair.as_bytes()));
    pairs.find(|(name, _)| name == "user").map(|(_, value)| value.into_owned())
}

fn actor(name: &str) -> Actor {
    let actor = Actor::new(name);
    match name {
        "Alice" => actor.accounts([account("acme")]).mode(tidings::Mode::Live).may(Permission::ALL),
        "Viewer" => actor.accounts([account("acme")]).mode(tidings::Mode::Live),
        "Both" => actor.accounts([account("acme"), account("other")]).may(Permission::ALL),
        "Crowd" => actor.accounts(super::payloads::accounts()).may(Permission::ALL),
        _ => actor.all_accounts().may(Permission::ALL),
    }
}

/// A page that does what the console must never do.
fn planted(receivers: &Receivers) -> Html<String> {
    let foreign = format!("{}/well", receivers.origin);
    Html(format!(
        r#"<!doctype html><meta http-equiv="content-security-policy" content="style-src 'self'">
<style>body {{ color: red }}</style>
<script>
  alert("planted");
  confirm("planted");
  console.error("planted word");
  setTimeout(() => {{ throw new Error("planted error"); }});
  Promise.reject(new Error("planted rejection"));
  const asked = [fetch("{foreign}", {{ mode: "no-cors" }}), fetch("/nowhere")];
  Promise.allSettled(asked).then(() => {{ document.title = "done"; }});
</script>"#
    ))
}
