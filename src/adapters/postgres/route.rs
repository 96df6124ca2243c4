//! Route: marks become deliveries.
//!
//! What is read of the lanes is read without a lock: a lane that nothing waits in is left alone, and
//! the delivery is born leased. Only lanes that get a waiting delivery are locked, and read again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use futures_util::future::{try_join, try_join4};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Inner;
use super::dispatchers;
use super::fault::Step;
use super::lanes::{self, Needs, Open, Slot, Slots};
use super::marks::{self, Found, Mark};
use super::ordered;
use super::rows::{self, Inserts, event_columns};
use super::spans::Spans;
use super::tx::{Query, Tx};
use crate::ground::delivery::Delivery;
use crate::ground::event::Event;
use crate::ground::id::Cause;
use crate::ground::time::{Timestamp, to_millis};
use crate::ground::webhook::Webhook;
use crate::ports::storage::{Leased, Routed, Turn};

const EVENTS: Query = Query::new(
    concat!(
        "SELECT e.seq, e.published, EXISTS (SELECT FROM {s}.early x WHERE x.event = e.seq), ",
        event_columns!(),
        " FROM {s}.event e WHERE e.seq = ANY ($1)"
    ),
    &[Type::INT8_ARRAY],
);

// Hardly ever any: deliveries that were made before their events were routed.
const EARLY: Query =
    Query::new("SELECT id FROM {s}.early WHERE event = ANY ($1)", &[Type::INT8_ARRAY]);
const FORGET_EARLY: Query =
    Query::new("DELETE FROM {s}.early WHERE event = ANY ($1)", &[Type::INT8_ARRAY]);

/// Turns marks into deliveries.
pub(super) async fn route(inner: &Inner, turn: &Turn) -> Step<Routed> {
    let look = inner.looks.lock().unwrap_or_else(PoisonError::into_inner).next();
    let tx = inner.database.begin().await?;
    let result = async {
        let ((), found) =
            try_join(dispatchers::check(&tx, turn), marks::pick(&tx, &look, turn.marks)).await?;
        let strict = ordered::pick(&tx, inner, turn.marks).await?;
        let (routed, unfinished) = work(&tx, inner, turn, &found, &strict).await?;
        Ok((found, routed, unfinished))
    };
    let result = result.await;
    let (found, routed, unfinished) = tx.end(result).await?;
    let mut looks = inner.looks.lock().unwrap_or_else(PoisonError::into_inner);
    looks.done(&look, &found, &unfinished);
    Ok(routed)
}

/// An event that is to be routed in this call.
struct Work<'m> {
    mark: &'m Mark,
    event: Event,
    published: Timestamp,
    webhooks: Vec<i64>,
}

/// Does the work of one call. Answers with the marks that it is not through with, too.
async fn work(
    tx: &Tx<'_>,
    inner: &Inner,
    turn: &Turn,
    found: &Found,
    strict: &[Mark],
) -> Step<(Routed, Vec<i64>)> {
    let mut routed = Routed::default();
    if found.marks.is_empty() && strict.is_empty() {
        return Ok((routed, Vec::new()));
    }
    // The two kinds take turns at going first, so that neither uses up what there is every time.
    let strict_marks = strict.iter().map(|mark| (mark, true));
    let mut marks: Vec<(&Mark, bool)> = found.marks.iter().map(|mark| (mark, false)).collect();
    let place = if turn.ticket.is_multiple_of(2) { 0 } else { marks.len() };
    marks.splice(place..place, strict_marks);
    let seqs: Vec<i64> = marks.iter().map(|(mark, _)| mark.seq).collect();
    let mut events: HashMap<i64, (Timestamp, Event)> = HashMap::with_capacity(seqs.len());
    let mut early = Vec::new();
    for row in tx.rows(&EVENTS, &[&seqs]).await? {
        let (seq, published): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        if row.try_get(2)? {
            early.push(seq);
        }
        events.insert(seq, (rows::time(published), rows::event(&row, 3)?));
    }
    let early = made_early(tx, &early).await?;
    let cursors = marks.iter().filter_map(|(mark, _)| {
        events.get(&mark.seq).map(|(_, event)| (event, mark.seq, mark.cursor))
    });
    let spans = Spans::read(tx, cursors).await?;
    let (mut done, mut advanced, mut unfinished) = (Vec::new(), Vec::new(), Vec::new());
    let (mut work, mut left) = (Vec::new(), turn.deliveries);
    // The account that is routed in order and has a mark left over: none behind it follows.
    let mut stopped: Option<&str> = None;
    for (mark, is_strict) in marks {
        if stopped == Some(mark.account.as_str()) {
            unfinished.push(mark.seq);
            continue;
        }
        let Some((published, event)) = events.remove(&mark.seq) else {
            // A mark without its event owes nothing.
            done.push(mark);
            continue;
        };
        if left == 0 {
            unfinished.push(mark.seq);
            if is_strict {
                stopped = Some(&mark.account);
            }
            continue;
        }
        let mut wanting = spans.wanting(&event, mark.seq, mark.cursor);
        if wanting.webhooks.is_empty() && mark.cursor == 0 && !wanting.more {
            routed.unmatched += 1;
        }
        let read_to = spans.read_to(&event, mark.seq, mark.cursor);
        let whole = wanting.webhooks.len() <= left;
        wanting.webhooks.truncate(left);
        left -= wanting.webhooks.len();
        if is_strict && (!whole || wanting.more) {
            stopped = Some(&mark.account);
        }
        match wanting.webhooks.last() {
            _ if whole && !wanting.more => done.push(mark),
            Some(last) if !whole => advanced.push((mark, *last)),
            _ => advanced.push((mark, read_to)),
        }
        work.push(Work { mark, event, published, webhooks: wanting.webhooks });
    }
    unfinished.extend(advanced.iter().map(|(mark, _)| mark.seq));
    let inserts = deliver(tx, inner, turn, &work, &early, &mut routed).await?;
    if !early.is_empty() {
        let seqs: Vec<i64> = done.iter().map(|mark| mark.seq).collect();
        tx.run(&FORGET_EARLY, &[&seqs]).await?;
    }
    let mut full = found.full();
    full.extend(strict.last().map(|mark| (mark.account.as_str(), mark.seq)));
    let (_, (), (), more) = try_join4(
        inserts.flush(tx),
        marks::remove(tx, &done),
        async {
            for (mark, cursor) in &advanced {
                marks::advance(tx, mark, *cursor).await?;
            }
            Ok(())
        },
        marks::more(tx, &full),
    )
    .await?;
    routed.more = more || !unfinished.is_empty() || found.left_accounts() && marks::any(tx).await?;
    Ok((routed, unfinished))
}

