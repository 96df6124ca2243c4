//! Starting: migrations by many, by others and by hand; and what a person is told when it cannot.

use std::sync::Arc;

use tidings::storage::{PostgresOptions, PostgresStorage};
use tidings::{Account, DispatcherOptions, ErrorKind};

use crate::authority::Authority;
use crate::cluster::{Cluster, Options, Stop};
use crate::kit::{Receiver, Running, event, register, tidings, tidings_with};

fn options() -> PostgresOptions {
    PostgresOptions::default().connections(2).announce(false)
}

/// Starts 20 storages at once on an empty database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn twenty_nodes_may_start_at_once() {
    let cluster = Cluster::shared();
    let url = cluster.new_database();
    let starts = (0..20).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { PostgresStorage::connect_with(&url, options()).await })
    });
    for start in starts.collect::<Vec<_>>() {
        start.await.unwrap().unwrap();
    }
    let database = url.rsplit('/').next().unwrap();
    let steps = cluster.sql(database, "SELECT count(*), max(version) FROM tidings.migration");
    assert_eq!(steps[0][0], steps[0][1], "each step once");
}

/// Migrates under one role, and publishes and delivers under another that may not create anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn migrations_may_run_under_another_role() {
    let cluster = Cluster::shared();
    let url = cluster.new_database();
    let database = url.rsplit('/').next().unwrap();
    let schema = |options: PostgresOptions| options.schema("hooks_2");
    PostgresStorage::migrate(&url, schema(options())).await.unwrap();
    let role = format!("role_{database}");
    cluster.sql(
        database,
        &format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA hooks_2 TO {role}; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA hooks_2 TO {role}; \
             GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA hooks_2 TO {role}"
        ),
    );
    let url = url.replace("postgres@", &format!("{role}@"));
    // Both with the step left out and with a start that finds nothing to do.
    for migrate in [false, true] {
        let tidings = tidings_with(&url, schema(options()).migrate(migrate)).await;
        let kind = if migrate { "order.paid" } else { "order.sent" };
        register(&tidings, Account::default(), kind, &[kind]).await;
        let receiver = Arc::new(Receiver::default());
        let running = Running::start(&tidings, &receiver, DispatcherOptions::default());
        tidings.publish(&event(&tidings, Account::default(), kind, 1)).await.unwrap();
        receiver.wait_for(1).await;
        running.stop().await;
    }
    let refused = PostgresStorage::connect_with(&url, options().schema("elsewhere")).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Schema);
    assert!(refused.to_string().contains("privilege"), "{refused}");
}

/// Runs the exported text by hand, and starts without migrations.
#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run"]
async fn migrations_may_be_run_by_hand() {
    let cluster = Cluster::shared();
    let url = cluster.new_database();
    let database = url.rsplit('/').next().unwrap();
    let options = options().schema("by_hand").migrate(false);
    let missing = PostgresStorage::connect_with(&url, options.clone()).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Schema);
    assert!(missing.to_string().contains("run the migrations"), "{missing}");
    let steps = PostgresStorage::migrations("by_hand").unwrap();
    for step in &steps {
        cluster.sql(database, &format!("BEGIN; {}; COMMIT", step.sql));
    }
    PostgresStorage::connect_with(&url, options.clone()).await.unwrap();
    // From here on it is the schema of a newer version.
    cluster.sql(database, "INSERT INTO by_hand.migration (version) VALUES (1000)");
    let newer = PostgresStorage::connect_with(&url, options.migrate(true)).await.unwrap_err();
    assert_eq!(newer.kind(), ErrorKind::Schema);
    assert!(newer.to_string().contains("newer version of tidings"), "{newer}");
    let tables = cluster.sql(database, "SELECT count(*) FROM by_hand.migration");
    let expected = (steps.len() + 1).to_string();
    assert_eq!(tables[0][0], expected, "what is refused is left as it was");
}

/// Starts with every kind of wrong address; each error names what to do, and none the password.
#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run"]
async fn what_cannot_start_says_what_to_do() {
    let mut cluster = Cluster::with(Options::default().password("swordfish"));
    let url = cluster.create_database("shop");
    PostgresStorage::connect_with(&url, options()).await.unwrap();
    let wrong = url.replace("swordfish", "sesame");
    let other = url.replace("/shop", "/stock");
    let nonsense = url.replace("postgresql://", "mysql://");
    for (url, kind, text) in [
        (&wrong, ErrorKind::Unavailable, "password"),
        (&other, ErrorKind::Unavailable, "no such database"),
        (&nonsense, ErrorKind::Invalid, "url"),
    ] {
        let error = PostgresStorage::connect_with(url, options()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
        let all = format!("{error:?}");
        assert!(!all.contains("sesame") && !all.contains("swordfish"), "{all}");
    }
    let named = PostgresStorage::connect_with(&url, options().schema("Bad Name")).await;
    assert_eq!(named.unwrap_err().field(), Some("schema"));
    cluster.stop(Stop::Fast);
    let gone = PostgresStorage::connect_with(&url, options()).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Unavailable);
    assert!(gone.to_string().contains("is it running"), "{gone}");
}

/// Connects to a server that takes TLS only, with and without trust in its authority.
#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run"]
async fn connections_are_encrypted_and_verified() {
    let authority = Authority::new();
    let (certificate, key) = authority.certificate("localhost");
    let mut cluster = Cluster::start();
    let url = cluster.new_database().replace("127.0.0.1", "localhost") + "?sslmode=require";
    let key = cluster.file("server.key", &key.serialize_pem());
    let certificate = cluster.file("server.crt", &certificate.pem());
    cluster.set("ssl", "on");
    cluster.set("ssl_key_file", key.to_str().unwrap());
    cluster.set("ssl_cert_file", certificate.to_str().unwrap());
    cluster.restart(Stop::Fast);
    let stranger = PostgresStorage::connect_with(&url, options()).await.unwrap_err();
    assert_eq!(stranger.kind(), ErrorKind::Unavailable, "{stranger:?}");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let trusting = options().tls(Arc::new(config));
    let storage = PostgresStorage::connect_with(&url, trusting).await.unwrap();
    let database = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    let encrypted = "SELECT bool_and(s.ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) \
                     WHERE a.application_name = 'tidings'";
    assert_eq!(cluster.sql(database, encrypted)[0][0], "t");
    drop(storage);
}

/// Uses a pool of the host's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_host_may_bring_its_pool() {
    let cluster = Cluster::shared();
    let url = cluster.new_database();
    let config: tokio_postgres::Config = url.parse().unwrap();
    let manager = deadpool_postgres::Manager::new(config, tokio_postgres::NoTls);
    let pool = deadpool_postgres::Pool::builder(manager).max_size(3).build().unwrap();
    let storage = PostgresStorage::from_pool(pool.clone(), options()).await.unwrap();
    let tidings = tidings::Tidings::new(storage);
    register(&tidings, Account::default(), "one", &["order.*"]).await;
    let receiver = Arc::new(Receiver::default());
    let running = Running::start(&tidings, &receiver, DispatcherOptions::default());
    for number in 0..100 {
        tidings.publish(&event(&tidings, Account::default(), "order.paid", number)).await.unwrap();
    }
    receiver.wait_for(100).await;
    running.stop().await;
    assert!(pool.status().size <= 3);
    drop(tidings_with(&url, options()).await);
    drop(self::tidings(&url).await);
}
