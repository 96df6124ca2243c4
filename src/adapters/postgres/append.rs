//! Events: append, and deliveries that are asked for.

use std::collections::{HashMap, HashSet};

use futures_util::future::try_join;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Inner;
use super::fault::{Fault, Step};
use super::lanes::{self, Slot, slot_columns};
use super::rows::{self, Inserts};
use super::tx::{Query, Tx};
use crate::ground::delivery::Delivery;
use crate::ground::digest::Digest;
use crate::ground::id::{Cause, EventId};
use crate::ground::time::Timestamp;
use crate::ports::storage::{Appended, Enqueued, NewEvent, Owed};

const LAST: Query = Query::new("SELECT coalesce(max(seq), 0) FROM {s}.event", &[]);

/// The number of the last event that was published.
pub(super) async fn last(tx: &Tx<'_>) -> Step<u64> {
    let rows = tx.rows(&LAST, &[]).await?;
    let last: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
    Ok(last.cast_unsigned())
}

// The transaction has its number before its events have theirs: see the spans.
const INSERT: Query = Query::new(
    "WITH new AS (INSERT INTO {s}.event (id, account, mode, type, created, published, digest, payload, \
     order_key, renderings, trace) \
     SELECT n.id, n.account, n.mode, n.type, n.created, $6, n.digest, n.payload, n.order_key, \
     n.renderings, n.trace \
     FROM pg_current_xact_id() AS x, unnest($1, $2, $3, $4, $5, $7, $8, $10, $11, $12) \
     AS n(id, account, mode, type, created, digest, payload, order_key, renderings, trace) \
     ON CONFLICT (id) DO NOTHING RETURNING id, account, seq), \
     marks AS (INSERT INTO {s}.mark (account, seq) SELECT account, seq FROM new \
     WHERE id <> ALL ($9)) \
     SELECT id, seq FROM new",
    &[
        Type::UUID_ARRAY,
        Type::TEXT_ARRAY,
        Type::BOOL_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8,
        Type::BYTEA_ARRAY,
        Type::TEXT_ARRAY,
        Type::UUID_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
    ],
);
const KNOWN: Query =
    Query::new("SELECT id, digest FROM {s}.event WHERE id = ANY ($1)", &[Type::UUID_ARRAY]);
const ADDRESSEES: Query = Query::new(
    concat!(
        "SELECT ",
        slot_columns!(),
        ", w.account, w.mode FROM {s}.webhook w WHERE w.id = ANY ($1) AND w.ended IS NULL \
         ORDER BY w.key FOR NO KEY UPDATE"
    ),
    &[Type::UUID_ARRAY],
);
// Who routes these events waits, or is waited for.
const MARKS: Query = Query::new(
    "SELECT m.seq FROM {s}.mark m JOIN unnest($1, $2) AS o(account, seq) \
     ON m.account = o.account AND m.seq = o.seq ORDER BY m.seq FOR UPDATE OF m",
    &[Type::TEXT_ARRAY, Type::INT8_ARRAY],
);
const EARLY: Query = Query::new(
    "INSERT INTO {s}.early (event, id) SELECT * FROM unnest($1, $2)",
    &[Type::INT8_ARRAY, Type::UUID_ARRAY],
);
// A key share lock: pruning removes no event that is about to be delivered again.
const EVENTS: Query = Query::new(
    "SELECT id, seq, account, mode FROM {s}.event WHERE id = ANY ($1) FOR KEY SHARE",
    &[Type::UUID_ARRAY],
);
const THERE: Query =
    Query::new("SELECT id FROM {s}.delivery WHERE id = ANY ($1)", &[Type::UUID_ARRAY]);

/// Keeps events, all or none.
pub(super) async fn append(
    inner: &Inner,
    events: &[NewEvent],
    now: Timestamp,
) -> Step<Vec<Appended>> {
    let tx = inner.database.begin().await?;
    let result = work(&tx, events, now).await;
    match result {
        Ok((answers, true)) => tx.end(Ok(answers)).await,
        Ok((answers, false)) => {
            // Back to where it was; the answers tell why.
            tx.undo().await?;
            Ok(answers)
        }
        Err(fault) => tx.end(Err(fault)).await,
    }
}

