//! Housekeeping, a bounded step at a time.

use std::collections::BTreeSet;

use rusqlite::{Connection, Params, params};

use super::fault::Step;
use super::order;
use super::replay;
use super::rows::{self, Kept, UPDATE_DELIVERY, delivery_columns};
use super::slots::Slots;
use super::statistics;
use super::writer::{Db, Memory};
use crate::adapters::sql::WIDE;
use crate::ground::delivery::State;
use crate::ground::id::{DeliveryId, EventId};
use crate::ground::policy::SQLITE_PRUNE_STRETCH;
use crate::ground::statistics::Additions;
use crate::ground::time::{Timestamp, to_millis};
use crate::ports::storage::{Sweep, Swept};

/// One step of everything.
pub(super) fn sweep(db: &mut Db, sweep: &Sweep) -> Step<Swept> {
    let (conn, memory) = (&db.conn, &mut db.memory);
    let now = to_millis(sweep.now);
    let limit = rows::bound(sweep.limit);
    let mut slots = Slots::new(conn, &mut memory.webhooks)?;
    let expired = expire(conn, &mut slots, sweep, now, limit)?;
    let cancelled = cancel(conn, &mut slots, now, limit)?;
    slots.flush()?;
    drop(slots);
    let (pruned, unpruned) = prune(conn, memory, sweep, limit)?;
    let spans = spans(conn, limit)?;
    tombstones(conn, memory, limit)?;
    replay::prune(conn, rows::millis(to_millis(sweep.prune_before)), limit)?;
    let more = unpruned || [expired, cancelled, spans].contains(&sweep.limit);
    Ok(Swept { expired, cancelled, pruned, more })
}

/// What waited for too long ends. The lanes keep their bounds: the next claim finds the true ones.
fn expire(
    conn: &Connection,
    slots: &mut Slots<'_>,
    sweep: &Sweep,
    now: Timestamp,
    limit: i64,
) -> Step<usize> {
    let sql = concat!(
        "SELECT ",
        delivery_columns!(),
        " FROM tidings_delivery d WHERE d.state <= 0 AND d.published < ?1 \
         ORDER BY d.published LIMIT ?2"
    );
    let before = rows::millis(to_millis(sweep.expire_before));
    end(conn, slots, sql, params![before, limit], State::Expired { at: now })
}

