//! What one process learns of another: by LISTEN and NOTIFY, by polling, behind a pooler.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tidings::storage::conformance;
use tidings::storage::{PostgresOptions, PostgresStorage, Storage, Sweep, Swept};
use tidings::transport::{Request, Response, transport_fn};
use tidings::{Account, DispatcherOptions, Tidings, clock_fn};

use crate::cluster::Cluster;
use crate::kit::{PATIENCE, Receiver, Running, event, register, tidings_with};
use crate::migrate::connect;

fn options() -> PostgresOptions {
    PostgresOptions::default().connections(3)
}

/// Publishes through one storage while a dispatcher that hardly ever polls runs over another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_publish_wakes_the_other_nodes() {
    let cluster = Cluster::shared();
    let url = cluster.new_database();
    let (here, there) = (tidings_with(&url, options()).await, tidings_with(&url, options()).await);
    register(&here, Account::default(), "one", &["order.*"]).await;
    let receiver = Arc::new(Receiver::default());
    let rarely = DispatcherOptions::default().poll(PATIENCE * 10);
    let running = Running::start(&there, &receiver, rarely);
    for number in 0..20 {
        here.publish(&event(&here, Account::default(), "order.paid", number)).await.unwrap();
        // No poll comes to its help.
        receiver.wait_for(number + 1).await;
    }
    // The connection that listens is cut; it comes back, and looks for what it missed.
    let database = url.rsplit('/').next().unwrap();
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE query LIKE 'LISTEN%' OR query LIKE 'NOTIFY%'";
    assert!(cluster.sql(database, cut)[0][0].parse::<u32>().unwrap() >= 1);
    for number in 20..40 {
        here.publish(&event(&here, Account::default(), "order.paid", number)).await.unwrap();
    }
    receiver.wait_for(40).await;
    running.stop().await;
}

/// The same with announcements switched off: polling finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn without_announcements_polling_finds_the_work() {
    let cluster = Cluster::shared();
    let url = cluster.new_database();
    let silent = || options().announce(false);
    let (here, there) = (tidings_with(&url, silent()).await, tidings_with(&url, silent()).await);
    register(&here, Account::default(), "one", &["order.*"]).await;
    let receiver = Arc::new(Receiver::default());
    let often = DispatcherOptions::default().poll(Duration::from_millis(20));
    let running = Running::start(&there, &receiver, often);
    for number in 0..20 {
        here.publish(&event(&here, Account::default(), "order.paid", number)).await.unwrap();
    }
    receiver.wait_for(20).await;
    running.stop().await;
    let database = url.rsplit('/').next().unwrap();
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' \
                     AND datname = current_database()";
    assert_eq!(cluster.sql(database, listening)[0][0], "0");
}

/// Holds the sweep of one node in its transaction: another one's finds it taken and does nothing, and
/// does its work when the first is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn one_node_sweeps_at_a_time() {
    let cluster = Cluster::shared();
    let url = cluster.new_database();
    let here = tidings_with(&url, options()).await;
    for number in 0..3 {
        here.publish(&event(&here, Account::default(), "order.paid", number)).await.unwrap();
    }
    let running =
        Running::start(&here, &Arc::new(Receiver::default()), DispatcherOptions::default());
    while here.storage().backlog(None, 1).await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.stop().await;
    let now = here.storage().time().await.unwrap().unwrap() + Duration::from_secs(60);
    let sweep = Sweep { now, limit: 10, expire_before: now, prune_before: now };
    let other = connect(&url).await;
    let lock = "BEGIN; SELECT pg_advisory_xact_lock(1953063017, \
                'tidings.event'::regclass::oid::integer)";
    other.batch_execute(lock).await.unwrap();
    assert_eq!(here.storage().sweep(&sweep).await.unwrap(), Swept::default());
    other.batch_execute("COMMIT").await.unwrap();
    assert_eq!(here.storage().sweep(&sweep).await.unwrap().pruned, 3);
}

/// PgBouncer in transaction mode before a database.
struct Pooler {
    child: Child,
    _folder: tempfile::TempDir,
    port: u16,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Pooler {
    fn start(cluster: &Cluster) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let users = folder.path().join("users");
        std::fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let path = folder.path().join("pgbouncer.ini");
        let ini = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
             pool_mode = transaction\ndefault_pool_size = 4\nmax_client_conn = 1000\n",
            cluster.port(),
            users.display()
        );
        std::fs::write(&path, ini).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "PATH=$PATH:/usr/sbin exec pgbouncer \"$@\"", "sh"]);
        // It refuses to run as root; its files must be readable then.
        if std::fs::metadata("/proc/self")
            .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
        {
            command.args(["-u", "postgres"]);
            for path in [folder.path(), &users, &path] {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                std::fs::set_permissions(path, mode).unwrap();
            }
        }
        let child = command
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer: tests/run installs it");
        let pooler = Self { child, _folder: folder, port };
        let end = std::time::Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(std::time::Instant::now() < end, "pgbouncer does not answer");
            std::thread::yield_now();
        }
        pooler
    }

    fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

