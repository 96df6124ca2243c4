//! A storage with a long past: deliveries that wait, and such that have ended, made by SQL.
//!
//! Through the storage's own calls a million of them would take minutes. One webhook and one event are
//! made by the storage; the rest are copies of their rows under other ids.
#![allow(dead_code)] // Each user of this file needs another part of it.

use std::path::Path;
use std::sync::Arc;

use tidings::storage::Storage;
use tidings::{Change, Registration, Tidings, WebhookId};

#[cfg(feature = "postgres")]
use super::cluster::Cluster;

/// How much there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fill {
    /// Webhooks, all enabled.
    pub(crate) webhooks: u64,
    /// Deliveries that wait and are due, in turn over the webhooks.
    pub(crate) waiting: u64,
    /// Deliveries that were made long ago.
    pub(crate) ended: u64,
    /// How many of them each event has.
    pub(crate) fan: u64,
}

/// The type of all events.
pub(crate) const TYPE: &str = "backlog.made";

/// Makes what is copied. Answers with the webhook's id.
async fn template(storage: &Arc<dyn Storage>) -> WebhookId {
    let tidings = Tidings::builder_shared(storage.clone()).build();
    let registration = Registration::new("https://example.com/hook", [TYPE]).expect("a webhook");
    let webhook = tidings.create(registration.enabled(true)).await.expect("a webhook").webhook;
    let object = serde_json::json!({ "id": "object", "note": "x".repeat(200) });
    let event = tidings.event(Change::of(TYPE, &object).expect("a change")).expect("an event");
    tidings.publish(&event).await.expect("a publish");
    webhook.id()
}

