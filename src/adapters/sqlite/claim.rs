//! Claim: waiting deliveries that are due become leases.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection, params};

use super::dispatchers;
use super::fault::{Fault, Step};
use super::holds::Holds;
use super::order;
use super::rows::{self, Kept, UPDATE_DELIVERY, delivery_columns, event_columns};
use super::slots::{Needs, Slots};
use super::writer::Db;
use crate::ground::event::Event;
use crate::ground::lane::Readiness;
use crate::ground::policy::{CLAIM_FEW, CLAIM_LOOKS};
use crate::ground::time::{Timestamp, after, to_millis};
use crate::ports::storage::{Claimed, Leased, Turn};

/// Leases waiting deliveries that are due.
pub(super) fn claim(db: &mut Db, turn: &Turn) -> Step<Claimed> {
    let (conn, memory) = (&db.conn, &mut db.memory);
    let now = to_millis(turn.now);
    dispatchers::check(conn, turn)?;
    let mut slots = Slots::new(conn, &mut memory.webhooks)?;
    dispatchers::reap(conn, &mut slots, now)?;
    // The index of lanes must say what the reap made ready.
    slots.flush()?;
    let mut holds = Holds::default();
    holds.settle(conn, &mut slots, turn, now)?;
    let mut claimer = Claimer::new(conn, turn, now, slots)?;
    let mut place = (i64::MIN, i64::MIN);
    let mut own = holds.ready(&mut claimer.slots, now)?;
    let mut rest = Vec::new();
    while claimer.left > 0 {
        let mut lanes = claimer.ready(&mut place)?;
        if lanes.is_empty() && own.is_empty() {
            break;
        }
        lanes.append(&mut own);
        lanes.sort_unstable();
        let lanes: Vec<i64> = lanes.into_iter().map(|(_, key)| key).collect();
        rest.extend(claimer.round(&lanes, FEW)?);
    }
    claimer.rounds(rest)?;
    claimer.slots.flush()?;
    let sql = "SELECT min(ready) FROM tidings_webhook WHERE ready IS NOT NULL";
    let ready: Option<i64> = conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    let sql = "SELECT min(free) FROM tidings_webhook WHERE free IS NOT NULL";
    let free: Option<i64> = conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    let held = holds.next_due(&mut claimer.slots)?;
    let next_due = [ready, free, held].into_iter().flatten().min().map(rows::time);
    let Holds { held, lost, .. } = holds;
    Ok(Claimed { leased: claimer.leased, next_due, held, lost })
}

/// What one lane gives before the next one is asked. Not one alone: what waits in a lane lies together,
/// and each lane is pages of its own to read and to write.
const FEW: u32 = CLAIM_FEW as u32;

struct Claimer<'db> {
    conn: &'db Connection,
    turn: &'db Turn,
    now: Timestamp,
    slots: Slots<'db>,
    events: HashMap<i64, Event>,
    select: CachedStatement<'db>,
    update: CachedStatement<'db>,
    /// Leases left to give.
    left: u32,
    leased: Vec<Leased>,
}

impl<'db> Claimer<'db> {
    fn new(
        conn: &'db Connection,
        turn: &'db Turn,
        now: Timestamp,
        slots: Slots<'db>,
    ) -> Step<Self> {
        let select = conn.prepare_cached(concat!(
            "SELECT ",
            delivery_columns!(),
            " FROM tidings_delivery d WHERE d.webhook = ?1 AND d.state = 0 AND d.at <= ?2 \
             ORDER BY d.at LIMIT ?3"
        ))?;
        let update = conn.prepare_cached(UPDATE_DELIVERY)?;
        let (left, events, leased) = (turn.total, HashMap::new(), Vec::new());
        Ok(Self { conn, turn, now, slots, events, select, update, left, leased })
    }

    /// The next lanes that are ready and have room, longest ready first: as many as use the permits up
    /// if each gives its few. Those without room are passed over, so that they do not stand before the
    /// others.
    fn ready(&mut self, place: &mut (i64, i64)) -> Step<Vec<(i64, i64)>> {
        let sql = "SELECT ready, key FROM tidings_webhook \
                   WHERE ready <= ?1 AND (ready, key) > (?2, ?3) ORDER BY ready, key";
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query(params![rows::millis(self.now), place.0, place.1])?;
        let wanted = usize::try_from(self.left.div_ceil(FEW)).unwrap_or(usize::MAX);
        let mut lanes = Vec::new();
        while lanes.len() < wanted
            && let Some(row) = rows.next()?
        {
            *place = (row.get(0)?, row.get(1)?);
            let slot = self.slots.get(place.1)?;
            if *slot.room.get_or_insert_with(|| self.turn.room(slot.id)) > 0 {
                lanes.push(*place);
            }
        }
        Ok(lanes)
    }

