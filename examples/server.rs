//! The console and the HTTP API as a small server of their own.
//!
//! `cargo run --example server --features console -- --demo` shows them living: the shop's catalogue,
//! receivers that are well, slow, failing or gone, and changes all the time.
//!
//! * `--database <file or postgres://…>`: where everything is kept; a temporary SQLite file otherwise.
//!   (PostgreSQL needs the feature `postgres`.)
//! * `--listen <address>`: `127.0.0.1:8080` otherwise.
//! * `--token <text>`: what one logs in with; a new one is made and printed otherwise.
//! * `--user <name>`: who that is, and what is typed to confirm; `admin` otherwise.
//! * `--demo`: fills it, and lets receivers be on this machine.
//!
//! It stands for a host's login and no more: one token, one user. A host has its own.

#[path = "commerce/day.rs"]
#[allow(dead_code)] // The titles are for another example.
mod day;
#[path = "commerce/models.rs"]
mod models;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;

use tidings::api::{Actor, Console, Permission, authorizer_fn};
use tidings::storage::{SqliteStorage, Storage};
use tidings::transport::{HyperOptions, HyperTransport};
use tidings::{Catalogue, Entropy, NetworkPolicy, OsEntropy, Registration, Tidings};

type Failure = Box<dyn Error + Send + Sync>;

/// What the command line says.
#[derive(Debug, Clone)]
struct Options {
    database: Option<String>,
    listen: String,
    token: Option<String>,
    user: String,
    demo: bool,
}

