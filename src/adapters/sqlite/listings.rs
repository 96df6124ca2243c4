//! Listings: pages of webhooks, events and deliveries, newest first.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};
use uuid::Uuid;

use super::fault::{Fault, Step};
use super::rows::{self, DELIVERY_COLUMNS, Kept, SELECT_ATTEMPTS, delivery_columns, event_columns};
use crate::adapters::listing::{Bound, Listing};
use crate::ground::account::{Account, Mode};
use crate::ground::delivery::{DeliveryView, StateKind};
use crate::ground::event::Event;
use crate::ground::filter::Filter;
use crate::ground::id::{DeliveryId, WebhookId};
use crate::ground::page::{Page, PageRequest, Place};
use crate::ground::query::{DeliveryQuery, EventQuery, WebhookQuery};
use crate::ground::time::Timestamp;
use crate::ground::webhook::Webhook;

impl Bound for Value {
    fn of_text(text: String) -> Self {
        Self::Text(text)
    }

    fn of_mode(mode: Mode) -> Self {
        Self::Integer(rows::mode(mode))
    }
}

/// The page that is asked for. `read` makes an item of a row, or passes it over.
pub(super) fn page<T>(
    listing: &Listing<Value>,
    conn: &Connection,
    request: &PageRequest,
    cursor: impl Fn(u128) -> Value,
    read: impl Fn(&Row<'_>) -> Step<Option<(u128, T)>>,
) -> Step<Page<T>> {
    let wanted = request.limit() + 1;
    let side = |comparison: &str, order: &str, at: Option<u128>, wanted: usize| {
        let at = at.map(|at| (comparison, cursor(at)));
        let (sql, values) = listing.statement(order, at);
        let mut statement = conn.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut found = Vec::new();
        while found.len() < wanted
            && let Some(row) = rows.next()?
        {
            found.extend(read(row)?);
        }
        Ok::<_, Fault>(found)
    };
    let (mut found, newer, older);
    match request.place() {
        Place::First => {
            found = side("", "DESC", None, wanted)?;
            newer = false;
            older = found.len() == wanted;
        }
        Place::After(at) => {
            found = side("<", "DESC", Some(at.key()), wanted)?;
            newer = !side(">=", "ASC", Some(at.key()), 1)?.is_empty();
            older = found.len() == wanted;
        }
        Place::Before(at) => {
            found = side(">", "ASC", Some(at.key()), wanted)?;
            newer = found.len() == wanted;
            older = !side("<=", "DESC", Some(at.key()), 1)?.is_empty();
        }
    }
    found.truncate(request.limit());
    if matches!(request.place(), Place::Before(_)) {
        found.reverse();
    }
    Ok(Page::from_keyed(found, newer, older))
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

/// Lists webhooks, by falling id.
pub(super) fn webhooks(
    conn: &Connection,
    query: &WebhookQuery,
    request: &PageRequest,
) -> Step<Page<Webhook>> {
    let select = "SELECT r.record FROM tidings_webhook w \
                  JOIN tidings_registration r ON r.webhook = w.key";
    let mut listing = Listing::new(select, "w.id");
    listing.narrow("w.ended IS NULL", []);
    listing.narrow_to_account("w", query.account.as_ref(), query.mode);
    if let Some(id) = query.id {
        listing.narrow("w.id = ?", [blob(id.uuid())]);
    }
    if let Some(text) = &query.text {
        let text = Value::Text(text.to_ascii_lowercase());
        listing.narrow("instr(r.search, ?) > 0", [text]);
    }
    if let Some(enabled) = query.enabled {
        listing.narrow("w.enabled = ?", [Value::Integer(enabled.into())]);
    }
    page(&listing, conn, request, id_cursor, |row| {
        let webhook = Webhook::from_stored(rows::text(row, 0)?)?;
        // What the columns cannot tell is left to the query itself.
        let fits = query.matches(&webhook);
        Ok(fits.then(|| (webhook.id().uuid().as_u128(), webhook)))
    })
}

/// Lists events, by falling number of publish.
pub(super) fn events(
    conn: &Connection,
    query: &EventQuery,
    request: &PageRequest,
) -> Step<Page<Event>> {
    let select = concat!("SELECT e.seq, ", event_columns!(), " FROM tidings_event e");
    let mut listing = Listing::new(select, "e.seq");
    listing.narrow_to_account("e", query.account.as_ref(), query.mode);
    if query.account.as_ref().is_some_and(|account| *account != Account::default()) {
        // The condition of the index.
        listing.narrow("e.account <> 'default'", []);
    }
    if let Some(id) = query.id {
        listing.narrow("e.id = ?", [blob(id.uuid())]);
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
    page(&listing, conn, request, number_cursor, |row| {
        let seq: i64 = row.get(0)?;
        let event = rows::event(row, 1)?;
        Ok(Some((u128::from(seq.cast_unsigned()), event)))
    })
}

/// Any of these, as ranges that an index could use.
fn narrow_to_types(listing: &mut Listing<Value>, types: &[Filter]) {
    if types.is_empty() || types.iter().any(|filter| filter.as_str() == "*") {
        return;
    }
    let mut choices = Vec::with_capacity(types.len());
    for filter in types {
        match filter.as_str().strip_suffix('*') {
            Some(prefix) => {
                choices.push("substr(e.type, 1, length(?)) = ?");
                listing.values.push(Value::Text(prefix.to_owned()));
                listing.values.push(Value::Text(prefix.to_owned()));
            }
            None => {
                choices.push("e.type = ?");
                listing.values.push(Value::Text(filter.as_str().to_owned()));
            }
        }
    }
    listing.conditions.push(format!("({})", choices.join(" OR ")));
}

/// Lists deliveries with their events and attempts, by falling id.
pub(super) fn deliveries(
    conn: &Connection,
    query: &DeliveryQuery,
    request: &PageRequest,
) -> Step<Page<DeliveryView>> {
    let select = concat!(
        "SELECT ",
        delivery_columns!(),
        ", w.id, ",
        event_columns!(),
        " FROM tidings_delivery d CROSS JOIN tidings_webhook w ON w.key = d.webhook \
         CROSS JOIN tidings_event e ON e.seq = d.event"
    );
    let mut listing = Listing::new(select, "d.id");
    // A delivery's webhook is of its event's account and mode, and the smaller row.
    listing.narrow_to_account("w", query.account.as_ref(), query.mode);
    if let Some(id) = query.id {
        listing.narrow("d.id = ?", [blob(id.uuid())]);
    }
    if let Some(event) = query.event {
        let (low, high) = DeliveryId::range_of(event);
        listing.narrow("d.id BETWEEN ? AND ?", [blob(low.uuid()), blob(high.uuid())]);
        listing.narrow("e.id = ?", [blob(event.uuid())]);
    }
    if let Some(webhook) = query.webhook {
        let key = "d.webhook = (SELECT key FROM tidings_webhook WHERE id = ?)";
        listing.narrow(key, [blob(webhook.uuid())]);
    }
    if !query.states.is_empty() {
        let states = query.states.iter().map(|state| rows::state_number(*state).to_string());
        let mut states: Vec<_> = states.collect();
        if query.states.contains(&StateKind::Waiting) {
            states.push(rows::PARKED.to_string());
        }
        listing.narrow(format!("d.state IN ({})", states.join(", ")), []);
    }
    if let Some(from) = query.from {
        listing.narrow("d.published >= ?", [Value::Integer(rows::millis_up(from))]);
    }
    if let Some(until) = query.until {
        listing.narrow("d.published < ?", [Value::Integer(rows::millis_up(until))]);
    }
    let page = page(&listing, conn, request, id_cursor, |row| {
        let webhook = rows::uuid(row, DELIVERY_COLUMNS)?.into();
        let event = rows::event(row, DELIVERY_COLUMNS + 1)?;
        let delivery = Kept::read(row, 0)?.delivery(event.id(), webhook);
        let attempts = Vec::new();
        Ok(Some((delivery.id.uuid().as_u128(), DeliveryView { delivery, event, attempts })))
    })?;
    let mut page = page;
    let mut select = conn.prepare_cached(SELECT_ATTEMPTS)?;
    for view in &mut page.items {
        let mut rows = select.query([view.delivery.id.uuid().as_bytes().as_slice()])?;
        while let Some(row) = rows.next()? {
            view.attempts.push(rows::attempt(row)?);
        }
    }
    Ok(page)
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
