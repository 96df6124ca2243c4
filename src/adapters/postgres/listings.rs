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
use crate::adapters::listing::{Bound, Listing, Look, Order, Source, Statement};
use crate::ground::account::{Account, Mode};
use crate::ground::delivery::{Attempt, DeliveryView};
use crate::ground::event::Event;
use crate::ground::filter::Filter;
use crate::ground::id::{DeliveryId, WebhookId};
use crate::ground::page::{Page, PageRequest, Place, Seen};
use crate::ground::policy::{
    LISTING_ROWS, LISTING_WEBHOOK_ROWS, LISTING_WEBHOOKS, POSTGRES_LISTING_PAYLOADS,
    POSTGRES_LISTING_ROWS,
};
use crate::ground::query::{DeliveryQuery, EventQuery, WebhookQuery};
use crate::ground::time::Timestamp;
use crate::ground::webhook::Webhook;
use crate::ports::storage::WebhookGroup;

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

    /// The first column, as the column that orders a listing has it.
    fn read(row: &Row, key: &str) -> Step<Self> {
        Ok(match key {
            "e.seq" => Self::Number(row.try_get(0)?),
            _ => Self::Id(row.try_get(0)?),
        })
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

    fn of_count(number: usize) -> Self {
        Self::Number(count(number))
    }

    fn key(&self) -> u128 {
        match self {
            Self::Id(id) => id.as_u128(),
            Self::Number(number) => number.cast_unsigned().into(),
            Self::Text(_) | Self::Flag(_) => 0,
        }
    }
}

/// What a row gives: its key, and the item if it fits.
pub(super) type Read<T> = Step<(u128, Option<T>)>;

/// How a listing's rows are read.
pub(super) struct Reading<'r, T> {
    pub(super) read: &'r (dyn Fn(&Row) -> Read<T> + Sync),
    /// The item's bytes.
    pub(super) weigh: fn(&T) -> usize,
    /// Rows that may be in memory together.
    pub(super) together: usize,
}

async fn run(inner: &Inner, (text, values): Statement<Value>) -> Step<Vec<Row>> {
    let types: Vec<Type> = values.iter().map(Value::kind).collect();
    let bound: Vec<_> = values.iter().map(Value::bound).collect();
    inner.database.once_text(&numbered(&text), &types, &bound).await
}

/// What is found from a place on.
async fn side<T>(
    listing: &Listing<Value>,
    inner: &Inner,
    (order, from, wanted): (Order, Option<(u128, bool)>, usize),
    reading: &Reading<'_, T>,
) -> Step<Seen<T>> {
    let mut look = Look::new(listing, order, from, wanted);
    while !look.is_over() {
        if let Some(statement) = look.edge_statement() {
            let rows = run(inner, statement).await?;
            let edge = rows.first().map(|row| Value::read(row, listing.key()));
            look.set_edge(edge.transpose()?);
        }
        // Of what fits by its columns some may not fit all the same: more is read at once then.
        let mut limit = look.missing();
        loop {
            limit = limit.min(reading.together);
            let (mut text, mut values) = look.statement();
            text.push_str(" LIMIT ?");
            values.push(Value::Number(count(limit)));
            let rows = run(inner, (text, values)).await?;
            let ended = rows.len() < limit;
            let mut last = None;
            for row in &rows {
                let (key, item) = (reading.read)(row)?;
                last = Some(key);
                if look.take(key, item, reading.weigh) {
                    break;
                }
            }
            if look.is_over() {
                break;
            }
            let Some(last) = last.filter(|_| !ended) else {
                look.turn();
                break;
            };
            look.go_on(last);
            limit *= 4;
        }
    }
    Ok(look.seen())
}

