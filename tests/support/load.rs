//! Work for a storage: publish, route, settle, as fast as it goes; and each of its calls a few times,
//! to see what their statements touch.
#![allow(dead_code)] // Each user of this file needs another part of it.

use std::ops::AddAssign;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidings::policy::{SWEEP_REST, SWEEP_REST_MIN, SWEEP_ROWS};
use tidings::storage::{Storage, Sweep};
use tidings::time::before;
use tidings::{Change, Event, Registration, Tidings};

use super::worker::Worker;

/// Pages that a statement may look at for each row that it returns or writes.
pub(crate) const BUFFERS_PER_ROW: f64 = 10.0;

/// Types that one webhook each wants, where nothing waits.
const KINDS: usize = 100;

/// A loop of publish, route and settle over webhooks of its own.
#[derive(Debug)]
pub(crate) struct Load {
    tidings: Tidings,
    worker: Worker,
}

/// Deliveries, and the time that they took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    deliveries: usize,
    time: Duration,
}

impl Done {
    pub(crate) fn per_second(self) -> f64 {
        self.deliveries as f64 / self.time.as_secs_f64()
    }
}

impl AddAssign for Done {
    fn add_assign(&mut self, other: Self) {
        self.deliveries += other.deliveries;
        self.time += other.time;
    }
}

impl Load {
    pub(crate) async fn begin(storage: &Arc<dyn Storage>) -> Self {
        let tidings = Tidings::builder_shared(storage.clone()).build();
        for kind in 0..KINDS {
            let kind = format!("live.kind{kind}");
            let registration =
                Registration::new("https://example.com/live", [&kind]).expect("a webhook");
            tidings.create(registration.enabled(true)).await.expect("a webhook");
        }
        Self { tidings, worker: Worker::begin(storage, 99).await }
    }

    /// Works for so long.
    pub(crate) async fn run(&self, time: Duration) -> Done {
        let (began, mut deliveries) = (Instant::now(), 0);
        while began.elapsed() < time {
            deliveries += self.round(256).await;
        }
        Done { deliveries, time: began.elapsed() }
    }

    /// Publishes so many events, routes them and settles them.
    async fn round(&self, count: usize) -> usize {
        let events: Vec<Event> = (0..count).map(|number| self.event(number)).collect();
        self.tidings.publish_all(&events).await.expect("a publish");
        let storage = self.tidings.storage();
        let mut settled = 0;
        loop {
            let routed = storage.route(&self.worker.turn(512)).await.expect("a route");
            for leased in routed.leased.chunks(64) {
                self.worker.settle(leased, 204).await;
                settled += leased.len();
            }
            if !routed.more {
                return settled;
            }
        }
    }

    pub(crate) fn event(&self, number: usize) -> Event {
        let object = serde_json::json!({ "id": number.to_string(), "note": "x".repeat(400) });
        let kind = format!("live.kind{}", number % KINDS);
        let change = Change::of(&kind, &object).expect("a change");
        self.tidings.event(change).expect("an event")
    }
}

/// What sweeping everything old came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Swept {
    /// Events that were removed.
    pub(crate) pruned: usize,
    /// How long each step took, and held its locks at most.
    pub(crate) steps: Vec<Duration>,
}

/// Sweeps as the dispatcher does, until nothing is older than a day.
pub(crate) async fn sweep_all(storage: Arc<dyn Storage>) -> Swept {
    let mut done = Swept::default();
    loop {
        let step = Instant::now();
        let swept = storage.sweep(&sweep(SWEEP_ROWS)).await.expect("a sweep");
        let took = step.elapsed();
        done.steps.push(took);
        done.pruned += swept.pruned;
        if !swept.more {
            return done;
        }
        // Room for other work between steps.
        tokio::time::sleep((took * SWEEP_REST).max(SWEEP_REST_MIN)).await;
    }
}

