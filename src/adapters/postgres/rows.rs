//! Rows to values and back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join4;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::fault::{Fault, Step};
use super::tx::{Query, Tx, Value};
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

pub(super) fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

fn number(row: &Row, column: usize) -> Step<u32> {
    u32::try_from(row.try_get::<_, i32>(column)?)
        .map_err(|_| Fault::unreadable("a count below zero"))
}

/// What a column of type `integer` can say of a count.
fn int(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
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

/// How many there are.
pub(super) const EVENT_COLUMNS: usize = 10;

/// Reads an event whose columns begin at `at`.
pub(super) fn event(row: &Row, at: usize) -> Step<Event> {
    let digest: &[u8] = row.try_get(at + 5)?;
    let digest = digest.try_into().map_err(|_| Fault::unreadable("a digest of another length"))?;
    Ok(Event::from_stored(StoredEvent {
        id: row.try_get::<_, Uuid>(at)?.into(),
        account: Account::new(row.try_get::<_, &str>(at + 1)?)?,
        mode: Mode::from_live(row.try_get(at + 2)?),
        event_type: EventType::parse(row.try_get::<_, &str>(at + 3)?)?,
        created: time(row.try_get(at + 4)?),
        digest: Digest::from_bytes(digest),
        payload: Arc::from(row.try_get::<_, &str>(at + 6)?),
        key: row.try_get::<_, Option<&str>>(at + 7)?.map(Arc::from),
        renderings: row.try_get::<_, Option<&str>>(at + 8)?.map(Arc::from),
        trace: row.try_get::<_, Option<&str>>(at + 9)?.map(Arc::from),
    }))
}

// --- deliveries --------------------------------------------------------------------------------

/// A delivery as its row has it: with the numbers of its event and webhook in place of their ids.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) event: i64,
    pub(super) webhook: i64,
    pub(super) key: Option<OrderKey>,
    bare: Delivery,
}

/// The columns that [`Kept::read`] reads, of the view or alias `d`.
macro_rules! delivery_columns {
    () => {
        "d.id, d.event, d.webhook, d.cause, d.published, d.attempt, d.failures, d.interruptions, \
         d.lapsed, d.state, d.at, d.ticket, d.holder, d.order_key"
    };
}
/// The same of the table of those that wait.
macro_rules! waiting_columns {
    () => {
        "d.id, d.event, d.webhook, d.cause, d.published, d.attempt, d.failures, d.interruptions, \
         d.lapsed, 0::smallint, d.due, NULL::bigint, d.settled_by, d.order_key"
    };
}
/// The same of the table of those that are leased.
macro_rules! leased_columns {
    () => {
        "d.id, d.event, d.webhook, d.cause, d.published, d.attempt, d.failures, d.interruptions, \
         d.lapsed, 1::smallint, NULL::bigint, d.ticket, d.holder, d.order_key"
    };
}
pub(super) use {delivery_columns, leased_columns, waiting_columns};

/// How many there are.
pub(super) const DELIVERY_COLUMNS: usize = 14;

impl Kept {
    pub(super) fn read(row: &Row, at: usize) -> Step<Self> {
        let holder: Option<Uuid> = row.try_get(at + 12)?;
        let holder = holder.map(DispatcherId::from_uuid);
        let moment = row.try_get::<_, Option<i64>>(at + 10)?.map_or(Timestamp::MIN_UTC, time);
        let mut settled_by = holder;
        let state = match (row.try_get::<_, i16>(at + 9)?, holder) {
            (0, _) => State::Waiting { due: moment },
            (1, Some(dispatcher)) => {
                settled_by = None;
                let ticket = row.try_get::<_, Option<i64>>(at + 11)?.unwrap_or_default();
                State::Leased { dispatcher, ticket: ticket.cast_unsigned() }
            }
            (2, _) => State::Delivered { at: moment },
            (3, _) => State::Exhausted { at: moment },
            (4, _) => State::Expired { at: moment },
            (5, _) => State::Cancelled { at: moment },
            _ => return Err(Fault::unreadable("a delivery in an unknown state")),
        };
        let cause: Option<Uuid> = row.try_get(at + 3)?;
        Ok(Self {
            event: row.try_get(at + 1)?,
            webhook: row.try_get(at + 2)?,
            key: row
                .try_get::<_, Option<i64>>(at + 13)?
                .map(|key| OrderKey::from_bits(key.cast_unsigned())),
            bare: Delivery {
                id: DeliveryId::from_uuid(row.try_get(at)?),
                event: EventId::from_uuid(Uuid::nil()),
                webhook: WebhookId::from_uuid(Uuid::nil()),
                cause: cause.map_or(Cause::ROUTED, Cause::from),
                published: time(row.try_get(at + 4)?),
                state,
                attempt: number(row, at + 5)?,
                failures: number(row, at + 6)?,
                interruptions: number(row, at + 7)?,
                lapsed: row.try_get(at + 8)?,
                settled_by,
            },
        })
    }

