//! Throughput: events published, and deliveries made, per second, beside what the parts could do
//! alone in the same minutes: a raw pooled hyper client to the same receiver, and raw SQLite
//! inserts of the same rows. With the feature `postgres`, and PostgreSQL's programs on this machine, a
//! throwaway server on the same cores is measured too, with synced commits.
//!
//! `cargo bench --bench throughput` prints a table, and one line of JSON for each row. Machines
//! are noisy: read the ratios, each of which is the median of rounds that alternate with their
//! baseline. `TIDINGS_BENCH_ROUNDS` and `TIDINGS_BENCH_EVENTS` change how long it takes,
//! `TIDINGS_BENCH_ONLY` (part of a row's name and store) what is measured.

#[cfg(feature = "postgres")]
#[path = "../tests/support/cluster.rs"]
mod cluster;
#[cfg(feature = "postgres")]
#[path = "support/server.rs"]
mod server;
#[path = "support/setup.rs"]
mod setup;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tidings::storage::{MemoryStorage, SqliteStorage, Storage};
use tidings::transport::{HyperOptions, HyperTransport};
use tidings::{
    Change, DispatcherOptions, Event, NetworkPolicy, Notice, Observer, Registration, Tidings,
};

#[cfg(feature = "postgres")]
use server::server;
use setup::{env, stores, wanted};

/// Requests in flight, in the raw loop and in the dispatcher.
const IN_FLIGHT: u32 = 1_024;
const RAW_IN_FLIGHT: usize = 32;

fn main() {
    if std::env::var_os("TIDINGS_BENCH_SINK").is_some() {
        sink();
        return;
    }
    let rounds = env("TIDINGS_BENCH_ROUNDS", 5);
    let events = env("TIDINGS_BENCH_EVENTS", 20_000);
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let sink = Sink::start();
    let mut rows: Vec<Row> = Vec::new();
    for round in 0..=rounds {
        // The first round warms up.
        let counted = round > 0;
        let raw = runtime().block_on(raw_posts(sink.address, events));
        for (store, webhooks) in stores().iter().flat_map(|store| [(*store, 1), (*store, 10)]) {
            let bench = format!("deliver to {webhooks}");
            if !wanted(&bench, store) {
                continue;
            }
            let rate = runtime().block_on(deliver(store, webhooks, sink.address, events));
            if counted {
                add(&mut rows, &bench, store, rate, raw);
            }
        }
        let raw_rows = raw_inserts(events);
        for (bench, callers, batch) in [
            ("publish, 1 caller", 1, 1),
            ("publish, 64 callers", 64, 1),
            ("publish, batches of 100", 1, 100),
        ] {
            for store in stores().iter().copied() {
                if !wanted(bench, store) {
                    continue;
                }
                let count = if callers == 1 && batch == 1 { events / 20 } else { events };
                let rate = runtime().block_on(publish(store, callers, batch, count));
                if counted {
                    add(&mut rows, bench, store, rate, raw_rows);
                }
            }
        }
    }
    println!("{:<26}{:<10}{:>12}{:>12}{:>9}", "bench", "store", "per s", "raw per s", "ratio");
    for row in &mut rows {
        row.print();
    }
    for row in &rows {
        println!("{}", row.json());
    }
}

/// The rounds of one measurement.
struct Row {
    bench: String,
    store: &'static str,
    rounds: Vec<(f64, f64)>,
}

