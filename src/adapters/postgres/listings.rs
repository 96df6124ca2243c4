//! Listings: pages of webhooks, events and deliveries, newest first.

use std::collections::HashMap;

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::Inner;
use super::fault::Step;
use super::rows::{
    self, DELIVERY_COLUMNS, EVENT_COLUMNS, Kept, attempt_columns, count, delivery_columns,
    event_columns,
};
use super::tx::Query;
use crate::adapters::listing::{Bound, Listing};
use crate::ground::account::{Account, Mode};
use crate::ground::delivery::{Attempt, DeliveryView};
use crate::ground::event::Event;
use crate::ground::filter::Filter;
use crate::ground::id::{DeliveryId, WebhookId};
use crate::ground::page::{Page, PageRequest, Place};
use crate::ground::policy::POSTGRES_LISTING_ROWS;
use crate::ground::query::{DeliveryQuery, EventQuery, WebhookQuery};
use crate::ground::time::Timestamp;
use crate::ground::webhook::Webhook;

/// A value of a listing's statement.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Id(Uuid),
    Number(i64),
    Text(String),
    Flag(bool),
}

impl Value {
    fn kind(&self) -> Type {
        match self {
            Self::Id(_) => Type::UUID,
            Self::Number(_) => Type::INT8,
            Self::Text(_) => Type::TEXT,
            Self::Flag(_) => Type::BOOL,
        }
    }

    fn bound(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Id(value) => value,
            Self::Number(value) => value,
            Self::Text(value) => value,
            Self::Flag(value) => value,
        }
    }
}

impl Bound for Value {
    fn of_text(text: String) -> Self {
        Self::Text(text)
    }

    fn of_mode(mode: Mode) -> Self {
        Self::Flag(mode.is_live())
    }
}

/// The items on one side of a place, at most `wanted`. `read` makes an item of a row, or passes
/// it over.
async fn side<T>(
    listing: &Listing<Value>,
    inner: &Inner,
    (comparison, order): (&str, &str),
    mut at: Option<Value>,
    wanted: usize,
    read: &(impl Fn(&Row) -> Step<Option<(u128, T)>> + Sync),
) -> Step<Vec<(u128, T)>> {
    let mut comparison = comparison.to_owned();
    let mut found = Vec::new();
    // Rows that do not fit are passed over; the next stretch begins behind the last row.
    let mut stretch = wanted;
    loop {
        let (text, mut values) =
            listing.statement(order, at.clone().map(|at| (comparison.as_str(), at)));
        let text = format!("{text} LIMIT ?");
        values.push(Value::Number(count(stretch)));
        let sql = numbered(&text);
        let types: Vec<Type> = values.iter().map(Value::kind).collect();
        let bound: Vec<_> = values.iter().map(Value::bound).collect();
        let rows = inner.database.once_text(&sql, &types, &bound).await?;
        let ended = rows.len() < stretch;
        for row in &rows {
            let Some((key, item)) = read(row)? else { continue };
            found.push((key, item));
            if found.len() == wanted {
                return Ok(found);
            }
        }
        if ended {
            return Ok(found);
        }
        let Some(last) = rows.last() else { return Ok(found) };
        at = Some(place(last, listing.key)?);
        comparison = if order == "DESC" { "<".to_owned() } else { ">".to_owned() };
        stretch = (stretch * 4).min(POSTGRES_LISTING_ROWS);
    }
}

