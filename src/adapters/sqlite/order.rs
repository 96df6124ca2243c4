//! Order: of the deliveries of one webhook and one key, the first that has not ended goes first.
//!
//! Which one that is, an index tells. A claim that meets another one in the lane takes it out
//! (parks it), so that a long queue behind one object is looked at once; the end of the one before
//! it puts it back.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::fault::Step;
use super::rows;
use super::slots::{Slot, Slots};
use crate::ground::id::DeliveryId;
use crate::ground::order::OrderKey;

/// Whether the delivery of the event with number `event` is the first of its key.
pub(super) fn is_first(conn: &Connection, webhook: i64, key: OrderKey, event: i64) -> Step<bool> {
    let sql = "SELECT 1 FROM tidings_delivery \
               WHERE webhook = ?1 AND order_key = ?2 AND state < 2 AND event < ?3 LIMIT 1";
    let values = params![webhook, key.to_bits().cast_signed(), event];
    Ok(conn.prepare_cached(sql)?.query_row(values, |_| Ok(())).optional()?.is_none())
}

/// Takes a waiting delivery out of its lane.
pub(super) fn park(conn: &Connection, id: DeliveryId) -> Step<()> {
    let sql = "UPDATE tidings_delivery SET state = -1 WHERE id = ?1";
    conn.prepare_cached(sql)?.execute([id.uuid().as_bytes().as_slice()])?;
    Ok(())
}

/// A delivery of this key has ended: the next one, if it was taken out of the lane, is put back.
pub(super) fn follow(
    conn: &Connection,
    slots: &mut Slots<'_>,
    webhook: i64,
    key: OrderKey,
) -> Step<()> {
    let sql = "SELECT id, state, at FROM tidings_delivery \
               WHERE webhook = ?1 AND order_key = ?2 AND state < 2 ORDER BY event LIMIT 1";
    let next: Option<([u8; 16], i64, i64)> = conn
        .prepare_cached(sql)?
        .query_row(params![webhook, key.to_bits().cast_signed()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<i64>>(2)?.unwrap_or_default()))
        })
        .optional()?;
    if let Some((id, rows::PARKED, due)) = next {
        let sql = "UPDATE tidings_delivery SET state = 0 WHERE id = ?1";
        conn.prepare_cached(sql)?.execute([id.as_slice()])?;
        slots.get(webhook)?.lane.lower(rows::time(due));
    }
    Ok(())
}

/// Its webhook is not ordered any more: what was taken out of the lane is put back.
pub(super) fn forget(conn: &Connection, slot: &mut Slot) -> Step<()> {
    let sql = "SELECT min(at) FROM tidings_delivery \
               WHERE webhook = ?1 AND order_key IS NOT NULL AND state < 2 AND state = -1";
    let least: Option<i64> = conn.prepare_cached(sql)?.query_row([slot.key], |row| row.get(0))?;
    let Some(least) = least else {
        return Ok(());
    };
    let sql = "UPDATE tidings_delivery SET state = 0 \
               WHERE webhook = ?1 AND order_key IS NOT NULL AND state < 2 AND state = -1";
    conn.prepare_cached(sql)?.execute([slot.key])?;
    slot.lane.lower(rows::time(least));
    Ok(())
}