/// The page that is asked for.
pub(super) async fn page<T>(
    listing: &Listing<Value>,
    inner: &Inner,
    request: &PageRequest,
    reading: Reading<'_, T>,
) -> Step<Page<T>> {
    let wanted = request.limit() + 1;
    let side =
        async |order, from, wanted| side(listing, inner, (order, from, wanted), &reading).await;
    let any = |seen: &Seen<T>| !seen.items.is_empty() || seen.ended.is_some();
    let (ahead, behind) = match request.place() {
        Place::First => (side(Order::Falling, None, wanted).await?, false),
        Place::After(at) => (
            side(Order::Falling, Some((at.key(), false)), wanted).await?,
            any(&side(Order::Rising, Some((at.key(), true)), 1).await?),
        ),
        Place::Before(at) => (
            side(Order::Rising, Some((at.key(), false)), wanted).await?,
            any(&side(Order::Falling, Some((at.key(), true)), 1).await?),
        ),
    };
    Ok(Page::of_look(request, ahead, behind))
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

const WEBHOOKS: Source<Value> = Source {
    select: "SELECT w.id, r.record FROM {s}.webhook w JOIN {s}.registration r ON r.webhook = w.key",
    table: "{s}.webhook w",
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
        (Some(false), None) => listing.anchor("NOT w.enabled AND w.ended IS NULL", []),
        (Some(enabled), _) => {
            listing.narrow("w.ended IS NULL AND w.enabled = ?", [Value::Flag(enabled)]);
        }
        (None, _) => listing.narrow("w.ended IS NULL", []),
    }
    listing.anchor_to_account("w", account);
    listing.narrow_to_mode("w", mode);
    listing
}

/// How many webhooks there are, up to `most`.
pub(super) async fn count_webhooks(
    inner: &Inner,
    group: &WebhookGroup,
    most: usize,
) -> Step<usize> {
    let listing = webhooks_alike(group.account.as_ref(), group.mode, group.enabled);
    let rows = run(inner, listing.count(most)).await?;
    let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Lists webhooks, by falling id.
pub(super) async fn webhooks(
    inner: &Inner,
    query: &WebhookQuery,
    request: &PageRequest,
) -> Step<Page<Webhook>> {
    let mut listing = webhooks_alike(query.account.as_ref(), query.mode, query.enabled);
    if let Some(id) = query.id {
        listing.anchor("w.id = ?", [Value::Id(id.uuid())]);
    }
    if let Some(text) = &query.text {
        // What a text column cannot hold is in none of them.
        let text = text.to_ascii_lowercase().replace('\0', "\n\n");
        listing.narrow("strpos(r.search, ?) > 0", [Value::Text(text)]);
    }
    let read = |row: &Row| {
        let webhook = Webhook::from_stored(row.try_get(1)?)?;
        // What the columns cannot tell is left to the query itself.
        let fits = query.matches(&webhook);
        Ok((webhook.id().uuid().as_u128(), fits.then_some(webhook)))
    };
    let reading = Reading { read: &read, weigh: |_| 0, together: POSTGRES_LISTING_ROWS };
    page(&listing, inner, request, reading).await
}

const EVENTS: Source<Value> = Source {
    select: concat!("SELECT e.seq, ", event_columns!(), " FROM {s}.event e"),
    table: "{s}.event e",
    key: "e.seq",
    cursor: number_cursor,
    rows: LISTING_ROWS,
};

/// Lists events, by falling number of publish.
pub(super) async fn events(
    inner: &Inner,
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
        listing.anchor("e.id = ?", [Value::Id(id.uuid())]);
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
        Ok((seq.cast_unsigned().into(), Some(rows::event(row, 1)?)))
    };
    let reading = Reading { read: &read, weigh: Event::bytes, together: POSTGRES_LISTING_PAYLOADS };
    page(&listing, inner, request, reading).await
}

/// Any of these.
fn narrow_to_types(listing: &mut Listing<Value>, types: &[Filter]) {
    if types.is_empty() || types.iter().any(|filter| filter.as_str() == "*") {
        return;
    }
    let mut choices = Vec::with_capacity(types.len());
    let mut values = Vec::new();
    for filter in types {
        let (choice, text) = match filter.as_str().strip_suffix('*') {
            Some(prefix) => ("starts_with(e.type, ?)", prefix),
            None => ("e.type = ?", filter.as_str()),
        };
        choices.push(choice);
        values.push(Value::Text(text.to_owned()));
    }
    listing.narrow(format!("({})", choices.join(" OR ")), values);
}

