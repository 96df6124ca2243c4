//! The webhooks and lanes that one call touches: read, changed in memory, written together.
//!
//! A lane that is to be changed is locked first, and always before the deliveries that wait in it;
//! several lanes in the order of their keys. Whoever raises `next_due` looks at what waits in a
//! statement after the one that locked: only that one sees what was committed in between.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::fault::{Fault, Step};
use super::rows;
use super::tx::{Query, Tx};
pub(super) use crate::adapters::sql::{Needs, Open};
use crate::ground::id::{DispatcherId, WebhookId};
use crate::ground::lane::Lane;
use crate::ground::policy::POSTGRES_WEBHOOKS_KEPT;
use crate::ground::webhook::Webhook;

/// Webhooks by key, as they are at a version: what was parsed once.
pub(super) type Cache = Mutex<HashMap<i64, (u64, Arc<Webhook>)>>;

/// A webhook with its lane, as one call sees it.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) key: i64,
    pub(super) id: WebhookId,
    pub(super) enabled: bool,
    pub(super) deleted: bool,
    pub(super) version: u64,
    pub(super) needs: Needs,
    /// Change it at will once it is locked; [`write`] writes it.
    pub(super) lane: Lane,
    /// What the table has: the lane, and whether it is there to be claimed from.
    stored: (Lane, Open),
}

macro_rules! slot_columns {
    () => {
        "w.key, w.id, w.enabled, w.version, w.ended IS NOT NULL, w.next_due, w.paused_until, \
         w.failing_since, w.needs, w.holder, w.held_until, w.asked_until, w.warned"
    };
}
pub(super) use slot_columns;

/// How many there are.
pub(super) const SLOT_COLUMNS: usize = 13;

// One look by key for each: for a hundred of them the planner would rather read all of ten thousand.
const READ: Query = Query::new(
    concat!(
        "SELECT ",
        slot_columns!(),
        " FROM unnest($1) AS k(key) CROSS JOIN LATERAL ( \
         SELECT * FROM {s}.webhook w WHERE w.key = k.key LIMIT 1) w"
    ),
    &[Type::INT8_ARRAY],
);
// In the order of the keys that it is given.
const LOCK: Query = Query::new(
    concat!(
        "SELECT ",
        slot_columns!(),
        " FROM unnest($1) AS k(key) CROSS JOIN LATERAL ( \
         SELECT * FROM {s}.webhook w WHERE w.key = k.key FOR NO KEY UPDATE) w"
    ),
    &[Type::INT8_ARRAY],
);
// The keys twice: a join alone may be one with the whole table.
const WRITE: Query = Query::new(
    "UPDATE {s}.webhook w SET next_due = n.next_due, paused_until = n.paused_until, \
     failing_since = n.failing_since, ready = n.ready, holder = n.holder, \
     held_until = n.held_until, free = n.free, asked_until = n.asked_until, \
     warned = n.warned \
     FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
     AS n(key, next_due, paused_until, failing_since, ready, holder, held_until, free, asked_until, \
     warned) \
     WHERE w.key = n.key AND w.key = ANY ($1)",
    &[
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
    ],
);
const RECORDS: Query = Query::new(
    "SELECT webhook, record FROM {s}.registration WHERE webhook = ANY ($1)",
    &[Type::INT8_ARRAY],
);

/// Slots by key.
pub(super) type Slots = BTreeMap<i64, Slot>;

impl Slot {
    /// Reads a slot whose columns begin at `at`.
    pub(super) fn read(row: &Row, at: usize) -> Step<Self> {
        let moment =
            |column| Ok::<_, Fault>(row.try_get::<_, Option<i64>>(column)?.map(rows::time));
        let lane = Lane {
            next_due: moment(at + 5)?,
            paused_until: moment(at + 6)?,
            failing_since: moment(at + 7)?,
            holder: row.try_get::<_, Option<Uuid>>(at + 9)?.map(DispatcherId::from_uuid),
            held_until: moment(at + 10)?,
            asked_until: moment(at + 11)?,
            warned: moment(at + 12)?,
        };
        let (enabled, deleted): (bool, bool) = (row.try_get(at + 2)?, row.try_get(at + 4)?);
        let needs = Needs::from_number(row.try_get(at + 8)?);
        Ok(Self {
            key: row.try_get(at)?,
            id: row.try_get::<_, Uuid>(at + 1)?.into(),
            enabled,
            version: row.try_get::<_, i64>(at + 3)?.cast_unsigned(),
            deleted,
            lane,
            needs,
            stored: (lane, Open::of(enabled && !deleted, needs)),
        })
    }

