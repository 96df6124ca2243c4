//! Faults of the database, under load: nothing is lost, nothing panics, and delivery goes on by itself.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tidings::storage::{DeliveryQueue, PostgresOptions, PostgresStorage, Sweep};
use tidings::{Account, Change, DispatcherOptions, ErrorKind, PageRequest, Tidings, Timestamp};
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, Options, Stop};
use crate::kit::{PATIENCE, Receiver, Running, event, register};

/// Delivery is to go on within five seconds of the database; these machines are shared.
const RESUMED: Duration = Duration::from_secs(5 * 5);

/// Publishers that repeat what failed until it is acknowledged, and a dispatcher.
struct Load {
    tidings: Tidings,
    receiver: Arc<Receiver>,
    running: Running,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    refused: Arc<Mutex<Vec<String>>>,
    publishers: Vec<JoinHandle<()>>,
}

impl Load {
    async fn start(url: &str) -> Self {
        let options = PostgresOptions::default().connections(6).wait(Duration::from_secs(2));
        let storage = PostgresStorage::connect_with(url, options).await.unwrap();
        let tidings = Tidings::new(storage);
        for number in 0..5 {
            let kind = format!("order.kind{number}");
            register(&tidings, Account::default(), &number.to_string(), &[&kind]).await;
        }
        let receiver = Arc::new(Receiver::default());
        let running = Running::start(&tidings, &receiver, DispatcherOptions::default());
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut load = Self {
            tidings,
            receiver,
            running,
            stop,
            acknowledged,
            refused: Arc::default(),
            publishers: Vec::new(),
        };
        for caller in 0..4 {
            load.publishers.push(load.publisher(caller));
        }
        load.progress(100).await;
        load
    }

    fn publisher(&self, caller: usize) -> JoinHandle<()> {
        let (tidings, stop) = (self.tidings.clone(), self.stop.clone());
        let (acknowledged, refused) = (self.acknowledged.clone(), self.refused.clone());
        tokio::spawn(async move {
            for number in 0.. {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let kind = format!("order.kind{}", number % 5);
                let event = event(&tidings, Account::default(), &kind, caller + 4 * number);
                while let Err(error) = tidings.publish(&event).await {
                    let known = [ErrorKind::Unavailable, ErrorKind::Storage];
                    if !known.contains(&error.kind()) {
                        refused.lock().unwrap().push(format!("{error:?}"));
                    }
                    // A caller that is told to try again does so a little later.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        })
    }

    /// Waits until this many more deliveries came, and says how long that took.
    async fn progress(&self, count: usize) -> Duration {
        let began = Instant::now();
        self.receiver.wait_for(self.receiver.count() + count).await;
        began.elapsed()
    }

    /// Ends it: all that was acknowledged arrives, and no delivery is left.
    async fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        for publisher in self.publishers {
            tokio::time::timeout(PATIENCE, publisher).await.expect("in time").expect("no panic");
        }
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        self.receiver.wait_for(acknowledged).await;
        assert_eq!(self.receiver.count(), acknowledged, "nothing but what was acknowledged");
        self.running.stop().await;
        let refused = self.refused.lock().unwrap().clone();
        assert!(refused.is_empty(), "{refused:?}");
        let open = tidings::DeliveryQuery {
            states: vec![tidings::StateKind::Waiting, tidings::StateKind::Leased],
            ..Default::default()
        };
        let page = self.tidings.deliveries(&open, &PageRequest::default()).await.unwrap();
        assert!(page.items.is_empty(), "{:?}", page.items);
        acknowledged
    }
}

/// Stops the server 20 times, ten of them in the middle of everything, and starts it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn stops_of_the_server_lose_nothing() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster.new_database()).await;
    let mut longest = Duration::ZERO;
    for number in 0..20 {
        cluster.stop(if number % 2 == 0 { Stop::Fast } else { Stop::Immediate });
        cluster.launch();
        longest = longest.max(load.progress(10).await);
    }
    let count = load.end().await;
    println!("20 stops: {count} deliveries, resumed after at most {longest:?}");
    assert!(longest < RESUMED, "{longest:?}");
}

/// Cuts all connections 100 times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn cut_connections_lose_nothing() {
    let cluster = Cluster::start();
    let url = cluster.new_database();
    let database = url.rsplit('/').next().unwrap();
    let load = Load::start(&url).await;
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let (mut longest, mut cuts) = (Duration::ZERO, 0);
    for _ in 0..100 {
        cuts += cluster.sql(database, cut)[0][0].parse::<usize>().unwrap();
        longest = longest.max(load.progress(1).await);
    }
    let count = load.end().await;
    println!("{cuts} connections cut: {count} deliveries, resumed after at most {longest:?}");
    assert!(cuts >= 100 && longest < RESUMED, "{cuts}, {longest:?}");
}

/// Lets statements take no time at all, ten times for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn cancelled_statements_lose_nothing() {
    let cluster = Cluster::start();
    let url = cluster.new_database();
    let database = url.rsplit('/').next().unwrap();
    let load = Load::start(&url).await;
    let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid() \
                  AND state = 'active'";
    let mut cancelled = 0;
    let end = Instant::now() + PATIENCE;
    // What is cancelled between two statements is cancelled in vain, so as often as it takes.
    while cancelled < 500 {
        assert!(Instant::now() < end, "{cancelled} cancelled");
        cancelled += cluster.sql(database, cancel)[0][0].parse::<usize>().unwrap();
        tokio::task::yield_now().await;
    }
    let resumed = load.progress(10).await;
    let count = load.end().await;
    println!("{cancelled} statements cancelled: {count} deliveries, resumed after {resumed:?}");
    assert!(resumed < RESUMED, "{resumed:?}");
}

