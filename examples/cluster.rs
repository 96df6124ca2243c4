//! Three processes deliver from one PostgreSQL, and one of them is killed in the middle of it.
//!
//! `cargo run --features postgres --example cluster [-- <url>]`. The database is the one at the URL,
//! which gets a schema of its own for this, or that of a throwaway server, where PostgreSQL's programs
//! are on this machine. This process publishes and receives; it starts itself anew as the processes
//! that deliver, each of which says in a header who it is. What is to arrive is counted before it is
//! published, and what did arrive by the receiver, which verifies every signature. It ends with an
//! error unless everything arrived.

#[path = "../tests/support/cluster.rs"]
pub(crate) mod cluster;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fmt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde_json::json;
use tidings::storage::{PostgresOptions, PostgresStorage};
use tidings::transport::{
    HyperOptions, HyperTransport, Request, Response, Transport, TransportError,
};
use tidings::{
    Account, Change, Clock, Confirmation, DispatcherOptions, Event, NetworkPolicy, Registration,
    SystemClock, Tidings, Verifier, WebhookId,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

type Failure = Box<dyn Error + Send + Sync>;

/// Tells a process which of those that deliver it is, and where the database is. Not by arguments,
/// which everybody on the machine can read: the URL may have a password in it.
pub(crate) const NODE: &str = "TIDINGS_EXAMPLE_NODE";
const URL: &str = "TIDINGS_EXAMPLE_URL";

const NODES: usize = 3;
/// Who is killed.
const VICTIM: usize = 1;
/// The schema in the database, beside whatever else is there.
const SCHEMA: &str = "tidings_example";
const EVENTS: usize = 3_000;
/// Events in one publish: one commit for all of them.
const TOGETHER: usize = 50;
/// What the receiver's work takes.
const WORK: Duration = Duration::from_millis(20);
/// How long a dead process keeps what it had; 30 s by default, but an example has seconds.
const LEASE: Duration = Duration::from_secs(3);
/// Whether the event with this number is wanted.
type Wants = fn(usize) -> bool;
/// The webhooks: a path, the types that it wants, and which events that is.
const WEBHOOKS: [(&str, &str, Wants); 2] =
    [("/all", "*", |_| true), ("/orders", "order.*", |number| number.is_multiple_of(2))];
/// What a process prints once it delivers.
const READY: &str = "this process delivers";
/// How long to wait for what is owed before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::var_os(NODE).is_some() {
        return told(node().await.map(|()| ExitCode::SUCCESS));
    }
    let url = std::env::args().nth(1);
    let server = match &url {
        None if !cluster::available() => {
            eprintln!(
                "There is no PostgreSQL here. Either name a database,\n\
                 cargo run --features postgres --example cluster -- postgres://user@host/database\n\
                 or install the server's programs (the package is called postgresql mostly; the \
                 variable PGBIN may name their folder), and one is started for this run alone."
            );
            return ExitCode::FAILURE;
        }
        None => Some(cluster::Cluster::with(cluster::Options::default().sync(true))),
        Some(_) => None,
    };
    match (&server, url) {
        (Some(server), _) => {
            println!("a throwaway PostgreSQL on port {}", server.port());
            told(show(&server.new_database()).await)
        }
        (None, Some(url)) => {
            println!("schema {SCHEMA} in the database that was named; it stays there");
            told(show(&url).await)
        }
        (None, None) => ExitCode::FAILURE,
    }
}

