//! The whole way in one process: a shop's changes become events, three webhooks get them, signed.
//!
//! `cargo run --example quickstart [-- <file>]` opens a SQLite file (a temporary one unless you
//! name it), starts three receivers on this machine and registers them: one that is well, one that
//! fails its first tries, one that wants other types. It publishes the changes in
//! `examples/data/changes.jsonl`, verifies every signature where the requests arrive, and ends with
//! an error unless everything arrived. What is to arrive is counted before anything is published,
//! without the crate's own matching; what did arrive is counted by the receivers.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use tidings::storage::SqliteStorage;
use tidings::transport::{HyperOptions, HyperTransport};
use tidings::{
    Change, Clock, Confirmation, Event, Mode, NetworkPolicy, Policy, Registration, Schedule,
    SystemClock, Tidings, Verifier,
};

/// Changes in one publish: one commit for all of them.
const TOGETHER: usize = 20;
/// How long to wait for what is owed before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(15);

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let named = std::env::args_os().nth(1).map(PathBuf::from);
    let file = named.unwrap_or_else(|| folder.path().join("tidings.db"));

    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/changes.jsonl");
    let text = std::fs::read_to_string(data)?;
    let changes = changes(&text)?;
    let receivers = receivers().await?;
    println!("{} changes, SQLite file {}", changes.len(), file.display());

    let report = run(&file, &changes, &receivers, PATIENCE).await?;
    println!("{report}");
    Ok(report.code())
}

// --- the host ----------------------------------------------------------------------------------

/// A line of the file: a resource as it was and as it is now.
#[derive(Deserialize)]
pub(crate) struct Line<'a> {
    #[serde(rename = "type")]
    pub(crate) event_type: &'a str,
    #[serde(borrow)]
    before: Option<&'a RawValue>,
    after: Option<&'a RawValue>,
}

impl Line<'_> {
    pub(crate) fn change(&self) -> tidings::Result<Change> {
        match (self.before, self.after) {
            (Some(before), Some(after)) => Change::updated(self.event_type, &before, &after),
            (Some(before), None) => Change::deleted(self.event_type, &before),
            (None, after) => Change::of(self.event_type, &after),
        }
    }
}

pub(crate) fn changes(text: &str) -> serde_json::Result<Vec<Line<'_>>> {
    text.lines().map(serde_json::from_str).collect()
}

