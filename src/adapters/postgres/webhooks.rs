//! Webhooks: put, delete, disable, and the spans in which their filters hold.

use std::collections::BTreeSet;

use futures_util::future::try_join;
use tokio_postgres::types::Type;

use super::Inner;
use super::fault::{Fault, Step};
use super::lanes::{self, Needs, Slot, Slots, slot_columns};
use super::order;
use super::tx::{Query, Tx};
use crate::adapters::sql::UNREADABLE;
use crate::ground::id::WebhookId;
use crate::ground::time::Timestamp;
use crate::ground::webhook::{DisabledReason, Webhook};

const FIND: Query = Query::new(
    concat!("SELECT ", slot_columns!(), " FROM {s}.webhook w WHERE w.id = $1 FOR NO KEY UPDATE"),
    &[Type::UUID],
);
const INSERT: Query = Query::new(
    "INSERT INTO {s}.webhook (id, account, mode, enabled, version, needs) \
     VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT DO NOTHING RETURNING key",
    &[Type::UUID, Type::TEXT, Type::BOOL, Type::BOOL, Type::INT8, Type::INT2],
);
const REGISTER: Query = Query::new(
    "INSERT INTO {s}.registration (webhook, search, record) VALUES ($1, $2, $3)",
    &[Type::INT8, Type::TEXT, Type::TEXT],
);
const REPLACE: Query = Query::new(
    "UPDATE {s}.webhook SET enabled = $2, version = $3, needs = $4 WHERE key = $1",
    &[Type::INT8, Type::BOOL, Type::INT8, Type::INT2],
);
const REPLACE_RECORD: Query = Query::new(
    "UPDATE {s}.registration SET search = $2, record = $3 WHERE webhook = $1",
    &[Type::INT8, Type::TEXT, Type::TEXT],
);
const LOAD: Query =
    Query::new("SELECT record FROM {s}.registration WHERE webhook = $1", &[Type::INT8]);
const BURY: Query = Query::new(
    "UPDATE {s}.webhook SET ended = $2, enabled = false, ready = NULL, holder = NULL, \
     free = NULL WHERE key = $1",
    &[Type::INT8, Type::INT8],
);
const FORGET: Query = Query::new("DELETE FROM {s}.registration WHERE webhook = $1", &[Type::INT8]);
const LAST: Query =
    Query::new("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {s}.event_seq", &[]);
const OPEN: Query = Query::new(
    "SELECT pattern, from_seq FROM {s}.span WHERE webhook = $1 AND to_seq IS NULL",
    &[Type::INT8],
);
// A span without a publish names nothing.
const CLOSE_EMPTY: Query = Query::new(
    "DELETE FROM {s}.span WHERE webhook = $1 AND to_seq IS NULL AND from_seq = $2 \
     AND pattern = ANY ($3)",
    &[Type::INT8, Type::INT8, Type::TEXT_ARRAY],
);
const CLOSE: Query = Query::new(
    "UPDATE {s}.span SET to_seq = $2 WHERE webhook = $1 AND to_seq IS NULL AND pattern = ANY ($3)",
    &[Type::INT8, Type::INT8, Type::TEXT_ARRAY],
);
const BEGIN: Query = Query::new(
    "INSERT INTO {s}.span (account, mode, pattern, webhook, from_seq) \
     SELECT $1, $2, pattern, $4, $5 FROM unnest($3) AS pattern",
    &[Type::TEXT, Type::BOOL, Type::TEXT_ARRAY, Type::INT8, Type::INT8],
);

/// Inserts a webhook, or replaces the one with its version.
pub(super) async fn put(inner: &Inner, webhook: &Webhook, now: Timestamp) -> Step<Webhook> {
    let tx = inner.database.begin().await?;
    let result = write(&tx, webhook, now).await;
    tx.end(result).await
}

async fn write(tx: &Tx<'_>, webhook: &Webhook, now: Timestamp) -> Step<Webhook> {
    let slot = find(tx, webhook.id()).await?;
    // The id of a deleted webhook stays taken while a delivery may name it.
    let version = |slot: &Slot| if slot.deleted { 0 } else { slot.version };
    let stored = webhook.stored_over(slot.as_ref().map(version), now)?;
    let Some(slot) = slot else {
        insert(tx, webhook, &stored, now).await?;
        return Ok(stored);
    };
    let (key, was_ordered) = (slot.key, slot.needs == Needs::Order);
    let before = match load(tx, key).await {
        Ok(before) => before,
        // It could not be read, so it was treated as if it were disabled.
        Err(Fault::Said(_)) => stored.disable(UNREADABLE),
        Err(fault) => return Err(fault),
    };
    replace(tx, key, &stored).await?;
    let mut slots: Slots = [(key, slot)].into();
    if let Some(slot) = slots.get_mut(&key) {
        slot.lane.replaced(&before, &stored, now);
        slot.enabled = stored.is_enabled();
        slot.needs = Needs::of(&stored);
    }
    if was_ordered && !stored.is_ordered() {
        order::forget(tx, &mut slots, key).await?;
    }
    lanes::write(tx, &slots).await?;
    Ok(stored)
}