    pub(super) fn id(&self) -> DeliveryId {
        self.bare.id
    }

    /// When it is due, if it waits.
    pub(super) fn due(&self) -> Timestamp {
        match self.bare.state {
            State::Waiting { due } => due,
            _ => Timestamp::MIN_UTC,
        }
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

/// Deliveries to insert, column by column: one statement writes them all.
#[derive(Debug, Default)]
struct Columns {
    id: Vec<Uuid>,
    event: Vec<i64>,
    webhook: Vec<i64>,
    cause: Vec<Option<Uuid>>,
    published: Vec<i64>,
    attempt: Vec<i32>,
    failures: Vec<i32>,
    interruptions: Vec<i32>,
    lapsed: Vec<bool>,
    state: Vec<i16>,
    at: Vec<i64>,
    ticket: Vec<i64>,
    holder: Vec<Option<Uuid>>,
    key: Vec<Option<i64>>,
}

impl Columns {
    fn add(&mut self, delivery: &Delivery, event: i64, webhook: i64, key: Option<OrderKey>) {
        let (at, ticket, holder) = match delivery.state {
            State::Leased { dispatcher, ticket } => (0, ticket.cast_signed(), Some(dispatcher)),
            State::Waiting { due: at }
            | State::Delivered { at }
            | State::Exhausted { at }
            | State::Expired { at }
            | State::Cancelled { at } => (millis(at), 0, delivery.settled_by),
        };
        self.id.push(delivery.id.uuid());
        self.event.push(event);
        self.webhook.push(webhook);
        self.cause.push((delivery.cause != Cause::ROUTED).then(|| delivery.cause.uuid()));
        self.published.push(millis(delivery.published));
        self.attempt.push(int(delivery.attempt));
        self.failures.push(int(delivery.failures));
        self.interruptions.push(int(delivery.interruptions));
        self.lapsed.push(delivery.lapsed);
        self.state.push(state_number(delivery.state.kind()));
        self.at.push(at);
        self.ticket.push(ticket);
        self.holder.push(holder.map(DispatcherId::uuid));
        self.key.push(key.map(|key| key.to_bits().cast_signed()));
    }

    /// Inserts into a table of unfinished deliveries. `own` is the column that it alone has.
    async fn insert(&self, tx: &Tx<'_>, query: &Query, own: &Vec<i64>) -> Step<()> {
        let Self { id, event, webhook, cause, published, attempt, .. } = self;
        let Self { failures, interruptions, lapsed, holder, key, .. } = self;
        if id.is_empty() {
            return Ok(());
        }
        let values: [Value<'_>; 12] = [
            id,
            event,
            webhook,
            cause,
            published,
            attempt,
            failures,
            interruptions,
            lapsed,
            own,
            holder,
            key,
        ];
        tx.run(query, &values).await
    }
}

const INSERT_WAITING: Query = Query::new(
    "INSERT INTO {s}.waiting (id, event, webhook, cause, published, attempt, failures, \
     interruptions, lapsed, due, settled_by, order_key) \
     SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    &[
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::INT4_ARRAY,
        Type::INT4_ARRAY,
        Type::INT4_ARRAY,
        Type::BOOL_ARRAY,
        Type::INT8_ARRAY,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
    ],
);
const INSERT_LEASED: Query = Query::new(
    "INSERT INTO {s}.leased (id, event, webhook, cause, published, attempt, failures, \
     interruptions, lapsed, ticket, holder, order_key) \
     SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    INSERT_WAITING.types,
);
const INSERT_ENDED: Query = Query::new(
    "INSERT INTO {s}.ended (id, event, webhook, cause, published, attempt, failures, \
     interruptions, lapsed, state, at, settled_by, started, latency, status, retry_after, failure, \
     response, truncated, error) \
     SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
     $18, $19, $20)",
    &[
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::INT4_ARRAY,
        Type::INT4_ARRAY,
        Type::INT4_ARRAY,
        Type::BOOL_ARRAY,
        Type::INT2_ARRAY,
        Type::INT8_ARRAY,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT4_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::BYTEA_ARRAY,
        Type::BOOL_ARRAY,
        Type::TEXT_ARRAY,
    ],
);