/// Keeps events of different callers, each alone, in one commit. Answers are in their order, and a
/// conflict is its caller's own: nothing of it was written.
pub(super) async fn append_each(
    inner: &Inner,
    events: &[NewEvent],
    now: Timestamp,
) -> Step<Vec<Appended>> {
    let tx = inner.database.begin().await?;
    let result = async {
        let takers: Vec<&NewEvent> = events.iter().collect();
        let mut stored = insert(&tx, &takers, now).await?;
        let mut known = HashMap::new();
        if stored.len() < events.len() {
            let ids: Vec<Uuid> = events.iter().map(|new| new.event.id().uuid()).collect();
            known = digests(&tx, &ids).await?;
        }
        let answers = events.iter().map(|new| {
            let (id, digest) = (new.event.id(), new.event.digest());
            match stored.remove(&id) {
                // Of several with one id in the group the first was written.
                Some(_) => Appended::Stored,
                None => Appended::of(digest, known.get(&id).copied()),
            }
        });
        Ok(answers.collect())
    };
    let result = result.await;
    tx.end(result).await
}

/// The answers, and whether what was written is to stay.
async fn work(tx: &Tx<'_>, events: &[NewEvent], now: Timestamp) -> Step<(Vec<Appended>, bool)> {
    let only: Vec<Uuid> = events.iter().filter_map(|new| Some(new.only?.uuid())).collect();
    let mut slots = HashMap::new();
    if !only.is_empty() {
        for row in tx.rows(&ADDRESSEES, &[&only]).await? {
            let slot = Slot::read(&row, 0)?;
            let account: String = row.try_get(lanes::SLOT_COLUMNS)?;
            let live: bool = row.try_get(lanes::SLOT_COLUMNS + 1)?;
            slots.insert(slot.id, (slot, account, live));
        }
    }
    let takes = |new: &&NewEvent| {
        new.only.is_none_or(|id| {
            slots.get(&id).is_some_and(|(_, account, live)| {
                account == new.event.account().as_str() && *live == new.event.mode().is_live()
            })
        })
    };
    let takers: Vec<&NewEvent> = events.iter().filter(takes).collect();
    let stored = insert(tx, &takers, now).await?;
    let mut known: HashMap<EventId, Digest> = HashMap::new();
    if stored.len() < events.len() {
        let ids: Vec<Uuid> = events
            .iter()
            .map(|new| new.event.id())
            .filter(|id| !stored.contains_key(id))
            .map(EventId::uuid)
            .collect();
        known = digests(tx, &ids).await?;
    }
    let taken: HashSet<EventId> = takers.iter().map(|new| new.event.id()).collect();
    let (answers, new) = Appended::of_all(
        events,
        |id| known.get(&id).copied(),
        |_, event| taken.contains(&event.id()),
    )?;
    let mut inserts = Inserts::default();
    for NewEvent { event, only } in new {
        let (Some(webhook), Some(seq)) = (only, stored.get(&event.id())) else { continue };
        let Some((slot, ..)) = slots.get_mut(webhook) else { continue };
        let delivery = Delivery::owed(event.id(), *webhook, Cause::ROUTED, now, now);
        slot.lane.lower(now);
        inserts.add(&delivery, (*seq, slot.key, None), None);
    }
    if answers.contains(&Appended::Conflict) {
        return Ok((answers, false));
    }
    let slots = slots.into_values().map(|(slot, ..)| (slot.key, slot)).collect();
    try_join(inserts.flush(tx), lanes::write(tx, &slots)).await?;
    Ok((answers, true))
}

/// Inserts events, each with its mark unless it is for one webhook. Answers with the numbers of
/// those that were not there.
pub(super) async fn insert(
    tx: &Tx<'_>,
    events: &[&NewEvent],
    now: Timestamp,
) -> Step<HashMap<EventId, i64>> {
    let column = events.iter().map(|new| &new.event);
    let id: Vec<Uuid> = column.clone().map(|event| event.id().uuid()).collect();
    let account: Vec<&str> = column.clone().map(|event| event.account().as_str()).collect();
    let mode: Vec<bool> = column.clone().map(|event| event.mode().is_live()).collect();
    let types: Vec<&str> = column.clone().map(|event| event.event_type().as_str()).collect();
    let created: Vec<i64> = column.clone().map(|event| rows::millis(event.created())).collect();
    let digest: Vec<Digest> = column.clone().map(|event| event.digest()).collect();
    let digest: Vec<&[u8]> = digest.iter().map(|digest| digest.as_bytes().as_slice()).collect();
    let key: Vec<Option<&str>> = column.clone().map(|event| event.key()).collect();
    let renderings: Vec<Option<&str>> = column.clone().map(|event| event.renderings()).collect();
    let trace: Vec<Option<&str>> = column.clone().map(|event| event.trace_text()).collect();
    let payload: Vec<&str> = column.map(|event| event.payload()).collect();
    let unmarked = events.iter().filter(|new| new.only.is_some());
    let unmarked: Vec<Uuid> = unmarked.map(|new| new.event.id().uuid()).collect();
    let published = rows::millis(now);
    let rows = tx
        .rows(
            &INSERT,
            &[
                &id,
                &account,
                &mode,
                &types,
                &created,
                &published,
                &digest,
                &payload,
                &unmarked,
                &key,
                &renderings,
                &trace,
            ],
        )
        .await?;
    rows.iter().map(|row| Ok((EventId::from_uuid(row.try_get(0)?), row.try_get(1)?))).collect()
}