/// What waits for webhooks that were deleted ends.
fn cancel(conn: &Connection, slots: &mut Slots<'_>, now: Timestamp, limit: i64) -> Step<usize> {
    let sql = "SELECT key FROM tidings_webhook WHERE ended IS NOT NULL AND next_due IS NOT NULL \
               LIMIT ?1";
    let deleted: Vec<i64> = conn
        .prepare_cached(sql)?
        .query_map([limit], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut cancelled = 0;
    for key in deleted {
        let parked = concat!(
            "SELECT ",
            delivery_columns!(),
            " FROM tidings_delivery d WHERE d.webhook = ?1 AND d.order_key IS NOT NULL \
             AND d.state < 2 AND d.state = -1 LIMIT ?2"
        );
        let waiting = concat!(
            "SELECT ",
            delivery_columns!(),
            " FROM tidings_delivery d WHERE d.webhook = ?1 AND d.state = 0 LIMIT ?2"
        );
        // First those behind, or each end would put one of them back into the lane.
        for sql in [parked, waiting] {
            let left = limit - i64::try_from(cancelled).unwrap_or(limit);
            let some = end(conn, slots, sql, params![key, left], State::Cancelled { at: now })?;
            cancelled += some;
            if i64::try_from(some).is_ok_and(|some| some >= left) {
                return Ok(cancelled);
            }
        }
        slots.get(key)?.lane.next_due = None;
    }
    Ok(cancelled)
}

/// Ends the waiting deliveries that a query finds.
pub(super) fn end(
    conn: &Connection,
    slots: &mut Slots<'_>,
    sql: &'static str,
    values: impl Params,
    state: State,
) -> Step<usize> {
    let mut found = Vec::new();
    let mut select = conn.prepare_cached(sql)?;
    let mut waiting = select.query(values)?;
    while let Some(row) = waiting.next()? {
        found.push(Kept::read(row, 0)?);
    }
    let count = found.len();
    let mut update = conn.prepare_cached(UPDATE_DELIVERY)?;
    let mut ended = BTreeSet::new();
    let mut additions = Additions::default();
    for kept in found {
        ended.extend(kept.key.map(|key| (kept.webhook, key)));
        additions.add(kept.webhook, None, Some(&state));
        let mut delivery = kept.bare();
        delivery.state = state;
        rows::update(&mut update, &delivery)?;
    }
    for (webhook, key) in ended {
        order::follow(conn, slots, webhook, key)?;
    }
    statistics::add(conn, &additions)?;
    Ok(count)
}

/// Removes old events of which nothing is left to do. Says how many, and whether there is more to
/// look at.
///
/// There is no index by age; it would cost each publish more than the walk does. Publishes are
/// numbered in their order, so what is old comes first, but for clocks that disagree a little: the
/// walk ends where many in a row are young. What a clock that was far ahead has put in the way is
/// found by a second walk, which takes one stretch more of the table with each sweep.
fn prune(conn: &Connection, memory: &mut Memory, sweep: &Sweep, limit: i64) -> Step<(usize, bool)> {
    let before = rows::millis(to_millis(sweep.prune_before));
    // What cannot be removed yet does not stand before what can: the next step goes on behind it.
    let first = stretch(conn, memory.pruned, before, limit)?;
    memory.pruned = if first.ends_walk { 0 } else { first.last };
    if !first.ends_walk || first.ends_table {
        return Ok((first.removed, !first.ends_walk));
    }
    let left = limit - i64::try_from(first.removed).unwrap_or(limit);
    let stray = stretch(conn, memory.strayed.max(first.last), before, left)?;
    memory.strayed = if stray.ends_table { 0 } else { stray.last };
    Ok((first.removed + stray.removed, false))
}

/// What a stretch of the walk came to.
struct Stretch {
    removed: usize,
    /// The last event that it is through with.
    last: i64,
    /// Whether none of its events was old, or there are no more.
    ends_walk: bool,
    ends_table: bool,
}

/// Looks at the events that follow `from`, and removes at most `limit` of them.
fn stretch(conn: &Connection, from: i64, before: i64, limit: i64) -> Step<Stretch> {
    let sql = "SELECT seq, id, published, account FROM tidings_event WHERE seq > ?1 \
               ORDER BY seq LIMIT ?2";
    let mut select = conn.prepare_cached(sql)?;
    let mut events = select.query([from, SQLITE_PRUNE_STRETCH])?;
    let (mut last, mut looked, mut old) = (from, 0, Vec::new());
    while let Some(row) = events.next()? {
        looked += 1;
        last = row.get(0)?;
        if row.get::<_, i64>(2)? < before {
            let id = EventId::from_uuid(rows::uuid(row, 1)?);
            old.push((last, id, rows::text(row, 3)?.to_owned()));
        }
    }
    drop(events);
    let ends_table = looked < SQLITE_PRUNE_STRETCH;
    let ends_walk = ends_table || old.is_empty();
    let (mut removed, mut deliveries) = (0, limit.saturating_mul(WIDE));
    let mut before_it = from;
    for (seq, id, account) in old {
        if is_over(conn, seq, id, &account)? {
            let full = i64::try_from(removed).is_ok_and(|removed| removed >= limit);
            // The rest, or the rest of a wide event, is for the next step.
            if full || !remove(conn, seq, id, &mut deliveries)? {
                return Ok(Stretch {
                    removed,
                    last: before_it,
                    ends_walk: false,
                    ends_table: false,
                });
            }
            removed += 1;
        }
        before_it = seq;
    }
    Ok(Stretch { removed, last, ends_walk, ends_table })
}

/// Whether an event has no mark and no unfinished delivery.
fn is_over(conn: &Connection, seq: i64, id: EventId, account: &str) -> Step<bool> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM tidings_mark WHERE account = ?1 AND seq = ?2) \
               AND NOT EXISTS (SELECT 1 FROM tidings_delivery \
               WHERE id BETWEEN ?3 AND ?4 AND event = ?2 AND state <= 1)";
    let (low, high) = DeliveryId::range_of(id);
    let (low, high) = (low.uuid(), high.uuid());
    let values = params![account, seq, low.as_bytes().as_slice(), high.as_bytes().as_slice()];
    Ok(conn.prepare_cached(sql)?.query_row(values, |row| row.get(0))?)
}

