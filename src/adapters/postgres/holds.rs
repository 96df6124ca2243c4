//! Holds: the lanes that a dispatcher alone leases from (rule 8).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio_postgres::types::Type;

use super::Inner;
use super::fault::Step;
use super::lanes::{self, Open, Slot, Slots, slot_columns};
use super::rows::{self, count};
use super::tx::{Query, Tx};
use crate::ground::id::WebhookId;
use crate::ground::time::Timestamp;
use crate::ground::webhook::Webhook;
use crate::ports::storage::Turn;

const OWN: Query = Query::new(
    concat!(
        "SELECT ",
        slot_columns!(),
        " FROM {s}.webhook w WHERE w.holder = $1 ORDER BY w.key FOR NO KEY UPDATE"
    ),
    &[Type::UUID],
);
// A lane that somebody else has locked is passed over: it is being seen to.
const FREE: Query = Query::new(
    concat!(
        "SELECT ",
        slot_columns!(),
        ", w.held_until IS NOT NULL AND EXISTS (SELECT FROM {s}.leased d WHERE d.webhook = w.key) \
         FROM {s}.webhook w WHERE w.free <= $1 ORDER BY w.free, w.key LIMIT $2 \
         FOR NO KEY UPDATE OF w SKIP LOCKED"
    ),
    &[Type::INT8, Type::INT8],
);

/// What a claim call finds of its dispatcher's holds, and makes of them.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// The lanes that it holds and from which it may lease, and how much.
    rooms: HashMap<i64, u32>,
    pub(super) held: Vec<Arc<Webhook>>,
    pub(super) lost: Vec<WebhookId>,
}

impl Holds {
    /// Gives lanes back, tells what became of the others, and takes free ones. What it locks and
    /// changes is in `slots`.
    pub(super) async fn settle(
        &mut self,
        tx: &Tx<'_>,
        inner: &Inner,
        slots: &mut Slots,
        turn: &Turn,
        now: Timestamp,
    ) -> Step<()> {
        let mut known = HashSet::new();
        let mut told = Vec::new();
        for row in tx.rows(&OWN, &[&turn.dispatcher.uuid()]).await? {
            let mut slot = Slot::read(&row, 0)?;
            match turn.held.get(&slot.id) {
                None => slot.lane.release(),
                Some(held) => {
                    known.insert(slot.id);
                    if held.version == slot.version {
                        self.rooms.insert(slot.key, turn.held_room(slot.id, slot.version));
                    } else {
                        told.push(slot.clone());
                    }
                }
            }
            slots.insert(slot.key, slot);
        }
        self.lost = turn.held.keys().filter(|id| !known.contains(*id)).copied().collect();
        self.lost.sort_unstable();
        if turn.holds > 0 {
            // The index of free lanes must say what was given back.
            lanes::write(tx, slots).await?;
            let values: [super::tx::Value<'_>; 2] = [&rows::millis(now), &count(turn.holds)];
            for row in tx.rows(&FREE, &values).await? {
                let mut slot = Slot::read(&row, 0)?;
                let is_leased: bool = row.try_get(lanes::SLOT_COLUMNS)?;
                if !is_leased && slot.lane.take(turn.dispatcher, now) {
                    told.push(slot.clone());
                    slots.insert(slot.key, slot);
                }
            }
        }
        let webhooks = lanes::webhooks(tx, &inner.webhooks, told.iter()).await?;
        for slot in told {
            match webhooks.get(&slot.key) {
                Some(webhook) => self.held.push(Arc::clone(webhook)),
                // Nobody can send to it: it is left to whoever mends it.
                None => {
                    if let Some(slot) = slots.get_mut(&slot.key) {
                        slot.lane.release();
                    }
                }
            }
        }
        Ok(())
    }

    /// Those that are ready now and have room, with the room.
    pub(super) fn ready<'h>(
        &'h self,
        slots: &'h Slots,
        now: Timestamp,
    ) -> impl Iterator<Item = (i64, u32)> + 'h {
        let due = move |key: &i64| due(slots, *key).is_some_and(|at| at <= now);
        self.rooms
            .iter()
            .filter(move |(key, room)| **room > 0 && due(key))
            .map(|(key, room)| (*key, *room))
    }

    /// When the next of them is ready, with the room that is left.
    pub(super) fn next_due(&self, slots: &Slots, rooms: &HashMap<i64, u32>) -> Option<Timestamp> {
        let room = |key: &i64| rooms.get(key).or_else(|| self.rooms.get(key)).copied();
        let keys = self.rooms.keys().filter(|key| room(key).is_some_and(|room| room > 0));
        keys.filter_map(|key| due(slots, *key)).min()
    }
}

/// When a lane is ready from which its holder may lease.
fn due(slots: &Slots, key: i64) -> Option<Timestamp> {
    let slot = slots.get(&key).filter(|slot| slot.open() == Open::Holders)?;
    slot.lane.ready_at()
}