/// Takes every connection of a small pool away for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn an_exhausted_pool_is_told_and_waited_out() {
    let cluster = Cluster::start();
    let url = cluster.new_database();
    let manager = deadpool_postgres::Manager::new(url.parse().unwrap(), tokio_postgres::NoTls);
    let pool = deadpool_postgres::Pool::builder(manager)
        .max_size(2)
        .runtime(deadpool_postgres::Runtime::Tokio1)
        .wait_timeout(Some(Duration::from_millis(50)))
        .build()
        .unwrap();
    let options = PostgresOptions::default().announce(false);
    let tidings = Tidings::new(PostgresStorage::from_pool(pool.clone(), options).await.unwrap());
    register(&tidings, Account::default(), "one", &["order.*"]).await;
    let receiver = Arc::new(Receiver::default());
    let running = Running::start(&tidings, &receiver, DispatcherOptions::default());
    let publish = async |number| {
        tidings.publish(&event(&tidings, Account::default(), "order.paid", number)).await
    };
    publish(0).await.unwrap();
    receiver.wait_for(1).await;
    for round in 1..=5 {
        let taken = (pool_get(&pool).await, pool_get(&pool).await);
        let error = publish(1_000 + round).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("pool"), "{error}");
        drop(taken);
        while publish(round).await.is_err() {}
        receiver.wait_for(1 + round).await;
    }
    running.stop().await;
}

async fn pool_get(pool: &deadpool_postgres::Pool) -> deadpool_postgres::Object {
    let end = Instant::now() + PATIENCE;
    loop {
        // The storage takes its turns, too.
        if let Ok(object) = pool.get().await {
            return object;
        }
        assert!(Instant::now() < end, "no connection");
    }
}

