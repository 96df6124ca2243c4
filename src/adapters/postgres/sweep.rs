//! Housekeeping, a bounded step at a time, by one node at a time.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Inner;
use super::fault::Step;
use super::lanes;
use super::order;
use super::replay;
use super::rows::{self, Inserts, Kept, count, waiting_columns};
use super::statistics::{self, SWEEPS};
use super::tx::{Query, Tx};
use crate::adapters::sql::WIDE;
use crate::ground::delivery::State;
use crate::ground::id::{DeliveryId, EventId};
use crate::ground::policy::POSTGRES_PRUNE_STRETCH;
use crate::ground::statistics::Additions;
use crate::ground::time::{Timestamp, to_millis};
use crate::ports::storage::{Sweep, Swept};

/// What the sweeps of a store remember. Nothing depends on it but speed.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Broom {
    /// The last event that was looked at for pruning, and out of turn.
    pruned: i64,
    strayed: i64,
    /// The last tombstone that was looked at: when it ended, and its key.
    buried: (i64, i64),
}

const TRY: Query = Query::new(
    "SELECT pg_try_advisory_xact_lock(1953063017, '{s}.event'::regclass::oid::integer)",
    &[],
);

/// One step of everything. Somebody else's step is as good.
pub(super) async fn sweep(inner: &Inner, sweep: &Sweep) -> Step<Swept> {
    let broom = *inner.broom.lock().unwrap_or_else(PoisonError::into_inner);
    let tx = inner.database.begin().await?;
    let result = work(&tx, broom, sweep).await;
    let (swept, broom) = tx.end(result).await?;
    *inner.broom.lock().unwrap_or_else(PoisonError::into_inner) = broom;
    Ok(swept)
}

async fn work(tx: &Tx<'_>, mut broom: Broom, sweep: &Sweep) -> Step<(Swept, Broom)> {
    let free = tx.rows(&TRY, &[]).await?;
    if !free.first().map_or(Ok(false), |row| row.try_get(0))? {
        return Ok((Swept::default(), broom));
    }
    let now = to_millis(sweep.now);
    let limit = count(sweep.limit);
    let before = rows::millis(to_millis(sweep.expire_before));
    let expired = end(tx, &OLD, &[&before, &limit], State::Expired { at: now }).await?;
    let cancelled = cancel(tx, now, limit).await?;
    let (pruned, unpruned) = prune(tx, &mut broom, sweep, limit).await?;
    let spans = spans(tx, limit).await?;
    tombstones(tx, &mut broom, limit).await?;
    replay::prune(tx, rows::millis(to_millis(sweep.prune_before)), limit).await?;
    let more = unpruned || [expired, cancelled, spans].contains(&sweep.limit);
    Ok((Swept { expired, cancelled, pruned, more }, broom))
}

// --- deliveries that end ------------------------------------------------------------------------

const OLD: Query = Query::new(
    "SELECT id, webhook FROM {s}.waiting WHERE published < $1 ORDER BY published LIMIT $2",
    &[Type::INT8, Type::INT8],
);
const ORPHANS: Query = Query::new(
    "SELECT id, webhook FROM {s}.waiting WHERE webhook = $1 LIMIT $2",
    &[Type::INT8, Type::INT8],
);
const TAKE: Query = Query::new(
    concat!("DELETE FROM {s}.waiting d WHERE d.id = ANY ($1) RETURNING ", waiting_columns!()),
    &[Type::UUID_ARRAY],
);
const DELETED: Query = Query::new(
    "SELECT key FROM {s}.webhook WHERE ended IS NOT NULL AND next_due IS NOT NULL \
     ORDER BY key LIMIT $1",
    &[Type::INT8],
);

