//! Dispatchers: signs of life, and what happens to the leases of those that give none.
//!
//! A call that gives leases holds its dispatcher's row for as long as it runs (`FOR KEY SHARE`). Who
//! takes leases back locks the row against that first, so no call slips through while it is given up.

use std::collections::HashSet;

use futures_util::future::try_join;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Inner;
use super::fault::Step;
use super::lanes;
use super::rows::{self, Inserts, Kept, leased_columns};
use super::tx::{Query, Tx};
use crate::ground::delivery::Delivery;
use crate::ground::id::DispatcherId;
use crate::ground::lane::Lane;
use crate::ground::policy::ABANDONED_KEPT;
use crate::ground::time::{Timestamp, to_millis};
use crate::ports::storage::{Alive, Heartbeat, Turn};

const CHECK: Query = Query::new(
    "SELECT d.alive_until, EXISTS (SELECT FROM {s}.abandoned a WHERE a.dispatcher = d.id \
     AND a.ticket = $2) FROM {s}.dispatcher d WHERE d.id = $1 FOR KEY SHARE OF d",
    &[Type::UUID, Type::INT8],
);
const DEAD: Query = Query::new(
    "SELECT id, alive_until FROM {s}.dispatcher WHERE alive_until <= $1 FOR UPDATE SKIP LOCKED",
    &[Type::INT8],
);
const BEAT: Query = Query::new(
    "UPDATE {s}.dispatcher SET alive_until = greatest(alive_until, $2) WHERE id = $1 RETURNING 1",
    &[Type::UUID, Type::INT8],
);
const BEGIN: Query = Query::new(
    "INSERT INTO {s}.dispatcher AS d (id, alive_until) VALUES ($1, $2) \
     ON CONFLICT (id) DO UPDATE SET alive_until = greatest(d.alive_until, $2)",
    &[Type::UUID, Type::INT8],
);
const LOCK: Query =
    Query::new("SELECT 1 FROM {s}.dispatcher WHERE id = $1 FOR UPDATE", &[Type::UUID]);
const LANES_OF: Query = Query::new(
    "SELECT DISTINCT webhook FROM {s}.leased WHERE holder = $1 AND ($2 IS NULL OR ticket = ANY ($2))",
    &[Type::UUID, Type::INT8_ARRAY],
);
const HELD: Query = Query::new("SELECT key FROM {s}.webhook WHERE holder = $1", &[Type::UUID]);
const TAKE: Query = Query::new(
    concat!(
        "DELETE FROM {s}.leased d WHERE d.holder = $1 AND ($2 IS NULL OR d.ticket = ANY ($2)) \
         RETURNING ",
        leased_columns!()
    ),
    &[Type::UUID, Type::INT8_ARRAY],
);
const REMEMBER: Query = Query::new(
    "INSERT INTO {s}.abandoned (dispatcher, ticket) SELECT $1, ticket FROM unnest($2) AS ticket \
     ON CONFLICT DO NOTHING",
    &[Type::UUID, Type::INT8_ARRAY],
);
const TRIM: Query = Query::new(
    "DELETE FROM {s}.abandoned WHERE dispatcher = $1 AND ticket <= (SELECT ticket \
     FROM {s}.abandoned WHERE dispatcher = $1 ORDER BY ticket DESC LIMIT 1 OFFSET $2)",
    &[Type::UUID, Type::INT8],
);
const FORGET: Query =
    Query::new("DELETE FROM {s}.dispatcher WHERE id = ANY ($1)", &[Type::UUID_ARRAY]);
const FORGET_CALLS: Query =
    Query::new("DELETE FROM {s}.abandoned WHERE dispatcher = ANY ($1)", &[Type::UUID_ARRAY]);

/// Rule 6: leases are given to the living only, and not to calls that were given up.
pub(super) async fn check(tx: &Tx<'_>, turn: &Turn) -> Step<()> {
    let ticket = turn.ticket.cast_signed();
    let rows = tx.rows(&CHECK, &[&turn.dispatcher.uuid(), &ticket]).await?;
    let found = match rows.first() {
        Some(row) => Some((rows::time(row.try_get(0)?), row.try_get(1)?)),
        None => None,
    };
    Ok(turn.check(found)?)
}

/// The dispatchers that gave no sign of life in time, but those that somebody else sees to.
pub(super) async fn dead(tx: &Tx<'_>, now: Timestamp) -> Step<Vec<(Uuid, Timestamp)>> {
    let rows = tx.rows(&DEAD, &[&rows::millis(now)]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, rows::time(row.try_get(1)?)))).collect()
}

