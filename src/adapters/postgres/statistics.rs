//! Statistics: numbers that are added to in the transaction in which things happen.
//!
//! Several nodes may add to the same number at once, and who comes second waits for the commit of the
//! first. So each number has a few parts, of which a dispatcher adds to one; and what a call adds is
//! its last statement, in the order of the keys, so that nobody waits for long and never in a circle.

use tokio_postgres::types::Type;

use super::Inner;
use super::fault::Step;
use super::rows::count;
use super::tx::{Query, Tx, Value};
use crate::ground::id::DispatcherId;
use crate::ground::statistics::{Additions, Hour, Measure, StatisticsQuery};
use crate::ports::statistics::Counted;

/// Parts of a number.
const PARTS: u8 = 16;

/// The part of a dispatcher. The end of an id is random.
pub(super) fn part(dispatcher: DispatcherId) -> i16 {
    let last = dispatcher.uuid().as_bytes().last().copied().unwrap_or_default();
    (last % PARTS).into()
}

/// What sweeps add to: there is one at a time.
pub(super) const SWEEPS: i16 = 0;

// The totals come last: each is everybody's.
const ADD: Query = Query::new(
    "WITH n AS MATERIALIZED ( \
         SELECT n.webhook, n.hour, n.measure, n.count, w.account, w.mode \
         FROM unnest($1, $2, $3, $5) AS n(webhook, hour, measure, count) \
         CROSS JOIN LATERAL (SELECT account, mode FROM {s}.webhook WHERE key = n.webhook OFFSET 0) w), \
     added AS ( \
         INSERT INTO {s}.statistic AS s (webhook, hour, measure, part, count) \
         SELECT webhook, hour, measure, $4, count FROM n \
         ON CONFLICT (webhook, hour, measure, part) DO UPDATE SET count = s.count + excluded.count \
         RETURNING 1) \
     INSERT INTO {s}.total AS t (account, hour, mode, measure, part, count) \
     SELECT coalesce(account, ''), hour, mode, measure, $4, sum(count)::bigint FROM n \
     WHERE (SELECT count(*) FROM added) >= 0 \
     GROUP BY GROUPING SETS ((account, hour, mode, measure), (hour, mode, measure)) \
     ORDER BY 1 DESC, 2, 3, 4 \
     ON CONFLICT (account, hour, mode, measure, part) DO UPDATE SET count = t.count + excluded.count",
    &[Type::INT8_ARRAY, Type::INT4_ARRAY, Type::INT2_ARRAY, Type::INT2, Type::INT8_ARRAY],
);

/// Adds, by the keys of webhooks.
pub(super) async fn add(tx: &Tx<'_>, part: i16, additions: &Additions<i64>) -> Step<()> {
    if additions.is_empty() {
        return Ok(());
    }
    let webhook: Vec<i64> = additions.iter().map(|(webhook, ..)| webhook).collect();
    let hour: Vec<i32> = additions.iter().map(|(_, hour, ..)| hour.number()).collect();
    let measure: Vec<i16> = additions.iter().map(|(.., measure, _)| measure.to_bits()).collect();
    let counts = additions.iter().map(|(.., count)| i64::try_from(count).unwrap_or(i64::MAX));
    let counts: Vec<i64> = counts.collect();
    tx.run(&ADD, &[&webhook, &hour, &measure, &part, &counts]).await
}

const OF_WEBHOOK: Query = Query::new(
    "SELECT s.hour, s.measure, sum(s.count)::bigint FROM {s}.webhook w \
     CROSS JOIN LATERAL (SELECT c.hour, c.measure, c.count FROM {s}.statistic c \
     WHERE c.webhook = w.key AND c.hour >= $1 AND c.hour < $2 OFFSET 0) s \
     WHERE ($3::boolean IS NULL OR w.mode = $3) AND ($4 = '' OR w.account = $4) AND w.id = $5 \
     GROUP BY s.hour, s.measure",
    &[Type::INT4, Type::INT4, Type::BOOL, Type::TEXT, Type::UUID],
);
const OF_ACCOUNT: Query = Query::new(
    "SELECT s.hour, s.measure, sum(s.count)::bigint FROM {s}.total s \
     WHERE s.hour >= $1 AND s.hour < $2 AND ($3::boolean IS NULL OR s.mode = $3) AND s.account = $4 \
     GROUP BY s.hour, s.measure",
    &[Type::INT4, Type::INT4, Type::BOOL, Type::TEXT],
);

/// What was counted.
pub(super) async fn counts(inner: &Inner, query: &StatisticsQuery) -> Step<Vec<Counted>> {
    let hours = query.hours();
    let (start, end) = (hours.start.number(), hours.end.number());
    let mode = query.only_mode().map(|mode| mode.is_live());
    let webhook = query.only_webhook().map(|webhook| webhook.uuid());
    // All accounts have their totals under an empty name, which no account has.
    let account = query.only_account().map_or("", |account| account.as_str());
    let mut values: Vec<Value<'_>> = vec![&start, &end, &mode, &account];
    let query = match &webhook {
        Some(webhook) => {
            values.push(webhook);
            &OF_WEBHOOK
        }
        None => &OF_ACCOUNT,
    };
    let rows = inner.database.once(query, &values).await?;
    let counted = |row: &tokio_postgres::Row| {
        Ok(Counted {
            hour: Hour::from_number(row.try_get(0)?),
            measure: Measure::from_bits(row.try_get(1)?),
            count: row.try_get::<_, i64>(2)?.cast_unsigned(),
        })
    };
    rows.iter().map(counted).collect()
}

// What somebody else is at is for the next step.
const FORGET: Query = Query::new(
    "DELETE FROM {s}.statistic WHERE ctid = ANY (ARRAY (SELECT ctid FROM {s}.statistic \
     WHERE hour < $1 ORDER BY hour LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1",
    &[Type::INT4, Type::INT8],
);

// There are two for each webhook's at most, and they go with them.
const FORGET_TOTALS: Query = Query::new(
    "DELETE FROM {s}.total WHERE ctid = ANY (ARRAY (SELECT ctid FROM {s}.total \
     WHERE hour < $1 ORDER BY hour LIMIT 2 * $2 FOR UPDATE SKIP LOCKED)) RETURNING 1",
    &[Type::INT4, Type::INT8],
);

/// Forgets numbers of hours before `hour`, at most `limit`.
pub(super) async fn forget(inner: &Inner, hour: Hour, limit: usize) -> Step<usize> {
    let gone = inner.database.once(&FORGET, &[&hour.number(), &count(limit)]).await?;
    inner.database.once(&FORGET_TOTALS, &[&hour.number(), &count(limit)]).await?;
    Ok(gone.len())
}