    /// A few deliveries from each lane. Answers with the lanes that may have more.
    fn round(&mut self, lanes: &[i64], share: u32) -> Step<Vec<i64>> {
        let mut rest = Vec::new();
        for key in lanes {
            if self.left == 0 {
                break;
            }
            if self.few(*key, share)? {
                rest.push(*key);
            }
        }
        Ok(rest)
    }

    /// From the same lanes again, until the permits or the deliveries are used up.
    fn rounds(&mut self, mut lanes: Vec<i64>) -> Step<()> {
        while self.left > 0 && !lanes.is_empty() {
            let share = self.left / u32::try_from(lanes.len()).unwrap_or(u32::MAX);
            lanes = self.round(&lanes, share.max(1))?;
        }
        Ok(())
    }

    /// Leases a few deliveries of one lane. Says whether there may be more to lease.
    fn few(&mut self, key: i64, share: u32) -> Step<bool> {
        let Some(webhook) = self.slots.webhook(key)? else {
            return Ok(false);
        };
        let slot = self.slots.get(key)?;
        let readiness = slot.lane.readiness(self.now);
        let room = slot.room.unwrap_or_default();
        let few = match readiness {
            Readiness::NotReady => 0,
            Readiness::Probe => 1,
            Readiness::Open => share,
        };
        let few = few.min(room).min(self.left);
        if few == 0 {
            return Ok(false);
        }
        let (id, failing_since) = (slot.id, slot.lane.failing_since);
        let due = if slot.needs == Needs::Order {
            self.in_order(key, few)?
        } else {
            self.due(key, i64::from(few))?
        };
        let probe = readiness == Readiness::Probe;
        let count = u32::try_from(due.len()).unwrap_or(u32::MAX);
        for kept in due {
            let event = self.event(kept.event)?;
            let mut delivery = kept.delivery(event.id(), id);
            delivery.lease(self.turn.dispatcher, self.turn.ticket);
            rows::update(&mut self.update, &delivery)?;
            let webhook = webhook.clone();
            self.leased.push(Leased { delivery, event, webhook, failing_since, probe });
        }
        self.left -= count;
        let next_due = self.next_due(key)?;
        let slot = self.slots.get(key)?;
        slot.room = Some(room.saturating_sub(count));
        slot.lane.next_due = next_due;
        if probe && count > 0 {
            slot.lane.probe(after(self.now, self.turn.probe));
        }
        Ok(!probe && count == few)
    }

    /// The next deliveries in a lane.
    fn due(&mut self, key: i64, limit: i64) -> Step<Vec<Kept>> {
        let mut due = Vec::new();
        let mut found = self.select.query(params![key, rows::millis(self.now), limit])?;
        while let Some(row) = found.next()? {
            due.push(Kept::read(row, 0)?);
        }
        Ok(due)
    }

    /// The next deliveries in a lane that stand behind no other of their key. Those that do are
    /// taken out of the lane.
    fn in_order(&mut self, key: i64, few: u32) -> Step<Vec<Kept>> {
        let few = usize::try_from(few).unwrap_or(usize::MAX);
        let (mut first, mut looks) = (Vec::with_capacity(few), CLAIM_LOOKS);
        loop {
            // What was chosen is still in the lane, before what is to be looked at.
            let wanted = few.saturating_add(looks.min(few));
            let found = self.due(key, rows::bound(wanted))?;
            let found_all = found.len() < wanted;
            first.clear();
            let mut parked = 0;
            for kept in found {
                let is_first = match kept.key {
                    Some(order_key) => order::is_first(self.conn, key, order_key, kept.event)?,
                    None => true,
                };
                if !is_first {
                    order::park(self.conn, kept.id())?;
                    parked += 1;
                } else if first.len() < few {
                    first.push(kept);
                }
            }
            looks = looks.saturating_sub(parked);
            if first.len() == few || found_all || looks == 0 {
                return Ok(first);
            }
        }
    }

    /// The least due time of what waits in a lane.
    fn next_due(&self, key: i64) -> Step<Option<Timestamp>> {
        let sql = "SELECT min(at) FROM tidings_delivery WHERE webhook = ?1 AND state = 0";
        let least: Option<i64> =
            self.conn.prepare_cached(sql)?.query_row([key], |row| row.get(0))?;
        Ok(least.map(rows::time))
    }

    fn event(&mut self, seq: i64) -> Step<Event> {
        if let Some(event) = self.events.get(&seq) {
            return Ok(event.clone());
        }
        let sql = concat!("SELECT ", event_columns!(), " FROM tidings_event e WHERE e.seq = ?1");
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query([seq])?;
        let Some(row) = rows.next()? else {
            return Err(Fault::unreadable("a delivery without its event"));
        };
        let event = rows::event(row, 0)?;
        self.events.insert(seq, event.clone());
        Ok(event)
    }
}
