//! Settle: attempts are written down, and what they change.
//!
//! What is read first is read without a lock, and tells which lanes will be changed: those are
//! locked, in the order of their keys, and read again. The leases are removed by their fences; if one
//! is no longer there, the call begins anew. So a batch of successes locks no lane at all.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures_util::future::{try_join, try_join3, try_join4};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Inner;
use super::append;
use super::fault::{Fault, Step};
use super::lanes::{self, Slot, Slots, slot_columns};
use super::order;
use super::rows::{DELIVERY_COLUMNS, Inserts, Kept, delivery_columns, leased_columns};
use super::statistics;
use super::tx::{Query, Tx};
use super::webhooks;
use crate::ground::delivery::{Delivery, Standing};
use crate::ground::id::DeliveryId;
use crate::ground::order::OrderKey;
use crate::ground::statistics::Additions;
use crate::ground::time::Timestamp;
use crate::ground::webhook::DisabledReason;
use crate::ports::storage::{NewEvent, Settled, Settlement};

const LEASED: Query = Query::new(
    concat!(
        "SELECT ",
        leased_columns!(),
        ", ",
        slot_columns!(),
        " FROM {s}.leased d JOIN {s}.webhook w ON w.key = d.webhook WHERE d.id = ANY ($1)"
    ),
    &[Type::UUID_ARRAY],
);
const ELSEWHERE: Query = Query::new(
    concat!(
        "SELECT ",
        delivery_columns!(),
        ", ",
        slot_columns!(),
        " FROM {s}.delivery d JOIN {s}.webhook w ON w.key = d.webhook WHERE d.id = ANY ($1)"
    ),
    &[Type::UUID_ARRAY],
);
// The ids twice: a join alone may be one with the whole table.
const TAKE: Query = Query::new(
    "DELETE FROM {s}.leased d USING unnest($1, $2, $3) AS f(id, attempt, holder) \
     WHERE d.id = ANY ($1) AND d.id = f.id AND d.attempt = f.attempt AND d.holder = f.holder RETURNING d.id",
    &[Type::UUID_ARRAY, Type::INT4_ARRAY, Type::UUID_ARRAY],
);

/// Writes settlements. Answers are in their order.
pub(super) async fn settle(
    inner: &Inner,
    settlements: &[Settlement],
    now: Timestamp,
) -> Step<Vec<Settled>> {
    if settlements.is_empty() {
        return Ok(Vec::new());
    }
    let tx = inner.database.begin().await?;
    let result = work(&tx, settlements, now).await;
    tx.end(result).await
}

/// A delivery as the batch finds it, and as it leaves it.
#[derive(Clone)]
struct Place {
    event: i64,
    webhook: i64,
    key: Option<OrderKey>,
    delivery: Delivery,
}

async fn work(tx: &Tx<'_>, settlements: &[Settlement], now: Timestamp) -> Step<Vec<Settled>> {
    let (places, mut slots) = read(tx, settlements).await?;
    let first = apply(settlements, &places, &slots, now);
    let keys = first.changed(&slots);
    let last = if keys.is_empty() {
        first
    } else {
        slots.extend(lanes::lock(tx, &keys).await?);
        apply(settlements, &places, &slots, now)
    };
    let mut last = last;
    last.write(tx, settlements, &places, now).await?;
    last.report(tx, settlements, now).await?;
    Ok(last.answers)
}

