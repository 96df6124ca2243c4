//! Statistics: numbers that are added to in the transaction in which things happen.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};

use super::fault::Step;
use super::rows;
use super::writer::Db;
use crate::ground::account::Account;
use crate::ground::statistics::{Additions, Hour, Measure, StatisticsQuery};
use crate::ports::statistics::Counted;

/// Stands for all accounts among the totals: no account has this name.
const ALL: &str = "";

/// Adds, by the keys of webhooks.
pub(super) fn add(conn: &Connection, additions: &Additions<i64>) -> Step<()> {
    if additions.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO tidings_statistic (webhook, hour, measure, count) VALUES (?1, ?2, ?3, ?4) \
               ON CONFLICT DO UPDATE SET count = count + excluded.count";
    let mut upsert = conn.prepare_cached(sql)?;
    let mut place =
        conn.prepare_cached("SELECT account, mode FROM tidings_webhook WHERE key = ?1")?;
    let mut of: Option<(i64, String, i64)> = None;
    let mut totals: BTreeMap<(String, i64), BTreeMap<(i32, i16), i64>> = BTreeMap::new();
    for (webhook, hour, measure, count) in additions.iter() {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let (hour, measure) = (hour.number(), measure.to_bits());
        upsert.execute(params![webhook, hour, measure, count])?;
        if of.as_ref().is_none_or(|(known, ..)| *known != webhook) {
            let found = place.query_row([webhook], |row| Ok((webhook, row.get(0)?, row.get(1)?)));
            of = found.optional()?;
        }
        let Some((_, account, mode)) = &of else { continue };
        for name in [account.as_str(), ALL] {
            let numbers = totals.entry((name.to_owned(), *mode)).or_default();
            *numbers.entry((hour, measure)).or_default() += count;
        }
    }
    let sql = "INSERT INTO tidings_total (account, mode, hour, measure, count) \
               VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET count = count + excluded.count";
    let mut upsert = conn.prepare_cached(sql)?;
    for ((account, mode), numbers) in &totals {
        for ((hour, measure), count) in numbers {
            upsert.execute(params![account, mode, hour, measure, count])?;
        }
    }
    Ok(())
}

/// What was counted.
pub(super) fn counts(conn: &Connection, query: &StatisticsQuery) -> Step<Vec<Counted>> {
    let hours = query.hours();
    let mut values: Vec<Value> =
        vec![i64::from(hours.start.number()).into(), i64::from(hours.end.number()).into()];
    let mut narrows = Vec::new();
    let mut narrow = |column: &str, value: Value| {
        values.push(value);
        narrows.push(format!(" AND {column} = ?{}", values.len()));
    };
    let select = match query.only_webhook() {
        Some(webhook) => {
            narrow("w.id", webhook.uuid().as_bytes().to_vec().into());
            if let Some(account) = query.only_account() {
                narrow("w.account", account.as_str().to_owned().into());
            }
            if let Some(mode) = query.only_mode() {
                narrow("w.mode", rows::mode(mode).into());
            }
            "FROM tidings_webhook w CROSS JOIN tidings_statistic s ON s.webhook = w.key"
        }
        None => {
            let account = query.only_account().map_or(ALL, Account::as_str);
            narrow("s.account", account.to_owned().into());
            if let Some(mode) = query.only_mode() {
                narrow("s.mode", rows::mode(mode).into());
            }
            "FROM tidings_total s"
        }
    };
    let narrows = narrows.concat();
    let sql = format!(
        "SELECT s.hour, s.measure, sum(s.count) {select} \
         WHERE s.hour >= ?1 AND s.hour < ?2{narrows} GROUP BY s.hour, s.measure"
    );
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
    let number = hour.number();
    let gone = db.conn.prepare_cached(sql)?.execute(params![number, rows::bound(limit)])?;
    // There are two for each webhook's at most, and they go with them.
    let sql = "DELETE FROM tidings_total WHERE (account, hour, mode, measure) IN \
               (SELECT account, hour, mode, measure FROM tidings_total WHERE hour < ?1 \
                ORDER BY hour LIMIT ?2)";
    let limit = rows::bound(limit.saturating_mul(2));
    db.conn.prepare_cached(sql)?.execute(params![number, limit])?;
    Ok(gone)
}
