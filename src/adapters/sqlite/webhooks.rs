//! Webhooks: put, delete, disable, and the spans in which their filters hold.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::fault::{Fault, Step};
use super::order;
use super::rows;
use super::slots::{self, Needs, Slots};
use super::writer::Db;
use crate::adapters::sql::UNREADABLE;
use crate::ground::id::WebhookId;
use crate::ground::time::Timestamp;
use crate::ground::webhook::{DisabledReason, Webhook};

/// What tells whether a webhook may be written.
struct Place {
    key: i64,
    version: u64,
    deleted: bool,
}

/// Inserts a webhook, or replaces the one with its version.
pub(super) fn put(db: &mut Db, webhook: &Webhook, now: Timestamp) -> Step<Webhook> {
    let (conn, memory) = (&db.conn, &mut db.memory);
    let id = webhook.id();
    let place = place(conn, id)?;
    // The id of a deleted webhook stays taken while a delivery may name it.
    let version = |place: &Place| if place.deleted { 0 } else { place.version };
    let stored = webhook.stored_over(place.as_ref().map(version), now)?;
    let Some(place) = place else {
        insert(conn, &stored)?;
        return Ok(stored);
    };
    let mut slots = Slots::new(conn, &mut memory.webhooks)?;
    let slot = slots.get(place.key)?;
    let was_ordered = slot.needs == Needs::Order;
    match slots::load(conn, place.key) {
        Ok(before) => slot.lane.replaced(&before, &stored, now),
        // It could not be read, so it was treated as if it were disabled.
        Err(Fault::Said(_)) => slot.lane.replaced(&stored.disable(UNREADABLE), &stored, now),
        Err(fault) => return Err(fault),
    }
    slot.replace(Arc::new(stored.clone()));
    replace(conn, place.key, &stored)?;
    if was_ordered && !stored.is_ordered() {
        order::forget(conn, slot)?;
    }
    slots.flush()?;
    Ok(stored)
}

/// Disables a webhook for what its receiver did.
pub(super) fn disable(
    conn: &Connection,
    slots: &mut Slots<'_>,
    key: i64,
    reason: DisabledReason,
    now: Timestamp,
) -> Step<()> {
    let stored = slots::load(conn, key)?.disable(reason).stored(now);
    replace(conn, key, &stored)?;
    slots.get(key)?.replace(Arc::new(stored));
    Ok(())
}

/// Deletes a webhook. What waits for it is left to the sweep; the row stays as a tombstone, for
/// deliveries to name.
pub(super) fn delete(db: &mut Db, id: WebhookId) -> Step<bool> {
    let conn = &db.conn;
    let Some(Place { key, deleted: false, .. }) = place(conn, id)? else {
        return Ok(false);
    };
    hold(conn, key, None)?;
    let sql = "UPDATE tidings_webhook SET ended = ?2, enabled = 0, ready = NULL, holder = NULL, \
               free = NULL WHERE key = ?1";
    conn.prepare_cached(sql)?.execute([key, last(conn)?])?;
    // With its secrets.
    let sql = "DELETE FROM tidings_registration WHERE webhook = ?1";
    conn.prepare_cached(sql)?.execute([key])?;
    Ok(true)
}

fn place(conn: &Connection, id: WebhookId) -> Step<Option<Place>> {
    let sql = "SELECT key, version, ended IS NOT NULL FROM tidings_webhook WHERE id = ?1";
    let place = conn.prepare_cached(sql)?.query_row([id.uuid().as_bytes().as_slice()], |row| {
        let version: i64 = row.get(1)?;
        Ok(Place { key: row.get(0)?, version: version.cast_unsigned(), deleted: row.get(2)? })
    });
    Ok(place.optional()?)
}

fn insert(conn: &Connection, stored: &Webhook) -> Step<()> {
    let sql = "INSERT INTO tidings_webhook (id, account, mode, enabled, version, needs) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let id = stored.id().uuid();
    conn.prepare_cached(sql)?.execute(params![
        id.as_bytes().as_slice(),
        stored.account().as_str(),
        rows::mode(stored.mode()),
        i64::from(stored.is_enabled()),
        stored.version().cast_signed(),
        Needs::of(stored).number(),
    ])?;
    let key = conn.last_insert_rowid();
    let sql = "INSERT INTO tidings_registration (webhook, search, record) VALUES (?1, ?2, ?3)";
    conn.prepare_cached(sql)?.execute(params![key, search(stored), stored.to_stored()?])?;
    hold(conn, key, Some(stored))
}

/// Writes a webhook in the place of the one before it; its filters end and begin to hold.
fn replace(conn: &Connection, key: i64, stored: &Webhook) -> Step<()> {
    let sql = "UPDATE tidings_webhook SET enabled = ?2, version = ?3, needs = ?4 WHERE key = ?1";
    let enabled = i64::from(stored.is_enabled());
    let (version, needs) = (stored.version().cast_signed(), Needs::of(stored).number());
    conn.prepare_cached(sql)?.execute([key, enabled, version, needs.into()])?;
    let sql = "UPDATE tidings_registration SET search = ?2, record = ?3 WHERE webhook = ?1";
    conn.prepare_cached(sql)?.execute(params![key, search(stored), stored.to_stored()?])?;
    hold(conn, key, Some(stored))
}

/// What a search looks at: nothing is found across the line break.
fn search(webhook: &Webhook) -> String {
    format!("{}\n{}", webhook.id(), webhook.address().as_str().to_ascii_lowercase())
}

/// From now on the filters of `webhook` hold, if it is enabled, and no others under its key. Those
/// that go on to hold are left alone.
fn hold(conn: &Connection, key: i64, webhook: Option<&Webhook>) -> Step<()> {
    let webhook = webhook.filter(|webhook| webhook.is_enabled());
    let filters = webhook.map(Webhook::types).into_iter().flatten();
    let mut wanted: BTreeSet<&str> = filters.map(|filter| filter.as_str()).collect();
    let last = last(conn)?;
    let sql = "SELECT account, mode, pattern, from_seq FROM tidings_span \
               WHERE webhook = ?1 AND to_seq IS NULL";
    let held: Vec<(String, i64, String, i64)> = conn
        .prepare_cached(sql)?
        .query_map([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<Result<_, _>>()?;
    for (account, mode, pattern, from) in &held {
        if wanted.remove(pattern.as_str()) {
            continue;
        }
        // A span without a publish names nothing.
        let sql = if *from == last {
            "DELETE FROM tidings_span WHERE account = ?1 AND mode = ?2 AND pattern = ?3 \
             AND webhook = ?4 AND from_seq = ?5 AND ?6 = from_seq"
        } else {
            "UPDATE tidings_span SET to_seq = ?6 WHERE account = ?1 AND mode = ?2 \
             AND pattern = ?3 AND webhook = ?4 AND from_seq = ?5"
        };
        conn.prepare_cached(sql)?.execute(params![account, mode, pattern, key, from, last])?;
    }
    let sql = "INSERT INTO tidings_span (account, mode, pattern, webhook, from_seq) \
               VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut begin = conn.prepare_cached(sql)?;
    let Some(webhook) = webhook else {
        return Ok(());
    };
    for pattern in wanted {
        let (account, mode) = (webhook.account().as_str(), rows::mode(webhook.mode()));
        begin.execute(params![account, mode, pattern, key, last])?;
    }
    Ok(())
}

/// The number of the last publish.
fn last(conn: &Connection) -> Step<i64> {
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'tidings_event'";
    let last: Option<i64> = conn.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
    Ok(last.unwrap_or(0))
}