fn sweep(limit: usize) -> Sweep {
    let now = super::worker::now();
    let day = Duration::from_secs(86_400);
    Sweep { now, limit, expire_before: before(now, 40 * day), prune_before: before(now, day) }
}

/// Makes every call of a PostgreSQL storage several times, so that prepared statements come to their
/// later plans too, and answers with the statements, the hungriest first.
#[cfg(feature = "postgres")]
pub(crate) async fn explained(
    server: &super::cluster::Cluster,
    database: &str,
) -> Vec<super::explain::Statement> {
    use tidings::storage::{PostgresOptions, PostgresStorage};

    let from = super::explain::begin(server, database);
    // Few connections, so that each prepares early and runs often.
    let options = PostgresOptions::default().connections(2).announce(false);
    let storage = PostgresStorage::connect_with(&server.url(database), options).await;
    let storage: Arc<dyn Storage> = Arc::new(storage.expect("a store"));
    let load = Load::begin(&storage).await;
    for _ in 0..8 {
        load.round(512).await;
    }
    for number in 0..10 {
        load.tidings.publish(&load.event(number)).await.expect("a publish");
    }
    work(&load).await;
    manage(&load).await;
    let mut statements = super::explain::statements(&server.log(), from);
    statements.retain(|statement| statement.text.contains("tidings"));
    statements.sort_by(|one, other| other.per_row().total_cmp(&one.per_row()));
    statements
}

/// What a dispatcher does with a backlog.
async fn work(load: &Load) {
    let (worker, storage) = (&load.worker, load.tidings.storage());
    for number in 0..12 {
        let leased = worker.claim(100).await;
        assert_eq!(leased.len(), 100);
        let (well, rest) = leased.split_at(50);
        let (badly, back) = rest.split_at(25);
        worker.settle(well, 204).await;
        worker.settle(badly, 500).await;
        worker.give_back(back).await;
        worker.beat(Vec::new()).await;
        if number % 2 == 0 {
            // Born waiting: there is no room.
            let events: Vec<Event> = (0..256).map(|number| load.event(number)).collect();
            load.tidings.publish_all(&events).await.expect("a publish");
            storage.route(&worker.turn(0)).await.expect("a route");
            let turn = worker.turn(100);
            let ticket = turn.ticket;
            assert_eq!(storage.claim(&turn).await.expect("a claim").leased.len(), 100);
            worker.beat(vec![ticket]).await;
        }
    }
}

/// What people do: listings' first pages, redeliveries, edits, housekeeping.
async fn manage(load: &Load) {
    use tidings::{
        Confirmation, DeliveryQuery, Edit, EventQuery, PageRequest, StateKind, WebhookQuery,
    };

    let (tidings, first) = (&load.tidings, PageRequest::default());
    for _ in 0..7 {
        let webhooks = tidings.webhooks(&WebhookQuery::default(), &first).await.expect("a page");
        let events = tidings.events(&EventQuery::default(), &first).await.expect("a page");
        let (webhook, event) = (webhooks.items[0].id(), events.items[0].id());
        let states = |state| DeliveryQuery { states: vec![state], ..DeliveryQuery::default() };
        for query in [
            DeliveryQuery::default(),
            DeliveryQuery { event: Some(event), ..DeliveryQuery::default() },
            DeliveryQuery { webhook: Some(webhook), ..DeliveryQuery::default() },
            states(StateKind::Waiting),
            states(StateKind::Delivered),
        ] {
            tidings.deliveries(&query, &first).await.expect("a page");
        }
        let all = tidings.deliveries(&DeliveryQuery::default(), &first).await.expect("a page");
        tidings.redeliver(all.items[0].delivery.id).await.expect("a redelivery");
        tidings.edit(webhook, None, Edit::default()).await.expect("an edit");
        tidings.disable(webhook, &Confirmation::new("test", "test")).await.expect("a change");
        tidings.enable(webhook).await.expect("a change");
        tidings.storage().sweep(&sweep(100)).await.expect("a sweep");
    }
}
