//! Storages that were written before there were versions: opened, they deliver what they have, and
//! keep versions from then on.

use std::path::Path;

use rusqlite::Connection;
use tempfile::TempDir;
use tidings::storage::{PostgresOptions, PostgresStorage, SqliteStorage, Storage};
use tidings::{ErrorKind, Tidings};

use crate::databases::cluster::Cluster;
use crate::kit::{FLAT, FLAT_DATA, NEWEST, deliver, paid, payload, pinned, versions};

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
    assert_eq!(version, 2);
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