fn add(rows: &mut Vec<Row>, bench: &str, store: &'static str, rate: f64, raw: f64) {
    match rows.iter_mut().find(|row| row.bench == bench && row.store == store) {
        Some(row) => row.rounds.push((rate, raw)),
        None => rows.push(Row { bench: bench.to_owned(), store, rounds: vec![(rate, raw)] }),
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Row {
    fn figures(&self) -> (f64, f64, f64) {
        (
            median(self.rounds.iter().map(|(rate, _)| *rate)),
            median(self.rounds.iter().map(|(_, raw)| *raw)),
            median(self.rounds.iter().map(|(rate, raw)| rate / raw)),
        )
    }

    fn print(&self) {
        let (rate, raw, ratio) = self.figures();
        println!("{:<26}{:<10}{rate:>12.0}{raw:>12.0}{ratio:>9.2}", self.bench, self.store);
    }

    fn json(&self) -> serde_json::Value {
        let (rate, raw, ratio) = self.figures();
        json!({
            "bench": self.bench,
            "store": self.store,
            "per_s": rate.round(),
            "raw_per_s": raw.round(),
            "ratio": (ratio * 1000.0).round() / 1000.0,
        })
    }
}

// --- the receiver: a process of its own --------------------------------------------------------

struct Sink {
    child: Child,
    address: SocketAddr,
}

impl Sink {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .env("TIDINGS_BENCH_SINK", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a receiver");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("its address");
        Self { child, address: line.trim().parse().expect("its address") }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers every request with 204 after reading it, until its input ends.
fn sink() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        std::thread::spawn(|| {
            let _ = std::io::stdin().lines().count();
            std::process::exit(0);
        });
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let service = hyper::service::service_fn(async |request: http::Request<_>| {
                    let mut body: hyper::body::Incoming = request.into_body();
                    while let Some(frame) = body.frame().await {
                        frame?;
                    }
                    let mut response = http::Response::new(Full::<Bytes>::default());
                    *response.status_mut() = http::StatusCode::NO_CONTENT;
                    Ok::<_, hyper::Error>(response)
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}

// --- the baselines -----------------------------------------------------------------------------

/// POSTs per second of a pooled hyper client: nothing but requests of the same size.
async fn raw_posts(address: SocketAddr, count: u64) -> f64 {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let body = Bytes::from(event(0).payload().to_owned());
    let uri: http::Uri = format!("http://{address}/hook").parse().expect("a URI");
    let next = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..RAW_IN_FLIGHT {
        let (client, body, uri, next) = (client.clone(), body.clone(), uri.clone(), next.clone());
        tasks.push(tokio::spawn(async move {
            while next.fetch_add(1, Ordering::Relaxed) < count {
                let request = http::Request::post(uri.clone())
                    .header("content-type", "application/json")
                    .header("webhook-id", "01890f3e-5b5c-7c9a-8000-000000000000")
                    .header("webhook-timestamp", "1767225600")
                    .header("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
                    .body(Full::new(body.clone()))
                    .expect("a request");
                let response = client.request(request).await.expect("an answer");
                assert_eq!(response.status(), 204);
                response.into_body().collect().await.expect("a body");
            }
        }));
    }
    for task in tasks {
        task.await.expect("a task");
    }
    count as f64 / begun.elapsed().as_secs_f64()
}

/// Rows per second of raw SQLite: 64 rows of the same size in each synced commit.
fn raw_inserts(count: u64) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let mut connection =
        rusqlite::Connection::open(folder.path().join("raw.db")).expect("a database");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE event (seq INTEGER PRIMARY KEY, id BLOB UNIQUE, payload TEXT);",
        )
        .expect("a table");
    let events: Vec<Event> = (0..count).map(event).collect();
    let begun = Instant::now();
    for batch in events.chunks(64) {
        let transaction = connection.transaction().expect("a transaction");
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO event (id, payload) VALUES (?1, ?2)")
                .expect("a statement");
            for event in batch {
                let id = event.id().uuid();
                insert
                    .execute(rusqlite::params![&id.as_bytes()[..], event.payload()])
                    .expect("a row");
            }
        }
        transaction.commit().expect("a commit");
    }
    count as f64 / begun.elapsed().as_secs_f64()
}

// --- what is measured --------------------------------------------------------------------------

/// An event of about 1 KiB.
fn event(number: u64) -> Event {
    let object = json!({
        "id": number.to_string(),
        "state": "accepted",
        "total": 29.90,
        "items": (0..6).map(|item| json!({
            "id": format!("item_{number}_{item}"), "sku": "sku_1234567890", "quantity": 2,
            "amount": 27.01, "currency": "USD", "state": "created",
        })).collect::<Vec<_>>(),
    });
    let change = Change::of("order.accepted", &object).expect("a change");
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    change
        .into_event(tidings::EventId::new(chrono::Utc::now(), &random), chrono::Utc::now())
        .expect("an event")
}

/// A store, and the folder that it lives in.
async fn open(store: &str) -> (Arc<dyn Storage>, Option<tempfile::TempDir>) {
    match store {
        "memory" => (Arc::new(MemoryStorage::new()), None),
        #[cfg(feature = "postgres")]
        "postgres" => {
            let url = server().new_database();
            let options = tidings::storage::PostgresOptions::default();
            let storage = tidings::storage::PostgresStorage::connect_with(&url, options)
                .await
                .expect("a database");
            (Arc::new(storage), None)
        }
        _ => {
            let folder = tempfile::tempdir().expect("a folder");
            let storage =
                SqliteStorage::open(folder.path().join("tidings.db")).await.expect("a database");
            (Arc::new(storage), Some(folder))
        }
    }
}

/// Counts what was settled, and tells when it is all.
#[derive(Debug)]
struct Count {
    left: AtomicU64,
    done: tokio::sync::Notify,
}

/// The dispatcher's end of the count.
#[derive(Debug)]
struct Counter(Arc<Count>);

impl Observer for Counter {
    fn notice(&self, notice: &Notice) {
        if matches!(notice, Notice::Settled { .. })
            && self.0.left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.0.done.notify_one();
        }
    }
}

/// Deliveries per second from the first publish to the last settlement: events are published in
/// batches of 100 while the dispatcher works; each goes to one of `webhooks` webhooks.
async fn deliver(store: &str, webhooks: u64, address: SocketAddr, count: u64) -> f64 {
    let (storage, _folder) = open(store).await;
    let network = NetworkPolicy::public_only().allow_loopback();
    let left = Arc::new(Count { left: AtomicU64::new(count), done: tokio::sync::Notify::new() });
    let tidings = Tidings::builder_shared(storage)
        .network(network.clone())
        .observer(Counter(left.clone()))
        .build();
    let types: Vec<String> = (0..webhooks).map(|number| format!("order.kind{number}")).collect();
    for (number, wanted) in types.iter().enumerate() {
        let url = format!("http://{address}/hook/{number}");
        let registration = Registration::new(&url, [wanted]).expect("a URL").enabled(true);
        tidings.create(registration).await.expect("a webhook");
    }
    let events: Vec<Event> = (0..count)
        .map(|number| {
            let kind = &types[(number % webhooks) as usize];
            let object = event(number);
            let change = Change::of(kind, object.object().expect("an object")).expect("a change");
            tidings.event(change).expect("an event")
        })
        .collect();
    let options = HyperOptions::default().with_network(network).with_connections_per_host(64);
    let transport = Arc::new(HyperTransport::new(options).expect("a transport"));
    let options =
        DispatcherOptions::default().in_flight(IN_FLIGHT).in_flight_per_webhook(IN_FLIGHT);
    let dispatcher = tidings.dispatcher_with(transport, options).expect("a dispatcher");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(dispatcher.run(async {
        let _ = stopped.await;
    }));
    let begun = Instant::now();
    for batch in events.chunks(100) {
        tidings.publish_all(batch).await.expect("a publish");
    }
    tokio::time::timeout(Duration::from_secs(120), left.done.notified())
        .await
        .expect("all is delivered in time");
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    let _ = stop.send(());
    running.await.expect("the dispatcher");
    rate
}

/// Events per second that `callers` publish at once, each waiting for its answer.
async fn publish(store: &str, callers: u64, batch: usize, count: u64) -> f64 {
    let (storage, _folder) = open(store).await;
    let tidings = Tidings::builder_shared(storage).build();
    let each = count / callers;
    let work: Vec<Vec<Event>> = (0..callers)
        .map(|caller| (0..each).map(|number| event(caller * each + number)).collect())
        .collect();
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for events in work {
        let tidings = tidings.clone();
        tasks.push(tokio::spawn(async move {
            for batch in events.chunks(batch) {
                tidings.publish_all(batch).await.expect("a publish");
            }
        }));
    }
    for task in tasks {
        task.await.expect("a caller");
    }
    (each * callers) as f64 / begun.elapsed().as_secs_f64()
}