const ATTEMPTS: Query = Query::new(
    concat!(
        "SELECT a.delivery, a.number, ",
        attempt_columns!("a"),
        " FROM {s}.attempt a WHERE a.delivery = ANY ($1) ORDER BY a.delivery, a.number"
    ),
    &[Type::UUID_ARRAY],
);

const DELIVERIES: Source<Value> = Source {
    select: concat!(
        "SELECT ",
        delivery_columns!(),
        ", w.id, ",
        event_columns!(),
        ", ",
        attempt_columns!("d"),
        " FROM {s}.delivery d JOIN {s}.webhook w ON w.key = d.webhook \
         JOIN {s}.event e ON e.seq = d.event"
    ),
    table: "{s}.delivery d",
    key: "d.id",
    cursor: id_cursor,
    rows: LISTING_ROWS,
};

const OF_ACCOUNT: Query = Query::new(
    "SELECT key FROM {s}.webhook WHERE account = $1 AND ($2::boolean IS NULL OR mode = $2) LIMIT $3",
    &[Type::TEXT, Type::BOOL, Type::INT8],
);

/// The numbers of all webhooks whose deliveries are asked for, where nothing else narrows them and there are
/// few: an account's deliveries may be few among many.
async fn webhooks_of(inner: &Inner, query: &DeliveryQuery) -> Step<Option<Vec<Value>>> {
    let narrow = query.id.is_none() && query.event.is_none() && query.webhook.is_none();
    let Some(account) = query.account.as_ref().filter(|_| narrow) else { return Ok(None) };
    let (account, mode) = (account.as_str(), query.mode.map(Mode::is_live));
    let values: [&(dyn ToSql + Sync); 3] = [&account, &mode, &count(LISTING_WEBHOOKS + 1)];
    let found = inner.database.once(&OF_ACCOUNT, &values).await?;
    if found.len() > LISTING_WEBHOOKS {
        return Ok(None);
    }
    let keys = found.iter().map(|row| Ok(Value::Number(row.try_get(0)?)));
    Ok(Some(keys.collect::<Step<_>>()?))
}

/// Lists deliveries with their events and attempts, by falling id.
pub(super) async fn deliveries(
    inner: &Inner,
    query: &DeliveryQuery,
    request: &PageRequest,
) -> Step<Page<DeliveryView>> {
    const EVENT: usize = DELIVERY_COLUMNS + 1;
    const ATTEMPT: usize = EVENT + EVENT_COLUMNS;
    let mut listing = Listing::new(DELIVERIES);
    if let Some(id) = query.id {
        listing.anchor("d.id = ?", [Value::Id(id.uuid())]);
    }
    if let Some(event) = query.event {
        let (low, high) = DeliveryId::range_of(event);
        let range = [Value::Id(low.uuid()), Value::Id(high.uuid())];
        listing.anchor("d.id BETWEEN ? AND ?", range);
        listing.narrow("e.id = ?", [Value::Id(event.uuid())]);
    }
    if let Some(webhook) = query.webhook {
        let key = "d.webhook = (SELECT key FROM {s}.webhook WHERE id = ?)";
        listing.anchor(key, [Value::Id(webhook.uuid())]);
    }
    match webhooks_of(inner, query).await? {
        Some(webhooks) => listing.among("d.webhook", webhooks),
        // A delivery's webhook is of its event's account and mode, and the smaller row.
        None => {
            listing.narrow_to_account("w", query.account.as_ref());
            listing.narrow_to_mode("w", query.mode);
        }
    }
    let states = query.states.iter().map(|state| rows::state_number(*state));
    match states.collect::<Vec<_>>()[..] {
        [] => {}
        // Which rows these are the tables say, or an index.
        [state @ 0..=1] => listing.anchor(format!("d.state = {state}"), []),
        [state] if state > 2 => listing.anchor(format!("d.state > 2 AND d.state = {state}"), []),
        ref states => {
            let states: Vec<_> = states.iter().map(ToString::to_string).collect();
            listing.narrow(format!("d.state IN ({})", states.join(", ")), []);
        }
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
        Ok((key, Some(view)))
    };
    let (weigh, together) = (DeliveryView::bytes, POSTGRES_LISTING_PAYLOADS);
    let reading = Reading { read: &read, weigh, together };
    let mut page = page(&listing, inner, request, reading).await?;
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
