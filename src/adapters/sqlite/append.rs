//! Events: append, and deliveries that are asked for.

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params};

use super::fault::Step;
use super::rows::{self, INSERT_DELIVERY};
use super::slots::Slots;
use super::writer::{Db, Guard, Verdict};
use crate::ground::account::Mode;
use crate::ground::delivery::Delivery;
use crate::ground::error::Error;
use crate::ground::event::Event;
use crate::ground::id::{Cause, EventId, WebhookId};
use crate::ground::time::Timestamp;
use crate::ports::storage::{Appended, Enqueued, NewEvent, Owed};

/// The number of the last event that was published.
pub(super) fn last(conn: &Connection) -> Step<u64> {
    let sql = "SELECT coalesce(max(seq), 0) FROM tidings_event";
    let last: i64 = conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(last.cast_unsigned())
}

/// A single event has nothing to take back: what is refused was not written.
pub(super) fn guard(events: &[NewEvent]) -> Guard {
    match events {
        [NewEvent { only: None, .. }] => Guard::Group,
        _ => Guard::Savepoint,
    }
}

const INSERT: &str = "INSERT INTO tidings_event \
    (id, account, mode, type, created, published, digest, payload, order_key, renderings, trace) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (id) DO NOTHING";
const MARK: &str = "INSERT INTO tidings_mark (account, seq) VALUES (?1, ?2)";

/// Keeps events, all or none.
pub(super) fn append(
    db: &mut Db,
    events: &[NewEvent],
    now: Timestamp,
) -> Step<Verdict<Vec<Appended>>> {
    let (conn, memory) = (&db.conn, &mut db.memory);
    let mut insert = conn.prepare_cached(INSERT)?;
    let mut mark = conn.prepare_cached(MARK)?;
    let mut answers = Vec::with_capacity(events.len());
    let mut lanes = Vec::new();
    for NewEvent { event, only } in events {
        let key = match only {
            Some(webhook) => addressee(conn, *webhook, event.account().as_str(), event.mode())?,
            None => None,
        };
        if let (Some(webhook), None) = (only, key) {
            // Nobody to send it to; but it may be the repetition of one that was sent.
            let known = known(conn, event.id(), event.digest().as_bytes())?;
            answers.push(known.ok_or_else(|| Error::not_found("webhook", webhook))?);
            continue;
        }
        if !put(&mut insert, event, now)? {
            let known = known(conn, event.id(), event.digest().as_bytes())?;
            answers.push(known.unwrap_or(Appended::Conflict));
            continue;
        }
        answers.push(Appended::Stored);
        let seq = conn.last_insert_rowid();
        match (only, key) {
            (Some(webhook), Some(key)) => {
                let delivery = Delivery::owed(event.id(), *webhook, Cause::ROUTED, now, now);
                rows::insert(
                    &mut conn.prepare_cached(INSERT_DELIVERY)?,
                    &delivery,
                    seq,
                    key,
                    None,
                )?;
                lanes.push(key);
            }
            _ => {
                mark.execute(params![event.account().as_str(), seq])?;
            }
        }
    }
    if answers.contains(&Appended::Conflict) {
        return Ok(Verdict::Undo(answers));
    }
    if !lanes.is_empty() {
        let mut slots = Slots::new(conn, &mut memory.webhooks)?;
        for key in lanes {
            slots.get(key)?.lane.lower(now);
        }
        slots.flush()?;
    }
    Ok(Verdict::Keep(answers))
}

/// Keeps an event with its mark, unless its id is there already.
pub(super) fn keep(conn: &Connection, event: &Event, now: Timestamp) -> Step<()> {
    if put(&mut conn.prepare_cached(INSERT)?, event, now)? {
        let seq = conn.last_insert_rowid();
        conn.prepare_cached(MARK)?.execute(params![event.account().as_str(), seq])?;
    }
    Ok(())
}

/// Writes an event; says whether it was new.
fn put(insert: &mut CachedStatement<'_>, event: &Event, now: Timestamp) -> Step<bool> {
    let id = event.id().uuid();
    let made = insert.execute(params![
        id.as_bytes().as_slice(),
        event.account().as_str(),
        rows::mode(event.mode()),
        event.event_type().as_str(),
        rows::millis(event.created()),
        rows::millis(now),
        event.digest().as_bytes().as_slice(),
        event.payload(),
        event.key(),
        event.renderings(),
        event.trace_text(),
    ])?;
    Ok(made > 0)
}

/// What an id that is stored means for an event with this digest.
fn known(conn: &Connection, id: EventId, digest: &[u8; 32]) -> Step<Option<Appended>> {
    let sql = "SELECT digest FROM tidings_event WHERE id = ?1";
    let stored: Option<[u8; 32]> = conn
        .prepare_cached(sql)?
        .query_row([id.uuid().as_bytes().as_slice()], |row| row.get(0))
        .optional()?;
    Ok(stored.map(
        |stored| {
            if stored == *digest { Appended::Duplicate } else { Appended::Conflict }
        },
    ))
}

/// The key of a webhook that exists and is of this account and mode.
fn addressee(conn: &Connection, id: WebhookId, account: &str, mode: Mode) -> Step<Option<i64>> {
    let sql = "SELECT key FROM tidings_webhook \
               WHERE id = ?1 AND account = ?2 AND mode = ?3 AND ended IS NULL";
    let id = id.uuid();
    let values = params![id.as_bytes().as_slice(), account, rows::mode(mode)];
    Ok(conn.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?)
}

/// Makes the deliveries that are owed.
pub(super) fn enqueue(db: &mut Db, owed: &[Owed], now: Timestamp) -> Step<Vec<Enqueued>> {
    let (conn, memory) = (&db.conn, &mut db.memory);
    let mut slots = Slots::new(conn, &mut memory.webhooks)?;
    let mut insert = conn.prepare_cached(INSERT_DELIVERY)?;
    let mut event =
        conn.prepare_cached("SELECT seq, account, mode FROM tidings_event WHERE id = ?1")?;
    let mut answers = Vec::with_capacity(owed.len());
    for owed in owed {
        let id = owed.event.uuid();
        let found: Option<(i64, String, bool)> = event
            .query_row([id.as_bytes().as_slice()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let Some((seq, account, live)) = found else {
            answers.push(Enqueued::NoEvent);
            continue;
        };
        let Some(key) = addressee(conn, owed.webhook, &account, Mode::from_live(live))? else {
            answers.push(Enqueued::NoWebhook);
            continue;
        };
        let delivery = Delivery::owed(owed.event, owed.webhook, owed.cause, now, now);
        answers.push(if rows::insert(&mut insert, &delivery, seq, key, None)? {
            slots.get(key)?.lane.lower(now);
            Enqueued::Made(delivery.id)
        } else {
            Enqueued::Existed(delivery.id)
        });
    }
    slots.flush()?;
    Ok(answers)
}