/// Removes an event with its deliveries and their attempts, as far as `left` allows. Says whether
/// all of it is gone.
fn remove(conn: &Connection, seq: i64, id: EventId, left: &mut i64) -> Step<bool> {
    let (low, high) = DeliveryId::range_of(id);
    let (low, high) = (low.uuid(), high.uuid());
    let sql = "SELECT id FROM tidings_delivery WHERE id BETWEEN ?1 AND ?2 AND event = ?3 LIMIT ?4";
    let deliveries: Vec<[u8; 16]> = conn
        .prepare_cached(sql)?
        .query_map(
            params![
                low.as_bytes().as_slice(),
                high.as_bytes().as_slice(),
                seq,
                left.saturating_add(1)
            ],
            |row| row.get(0),
        )?
        .collect::<Result<_, _>>()?;
    let mut attempts = conn.prepare_cached("DELETE FROM tidings_attempt WHERE delivery = ?1")?;
    let mut delivery = conn.prepare_cached("DELETE FROM tidings_delivery WHERE id = ?1")?;
    for id in &deliveries {
        if *left == 0 {
            return Ok(false);
        }
        *left -= 1;
        attempts.execute([id.as_slice()])?;
        delivery.execute([id.as_slice()])?;
    }
    conn.prepare_cached("DELETE FROM tidings_event WHERE seq = ?1")?.execute([seq])?;
    Ok(true)
}

/// Forgets spans that ended before every event of their account that is still to be routed.
fn spans(conn: &Connection, limit: i64) -> Step<usize> {
    let sql = "DELETE FROM tidings_span WHERE (account, mode, pattern, webhook, from_seq) IN \
               (SELECT s.account, s.mode, s.pattern, s.webhook, s.from_seq FROM tidings_span s \
                WHERE s.to_seq IS NOT NULL AND NOT EXISTS (SELECT 1 FROM tidings_mark m \
                WHERE m.account = s.account AND m.seq <= s.to_seq) ORDER BY s.to_seq LIMIT ?1)";
    Ok(conn.prepare_cached(sql)?.execute([limit])?)
}

/// Clears tombstones that no delivery and no event to be routed can name any more; a few at a time,
/// in turn.
fn tombstones(conn: &Connection, memory: &mut Memory, limit: i64) -> Step<()> {
    let sql = "SELECT ended, key, NOT EXISTS (SELECT 1 FROM tidings_delivery WHERE webhook = key) \
               AND NOT EXISTS (SELECT 1 FROM tidings_statistic WHERE webhook = key) \
               AND NOT EXISTS (SELECT 1 FROM tidings_mark m WHERE m.account = w.account \
               AND m.seq <= w.ended) FROM tidings_webhook w \
               WHERE ended IS NOT NULL AND (ended, key) > (?1, ?2) ORDER BY ended, key LIMIT ?3";
    let (ended, key) = memory.buried;
    let found: Vec<(i64, i64, bool)> = conn
        .prepare_cached(sql)?
        .query_map([ended, key, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let at_end = i64::try_from(found.len()).is_ok_and(|found| found < limit);
    let last = found.last().map(|(ended, key, _)| (*ended, *key));
    memory.buried = last.filter(|_| !at_end).unwrap_or(Memory::default().buried);
    let mut delete = conn.prepare_cached("DELETE FROM tidings_webhook WHERE key = ?1")?;
    for (_, key, _) in found.iter().filter(|(_, _, over)| *over) {
        delete.execute([key])?;
    }
    Ok(())
}