/// Publishes the changes and delivers them, until all that is expected has arrived or `patience`
/// has passed.
pub(crate) async fn run(
    file: &Path,
    changes: &[Line<'_>],
    receivers: &[Receiver],
    patience: Duration,
) -> Result<Report, Box<dyn Error>> {
    let expected: usize = receivers.iter().map(|receiver| receiver.expected(changes)).sum();

    // The default schedule takes three days; an example has seconds. And the receivers are here.
    let delays = [100, 200, 400, 800, 1_600].map(Duration::from_millis);
    let policy = Policy::default()
        .with_schedule(Mode::Live, Schedule::new(delays)?)
        .with_pause(Duration::from_secs(1), Duration::from_secs(2));
    let network = NetworkPolicy::public_only().allow_loopback();
    let tidings = Tidings::builder(SqliteStorage::open(file).await?)
        .policy(policy)
        .network(network.clone())
        .build();

    for receiver in receivers {
        let registration = Registration::new(&receiver.address, receiver.types)?.enabled(true);
        let id = tidings.create(registration).await?.webhook.id();
        let secrets = tidings.reveal(id, &Confirmation::new("quickstart", "quickstart")).await?;
        receiver.trust(Verifier::standard_webhooks([secrets.current().clone()])?);
    }

    let transport = HyperTransport::new(HyperOptions::default().with_network(network))?;
    let dispatcher = tidings.dispatcher(transport)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let dispatching = tokio::spawn(dispatcher.run(async {
        let _ = stopped.await;
    }));

    let began = Instant::now();
    let mut published = BTreeMap::new();
    for lines in changes.chunks(TOGETHER) {
        let events = lines
            .iter()
            .map(|line| tidings.event(line.change()?))
            .collect::<tidings::Result<Vec<Event>>>()?;
        let at = Instant::now();
        tidings.publish_all(&events).await?;
        published.extend(events.into_iter().map(|event| (event.id().to_string(), (event, at))));
        if published.len() % 100 < TOGETHER {
            progress(began, published.len(), receivers, expected);
        }
    }

    let mut shown = Instant::now();
    while delivered(receivers) < expected && began.elapsed() < patience {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if shown.elapsed() > Duration::from_millis(500) {
            shown = Instant::now();
            progress(began, published.len(), receivers, expected);
        }
    }
    progress(began, published.len(), receivers, expected);
    drop(stop);
    dispatching.await?;

    Ok(Report {
        published: published.len(),
        rows: receivers.iter().map(|receiver| receiver.row(changes, &published)).collect(),
    })
}

fn delivered(receivers: &[Receiver]) -> usize {
    receivers.iter().map(|receiver| receiver.seen().accepted.len()).sum()
}

fn progress(began: Instant, published: usize, receivers: &[Receiver], expected: usize) {
    println!(
        "{:5.1} s  published {published}, delivered {} of {expected}",
        began.elapsed().as_secs_f64(),
        delivered(receivers),
    );
}

// --- the receivers -----------------------------------------------------------------------------

/// How a receiver answers what it could verify.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// At once.
    Well,
    /// "Busy, come back in a second" the very first time, then an error on the first try of every
    /// event and on the second try of some.
    Failing,
    /// Well, but it forgets the first event, which it acknowledged. A test looks whether the count
    /// notices.
    #[allow(dead_code)]
    Forgetful,
}

/// An endpoint on this machine, with its own books.
pub(crate) struct Receiver {
    name: &'static str,
    address: String,
    types: &'static [&'static str],
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    manner: Manner,
    verifier: Option<Verifier>,
    /// The tries of each event, by the id that the signature covers.
    tries: BTreeMap<String, u32>,
    /// What was acknowledged first, and when.
    accepted: BTreeMap<String, (Bytes, Instant)>,
    requests: usize,
    failures: usize,
    unverified: usize,
}

pub(crate) async fn receivers() -> Result<Vec<Receiver>, std::io::Error> {
    Ok(vec![
        Receiver::start("well", Manner::Well, &["*"]).await?,
        Receiver::start("failing", Manner::Failing, &["order.*", "refund.*"]).await?,
        Receiver::start("other", Manner::Well, &["subscription.*", "invoice.paid"]).await?,
    ])
}

