//! Listings: pages of webhooks, events and deliveries, newest first.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};
use uuid::Uuid;

use super::fault::{Fault, Step};
use super::rows::{self, DELIVERY_COLUMNS, Kept, SELECT_ATTEMPTS, delivery_columns, event_columns};
use crate::adapters::listing::{Bound, Listing, Look, Order, Source};
use crate::ground::account::{Account, Mode};
use crate::ground::delivery::{DeliveryView, StateKind};
use crate::ground::event::Event;
use crate::ground::filter::Filter;
use crate::ground::id::{DeliveryId, WebhookId};
use crate::ground::page::{Page, PageRequest, Place, Seen};
use crate::ground::policy::{LISTING_ROWS, LISTING_WEBHOOK_ROWS, LISTING_WEBHOOKS};
use crate::ground::query::{DeliveryQuery, EventQuery, WebhookQuery};
use crate::ground::time::Timestamp;
use crate::ground::webhook::Webhook;
use crate::ports::storage::WebhookGroup;

impl Bound for Value {
    fn of_text(text: String) -> Self {
        Self::Text(text)
    }

    fn of_mode(mode: Mode) -> Self {
        Self::Integer(rows::mode(mode))
    }

    fn of_count(count: usize) -> Self {
        Self::Integer(rows::bound(count))
    }

    fn key(&self) -> u128 {
        match self {
            Self::Integer(number) => number.cast_unsigned().into(),
            Self::Blob(bytes) => Uuid::from_slice(bytes).map_or(0, |id| id.as_u128()),
            _ => 0,
        }
    }
}