async fn digests(tx: &Tx<'_>, ids: &[Uuid]) -> Step<HashMap<EventId, Digest>> {
    let mut found = HashMap::new();
    for row in tx.rows(&KNOWN, &[&ids]).await? {
        let digest: &[u8] = row.try_get(1)?;
        let digest =
            digest.try_into().map_err(|_| Fault::unreadable("a digest of another length"))?;
        found.insert(EventId::from_uuid(row.try_get(0)?), Digest::from_bytes(digest));
    }
    Ok(found)
}

/// Makes the deliveries that are owed.
pub(super) async fn enqueue(inner: &Inner, owed: &[Owed], now: Timestamp) -> Step<Vec<Enqueued>> {
    let tx = inner.database.begin().await?;
    let result = make(&tx, owed, now).await;
    tx.end(result).await
}

async fn make(tx: &Tx<'_>, owed: &[Owed], now: Timestamp) -> Step<Vec<Enqueued>> {
    let webhooks: Vec<Uuid> = owed.iter().map(|owed| owed.webhook.uuid()).collect();
    let events: Vec<Uuid> = owed.iter().map(|owed| owed.event.uuid()).collect();
    // The lanes first: who makes the same delivery at the same time waits here.
    let mut slots = HashMap::new();
    for row in tx.rows(&ADDRESSEES, &[&webhooks]).await? {
        let slot = Slot::read(&row, 0)?;
        let account: String = row.try_get(lanes::SLOT_COLUMNS)?;
        slots.insert(slot.id, (slot, account, row.try_get::<_, bool>(lanes::SLOT_COLUMNS + 1)?));
    }
    let made = |owed: &Owed| Delivery::owed(owed.event, owed.webhook, owed.cause, now, now);
    let ids: Vec<Uuid> = owed.iter().map(|owed| made(owed).id.uuid()).collect();
    let found = tx.rows(&EVENTS, &[&events]).await?;
    let mut events = HashMap::new();
    for row in &found {
        let id = EventId::from_uuid(row.try_get(0)?);
        let place: (i64, &str, bool) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        events.insert(id, place);
    }
    let unrouted = unrouted(tx, owed, &events).await?;
    // In a statement after those that locked.
    let there = tx.rows(&THERE, &[&ids]).await?;
    let mut there: HashSet<Uuid> =
        there.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let mut inserts = Inserts::default();
    let (mut early, mut early_ids) = (Vec::new(), Vec::new());
    let mut answers = Vec::with_capacity(owed.len());
    for owed in owed {
        let Some((seq, account, live)) = events.get(&owed.event) else {
            answers.push(Enqueued::NoEvent);
            continue;
        };
        let slot = slots.get_mut(&owed.webhook);
        let Some((slot, ..)) = slot.filter(|(_, of, mode)| of == account && mode == live) else {
            answers.push(Enqueued::NoWebhook);
            continue;
        };
        let delivery = made(owed);
        answers.push(if there.insert(delivery.id.uuid()) {
            slot.lane.lower(now);
            inserts.add(&delivery, (*seq, slot.key, None), None);
            if owed.cause == Cause::ROUTED && unrouted.contains(seq) {
                early.push(*seq);
                early_ids.push(delivery.id.uuid());
            }
            Enqueued::Made(delivery.id)
        } else {
            Enqueued::Existed(delivery.id)
        });
    }
    if !early.is_empty() {
        tx.run(&EARLY, &[&early, &early_ids]).await?;
    }
    let slots = slots.into_values().map(|(slot, ..)| (slot.key, slot)).collect();
    try_join(inserts.flush(tx), lanes::write(tx, &slots)).await?;
    Ok(answers)
}

/// Those of the events that are still to be routed, for deliveries as routing makes them; nobody
/// routes them until the transaction ends.
async fn unrouted(
    tx: &Tx<'_>,
    owed: &[Owed],
    events: &HashMap<EventId, (i64, &str, bool)>,
) -> Step<HashSet<i64>> {
    let as_routed = owed.iter().filter(|owed| owed.cause == Cause::ROUTED);
    let of = as_routed.filter_map(|owed| events.get(&owed.event));
    let (accounts, seqs): (Vec<&str>, Vec<i64>) =
        of.map(|(seq, account, _)| (*account, *seq)).unzip();
    if seqs.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = tx.rows(&MARKS, &[&accounts, &seqs]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