impl Receiver {
    pub(crate) async fn start(
        name: &'static str,
        manner: Manner,
        types: &'static [&'static str],
    ) -> Result<Self, std::io::Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}/{name}", listener.local_addr()?);
        let seen = Arc::new(Mutex::new(Seen {
            manner,
            verifier: None,
            tries: BTreeMap::new(),
            accepted: BTreeMap::new(),
            requests: 0,
            failures: 0,
            unverified: 0,
        }));
        let router = Router::new().fallback(receive).with_state(seen.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { name, address, types, seen })
    }

    /// How many of the changes are to arrive here: by the file and the filters alone.
    fn expected(&self, changes: &[Line<'_>]) -> usize {
        changes.iter().filter(|line| self.wants(line.event_type)).count()
    }

    fn wants(&self, event_type: &str) -> bool {
        self.types.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => event_type.starts_with(beginning),
            None => event_type == *pattern,
        })
    }

    fn trust(&self, verifier: Verifier) {
        self.seen().verifier = Some(verifier);
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn row(&self, changes: &[Line<'_>], published: &BTreeMap<String, (Event, Instant)>) -> Row {
        let seen = self.seen();
        let mut row = Row {
            name: self.name,
            address: self.address.clone(),
            types: self.types.join(" "),
            expected: self.expected(changes),
            delivered: 0,
            requests: seen.requests,
            failures: seen.failures,
            unverified: seen.unverified,
            strange: 0,
            latencies: BTreeSet::new(),
        };
        for (id, (body, at)) in &seen.accepted {
            match published.get(id) {
                Some((event, since))
                    if self.wants(event.event_type().as_str()) && event.payload() == body =>
                {
                    row.delivered += 1;
                    row.latencies.insert((at.duration_since(*since), id.clone()));
                }
                _ => row.strange += 1,
            }
        }
        row
    }
}

/// The handler: verify the bytes as they came, look whether the id is known, answer.
async fn receive(
    State(seen): State<Arc<Mutex<Seen>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.requests += 1;
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let verified = seen.verifier.as_ref().map(|it| it.verify(pairs, &body, SystemClock.now()));
    let Some(Ok(verified)) = verified else {
        seen.unverified += 1;
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let Some(id) = verified.id else {
        return StatusCode::BAD_REQUEST.into_response();
    };

    let nth = seen.tries.len();
    let tries = seen.tries.entry(id.clone()).or_default();
    *tries += 1;
    let fails = *tries == 1 || (*tries == 2 && id.ends_with(['0', '3', '6', '9', 'c']));
    if seen.manner == Manner::Failing && fails {
        seen.failures += 1;
        if seen.requests == 1 {
            let later = [(RETRY_AFTER, HeaderValue::from_static("1"))];
            return (StatusCode::SERVICE_UNAVAILABLE, later).into_response();
        }
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    if seen.manner == Manner::Forgetful && nth == 0 {
        return StatusCode::NO_CONTENT.into_response();
    }
    // A repetition changes nothing: the first one counts.
    seen.accepted.entry(id).or_insert_with(|| (body, Instant::now()));
    StatusCode::NO_CONTENT.into_response()
}

// --- the report --------------------------------------------------------------------------------

/// What was expected and what came.
pub(crate) struct Report {
    published: usize,
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    address: String,
    types: String,
    expected: usize,
    delivered: usize,
    requests: usize,
    failures: usize,
    unverified: usize,
    /// Accepted, but not wanted, never published, or with other bytes.
    strange: usize,
    latencies: BTreeSet<(Duration, String)>,
}

impl Row {
    fn percentile(&self, percent: usize) -> f64 {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        let found = self.latencies.iter().nth(at);
        found.map_or(0.0, |(latency, _)| latency.as_secs_f64() * 1_000.0)
    }
}

impl Report {
    fn expected(&self) -> usize {
        self.rows.iter().map(|row| row.expected).sum()
    }

    fn delivered(&self) -> usize {
        self.rows.iter().map(|row| row.delivered).sum()
    }

    /// Success only if everything arrived, and nothing else.
    pub(crate) fn code(&self) -> ExitCode {
        if self.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    pub(crate) fn is_complete(&self) -> bool {
        let wrong = self.rows.iter().map(|row| row.unverified + row.strange).sum::<usize>();
        self.expected() == self.delivered() && wrong == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        writeln!(
            f,
            "{:<8} {:<31} {:<28} {:>8} {:>9} {:>8} {:>8} {:>9} {:>8} {:>8}",
            "webhook",
            "address",
            "types",
            "expected",
            "delivered",
            "requests",
            "failures",
            "bad sign.",
            "p50 ms",
            "p99 ms"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "{:<8} {:<31} {:<28} {:>8} {:>9} {:>8} {:>8} {:>9} {:>8.1} {:>8.1}",
                row.name,
                row.address,
                row.types,
                row.expected,
                row.delivered,
                row.requests,
                row.failures,
                row.unverified,
                row.percentile(50),
                row.percentile(99),
            )?;
            if row.strange > 0 {
                writeln!(f, "{} requests were not expected at {}", row.strange, row.name)?;
            }
        }
        writeln!(f)?;
        let (expected, delivered) = (self.expected(), self.delivered());
        write!(
            f,
            "published {} events, delivered {delivered} of {expected}, lost {}",
            self.published,
            expected - delivered
        )
    }
}