/// The page that is asked for. `read` gives a row's key, and the item if it fits; `weigh` its bytes.
pub(super) fn page<T>(
    listing: &Listing<Value>,
    conn: &Connection,
    request: &PageRequest,
    read: impl Fn(&Row<'_>) -> Step<(u128, Option<T>)>,
    weigh: fn(&T) -> usize,
) -> Step<Page<T>> {
    let wanted = request.limit() + 1;
    let side = |order: Order, from: Option<(u128, bool)>, wanted: usize| {
        let mut look = Look::new(listing, order, from, wanted);
        while !look.is_over() {
            if let Some((sql, values)) = look.edge_statement() {
                let mut statement = conn.prepare_cached(&sql)?;
                let values = params_from_iter(values);
                look.set_edge(statement.query_row(values, |row| row.get(0)).optional()?);
            }
            let (sql, values) = look.statement();
            let mut statement = conn.prepare_cached(&sql)?;
            let mut rows = statement.query(params_from_iter(values))?;
            loop {
                let Some(row) = rows.next()? else {
                    look.turn();
                    break;
                };
                let (key, item) = read(row)?;
                if look.take(key, item, weigh) {
                    break;
                }
            }
        }
        Ok::<_, Fault>(look.seen())
    };
    let any = |seen: &Seen<T>| !seen.items.is_empty() || seen.ended.is_some();
    let (ahead, behind) = match request.place() {
        Place::First => (side(Order::Falling, None, wanted)?, false),
        Place::After(at) => (
            side(Order::Falling, Some((at.key(), false)), wanted)?,
            any(&side(Order::Rising, Some((at.key(), true)), 1)?),
        ),
        Place::Before(at) => (
            side(Order::Rising, Some((at.key(), false)), wanted)?,
            any(&side(Order::Falling, Some((at.key(), true)), 1)?),
        ),
    };
    Ok(Page::of_look(request, ahead, behind))
}

fn blob(id: Uuid) -> Value {
    Value::Blob(id.as_bytes().to_vec())
}

pub(super) fn id_cursor(key: u128) -> Value {
    blob(Uuid::from_u128(key))
}

/// Numbers that no row has are as good as the greatest.
fn number_cursor(key: u128) -> Value {
    Value::Integer(i64::try_from(key).unwrap_or(i64::MAX))
}

const WEBHOOKS: Source<Value> = Source {
    select: "SELECT w.id, r.record FROM tidings_webhook w \
             JOIN tidings_registration r ON r.webhook = w.key",
    table: "tidings_webhook w",
    key: "w.id",
    cursor: id_cursor,
    rows: LISTING_WEBHOOK_ROWS,
};

/// The webhooks that are alike in this.
fn webhooks_alike(
    account: Option<&Account>,
    mode: Option<Mode>,
    enabled: Option<bool>,
) -> Listing<Value> {
    let mut listing = Listing::new(WEBHOOKS);
    match (enabled, account) {
        // The condition of the index: of many that are enabled a few are not.
        (Some(false), None) => listing.anchor("w.enabled = 0 AND w.ended IS NULL", []),
        (Some(enabled), _) => {
            listing.narrow("w.ended IS NULL AND w.enabled = ?", [Value::Integer(enabled.into())]);
        }
        (None, _) => listing.narrow("w.ended IS NULL", []),
    }
    listing.anchor_to_account("w", account);
    listing.narrow_to_mode("w", mode);
    listing
}

/// How many webhooks there are, up to `most`.
pub(super) fn count_webhooks(conn: &Connection, group: &WebhookGroup, most: usize) -> Step<usize> {
    let listing = webhooks_alike(group.account.as_ref(), group.mode, group.enabled);
    let (sql, values) = listing.count(most);
    let mut statement = conn.prepare_cached(&sql)?;
    let count: i64 = statement.query_row(params_from_iter(values), |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Lists webhooks, by falling id.
pub(super) fn webhooks(
    conn: &Connection,
    query: &WebhookQuery,
    request: &PageRequest,
) -> Step<Page<Webhook>> {
    let mut listing = webhooks_alike(query.account.as_ref(), query.mode, query.enabled);
    if let Some(id) = query.id {
        listing.anchor("w.id = ?", [blob(id.uuid())]);
    }
    if let Some(text) = &query.text {
        let text = Value::Text(text.to_ascii_lowercase());
        listing.narrow("instr(r.search, ?) > 0", [text]);
    }
    let read = |row: &Row<'_>| {
        let webhook = Webhook::from_stored(rows::text(row, 1)?)?;
        // What the columns cannot tell is left to the query itself.
        let fits = query.matches(&webhook);
        Ok((webhook.id().uuid().as_u128(), fits.then_some(webhook)))
    };
    page(&listing, conn, request, read, |_| 0)
}

const EVENTS: Source<Value> = Source {
    select: concat!("SELECT e.seq, ", event_columns!(), " FROM tidings_event e"),
    table: "tidings_event e",
    key: "e.seq",
    cursor: number_cursor,
    rows: LISTING_ROWS,
};

/// Lists events, by falling number of publish.
pub(super) fn events(
    conn: &Connection,
    query: &EventQuery,
    request: &PageRequest,
) -> Step<Page<Event>> {
    let mut listing = Listing::new(EVENTS);
    if query.account.as_ref().is_some_and(|account| *account != Account::default()) {
        listing.anchor_to_account("e", query.account.as_ref());
        // The condition of the index.
        listing.anchor("e.account <> 'default'", []);
    } else {
        listing.narrow_to_account("e", query.account.as_ref());
    }
    listing.narrow_to_mode("e", query.mode);
    if let Some(id) = query.id {
        listing.anchor("e.id = ?", [blob(id.uuid())]);
    }
    if let Some(from) = query.from {
        // Events are at whole milliseconds.
        let from = rows::millis_up(from);
        listing.narrow("e.created >= ?", [Value::Integer(from)]);
    }
    if let Some(until) = query.until {
        listing.narrow("e.created < ?", [Value::Integer(rows::millis_up(until))]);
    }
    narrow_to_types(&mut listing, &query.types);
    let read = |row: &Row<'_>| {
        let seq: i64 = row.get(0)?;
        let event = rows::event(row, 1)?;
        Ok((seq.cast_unsigned().into(), Some(event)))
    };
    page(&listing, conn, request, read, Event::bytes)
}

/// Any of these.
fn narrow_to_types(listing: &mut Listing<Value>, types: &[Filter]) {
    if types.is_empty() || types.iter().any(|filter| filter.as_str() == "*") {
        return;
    }
    let mut choices = Vec::with_capacity(types.len());
    let mut values = Vec::new();
    for filter in types {
        match filter.as_str().strip_suffix('*') {
            Some(prefix) => {
                choices.push("substr(e.type, 1, length(?)) = ?");
                values.push(Value::Text(prefix.to_owned()));
                values.push(Value::Text(prefix.to_owned()));
            }
            None => {
                choices.push("e.type = ?");
                values.push(Value::Text(filter.as_str().to_owned()));
            }
        }
    }
    listing.narrow(format!("({})", choices.join(" OR ")), values);
}

/// Deliveries, by an index that is said or that SQLite chooses.
macro_rules! deliveries_by {
    ($index:literal) => {
        Source {
            select: concat!(
                "SELECT ",
                delivery_columns!(),
                ", w.id, ",
                event_columns!(),
                " FROM tidings_delivery d",
                $index,
                " CROSS JOIN tidings_webhook w ON w.key = d.webhook \
                 CROSS JOIN tidings_event e ON e.seq = d.event"
            ),
            table: concat!("tidings_delivery d", $index),
            key: "d.id",
            cursor: id_cursor,
            rows: LISTING_ROWS,
        }
    };
}

const DELIVERIES: Source<Value> = deliveries_by!("");
const LEASED: Source<Value> = deliveries_by!(" INDEXED BY tidings_delivery_leased");
const FAILED: Source<Value> = deliveries_by!(" INDEXED BY tidings_delivery_failed");
const OF_WEBHOOKS: Source<Value> = deliveries_by!(" INDEXED BY tidings_delivery_webhook");
const FAILED_OF_WEBHOOKS: Source<Value> =
    deliveries_by!(" INDEXED BY tidings_delivery_failed_webhook");

/// Lists deliveries with their events and attempts, by falling id.
pub(super) fn deliveries(
    conn: &Connection,
    query: &DeliveryQuery,
    request: &PageRequest,
) -> Step<Page<DeliveryView>> {
    let webhooks = webhooks_of(conn, query)?;
    // There are few leased ones, and few that failed.
    let named = query.id.is_some() || query.event.is_some();
    let state = match query.states[..] {
        [state] if !named => rows::state_number(state),
        _ => 0,
    };
    let source = match (state, query.webhook.is_some() || webhooks.is_some()) {
        (1, _) => LEASED,
        (3.., true) => FAILED_OF_WEBHOOKS,
        (3.., false) => FAILED,
        _ if webhooks.is_some() => OF_WEBHOOKS,
        _ => DELIVERIES,
    };
    let mut listing = Listing::new(source);
    if let Some(id) = query.id {
        listing.anchor("d.id = ?", [blob(id.uuid())]);
    }
    if let Some(event) = query.event {
        let (low, high) = DeliveryId::range_of(event);
        listing.anchor("d.id BETWEEN ? AND ?", [blob(low.uuid()), blob(high.uuid())]);
        listing.narrow("e.id = ?", [blob(event.uuid())]);
    }
    if let Some(webhook) = query.webhook {
        let key = "d.webhook = (SELECT key FROM tidings_webhook WHERE id = ?)";
        listing.anchor(key, [blob(webhook.uuid())]);
    }
    match webhooks {
        Some(webhooks) => listing.among("d.webhook", webhooks),
        // A delivery's webhook is of its event's account and mode, and the smaller row.
        None => {
            listing.narrow_to_account("w", query.account.as_ref());
            listing.narrow_to_mode("w", query.mode);
        }
    }
    match state {
        // The conditions of the indexes.
        1 => listing.anchor("d.state = 1", []),
        3.. => listing.anchor("d.state > 2 AND d.state = ?", [Value::Integer(state.into())]),
        _ if query.states.is_empty() => {}
        _ => {
            let numbers = query.states.iter().map(|state| rows::state_number(*state));
            let mut numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
            if query.states.contains(&StateKind::Waiting) {
                numbers.push(rows::PARKED.to_string());
            }
            listing.narrow(format!("d.state IN ({})", numbers.join(", ")), []);
        }
    }
    if let Some(from) = query.from {
        listing.narrow("d.published >= ?", [Value::Integer(rows::millis_up(from))]);
    }
    if let Some(until) = query.until {
        listing.narrow("d.published < ?", [Value::Integer(rows::millis_up(until))]);
    }
    let read = |row: &Row<'_>| {
        let webhook = rows::uuid(row, DELIVERY_COLUMNS)?.into();
        let event = rows::event(row, DELIVERY_COLUMNS + 1)?;
        let delivery = Kept::read(row, 0)?.delivery(event.id(), webhook);
        let key = delivery.id.uuid().as_u128();
        let mut view = DeliveryView { delivery, event, attempts: Vec::new() };
        let mut select = conn.prepare_cached(SELECT_ATTEMPTS)?;
        let mut rows = select.query([view.delivery.id.uuid().as_bytes().as_slice()])?;
        while let Some(row) = rows.next()? {
            view.attempts.push(rows::attempt(row)?);
        }
        Ok((key, Some(view)))
    };
    page(&listing, conn, request, read, DeliveryView::bytes)
}