/// Ends the waiting deliveries that a query finds. The lanes keep their bounds: the next claim finds
/// the true ones.
pub(super) async fn end(
    tx: &Tx<'_>,
    query: &Query,
    values: &[super::tx::Value<'_>],
    state: State,
) -> Step<usize> {
    let found = tx.rows(query, values).await?;
    let ids: Vec<Uuid> = found.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let mut keys: Vec<i64> = found.iter().map(|row| row.try_get(1)).collect::<Result<_, _>>()?;
    if ids.is_empty() {
        return Ok(0);
    }
    keys.sort_unstable();
    keys.dedup();
    let mut slots = lanes::lock(tx, &keys).await?;
    let mut inserts = Inserts::default();
    let (mut ended, mut additions) = (BTreeSet::new(), Additions::default());
    let taken = tx.rows(&TAKE, &[&ids]).await?;
    for row in &taken {
        let kept = Kept::read(row, 0)?;
        ended.extend(kept.key.map(|key| (kept.webhook, key)));
        additions.add(kept.webhook, None, Some(&state));
        let place = (kept.event, kept.webhook, kept.key);
        let mut delivery = kept.bare();
        delivery.state = state;
        inserts.add(&delivery, place, None);
    }
    inserts.flush(tx).await?;
    order::follow(tx, &mut slots, &ended).await?;
    lanes::write(tx, &slots).await?;
    statistics::add(tx, SWEEPS, &additions).await?;
    Ok(taken.len())
}

/// What waits for webhooks that were deleted ends.
async fn cancel(tx: &Tx<'_>, now: Timestamp, limit: i64) -> Step<usize> {
    let mut cancelled = 0;
    for row in tx.rows(&DELETED, &[&limit]).await? {
        let key: i64 = row.try_get(0)?;
        let left = limit - count(cancelled);
        let some = end(tx, &ORPHANS, &[&key, &left], State::Cancelled { at: now }).await?;
        cancelled += some;
        if count(some) >= left {
            break;
        }
        let mut slots = lanes::lock(tx, &[key]).await?;
        // In a statement after the lock: what was made to wait meanwhile is for the next step.
        if tx.rows(&ORPHANS, &[&key, &1_i64]).await?.is_empty()
            && let Some(slot) = slots.get_mut(&key)
        {
            slot.lane.next_due = None;
            lanes::write(tx, &slots).await?;
        }
    }
    Ok(cancelled)
}

// --- events that are removed --------------------------------------------------------------------

const STRETCH: Query = Query::new(
    "SELECT seq, id, published, account FROM {s}.event WHERE seq > $1 ORDER BY seq LIMIT $2",
    &[Type::INT8, Type::INT8],
);
const LOCK: Query = Query::new(
    "SELECT seq FROM {s}.event WHERE seq = ANY ($1) FOR UPDATE SKIP LOCKED",
    &[Type::INT8_ARRAY],
);
// In a statement after the one that locked: a delivery made meanwhile is seen. Each look by itself
// and in the order of an index (LIMIT, ORDER BY): as joins they would be with the whole tables.
const OVER: Query = Query::new(
    "SELECT o.seq, (SELECT count(*) FROM (SELECT FROM {s}.ended d \
         WHERE d.id BETWEEN o.low AND o.high AND d.event = o.seq ORDER BY d.id LIMIT $5) x) \
     FROM unnest($1, $2, $3, $4) AS o(seq, account, low, high) \
     WHERE (SELECT 1 FROM {s}.mark m WHERE m.account = o.account AND m.seq = o.seq LIMIT 1) IS NULL \
     AND (SELECT 1 FROM {s}.waiting d \
         WHERE d.id BETWEEN o.low AND o.high AND d.event = o.seq ORDER BY d.id LIMIT 1) IS NULL \
     AND (SELECT 1 FROM {s}.leased d \
         WHERE d.id BETWEEN o.low AND o.high AND d.event = o.seq ORDER BY d.id LIMIT 1) IS NULL \
     ORDER BY o.seq",
    &[Type::INT8_ARRAY, Type::TEXT_ARRAY, Type::UUID_ARRAY, Type::UUID_ARRAY, Type::INT8],
);
const REMOVE_ENDED: Query = Query::new(
    "WITH part AS MATERIALIZED (SELECT d.id FROM unnest($1, $2, $3) AS o(seq, low, high) \
         CROSS JOIN LATERAL (SELECT d.id FROM {s}.ended d WHERE d.id BETWEEN o.low AND o.high \
         AND d.event = o.seq ORDER BY d.id LIMIT (SELECT $4)) d LIMIT $4), \
     attempts AS (DELETE FROM {s}.attempt WHERE delivery = ANY (ARRAY (SELECT id FROM part))) \
     DELETE FROM {s}.ended WHERE id = ANY (ARRAY (SELECT id FROM part))",
    &[Type::INT8_ARRAY, Type::UUID_ARRAY, Type::UUID_ARRAY, Type::INT8],
);
const REMOVE: Query = Query::new("DELETE FROM {s}.event WHERE seq = ANY ($1)", &[Type::INT8_ARRAY]);

/// Removes old events of which nothing is left to do. Says how many, and whether there is more to
/// look at.
///
/// There is no index by age; it would cost each publish more than the walk does. Publishes are
/// numbered in their order, so what is old comes first, but for clocks that disagree a little: the
/// walk ends where many in a row are young. What a clock that was far ahead has put in the way is
/// found by a second walk, which takes one stretch more of the table with each sweep.
async fn prune(tx: &Tx<'_>, broom: &mut Broom, sweep: &Sweep, limit: i64) -> Step<(usize, bool)> {
    let before = rows::millis(to_millis(sweep.prune_before));
    // What cannot be removed yet does not stand before what can: the next step goes on behind it.
    let first = stretch(tx, broom.pruned, before, limit).await?;
    broom.pruned = if first.ends_walk { 0 } else { first.last };
    if !first.ends_walk || first.ends_table {
        return Ok((first.removed, !first.ends_walk));
    }
    let left = limit - count(first.removed);
    let stray = stretch(tx, broom.strayed.max(first.last), before, left).await?;
    broom.strayed = if stray.ends_table { 0 } else { stray.last };
    Ok((first.removed + stray.removed, false))
}

/// What a stretch of the walk came to.
struct Stretch {
    removed: usize,
    /// The last event that it is through with.
    last: i64,
    /// Whether none of its events was old, or there are no more.
    ends_walk: bool,
    ends_table: bool,
}

/// Looks at the events that follow `from`, and removes at most `limit` of them.
async fn stretch(tx: &Tx<'_>, from: i64, before: i64, limit: i64) -> Step<Stretch> {
    let found = tx.rows(&STRETCH, &[&from, &POSTGRES_PRUNE_STRETCH]).await?;
    let mut last = from;
    let mut old: Vec<(i64, Uuid, String)> = Vec::new();
    for row in &found {
        last = row.try_get(0)?;
        if row.try_get::<_, i64>(2)? < before {
            old.push((last, row.try_get(1)?, row.try_get(3)?));
        }
    }
    let ends_table = count(found.len()) < POSTGRES_PRUNE_STRETCH;
    let ends_walk = ends_table || old.is_empty();
    let through = Stretch { removed: 0, last, ends_walk, ends_table };
    if old.is_empty() {
        return Ok(through);
    }
    let budget = limit.saturating_mul(WIDE);
    let over = over(tx, &old, budget).await?;
    // As many as fit. The rest, or the rest of a wide event, is for the next step.
    let (mut whole, mut deliveries, mut stopped) = (Vec::new(), 0, None);
    for (seq, ended) in over {
        if count(whole.len()) >= limit || deliveries + ended > budget {
            stopped = Some((seq, whole.is_empty()));
            break;
        }
        deliveries += ended;
        whole.push(seq);
    }
    let parts = match stopped {
        Some((seq, true)) => vec![seq],
        _ => whole.clone(),
    };
    let ranges = |seqs: &[i64]| {
        let of = old.iter().filter(|(seq, ..)| seqs.contains(seq));
        let ranges = of.map(|(seq, id, _)| {
            let (low, high) = DeliveryId::range_of(EventId::from_uuid(*id));
            (*seq, (low.uuid(), high.uuid()))
        });
        ranges.unzip::<_, _, Vec<i64>, Vec<(Uuid, Uuid)>>()
    };
    let (seqs, bounds) = ranges(&parts);
    let (low, high): (Vec<Uuid>, Vec<Uuid>) = bounds.into_iter().unzip();
    tx.run(&REMOVE_ENDED, &[&seqs, &low, &high, &budget]).await?;
    tx.run(&REMOVE, &[&whole]).await?;
    match stopped {
        // The one before it is where the next step goes on.
        Some((seq, _)) => {
            Ok(Stretch { removed: whole.len(), last: seq - 1, ends_walk: false, ends_table: false })
        }
        None => Ok(Stretch { removed: whole.len(), ..through }),
    }
}

/// Those of these events, locked, that have no mark and no unfinished delivery, each with how many
/// ended ones it has, as far as the budget goes.
async fn over(tx: &Tx<'_>, old: &[(i64, Uuid, String)], budget: i64) -> Step<Vec<(i64, i64)>> {
    let seqs: Vec<i64> = old.iter().map(|(seq, ..)| *seq).collect();
    let locked = tx.rows(&LOCK, &[&seqs]).await?;
    let locked: Vec<i64> = locked.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let (mut seqs, mut accounts) = (Vec::new(), Vec::new());
    let (mut lows, mut highs) = (Vec::new(), Vec::new());
    for (seq, id, account) in old.iter().filter(|(seq, ..)| locked.contains(seq)) {
        let (low, high) = DeliveryId::range_of(EventId::from_uuid(*id));
        seqs.push(*seq);
        accounts.push(account.as_str());
        lows.push(low.uuid());
        highs.push(high.uuid());
    }
    let most = budget.saturating_add(1);
    let rows = tx.rows(&OVER, &[&seqs, &accounts, &lows, &highs, &most]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

// --- spans and tombstones -----------------------------------------------------------------------

// First those that no visible mark needs are stamped; they go once every transaction that was under
// way then has ended, for it may hold a publish with a number inside.
const RETIRE_SPANS: Query = Query::new(
    "UPDATE {s}.span SET retired = pg_current_xact_id() \
     WHERE (account, mode, pattern, webhook, from_seq) IN \
     (SELECT s.account, s.mode, s.pattern, s.webhook, s.from_seq FROM {s}.span s \
      WHERE s.to_seq IS NOT NULL AND s.retired IS NULL ORDER BY s.to_seq LIMIT $1)",
    &[Type::INT8],
);
const FORGET_SPANS: Query = Query::new(
    "DELETE FROM {s}.span WHERE (account, mode, pattern, webhook, from_seq) IN \
     (SELECT s.account, s.mode, s.pattern, s.webhook, s.from_seq FROM {s}.span s \
      WHERE s.to_seq IS NOT NULL AND s.retired < pg_snapshot_xmin(pg_current_snapshot()) \
      AND NOT EXISTS (SELECT FROM {s}.mark m WHERE m.account = s.account AND m.seq <= s.to_seq) \
      ORDER BY s.to_seq LIMIT $1) RETURNING 1",
    &[Type::INT8],
);
const TOMBSTONES: Query = Query::new(
    "SELECT ended, key, retired < pg_snapshot_xmin(pg_current_snapshot()) \
     AND NOT EXISTS (SELECT FROM {s}.waiting d WHERE d.webhook = key) \
     AND NOT EXISTS (SELECT FROM {s}.leased d WHERE d.webhook = key) \
     AND NOT EXISTS (SELECT FROM {s}.ended d WHERE d.webhook = key) \
     AND NOT EXISTS (SELECT FROM {s}.statistic s WHERE s.webhook = key) \
     AND NOT EXISTS (SELECT FROM {s}.span s WHERE s.webhook = key), \
     retired IS NULL FROM {s}.webhook w \
     WHERE ended IS NOT NULL AND (ended, key) > ($1, $2) ORDER BY ended, key LIMIT $3",
    &[Type::INT8, Type::INT8, Type::INT8],
);
const RETIRE: Query = Query::new(
    "UPDATE {s}.webhook SET retired = pg_current_xact_id() WHERE key = ANY ($1)",
    &[Type::INT8_ARRAY],
);
const CLEAR: Query =
    Query::new("DELETE FROM {s}.webhook WHERE key = ANY ($1)", &[Type::INT8_ARRAY]);

/// Forgets spans that ended before every event of their account that is still to be routed, or may
/// still become visible.
async fn spans(tx: &Tx<'_>, limit: i64) -> Step<usize> {
    let gone = tx.rows(&FORGET_SPANS, &[&limit]).await?;
    tx.run(&RETIRE_SPANS, &[&limit]).await?;
    Ok(gone.len())
}

/// Clears tombstones that no delivery and no event to be routed can name any more; a few at a time,
/// in turn.
async fn tombstones(tx: &Tx<'_>, broom: &mut Broom, limit: i64) -> Step<()> {
    let (ended, key) = broom.buried;
    let rows = tx.rows(&TOMBSTONES, &[&ended, &key, &limit]).await?;
    let (mut over, mut fresh, mut last) = (Vec::new(), Vec::new(), None);
    for row in &rows {
        let place: (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        last = Some(place);
        if row.try_get::<_, Option<bool>>(2)?.unwrap_or_default() {
            over.push(place.1);
        } else if row.try_get(3)? {
            fresh.push(place.1);
        }
    }
    let at_end = count(rows.len()) < limit;
    broom.buried = last.filter(|_| !at_end).unwrap_or(Broom::default().buried);
    if !over.is_empty() {
        tx.run(&CLEAR, &[&over]).await?;
    }
    if !fresh.is_empty() {
        tx.run(&RETIRE, &[&fresh]).await?;
    }
    Ok(())
}
