//! What may be taken away, and how much there is.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::fault::Step;
use super::rows;
use super::writer::Db;
use crate::ground::account::Account;
use crate::ground::id::{DeliveryId, EventId};
use crate::ground::time::to_millis;
use crate::ports::storage::{Expunge, Expunged, Expunging, TableSize};

/// One step of expunging. What is overwritten is overwritten in the file, too.
pub(super) fn expunge(db: &mut Db, expunge: &Expunge) -> Step<Expunged> {
    let conn = &db.conn;
    conn.pragma_update(None, "secure_delete", 1)?;
    let done = step(conn, expunge);
    conn.pragma_update(None, "secure_delete", 0)?;
    done
}

fn step(conn: &Connection, expunge: &Expunge) -> Step<Expunged> {
    let mut done = Expunged::default();
    match &expunge.what {
        Expunging::Event(id) => {
            let sql = "SELECT seq FROM tidings_event WHERE id = ?1";
            let bytes = id.uuid();
            let mut found = conn.prepare_cached(sql)?;
            let found = found.query_row([bytes.as_bytes().as_slice()], |row| row.get(0));
            if let Some(seq) = found.optional()? {
                done.events = usize::from(one(conn, seq, *id)?);
            }
        }
        Expunging::Account { account, before } => {
            let sql = "SELECT seq, id FROM tidings_event \
                       WHERE account = ?1 AND seq > ?2 AND published < ?3 ORDER BY seq LIMIT ?4";
            let limit = i64::try_from(expunge.limit).unwrap_or(i64::MAX);
            let after = expunge.after.map_or(0, u64::cast_signed);
            let before = rows::millis(to_millis(*before));
            let mut select = conn.prepare_cached(sql)?;
            let mut found = select.query(params![account.as_str(), after, before, limit])?;
            let mut events: Vec<(i64, EventId)> = Vec::new();
            while let Some(row) = found.next()? {
                events.push((row.get(0)?, EventId::from_uuid(rows::uuid(row, 1)?)));
            }
            for (seq, id) in &events {
                done.events += usize::from(one(conn, *seq, *id)?);
            }
            let full = events.len() == expunge.limit;
            done.next = events.last().filter(|_| full).map(|(seq, _)| seq.cast_unsigned());
        }
    }
    Ok(done)
}

/// Expunges an event, and what was answered to it. Says whether it was there to be expunged.
fn one(conn: &Connection, seq: i64, id: EventId) -> Step<bool> {
    let sql = "UPDATE tidings_event SET payload = '', renderings = NULL \
               WHERE seq = ?1 AND payload <> ''";
    let new = conn.prepare_cached(sql)?.execute([seq])? > 0;
    let (low, high) = DeliveryId::range_of(id);
    let (low, high) = (low.uuid(), high.uuid());
    let sql = "UPDATE tidings_attempt SET response = NULL WHERE response IS NOT NULL \
               AND delivery IN (SELECT id FROM tidings_delivery \
               WHERE id BETWEEN ?1 AND ?2 AND event = ?3)";
    let values = params![low.as_bytes().as_slice(), high.as_bytes().as_slice(), seq];
    conn.prepare_cached(sql)?.execute(values)?;
    Ok(new)
}

/// What waits and what is to be routed, each from an index of its own, as far as `most`.
pub(super) fn backlog(conn: &Connection, account: Option<&Account>, most: usize) -> Step<usize> {
    const ALL: [&str; 2] = [
        "SELECT count(*) FROM (SELECT 1 FROM tidings_delivery WHERE state <= 0 LIMIT ?1)",
        "SELECT count(*) FROM (SELECT 1 FROM tidings_mark LIMIT ?1)",
    ];
    const OF: [&str; 3] = [
        "SELECT count(*) FROM (SELECT 1 FROM tidings_webhook w CROSS JOIN tidings_delivery d \
         ON d.webhook = w.key AND d.state = 0 WHERE w.account = ?2 LIMIT ?1)",
        "SELECT count(*) FROM (SELECT 1 FROM tidings_webhook w CROSS JOIN tidings_delivery d \
         ON d.webhook = w.key AND d.order_key IS NOT NULL AND d.state < 2 AND d.state = -1 \
         WHERE w.account = ?2 AND w.needs = 2 LIMIT ?1)",
        "SELECT count(*) FROM (SELECT 1 FROM tidings_mark WHERE account = ?2 LIMIT ?1)",
    ];
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut count: i64 = 0;
    match account {
        None => {
            for sql in ALL {
                let found = conn.prepare_cached(sql)?.query_row([most], |row| row.get::<_, i64>(0));
                count += found?;
            }
        }
        Some(account) => {
            for sql in OF {
                let values = params![most, account.as_str()];
                let found = conn.prepare_cached(sql)?.query_row(values, |row| row.get::<_, i64>(0));
                count += found?;
            }
        }
    }
    Ok(usize::try_from(count.min(most)).unwrap_or_default())
}

/// The tables with their indexes. A SQLite that was built without `dbstat` does not know their bytes.
pub(super) fn sizes(conn: &Connection) -> Step<Vec<TableSize>> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' \
               AND name LIKE 'tidings\\_%' ESCAPE '\\' ORDER BY name";
    let mut names = conn.prepare(sql)?;
    let names: Vec<String> = names.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let bytes = "SELECT sum(s.pgsize) FROM sqlite_master m JOIN dbstat s ON s.name = m.name \
                 WHERE m.tbl_name = ?1 AND s.aggregate = TRUE";
    let mut bytes = conn.prepare(bytes).ok();
    let mut sizes = Vec::with_capacity(names.len());
    for name in names {
        // The name is one of this crate's own tables.
        let rows = format!("SELECT count(*) FROM \"{name}\"");
        let rows: i64 = conn.query_row(&rows, [], |row| row.get(0))?;
        let of = bytes.as_mut().map(|bytes| bytes.query_row([&name], |row| row.get::<_, i64>(0)));
        let of = of.transpose()?;
        let (rows, bytes) = (rows.cast_unsigned(), of.map(i64::cast_unsigned));
        sizes.push(TableSize { name, rows, bytes });
    }
    Ok(sizes)
}
