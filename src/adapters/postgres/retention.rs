//! What may be taken away, and how much there is.

use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Inner;
use super::append;
use super::fault::Step;
use super::rows::count;
use super::tx::{Query, Tx};
use crate::ground::account::Account;
use crate::ground::id::{DeliveryId, EventId};
use crate::ports::storage::{Expunge, ExpungePlace, Expunged, Expunging, TableSize};

const EVENT: Query = Query::new("SELECT seq, id FROM {s}.event WHERE id = $1", &[Type::UUID]);
// All events of a host without tenants are in one account, which the index leaves out; that another is
// meant must stand in the text.
const OF_DEFAULT: Query = Query::new(
    "SELECT seq, id FROM {s}.event WHERE account = $1 AND seq > $2 AND seq <= $3 \
     ORDER BY seq LIMIT $4",
    &[Type::TEXT, Type::INT8, Type::INT8, Type::INT8],
);
const OF_ANOTHER: Query = Query::new(
    "SELECT seq, id FROM {s}.event WHERE account = $1 AND account <> 'default' \
     AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4",
    &[Type::TEXT, Type::INT8, Type::INT8, Type::INT8],
);
const EMPTY: Query = Query::new(
    "UPDATE {s}.event SET payload = '', renderings = NULL, trace = NULL WHERE seq = $1 AND payload <> '' \
     RETURNING seq",
    &[Type::INT8],
);
// Each look by itself and in the order of an index (LIMIT, ORDER BY): as joins they would be with the
// whole tables.
const ENDED: Query = Query::new(
    "WITH part AS MATERIALIZED (SELECT d.id FROM {s}.ended d WHERE d.id BETWEEN $2 AND $3 \
         AND d.event = $1 AND d.response IS NOT NULL ORDER BY d.id LIMIT $4) \
     UPDATE {s}.ended SET response = NULL WHERE id = ANY (ARRAY (SELECT id FROM part)) RETURNING id",
    &[Type::INT8, Type::UUID, Type::UUID, Type::INT8],
);
const ATTEMPTS: Query = Query::new(
    "WITH part AS MATERIALIZED (SELECT a.delivery, a.number FROM \
         (SELECT d.id FROM {s}.delivery d WHERE d.id BETWEEN $2 AND $3 AND d.event = $1 OFFSET 0) d \
         CROSS JOIN LATERAL (SELECT a.delivery, a.number FROM {s}.attempt a \
         WHERE a.delivery = d.id AND a.response IS NOT NULL OFFSET 0) a LIMIT $4) \
     UPDATE {s}.attempt a SET response = NULL FROM part \
     WHERE a.delivery = ANY (ARRAY (SELECT delivery FROM part)) \
     AND a.delivery = part.delivery AND a.number = part.number RETURNING a.number",
    &[Type::INT8, Type::UUID, Type::UUID, Type::INT8],
);

/// One step of expunging. The old rows are there until they are vacuumed.
pub(super) async fn expunge(inner: &Inner, expunge: &Expunge) -> Step<Expunged> {
    let tx = inner.database.begin().await?;
    let result = work(&tx, expunge).await;
    tx.end(result).await
}

async fn work(tx: &Tx<'_>, expunge: &Expunge) -> Step<Expunged> {
    let place = expunge.begins(append::last(tx).await?);
    let found = match &expunge.what {
        Expunging::Event(id) => tx.rows(&EVENT, &[&id.uuid()]).await?,
        Expunging::Account(account) => {
            let (after, through) = (place.after.cast_signed(), place.through.cast_signed());
            let limit = count(expunge.limit);
            let default = *account == Account::default();
            let query = if default { &OF_DEFAULT } else { &OF_ANOTHER };
            tx.rows(query, &[&account.as_str(), &after, &through, &limit]).await?
        }
    };
    let event = |row: &Row| Ok((row.try_get::<_, i64>(0)?, row.try_get::<_, Uuid>(1)?));
    let events = found.iter().map(event).collect::<Step<Vec<_>>>()?;
    let mut done = Expunged::default();
    let budget = expunge.bodies();
    for (seq, id) in &events {
        done.events += tx.rows(&EMPTY, &[seq]).await?.len();
        let (low, high) = DeliveryId::range_of(EventId::from_uuid(*id));
        for query in [&ENDED, &ATTEMPTS] {
            let most = count(budget - done.answers.min(budget));
            let emptied = tx.rows(query, &[seq, &low.uuid(), &high.uuid(), &most]).await?;
            done.answers += emptied.len();
        }
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

const ALL: Query = Query::new(
    "SELECT (SELECT count(*) FROM (SELECT FROM {s}.waiting LIMIT $1) x) \
     + (SELECT count(*) FROM (SELECT FROM {s}.mark LIMIT $1) x)",
    &[Type::INT8],
);
// Each webhook's by the index that its lane is claimed by.
const OF: Query = Query::new(
    "SELECT (SELECT count(*) FROM (SELECT FROM {s}.webhook w CROSS JOIN LATERAL \
         (SELECT FROM {s}.waiting d WHERE d.webhook = w.key LIMIT $1) d \
         WHERE w.account = $2 LIMIT $1) x) \
     + (SELECT count(*) FROM (SELECT FROM {s}.mark WHERE account = $2 LIMIT $1) x)",
    &[Type::INT8, Type::TEXT],
);

/// What waits and what is to be routed, as far as `most`.
pub(super) async fn backlog(inner: &Inner, account: Option<&Account>, most: usize) -> Step<usize> {
    let limit = count(most);
    let rows = match account {
        None => inner.database.once(&ALL, &[&limit]).await?,
        Some(account) => inner.database.once(&OF, &[&limit, &account.as_str()]).await?,
    };
    let found: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
    Ok(usize::try_from(found).unwrap_or_default().min(most))
}

// Rows as the last analysis or vacuum counted them.
const SIZES: Query = Query::new(
    "SELECT c.relname::text, greatest(c.reltuples, 0)::bigint, pg_total_relation_size(c.oid) \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind = 'r' AND '\"' || n.nspname || '\"' = '{s}' ORDER BY c.relname",
    &[],
);

/// The tables with their indexes.
pub(super) async fn sizes(inner: &Inner) -> Step<Vec<TableSize>> {
    let rows = inner.database.once(&SIZES, &[]).await?;
    let size = |row: &Row| {
        let (rows, bytes): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
        let (rows, bytes) = (rows.cast_unsigned(), Some(bytes.cast_unsigned()));
        Ok(TableSize { name: row.try_get(0)?, rows, bytes })
    };
    rows.iter().map(size).collect()
}