    /// To whom its lane is there to be claimed from.
    pub(super) fn open(&self) -> Open {
        Open::of(self.enabled && !self.deleted, self.needs)
    }

    /// Whether the table has another lane.
    pub(super) fn is_changed(&self) -> bool {
        (self.lane, self.open()) != self.stored
    }
}

fn slots(rows: &[Row]) -> Step<Slots> {
    rows.iter().map(|row| Slot::read(row, 0).map(|slot| (slot.key, slot))).collect()
}

/// The webhooks with these keys, as far as they are there.
pub(super) async fn read(tx: &Tx<'_>, keys: &[i64]) -> Step<Slots> {
    slots(&tx.rows(&READ, &[&keys]).await?)
}

/// As [`read`], and nobody else changes them until the transaction ends.
pub(super) async fn lock(tx: &Tx<'_>, keys: &[i64]) -> Step<Slots> {
    if keys.is_empty() {
        return Ok(Slots::new());
    }
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    slots(&tx.rows(&LOCK, &[&keys]).await?)
}

/// Writes the lanes that were changed.
pub(super) async fn write(tx: &Tx<'_>, slots: &Slots) -> Step<()> {
    let changed: Vec<&Slot> = slots.values().filter(|slot| slot.is_changed()).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let column = |value: fn(&Slot) -> Option<i64>| -> Vec<Option<i64>> {
        changed.iter().map(|slot| value(slot)).collect()
    };
    let keys: Vec<i64> = changed.iter().map(|slot| slot.key).collect();
    let next_due = column(|slot| slot.lane.next_due.map(rows::millis));
    let paused_until = column(|slot| slot.lane.paused_until.map(rows::millis));
    let failing_since = column(|slot| slot.lane.failing_since.map(rows::millis));
    let ready = column(|slot| {
        slot.lane.ready_at().filter(|_| slot.open() == Open::Anybody).map(rows::millis)
    });
    let holder: Vec<Option<Uuid>> =
        changed.iter().map(|slot| slot.lane.holder.map(DispatcherId::uuid)).collect();
    let held_until = column(|slot| slot.lane.held_until.map(rows::millis));
    let free = column(|slot| {
        slot.lane.free_at().filter(|_| slot.open() == Open::Holders).map(rows::millis)
    });
    let asked_until = column(|slot| slot.lane.asked_until.map(rows::millis));
    let warned = column(|slot| slot.lane.warned.map(rows::millis));
    let columns: [super::tx::Value<'_>; 10] = [
        &keys,
        &next_due,
        &paused_until,
        &failing_since,
        &ready,
        &holder,
        &held_until,
        &free,
        &asked_until,
        &warned,
    ];
    tx.run(&WRITE, &columns).await
}

/// The webhooks of these slots, as they are now. One whose record cannot be read is left out: a
/// webhook that is damaged must not stop the others, so it is treated as if it were disabled.
pub(super) async fn webhooks<'s>(
    tx: &Tx<'_>,
    cache: &Cache,
    slots: impl Iterator<Item = &'s Slot>,
) -> Step<HashMap<i64, Arc<Webhook>>> {
    let mut found = HashMap::new();
    let mut missing = HashMap::new();
    {
        let cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in slots {
            match cache.get(&slot.key) {
                Some((version, webhook)) if *version == slot.version => {
                    found.insert(slot.key, Arc::clone(webhook));
                }
                _ => {
                    missing.insert(slot.key, (slot.id, slot.version));
                }
            }
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    let keys: Vec<i64> = missing.keys().copied().collect();
    for row in tx.rows(&RECORDS, &[&keys]).await? {
        let key: i64 = row.try_get(0)?;
        match Webhook::from_stored(row.try_get(1)?) {
            // It may have become another one since the slot was read.
            Ok(webhook) => {
                let (version, webhook) = (webhook.version(), Arc::new(webhook));
                let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
                if cache.len() >= POSTGRES_WEBHOOKS_KEPT {
                    cache.clear();
                }
                cache.insert(key, (version, Arc::clone(&webhook)));
                found.insert(key, webhook);
            }
            Err(error) => {
                let webhook = missing.get(&key).map(|(id, _)| *id);
                tracing::error!(name: "tidings.postgres.webhook_unreadable", ?webhook, %error);
            }
        }
    }
    Ok(found)
}
