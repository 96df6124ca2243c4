//! Route: marks become deliveries.

use rusqlite::CachedStatement;

use super::dispatchers;
use super::fault::Step;
use super::marks::{self, Mark};
use super::rows::{self, INSERT_DELIVERY, event_columns};
use super::slots::{Needs, Open, Slots};
use super::spans::{Spans, Wanting};
use super::writer::Db;
use crate::ground::delivery::Delivery;
use crate::ground::event::Event;
use crate::ground::id::Cause;
use crate::ground::time::{Timestamp, to_millis};
use crate::ports::storage::{Leased, Routed, Turn};

/// Turns marks into deliveries.
pub(super) fn route(db: &mut Db, turn: &Turn) -> Step<Routed> {
    let (conn, memory) = (&db.conn, &mut db.memory);
    let now = to_millis(turn.now);
    dispatchers::check(conn, turn)?;
    let marks = marks::pick(conn, &memory.served, turn.marks)?;
    let mut router = Router {
        turn,
        now,
        slots: Slots::new(conn, &mut memory.webhooks)?,
        spans: Spans::new(conn),
        insert: conn.prepare_cached(INSERT_DELIVERY)?,
        total: turn.total,
        deliveries: turn.deliveries,
        routed: Routed::default(),
    };
    let mut select = conn.prepare_cached(concat!(
        "SELECT e.published, ",
        event_columns!(),
        " FROM tidings_event e WHERE e.seq = ?1"
    ))?;
    let mut done = marks::Done::new(conn)?;
    for mark in &marks {
        if router.deliveries == 0 {
            break;
        }
        memory.served.clone_from(&mark.account);
        let mut rows = select.query([mark.seq])?;
        let cursor = match rows.next()? {
            Some(row) => {
                let published = rows::time(row.get(0)?);
                let event = rows::event(row, 1)?;
                router.one(mark, &event, published)?
            }
            None => None,
        };
        match cursor {
            None => done.add(mark)?,
            Some(cursor) => marks::advance(conn, mark, cursor)?,
        }
    }
    done.flush()?;
    router.slots.flush()?;
    let mut routed = router.routed;
    routed.more = marks::any(conn)?;
    Ok(routed)
}

struct Router<'db> {
    turn: &'db Turn,
    now: Timestamp,
    slots: Slots<'db>,
    spans: Spans<'db>,
    insert: CachedStatement<'db>,
    /// Leases left to give.
    total: u32,
    /// Deliveries left to make.
    deliveries: usize,
    routed: Routed,
}

impl Router<'_> {
    /// Routes an event, as far as deliveries are left. Answers with the webhook to go on after, if
    /// there may be more.
    fn one(&mut self, mark: &Mark, event: &Event, published: Timestamp) -> Step<Option<i64>> {
        let Wanting { webhooks, more } =
            self.spans.wanting(event, mark.seq, mark.cursor, self.deliveries)?;
        if webhooks.is_empty() && mark.cursor == 0 {
            self.routed.unmatched += 1;
        }
        let mut last = mark.cursor;
        let count = webhooks.len();
        for webhook in webhooks.iter().take(self.deliveries) {
            self.deliver(*webhook, mark.seq, event, published)?;
            last = *webhook;
        }
        let through = count <= self.deliveries && !more;
        self.deliveries = self.deliveries.saturating_sub(count);
        Ok((!through).then_some(last))
    }

    /// Makes one delivery, leased if it may be.
    fn deliver(&mut self, key: i64, seq: i64, event: &Event, published: Timestamp) -> Step<()> {
        let Some(slot) = self.slots.find(key)? else {
            return Ok(());
        };
        let mut delivery = Delivery::owed(event.id(), slot.id, Cause::ROUTED, published, self.now);
        let room = *slot.room.get_or_insert_with(|| self.turn.room(slot.id));
        let plain = slot.open() == Open::Anybody && slot.lane.is_plain();
        let order_key = (slot.needs == Needs::Order).then(|| event.order_key());
        let permitted = plain && self.total > 0 && room > 0;
        let failing_since = slot.lane.failing_since;
        let webhook = if permitted { self.slots.webhook(key)? } else { None };
        if webhook.is_some() {
            delivery.lease(self.turn.dispatcher, self.turn.ticket);
        }
        if !rows::insert(&mut self.insert, &delivery, seq, key, order_key)? {
            return Ok(());
        }
        let slot = self.slots.get(key)?;
        let Some(webhook) = webhook else {
            slot.lane.lower(self.now);
            self.routed.waiting += 1;
            return Ok(());
        };
        slot.room = slot.room.map(|room| room.saturating_sub(1));
        self.total -= 1;
        let event = event.clone();
        self.routed.leased.push(Leased { delivery, event, webhook, failing_since, probe: false });
        Ok(())
    }
}
