//! What a host's operators see: metrics as Prometheus text while events are delivered, then the health
//! report and the statistics of a webhook.
//!
//! `cargo run --features metrics --example observe`

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::json;
use tidings::storage::MemoryStorage;
use tidings::time::{after, before};
use tidings::transport::{Request, Response, TransportError, transport_fn};
use tidings::{
    Change, Clock, DispatcherOptions, FailureKind, HealthReport, Mode, Notice, Observer, Policy,
    Registration, Schedule, StatisticsQuery, StatisticsReport, SystemClock, Tidings, TraceContext,
};
use tokio::sync::{mpsc, oneshot};

/// Events in each of the rounds, after which somebody looks.
const EVENTS: usize = 40;
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // What a host serves at `/metrics`; how is a matter of the exporter.
    let seconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    let prometheus = PrometheusBuilder::new().set_buckets(&seconds)?.install_recorder()?;
    compare(&observe(&prometheus).await?);
    Ok(())
}

/// What was seen in the end.
struct Seen {
    metrics: String,
    health: HealthReport,
    statistics: StatisticsReport,
}

/// Hears of every delivery that has ended.
#[derive(Debug)]
struct Ear(mpsc::UnboundedSender<()>);

impl Observer for Ear {
    fn notice(&self, notice: &Notice) {
        if let Notice::Settled { delivery, .. } = notice
            && delivery.state.is_ended()
        {
            let _ = self.0.send(());
        }
    }
}

async fn observe(prometheus: &PrometheusHandle) -> Result<Seen, Box<dyn Error>> {
    let (ear, mut ended) = mpsc::unbounded_channel();
    // A second between tries, so that all of it fits into a few.
    let policy = Policy::default()
        .with_schedule(Mode::Live, Schedule::new([Duration::from_secs(1); 3])?)
        .with_pause(Duration::from_secs(1), Duration::from_secs(1))
        .with_jitter_percent(0);
    let tidings = Tidings::builder(MemoryStorage::new()).observer(Ear(ear)).policy(policy).build();
    let mut webhooks = Vec::new();
    for name in ["steady", "shaky"] {
        let address = format!("https://{name}.example/hook");
        let registration = Registration::new(&address, ["order.*"])?.enabled(true);
        webhooks.push(tidings.create(registration).await?.webhook.id());
    }
    let dispatcher = tidings.dispatcher_with(
        Arc::new(transport_fn(receivers())),
        DispatcherOptions::default().in_flight_per_webhook(8),
    )?;
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(dispatcher.run(async {
        let _ = stopped.await;
    }));

    for round in 1..=ROUNDS {
        for number in 0..EVENTS {
            // A host takes this from the request that it serves, or from its own span.
            let trace = format!("00-{:032x}-{:016x}-01", round, number + 1);
            let order = json!({ "id": format!("{round}-{number}"), "state": "accepted" });
            let change = Change::of("order.accepted", &order)?.trace(TraceContext::parse(&trace)?);
            tidings.publish(&tidings.event(change)?).await?;
        }
        for _ in 0..EVENTS * webhooks.len() {
            ended.recv().await.ok_or("the dispatcher has gone")?;
        }
        println!("# after round {round} of {ROUNDS}\n{}", ours(&prometheus.render()));
    }

    let health = tidings.health().await;
    println!("# health\n{}\n", serde_json::to_string_pretty(&health)?);
    let now = SystemClock.now();
    let query = StatisticsQuery::new(
        before(now, Duration::from_secs(3_600)),
        after(now, Duration::from_secs(1)),
    )?;
    for (name, webhook) in ["steady", "shaky"].iter().zip(&webhooks) {
        let report = tidings.statistics(&query.clone().webhook(*webhook)).await?;
        println!("# statistics of {name}\n{}\n", serde_json::to_string(&report)?);
    }
    let statistics = tidings.statistics(&query).await?;
    let _ = stop.send(());
    running.await?;
    Ok(Seen { metrics: prometheus.render(), health, statistics })
}

/// Two receivers: one answers soon and well, the other now and then not at all.
fn receivers() -> impl Fn(Request) -> Answer + Send + Sync + 'static {
    let count = Arc::new(AtomicUsize::new(0));
    move |request| {
        let count = count.clone();
        Box::pin(async move {
            assert!(request.http.headers().contains_key("traceparent"));
            if request.http.uri().host() == Some("steady.example") {
                tokio::time::sleep(Duration::from_millis(2)).await;
                return Ok(Response::new(204));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            match count.fetch_add(1, Ordering::Relaxed) % 10 {
                3 => Err(TransportError::new(FailureKind::Timeout, "no answer in time")),
                6 => Ok(Response::new(500)),
                _ => Ok(Response::new(200)),
            }
        })
    }
}

type Answer = std::pin::Pin<Box<dyn Future<Output = Result<Response, TransportError>> + Send>>;

/// The lines that are of this crate, without the buckets of the histograms.
fn ours(text: &str) -> String {
    let lines = text.lines().filter(|line| line.contains("tidings_") && !line.contains("_bucket{"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Fails when the three do not tell the same.
fn compare(seen: &Seen) {
    let value = |name: &str| -> u64 {
        let lines = seen.metrics.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    };
    let (events, total) = ((EVENTS * ROUNDS) as u64, &seen.statistics.total);
    assert_eq!(value("tidings_published_total"), events);
    assert_eq!((value("tidings_ended_total"), total.ended()), (events * 2, events * 2));
    assert_eq!(value("tidings_attempts_total"), total.attempts());
    assert!(total.attempts() > events * 2, "some failed at first: {total:?}");
    assert!(seen.health.is_ready() && seen.health.oldest_due.is_none(), "{:?}", seen.health);
    println!("# metrics and statistics agree on {} attempts", total.attempts());
}

/// Runs the example.
#[tokio::test]
async fn what_is_seen_agrees() {
    let prometheus = PrometheusBuilder::new().install_recorder().unwrap();
    compare(&observe(&prometheus).await.unwrap());
}
