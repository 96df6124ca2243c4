//! Holds: the lanes that a dispatcher alone leases from (rule 8).

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::dispatchers;
use super::fault::Step;
use super::rows;
use super::slots::{Open, Slots};
use crate::ground::id::WebhookId;
use crate::ground::time::Timestamp;
use crate::ground::webhook::Webhook;
use crate::ports::storage::Turn;

/// What a claim call finds of its dispatcher's holds, and makes of them.
#[derive(Default)]
pub(super) struct Holds {
    /// The lanes that it holds and from which it may lease.
    own: Vec<i64>,
    pub(super) held: Vec<Arc<Webhook>>,
    pub(super) lost: Vec<WebhookId>,
}

impl Holds {
    /// Gives lanes back, tells what became of the others, and takes free ones.
    pub(super) fn settle(
        &mut self,
        conn: &Connection,
        slots: &mut Slots<'_>,
        turn: &Turn,
        now: Timestamp,
    ) -> Step<()> {
        let mut known = HashSet::new();
        for key in dispatchers::held(conn, turn.dispatcher)? {
            let slot = slots.get(key)?;
            let Some(held) = turn.held.get(&slot.id) else {
                slot.lane.release();
                continue;
            };
            known.insert(slot.id);
            if held.version == slot.version {
                slot.room = Some(turn.held_room(slot.id, slot.version));
                self.own.push(key);
            } else {
                self.held.extend(slots.webhook(key)?);
            }
        }
        self.lost = turn.held.keys().filter(|id| !known.contains(*id)).copied().collect();
        self.lost.sort_unstable();
        // The index of free lanes must say what was given back.
        slots.flush()?;
        let sql = "SELECT key FROM tidings_webhook WHERE free <= ?1 ORDER BY free, key LIMIT ?2";
        let mut select = conn.prepare_cached(sql)?;
        let limit = rows::bound(turn.holds);
        let free: Vec<i64> = select
            .query_map(params![rows::millis(now), limit], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for key in free {
            if slots.get(key)?.lane.held_until.is_some() && is_leased(conn, key)? {
                continue;
            }
            if let Some(webhook) = slots.webhook(key)?
                && slots.get(key)?.lane.take(turn.dispatcher, now)
            {
                self.held.push(webhook);
            }
        }
        slots.flush()
    }

    /// Those that are ready now, with the moment since when.
    pub(super) fn ready(&self, slots: &mut Slots<'_>, now: Timestamp) -> Step<Vec<(i64, i64)>> {
        let mut ready = Vec::new();
        for key in &self.own {
            ready.extend(
                due(slots, *key)?.filter(|at| *at <= rows::millis(now)).map(|at| (at, *key)),
            );
        }
        Ok(ready)
    }

    /// When the next of them is ready.
    pub(super) fn next_due(&self, slots: &mut Slots<'_>) -> Step<Option<i64>> {
        let mut next = None;
        for key in &self.own {
            next = next.into_iter().chain(due(slots, *key)?).min();
        }
        Ok(next)
    }
}

/// Whether anything of a webhook is leased. Seldom asked, so it has no index of its own.
fn is_leased(conn: &Connection, key: i64) -> Step<bool> {
    let sql = "SELECT 1 FROM tidings_delivery INDEXED BY tidings_delivery_leased \
               WHERE state = 1 AND webhook = ?1 LIMIT 1";
    Ok(conn.prepare_cached(sql)?.query_row([key], |_| Ok(())).optional()?.is_some())
}

/// When a lane is ready from which more may be leased.
fn due(slots: &mut Slots<'_>, key: i64) -> Step<Option<i64>> {
    let slot = slots.get(key)?;
    let room = slot.open() == Open::Holders && slot.room.is_some_and(|room| room > 0);
    Ok(slot.lane.ready_at().filter(|_| room).map(rows::millis))
}
