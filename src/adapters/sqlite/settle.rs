//! Settle: attempts are written down, and what they change.

use rusqlite::{CachedStatement, Connection};

use super::append;
use super::fault::Step;
use super::order;
use super::rows::{self, INSERT_ATTEMPT, Kept, UPDATE_DELIVERY, delivery_columns};
use super::slots::Slots;
use super::statistics;
use super::webhooks;
use super::writer::Db;
use crate::ground::delivery::{Delivery, Standing};
use crate::ground::id::DeliveryId;
use crate::ground::order::OrderKey;
use crate::ground::statistics::Additions;
use crate::ground::time::Timestamp;
use crate::ports::storage::{Settled, Settlement};

/// Writes settlements. Answers are in their order.
pub(super) fn settle(
    db: &mut Db,
    settlements: &[Settlement],
    now: Timestamp,
) -> Step<Vec<Settled>> {
    let (conn, memory) = (&db.conn, &mut db.memory);
    let mut settler = Settler {
        conn,
        now,
        slots: Slots::new(conn, &mut memory.webhooks)?,
        select: conn.prepare_cached(concat!(
            "SELECT ",
            delivery_columns!(),
            " FROM tidings_delivery d WHERE d.id = ?1"
        ))?,
        update: conn.prepare_cached(UPDATE_DELIVERY)?,
        record: conn.prepare_cached(INSERT_ATTEMPT)?,
        additions: Additions::default(),
    };
    let answers = settlements.iter().map(|settlement| settler.one(settlement));
    let answers = answers.collect::<Step<_>>()?;
    settler.slots.flush()?;
    statistics::add(conn, &settler.additions)?;
    Ok(answers)
}

struct Settler<'db> {
    conn: &'db Connection,
    now: Timestamp,
    slots: Slots<'db>,
    select: CachedStatement<'db>,
    update: CachedStatement<'db>,
    record: CachedStatement<'db>,
    additions: Additions<i64>,
}

impl Settler<'_> {
    fn one(&mut self, settlement: &Settlement) -> Step<Settled> {
        let Some((key, order_key, mut delivery)) = self.delivery(settlement.fence.delivery)? else {
            return Ok(Settled::Gone);
        };
        let standing = delivery.standing(&settlement.fence);
        let mut recorded = None;
        if standing != Standing::Repeated
            && let Some(attempt) = &settlement.attempt
            && rows::record(&mut self.record, delivery.id, attempt)?
        {
            recorded = Some(attempt);
        }
        let slot = self.slots.get(key)?;
        let enabled = (!slot.deleted).then_some(slot.enabled);
        let (settled, reason) = settlement.apply(&mut delivery, &mut slot.lane, enabled, self.now);
        let changed = Some(&delivery.state).filter(|_| standing == Standing::Holds);
        self.additions.add(key, recorded, changed);
        if standing == Standing::Holds {
            rows::update(&mut self.update, &delivery)?;
            if let Some(order_key) = order_key.filter(|_| delivery.state.is_ended()) {
                order::follow(self.conn, &mut self.slots, key, order_key)?;
            }
        }
        if let Some(reason) = reason {
            webhooks::disable(self.conn, &mut self.slots, key, reason, self.now)?;
        }
        for event in settlement.reported(settled) {
            append::keep(self.conn, event, self.now)?;
        }
        Ok(settled)
    }

    /// A delivery, with the key of its webhook and that of its order.
    fn delivery(&mut self, id: DeliveryId) -> Step<Option<(i64, Option<OrderKey>, Delivery)>> {
        let mut rows = self.select.query([id.uuid().as_bytes().as_slice()])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let kept = Kept::read(row, 0)?;
        Ok(Some((kept.webhook, kept.key, kept.bare())))
    }
}
