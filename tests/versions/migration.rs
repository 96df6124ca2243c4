//! Storages that were written before there were versions: opened, they deliver what they have, and
//! keep versions from then on.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;
use tidings::outbox::Outbox;
use tidings::statistics::{StatisticsQuery, StatisticsReport};
use tidings::storage::{MemoryStorage, PostgresOptions, PostgresStorage, SqliteStorage, Storage};
use tidings::time::{after as after_by, before as before_by};
use tidings::{Account, ErrorKind, Event, EventId, Mode, Tidings, Timestamp};

use crate::databases::{self, cluster::Cluster};
use crate::kit::{FLAT, FLAT_DATA, NEWEST, deliver, paid, payload, pinned, versions};
use crate::place;

/// What a host without versions leaves behind: two webhooks and an event that is owed to them.
async fn before(storage: impl Storage) {
    let tidings = Tidings::new(storage);
    pinned(&tidings, "a", Some(FLAT)).await;
    pinned(&tidings, "b", None).await;
    let event = tidings.event(paid().id(tidings::EventId::from_uuid(uuid::Uuid::nil()))).unwrap();
    tidings.publish(&event).await.unwrap();
}

/// The host goes on, with versions.
async fn after(storage: impl Storage) {
    let tidings = Tidings::builder(storage).versions(versions()).build();
    let event = tidings.event(paid()).unwrap();
    tidings.publish(&event).await.unwrap();
    let mut hits = deliver(&tidings, 204, 4).await;
    assert_eq!(hits.len(), 4);
    let old = |hit: &crate::kit::Hit| hit.headers["webhook-id"] != event.id().to_string();
    for hit in hits.extract_if(.., |hit| old(hit)) {
        assert!(!hit.body.contains("apiVersion") && hit.body.contains("currency"), "{hit:?}");
    }
    let new: Vec<_> = hits.iter().map(|hit| hit.body.as_str()).collect();
    assert_eq!(new, [payload(FLAT_DATA, FLAT).as_str(), event.payload()]);
    assert_eq!(event.api_version(), Some(NEWEST));
}

/// Makes at `old` what is in `new`, as the first schema had it.
fn as_the_first_schema_had_it(new: &Path, old: &Path) {
    let conn = Connection::open(old).unwrap();
    conn.execute_batch(include_str!("../../src/adapters/sqlite/schema/001.sql")).unwrap();
    let version = "CREATE TABLE tidings_schema (version INTEGER NOT NULL); \
                   INSERT INTO tidings_schema VALUES (1)";
    conn.execute_batch(version).unwrap();
    conn.execute("ATTACH ?1 AS new", [new.to_str().unwrap()]).unwrap();
    let columns = "SELECT t.name, group_concat(c.name) FROM sqlite_master t, \
                   pragma_table_info(t.name) c WHERE t.type = 'table' \
                   AND t.name <> 'tidings_schema' GROUP BY t.name";
    let mut statement = conn.prepare(columns).unwrap();
    let tables = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let tables: Vec<(String, String)> = tables.collect::<Result<_, _>>().unwrap();
    assert!(tables.iter().any(|(_, columns)| columns.contains("payload")), "{tables:?}");
    assert!(tables.iter().all(|(_, columns)| !columns.contains("renderings")), "{tables:?}");
    for (table, columns) in tables {
        let sql = format!(
            "DELETE FROM main.{table}; \
             INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}"
        );
        conn.execute_batch(&sql).unwrap();
    }
}

/// What a node, and a host in its own transaction, of the first version write: a node the event and its
/// mark, a host into the view.
const AS_A_NODE: &str = "INSERT INTO tidings_event \
    (id, account, mode, type, created, published, digest, payload, order_key) \
    VALUES (?1, 'default', 1, 'order.paid', 0, ?2, ?3, ?4, NULL) ON CONFLICT (id) DO NOTHING";
const AS_A_HOST: &str = "INSERT INTO tidings_publish \
    (id, account, mode, type, created, published, digest, payload, order_key) \
    SELECT unhex(value ->> 'id'), value ->> 'account', value ->> 'mode', value ->> 'type', \
        value ->> 'created', CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER), \
        unhex(value ->> 'digest'), value ->> 'payload', value ->> 'key' \
    FROM json_each(?1) ORDER BY key";

/// An event of a host without versions.
fn plain(number: u128) -> Event {
    let id = EventId::from_uuid(uuid::Uuid::from_u128(number));
    Tidings::new(MemoryStorage::new()).event(paid().id(id)).unwrap()
}

/// The event as the statements of the first version read it.
fn row(event: &Event) -> serde_json::Value {
    serde_json::json!([{
        "id": event.id().uuid().simple().to_string(),
        "account": event.account().as_str(),
        "mode": true,
        "type": event.event_type().as_str(),
        "created": event.created().timestamp_millis(),
        "digest": event.digest().as_bytes().map(|byte| format!("{byte:02x}")).concat(),
        "payload": event.payload(),
        "key": null,
    }])
}

