//! Old and new nodes side by side: a step of the schema only adds, so that statements of a program that
//! was started before it go on. Compared with copies of the first schema that were put away.

use std::collections::BTreeMap;

use rusqlite::Connection;
use tempfile::TempDir;
use tidings::storage::{PostgresStorage, SqliteStorage};

use crate::databases::cluster::Cluster;

const FIRST_SQLITE: &str = include_str!("first/sqlite.sql");
const FIRST_POSTGRES: &str = include_str!("first/postgres.sql");

/// What an insert that does not know of a column must be told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    kind: String,
    required: bool,
    default: Option<String>,
}

/// By table and name.
type Columns = BTreeMap<(String, String), Column>;

/// Every column of `old` is in `new` as it was, and what is new in its tables may be left out.
fn only_adds(old: &Columns, new: &Columns) {
    assert!(old.len() > 50, "there is something to compare: {}", old.len());
    for (name, column) in old {
        assert_eq!(new.get(name), Some(column), "{name:?} is as it was");
    }
    let mut added = 0;
    for (name, column) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        added += 1;
        if old.keys().any(|(table, _)| *table == name.0) {
            let may_be_left_out = !column.required || column.default.is_some();
            assert!(may_be_left_out, "an older program does not write {name:?}");
        }
    }
    assert!(added > 0, "later steps add something");
}

fn sqlite_columns(conn: &Connection) -> Columns {
    let sql = "SELECT t.name, c.name, c.type, c.\"notnull\", c.dflt_value \
               FROM sqlite_master t, pragma_table_info(t.name) c \
               WHERE t.type IN ('table', 'view') AND t.name LIKE 'tidings%' \
               AND t.name <> 'tidings_schema'";
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| {
        let column = Column { kind: row.get(2)?, required: row.get(3)?, default: row.get(4)? };
        Ok(((row.get(0)?, row.get(1)?), column))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

/// What may refuse a row or do more than it, with its table: unique indexes and triggers.
fn sqlite_guards(conn: &Connection) -> Vec<(String, String)> {
    let sql = "SELECT tbl_name, name FROM sqlite_master WHERE tbl_name LIKE 'tidings%' \
               AND (type = 'trigger' OR (type = 'index' AND sql LIKE '%UNIQUE%')) ORDER BY name";
    let mut statement = conn.prepare(sql).unwrap();
    let names = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    names.collect::<Result<_, _>>().unwrap()
}

/// Brings a file of the first schema to the present one, and compares.
#[tokio::test]
async fn steps_in_sqlite_only_add() {
    assert_eq!(FIRST_SQLITE, include_str!("../../src/adapters/sqlite/schema/001.sql"));
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("old.db");
    let conn = Connection::open(&file).unwrap();
    conn.execute_batch(FIRST_SQLITE).unwrap();
    let version = "CREATE TABLE tidings_schema (version INTEGER NOT NULL); \
                   INSERT INTO tidings_schema VALUES (1)";
    conn.execute_batch(version).unwrap();
    let (columns, guards) = (sqlite_columns(&conn), sqlite_guards(&conn));
    drop(conn);
    SqliteStorage::open(&file).await.unwrap().close().await;
    let conn = Connection::open(&file).unwrap();
    only_adds(&columns, &sqlite_columns(&conn));
    let new = sqlite_guards(&conn);
    for guard in new.iter().filter(|guard| !guards.contains(guard)) {
        let of_old = columns.keys().any(|(table, _)| *table == guard.0);
        assert!(!of_old, "{guard:?} might refuse what an old node writes");
    }
}

fn postgres_columns(cluster: &Cluster, database: &str) -> Columns {
    let sql = "SELECT table_name, column_name, data_type, is_nullable, \
               coalesce(column_default, identity_generation, '') \
               FROM information_schema.columns WHERE table_schema = 'tidings' \
               AND table_name <> 'migration'";
    let rows = cluster.sql(database, sql);
    let column = |row: &Vec<String>| {
        let default = Some(row[4].clone()).filter(|text| !text.is_empty());
        let column = Column { kind: row[2].clone(), required: row[3] == "NO", default };
        ((row[0].clone(), row[1].clone()), column)
    };
    rows.iter().map(column).collect()
}

/// Functions with their arguments, constraints and triggers.
fn postgres_guards(cluster: &Cluster, database: &str) -> Vec<Vec<String>> {
    let sql = "SELECT p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' \
               FROM pg_proc p WHERE p.pronamespace = 'tidings'::regnamespace \
               UNION ALL SELECT c.conrelid::regclass || ' ' || pg_get_constraintdef(c.oid) \
               FROM pg_constraint c WHERE c.connamespace = 'tidings'::regnamespace \
               AND c.conrelid <> 'tidings.migration'::regclass \
               UNION ALL SELECT t.tgrelid::regclass || ' ' || t.tgname FROM pg_trigger t \
               JOIN pg_class r ON r.oid = t.tgrelid \
               WHERE r.relnamespace = 'tidings'::regnamespace ORDER BY 1";
    cluster.sql(database, sql)
}

/// The same in PostgreSQL. A constraint on an old table that is new might refuse what an old node writes.
#[tokio::test]
#[ignore = "needs PostgreSQL: tests/run"]
async fn steps_in_postgresql_only_add() {
    let first = PostgresStorage::migrations("tidings").unwrap().remove(0).sql;
    let stored = FIRST_POSTGRES.replace("{s}", "\"tidings\"");
    assert!(first.contains(&stored), "the first step is as it was");
    let cluster = Cluster::shared();
    let url = cluster.new_database();
    let database = url.rsplit('/').next().unwrap();
    cluster.sql(database, &first);
    let (columns, guards) =
        (postgres_columns(cluster, database), postgres_guards(cluster, database));
    drop(PostgresStorage::connect(&url).await.unwrap());
    only_adds(&columns, &postgres_columns(cluster, database));
    let new = postgres_guards(cluster, database);
    for guard in &guards {
        assert!(new.contains(guard), "{guard:?} is as it was");
    }
    let tables: Vec<_> = columns.keys().map(|(table, _)| format!("tidings.{table} ")).collect();
    for guard in new.iter().filter(|guard| !guards.contains(guard)) {
        let of_old = tables.iter().any(|table| guard[0].starts_with(table.as_str()));
        assert!(!of_old, "{guard:?} might refuse what an old node writes");
    }
}