/// The page that is asked for.
pub(super) async fn page<T>(
    listing: &Listing<Value>,
    inner: &Inner,
    request: &PageRequest,
    cursor: impl Fn(u128) -> Value,
    read: impl Fn(&Row) -> Step<Option<(u128, T)>> + Sync,
) -> Step<Page<T>> {
    let wanted = request.limit() + 1;
    let (mut found, newer, older);
    match request.place() {
        Place::First => {
            found = side(listing, inner, ("<", "DESC"), None, wanted, &read).await?;
            newer = false;
            older = found.len() == wanted;
        }
        Place::After(at) => {
            let at = cursor(at.key());
            found = side(listing, inner, ("<", "DESC"), Some(at.clone()), wanted, &read).await?;
            newer = !side(listing, inner, (">=", "ASC"), Some(at), 1, &read).await?.is_empty();
            older = found.len() == wanted;
        }
        Place::Before(at) => {
            let at = cursor(at.key());
            found = side(listing, inner, (">", "ASC"), Some(at.clone()), wanted, &read).await?;
            newer = found.len() == wanted;
            older = !side(listing, inner, ("<=", "DESC"), Some(at), 1, &read).await?.is_empty();
        }
    }
    found.truncate(request.limit());
    if matches!(request.place(), Place::Before(_)) {
        found.reverse();
    }
    Ok(Page::from_keyed(found, newer, older))
}

/// Where a row stands: its first column is the one that orders.
fn place(row: &Row, key: &str) -> Step<Value> {
    Ok(match key {
        "e.seq" => Value::Number(row.try_get(0)?),
        _ => Value::Id(row.try_get(0)?),
    })
}

/// The statement with `$1`, `$2`, … for each `?`. No constant part has a question mark of its own.
fn numbered(text: &str) -> String {
    let mut parts = text.split('?');
    let mut sql = parts.next().unwrap_or_default().to_owned();
    for (at, part) in parts.enumerate() {
        sql.push_str(&format!("${}", at + 1));
        sql.push_str(part);
    }
    sql
}

pub(super) fn id_cursor(key: u128) -> Value {
    Value::Id(Uuid::from_u128(key))
}

/// Numbers that no row has are as good as the greatest.
fn number_cursor(key: u128) -> Value {
    Value::Number(i64::try_from(key).unwrap_or(i64::MAX))
}

/// Lists webhooks, by falling id.
pub(super) async fn webhooks(
    inner: &Inner,
    query: &WebhookQuery,
    request: &PageRequest,
) -> Step<Page<Webhook>> {
    let select = "SELECT w.id, r.record FROM {s}.webhook w \
                  JOIN {s}.registration r ON r.webhook = w.key";
    let mut listing = Listing::new(select, "w.id");
    listing.narrow("w.ended IS NULL", []);
    listing.narrow_to_account("w", query.account.as_ref(), query.mode);
    if let Some(id) = query.id {
        listing.narrow("w.id = ?", [Value::Id(id.uuid())]);
    }
    if let Some(text) = &query.text {
        // What a text column cannot hold is in none of them.
        let text = text.to_ascii_lowercase().replace('\0', "\n\n");
        listing.narrow("strpos(r.search, ?) > 0", [Value::Text(text)]);
    }
    if let Some(enabled) = query.enabled {
        listing.narrow("w.enabled = ?", [Value::Flag(enabled)]);
    }
    let read = |row: &Row| {
        let webhook = Webhook::from_stored(row.try_get(1)?)?;
        // What the columns cannot tell is left to the query itself.
        let fits = query.matches(&webhook);
        Ok(fits.then(|| (webhook.id().uuid().as_u128(), webhook)))
    };
    page(&listing, inner, request, id_cursor, read).await
}

/// Lists events, by falling number of publish.
pub(super) async fn events(
    inner: &Inner,
    query: &EventQuery,
    request: &PageRequest,
) -> Step<Page<Event>> {
    let select = concat!("SELECT e.seq, ", event_columns!(), " FROM {s}.event e");
    let mut listing = Listing::new(select, "e.seq");
    listing.narrow_to_account("e", query.account.as_ref(), query.mode);
    if query.account.as_ref().is_some_and(|account| *account != Account::default()) {
        // The condition of the index.
        listing.narrow("e.account <> 'default'", []);
    }
    if let Some(id) = query.id {
        listing.narrow("e.id = ?", [Value::Id(id.uuid())]);
    }
    if let Some(from) = query.from {
        // Events are at whole milliseconds.
        listing.narrow("e.created >= ?", [Value::Number(rows::millis_up(from))]);
    }
    if let Some(until) = query.until {
        listing.narrow("e.created < ?", [Value::Number(rows::millis_up(until))]);
    }
    narrow_to_types(&mut listing, &query.types);
    let read = |row: &Row| {
        let seq: i64 = row.try_get(0)?;
        Ok(Some((u128::from(seq.cast_unsigned()), rows::event(row, 1)?)))
    };
    page(&listing, inner, request, number_cursor, read).await
}