/// Delivers two events that were written by the first version to a webhook that is pinned: they have
/// nothing for its version.
async fn gets_the_payloads(tidings: &Tidings, events: &[Event; 2]) {
    let mut bodies: Vec<_> =
        deliver(tidings, 204, 2).await.into_iter().map(|hit| hit.body).collect();
    bodies.sort();
    assert_eq!(bodies, events.each_ref().map(Event::payload));
}

/// Writes to a file of this version with the statements of the first one.
#[tokio::test]
async fn the_first_version_may_write_to_a_migrated_file() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("tidings.db");
    let storage = SqliteStorage::open(&file).await.unwrap();
    let tidings = Tidings::builder(storage).versions(versions()).build();
    pinned(&tidings, "a", Some(FLAT)).await;
    let events = [plain(1), plain(2)];
    let conn = Connection::open(&file).unwrap();
    let (id, digest) = (events[0].id().uuid(), events[0].digest());
    let now = chrono::Utc::now().timestamp_millis();
    let values = rusqlite::params![id.as_bytes(), now, digest.as_bytes(), events[0].payload()];
    assert_eq!(conn.execute(AS_A_NODE, values).unwrap(), 1);
    let mark = "INSERT INTO tidings_mark (account, seq) VALUES ('default', ?1)";
    conn.execute(mark, [conn.last_insert_rowid()]).unwrap();
    conn.execute(AS_A_HOST, [row(&events[1]).to_string()]).unwrap();
    gets_the_payloads(&tidings, &events).await;
}

/// Opens a file of the first schema.
#[tokio::test]
async fn a_file_of_the_first_schema_goes_on() {
    let folder = TempDir::new().unwrap();
    let (new, old) = (folder.path().join("new.db"), folder.path().join("old.db"));
    let storage = SqliteStorage::open(&new).await.unwrap();
    before(storage.clone()).await;
    storage.close().await;
    as_the_first_schema_had_it(&new, &old);
    after(SqliteStorage::open(&old).await.unwrap()).await;
    let version = "SELECT version FROM tidings_schema";
    let version: i64 =
        Connection::open(&old).unwrap().query_row(version, [], |row| row.get(0)).unwrap();
    assert_eq!(version, 5);
}

/// What was counted in all, of an account, and of a mode.
async fn totals(tidings: &Tidings) -> [StatisticsReport; 3] {
    let now = Timestamp::from(std::time::SystemTime::now());
    let hour = Duration::from_secs(3_600);
    let all = || StatisticsQuery::new(before_by(now, hour), after_by(now, hour)).unwrap();
    let account = all().account(Account::default());
    let read = async |query: StatisticsQuery| tidings.statistics(&query).await.unwrap();
    [read(all()).await, read(account).await, read(all().mode(Mode::Live)).await]
}

/// Delivers something, and says what was counted.
async fn counted(storage: impl Storage + Clone) -> [StatisticsReport; 3] {
    before(storage.clone()).await;
    let tidings = Tidings::new(storage);
    deliver(&tidings, 204, 2).await;
    let counted = totals(&tidings).await;
    assert!(counted.iter().all(|report| report.total.attempts() == 2), "{counted:?}");
    counted
}

/// Takes the totals away, which the fourth schema did not have, and opens the file again.
#[tokio::test]
async fn totals_are_added_up_of_what_was_counted_before() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("old.db");
    let storage = SqliteStorage::open(&file).await.unwrap();
    let counted = counted(storage.clone()).await;
    storage.close().await;
    let back = "DROP TABLE tidings_total; DROP INDEX tidings_delivery_failed; \
                DROP INDEX tidings_delivery_failed_webhook; DROP INDEX tidings_webhook_disabled; \
                UPDATE tidings_schema SET version = 4";
    Connection::open(&file).unwrap().execute_batch(back).unwrap();
    let storage = SqliteStorage::open(&file).await.unwrap();
    assert_eq!(totals(&Tidings::new(storage)).await, counted);
}

/// The same in a database.
#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run"]
async fn totals_are_added_up_of_what_was_counted_before_in_postgresql() {
    let cluster = Cluster::shared();
    let url = cluster.new_database();
    let database = url.rsplit('/').next().unwrap();
    let options = PostgresOptions::default().connections(4).announce(false);
    let storage = PostgresStorage::connect_with(&url, options.clone()).await.unwrap();
    let counted = counted(storage).await;
    let back = "SET search_path = tidings; DROP TABLE total; DROP INDEX ended_failed; \
                DROP INDEX ended_failed_webhook; DROP INDEX webhook_disabled; \
                DELETE FROM migration WHERE version = 5";
    cluster.sql(database, back);
    let storage = PostgresStorage::connect_with(&url, options).await.unwrap();
    assert_eq!(totals(&Tidings::new(storage)).await, counted);
}

