//! Claim: waiting deliveries that are due become leases.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::future::{try_join, try_join3};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Inner;
use super::dispatchers;
use super::fault::{Fault, Step};
use super::holds::Holds;
use super::lanes::{self, Needs, Slot, Slots, slot_columns};
use super::order;
use super::rows::{self, Kept, count, event_columns, waiting_columns};
use super::tx::{Query, Tx};
use crate::ground::event::Event;
use crate::ground::lane::Readiness;
use crate::ground::policy::{CLAIM_LOOKS, POSTGRES_CLAIM_LANES};
use crate::ground::time::{Timestamp, after, to_millis};
use crate::ground::webhook::Webhook;
use crate::ports::storage::{Claimed, Leased, Turn};

// A lane that somebody else has locked is passed over: it is being seen to.
const READY: Query = Query::new(
    concat!(
        "SELECT ",
        slot_columns!(),
        " FROM {s}.webhook w WHERE w.ready <= $1 AND w.id <> ALL ($2) AND w.key <> ALL ($3) \
         ORDER BY w.ready, w.key LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED"
    ),
    &[Type::INT8, Type::UUID_ARRAY, Type::INT8_ARRAY, Type::INT8],
);
// One more than is wanted of each: it tells what is left. From the lane's bound on, so that what was
// claimed before is not walked over.
const WAITING: Query = Query::new(
    concat!(
        "SELECT ",
        waiting_columns!(),
        " FROM unnest($1, $2, $3) AS l(key, bound, few) CROSS JOIN LATERAL ( \
         SELECT * FROM {s}.waiting w WHERE w.webhook = l.key AND NOT w.parked \
         AND w.due >= l.bound ORDER BY w.webhook, w.parked, w.due LIMIT l.few) d"
    ),
    &[Type::INT8_ARRAY, Type::INT8_ARRAY, Type::INT8_ARRAY],
);
const EVENTS: Query = Query::new(
    concat!("SELECT e.seq, ", event_columns!(), " FROM {s}.event e WHERE e.seq = ANY ($1)"),
    &[Type::INT8_ARRAY],
);
const LEASE: Query = Query::new(
    "WITH taken AS (DELETE FROM {s}.waiting WHERE id = ANY ($1) RETURNING *) \
     INSERT INTO {s}.leased (id, event, webhook, cause, published, attempt, failures, \
     interruptions, lapsed, holder, ticket, order_key) \
     SELECT id, event, webhook, cause, published, attempt + 1, failures, interruptions, lapsed, \
     $2, $3, order_key FROM taken",
    &[Type::UUID_ARRAY, Type::UUID, Type::INT8],
);
const NEXT: Query = Query::new(
    "SELECT least((SELECT min(ready) FROM {s}.webhook WHERE ready IS NOT NULL), \
     (SELECT min(free) FROM {s}.webhook WHERE free IS NOT NULL))",
    &[],
);

/// Leases waiting deliveries that are due.
pub(super) async fn claim(inner: &Inner, turn: &Turn) -> Step<Claimed> {
    let tx = inner.database.begin().await?;
    let result = work(&tx, inner, turn).await;
    tx.end(result).await
}

async fn work(tx: &Tx<'_>, inner: &Inner, turn: &Turn) -> Step<Claimed> {
    let now = to_millis(turn.now);
    let ((), dead) = try_join(dispatchers::check(tx, turn), dispatchers::dead(tx, now)).await?;
    if !dead.is_empty() {
        dispatchers::reap(tx, &dead, now).await?;
    }
    let mut claimer = Claimer {
        tx,
        inner,
        turn,
        now,
        left: turn.total,
        slots: Slots::new(),
        rooms: HashMap::new(),
        picked: Vec::new(),
    };
    let mut holds = Holds::default();
    holds.settle(tx, inner, &mut claimer.slots, turn, now).await?;
    let own: Vec<(i64, u32)> = holds.ready(&claimer.slots, now).collect();
    claimer.rooms.extend(own.iter().copied());
    let mut own: Vec<i64> = claimer.readable(own.into_iter().map(|(key, _)| key)).await?;
    while claimer.left > 0 {
        let mut lanes = claimer.ready().await?;
        // Beside the plain ones those that it holds, as long as they wait.
        lanes.append(&mut own);
        lanes.sort_by_key(|key| claimer.slots.get(key).and_then(|slot| slot.lane.ready_at()));
        if lanes.is_empty() {
            break;
        }
        while claimer.left > 0 && !lanes.is_empty() {
            lanes = claimer.round(&lanes).await?;
        }
    }
    let held_due = holds.next_due(&claimer.slots, &claimer.rooms);
    let (leased, next) = claimer.finish().await?;
    let next_due = next.map(rows::time).into_iter().chain(held_due).min();
    let Holds { held, lost, .. } = holds;
    Ok(Claimed { leased, next_due, held, lost })
}