/// Runs the conformance suite through PgBouncer in transaction mode, and wakes a node behind it over
/// a direct connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn it_works_behind_a_pooler() {
    let cluster = Cluster::shared();
    let direct = cluster.new_database();
    let pooler = Pooler::start(cluster);
    let url = pooler.url(direct.rsplit('/').next().unwrap());
    // Many connections over few of the server: whatever outlives a transaction would show.
    let options = || PostgresOptions::default().connections(8).pooler(true);
    for (number, case) in conformance::cases().into_iter().enumerate() {
        if case.topic() == "scale" {
            continue;
        }
        let schema = format!("case_{number}");
        let store = PostgresStorage::connect_with(&url, options().schema(schema)).await.unwrap();
        case.run(Arc::new(store) as Arc<dyn Storage>).await;
    }
    let tidings = tidings_with(&url, options().listen_url(&direct)).await;
    let other = tidings_with(&url, options().listen_url(&direct)).await;
    register(&tidings, Account::default(), "one", &["order.*"]).await;
    let receiver = Arc::new(Receiver::default());
    let rarely = DispatcherOptions::default().poll(PATIENCE * 10);
    let running = Running::start(&other, &receiver, rarely);
    for number in 0..200 {
        tidings.publish(&event(&tidings, Account::default(), "order.paid", number)).await.unwrap();
    }
    receiver.wait_for(200).await;
    assert_eq!(receiver.duplicates(), 0);
    running.stop().await;
}

/// Runs two dispatchers whose machines' clocks are two hours apart, with the shortest leases, for several
/// of their lives: neither takes the other for dead, and nothing is early, late or twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn the_clocks_of_the_machines_do_not_matter() {
    let cluster = Cluster::shared();
    let url = cluster.new_database();
    let mut handles = Vec::new();
    for hours in [-1, 1] {
        let storage = PostgresStorage::connect_with(&url, options()).await.unwrap();
        let clock = move || chrono::Utc::now() + chrono::Duration::hours(hours);
        handles.push(Tidings::builder(storage).clock(clock_fn(clock)).build());
    }
    register(&handles[0], Account::default(), "one", &["order.*"]).await;
    let receiver = Arc::new(Receiver::default());
    let lease = Duration::from_secs(3);
    let options = || DispatcherOptions::default().lease(lease).poll(Duration::from_millis(20));
    let running: Vec<Running> =
        handles.iter().map(|tidings| Running::start(tidings, &receiver, options())).collect();
    let began = std::time::Instant::now();
    let mut number = 0;
    // A few lives long: a dispatcher that is taken for dead is missing from the table at times.
    let database = url.rsplit('/').next().unwrap();
    receiver_of(&handles[0], &receiver, &mut number).await;
    let alive = || cluster.sql(database, "SELECT count(*) FROM tidings.dispatcher").remove(0);
    let both = async {
        while alive() != ["2"] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, both).await.expect("both give signs of life");
    while began.elapsed() < lease * 3 {
        receiver_of(&handles[number % 2], &receiver, &mut number).await;
        assert_eq!(alive(), ["2"], "both are alive after {:?}", began.elapsed());
    }
    // Asked for by the one whose clock is ahead, and due at once.
    let page = handles[1].deliveries(&Default::default(), &Default::default()).await.unwrap();
    let again = handles[1].redeliver(page.items[0].delivery.id).await.unwrap();
    let delivered = async {
        while !handles[0].delivery(again).await.unwrap().delivery.state.is_ended() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, delivered).await.expect("it is sent at once");
    assert_eq!(receiver.duplicates(), 1, "the redelivery and nothing else");
    for running in running {
        running.stop().await;
    }
}

/// Publishes one event and waits for its delivery.
async fn receiver_of(tidings: &Tidings, receiver: &Receiver, number: &mut usize) {
    tidings.publish(&event(tidings, Account::default(), "order.paid", *number)).await.unwrap();
    *number += 1;
    receiver.wait_for(*number).await;
}

/// Looks at the database while the one request there is is under way: no transaction is open, and
/// no lock is held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn nothing_is_locked_during_a_request() {
    let cluster = Cluster::shared();
    let url = cluster.new_database();
    let database = url.rsplit('/').next().unwrap().to_owned();
    let tidings = tidings_with(&url, options().announce(false)).await;
    register(&tidings, Account::default(), "one", &["order.*"]).await;
    let (asked, answers) = tokio::sync::mpsc::unbounded_channel();
    let transport = transport_fn(move |_: Request| {
        let (asked, database) = (asked.clone(), database.clone());
        async move {
            let open = "SELECT count(*) FILTER (WHERE xact_start IS NOT NULL), \
                        (SELECT count(*) FROM pg_locks l WHERE l.pid <> pg_backend_pid() \
                         AND l.database = (SELECT oid FROM pg_database \
                         WHERE datname = current_database())) \
                        FROM pg_stat_activity WHERE application_name = 'tidings' \
                        AND datname = current_database()";
            // Other calls may be under way, and end. What was kept open for this request would not.
            let end = std::time::Instant::now() + PATIENCE / 4;
            let mut found = cluster.sql(&database, open).remove(0);
            while found != ["0", "0"] && std::time::Instant::now() < end {
                tokio::task::yield_now().await;
                found = cluster.sql(&database, open).remove(0);
            }
            asked.send(found).unwrap();
            Ok(Response::new(204))
        }
    });
    // No poll and no sign of life falls into the request.
    let options = DispatcherOptions::default().poll(PATIENCE).sweep_every(None);
    let dispatcher = tidings.dispatcher_with(Arc::new(transport), options).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(dispatcher.run(async {
        let _ = stopped.await;
    }));
    tidings.publish(&event(&tidings, Account::default(), "order.paid", 0)).await.unwrap();
    let mut answers = answers;
    let found = tokio::time::timeout(PATIENCE, answers.recv()).await.unwrap().unwrap();
    assert_eq!(found, ["0", "0"], "transactions, locks");
    stop.send(()).unwrap();
    running.await.unwrap();
}
