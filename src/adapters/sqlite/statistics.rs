//! Statistics: numbers that are added to in the transaction in which things happen.

use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::fault::Step;
use super::rows;
use super::writer::Db;
use crate::ground::statistics::{Additions, Hour, Measure, StatisticsQuery};
use crate::ports::statistics::Counted;

/// Adds, by the keys of webhooks.
pub(super) fn add(conn: &Connection, additions: &Additions<i64>) -> Step<()> {
    if additions.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO tidings_statistic (webhook, hour, measure, count) VALUES (?1, ?2, ?3, ?4) \
               ON CONFLICT DO UPDATE SET count = count + excluded.count";
    let mut upsert = conn.prepare_cached(sql)?;
    for (webhook, hour, measure, count) in additions.iter() {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        upsert.execute(params![webhook, hour.number(), measure.to_bits(), count])?;
    }
    Ok(())
}

/// What was counted.
pub(super) fn counts(conn: &Connection, query: &StatisticsQuery) -> Step<Vec<Counted>> {
    let hours = query.hours();
    let mut values: Vec<Value> =
        vec![i64::from(hours.start.number()).into(), i64::from(hours.end.number()).into()];
    let mut sql = "SELECT s.hour, s.measure, sum(s.count) FROM tidings_webhook w \
                   CROSS JOIN tidings_statistic s \
                   WHERE s.webhook = w.key AND s.hour >= ?1 AND s.hour < ?2"
        .to_owned();
    let mut narrow = |column: &str, value: Value| {
        values.push(value);
        sql.push_str(&format!(" AND w.{column} = ?{}", values.len()));
    };
    if let Some(webhook) = query.only_webhook() {
        narrow("id", webhook.uuid().as_bytes().to_vec().into());
    }
    if let Some(account) = query.only_account() {
        narrow("account", account.as_str().to_owned().into());
    }
    if let Some(mode) = query.only_mode() {
        narrow("mode", rows::mode(mode).into());
    }
    sql.push_str(" GROUP BY s.hour, s.measure");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Counted {
            hour: Hour::from_number(row.get(0)?),
            measure: Measure::from_bits(row.get(1)?),
            count: row.get::<_, i64>(2)?.cast_unsigned(),
        });
    }
    Ok(found)
}

/// Forgets numbers of hours before `hour`, at most `limit`.
pub(super) fn forget(db: &mut Db, hour: Hour, limit: usize) -> Step<usize> {
    let sql = "DELETE FROM tidings_statistic WHERE (webhook, hour, measure) IN \
               (SELECT webhook, hour, measure FROM tidings_statistic WHERE hour < ?1 \
                ORDER BY hour LIMIT ?2)";
    let limit = rows::bound(limit);
    Ok(db.conn.prepare_cached(sql)?.execute(params![hour.number(), limit])?)
}