/// Copies what is in the schema `scratch`, as far as the schema `tidings` has room for it.
const COPY: &str = "DO $$ DECLARE one record; columns text; BEGIN
    FOR one IN SELECT table_name FROM information_schema.tables WHERE table_schema = 'tidings'
        AND table_type = 'BASE TABLE' AND table_name <> 'migration'
    LOOP
        SELECT string_agg(quote_ident(column_name), ',') INTO columns
            FROM information_schema.columns
            WHERE table_schema = 'tidings' AND table_name = one.table_name;
        EXECUTE format('INSERT INTO tidings.%I (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM scratch.%I',
            one.table_name, columns, columns, one.table_name);
    END LOOP;
    PERFORM setval('tidings.event_seq', (SELECT max(seq) FROM tidings.event));
    PERFORM setval(pg_get_serial_sequence('tidings.webhook', 'key'),
        (SELECT max(key) FROM tidings.webhook));
END $$";

/// Opens a database of the first schema.
#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run"]
async fn a_schema_of_the_first_kind_goes_on_in_postgresql() {
    let cluster = Cluster::shared();
    let url = cluster.new_database();
    let database = url.rsplit('/').next().unwrap();
    let options = PostgresOptions::default().connections(4).announce(false);
    let scratch = options.clone().schema("scratch");
    before(PostgresStorage::connect_with(&url, scratch).await.unwrap()).await;
    let first = PostgresStorage::migrations("tidings").unwrap().remove(0);
    assert!(first.version == 1 && !first.sql.contains("renderings"));
    cluster.sql(database, &first.sql);
    cluster.sql(database, COPY);
    let as_it_is = options.clone().migrate(false);
    let error = PostgresStorage::connect_with(&url, as_it_is).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("version 1"), "{error}");
    after(PostgresStorage::connect_with(&url, options).await.unwrap()).await;
}

/// What a node of the first version writes.
const AS_A_NODE_IN_POSTGRESQL: &str = "WITH new AS (
    INSERT INTO tidings.event (id, account, mode, type, created, published, digest, payload, order_key)
    SELECT n.id, n.account, n.mode, n.type, n.created, $6, n.digest, n.payload, n.order_key
    FROM pg_current_xact_id() AS x, unnest($1::uuid[], $2::text[], $3::bool[], $4::text[], $5::bigint[],
        $7::bytea[], $8::text[], $9::text[])
        AS n(id, account, mode, type, created, digest, payload, order_key)
    ON CONFLICT (id) DO NOTHING RETURNING id, account, seq
), marks AS (INSERT INTO tidings.mark (account, seq) SELECT account, seq FROM new)
SELECT id, seq FROM new";

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Writes to a database of this version with the statements of the first one.
#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run"]
async fn the_first_version_may_write_to_a_migrated_schema_in_postgresql() {
    let url = databases::postgres();
    let tidings = Tidings::builder_shared(place::open(&url).await).versions(versions()).build();
    pinned(&tidings, "a", Some(FLAT)).await;
    let events = [plain(1), plain(2)];
    let client = connect(&url).await;
    let (event, now) = (&events[0], chrono::Utc::now().timestamp_millis());
    let written = client
        .query(
            AS_A_NODE_IN_POSTGRESQL,
            &[
                &vec![event.id().uuid()],
                &vec!["default"],
                &vec![true],
                &vec!["order.paid"],
                &vec![event.created().timestamp_millis()],
                &now,
                &vec![&event.digest().as_bytes()[..]],
                &vec![event.payload()],
                &vec![None::<&str>],
            ],
        )
        .await
        .unwrap();
    assert_eq!(written.len(), 1);
    let publish = "SELECT answer FROM tidings.publish($1::text) AS answer";
    let answer = client.query_one(publish, &[&row(&events[1]).to_string()]).await.unwrap();
    assert_eq!(answer.get::<_, &str>(0), "stored");
    gets_the_payloads(&tidings, &events).await;
}

/// Publishes in a transaction of the host's own into a schema that was not migrated yet: what has
/// nothing for older versions passes, and the rest is an error, not a loss.
#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run"]
async fn an_outbox_before_the_migration_loses_nothing_in_postgresql() {
    let cluster = Cluster::shared();
    let url = cluster.new_database();
    let database = url.rsplit('/').next().unwrap();
    cluster.sql(database, &PostgresStorage::migrations("tidings").unwrap()[0].sql);
    let mut client = connect(&url).await;
    let host = Tidings::builder(MemoryStorage::new()).versions(versions()).build();
    let rendered = host.event(paid()).unwrap();
    let mut tx = client.transaction().await.unwrap();
    let both = [plain(1), rendered];
    let error = Outbox::postgres().publish(&mut tx, &both).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    tx.rollback().await.unwrap();
    let mut tx = client.transaction().await.unwrap();
    Outbox::postgres().publish(&mut tx, &both[..1]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(cluster.sql(database, "SELECT count(*) FROM tidings.event"), [["1"]]);
}
