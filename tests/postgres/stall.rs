//! A node that stops within a transaction: what it locked is everybody's again soon.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidings::storage::PostgresOptions;
use tidings::{Account, DispatcherOptions, Edit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::cluster::Cluster;
use crate::kit::{Receiver, Running, event, register, tidings, tidings_with};

/// A stalled transaction is given up after ten seconds; these machines are shared.
const GIVEN_UP: Duration = Duration::from_secs(5 * 10);

/// The way from a node to the database. Once it is told to, it lets the locking of a webhook pass, and
/// then nothing more, as if the node had been stopped; the connections stay open.
struct Way {
    address: SocketAddr,
    stall: Arc<AtomicBool>,
    stalled: Arc<Notify>,
}

impl Way {
    async fn start(database: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stall, stalled) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let way = Self { address, stall: stall.clone(), stalled: stalled.clone() };
        tokio::spawn(async move {
            loop {
                let (node, _) = listener.accept().await.unwrap();
                let database = TcpStream::connect(database).await.unwrap();
                tokio::spawn(pass(node, database, stall.clone(), stalled.clone()));
            }
        });
        way
    }
}

async fn pass(
    mut node: TcpStream,
    mut database: TcpStream,
    stall: Arc<AtomicBool>,
    stalled: Arc<Notify>,
) {
    let (mut sent, mut answered) = ([0; 16_384], [0; 16_384]);
    let mut begun = false;
    loop {
        tokio::select! {
            read = node.read(&mut sent) => {
                let bytes = &sent[..read.unwrap_or(0)];
                begun |= bytes.windows(5).any(|word| word == b"BEGIN");
                if bytes.is_empty() || database.write_all(bytes).await.is_err() {
                    return;
                }
            }
            read = database.read(&mut answered) => {
                let bytes = &answered[..read.unwrap_or(0)];
                // Rows, and the end of a statement within a transaction: something was read there.
                let is_within = bytes.ends_with(b"Z\0\0\0\x05T");
                let has_rows = bytes.windows(7).any(|word| word == b"SELECT ");
                if stall.load(Ordering::SeqCst) && begun && is_within && has_rows {
                    stalled.notify_one();
                    return std::future::pending().await;
                }
                if bytes.is_empty() || node.write_all(bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Stops an edit after it locked its webhook; another node's edit of the webhook, and a delivery to it,
/// wait no longer than for the database to give the first one up. On connections of the crate's own,
/// and as on those of others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_node_that_stops_within_a_transaction_does_not_hold_the_others() {
    let cluster = Cluster::shared();
    for own in [true, false] {
        let url = cluster.new_database();
        let free = tidings(&url).await;
        register(&free, Account::default(), "one", &["order.*"]).await;
        let webhooks = free.webhooks(&Default::default(), &Default::default()).await.unwrap();
        let webhook = webhooks.items[0].id();

        let way = Way::start(([127, 0, 0, 1], cluster.port()).into()).await;
        let detour =
            url.replace(&format!(":{}/", cluster.port()), &format!(":{}/", way.address.port()));
        assert_ne!(detour, url);
        let options = PostgresOptions::default().connections(2).announce(false).pooler(!own);
        let stopping = tidings_with(&detour, options).await;
        way.stall.store(true, Ordering::SeqCst);
        let edit = tokio::spawn(async move {
            stopping.edit(webhook, None, Edit::new().description("first")).await
        });
        way.stalled.notified().await;

        let stopped = Instant::now();
        let other = free.edit(webhook, None, Edit::new().description("second"));
        tokio::time::timeout(GIVEN_UP, other).await.expect("it is not held").unwrap();
        println!("held {:?}", stopped.elapsed());
        let receiver = Arc::new(Receiver::default());
        let running = Running::start(&free, &receiver, DispatcherOptions::default());
        free.publish(&event(&free, Account::default(), "order.paid", 1)).await.unwrap();
        receiver.wait_for(1).await;
        running.stop().await;
        assert!(!edit.is_finished(), "it was stopped");
        edit.abort();
    }
}
