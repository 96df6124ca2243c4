//! Settle: attempts are written down, and what they change.

use rusqlite::{CachedStatement, Connection};

use super::fault::Step;
use super::rows::{self, INSERT_ATTEMPT, Kept, UPDATE_DELIVERY, delivery_columns};
use super::slots::Slots;
use super::webhooks;
use super::writer::Db;
use crate::ground::advance::Next;
use crate::ground::delivery::{Delivery, Standing, State};
use crate::ground::id::DeliveryId;
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
    };
    let answers = settlements.iter().map(|settlement| settler.one(settlement));
    let answers = answers.collect::<Step<_>>()?;
    settler.slots.flush()?;
    Ok(answers)
}

struct Settler<'db> {
    conn: &'db Connection,
    now: Timestamp,
    slots: Slots<'db>,
    select: CachedStatement<'db>,
    update: CachedStatement<'db>,
    record: CachedStatement<'db>,
}

impl Settler<'_> {
    fn one(&mut self, settlement: &Settlement) -> Step<Settled> {
        let Settlement {
            fence,
            attempt,
            transition,
        } = settlement;
        let Some((key, mut delivery)) = self.delivery(fence.delivery)? else {
            return Ok(Settled::Gone);
        };
        let standing = delivery.standing(fence);
        if standing != Standing::Repeated
            && let Some(attempt) = attempt
        {
            rows::record(&mut self.record, delivery.id, attempt)?;
        }
        let slot = self.slots.get(key)?;
        let deleted = slot.deleted;
        match standing {
            Standing::Lost => return Ok(Settled::Lost),
            Standing::Repeated if deleted => return Ok(Settled::Gone),
            Standing::Repeated => return Ok(Settled::Applied { disabled: false }),
            Standing::Holds => transition.apply(&mut delivery, fence.dispatcher),
        }
        if deleted {
            if transition.next != Next::Delivered {
                delivery.state = State::Cancelled { at: self.now };
            }
            rows::update(&mut self.update, &delivery)?;
            return Ok(Settled::Gone);
        }
        rows::update(&mut self.update, &delivery)?;
        if let State::Waiting { due } = delivery.state {
            slot.lane.lower(due);
        }
        slot.lane.change(transition.lane, self.now);
        // A webhook that is disabled already keeps its reason.
        let reason = slot.lane.health(transition.health).filter(|_| slot.enabled);
        if let Some(reason) = reason {
            webhooks::disable(self.conn, &mut self.slots, key, reason, self.now)?;
        }
        Ok(Settled::Applied {
            disabled: reason.is_some(),
        })
    }

    /// A delivery, with the key of its webhook.
    fn delivery(&mut self, id: DeliveryId) -> Step<Option<(i64, Delivery)>> {
        let mut rows = self.select.query([id.uuid().as_bytes().as_slice()])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let kept = Kept::read(row, 0)?;
        Ok(Some((kept.webhook, kept.bare())))
    }
}
