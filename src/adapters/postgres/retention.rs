//! What may be taken away, and how much there is.

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Inner;
use super::fault::Step;
use super::rows::{self, count};
use super::tx::{Query, Tx};
use crate::ground::account::Account;
use crate::ground::id::{DeliveryId, EventId};
use crate::ground::time::to_millis;
use crate::ports::storage::{Expunge, Expunged, Expunging, TableSize};

const EVENT: Query = Query::new("SELECT seq, id FROM {s}.event WHERE id = $1", &[Type::UUID]);
const ACCOUNT: Query = Query::new(
    "SELECT seq, id FROM {s}.event WHERE account = $1 AND seq > $2 AND published < $3 \
     ORDER BY seq LIMIT $4",
    &[Type::TEXT, Type::INT8, Type::INT8, Type::INT8],
);
const EMPTY: Query = Query::new(
    "UPDATE {s}.event SET payload = '', renderings = NULL WHERE seq = ANY ($1) AND payload <> '' \
     RETURNING seq",
    &[Type::INT8_ARRAY],
);
// What is settled while this runs keeps its answer: the second look, after the lock on the event, is
// for those that were settled before.
const ENDED: Query = Query::new(
    "UPDATE {s}.ended d SET response = NULL FROM unnest($1, $2, $3) AS o(seq, low, high) \
     WHERE d.id BETWEEN o.low AND o.high AND d.event = o.seq AND d.response IS NOT NULL",
    &[Type::INT8_ARRAY, Type::UUID_ARRAY, Type::UUID_ARRAY],
);
const ATTEMPTS: Query = Query::new(
    "UPDATE {s}.attempt a SET response = NULL FROM unnest($1, $2, $3) AS o(seq, low, high) \
     CROSS JOIN LATERAL (SELECT d.id FROM {s}.delivery d \
         WHERE d.id BETWEEN o.low AND o.high AND d.event = o.seq) d \
     WHERE a.delivery = d.id AND a.response IS NOT NULL",
    &[Type::INT8_ARRAY, Type::UUID_ARRAY, Type::UUID_ARRAY],
);

/// One step of expunging. The old rows are there until they are vacuumed.
pub(super) async fn expunge(inner: &Inner, expunge: &Expunge) -> Step<Expunged> {
    let tx = inner.database.begin().await?;
    let result = work(&tx, expunge).await;
    tx.end(result).await
}

async fn work(tx: &Tx<'_>, expunge: &Expunge) -> Step<Expunged> {
    let found = match &expunge.what {
        Expunging::Event(id) => tx.rows(&EVENT, &[&id.uuid()]).await?,
        Expunging::Account { account, before } => {
            let after = expunge.after.map_or(0, u64::cast_signed);
            let before = rows::millis(to_millis(*before));
            let limit = count(expunge.limit);
            tx.rows(&ACCOUNT, &[&account.as_str(), &after, &before, &limit]).await?
        }
    };
    let (mut seqs, mut lows, mut highs) = (Vec::new(), Vec::new(), Vec::new());
    for row in &found {
        let id = EventId::from_uuid(row.try_get::<_, Uuid>(1)?);
        let (low, high) = DeliveryId::range_of(id);
        seqs.push(row.try_get::<_, i64>(0)?);
        lows.push(low.uuid());
        highs.push(high.uuid());
    }
    if seqs.is_empty() {
        return Ok(Expunged::default());
    }
    let events = tx.rows(&EMPTY, &[&seqs]).await?.len();
    tx.run(&ENDED, &[&seqs, &lows, &highs]).await?;
    tx.run(&ATTEMPTS, &[&seqs, &lows, &highs]).await?;
    let paged = matches!(expunge.what, Expunging::Account { .. });
    let full = paged && seqs.len() == expunge.limit;
    let next = seqs.last().filter(|_| full).map(|seq| seq.cast_unsigned());
    Ok(Expunged { events, next })
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
    let size = |row: &tokio_postgres::Row| {
        let (rows, bytes): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
        let (rows, bytes) = (rows.cast_unsigned(), Some(bytes.cast_unsigned()));
        Ok(TableSize { name: row.try_get(0)?, rows, bytes })
    };
    rows.iter().map(size).collect()
}