/// Forgets dispatchers. What they had leased goes back.
pub(super) async fn reap(tx: &Tx<'_>, dead: &[(Uuid, Timestamp)], now: Timestamp) -> Step<()> {
    for (id, ended) in dead {
        let free = |lane: &mut Lane, _| lane.bereave(*ended);
        let back = give_back(tx, *id, None, now, |delivery| delivery.reap(now), free).await?;
        tracing::info!(name: "tidings.postgres.reaped", dispatcher = %DispatcherId::from_uuid(*id), deliveries = back);
    }
    let ids: Vec<Uuid> = dead.iter().map(|(id, _)| *id).collect();
    forget(tx, &ids).await
}

async fn forget(tx: &Tx<'_>, ids: &[Uuid]) -> Step<()> {
    try_join(tx.run(&FORGET, &[&ids]), tx.run(&FORGET_CALLS, &[&ids])).await?;
    Ok(())
}

/// Takes a sign of life.
pub(super) async fn heartbeat(inner: &Inner, heartbeat: &Heartbeat) -> Step<Alive> {
    let (now, until) = (to_millis(heartbeat.now), to_millis(heartbeat.until));
    let id = heartbeat.dispatcher.uuid();
    let until_millis = rows::millis(until);
    if until > now && heartbeat.abandoned.is_empty() {
        // By far the most frequent: one statement.
        if !inner.database.once(&BEAT, &[&id, &until_millis]).await?.is_empty() {
            return Ok(Alive::Known);
        }
        inner.database.once(&BEGIN, &[&id, &until_millis]).await?;
        return Ok(Alive::New);
    }
    let tx = inner.database.begin().await?;
    let result = async {
        // Waits for the calls of this dispatcher that are still under way.
        let known = !tx.rows(&LOCK, &[&id]).await?.is_empty();
        let answer = if known { Alive::Known } else { Alive::New };
        if until <= now {
            let free = |lane: &mut Lane, leased| heartbeat.frees_lane(lane, leased);
            give_back(&tx, id, None, now, |delivery| delivery.abandon(now), free).await?;
            forget(&tx, &[id]).await?;
            return Ok(answer);
        }
        tx.run(&BEGIN, &[&id, &until_millis]).await?;
        let tickets: Vec<i64> =
            heartbeat.abandoned.iter().map(|ticket| ticket.cast_signed()).collect();
        tx.run(&REMEMBER, &[&id, &tickets]).await?;
        // Of very many the latest ones: an answer that is older than thousands of calls does not
        // come any more.
        tx.run(&TRIM, &[&id, &ABANDONED_KEPT]).await?;
        let keep = |_: &mut Lane, _| {};
        let back = |delivery: &mut Delivery| delivery.abandon(now);
        give_back(&tx, id, Some(&tickets), now, back, keep).await?;
        Ok(answer)
    };
    let result = result.await;
    tx.end(result).await
}

/// Gives back what a dispatcher has leased, in some of its calls or in all. Says how much it was. With
/// all of it the lanes that it holds are freed; `free` is told whether anything of one was leased.
async fn give_back(
    tx: &Tx<'_>,
    dispatcher: Uuid,
    tickets: Option<&[i64]>,
    now: Timestamp,
    back: impl Fn(&mut Delivery),
    free: impl Fn(&mut Lane, bool),
) -> Step<usize> {
    let lanes = tx.rows(&LANES_OF, &[&dispatcher, &tickets]).await?;
    let mut keys: Vec<i64> = lanes.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    if tickets.is_none() {
        let held = tx.rows(&HELD, &[&dispatcher]).await?;
        keys.extend(held.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?);
        keys.sort_unstable();
        keys.dedup();
    }
    if keys.is_empty() {
        return Ok(0);
    }
    let mut slots = lanes::lock(tx, &keys).await?;
    let mut inserts = Inserts::default();
    let mut leased = HashSet::new();
    let taken = tx.rows(&TAKE, &[&dispatcher, &tickets]).await?;
    for row in &taken {
        let kept = Kept::read(row, 0)?;
        let place = (kept.event, kept.webhook, kept.key);
        leased.insert(kept.webhook);
        let mut delivery = kept.bare();
        back(&mut delivery);
        if let Some(slot) = slots.get_mut(&place.1) {
            slot.lane.lower(now);
        }
        inserts.add(&delivery, place, None);
    }
    let holder = tickets.is_none().then(|| DispatcherId::from_uuid(dispatcher));
    for (key, slot) in &mut slots {
        if holder.is_some() && slot.lane.holder == holder {
            free(&mut slot.lane, leased.contains(key));
        }
    }
    try_join(inserts.flush(tx), lanes::write(tx, &slots)).await?;
    Ok(taken.len())
}