/// The deliveries of these events that were made before they are routed.
async fn made_early(tx: &Tx<'_>, events: &[i64]) -> Step<HashSet<Uuid>> {
    if events.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = tx.rows(&EARLY, &[&events]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Makes the deliveries: leased where nothing stands in the way, else waiting.
async fn deliver(
    tx: &Tx<'_>,
    inner: &Inner,
    turn: &Turn,
    work: &[Work<'_>],
    early: &HashSet<Uuid>,
    routed: &mut Routed,
) -> Step<Inserts> {
    let keys: BTreeSet<i64> = work.iter().flat_map(|work| &work.webhooks).copied().collect();
    let mut inserts = Inserts::default();
    if keys.is_empty() {
        return Ok(inserts);
    }
    let keys: Vec<i64> = keys.into_iter().collect();
    let slots = lanes::read(tx, &keys).await?;
    let plain = slots.values().filter(|slot| is_plain(slot));
    let webhooks = lanes::webhooks(tx, &inner.webhooks, plain).await?;
    let mut router =
        Router { turn, now: to_millis(turn.now), total: turn.total, rooms: HashMap::new() };
    let mut waiting = Vec::new();
    for work in work {
        for key in &work.webhooks {
            let Some(slot) = slots.get(key) else { continue };
            let mut delivery =
                Delivery::owed(work.event.id(), slot.id, Cause::ROUTED, work.published, router.now);
            if early.contains(&delivery.id.uuid()) {
                continue;
            }
            let order_key = (slot.needs == Needs::Order).then(|| work.event.order_key());
            let place = (work.mark.seq, *key, order_key);
            match router.lease(&mut delivery, &work.event, slot, webhooks.get(key)) {
                Some(leased) => {
                    routed.leased.push(leased);
                    inserts.add(&delivery, place, None);
                }
                None => {
                    routed.waiting += 1;
                    waiting.push((delivery, place));
                }
            }
        }
    }
    if waiting.is_empty() {
        return Ok(inserts);
    }
    let keys: BTreeSet<i64> = waiting.iter().map(|(_, (_, key, _))| *key).collect();
    let keys: Vec<i64> = keys.into_iter().collect();
    let mut slots: Slots = lanes::lock(tx, &keys).await?;
    for (delivery, place) in waiting {
        if let Some(slot) = slots.get_mut(&place.1) {
            slot.lane.join(&delivery);
            inserts.add(&delivery, place, None);
        }
    }
    lanes::write(tx, &slots).await?;
    Ok(inserts)
}

/// Whether a delivery may be born leased as far as the lane is concerned.
fn is_plain(slot: &Slot) -> bool {
    slot.open() == Open::Anybody && slot.lane.is_plain()
}

struct Router<'t> {
    turn: &'t Turn,
    now: Timestamp,
    /// Leases left to give, in all and for each webhook.
    total: u32,
    rooms: HashMap<i64, u32>,
}

impl Router<'_> {
    fn lease(
        &mut self,
        delivery: &mut Delivery,
        event: &Event,
        slot: &Slot,
        webhook: Option<&Arc<Webhook>>,
    ) -> Option<Leased> {
        let webhook = webhook.filter(|webhook| webhook.is_enabled() && is_plain(slot))?;
        let room = self.rooms.entry(slot.key).or_insert_with(|| self.turn.room(slot.id));
        if self.total == 0 || *room == 0 {
            return None;
        }
        (self.total, *room) = (self.total - 1, *room - 1);
        delivery.lease(self.turn.dispatcher, self.turn.ticket);
        Some(Leased {
            delivery: delivery.clone(),
            event: event.clone(),
            webhook: Arc::clone(webhook),
            failing_since: slot.lane.failing_since,
            probe: false,
        })
    }
}