/// The numbers of all webhooks whose deliveries are asked for, where nothing else narrows them and there are
/// few: an account's deliveries may be few among many.
fn webhooks_of(conn: &Connection, query: &DeliveryQuery) -> Step<Option<Vec<Value>>> {
    let narrow = query.id.is_none() && query.event.is_none() && query.webhook.is_none();
    let Some(account) = query.account.as_ref().filter(|_| narrow) else { return Ok(None) };
    let sql =
        "SELECT key FROM tidings_webhook WHERE account = ?1 AND (?2 IS NULL OR mode = ?2) LIMIT ?3";
    let mode = query.mode.map(rows::mode);
    let most = rows::bound(LISTING_WEBHOOKS + 1);
    let mut select = conn.prepare_cached(sql)?;
    let keys = select.query_map(params![account.as_str(), mode, most], |row| row.get(0))?;
    let keys: Vec<Value> = keys.collect::<rusqlite::Result<_>>()?;
    Ok(Some(keys).filter(|keys| keys.len() <= LISTING_WEBHOOKS))
}

/// The first mark of each account, of a thousand accounts at most, each by one look into an index; the
/// lanes that anybody may claim from, those that can be taken, and those that are held.
const OLDEST_DUE: &str = "WITH RECURSIVE account(name) AS ( \
        SELECT min(account) FROM tidings_mark \
        UNION ALL SELECT (SELECT min(account) FROM tidings_mark WHERE account > name) FROM account \
        WHERE name IS NOT NULL LIMIT 1000) \
    SELECT min(at) FROM ( \
        SELECT (SELECT e.published FROM tidings_event e WHERE e.seq = \
            (SELECT min(m.seq) FROM tidings_mark m WHERE m.account = name)) AS at FROM account \
        UNION ALL SELECT min(ready) FROM tidings_webhook WHERE ready IS NOT NULL \
        UNION ALL SELECT min(free) FROM tidings_webhook WHERE free IS NOT NULL \
        UNION ALL SELECT min(max(next_due, coalesce(paused_until, next_due))) FROM tidings_webhook \
            WHERE holder IS NOT NULL AND enabled AND ended IS NULL) \
    WHERE at <= ?1";