/// Fills the schema `tidings` of a PostgreSQL database that has nothing in it.
#[cfg(feature = "postgres")]
pub(crate) async fn postgres(
    cluster: &Cluster,
    database: &str,
    storage: &Arc<dyn Storage>,
    fill: Fill,
) {
    template(storage).await;
    let Fill { webhooks, waiting, ended, fan } = fill;
    let (old, new) = (ended / fan, waiting / fan);
    let columns = "event, webhook, published, attempt, failures, interruptions, lapsed";
    let deliveries = |range: &str| {
        format!(
            "SELECT (left(replace(e.id::text, '-', ''), 12) || '80008' || \
             lpad(to_hex(k), 15, '0'))::uuid AS id, e.seq AS event, \
             w.first + (e.seq * {fan} + k) % {webhooks} AS webhook, e.published \
             FROM event e CROSS JOIN generate_series(0, {fan} - 1) k \
             CROSS JOIN (SELECT min(key) + 1 AS first FROM webhook) w WHERE {range}"
        )
    };
    let (olds, news) = (format!("seq BETWEEN 2 AND {}", old + 1), format!("seq > {}", old + 1));
    let (olds, news) = (deliveries(&olds), deliveries(&news));
    let text = format!(
        "SET search_path = tidings; SET synchronous_commit = off;
         DELETE FROM mark;
         INSERT INTO webhook (id, account, mode, enabled, version)
             SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, t.account, t.mode,
             t.enabled, t.version FROM webhook t CROSS JOIN generate_series(1, {webhooks}) n;
         INSERT INTO registration SELECT w.key, replace(r.search, t.id::text, w.id::text),
             replace(r.record, t.id::text, w.id::text)
             FROM registration r JOIN webhook t ON t.key = r.webhook
             JOIN webhook w ON w.key <> t.key;
         INSERT INTO span (account, mode, pattern, webhook, from_seq)
             SELECT s.account, s.mode, s.pattern, w.key, s.from_seq
             FROM span s JOIN webhook w ON w.key <> s.webhook;
         INSERT INTO event (id, account, mode, type, created, published, digest, payload)
             SELECT (lpad(to_hex(at), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid,
             t.account, t.mode, t.type, at, at, t.digest, t.payload
             FROM event t CROSS JOIN generate_series(1, {old} + {new}) n CROSS JOIN LATERAL (
                 SELECT t.published - CASE WHEN n <= {old} THEN 8640000000 ELSE 3600000 END
                     + n AS at) a ORDER BY n;
         INSERT INTO ended (id, {columns}, state, at, settled_by, started, latency, status, truncated)
             SELECT id, event, webhook, published, 1, 0, 0, false, 2, published,
             '00000000-0000-7000-8000-000000000000', published, 1000000, 200, false FROM ({olds}) d;
         INSERT INTO waiting (id, {columns}, due)
             SELECT id, event, webhook, published, 0, 0, 0, false, published FROM ({news}) d;
         UPDATE webhook SET next_due = due, ready = due
             FROM (SELECT webhook, min(due) AS due FROM waiting GROUP BY webhook) w
             WHERE key = w.webhook;"
    );
    cluster.sql(database, &text);
    cluster.sql(database, "VACUUM ANALYZE");
}

/// Fills an SQLite file that has nothing in it, and that `storage` has open.
#[cfg(feature = "sqlite")]
pub(crate) async fn sqlite(path: &Path, storage: &Arc<dyn Storage>, fill: Fill) {
    let template = template(storage).await;
    let path = path.to_owned();
    let work = move || fill_file(&path, template, fill);
    tokio::task::spawn_blocking(work).await.expect("a thread").expect("a filled file");
}

#[cfg(feature = "sqlite")]
fn fill_file(path: &Path, template: WebhookId, fill: Fill) -> rusqlite::Result<()> {
    let Fill { webhooks, waiting, ended, fan } = fill;
    let (old, new) = (ended / fan, waiting / fan);
    let other = "printf('00000000-0000-7000-8000-%012x', n)";
    let counted = |most: u64| {
        format!(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers \
             WHERE n < {most})"
        )
    };
    let places: Vec<u64> = (0..fan).collect();
    let places = format!("(SELECT value AS k FROM json_each('{places:?}'))");
    let deliveries = |range: &str, state: i64| {
        format!(
            "INSERT INTO tidings_delivery (id, event, webhook, published, state, at, attempt, failures,
             interruptions, lapsed)
             SELECT unhex(substr(hex(e.id), 1, 12) || '80008' || printf('%015x', k)), e.seq,
             2 + (e.seq * {fan} + k) % {webhooks}, e.published, {state}, e.published, {state} > 0, 0, 0, 0
             FROM tidings_event e CROSS JOIN {places} WHERE {range} ORDER BY e.seq, k;"
        )
    };
    let (olds, news) = (format!("seq BETWEEN 2 AND {}", old + 1), format!("seq > {}", old + 1));
    let (olds, news) = (deliveries(&olds, 2), deliveries(&news, 0));
    let (webhook_numbers, event_numbers) = (counted(webhooks), counted(old + new));
    let text = format!(
        "PRAGMA busy_timeout = 10000; PRAGMA synchronous = OFF; BEGIN IMMEDIATE;
         DELETE FROM tidings_mark;
         {webhook_numbers} INSERT INTO tidings_webhook
             (id, account, mode, enabled, version, needs)
             SELECT unhex(replace({other}, '-', '')), account, mode, enabled, version, needs
             FROM numbers CROSS JOIN tidings_webhook WHERE key = 1;
         {webhook_numbers} INSERT INTO tidings_registration
             SELECT n + 1, replace(search, '{template}', {other}),
             replace(record, '{template}', {other})
             FROM numbers CROSS JOIN tidings_registration WHERE webhook = 1;
         {webhook_numbers} INSERT INTO tidings_span
             SELECT account, mode, pattern, n + 1, from_seq, NULL
             FROM numbers CROSS JOIN tidings_span WHERE webhook = 1;
         {event_numbers} INSERT INTO tidings_event
             (id, account, mode, type, created, published, digest, payload)
             SELECT unhex(printf('%012x70008%015x', at, n)), account, mode, type, at, at, digest,
             payload FROM (SELECT n, e.*, e.published + n
                 - CASE WHEN n <= {old} THEN 8640000000 ELSE 3600000 END AS at
                 FROM numbers CROSS JOIN tidings_event e WHERE e.seq = 1) ORDER BY n;
         {olds} {news}
         UPDATE tidings_webhook SET next_due = due, ready = due FROM
             (SELECT webhook, min(at) AS due FROM tidings_delivery WHERE state = 0 GROUP BY webhook) w
             WHERE key = w.webhook;
         COMMIT; PRAGMA wal_checkpoint(TRUNCATE);"
    );
    rusqlite::Connection::open(path)?.execute_batch(&text)
}