/// Locks lanes from outside in the order that is not ours, so that PostgreSQL has deadlocks to break.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn deadlocks_are_tried_again() {
    let cluster = Cluster::with(Options::default().set("deadlock_timeout", "5ms"));
    let url = cluster.new_database();
    let storage = PostgresStorage::connect(&url).await.unwrap();
    let tidings = Tidings::new(storage.clone());
    for number in 0..8 {
        register(&tidings, Account::default(), &number.to_string(), &["order.*"]).await;
    }
    let (mut client, connection) =
        tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let stop = Arc::new(AtomicBool::new(false));
    let locking = tokio::spawn({
        let stop = stop.clone();
        async move {
            let (mut broken, mut rounds) = (0, 0);
            while !stop.load(Ordering::SeqCst) {
                let transaction = client.transaction().await.unwrap();
                let sql = "SELECT 1 FROM tidings.webhook WHERE key = $1 FOR UPDATE";
                // The last first; whoever takes them in order has the first by now, and waits.
                let mut result = transaction.query(sql, &[&9_i64]).await;
                if result.is_ok() {
                    transaction.query("SELECT pg_sleep(0.01)", &[]).await.unwrap();
                    result = transaction.query(sql, &[&2_i64]).await;
                }
                broken += usize::from(result.is_err());
                rounds += 1;
                transaction.rollback().await.unwrap();
            }
            (broken, rounds)
        }
    });
    // One at a time to each: the others join their lanes, eight locks in a call.
    let receiver = Arc::new(Receiver::default());
    let options = DispatcherOptions::default().in_flight(64).in_flight_per_webhook(1);
    let running = Running::start(&tidings, &receiver, options);
    let deadlocks = || cluster.log().matches("deadlock detected").count();
    let (mut published, end) = (0, Instant::now() + PATIENCE / 2);
    while deadlocks() < 3 {
        assert!(Instant::now() < end, "{} deadlocks in {published} publishes", deadlocks());
        let event = event(&tidings, Account::default(), "order.paid", published);
        tidings.publish(&event).await.unwrap();
        published += 1;
    }
    stop.store(true, Ordering::SeqCst);
    let (broken, rounds) = locking.await.unwrap();
    receiver.wait_for(published * 8).await;
    println!("{} deadlocks in {rounds} rounds, {broken} broken on the other side", deadlocks());
    assert_eq!(receiver.duplicates(), 0);
    running.stop().await;
}

/// Fills the space that the server may use, and frees it, ten times: publishes are refused while it is
/// full, deliveries go on with what is there, and nothing acknowledged is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_full_disk_is_told_and_waited_out() {
    // No file may be longer than 18 MiB: the write-ahead log's are 16.
    let options = Options::default().file_blocks(18 * 2_048).set("autovacuum", "off");
    let cluster = Cluster::with(options);
    let url = cluster.new_database();
    let database = url.rsplit('/').next().unwrap();
    let storage = PostgresStorage::connect(&url).await.unwrap();
    let tidings = Tidings::new(storage.clone());
    register(&tidings, Account::default(), "one", &["order.*"]).await;
    let receiver = Arc::new(Receiver::default());
    let running = Running::start(&tidings, &receiver, DispatcherOptions::default());
    // What does not get smaller by compression: 100 KiB of digits of no pattern.
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut noise = || {
        let digits = (0..6_400).map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            format!("{seed:016x}")
        });
        digits.collect::<String>()
    };
    let mut acknowledged = 0;
    for cycle in 0..10 {
        let mut number = 0;
        let error = loop {
            let object = json!({ "id": format!("{cycle}-{number}"), "noise": noise() });
            let event = tidings.event(Change::of("order.paid", &object).unwrap()).unwrap();
            match tidings.publish(&event).await {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
            number += 1;
            assert!(number < 1_000, "the disk is never full");
        };
        let kind = error.kind();
        assert!([ErrorKind::Storage, ErrorKind::Unavailable].contains(&kind), "{error:?}");
        receiver.wait_for(acknowledged).await;
        // All is over, so all may go; what is freed is used again.
        let sweep = Sweep {
            now: chrono::Utc::now(),
            limit: 500,
            expire_before: Timestamp::UNIX_EPOCH,
            prune_before: chrono::Utc::now() + Duration::from_secs(60),
        };
        let freed = async {
            while cluster.sql(database, "SELECT count(*) FROM tidings.event")[0][0] != "0" {
                storage.sweep(&sweep).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, freed).await.expect("it can be freed");
        cluster.sql(database, "VACUUM tidings.event");
        cluster.sql(database, "VACUUM tidings.mark");
    }
    println!("10 fills: {acknowledged} events, none lost");
    assert_eq!(receiver.duplicates(), 0);
    assert!(acknowledged > 1_000, "{acknowledged}");
    running.stop().await;
}