/// Since when there has been something to do.
pub(super) fn oldest_due(conn: &Connection, now: Timestamp) -> Step<Option<Timestamp>> {
    let mut statement = conn.prepare_cached(OLDEST_DUE)?;
    let at: Option<i64> = statement.query_row([rows::millis(now)], |row| row.get(0))?;
    Ok(at.map(rows::time))
}

/// Which enabled webhooks fail, the longest first.
pub(super) fn failing(
    conn: &Connection,
    account: Option<&Account>,
    mode: Option<Mode>,
    limit: usize,
) -> Step<Vec<(WebhookId, Timestamp)>> {
    let sql = "SELECT id, failing_since FROM tidings_webhook WHERE failing_since IS NOT NULL \
               AND enabled = 1 AND ended IS NULL AND (?1 IS NULL OR account = ?1) \
               AND (?2 IS NULL OR mode = ?2) ORDER BY failing_since, id LIMIT ?3";
    let limit = rows::bound(limit);
    let values = params![account.map(Account::as_str), mode.map(rows::mode), limit];
    let mut found = conn.prepare_cached(sql)?;
    let mut found = found.query(values)?;
    let mut failing = Vec::new();
    while let Some(row) = found.next()? {
        failing.push((WebhookId::from_uuid(rows::uuid(row, 0)?), rows::time(row.get(1)?)));
    }
    Ok(failing)
}
