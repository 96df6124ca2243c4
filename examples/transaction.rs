//! An order is marked paid and `order.paid` is published in one transaction, and the process is killed
//! in the middle of it.
//!
//! `cargo run --example transaction`. The orders lie in the same SQLite file as the events. For every
//! order this program starts itself anew as the process that takes the payment, and lets it die at
//! one point or another, or not at all. Meanwhile a dispatcher runs here. In the end there is an event
//! for each paid order and for no other, and all of them have arrived.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use serde_json::{Value, json};
use tidings::outbox::{BlockingSqlExecutor, BoxError, Outbox};
use tidings::storage::{MemoryStorage, SqliteOptions, SqliteStorage};
use tidings::transport::{Request, Response, transport_fn};
use tidings::{Change, Registration, Tidings};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Tells a process that it is to take a payment: the file, the order and where to die.
pub(crate) const CHILD: &str = "TIDINGS_EXAMPLE_CHILD";
/// Where a process may die.
const POINTS: [&str; 6] = [
    "nowhere",
    "before the change",
    "before the event",
    "within the publish",
    "before the commit",
    "after the commit",
];
/// Orders for each point.
const ORDERS: usize = 5;
/// How long to wait for what is to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    if let Ok(told) = std::env::var(CHILD) {
        take_payment(&told)?;
        return Ok(ExitCode::SUCCESS);
    }
    let folder = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let report = run(&folder.path().join("shop.db"), || Command::new(&program)).await?;
    println!("{report}");
    Ok(if report.halves == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

// --- the process that takes a payment ----------------------------------------------------------

/// Marks an order paid and publishes that, in one transaction, unless it dies before.
pub(crate) fn take_payment(told: &str) -> Result<(), BoxError> {
    let [file, order, point] = told.split('|').collect::<Vec<_>>()[..] else {
        return Err("a file, an order and a point are needed".into());
    };
    let die_at = |here: &str| {
        if here == point {
            std::process::abort();
        }
    };
    // Makes ids and times; nothing is stored in it.
    let tidings = Tidings::new(MemoryStorage::new());
    let mut shop = Connection::open(file)?;
    shop.busy_timeout(Duration::from_secs(10))?;

    let tx = shop.transaction_with_behavior(TransactionBehavior::Immediate)?;
    die_at("before the change");
    tx.execute("UPDATE shop_order SET state = 'paid' WHERE id = ?1", [order])?;
    die_at("before the event");
    let paid = Change::of("order.paid", &json!({ "id": order, "state": "paid" }))?;
    let mut executor = Tx { conn: &tx, dies: point == "within the publish" };
    Outbox::sqlite().publish_blocking(&mut executor, &[tidings.event(paid)?])?;
    die_at("before the commit");
    tx.commit()?;
    die_at("after the commit");
    Ok(())
}

/// The transaction, as the outbox needs it. With the feature `outbox-rusqlite`, `&mut tx` would do.
struct Tx<'a> {
    conn: &'a Connection,
    dies: bool,
}

impl BlockingSqlExecutor for Tx<'_> {
    fn fetch(&mut self, sql: &'static str, value: &str) -> Result<Vec<String>, BoxError> {
        let mut statement = self.conn.prepare(sql)?;
        let rows = statement.query_map([value], |row| row.get(0))?;
        let rows = rows.collect::<Result<_, _>>()?;
        if self.dies {
            std::process::abort();
        }
        Ok(rows)
    }
}

// --- the process that looks on -----------------------------------------------------------------

/// What the processes left.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) payments: usize,
    pub(crate) killed: usize,
    pub(crate) paid: usize,
    pub(crate) delivered: usize,
    /// Paid orders without an event that arrived, and events of orders that are not paid.
    pub(crate) halves: usize,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { payments, killed, paid, delivered, halves } = self;
        write!(
            f,
            "{payments} payments, {killed} killed: {paid} orders paid, {delivered} events delivered, \
             {halves} one without the other"
        )
    }
}

/// Takes payments, each in a process that `child` starts and that calls [`take_payment`] with the text
/// under [`CHILD`] in its environment. Delivers meanwhile, and compares.
pub(crate) async fn run(file: &Path, child: impl Fn() -> Command) -> Result<Report, BoxError> {
    let options = SqliteOptions::default().shared(true);
    let tidings = Tidings::new(SqliteStorage::open_with(file, options).await?);
    let shop = Connection::open(file)?;
    shop.busy_timeout(Duration::from_secs(10))?;
    shop.execute_batch("CREATE TABLE shop_order (id TEXT PRIMARY KEY, state TEXT NOT NULL)")?;
    let registration = Registration::new("https://example.com/hook", ["order.*"])?.enabled(true);
    tidings.create(registration).await?;

    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let transport = transport_fn(move |request: Request| {
        let _ = arrived.send(request.http.into_body());
        async { Ok(Response::new(204)) }
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let dispatcher = tokio::spawn(tidings.dispatcher(transport)?.run(async {
        let _ = stopped.await;
    }));

    let mut killed = 0;
    let payments = POINTS.len() * ORDERS;
    for (number, point) in POINTS.iter().cycle().take(payments).enumerate() {
        let order = format!("order {number}");
        shop.execute("INSERT INTO shop_order VALUES (?1, 'open')", [&order])?;
        let told = format!("{}|{order}|{point}", file.display());
        let mut child = child();
        child.env(CHILD, told).stdout(Stdio::null()).stderr(Stdio::inherit());
        let status = child.status()?;
        assert_eq!(status.success(), *point == "nowhere", "{order}, {point}: {status}");
        killed += usize::from(!status.success());
        if number < POINTS.len() {
            let state: String =
                shop.query_row("SELECT state FROM shop_order WHERE id = ?1", [&order], |row| {
                    row.get(0)
                })?;
            println!("{order}, killed {point}: {state}");
        }
    }

    let mut statement = shop.prepare("SELECT id FROM shop_order WHERE state = 'paid'")?;
    let paid = statement.query_map([], |row| row.get(0))?.collect::<Result<BTreeSet<_>, _>>()?;
    let mut delivered: BTreeSet<String> = BTreeSet::new();
    while delivered.len() < paid.len() {
        let Ok(Some(payload)) = timeout(PATIENCE, arrivals.recv()).await else { break };
        let payload: Value = serde_json::from_slice(&payload)?;
        delivered.extend(payload["data"]["object"]["id"].as_str().map(str::to_owned));
    }
    let _ = stop.send(());
    dispatcher.await?;
    // What is published is in the file, whether it has arrived or not.
    let mut statement = shop.prepare("SELECT payload FROM tidings_event")?;
    let payloads =
        statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    let mut published = BTreeSet::new();
    for payload in payloads {
        let payload: Value = serde_json::from_str(&payload)?;
        published.extend(payload["data"]["object"]["id"].as_str().map(str::to_owned));
    }
    let halves = paid.symmetric_difference(&published).count()
        + paid.symmetric_difference(&delivered).count();
    Ok(Report { payments, killed, paid: paid.len(), delivered: delivered.len(), halves })
}
