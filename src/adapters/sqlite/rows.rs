//! Rows to values and back.

use std::sync::Arc;

use rusqlite::{CachedStatement, Row, params};
use uuid::Uuid;

use super::fault::{Fault, Step};
use crate::adapters::sql::{INTERRUPTED, duration, nanos};
pub(super) use crate::adapters::sql::{millis, millis_up, state_number, time};
use crate::ground::account::{Account, Mode};
use crate::ground::delivery::{Attempt, Delivery, Outcome, State};
use crate::ground::digest::Digest;
use crate::ground::event::{Event, StoredEvent};
use crate::ground::event_type::EventType;
use crate::ground::failure::FailureKind;
use crate::ground::id::{Cause, DeliveryId, DispatcherId, EventId, WebhookId};
use crate::ground::order::OrderKey;
use crate::ground::time::Timestamp;

pub(super) fn uuid(row: &Row<'_>, column: usize) -> Step<Uuid> {
    Ok(Uuid::from_bytes(row.get(column)?))
}

pub(super) fn mode(mode: Mode) -> i64 {
    mode.is_live().into()
}

/// A number of rows, at most, as SQL has it.
pub(super) fn bound(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

fn count(row: &Row<'_>, column: usize) -> Step<u32> {
    u32::try_from(row.get::<_, i64>(column)?).map_err(|_| Fault::unreadable("a count below zero"))
}

// --- events ------------------------------------------------------------------------------------

/// The columns that [`event`] reads, of the table or alias `e`.
macro_rules! event_columns {
    () => {
        "e.id, e.account, e.mode, e.type, e.created, e.digest, e.payload, e.order_key, e.renderings, \
         e.trace"
    };
}
pub(super) use event_columns;

/// Reads an event whose columns begin at `at`.
pub(super) fn event(row: &Row<'_>, at: usize) -> Step<Event> {
    Ok(Event::from_stored(StoredEvent {
        id: uuid(row, at)?.into(),
        account: Account::new(text(row, at + 1)?)?,
        mode: Mode::from_live(row.get(at + 2)?),
        event_type: EventType::parse(text(row, at + 3)?)?,
        created: time(row.get(at + 4)?),
        digest: Digest::from_bytes(row.get(at + 5)?),
        payload: Arc::from(text(row, at + 6)?),
        key: row.get::<_, Option<String>>(at + 7)?.map(Arc::from),
        renderings: row.get::<_, Option<String>>(at + 8)?.map(Arc::from),
        trace: row.get::<_, Option<String>>(at + 9)?.map(Arc::from),
    }))
}

pub(super) fn text<'r>(row: &'r Row<'_>, column: usize) -> Step<&'r str> {
    row.get_ref(column)?.as_str().map_err(|_| Fault::unreadable("something else than text"))
}

// --- deliveries --------------------------------------------------------------------------------

/// The columns that [`Kept::read`] reads, of the table or alias `d`.
macro_rules! delivery_columns {
    () => {
        "d.id, d.event, d.webhook, d.cause, d.published, d.state, d.at, d.ticket, \
         d.attempt, d.failures, d.interruptions, d.lapsed, d.holder, d.order_key"
    };
}
pub(super) use delivery_columns;

/// The state of a delivery that waits behind another of its key: its lane does not have it.
pub(super) const PARKED: i64 = -1;

/// How many there are.
pub(super) const DELIVERY_COLUMNS: usize = 14;

/// A delivery as its row has it: with the numbers of its event and webhook in place of their ids.
pub(super) struct Kept {
    pub(super) event: i64,
    pub(super) webhook: i64,
    pub(super) key: Option<OrderKey>,
    bare: Delivery,
}

impl Kept {
    pub(super) fn read(row: &Row<'_>, at: usize) -> Step<Self> {
        let dispatcher = |bytes: Option<[u8; 16]>| {
            bytes.map(|bytes| DispatcherId::from_uuid(Uuid::from_bytes(bytes)))
        };
        let holder = dispatcher(row.get(at + 12)?);
        let moment = row.get::<_, Option<i64>>(at + 6)?.map_or(Timestamp::MIN_UTC, time);
        let mut settled_by = holder;
        let state = match (row.get::<_, i64>(at + 5)?, holder) {
            (0 | PARKED, _) => State::Waiting { due: moment },
            (1, Some(dispatcher)) => {
                settled_by = None;
                let ticket = row.get::<_, Option<i64>>(at + 7)?.unwrap_or_default();
                State::Leased { dispatcher, ticket: ticket.cast_unsigned() }
            }
            (2, _) => State::Delivered { at: moment },
            (3, _) => State::Exhausted { at: moment },
            (4, _) => State::Expired { at: moment },
            (5, _) => State::Cancelled { at: moment },
            _ => return Err(Fault::unreadable("a delivery in an unknown state")),
        };
        let cause: Option<[u8; 16]> = row.get(at + 3)?;
        Ok(Self {
            event: row.get(at + 1)?,
            webhook: row.get(at + 2)?,
            key: row
                .get::<_, Option<i64>>(at + 13)?
                .map(|key| OrderKey::from_bits(key.cast_unsigned())),
            bare: Delivery {
                id: DeliveryId::from_uuid(uuid(row, at)?),
                event: EventId::from_uuid(Uuid::nil()),
                webhook: WebhookId::from_uuid(Uuid::nil()),
                cause: cause.map_or(Cause::ROUTED, |cause| Uuid::from_bytes(cause).into()),
                published: time(row.get(at + 4)?),
                state,
                attempt: count(row, at + 8)?,
                failures: count(row, at + 9)?,
                interruptions: count(row, at + 10)?,
                lapsed: row.get(at + 11)?,
                settled_by,
            },
        })
    }

    pub(super) fn id(&self) -> DeliveryId {
        self.bare.id
    }

    /// The delivery, where its event and webhook are of no interest: their ids are nil.
    pub(super) fn bare(self) -> Delivery {
        self.bare
    }

    /// The delivery.
    pub(super) fn delivery(self, event: EventId, webhook: WebhookId) -> Delivery {
        Delivery { event, webhook, ..self.bare }
    }
}

/// What the state's columns hold: state, at, ticket, holder.
fn standing(delivery: &Delivery) -> (i64, Option<i64>, Option<i64>, Option<DispatcherId>) {
    let kind = state_number(delivery.state.kind()).into();
    match delivery.state {
        State::Leased { dispatcher, ticket } => {
            (kind, None, Some(ticket.cast_signed()), Some(dispatcher))
        }
        State::Waiting { due: at }
        | State::Delivered { at }
        | State::Exhausted { at }
        | State::Expired { at }
        | State::Cancelled { at } => (kind, Some(millis(at)), None, delivery.settled_by),
    }
}

pub(super) const INSERT_DELIVERY: &str = "INSERT INTO tidings_delivery \
    (id, event, webhook, cause, published, state, at, ticket, \
     attempt, failures, interruptions, lapsed, holder, order_key) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) ON CONFLICT DO NOTHING";

/// Inserts with [`INSERT_DELIVERY`], unless it is there. Says whether it was not.
pub(super) fn insert(
    statement: &mut CachedStatement<'_>,
    delivery: &Delivery,
    event: i64,
    webhook: i64,
    key: Option<OrderKey>,
) -> Step<bool> {
    let (state, at, ticket, holder) = standing(delivery);
    let cause = (delivery.cause != Cause::ROUTED).then(|| delivery.cause.uuid());
    let holder = holder.map(DispatcherId::uuid);
    let made = statement.execute(params![
        delivery.id.uuid().as_bytes().as_slice(),
        event,
        webhook,
        cause.as_ref().map(|cause| cause.as_bytes().as_slice()),
        millis(delivery.published),
        state,
        at,
        ticket,
        i64::from(delivery.attempt),
        i64::from(delivery.failures),
        i64::from(delivery.interruptions),
        i64::from(delivery.lapsed),
        holder.as_ref().map(|holder| holder.as_bytes().as_slice()),
        key.map(|key| key.to_bits().cast_signed()),
    ])?;
    Ok(made > 0)
}

pub(super) const UPDATE_DELIVERY: &str = "UPDATE tidings_delivery SET \
    state = ?2, at = ?3, ticket = ?4, attempt = ?5, failures = ?6, interruptions = ?7, \
    lapsed = ?8, holder = ?9 WHERE id = ?1";

/// Writes what can change of a delivery with [`UPDATE_DELIVERY`].
pub(super) fn update(statement: &mut CachedStatement<'_>, delivery: &Delivery) -> Step<()> {
    let (state, at, ticket, holder) = standing(delivery);
    let holder = holder.map(DispatcherId::uuid);
    statement.execute(params![
        delivery.id.uuid().as_bytes().as_slice(),
        state,
        at,
        ticket,
        i64::from(delivery.attempt),
        i64::from(delivery.failures),
        i64::from(delivery.interruptions),
        i64::from(delivery.lapsed),
        holder.as_ref().map(|holder| holder.as_bytes().as_slice()),
    ])?;
    Ok(())
}

// --- attempts ----------------------------------------------------------------------------------

pub(super) const INSERT_ATTEMPT: &str = "INSERT INTO tidings_attempt \
    (delivery, number, started, latency, status, retry_after, failure, response, truncated, error) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING";

/// Keeps an attempt with [`INSERT_ATTEMPT`], unless one with its number is kept already. Says whether
/// there was none.
pub(super) fn record(
    statement: &mut CachedStatement<'_>,
    delivery: DeliveryId,
    attempt: &Attempt,
) -> Step<bool> {
    let (status, retry_after, failure) = match attempt.outcome {
        Outcome::Answered { status, retry_after } => {
            (Some(i64::from(status)), retry_after.map(nanos), None)
        }
        Outcome::Unanswered(kind) => (None, None, Some(kind.as_str())),
        Outcome::Interrupted => (None, None, Some(INTERRUPTED)),
    };
    let made = statement.execute(params![
        delivery.uuid().as_bytes().as_slice(),
        i64::from(attempt.number),
        millis(attempt.started),
        nanos(attempt.latency),
        status,
        retry_after,
        failure,
        (!attempt.response.is_empty()).then_some(attempt.response.as_slice()),
        i64::from(attempt.truncated),
        attempt.error.as_deref(),
    ])?;
    Ok(made > 0)
}

pub(super) const SELECT_ATTEMPTS: &str = "SELECT number, started, latency, status, retry_after, \
    failure, response, truncated, error FROM tidings_attempt WHERE delivery = ?1 ORDER BY number";

/// Reads an attempt that [`SELECT_ATTEMPTS`] found.
pub(super) fn attempt(row: &Row<'_>) -> Step<Attempt> {
    let unknown = || Fault::unreadable("an attempt with an unknown outcome");
    let outcome = match (row.get::<_, Option<i64>>(3)?, row.get::<_, Option<String>>(5)?) {
        (Some(status), _) => Outcome::Answered {
            status: u16::try_from(status).map_err(|_| unknown())?,
            retry_after: row.get::<_, Option<i64>>(4)?.map(duration),
        },
        (None, Some(failure)) if failure == INTERRUPTED => Outcome::Interrupted,
        (None, failure) => {
            Outcome::Unanswered(failure.as_deref().map(FailureKind::kept).ok_or_else(unknown)?)
        }
    };
    let mut attempt =
        Attempt::new(count(row, 0)?, time(row.get(1)?), duration(row.get(2)?), outcome);
    attempt.response = row.get::<_, Option<Vec<u8>>>(6)?.unwrap_or_default();
    attempt.truncated = row.get(7)?;
    attempt.error = row.get(8)?;
    Ok(attempt)
}
