//! What may be taken away, and how much there is.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::append;
use super::fault::Step;
use super::rows;
use super::writer::Db;
use crate::ground::account::Account;
use crate::ground::id::{DeliveryId, EventId};
use crate::ports::storage::{Expunge, ExpungePlace, Expunged, Expunging, TableSize};

/// One step of expunging. What is overwritten is overwritten in the file, too.
pub(super) fn expunge(db: &mut Db, expunge: &Expunge) -> Step<Expunged> {
    let conn = &db.conn;
    let before: i64 = conn.query_row("PRAGMA secure_delete", [], |row| row.get(0))?;
    conn.pragma_update(None, "secure_delete", 1)?;
    let done = step(conn, expunge);
    let restored = conn.pragma_update(None, "secure_delete", before);
    let done = done?;
    restored?;
    Ok(done)
}

fn step(conn: &Connection, expunge: &Expunge) -> Step<Expunged> {
    // All events of a host without tenants are in one account, which the index leaves out.
    const OF_DEFAULT: &str = "SELECT seq, id FROM tidings_event \
         WHERE account = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4";
    const OF_ANOTHER: &str = "SELECT seq, id FROM tidings_event WHERE account = ?1 \
         AND account <> 'default' AND seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4";
    let (mut events, place) = (Vec::<(i64, EventId)>::new(), expunge.begins(append::last(conn)?));
    match &expunge.what {
        Expunging::Event(id) => {
            let bytes = id.uuid();
            let sql = "SELECT seq FROM tidings_event WHERE id = ?1";
            let mut found = conn.prepare_cached(sql)?;
            let found = found.query_row([bytes.as_bytes().as_slice()], |row| row.get(0));
            events.extend(found.optional()?.map(|seq| (seq, *id)));
        }
        Expunging::Account(account) => {
            let limit = rows::bound(expunge.limit);
            let (after, through) = (place.after.cast_signed(), place.through.cast_signed());
            let default = *account == Account::default();
            let sql = if default { OF_DEFAULT } else { OF_ANOTHER };
            let mut select = conn.prepare_cached(sql)?;
            let mut found = select.query(params![account.as_str(), after, through, limit])?;
            while let Some(row) = found.next()? {
                events.push((row.get(0)?, EventId::from_uuid(rows::uuid(row, 1)?)));
            }
        }
    }
    let mut done = Expunged::default();
    let budget = expunge.bodies();
    for (seq, id) in &events {
        done.events += usize::from(empty(conn, *seq)?);
        done.answers += answers(conn, *seq, *id, budget - done.answers)?;
        if done.answers >= budget {
            // The rest of this one is for the next step.
            done.next = Some(ExpungePlace { after: (seq - 1).cast_unsigned(), ..place });
            return Ok(done);
        }
    }
    let last = events.last().map(|(seq, _)| seq.cast_unsigned());
    done.next = last.and_then(|last| expunge.ends(place, events.len(), last));
    Ok(done)
}

/// Empties an event. Says whether it was there to be emptied.
fn empty(conn: &Connection, seq: i64) -> Step<bool> {
    let sql = "UPDATE tidings_event SET payload = '', renderings = NULL, trace = NULL \
               WHERE seq = ?1 AND payload <> ''";
    Ok(conn.prepare_cached(sql)?.execute([seq])? > 0)
}

/// Empties what was answered to an event, as far as `most`.
fn answers(conn: &Connection, seq: i64, id: EventId, most: usize) -> Step<usize> {
    let (low, high) = DeliveryId::range_of(id);
    let (low, high) = (low.uuid(), high.uuid());
    let sql = "SELECT a.delivery, a.number FROM tidings_delivery d \
               CROSS JOIN tidings_attempt a ON a.delivery = d.id \
               WHERE d.id BETWEEN ?1 AND ?2 AND d.event = ?3 AND a.response IS NOT NULL LIMIT ?4";
    let most = rows::bound(most);
    let values = params![low.as_bytes().as_slice(), high.as_bytes().as_slice(), seq, most];
    let found: Vec<([u8; 16], i64)> = conn
        .prepare_cached(sql)?
        .query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let sql = "UPDATE tidings_attempt SET response = NULL WHERE delivery = ?1 AND number = ?2";
    let mut update = conn.prepare_cached(sql)?;
    for (delivery, number) in &found {
        update.execute(params![delivery.as_slice(), number])?;
    }
    Ok(found.len())
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
    let most = rows::bound(most);
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
