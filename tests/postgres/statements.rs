//! How many statements a delivery costs, counted by the server.

use std::sync::Arc;

use tidings::DispatcherOptions;

use crate::cluster::{Cluster, Options};
use crate::kit::{Receiver, Running, account, event, register, tidings};

const EVENTS: usize = 20_000;
const ACCOUNTS: usize = 20;
const WEBHOOKS: usize = 10;

/// Publishes 20,000 events in batches while they are delivered to 200 webhooks of 20 accounts, and asks
/// `pg_stat_statements` for all that was run: at most one statement for ten deliveries. How full batches
/// are is a matter of how busy the machine is, so it may try three times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn ten_deliveries_cost_one_statement() {
    let mut each = Vec::new();
    while each.iter().all(|each| *each > 0.1) {
        assert!(each.len() < 3, "{each:?} statements a delivery");
        each.push(statements_each().await);
    }
}

async fn statements_each() -> f64 {
    let options = Options::default()
        .set("shared_preload_libraries", "pg_stat_statements")
        .set("pg_stat_statements.track", "top");
    let cluster = Cluster::with(options);
    let url = cluster.new_database();
    let database = url.rsplit('/').next().unwrap();
    cluster.sql(database, "CREATE EXTENSION pg_stat_statements");
    let tidings = tidings(&url).await;
    for number in 0..ACCOUNTS * WEBHOOKS {
        let kind = format!("order.kind{}", number / ACCOUNTS);
        register(&tidings, account(number % ACCOUNTS), &number.to_string(), &[&kind]).await;
    }
    let receiver = Arc::new(Receiver::default());
    let options = DispatcherOptions::default().in_flight(1_024).in_flight_per_webhook(1_024);
    cluster.sql(database, "SELECT pg_stat_statements_reset()");
    let running = Running::start(&tidings, &receiver, options);
    for batch in 0..EVENTS / 100 {
        let events: Vec<_> = (0..100)
            .map(|at| {
                let number = batch * 100 + at;
                let kind = format!("order.kind{}", number / ACCOUNTS % WEBHOOKS);
                event(&tidings, account(number % ACCOUNTS), &kind, number)
            })
            .collect();
        tidings.publish_all(&events).await.unwrap();
    }
    receiver.wait_for(EVENTS).await;
    running.stop().await;
    let calls = "SELECT sum(calls) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid \
                 WHERE d.datname = current_database() AND query NOT LIKE '%pg_stat_statements%'";
    let calls: f64 = cluster.sql(database, calls)[0][0].parse().unwrap();
    let top = "SELECT calls, round(total_exec_time::numeric, 1), round(total_plan_time::numeric, 1), \
               rows, left(query, 70) FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 20";
    for row in cluster.sql(database, top) {
        println!("{}", row.join(" | "));
    }
    let each = calls / EVENTS as f64;
    println!("{calls} statements for {EVENTS} deliveries: {each:.3} each");
    assert_eq!(receiver.duplicates(), 0);
    each
}