impl Options {
    fn read(arguments: impl IntoIterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Self {
            database: None,
            listen: "127.0.0.1:8080".into(),
            token: None,
            user: "admin".into(),
            demo: false,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--database" => options.database = Some(value()?),
                "--listen" => options.listen = value()?,
                "--token" => options.token = Some(value()?),
                "--user" => options.user = value()?,
                "--demo" => options.demo = true,
                other => return Err(format!("{other} is no option of this server").into()),
            }
        }
        Ok(options)
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let options = Options::read(std::env::args().skip(1))?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("tidings.db").display().to_string();
    let server = Server::open(&options, &file).await?;
    println!("{}", server.address);
    tokio::select! {
        done = server.run() => done,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// A server that is ready to run.
struct Server {
    /// Where to log in.
    address: String,
    listener: TcpListener,
    app: Router,
    tidings: Tidings,
    network: NetworkPolicy,
    demo: bool,
}

impl Server {
    async fn open(options: &Options, file: &str) -> Result<Self, Failure> {
        let storage = storage(options.database.as_deref().unwrap_or(file)).await?;
        let models = models::all()?;
        let catalogue = models.iter().fold(Catalogue::builder(), |all, model| all.model(model));
        let catalogue = catalogue.json(include_str!("commerce/catalogue.json"))?.build()?;
        let network = match options.demo {
            true => NetworkPolicy::public_only().allow_loopback(),
            false => NetworkPolicy::public_only(),
        };
        let tidings = Tidings::builder_shared(storage);
        let tidings = tidings.catalogue(catalogue).network(network.clone()).build();

        let listener = TcpListener::bind(&options.listen).await?;
        let token = options.token.clone().map_or_else(made_token, Ok)?;
        let address = format!("http://{}/login?token={token}", listener.local_addr()?);
        let app = app(tidings.clone(), &token, &options.user);
        Ok(Self { address, listener, app, tidings, network, demo: options.demo })
    }

    /// Serves, delivers, and in a demonstration publishes, until dropped.
    async fn run(self) -> Result<(), Failure> {
        let transport = HyperTransport::new(HyperOptions::default().with_network(self.network))?;
        let dispatching = self.tidings.dispatcher(transport)?.run(std::future::pending());
        let demonstrating = async {
            match self.demo {
                true => demonstrate(&self.tidings).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            served = axum::serve(self.listener, self.app) => Ok(served?),
            () = dispatching => Ok(()),
            ended = demonstrating => ended,
        }
    }
}

async fn storage(database: &str) -> Result<Arc<dyn Storage>, Failure> {
    #[cfg(feature = "postgres")]
    if database.starts_with("postgres") {
        return Ok(Arc::new(tidings::storage::PostgresStorage::connect(database).await?));
    }
    Ok(Arc::new(SqliteStorage::open(database).await?))
}

fn made_token() -> tidings::Result<String> {
    let mut bytes = [0; 16];
    OsEntropy.fill(&mut bytes)?;
    Ok(uuid::Uuid::from_bytes(bytes).simple().to_string())
}

// --- the login -----------------------------------------------------------------------------------

/// Who is logged in, as the host's login leaves it in the request.
#[derive(Debug, Clone)]
struct Session {
    user: String,
}

#[derive(Clone)]
struct Login {
    token: Arc<str>,
    user: Arc<str>,
}

const COOKIE: &str = "tidings-example";

fn app(tidings: Tidings, token: &str, user: &str) -> Router {
    let authorizer = authorizer_fn(|request| {
        let session = request.extensions.get::<Session>();
        Ok(session.map(|it| Actor::new(&it.user).all_accounts().may(Permission::ALL)))
    });
    let login = Login { token: token.into(), user: user.into() };
    let console = Console::new(tidings, authorizer).at("/hooks");
    let pages = Router::new()
        .route("/login", get(log_in))
        .route("/", get(async || moved("/hooks")))
        .with_state(login.clone());
    let console = console.layer(middleware::from_fn_with_state(login, session));
    pages.merge(console)
}

/// Takes the token once, and leaves it in a cookie that no script reads and no other site sends.
async fn log_in(State(login): State<Login>, uri: Uri) -> Response {
    let given = uri.query().and_then(|query| query.strip_prefix("token="));
    if given != Some(&*login.token) {
        return (StatusCode::FORBIDDEN, "This is not the token.").into_response();
    }
    let cookie = format!("{COOKIE}={}; HttpOnly; SameSite=Strict; Path=/", login.token);
    match HeaderValue::from_str(&cookie) {
        // A page that moves on by itself: a redirect from another site would not send a strict cookie.
        Ok(cookie) => {
            let page = "<!doctype html><meta http-equiv=refresh content='0;url=/hooks'>";
            ([(header::SET_COOKIE, cookie)], axum::response::Html(page)).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn moved(to: &'static str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
}

/// Says who sends a request.
async fn session(State(login): State<Login>, mut request: Request, next: Next) -> Response {
    if login.knows(request.headers()) {
        request.extensions_mut().insert(Session { user: login.user.to_string() });
    }
    next.run(request).await
}

impl Login {
    /// By cookie or by header: `Authorization: Bearer <token>`.
    fn knows(&self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let mut cookies = text(header::COOKIE).unwrap_or_default().split("; ");
        let cookie = cookies.find_map(|cookie| cookie.strip_prefix(COOKIE)?.strip_prefix('='));
        let bearer = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        cookie.or(bearer) == Some(&*self.token)
    }
}

// --- the demonstration ---------------------------------------------------------------------------

/// Registers receivers on this machine, unless there are some, and publishes a shop's day over and over.
async fn demonstrate(tidings: &Tidings) -> Result<(), Failure> {
    let place = receivers().await?;
    let known = tidings.webhooks(&Default::default(), &Default::default()).await?;
    if known.items.is_empty() {
        for (path, types, about, enabled) in [
            ("well", &["*"][..], "Everything, to the data warehouse", true),
            ("slow", &["order.*", "refund.*"], "Orders, to the bookkeeping", true),
            ("flaky", &["order.*"], "Orders, to the shop's partner", true),
            ("failing", &["fulfillment.*", "order.*"], "Shipping, being rebuilt", true),
            ("well/later", &["invoice.*"], "Invoices, from next month on", false),
        ] {
            let registration = Registration::new(&format!("{place}/{path}"), types)?;
            let registration = registration.with(tidings::Edit::new().description(about));
            tidings.create(registration.enabled(enabled)).await?;
        }
    }
    loop {
        for step in day::play()? {
            let events = tidings.events_of(step.changes)?;
            tidings.publish_all(&events).await?;
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    }
}

/// Receivers that are well, slow, well at times, and failing. Says where they are.
async fn receivers() -> Result<String, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let place = format!("http://{}", listener.local_addr()?);
    let turns = Arc::new(AtomicU64::new(0));
    let flaky = move || {
        let turn = turns.fetch_add(1, Ordering::Relaxed);
        async move {
            match turn % 4 {
                0 => (StatusCode::SERVICE_UNAVAILABLE, "try again in a moment"),
                _ => (StatusCode::OK, "thank you"),
            }
        }
    };
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        (StatusCode::ACCEPTED, "it is in the books")
    };
    let failing = || async { (StatusCode::INTERNAL_SERVER_ERROR, "we are being rebuilt") };
    let app = Router::new()
        .route("/well", post(|| async { StatusCode::NO_CONTENT }))
        .route("/well/later", post(|| async { StatusCode::NO_CONTENT }))
        .route("/slow", post(slow))
        .route("/flaky", post(flaky))
        .route("/failing", post(failing));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads command lines, good and bad (table).
    #[test]
    fn the_command_line_is_read() {
        let read = |line: &str| Options::read(line.split_whitespace().map(str::to_owned));
        let options = read("--demo --user Ada --token t --listen 127.0.0.1:0").unwrap();
        assert_eq!((options.demo, options.user.as_str()), (true, "Ada"));
        for line in ["--nothing", "--token", "demo"] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    /// Starts the demonstration, logs in with and without the token, and watches deliveries come.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_demonstration_lives() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tidings.db").display().to_string();
        let line = "--demo --token t0ken --listen 127.0.0.1:0";
        let options = Options::read(line.split_whitespace().map(str::to_owned)).unwrap();
        let server = Server::open(&options, &file).await.unwrap();
        let place = server.address.replace("/login?token=t0ken", "");
        assert_ne!(place, server.address, "it says where to log in");
        let running = tokio::spawn(server.run());
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().build().unwrap();
        let ask = async |path: &str, token: &str| {
            let request = client.get(format!("{place}{path}")).bearer_auth(token);
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        };
        assert_eq!(ask("/hooks", "wrong").await.0, 401);
        assert_eq!(ask("/login?token=wrong", "").await.0, 403);
        assert_eq!(ask("/login?token=t0ken", "").await.0, 200);
        let (status, page) = ask("/hooks", "t0ken").await;
        assert!(status == 200 && page.contains(r#"src="/hooks/assets/app.js""#), "{status} {page}");
        let delivered = async {
            loop {
                let (status, text) = ask("/hooks/api/deliveries?state=delivered", "t0ken").await;
                assert_eq!(status, 200, "{text}");
                if text.contains(r#""state":"delivered""#) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), delivered).await.unwrap();
        assert!(!running.is_finished());
        running.abort();
    }
}