/// The deliveries of a batch, with the lanes of their webhooks.
async fn read(
    tx: &Tx<'_>,
    settlements: &[Settlement],
) -> Step<(HashMap<DeliveryId, Place>, Slots)> {
    let ids: BTreeSet<Uuid> =
        settlements.iter().map(|settlement| settlement.fence.delivery.uuid()).collect();
    let ids: Vec<Uuid> = ids.into_iter().collect();
    let (mut places, mut slots) = (HashMap::with_capacity(ids.len()), Slots::new());
    let mut missing: HashSet<Uuid> = HashSet::new();
    for query in [&LEASED, &ELSEWHERE] {
        let wanted: Vec<Uuid> = match places.len() {
            0 => ids.clone(),
            _ => missing.iter().copied().collect(),
        };
        for row in tx.rows(query, &[&wanted]).await? {
            let slot = Slot::read(&row, DELIVERY_COLUMNS)?;
            slots.entry(slot.key).or_insert(slot);
            let kept = Kept::read(&row, 0)?;
            let (event, webhook, key) = (kept.event, kept.webhook, kept.key);
            let delivery = kept.bare();
            places.insert(delivery.id, Place { event, webhook, key, delivery });
        }
        missing = ids
            .iter()
            .copied()
            .filter(|id| !places.contains_key(&DeliveryId::from_uuid(*id)))
            .collect();
        if missing.is_empty() {
            break;
        }
    }
    Ok((places, slots))
}

/// What a batch comes to.
struct Applied {
    answers: Vec<Settled>,
    /// The deliveries whose leases it ends, and which settlement does.
    ended: Vec<(usize, Place)>,
    /// Settlements whose attempts alone are kept.
    late: Vec<usize>,
    slots: Slots,
    disabled: Vec<(i64, DisabledReason)>,
}

/// Applies settlements in memory.
fn apply(
    settlements: &[Settlement],
    places: &HashMap<DeliveryId, Place>,
    slots: &Slots,
    now: Timestamp,
) -> Applied {
    let mut applied = Applied {
        answers: Vec::with_capacity(settlements.len()),
        ended: Vec::with_capacity(settlements.len()),
        late: Vec::new(),
        slots: slots.clone(),
        disabled: Vec::new(),
    };
    let mut settled: HashMap<DeliveryId, usize> = HashMap::new();
    for (at, settlement) in settlements.iter().enumerate() {
        let id = settlement.fence.delivery;
        let before = settled.get(&id).and_then(|ended| applied.ended.get(*ended));
        let place = before.map(|(_, place)| place).or_else(|| places.get(&id));
        let Some(mut place) = place.cloned() else {
            applied.answers.push(Settled::Gone);
            continue;
        };
        let Some(slot) = applied.slots.get_mut(&place.webhook) else {
            applied.answers.push(Settled::Gone);
            continue;
        };
        let standing = place.delivery.standing(&settlement.fence);
        let enabled = (!slot.deleted).then_some(slot.enabled);
        let (answer, reason) = settlement.apply(&mut place.delivery, &mut slot.lane, enabled, now);
        if let Some(reason) = reason {
            slot.enabled = false;
            applied.disabled.push((place.webhook, reason));
        }
        match standing {
            Standing::Holds => {
                settled.insert(id, applied.ended.len());
                applied.ended.push((at, place));
            }
            Standing::Lost => applied.late.push(at),
            Standing::Repeated => {}
        }
        applied.answers.push(answer);
    }
    applied
}

/// Whether all of the leases were there.
fn whole(taken: usize, leases: usize) -> Step<()> {
    if taken < leases { Err(Fault::Raced) } else { Ok(()) }
}

impl Applied {
    /// The lanes that it changes, or that a delivery joins: locked even where nothing is lowered.
    fn changed(&self, slots: &Slots) -> Vec<i64> {
        let mut keys: BTreeSet<i64> = self.disabled.iter().map(|(key, _)| *key).collect();
        let lanes = self
            .slots
            .iter()
            .filter(|(key, slot)| slots.get(key).is_some_and(|before| before.lane != slot.lane));
        keys.extend(lanes.map(|(key, _)| *key));
        // Or that the next delivery of a key may join.
        let joined = self
            .ended
            .iter()
            .filter(|(_, place)| place.delivery.state.is_waiting() || place.key.is_some());
        keys.extend(joined.map(|(_, place)| place.webhook));
        keys.into_iter().collect()
    }

    /// Keeps the events that tell of what came of it. There are few.
    async fn report(&self, tx: &Tx<'_>, settlements: &[Settlement], now: Timestamp) -> Step<()> {
        let told = settlements.iter().zip(&self.answers);
        let told = told.flat_map(|(settlement, answer)| settlement.reported(*answer));
        let new: Vec<NewEvent> =
            told.map(|event| NewEvent { event: event.clone(), only: None }).collect();
        if !new.is_empty() {
            append::insert(tx, &new.iter().collect::<Vec<_>>(), now).await?;
        }
        Ok(())
    }

