//! Order: of the deliveries of one webhook and one key, the first that has not ended goes first.
//!
//! Which one that is, two indexes tell. A claim that meets another one in the lane takes it out
//! (parks it), so that a long queue behind one object is looked at once; the end of the one before it
//! puts it back. All of it happens with the lane locked.

use std::collections::{BTreeSet, HashSet};

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::fault::Step;
use super::lanes::Slots;
use super::rows::{self, Kept};
use super::tx::{Query, Tx};
use crate::ground::order::OrderKey;

const BEHIND: Query = Query::new(
    "SELECT c.id FROM unnest($1, $2, $3, $4) AS c(id, webhook, order_key, event) \
     WHERE (SELECT true FROM {s}.waiting d WHERE d.webhook = c.webhook \
         AND d.order_key = c.order_key AND d.event < c.event LIMIT 1) \
     OR (SELECT true FROM {s}.leased d WHERE d.webhook = c.webhook \
         AND d.order_key = c.order_key AND d.event < c.event LIMIT 1)",
    &[Type::UUID_ARRAY, Type::INT8_ARRAY, Type::INT8_ARRAY, Type::INT8_ARRAY],
);
const PARK: Query =
    Query::new("UPDATE {s}.waiting SET parked = true WHERE id = ANY ($1)", &[Type::UUID_ARRAY]);
const NEXT: Query = Query::new(
    "SELECT f.id, f.webhook, f.due, f.parked FROM unnest($1, $2) AS o(webhook, order_key) \
     CROSS JOIN LATERAL (SELECT * FROM {s}.waiting d WHERE d.webhook = o.webhook \
     AND d.order_key = o.order_key ORDER BY d.webhook, d.order_key, d.event LIMIT 1) f",
    &[Type::INT8_ARRAY, Type::INT8_ARRAY],
);
const UNPARK: Query =
    Query::new("UPDATE {s}.waiting SET parked = false WHERE id = ANY ($1)", &[Type::UUID_ARRAY]);
const FORGET: Query = Query::new(
    "UPDATE {s}.waiting SET parked = false WHERE webhook = $1 AND order_key IS NOT NULL AND parked \
     RETURNING due",
    &[Type::INT8],
);

/// Those of these deliveries that stand behind another of their key.
pub(super) async fn behind(tx: &Tx<'_>, waiting: &[&Kept]) -> Step<HashSet<Uuid>> {
    let keyed: Vec<(&&Kept, OrderKey)> =
        waiting.iter().filter_map(|kept| kept.key.map(|key| (kept, key))).collect();
    if keyed.is_empty() {
        return Ok(HashSet::new());
    }
    let id: Vec<Uuid> = keyed.iter().map(|(kept, _)| kept.id().uuid()).collect();
    let webhook: Vec<i64> = keyed.iter().map(|(kept, _)| kept.webhook).collect();
    let key: Vec<i64> = keyed.iter().map(|(_, key)| key.to_bits().cast_signed()).collect();
    let event: Vec<i64> = keyed.iter().map(|(kept, _)| kept.event).collect();
    let rows = tx.rows(&BEHIND, &[&id, &webhook, &key, &event]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Takes waiting deliveries out of their lanes.
pub(super) async fn park(tx: &Tx<'_>, ids: &HashSet<Uuid>) -> Step<()> {
    let ids: Vec<Uuid> = ids.iter().copied().collect();
    tx.run(&PARK, &[&ids]).await
}

/// Deliveries of these webhooks and keys have ended, and that is written: the next of each, if it was
/// taken out of the lane, is put back. The lanes are locked.
pub(super) async fn follow(
    tx: &Tx<'_>,
    slots: &mut Slots,
    ended: &BTreeSet<(i64, OrderKey)>,
) -> Step<()> {
    if ended.is_empty() {
        return Ok(());
    }
    let webhook: Vec<i64> = ended.iter().map(|(webhook, _)| *webhook).collect();
    let key: Vec<i64> = ended.iter().map(|(_, key)| key.to_bits().cast_signed()).collect();
    let mut back: Vec<Uuid> = Vec::new();
    for row in tx.rows(&NEXT, &[&webhook, &key]).await? {
        if row.try_get(3)? {
            back.push(row.try_get(0)?);
            if let Some(slot) = slots.get_mut(&row.try_get(1)?) {
                slot.lane.lower(rows::time(row.try_get(2)?));
            }
        }
    }
    if back.is_empty() {
        return Ok(());
    }
    tx.run(&UNPARK, &[&back]).await
}

/// A webhook is not ordered any more: what was taken out of its lane, which is locked, is put back.
pub(super) async fn forget(tx: &Tx<'_>, slots: &mut Slots, webhook: i64) -> Step<()> {
    for row in tx.rows(&FORGET, &[&webhook]).await? {
        if let Some(slot) = slots.get_mut(&webhook) {
            slot.lane.lower(rows::time(row.try_get(0)?));
        }
    }
    Ok(())
}