/// A waiting delivery that is to be leased.
struct Picked {
    kept: Kept,
    failing_since: Option<Timestamp>,
    probe: bool,
}

struct Claimer<'c> {
    tx: &'c Tx<'c>,
    inner: &'c Inner,
    turn: &'c Turn,
    now: Timestamp,
    /// Leases left to give.
    left: u32,
    /// The lanes that this call has locked.
    slots: Slots,
    rooms: HashMap<i64, u32>,
    picked: Vec<Picked>,
}

impl Claimer<'_> {
    /// Locks the next lanes that are ready and have room, longest ready first. Each gives at least
    /// one delivery, as a rule, so as many lanes as permits are enough.
    async fn ready(&mut self) -> Step<Vec<i64>> {
        let full = self.turn.busy.keys().filter(|webhook| self.turn.room(**webhook) == 0);
        let full: Vec<Uuid> = full.map(|webhook| webhook.uuid()).collect();
        if self.turn.each == 0 {
            return Ok(Vec::new());
        }
        let seen: Vec<i64> = self.slots.keys().copied().collect();
        let limit = i64::from(self.left).min(count(POSTGRES_CLAIM_LANES));
        let values: [super::tx::Value<'_>; 4] = [&rows::millis(self.now), &full, &seen, &limit];
        let found = self.tx.rows(&READY, &values).await?;
        let mut keys = Vec::with_capacity(found.len());
        let mut locked = Vec::with_capacity(found.len());
        for row in &found {
            let slot = Slot::read(row, 0)?;
            keys.push(slot.key);
            self.rooms.insert(slot.key, self.turn.room(slot.id));
            locked.push(slot);
        }
        self.slots.extend(locked.into_iter().map(|slot| (slot.key, slot)));
        self.readable(keys.into_iter()).await
    }

    /// Those of these lanes whose webhook can be read: the others give nothing.
    async fn readable(&self, keys: impl Iterator<Item = i64>) -> Step<Vec<i64>> {
        let keys: Vec<i64> = keys.collect();
        let slots = keys.iter().filter_map(|key| self.slots.get(key));
        let readable = lanes::webhooks(self.tx, &self.inner.webhooks, slots).await?;
        Ok(keys.into_iter().filter(|key| readable.contains_key(key)).collect())
    }

    fn is_ordered(&self, key: i64) -> bool {
        self.slots.get(&key).is_some_and(|slot| slot.needs == Needs::Order)
    }

    /// How many deliveries a lane may give in a round, and whether the one is a probe.
    fn few(&self, key: i64, share: u32) -> (u32, bool) {
        let Some(slot) = self.slots.get(&key) else { return (0, false) };
        let room = self.rooms.get(&key).copied().unwrap_or_default();
        match slot.lane.readiness(self.now) {
            Readiness::NotReady => (0, false),
            Readiness::Probe => (room.min(1), true),
            Readiness::Open => (share.min(room), false),
        }
    }

    /// Picks a few deliveries from each lane. Answers with the lanes that may have more.
    async fn round(&mut self, lanes: &[i64]) -> Step<Vec<i64>> {
        let share = (self.left / u32::try_from(lanes.len()).unwrap_or(u32::MAX)).max(1);
        let (mut keys, mut bounds, mut fews) = (Vec::new(), Vec::new(), Vec::new());
        let mut left = self.left;
        for key in lanes {
            let few = self.few(*key, share).0.min(left);
            let Some(slot) = self.slots.get(key).filter(|_| few > 0) else { continue };
            left -= few;
            keys.push(*key);
            bounds.push(slot.lane.next_due.map_or(i64::MIN, rows::millis));
            // What was picked in the rounds before is still there.
            let before = self.picked.iter().filter(|picked| picked.kept.webhook == *key).count();
            fews.push(count(before) + i64::from(few) + 1);
        }
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut waiting = self.waiting(&keys, &bounds, &fews).await?;
        let mut looks = CLAIM_LOOKS;
        // What stands behind another of its key is taken out of the lane, and more is looked at.
        let blocked = loop {
            let due = waiting.iter().filter(|(key, _)| self.is_ordered(**key));
            let due = due.flat_map(|(_, lane)| lane).filter(|kept| kept.due() <= self.now);
            let behind = order::behind(self.tx, &due.collect::<Vec<_>>()).await?;
            if behind.is_empty() || looks == 0 {
                break behind;
            }
            order::park(self.tx, &behind).await?;
            looks = looks.saturating_sub(behind.len());
            waiting = self.waiting(&keys, &bounds, &fews).await?;
        };
        let mut rest = Vec::new();
        for key in keys {
            if self.take(key, share, waiting.remove(&key).unwrap_or_default(), &blocked) {
                rest.push(key);
            }
        }
        Ok(rest)
    }

    /// The next deliveries of lanes, but for those that were picked already.
    async fn waiting(
        &self,
        keys: &[i64],
        bounds: &[i64],
        fews: &[i64],
    ) -> Step<HashMap<i64, Vec<Kept>>> {
        let taken: HashSet<_> = self.picked.iter().map(|picked| picked.kept.id()).collect();
        let mut waiting: HashMap<i64, Vec<Kept>> = HashMap::new();
        for row in &self.tx.rows(&WAITING, &[&keys, &bounds, &fews]).await? {
            let kept = Kept::read(row, 0)?;
            if !taken.contains(&kept.id()) {
                waiting.entry(kept.webhook).or_default().push(kept);
            }
        }
        Ok(waiting)
    }

    /// Takes what may be taken of a lane's next deliveries, which are in order, but those that are
    /// blocked. Says whether there may be more to take.
    fn take(&mut self, key: i64, share: u32, waiting: Vec<Kept>, blocked: &HashSet<Uuid>) -> bool {
        let (few, probe) = self.few(key, share);
        let few = few.min(self.left);
        let Some(slot) = self.slots.get_mut(&key) else { return false };
        let failing_since = slot.lane.failing_since;
        let (mut given, mut next_due) = (0, None);
        for kept in waiting {
            let due = kept.due();
            if blocked.contains(&kept.id().uuid()) {
                // It stays in the lane, to be looked at again.
                next_due = next_due.or(Some(due));
            } else if given < few && due <= self.now {
                given += 1;
                self.picked.push(Picked { kept, failing_since, probe });
            } else {
                next_due = next_due.or(Some(due));
                break;
            }
        }
        self.left -= given;
        slot.lane.next_due = next_due;
        if let Some(room) = self.rooms.get_mut(&key) {
            *room = room.saturating_sub(given);
        }
        if probe && given > 0 {
            slot.lane.probe(after(self.now, self.turn.probe));
        }
        !probe && given == few && next_due.is_some_and(|due| due <= self.now)
    }

    /// Leases what was picked, and says when there is more.
    async fn finish(self) -> Step<(Vec<Leased>, Option<i64>)> {
        let ids: Vec<Uuid> = self.picked.iter().map(|picked| picked.kept.id().uuid()).collect();
        let mut seqs: Vec<i64> = self.picked.iter().map(|picked| picked.kept.event).collect();
        seqs.sort_unstable();
        seqs.dedup();
        let (tx, turn) = (self.tx, self.turn);
        let lease = async {
            if ids.is_empty() {
                return Ok((Vec::new(), HashMap::new()));
            }
            let ticket = turn.ticket.cast_signed();
            let giving =
                self.picked.iter().filter_map(|picked| self.slots.get(&picked.kept.webhook));
            let dispatcher = turn.dispatcher.uuid();
            let lease: [super::tx::Value<'_>; 3] = [&ids, &dispatcher, &ticket];
            let seqs: [super::tx::Value<'_>; 1] = [&seqs];
            let (events, webhooks, ()) = try_join3(
                tx.rows(&EVENTS, &seqs),
                lanes::webhooks(tx, &self.inner.webhooks, giving),
                tx.run(&LEASE, &lease),
            )
            .await?;
            Ok::<_, Fault>((events, webhooks))
        };
        let next = async {
            lanes::write(tx, &self.slots).await?;
            tx.rows(&NEXT, &[]).await
        };
        let ((events, webhooks), next) = try_join(lease, next).await?;
        let next = next.first().map_or(Ok(None), |row| row.try_get(0))?;
        let mut by_seq: HashMap<i64, Event> = HashMap::with_capacity(events.len());
        for row in &events {
            by_seq.insert(row.try_get(0)?, rows::event(row, 1)?);
        }
        Ok((leases(self.picked, turn, &self.slots, &by_seq, &webhooks)?, next))
    }
}

/// The leases, as the database has them now.
fn leases(
    picked: Vec<Picked>,
    turn: &Turn,
    slots: &Slots,
    events: &HashMap<i64, Event>,
    webhooks: &HashMap<i64, Arc<Webhook>>,
) -> Step<Vec<Leased>> {
    let mut leased = Vec::with_capacity(picked.len());
    for Picked { kept, failing_since, probe } in picked {
        let key = kept.webhook;
        let parts = (events.get(&kept.event), slots.get(&key), webhooks.get(&key));
        let (Some(event), Some(slot), Some(webhook)) = parts else {
            return Err(Fault::unreadable("a delivery without its event or its webhook"));
        };
        let mut delivery = kept.delivery(event.id(), slot.id);
        delivery.lease(turn.dispatcher, turn.ticket);
        let (event, webhook) = (event.clone(), Arc::clone(webhook));
        leased.push(Leased { delivery, event, webhook, failing_since, probe });
    }
    Ok(leased)
}