    async fn write(
        &mut self,
        tx: &Tx<'_>,
        settlements: &[Settlement],
        places: &HashMap<DeliveryId, Place>,
        now: Timestamp,
    ) -> Step<()> {
        let (mut ids, mut attempts, mut holders) = (Vec::new(), Vec::new(), Vec::new());
        let (mut inserts, mut additions) = (Inserts::default(), Additions::default());
        for (at, place) in &self.ended {
            let Some(Settlement { fence, attempt, .. }) = settlements.get(*at) else { continue };
            ids.push(fence.delivery.uuid());
            attempts.push(i32::try_from(fence.attempt).unwrap_or(i32::MAX));
            holders.push(fence.dispatcher.uuid());
            let of = (place.event, place.webhook, place.key);
            inserts.add(&place.delivery, of, attempt.as_ref());
            // Nobody else has written an attempt with the number of a lease that holds.
            additions.add(place.webhook, attempt.as_ref(), Some(&place.delivery.state));
        }
        for at in &self.late {
            let Some(Settlement { fence, attempt, .. }) = settlements.get(*at) else { continue };
            if places.contains_key(&fence.delivery) {
                inserts.attempt(fence.delivery, attempt.as_ref());
            }
        }
        let take = async {
            if ids.is_empty() {
                return Ok(Vec::new());
            }
            tx.rows(&TAKE, &[&ids, &attempts, &holders]).await
        };
        let disable = async {
            for (key, reason) in &self.disabled {
                webhooks::disable(tx, *key, *reason, now).await?;
            }
            Ok(())
        };
        let part = settlements.first().map_or(0, |first| statistics::part(first.fence.dispatcher));
        let ended = self.ended.iter().filter(|(_, place)| place.delivery.state.is_ended());
        let ended: BTreeSet<(i64, OrderKey)> =
            ended.filter_map(|(_, place)| place.key.map(|key| (place.webhook, key))).collect();
        if ended.is_empty() {
            let lanes = async {
                // After the webhooks: it says whether there is something to be claimed from them.
                disable.await?;
                lanes::write(tx, &self.slots).await
            };
            if self.late.is_empty() {
                // The last one that is sent: whoever adds to the same numbers waits for the commit alone.
                let add = statistics::add(tx, part, &additions);
                let (taken, _, (), ()) = try_join4(take, inserts.flush(tx), lanes, add).await?;
                return whole(taken.len(), ids.len());
            }
            let (taken, kept, ()) = try_join3(take, inserts.flush(tx), lanes).await?;
            whole(taken.len(), ids.len())?;
            self.count_late(settlements, places, kept, &mut additions);
            return statistics::add(tx, part, &additions).await;
        }
        let (taken, kept, ()) = try_join3(take, inserts.flush(tx), disable).await?;
        whole(taken.len(), ids.len())?;
        self.count_late(settlements, places, kept, &mut additions);
        order::follow(tx, &mut self.slots, &ended).await?;
        try_join(lanes::write(tx, &self.slots), statistics::add(tx, part, &additions)).await?;
        Ok(())
    }

    /// What came too late counts where its attempt was `kept`, and not one with its number before.
    fn count_late(
        &self,
        settlements: &[Settlement],
        places: &HashMap<DeliveryId, Place>,
        kept: Vec<(DeliveryId, u32)>,
        additions: &mut Additions<i64>,
    ) {
        let mut kept: HashSet<(DeliveryId, u32)> = kept.into_iter().collect();
        let late = self.late.iter().filter_map(|at| settlements.get(*at));
        for Settlement { fence, attempt, .. } in late {
            if let (Some(attempt), Some(place)) = (attempt, places.get(&fence.delivery))
                && kept.remove(&(fence.delivery, attempt.number))
            {
                additions.add(place.webhook, Some(attempt), None);
            }
        }
    }
}