async fn show(url: &str) -> Result<ExitCode, Failure> {
    let program = std::env::current_exe()?;
    let report = run(url, || Command::new(&program)).await?;
    println!("{report}");
    Ok(if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(result: Result<ExitCode, Failure>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

fn network() -> NetworkPolicy {
    // The receiver is on this machine.
    NetworkPolicy::public_only().allow_loopback()
}

async fn open(url: &str) -> tidings::Result<Tidings> {
    let options = PostgresOptions::default().schema(SCHEMA).connections(4);
    let storage = PostgresStorage::connect_with(url, options).await?;
    Ok(Tidings::builder(storage).network(network()).build())
}

// --- a process that delivers -------------------------------------------------------------------

/// Says who sends.
#[derive(Debug)]
struct Named(HyperTransport, HeaderValue);

#[async_trait]
impl Transport for Named {
    async fn send(&self, mut request: Request) -> Result<Response, TransportError> {
        request.http.headers_mut().insert("x-node", self.1.clone());
        self.0.send(request).await
    }
}

/// Delivers until its input ends: when it is told to, or when the process that started it is gone.
pub(crate) async fn node() -> Result<(), Failure> {
    let name = HeaderValue::try_from(std::env::var(NODE)?)?;
    let tidings = open(&std::env::var(URL)?).await?;
    let transport = HyperTransport::new(HyperOptions::default().with_network(network()))?;
    let options = DispatcherOptions::default().in_flight(32).lease(LEASE);
    let dispatcher = tidings.dispatcher_with(Arc::new(Named(transport, name)), options)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(dispatcher.run(async {
        let _ = stopped.await;
    }));
    println!("{READY}");
    tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await?;
    drop(stop);
    Ok(running.await?)
}

/// Starts a process, and waits until it delivers.
async fn start(mut command: Command, number: usize, url: &str) -> Result<Child, Failure> {
    command.env(NODE, number.to_string()).env(URL, url);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let ready = async {
        while let Some(line) = lines.next_line().await? {
            if line.contains(READY) {
                return Ok::<_, Failure>(());
            }
        }
        Err(format!("process {number} ended before it delivered").into())
    };
    timeout(PATIENCE, ready).await??;
    // Read on, or what it prints at its end would find nobody.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(child)
}

// --- the process that publishes ----------------------------------------------------------------

/// Publishes, while processes deliver that `child` starts and that call [`node`], and kills one.
pub(crate) async fn run(url: &str, child: impl Fn() -> Command) -> Result<Report, Failure> {
    let tidings = open(url).await?;
    // What an earlier run left in the database is no business of this one.
    let account = Account::new(format!("run-{}", SystemClock.now().timestamp_millis()))?;
    let receiver = Arc::new(Receiver::default());
    let webhooks = register(&tidings, &account, &receiver).await?;

    let mut children = Vec::new();
    for number in 0..NODES {
        children.push(start(child(), number, url).await?);
    }
    let pids: Vec<_> = children.iter().map(Child::id).collect();
    println!("{NODES} processes deliver");

    let (published, killing) =
        tokio::join!(publish(&tidings, &account), kill(&receiver, &mut children[VICTIM]));
    let (published, unanswered) = (published?, killing?);
    let expected = expected();
    let mut changes = receiver.changes.subscribe();
    let all = changes.wait_for(|()| receiver.seen().acknowledged.len() >= expected);
    // What is missing then is counted as lost.
    let _ = timeout(PATIENCE, all).await;

    for (number, child) in children.iter_mut().enumerate() {
        drop(child.stdin.take());
        let status = timeout(PATIENCE, child.wait()).await??;
        if number != VICTIM && !status.success() {
            return Err(format!("process {number} ended with {status}").into());
        }
    }
    for webhook in webhooks {
        tidings.delete(webhook).await?;
    }
    Ok(receiver.report(&published, &pids, unanswered))
}

/// Deliveries that are owed: by what the webhooks want, without the crate's own matching.
fn expected() -> usize {
    WEBHOOKS.iter().map(|(_, _, wants)| (0..EVENTS).filter(|at| wants(*at)).count()).sum()
}

async fn register(
    tidings: &Tidings,
    account: &Account,
    receiver: &Arc<Receiver>,
) -> Result<Vec<WebhookId>, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Router::new().fallback(receive).with_state(receiver.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut ids = Vec::new();
    for (path, types, _) in WEBHOOKS {
        let registration = Registration::new(&format!("http://{address}{path}"), [types])?;
        let registration = registration.account(account.clone()).enabled(true);
        let id = tidings.create(registration).await?.webhook.id();
        let secrets = tidings.reveal(id, &Confirmation::new("cluster", "cluster")).await?;
        let verifier = Verifier::standard_webhooks([secrets.current().clone()])?;
        receiver.seen().verifiers.insert(path.to_owned(), verifier);
        ids.push(id);
    }
    Ok(ids)
}

/// What was published, by id, with its number.
type Published = HashMap<String, (usize, Event)>;

async fn publish(tidings: &Tidings, account: &Account) -> Result<Published, Failure> {
    let mut published = HashMap::new();
    let numbers: Vec<usize> = (0..EVENTS).collect();
    for numbers in numbers.chunks(TOGETHER) {
        let event = |number: &usize| {
            let kind = if number.is_multiple_of(2) { "order.paid" } else { "refund.created" };
            let change = Change::of(kind, &json!({ "id": number.to_string() }))?;
            tidings.event(change.account(account.clone()))
        };
        let events: Vec<Event> = numbers.iter().map(event).collect::<tidings::Result<_>>()?;
        tidings.publish_all(&events).await?;
        let known = numbers.iter().copied().zip(events);
        published.extend(known.map(|(number, event)| (event.id().to_string(), (number, event))));
    }
    Ok(published)
}

/// Kills a process once a third is delivered and it is at work, and says how many of its requests
/// were open then.
async fn kill(receiver: &Receiver, child: &mut Child) -> Result<usize, Failure> {
    let mut changes = receiver.changes.subscribe();
    let midway = async {
        loop {
            {
                let mut seen = receiver.seen();
                let open = seen.open.get(&VICTIM).copied().unwrap_or_default();
                if open > 0 && seen.acknowledged.len() >= expected() / 3 {
                    // No answer leaves between these two.
                    child.start_kill()?;
                    seen.killed = true;
                    return Ok::<_, Failure>(open);
                }
            }
            changes.changed().await?;
        }
    };
    let open = timeout(PATIENCE, midway).await.map_err(|_| "nobody was at work to be killed")??;
    println!("process {VICTIM} is killed, requests open: {open}");
    Ok(open)
}

// --- the receiver ------------------------------------------------------------------------------

/// Both webhooks' endpoint, with its own books.
#[derive(Default)]
struct Receiver {
    seen: Mutex<Seen>,
    changes: watch::Sender<()>,
}

/// A path and an event's id: one delivery.
type Pair = (String, String);

#[derive(Default)]
struct Seen {
    verifiers: HashMap<String, Verifier>,
    /// What was acknowledged first: by whom it came, and its bytes.
    acknowledged: HashMap<Pair, (usize, Bytes)>,
    repeated: BTreeMap<usize, usize>,
    /// Requests that are received and not yet answered.
    open: BTreeMap<usize, usize>,
    killed: bool,
    unverified: usize,
}

/// The handler: verify the bytes as they came, work, and acknowledge.
async fn receive(
    State(receiver): State<Arc<Receiver>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let path = uri.path().to_owned();
    let node = headers.get("x-node").and_then(|name| name.to_str().ok()?.parse::<usize>().ok());
    let (node, pair) = {
        let mut seen = receiver.seen();
        let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let now = SystemClock.now();
        let verified = seen.verifiers.get(&path).and_then(|it| it.verify(pairs, &body, now).ok());
        let (Some(node), Some(id)) = (node, verified.and_then(|verified| verified.id)) else {
            seen.unverified += 1;
            return StatusCode::UNAUTHORIZED;
        };
        *seen.open.entry(node).or_default() += 1;
        (node, (path, id))
    };
    receiver.changes.send_replace(());
    tokio::time::sleep(WORK).await;
    {
        let mut seen = receiver.seen();
        if seen.killed && node == VICTIM {
            // Who was killed gets no answer.
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        *seen.open.entry(node).or_default() -= 1;
        match seen.acknowledged.entry(pair) {
            Entry::Vacant(place) => _ = place.insert((node, body)),
            Entry::Occupied(_) => *seen.repeated.entry(node).or_default() += 1,
        }
    }
    receiver.changes.send_replace(());
    StatusCode::NO_CONTENT
}

impl Receiver {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares what came with what was published.
    fn report(&self, published: &Published, pids: &[Option<u32>], unanswered: usize) -> Report {
        let seen = self.seen();
        let row = |(number, pid): (usize, &Option<u32>)| {
            let repeated = seen.repeated.get(&number).copied().unwrap_or_default();
            Row { pid: pid.unwrap_or_default(), delivered: [0; WEBHOOKS.len()], repeated }
        };
        let mut rows: Vec<Row> = pids.iter().enumerate().map(row).collect();
        let mut strange = seen.unverified;
        for ((path, id), (node, body)) in &seen.acknowledged {
            let webhook = WEBHOOKS.iter().position(|(known, ..)| known == path);
            match (webhook, published.get(id), rows.get_mut(*node)) {
                (Some(webhook), Some((number, event)), Some(row))
                    if WEBHOOKS[webhook].2(*number) && event.payload() == body =>
                {
                    row.delivered[webhook] += 1;
                }
                _ => strange += 1,
            }
        }
        Report { published: published.len(), expected: expected(), rows, unanswered, strange }
    }
}

// --- the report --------------------------------------------------------------------------------

/// What was expected, and who delivered it.
#[derive(Debug)]
pub(crate) struct Report {
    published: usize,
    expected: usize,
    pub(crate) rows: Vec<Row>,
    /// Requests of the killed process that were open then.
    unanswered: usize,
    /// Not verified, not wanted, never published, or with other bytes.
    strange: usize,
}

/// One process.
#[derive(Debug)]
pub(crate) struct Row {
    pid: u32,
    /// To each webhook.
    delivered: [usize; WEBHOOKS.len()],
    /// Sent though it had been acknowledged: the answer did not get into the books in time.
    repeated: usize,
}

impl Row {
    pub(crate) fn delivered(&self) -> usize {
        self.delivered.iter().sum()
    }
}

impl Report {
    fn delivered(&self) -> usize {
        self.rows.iter().map(Row::delivered).sum()
    }

    /// Whether everything arrived, and nothing else.
    pub(crate) fn is_complete(&self) -> bool {
        self.delivered() == self.expected && self.strange == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{:<9}{:>9}", "process", "pid")?;
        for (path, ..) in WEBHOOKS {
            write!(f, "{:>9}", path.trim_start_matches('/'))?;
        }
        writeln!(f, "{:>11}{:>10}", "delivered", "repeated")?;
        for (number, row) in self.rows.iter().enumerate() {
            write!(f, "{number:<9}{:>9}", row.pid)?;
            for delivered in row.delivered {
                write!(f, "{delivered:>9}")?;
            }
            write!(f, "{:>11}{:>10}", row.delivered(), row.repeated)?;
            let end = if number == VICTIM { "   killed" } else { "" };
            writeln!(f, "{end}")?;
        }
        let (expected, delivered) = (self.expected, self.delivered());
        writeln!(f, "open at the kill, made again by the others: {}", self.unanswered)?;
        if self.strange > 0 {
            writeln!(f, "not expected: {}", self.strange)?;
        }
        write!(
            f,
            "\npublished {} events, delivered {delivered} of {expected}, lost {}",
            self.published,
            expected - delivered
        )
    }
}