/// Any of these.
fn narrow_to_types(listing: &mut Listing<Value>, types: &[Filter]) {
    if types.is_empty() || types.iter().any(|filter| filter.as_str() == "*") {
        return;
    }
    let mut choices = Vec::with_capacity(types.len());
    for filter in types {
        let (choice, text) = match filter.as_str().strip_suffix('*') {
            Some(prefix) => ("starts_with(e.type, ?)", prefix),
            None => ("e.type = ?", filter.as_str()),
        };
        choices.push(choice);
        listing.values.push(Value::Text(text.to_owned()));
    }
    listing.conditions.push(format!("({})", choices.join(" OR ")));
}

const ATTEMPTS: Query = Query::new(
    concat!(
        "SELECT a.delivery, a.number, ",
        attempt_columns!("a"),
        " FROM {s}.attempt a WHERE a.delivery = ANY ($1) ORDER BY a.delivery, a.number"
    ),
    &[Type::UUID_ARRAY],
);

/// Lists deliveries with their events and attempts, by falling id.
pub(super) async fn deliveries(
    inner: &Inner,
    query: &DeliveryQuery,
    request: &PageRequest,
) -> Step<Page<DeliveryView>> {
    let select = concat!(
        "SELECT ",
        delivery_columns!(),
        ", w.id, ",
        event_columns!(),
        ", ",
        attempt_columns!("d"),
        " FROM {s}.delivery d JOIN {s}.webhook w ON w.key = d.webhook \
         JOIN {s}.event e ON e.seq = d.event"
    );
    const EVENT: usize = DELIVERY_COLUMNS + 1;
    const ATTEMPT: usize = EVENT + EVENT_COLUMNS;
    let mut listing = Listing::new(select, "d.id");
    // A delivery's webhook is of its event's account and mode, and the smaller row.
    listing.narrow_to_account("w", query.account.as_ref(), query.mode);
    if let Some(id) = query.id {
        listing.narrow("d.id = ?", [Value::Id(id.uuid())]);
    }
    if let Some(event) = query.event {
        let (low, high) = DeliveryId::range_of(event);
        let range = [Value::Id(low.uuid()), Value::Id(high.uuid())];
        listing.narrow("d.id BETWEEN ? AND ?", range);
        listing.narrow("e.id = ?", [Value::Id(event.uuid())]);
    }
    if let Some(webhook) = query.webhook {
        let key = "d.webhook = (SELECT key FROM {s}.webhook WHERE id = ?)";
        listing.narrow(key, [Value::Id(webhook.uuid())]);
    }
    if !query.states.is_empty() {
        let states = query.states.iter().map(|state| rows::state_number(*state).to_string());
        let states: Vec<_> = states.collect();
        listing.narrow(format!("d.state IN ({})", states.join(", ")), []);
    }
    if let Some(from) = query.from {
        listing.narrow("d.published >= ?", [Value::Number(rows::millis_up(from))]);
    }
    if let Some(until) = query.until {
        listing.narrow("d.published < ?", [Value::Number(rows::millis_up(until))]);
    }
    let read = |row: &Row| {
        let webhook = row.try_get::<_, Uuid>(DELIVERY_COLUMNS)?.into();
        let event = rows::event(row, EVENT)?;
        let delivery = Kept::read(row, 0)?.delivery(event.id(), webhook);
        let last = rows::attempt(row, delivery.attempt, ATTEMPT)?;
        let key = delivery.id.uuid().as_u128();
        let view = DeliveryView { delivery, event, attempts: last.into_iter().collect() };
        Ok(Some((key, view)))
    };
    let mut page = page(&listing, inner, request, id_cursor, read).await?;
    let ids: Vec<Uuid> = page.items.iter().map(|view| view.delivery.id.uuid()).collect();
    let mut attempts: HashMap<Uuid, Vec<Attempt>> = HashMap::new();
    for row in inner.database.once(&ATTEMPTS, &[&ids]).await? {
        let number = rows::attempt_number(&row, 1)?;
        attempts.entry(row.try_get(0)?).or_default().extend(rows::attempt(&row, number, 2)?);
    }
    for view in &mut page.items {
        let mut all = attempts.remove(&view.delivery.id.uuid()).unwrap_or_default();
        let last = std::mem::take(&mut view.attempts);
        let known = |attempt: &Attempt| all.iter().any(|other| other.number == attempt.number);
        let last: Vec<Attempt> = last.into_iter().filter(|attempt| !known(attempt)).collect();
        all.extend(last);
        all.sort_by_key(|attempt| attempt.number);
        view.attempts = all;
    }
    Ok(page)
}