/// Deliveries on their way into their tables.
#[derive(Debug, Default)]
pub(super) struct Inserts {
    waiting: Columns,
    leased: Columns,
    ended: Columns,
    last: Attempts,
    attempts: Attempts,
}

impl Inserts {
    /// This delivery goes to the table of its state. Its last attempt, if there was one now, goes
    /// with it when it has ended, else to the table of attempts.
    pub(super) fn add(
        &mut self,
        delivery: &Delivery,
        (event, webhook, key): (i64, i64, Option<OrderKey>),
        attempt: Option<&Attempt>,
    ) {
        let own = attempt.filter(|attempt| attempt.number == delivery.attempt);
        match delivery.state {
            State::Waiting { .. } => self.waiting.add(delivery, event, webhook, key),
            State::Leased { .. } => self.leased.add(delivery, event, webhook, key),
            _ => {
                self.ended.add(delivery, event, webhook, None);
                self.last.add(delivery.id, own);
                if own.is_none() {
                    self.attempt(delivery.id, attempt);
                }
                return;
            }
        }
        self.attempt(delivery.id, attempt);
    }

    /// This attempt goes to the table of attempts.
    pub(super) fn attempt(&mut self, delivery: DeliveryId, attempt: Option<&Attempt>) {
        if attempt.is_some() {
            self.attempts.add(delivery, attempt);
        }
    }

    /// Writes all of them. Answers with the attempts that went to the table of attempts, which has each
    /// number once.
    pub(super) async fn flush(&self, tx: &Tx<'_>) -> Step<Vec<(DeliveryId, u32)>> {
        let waiting = self.waiting.insert(tx, &INSERT_WAITING, &self.waiting.at);
        let leased = self.leased.insert(tx, &INSERT_LEASED, &self.leased.ticket);
        let ended = async {
            let Columns { id, event, webhook, cause, published, .. } = &self.ended;
            let Columns { attempt, failures, interruptions, lapsed, .. } = &self.ended;
            let Columns { state, at, holder, .. } = &self.ended;
            let Attempts { started, latency, status, retry_after, .. } = &self.last;
            let Attempts { failure, response, truncated, error, .. } = &self.last;
            if id.is_empty() {
                return Ok(());
            }
            tx.run(
                &INSERT_ENDED,
                &[
                    id,
                    event,
                    webhook,
                    cause,
                    published,
                    attempt,
                    failures,
                    interruptions,
                    lapsed,
                    state,
                    at,
                    holder,
                    started,
                    latency,
                    status,
                    retry_after,
                    failure,
                    response,
                    truncated,
                    error,
                ],
            )
            .await
        };
        let ((), (), (), kept) =
            try_join4(waiting, leased, ended, self.attempts.insert(tx)).await?;
        Ok(kept)
    }
}

// --- attempts ----------------------------------------------------------------------------------

const INSERT_ATTEMPTS: Query = Query::new(
    "INSERT INTO {s}.attempt (delivery, number, started, latency, status, retry_after, failure, \
     response, truncated, error) \
     SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS n(delivery, number, started, \
     latency, status, retry_after, failure, response, truncated, error) \
     WHERE NOT EXISTS (SELECT FROM {s}.ended e WHERE e.id = n.delivery AND e.attempt = n.number \
     AND e.started IS NOT NULL) ON CONFLICT DO NOTHING RETURNING delivery, number",
    &[
        Type::UUID_ARRAY,
        Type::INT4_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT4_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::BYTEA_ARRAY,
        Type::BOOL_ARRAY,
        Type::TEXT_ARRAY,
    ],
);

/// Attempts, column by column.
#[derive(Debug, Default)]
struct Attempts {
    delivery: Vec<Uuid>,
    number: Vec<i32>,
    started: Vec<Option<i64>>,
    latency: Vec<Option<i64>>,
    status: Vec<Option<i32>>,
    retry_after: Vec<Option<i64>>,
    failure: Vec<Option<&'static str>>,
    response: Vec<Option<Vec<u8>>>,
    truncated: Vec<Option<bool>>,
    error: Vec<Option<String>>,
}

