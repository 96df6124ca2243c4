//! The webhooks and lanes that one call touches: each read once, changed in memory, written once.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::fault::{Fault, Step};
use super::rows;
pub(super) use crate::adapters::sql::{Needs, Open};
use crate::ground::id::{DispatcherId, WebhookId};
use crate::ground::lane::Lane;
use crate::ground::policy::SQLITE_WEBHOOKS_KEPT;
use crate::ground::webhook::Webhook;

type Cache = HashMap<i64, (u64, Arc<Webhook>)>;

/// A webhook with its lane, as one call sees it.
pub(super) struct Slot {
    pub(super) key: i64,
    pub(super) id: WebhookId,
    pub(super) enabled: bool,
    pub(super) deleted: bool,
    pub(super) version: u64,
    pub(super) needs: Needs,
    /// Change it at will; [`Slots::flush`] writes it.
    pub(super) lane: Lane,
    /// What the file has: the lane, and whether it is there to be claimed from.
    stored: (Lane, Open),
    /// How many more of its deliveries this call may lease.
    pub(super) room: Option<u32>,
    webhook: Option<Arc<Webhook>>,
}

impl Slot {
    pub(super) fn open(&self) -> Open {
        Open::of(self.enabled && !self.deleted, self.needs)
    }

    /// It became another, which is stored already.
    pub(super) fn replace(&mut self, webhook: Arc<Webhook>) {
        self.enabled = webhook.is_enabled();
        self.version = webhook.version();
        self.needs = Needs::of(&webhook);
        self.webhook = Some(webhook);
    }
}

/// All that a call has touched so far.
pub(super) struct Slots<'db> {
    conn: &'db Connection,
    cache: &'db mut Cache,
    slots: HashMap<i64, Slot>,
    select: CachedStatement<'db>,
}

const SELECT: &str = "SELECT key, id, enabled, version, ended IS NOT NULL, next_due, \
    paused_until, failing_since, needs, holder, held_until, asked_until, warned FROM tidings_webhook WHERE key = ?1";

impl<'db> Slots<'db> {
    pub(super) fn new(conn: &'db Connection, cache: &'db mut Cache) -> Step<Self> {
        let select = conn.prepare_cached(SELECT)?;
        Ok(Self { conn, cache, slots: HashMap::new(), select })
    }

    /// The webhook with this key. Deliveries and spans name no other than stored ones.
    pub(super) fn get(&mut self, key: i64) -> Step<&mut Slot> {
        self.find(key)?.ok_or_else(|| Fault::unreadable("a delivery without its webhook"))
    }

    /// The webhook with this key, if it is there.
    pub(super) fn find(&mut self, key: i64) -> Step<Option<&mut Slot>> {
        if !self.slots.contains_key(&key) {
            let mut rows = self.select.query([key])?;
            let Some(row) = rows.next()? else {
                return Ok(None);
            };
            let slot = slot(row)?;
            self.slots.insert(key, slot);
        }
        Ok(self.slots.get_mut(&key))
    }

    /// The webhook itself, as it is now. `None` if its record cannot be read: one webhook that is
    /// damaged must not stop the others, so it is treated as if it were disabled.
    pub(super) fn webhook(&mut self, key: i64) -> Step<Option<Arc<Webhook>>> {
        let slot = self.get(key)?;
        if let Some(webhook) = &slot.webhook {
            return Ok(Some(Arc::clone(webhook)));
        }
        let (id, version) = (slot.id, slot.version);
        let cached = self.cache.get(&key).filter(|(cached, _)| *cached == version);
        let webhook = match cached {
            Some((_, webhook)) => Arc::clone(webhook),
            None => {
                let webhook = match load(self.conn, key) {
                    Ok(webhook) => Arc::new(webhook),
                    Err(Fault::Said(error)) => {
                        tracing::error!(name: "tidings.sqlite.webhook_unreadable", webhook = %id, %error);
                        return Ok(None);
                    }
                    Err(fault) => return Err(fault),
                };
                if self.cache.len() >= SQLITE_WEBHOOKS_KEPT {
                    self.cache.clear();
                }
                self.cache.insert(key, (version, Arc::clone(&webhook)));
                webhook
            }
        };
        self.get(key)?.webhook = Some(Arc::clone(&webhook));
        Ok(Some(webhook))
    }

    /// Writes the lanes that were changed.
    pub(super) fn flush(&mut self) -> Step<()> {
        for slot in self.slots.values_mut() {
            let now = (slot.lane, slot.open());
            if now != slot.stored {
                write_lane(self.conn, slot.key, now.0, now.1)?;
                slot.stored = now;
            }
        }
        Ok(())
    }
}

fn slot(row: &Row<'_>) -> Step<Slot> {
    let moment = |column| Ok::<_, Fault>(row.get::<_, Option<i64>>(column)?.map(rows::time));
    let lane = Lane {
        next_due: moment(5)?,
        paused_until: moment(6)?,
        failing_since: moment(7)?,
        holder: row.get::<_, Option<[u8; 16]>>(9)?.map(|id| Uuid::from_bytes(id).into()),
        held_until: moment(10)?,
        asked_until: moment(11)?,
        warned: moment(12)?,
    };
    let (enabled, deleted) = (row.get(2)?, row.get(4)?);
    let needs = Needs::from_number(row.get(8)?);
    Ok(Slot {
        key: row.get(0)?,
        id: rows::uuid(row, 1)?.into(),
        enabled,
        version: row.get::<_, i64>(3)?.cast_unsigned(),
        deleted,
        needs,
        lane,
        stored: (lane, Open::of(enabled && !deleted, needs)),
        room: None,
        webhook: None,
    })
}

/// Writes a lane.
pub(super) fn write_lane(conn: &Connection, key: i64, lane: Lane, open: Open) -> Step<()> {
    let sql = "UPDATE tidings_webhook SET next_due = ?2, paused_until = ?3, failing_since = ?4, \
               ready = ?5, holder = ?6, held_until = ?7, free = ?8, asked_until = ?9, warned = ?10 \
               WHERE key = ?1";
    let holder = lane.holder.map(DispatcherId::uuid);
    conn.prepare_cached(sql)?.execute(params![
        key,
        lane.next_due.map(rows::millis),
        lane.paused_until.map(rows::millis),
        lane.failing_since.map(rows::millis),
        lane.ready_at().filter(|_| open == Open::Anybody).map(rows::millis),
        holder.as_ref().map(|holder| holder.as_bytes().as_slice()),
        lane.held_until.map(rows::millis),
        lane.free_at().filter(|_| open == Open::Holders).map(rows::millis),
        lane.asked_until.map(rows::millis),
        lane.warned.map(rows::millis),
    ])?;
    Ok(())
}

/// Reads a webhook's record.
pub(super) fn load(conn: &Connection, key: i64) -> Step<Webhook> {
    let sql = "SELECT record FROM tidings_registration WHERE webhook = ?1";
    let mut statement = conn.prepare_cached(sql)?;
    let record = statement
        .query_row([key], |row| row.get::<_, String>(0))
        .optional()?
        .ok_or_else(|| Fault::unreadable("a webhook without its record"))?;
    Ok(Webhook::from_stored(&record)?)
}
