//! Dispatchers: signs of life, and what happens to the leases of those that give none.

use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::fault::Step;
use super::rows::{self, Kept, UPDATE_DELIVERY, delivery_columns};
use super::slots::Slots;
use super::writer::Db;
use crate::ground::delivery::Delivery;
use crate::ground::id::DispatcherId;
use crate::ground::policy::ABANDONED_KEPT;
use crate::ground::time::{Timestamp, to_millis};
use crate::ports::storage::{Alive, Heartbeat, Turn};

/// Rule 6: leases are given to the living only, and not to calls that were given up.
pub(super) fn check(conn: &Connection, turn: &Turn) -> Step<()> {
    let id = turn.dispatcher.uuid();
    let sql = "SELECT alive_until, EXISTS (SELECT 1 FROM tidings_abandoned \
               WHERE dispatcher = ?1 AND ticket = ?2) FROM tidings_dispatcher WHERE id = ?1";
    let found: Option<(i64, bool)> = conn
        .prepare_cached(sql)?
        .query_row(params![id.as_bytes().as_slice(), turn.ticket.cast_signed()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let found = found.map(|(until, abandoned)| (rows::time(until), abandoned));
    Ok(turn.check(found)?)
}

/// Forgets the dispatchers that gave no sign of life in time. What they had leased goes back.
pub(super) fn reap(conn: &Connection, slots: &mut Slots<'_>, now: Timestamp) -> Step<()> {
    let sql = "SELECT id, alive_until FROM tidings_dispatcher WHERE alive_until <= ?1";
    let dead: Vec<([u8; 16], i64)> = conn
        .prepare_cached(sql)?
        .query_map([rows::millis(now)], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (id, ended) in dead {
        let id = Uuid::from_bytes(id).into();
        let back = give_back(conn, slots, id, None, now, |delivery| delivery.reap(now))?;
        for key in held(conn, id)? {
            slots.get(key)?.lane.bereave(rows::time(ended));
        }
        let deliveries = back.len();
        tracing::info!(name: "tidings.sqlite.reaped", dispatcher = %id, deliveries);
        forget(conn, id)?;
    }
    Ok(())
}

/// Takes a sign of life.
pub(super) fn heartbeat(db: &mut Db, heartbeat: &Heartbeat) -> Step<Alive> {
    let (conn, memory) = (&db.conn, &mut db.memory);
    let (now, until) = (to_millis(heartbeat.now), to_millis(heartbeat.until));
    let dispatcher = heartbeat.dispatcher;
    let id = dispatcher.uuid();
    let sql = "UPDATE tidings_dispatcher SET alive_until = max(alive_until, ?2) WHERE id = ?1";
    let values = params![id.as_bytes().as_slice(), rows::millis(until)];
    let known = conn.prepare_cached(sql)?.execute(values)? > 0;
    let answer = if known { Alive::Known } else { Alive::New };
    if until <= now {
        let mut slots = Slots::new(conn, &mut memory.webhooks)?;
        let back = |delivery: &mut Delivery| delivery.abandon(now);
        let leased = give_back(conn, &mut slots, dispatcher, None, now, back)?;
        for key in held(conn, dispatcher)? {
            heartbeat.frees_lane(&mut slots.get(key)?.lane, leased.contains(&key));
        }
        slots.flush()?;
        forget(conn, dispatcher)?;
        return Ok(answer);
    }
    if !known {
        let sql = "INSERT INTO tidings_dispatcher (id, alive_until) VALUES (?1, ?2)";
        conn.prepare_cached(sql)?.execute(values)?;
    }
    if !heartbeat.abandoned.is_empty() {
        let mut slots = Slots::new(conn, &mut memory.webhooks)?;
        for ticket in &heartbeat.abandoned {
            remember(conn, dispatcher, *ticket)?;
            let back = |delivery: &mut Delivery| delivery.abandon(now);
            give_back(conn, &mut slots, dispatcher, Some(*ticket), now, back)?;
        }
        slots.flush()?;
    }
    Ok(answer)
}

/// The lanes that a dispatcher holds.
pub(super) fn held(conn: &Connection, dispatcher: DispatcherId) -> Step<Vec<i64>> {
    let sql = "SELECT key FROM tidings_webhook WHERE holder = ?1 ORDER BY key";
    let mut select = conn.prepare_cached(sql)?;
    let id = dispatcher.uuid();
    let found = select.query_map([id.as_bytes().as_slice()], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Gives back what a dispatcher has leased, in one of its calls or in all. Says of which webhooks.
fn give_back(
    conn: &Connection,
    slots: &mut Slots<'_>,
    dispatcher: DispatcherId,
    ticket: Option<u64>,
    now: Timestamp,
    back: impl Fn(&mut Delivery),
) -> Step<Vec<i64>> {
    let sql = concat!(
        "SELECT ",
        delivery_columns!(),
        " FROM tidings_delivery d WHERE d.state = 1 AND d.holder = ?1 \
         AND (?2 IS NULL OR d.ticket = ?2)"
    );
    let id = dispatcher.uuid();
    let mut select = conn.prepare_cached(sql)?;
    let mut leased = Vec::new();
    let mut found =
        select.query(params![id.as_bytes().as_slice(), ticket.map(u64::cast_signed)])?;
    while let Some(row) = found.next()? {
        leased.push(Kept::read(row, 0)?);
    }
    let webhooks = leased.iter().map(|kept| kept.webhook).collect();
    let mut update = conn.prepare_cached(UPDATE_DELIVERY)?;
    for kept in leased {
        slots.get(kept.webhook)?.lane.lower(now);
        let mut delivery = kept.bare();
        back(&mut delivery);
        rows::update(&mut update, &delivery)?;
    }
    Ok(webhooks)
}

/// Remembers that a call was given up, for as long as its dispatcher lives. Of very many the
/// latest ones: an answer that is older than thousands of calls does not come any more.
fn remember(conn: &Connection, dispatcher: DispatcherId, ticket: u64) -> Step<()> {
    let id = dispatcher.uuid();
    let id = id.as_bytes().as_slice();
    let sql = "INSERT INTO tidings_abandoned (dispatcher, ticket) VALUES (?1, ?2) \
               ON CONFLICT DO NOTHING";
    conn.prepare_cached(sql)?.execute(params![id, ticket.cast_signed()])?;
    let sql = "DELETE FROM tidings_abandoned WHERE dispatcher = ?1 AND ticket <= (SELECT ticket \
               FROM tidings_abandoned WHERE dispatcher = ?1 ORDER BY ticket DESC LIMIT 1 OFFSET ?2)";
    conn.prepare_cached(sql)?.execute(params![id, ABANDONED_KEPT])?;
    Ok(())
}

fn forget(conn: &Connection, dispatcher: DispatcherId) -> Step<()> {
    let id = dispatcher.uuid();
    let id = id.as_bytes().as_slice();
    conn.prepare_cached("DELETE FROM tidings_dispatcher WHERE id = ?1")?.execute([id])?;
    conn.prepare_cached("DELETE FROM tidings_abandoned WHERE dispatcher = ?1")?.execute([id])?;
    Ok(())
}