/// Disables a webhook, whose lane is locked, for what its receiver did. Answers with it.
pub(super) async fn disable(
    tx: &Tx<'_>,
    key: i64,
    reason: DisabledReason,
    now: Timestamp,
) -> Step<Webhook> {
    let stored = load(tx, key).await?.disable(reason).stored(now);
    replace(tx, key, &stored).await?;
    Ok(stored)
}

/// Reads a webhook's record.
async fn load(tx: &Tx<'_>, key: i64) -> Step<Webhook> {
    let rows = tx.rows(&LOAD, &[&key]).await?;
    let row = rows.first().ok_or_else(|| Fault::unreadable("a webhook without its record"))?;
    Ok(Webhook::from_stored(row.try_get(0)?)?)
}

/// Deletes a webhook. What waits for it is left to the sweep; the row stays as a tombstone, for
/// deliveries to name.
pub(super) async fn delete(inner: &Inner, id: WebhookId) -> Step<bool> {
    let tx = inner.database.begin().await?;
    let result = bury(&tx, id).await;
    tx.end(result).await
}

async fn bury(tx: &Tx<'_>, id: WebhookId) -> Step<bool> {
    let Some(Slot { key, deleted: false, .. }) = find(tx, id).await? else {
        return Ok(false);
    };
    let last = hold(tx, key, None).await?;
    tx.run(&BURY, &[&key, &last]).await?;
    // With its secrets.
    tx.run(&FORGET, &[&key]).await?;
    Ok(true)
}

/// The webhook with this id, locked.
async fn find(tx: &Tx<'_>, id: WebhookId) -> Step<Option<Slot>> {
    let rows = tx.rows(&FIND, &[&id.uuid()]).await?;
    rows.first().map(|row| Slot::read(row, 0)).transpose()
}

async fn insert(tx: &Tx<'_>, webhook: &Webhook, stored: &Webhook, now: Timestamp) -> Step<()> {
    let (account, live) = (stored.account().as_str(), stored.mode().is_live());
    let version = stored.version().cast_signed();
    let id = stored.id().uuid();
    let rows = tx
        .rows(
            &INSERT,
            &[&id, &account, &live, &stored.is_enabled(), &version, &Needs::of(stored).number()],
        )
        .await?;
    let Some(row) = rows.first() else {
        // Somebody was faster.
        return webhook.stored_over(Some(1), now).map(drop).map_err(Fault::from);
    };
    let key: i64 = row.try_get(0)?;
    tx.run(&REGISTER, &[&key, &search(stored), &stored.to_stored()?]).await?;
    hold(tx, key, Some(stored)).await?;
    Ok(())
}

/// Writes a webhook in the place of the one before it; its filters end and begin to hold.
async fn replace(tx: &Tx<'_>, key: i64, stored: &Webhook) -> Step<()> {
    let version = stored.version().cast_signed();
    tx.run(&REPLACE, &[&key, &stored.is_enabled(), &version, &Needs::of(stored).number()]).await?;
    tx.run(&REPLACE_RECORD, &[&key, &search(stored), &stored.to_stored()?]).await?;
    hold(tx, key, Some(stored)).await?;
    Ok(())
}

/// What a search looks at: nothing is found across the line break.
fn search(webhook: &Webhook) -> String {
    format!("{}\n{}", webhook.id(), webhook.address().as_str().to_ascii_lowercase())
}

/// From now on the filters of `webhook` hold, if it is enabled, and no others under its key. Those
/// that go on to hold are left alone. Answers with the number of the last publish.
async fn hold(tx: &Tx<'_>, key: i64, webhook: Option<&Webhook>) -> Step<i64> {
    let webhook = webhook.filter(|webhook| webhook.is_enabled());
    let filters = webhook.map(Webhook::types).into_iter().flatten();
    let mut wanted: BTreeSet<&str> = filters.map(|filter| filter.as_str()).collect();
    let (last, open) = try_join(tx.rows(&LAST, &[]), tx.rows(&OPEN, &[&key])).await?;
    let last: i64 = last.first().map_or(Ok(0), |row| row.try_get(0))?;
    let (mut empty, mut closed) = (Vec::new(), Vec::new());
    for row in &open {
        let (pattern, from): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
        if !wanted.remove(pattern) {
            if from == last { &mut empty } else { &mut closed }.push(pattern);
        }
    }
    if !empty.is_empty() {
        tx.run(&CLOSE_EMPTY, &[&key, &last, &empty]).await?;
    }
    if !closed.is_empty() {
        tx.run(&CLOSE, &[&key, &last, &closed]).await?;
    }
    if let Some(webhook) = webhook
        && !wanted.is_empty()
    {
        let wanted: Vec<&str> = wanted.into_iter().collect();
        let (account, live) = (webhook.account().as_str(), webhook.mode().is_live());
        tx.run(&BEGIN, &[&account, &live, &wanted, &key, &last]).await?;
    }
    Ok(last)
}