impl Attempts {
    fn add(&mut self, delivery: DeliveryId, attempt: Option<&Attempt>) {
        let (status, retry_after, failure) = match attempt.map(|attempt| attempt.outcome) {
            None => (None, None, None),
            Some(Outcome::Answered { status, retry_after }) => {
                (Some(i32::from(status)), retry_after.map(nanos), None)
            }
            Some(Outcome::Unanswered(kind)) => (None, None, Some(kind.as_str())),
            Some(Outcome::Interrupted) => (None, None, Some(INTERRUPTED)),
        };
        let response = attempt.filter(|attempt| !attempt.response.is_empty());
        self.delivery.push(delivery.uuid());
        self.number.push(attempt.map_or(0, |attempt| int(attempt.number)));
        self.started.push(attempt.map(|attempt| millis(attempt.started)));
        self.latency.push(attempt.map(|attempt| nanos(attempt.latency)));
        self.status.push(status);
        self.retry_after.push(retry_after);
        self.failure.push(failure);
        self.response.push(response.map(|attempt| attempt.response.clone()));
        self.truncated.push(attempt.map(|attempt| attempt.truncated));
        // What a text column does not take cannot stop a batch.
        let error = attempt.and_then(|attempt| attempt.error.as_deref());
        self.error.push(error.map(|error| error.replace('\0', "\u{fffd}")));
    }

    async fn insert(&self, tx: &Tx<'_>) -> Step<Vec<(DeliveryId, u32)>> {
        let Self { delivery, number, started, latency, status, .. } = self;
        let Self { retry_after, failure, response, truncated, error, .. } = self;
        if delivery.is_empty() {
            return Ok(Vec::new());
        }
        let values: [Value<'_>; 10] = [
            delivery,
            number,
            started,
            latency,
            status,
            retry_after,
            failure,
            response,
            truncated,
            error,
        ];
        let kept = tx.rows(&INSERT_ATTEMPTS, &values).await?;
        let read = |row: &Row| Ok((DeliveryId::from_uuid(row.try_get(0)?), self::number(row, 1)?));
        kept.iter().map(read).collect()
    }
}

/// The columns that [`attempt`] reads after the attempt's number.
macro_rules! attempt_columns {
    ($alias:literal) => {
        concat!(
            $alias,
            ".started, ",
            $alias,
            ".latency, ",
            $alias,
            ".status, ",
            $alias,
            ".retry_after, ",
            $alias,
            ".failure, ",
            $alias,
            ".response, ",
            $alias,
            ".truncated, ",
            $alias,
            ".error"
        )
    };
}
pub(super) use attempt_columns;

/// Reads an attempt whose columns begin at `at`, if there is one.
pub(super) fn attempt(row: &Row, number: u32, at: usize) -> Step<Option<Attempt>> {
    let Some(started) = row.try_get::<_, Option<i64>>(at)? else {
        return Ok(None);
    };
    let unknown = || Fault::unreadable("an attempt with an unknown outcome");
    let failure: Option<&str> = row.try_get(at + 4)?;
    let outcome = match (row.try_get::<_, Option<i32>>(at + 2)?, failure) {
        (Some(status), _) => Outcome::Answered {
            status: u16::try_from(status).map_err(|_| unknown())?,
            retry_after: row.try_get::<_, Option<i64>>(at + 3)?.map(duration),
        },
        (None, Some(INTERRUPTED)) => Outcome::Interrupted,
        (None, failure) => Outcome::Unanswered(failure.map(FailureKind::kept).ok_or_else(unknown)?),
    };
    let latency = row.try_get::<_, Option<i64>>(at + 1)?.map_or(Duration::ZERO, duration);
    let mut attempt = Attempt::new(number, time(started), latency, outcome);
    attempt.response = row.try_get::<_, Option<Vec<u8>>>(at + 5)?.unwrap_or_default();
    attempt.truncated = row.try_get::<_, Option<bool>>(at + 6)?.unwrap_or_default();
    attempt.error = row.try_get(at + 7)?;
    Ok(Some(attempt))
}

/// The number of an attempt, or of attempts.
pub(super) fn attempt_number(row: &Row, column: usize) -> Step<u32> {
    number(row, column)
}