// The first mark of each account, of a thousand accounts at most, each by one look into an index; the
// lanes that anybody may claim from, those that can be taken, and those that are held.
const OLDEST_DUE: Query = Query::new(
    "WITH RECURSIVE first(account, seq) AS ( \
         (SELECT account, seq FROM {s}.mark ORDER BY account, seq LIMIT 1) \
         UNION ALL SELECT n.account, n.seq FROM first f CROSS JOIN LATERAL ( \
             SELECT m.account, m.seq FROM {s}.mark m WHERE m.account > f.account \
             ORDER BY m.account, m.seq LIMIT 1) n), \
     few AS MATERIALIZED (SELECT seq FROM first LIMIT 1000) \
     SELECT min(at) FROM ( \
         SELECT (SELECT e.published FROM {s}.event e WHERE e.seq = few.seq) AS at FROM few \
         UNION ALL (SELECT ready FROM {s}.webhook WHERE ready IS NOT NULL ORDER BY ready LIMIT 1) \
         UNION ALL (SELECT free FROM {s}.webhook WHERE free IS NOT NULL ORDER BY free LIMIT 1) \
         UNION ALL SELECT min(greatest(next_due, paused_until)) FROM {s}.webhook \
             WHERE holder IS NOT NULL AND enabled AND ended IS NULL AND next_due IS NOT NULL) x \
     WHERE at <= $1",
    &[Type::INT8],
);

/// Since when there has been something to do.
pub(super) async fn oldest_due(inner: &Inner, now: Timestamp) -> Step<Option<Timestamp>> {
    let rows = inner.database.once(&OLDEST_DUE, &[&rows::millis(now)]).await?;
    let at: Option<i64> = rows.first().map_or(Ok(None), |row| row.try_get(0))?;
    Ok(at.map(rows::time))
}

const FAILING: Query = Query::new(
    "SELECT id, failing_since FROM {s}.webhook WHERE failing_since IS NOT NULL AND enabled \
     AND ended IS NULL AND ($1::text IS NULL OR account = $1) \
     AND ($2::boolean IS NULL OR mode = $2) ORDER BY failing_since, id LIMIT $3",
    &[Type::TEXT, Type::BOOL, Type::INT8],
);

/// Which enabled webhooks fail, the longest first.
pub(super) async fn failing(
    inner: &Inner,
    account: Option<&Account>,
    mode: Option<Mode>,
    limit: usize,
) -> Step<Vec<(WebhookId, Timestamp)>> {
    let (account, mode) = (account.map(Account::as_str), mode.map(Mode::is_live));
    let values: [&(dyn ToSql + Sync); 3] = [&account, &mode, &count(limit)];
    let found = inner.database.once(&FAILING, &values).await?;
    let failing = |row: &Row| {
        let (id, since): (Uuid, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok((WebhookId::from_uuid(id), rows::time(since)))
    };
    found.iter().map(failing).collect()
}
