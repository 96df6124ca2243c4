//! Replays: jobs, and their steps.
//!
//! A step locks its job's row, which others pass over, then the lanes that get deliveries, then the events
//! that these are of, so that none is pruned meanwhile. What it looks at is read without a lock.

use std::collections::{HashMap, HashSet};

use futures_util::future::try_join;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Inner;
use super::append;
use super::fault::{Fault, Step};
use super::lanes::{self, Slot, slot_columns};
use super::listings::{self, Reading, Value};
use super::rows::{self, Inserts, count};
use super::sweep;
use super::tx::{Query, Tx};
use crate::adapters::listing::{Listing, Source};
use crate::adapters::passed::Passed;
use crate::ground::account::Mode;
use crate::ground::delivery::{Delivery, State, StateKind};
use crate::ground::event_type::EventType;
use crate::ground::id::{Cause, DeliveryId, EventId, ReplayId, WebhookId};
use crate::ground::page::{Page, PageRequest};
use crate::ground::policy::{
    LISTING_ROWS, POSTGRES_LISTING_ROWS, POSTGRES_PRUNE_STRETCH, REPLAY_DUE_MAX, REPLAY_REST_LONG,
    REPLAY_STEP_EVENTS, REPLAY_WAITING_MAX,
};
use crate::ground::replay::{ReplayJob, ReplayRoom, ReplayScope, ReplayState};
use crate::ground::replay_request::ReplayQuery;
use crate::ground::time::{Timestamp, after};
use crate::ports::replay::ReplayStepped;

const START: Query = Query::new(
    "INSERT INTO {s}.replay (id, account, mode, webhook, due, ended, record) \
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
    &[Type::UUID, Type::TEXT, Type::BOOL, Type::UUID, Type::INT8, Type::INT8, Type::TEXT],
);
const POSTPONE: Query = Query::new(
    "UPDATE {s}.replay SET due = $2 WHERE id = (SELECT id FROM {s}.replay \
     WHERE due <= $1 ORDER BY due, id LIMIT 1 FOR UPDATE SKIP LOCKED)",
    &[Type::INT8, Type::INT8],
);
const THERE: Query =
    Query::new("SELECT id FROM {s}.delivery WHERE id = ANY ($1)", &[Type::UUID_ARRAY]);
const FIND: Query =
    Query::new("SELECT record FROM {s}.replay WHERE id = $1 FOR UPDATE", &[Type::UUID]);
const DUE: Query = Query::new(
    "SELECT record FROM {s}.replay WHERE due <= $1 ORDER BY due, id LIMIT 1 \
     FOR UPDATE SKIP LOCKED",
    &[Type::INT8],
);
const NEXT: Query = Query::new("SELECT min(due) FROM {s}.replay WHERE due IS NOT NULL", &[]);
const WRITE: Query = Query::new(
    "UPDATE {s}.replay SET due = $2, ended = $3, record = $4 WHERE id = $1",
    &[Type::UUID, Type::INT8, Type::INT8, Type::TEXT],
);
const PRUNE: Query = Query::new(
    "DELETE FROM {s}.replay WHERE id IN (SELECT id FROM {s}.replay \
     WHERE ended < $1 AND due IS NULL ORDER BY ended LIMIT $2)",
    &[Type::INT8, Type::INT8],
);

/// Keeps a job, unless there is one with its id.
pub(super) async fn start(inner: &Inner, job: &ReplayJob) -> Step<ReplayJob> {
    let tx = inner.database.begin().await?;
    let result = async {
        let (id, webhook) = (job.id.uuid(), job.webhook().map(WebhookId::uuid));
        let mut job = job.clone();
        job.starts(append::last(&tx).await?);
        let (due, ended) = times(&job);
        let (account, live) = (job.account.as_str(), job.mode.is_live());
        let record = job.to_stored()?;
        tx.run(&START, &[&id, &account, &live, &webhook, &due, &ended, &record]).await?;
        // In a statement after it: it sees the row of somebody who was faster.
        find(&tx, job.id).await?.ok_or_else(|| Fault::unreadable("a replay that is not there"))
    };
    let result = result.await;
    tx.end(result).await
}

const REPLAYS: Source<Value> = Source {
    select: "SELECT r.id, r.record FROM {s}.replay r",
    table: "{s}.replay r",
    key: "r.id",
    cursor: listings::id_cursor,
    rows: LISTING_ROWS,
};

/// Lists jobs, by falling id.
pub(super) async fn jobs(
    inner: &Inner,
    query: &ReplayQuery,
    request: &PageRequest,
) -> Step<Page<ReplayJob>> {
    let mut listing = Listing::new(REPLAYS);
    listing.narrow_to_account("r", query.account.as_ref());
    listing.narrow_to_mode("r", query.mode);
    if let Some(id) = query.id {
        listing.anchor("r.id = ?", [Value::Id(id.uuid())]);
    }
    if let Some(webhook) = query.webhook {
        listing.narrow("r.webhook = ?", [Value::Id(webhook.uuid())]);
    }
    let read = |row: &Row| {
        let key = row.try_get::<_, Uuid>(0)?.as_u128();
        // One that is damaged, or that a newer version wrote, does not hide the others.
        let job = ReplayJob::from_stored(row.try_get(1)?).ok();
        Ok((key, job.filter(|job| query.matches(job))))
    };
    let reading = Reading { read: &read, weigh: |_| 0, together: POSTGRES_LISTING_ROWS };
    listings::page(&listing, inner, request, reading).await
}

/// Cancels a job.
pub(super) async fn cancel(inner: &Inner, id: ReplayId, now: Timestamp) -> Step<Option<ReplayJob>> {
    let tx = inner.database.begin().await?;
    let result = async {
        let Some(mut job) = find(&tx, id).await? else {
            return Ok(None);
        };
        job.cancel(now);
        write(&tx, &job).await?;
        Ok(Some(job))
    };
    let result = result.await;
    tx.end(result).await
}

/// Forgets jobs that ended before this time and have nothing left to do.
pub(super) async fn prune(tx: &Tx<'_>, before: i64, limit: i64) -> Step<()> {
    tx.run(&PRUNE, &[&before, &limit]).await
}

/// The columns of a job: when its next step is to be done, and when it ended.
fn times(job: &ReplayJob) -> (Option<i64>, Option<i64>) {
    (job.due.map(rows::millis), job.state.ended().map(rows::millis))
}

fn first(rows: &[Row]) -> Step<Option<ReplayJob>> {
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    Ok(Some(ReplayJob::from_stored(row.try_get(0)?)?))
}

async fn find(tx: &Tx<'_>, id: ReplayId) -> Step<Option<ReplayJob>> {
    first(&tx.rows(&FIND, &[&id.uuid()]).await?)
}

async fn write(tx: &Tx<'_>, job: &ReplayJob) -> Step<()> {
    let (due, ended) = times(job);
    tx.run(&WRITE, &[&job.id.uuid(), &due, &ended, &job.to_stored()?]).await
}

/// Puts off the job that is due first, whose step failed, so that it does not stand before the others.
pub(super) async fn postpone(inner: &Inner, now: Timestamp) -> Step<()> {
    let later = rows::millis(after(now, REPLAY_REST_LONG));
    inner.database.once(&POSTPONE, &[&rows::millis(now), &later]).await.map(drop)
}

/// One step of the job that is due first and that nobody else is at.
pub(super) async fn step(inner: &Inner, now: Timestamp) -> Step<ReplayStepped> {
    let tx = inner.database.begin().await?;
    let result = work(&tx, inner, now).await;
    tx.end(result).await
}

async fn work(tx: &Tx<'_>, inner: &Inner, now: Timestamp) -> Step<ReplayStepped> {
    let Some(mut job) = first(&tx.rows(&DUE, &[&rows::millis(now)]).await?)? else {
        return Ok(ReplayStepped { next_due: next_due(tx).await?, ..ReplayStepped::default() });
    };
    let stepper = Stepper { tx, inner, now };
    let made = match (job.state, job.scope) {
        (ReplayState::Running, ReplayScope::Range { webhook, from, .. }) => {
            stepper.range(&mut job, webhook, from).await?
        }
        (ReplayState::Running, ReplayScope::Event { event, webhook }) => {
            stepper.event(&mut job, event, webhook).await?
        }
        _ => {
            stepper.withdraw(&mut job).await?;
            0
        }
    };
    write(tx, &job).await?;
    Ok(ReplayStepped { job: Some(job), made, next_due: next_due(tx).await? })
}

async fn next_due(tx: &Tx<'_>) -> Step<Option<Timestamp>> {
    let rows = tx.rows(&NEXT, &[]).await?;
    let least: Option<i64> = rows.first().map_or(Ok(None), |row| row.try_get(0))?;
    Ok(least.map(rows::time))
}

// --- what a step looks at -----------------------------------------------------------------------

const WEBHOOK: Query = Query::new(
    concat!("SELECT ", slot_columns!(), " FROM {s}.webhook w WHERE w.id = $1 AND w.ended IS NULL"),
    &[Type::UUID],
);
const WEBHOOKS: Query = Query::new(
    concat!(
        "SELECT ",
        slot_columns!(),
        " FROM {s}.webhook w WHERE w.account = $1 AND w.mode = $2 AND w.id > $3 \
         AND w.ended IS NULL AND w.enabled ORDER BY w.account, w.id LIMIT $4"
    ),
    &[Type::TEXT, Type::BOOL, Type::UUID, Type::INT8],
);
const ROOM: Query = Query::new(
    "SELECT (SELECT count(*) FROM (SELECT FROM {s}.waiting w WHERE w.webhook = $1 \
     AND NOT w.parked AND w.due <= $2 ORDER BY w.webhook, w.parked, w.due LIMIT $3) x), \
     (SELECT count(*) FROM (SELECT FROM {s}.waiting w WHERE w.cause = $4 \
     ORDER BY w.cause LIMIT $5) x)",
    &[Type::INT8, Type::INT8, Type::INT8, Type::UUID, Type::INT8],
);
// The index of accounts leaves the default one out: where there are no others, it is all.
const PASSED_DEFAULT: Query = Query::new(
    "SELECT e.seq, e.id, e.published, e.account, e.mode, e.type, (SELECT 1 FROM {s}.mark m \
     WHERE m.account = e.account AND m.seq = e.seq LIMIT 1) IS NOT NULL FROM {s}.event e \
     WHERE e.seq > $1 AND $3 <> '' ORDER BY e.seq LIMIT $2",
    &[Type::INT8, Type::INT8, Type::TEXT],
);
const PASSED: Query = Query::new(
    "SELECT e.seq, e.id, e.published, e.account, e.mode, e.type, (SELECT 1 FROM {s}.mark m \
     WHERE m.account = e.account AND m.seq = e.seq LIMIT 1) IS NOT NULL FROM {s}.event e \
     WHERE e.account = $3 AND e.account <> 'default' AND e.seq > $1 \
     ORDER BY e.account, e.seq LIMIT $2",
    &[Type::INT8, Type::INT8, Type::TEXT],
);
// In the order of an index each (ORDER BY, LIMIT): else it may be all that waits for the webhook.
const HAD: Query = Query::new(
    "SELECT o.seq, d.cause, d.state FROM unnest($1, $2, $3) AS o(seq, low, high) \
     CROSS JOIN LATERAL ( \
         (SELECT w.cause, 0::smallint AS state FROM {s}.waiting w WHERE w.id BETWEEN o.low AND o.high \
          AND w.event = o.seq AND w.webhook = $4 ORDER BY w.id LIMIT 1000) \
         UNION ALL \
         (SELECT l.cause, 1::smallint FROM {s}.leased l WHERE l.id BETWEEN o.low AND o.high \
          AND l.event = o.seq AND l.webhook = $4 ORDER BY l.id LIMIT 1000) \
         UNION ALL \
         (SELECT e.cause, e.state FROM {s}.ended e WHERE e.webhook = $4 \
          AND e.id BETWEEN o.low AND o.high AND e.event = o.seq ORDER BY e.webhook, e.id LIMIT 1000) \
     ) d",
    &[Type::INT8_ARRAY, Type::UUID_ARRAY, Type::UUID_ARRAY, Type::INT8],
);
const EVENT: Query =
    Query::new("SELECT seq, type FROM {s}.event WHERE id = $1 FOR KEY SHARE", &[Type::UUID]);
const ENDS: Query =
    Query::new("SELECT coalesce(min(seq), 0), coalesce(max(seq), 0) FROM {s}.event", &[]);
const PROBE: Query = Query::new(
    "SELECT seq, published FROM {s}.event WHERE seq >= $1 ORDER BY seq LIMIT 1",
    &[Type::INT8],
);
const BEFORE: Query = Query::new(
    "SELECT seq FROM {s}.event WHERE seq < $1 ORDER BY seq DESC LIMIT 1 OFFSET $2",
    &[Type::INT8, Type::INT8],
);
const KEEP: Query =
    Query::new("SELECT seq FROM {s}.event WHERE seq = ANY ($1) FOR KEY SHARE", &[Type::INT8_ARRAY]);
const MINE: Query = Query::new(
    "SELECT id, webhook FROM {s}.waiting WHERE cause = $1 ORDER BY cause LIMIT $2",
    &[Type::UUID, Type::INT8],
);
const LEFT: Query = Query::new(
    "SELECT (SELECT 1 FROM {s}.waiting WHERE cause = $1 ORDER BY cause LIMIT 1) IS NOT NULL, \
     (SELECT 1 FROM {s}.leased WHERE cause = $1 ORDER BY cause LIMIT 1) IS NOT NULL",
    &[Type::UUID],
);

/// A delivery to make: the numbers and ids of its event and webhook, and when it is due.
struct Wanted {
    seq: i64,
    event: EventId,
    key: i64,
    webhook: WebhookId,
    due: Timestamp,
}

struct Stepper<'s> {
    tx: &'s Tx<'s>,
    inner: &'s Inner,
    now: Timestamp,
}

impl Stepper<'_> {
    /// A webhook that is there, and the room that a job has with it.
    async fn room(&self, job: &ReplayJob, id: WebhookId) -> Step<Option<(Slot, ReplayRoom)>> {
        let rows = self.tx.rows(&WEBHOOK, &[&id.uuid()]).await?;
        let Some(slot) = rows.first().map(|row| Slot::read(row, 0)).transpose()? else {
            return Ok(None);
        };
        let (now, cause) = (rows::millis(self.now), job.id.uuid());
        let (due, waiting) = (count(REPLAY_DUE_MAX), count(REPLAY_WAITING_MAX));
        let rows = self.tx.rows(&ROOM, &[&slot.key, &now, &due, &cause, &waiting]).await?;
        let size = |column: usize| {
            let found: i64 = rows.first().map_or(Ok(0), |row| row.try_get(column))?;
            Ok::<_, Fault>(usize::try_from(found).unwrap_or(usize::MAX))
        };
        let room = ReplayRoom {
            enabled: slot.enabled,
            paused_until: slot.lane.paused_until,
            due: size(0)?,
            waiting: size(1)?,
        };
        Ok(Some((slot, room)))
    }

    async fn range(&self, job: &mut ReplayJob, to: WebhookId, from: Timestamp) -> Step<usize> {
        let mut found = self.room(job, to).await?;
        let mut webhook = None;
        if let Some((slot, room)) = &mut found {
            let of = [&*slot].into_iter();
            webhook = lanes::webhooks(self.tx, &self.inner.webhooks, of).await?.remove(&slot.key);
            // A webhook that cannot be read is treated as if it were disabled.
            room.enabled &= webhook.is_some();
        }
        let begun = job.begin(found.as_ref().map(|(_, room)| *room), self.now);
        let (Some(mut pass), Some((slot, _)), Some(webhook)) = (begun, found, webhook) else {
            return Ok(0);
        };
        let cursor = match i64::try_from(job.cursor()) {
            Ok(0) => seek(self.tx, from).await?,
            Ok(cursor) => cursor,
            Err(_) => i64::MAX,
        };
        let mut passed = self.passed(job, cursor).await?;
        let mut ends = passed.len() < REPLAY_STEP_EVENTS;
        if job.asks_record() {
            // Not more look-ups than a step with room for a few deliveries needs.
            let few = pass.left().saturating_mul(2).max(64);
            let covered = |(_, event): &(usize, &Passed)| event.event_type.is_some();
            let cut = passed.iter().enumerate().filter(covered).nth(few).map(|(at, _)| at);
            if let Some(at) = cut {
                passed.truncate(at);
                ends = false;
            }
        }
        let mut had =
            if job.asks_record() { self.had(slot.key, &passed).await? } else { HashMap::new() };
        let mut wanted = Vec::new();
        for event in &passed {
            let had = || Ok::<_, Fault>(had.remove(&event.seq).unwrap_or_default());
            let due = pass.event(job, &webhook, event.met(), had)?;
            let of =
                |due| Wanted { seq: event.seq, event: event.id, key: slot.key, webhook: to, due };
            wanted.extend(due.map(of));
            if pass.is_over() {
                break;
            }
        }
        self.make(job, &wanted).await?;
        job.stepped(pass, ends);
        Ok(wanted.len())
    }

    /// The next events after the cursor. Of those that the job covers, with their types.
    ///
    /// What a transaction that is still open has published has a number before the cursor when it becomes
    /// visible, and is not seen: it is routed then, as any publish.
    async fn passed(&self, job: &ReplayJob, cursor: i64) -> Step<Vec<Passed>> {
        let account = job.account.as_str();
        let query = if account == "default" { &PASSED_DEFAULT } else { &PASSED };
        let found = self.tx.rows(query, &[&cursor, &count(REPLAY_STEP_EVENTS), &account]).await?;
        let read = |row: &Row| {
            let published = rows::time(row.try_get(2)?);
            let mode = Mode::from_live(row.try_get(4)?);
            let covers = job.covers(row.try_get(3)?, mode, published);
            let event_type: &str = row.try_get(5)?;
            Ok(Passed {
                seq: row.try_get(0)?,
                id: EventId::from_uuid(row.try_get(1)?),
                published,
                event_type: covers.then(|| EventType::parse(event_type)).transpose()?,
                marked: row.try_get(6)?,
            })
        };
        found.iter().map(read).collect()
    }

    /// The deliveries of the covered events to a webhook. In a statement after the one that saw that they
    /// are routed, so none is missing.
    async fn had(
        &self,
        key: i64,
        passed: &[Passed],
    ) -> Step<HashMap<i64, Vec<(Cause, StateKind)>>> {
        let covered = passed.iter().filter(|event| event.event_type.is_some());
        let (mut seqs, mut lows, mut highs) = (Vec::new(), Vec::new(), Vec::new());
        for event in covered {
            let (low, high) = DeliveryId::range_of(event.id);
            seqs.push(event.seq);
            lows.push(low.uuid());
            highs.push(high.uuid());
        }
        let mut had: HashMap<i64, Vec<(Cause, StateKind)>> = HashMap::new();
        for row in self.tx.rows(&HAD, &[&seqs, &lows, &highs, &key]).await? {
            let cause: Option<Uuid> = row.try_get(1)?;
            let state = match row.try_get::<_, i16>(2)? {
                0 => StateKind::Waiting,
                1 => StateKind::Leased,
                2 => StateKind::Delivered,
                3 => StateKind::Exhausted,
                4 => StateKind::Expired,
                _ => StateKind::Cancelled,
            };
            let cause = cause.map_or(Cause::ROUTED, Cause::from);
            had.entry(row.try_get(0)?).or_default().push((cause, state));
        }
        Ok(had)
    }

    async fn event(
        &self,
        job: &mut ReplayJob,
        event: EventId,
        to: Option<WebhookId>,
    ) -> Step<usize> {
        let (room, named) = match to {
            Some(webhook) => {
                self.room(job, webhook).await?.map(|(slot, room)| (room, slot)).unzip()
            }
            None => (Some(ReplayRoom::FREE), None),
        };
        let Some(mut pass) = job.begin(room, self.now) else {
            return Ok(0);
        };
        let kept = self.tx.rows(&EVENT, &[&event.uuid()]).await?;
        let Some(kept) = kept.first() else {
            job.stepped(pass, true);
            return Ok(0);
        };
        let seq: i64 = kept.try_get(0)?;
        let event_type = EventType::parse(kept.try_get(1)?)?;
        let slots = match named {
            Some(slot) => vec![slot],
            None => self.webhooks(job).await?,
        };
        let webhooks = lanes::webhooks(self.tx, &self.inner.webhooks, slots.iter()).await?;
        let mut wanted = Vec::new();
        for slot in &slots {
            let webhook = webhooks.get(&slot.key).map(|webhook| &**webhook);
            let due = pass.webhook(job, slot.id, webhook, &event_type);
            let of = |due| Wanted { seq, event, key: slot.key, webhook: slot.id, due };
            wanted.extend(due.map(of));
            if pass.is_over() {
                break;
            }
        }
        self.make(job, &wanted).await?;
        job.stepped(pass, slots.len() < REPLAY_STEP_EVENTS);
        Ok(wanted.len())
    }

    /// The next enabled webhooks of a job's account and mode.
    async fn webhooks(&self, job: &ReplayJob) -> Step<Vec<Slot>> {
        let (account, live) = (job.account.as_str(), job.mode.is_live());
        let (cursor, limit) = (Uuid::from_u128(job.cursor()), count(REPLAY_STEP_EVENTS));
        let found = self.tx.rows(&WEBHOOKS, &[&account, &live, &cursor, &limit]).await?;
        found.iter().map(|row| Slot::read(row, 0)).collect()
    }

    /// Makes deliveries: locks their lanes first, then their events, as everybody does who makes some.
    async fn make(&self, job: &ReplayJob, wanted: &[Wanted]) -> Step<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        let mut keys: Vec<i64> = wanted.iter().map(|wanted| wanted.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut slots = lanes::lock(self.tx, &keys).await?;
        let seqs: Vec<i64> = wanted.iter().map(|wanted| wanted.seq).collect();
        let kept = self.tx.rows(&KEEP, &[&seqs]).await?;
        let kept: HashSet<i64> = kept.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let owed = |wanted: &Wanted| {
            Delivery::owed(wanted.event, wanted.webhook, job.id.cause(), self.now, wanted.due)
        };
        let ids: Vec<Uuid> = wanted.iter().map(|wanted| owed(wanted).id.uuid()).collect();
        // In a statement after those that locked.
        let there = self.tx.rows(&THERE, &[&ids]).await?;
        let there: HashSet<Uuid> =
            there.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let mut inserts = Inserts::default();
        for Wanted { seq, event, key, webhook, due } in wanted {
            // What was deleted or pruned meanwhile is owed nothing.
            let slot = slots.get_mut(key).filter(|slot| !slot.deleted && kept.contains(seq));
            let Some(slot) = slot else { continue };
            let delivery = Delivery::owed(*event, *webhook, job.id.cause(), self.now, *due);
            if there.contains(&delivery.id.uuid()) {
                continue;
            }
            slot.lane.join(&delivery);
            inserts.add(&delivery, (*seq, *key, None), None);
        }
        try_join(inserts.flush(self.tx), lanes::write(self.tx, &slots)).await?;
        Ok(())
    }

    /// Cancels what waits of a job that was cancelled.
    async fn withdraw(&self, job: &mut ReplayJob) -> Step<()> {
        let (cause, limit) = (job.id.uuid(), count(REPLAY_STEP_EVENTS));
        let state = State::Cancelled { at: self.now };
        let ended = sweep::end(self.tx, &MINE, &[&cause, &limit], state).await?;
        // Both at one moment: a lease that ends in between would be in neither.
        let left = self.tx.rows(&LEFT, &[&cause]).await?;
        let (waits, sent) = match left.first() {
            Some(row) => (row.try_get(0)?, row.try_get(1)?),
            None => (false, false),
        };
        job.withdrew(ended, waits, sent, self.now);
        Ok(())
    }
}

/// A number of publish before all events that were published at `from` or later: publishes are numbered
/// in their order, but for clocks that disagree a little.
async fn seek(tx: &Tx<'_>, from: Timestamp) -> Step<i64> {
    let from = rows::millis(from);
    let ends = tx.rows(&ENDS, &[]).await?;
    let Some(ends) = ends.first() else {
        return Ok(0);
    };
    let (mut low, mut high): (i64, i64) = (ends.try_get(0)?, ends.try_get(1)?);
    while low < high {
        let middle = low + (high - low) / 2;
        let found = tx.rows(&PROBE, &[&middle]).await?;
        let Some(row) = found.first() else { break };
        if row.try_get::<_, i64>(1)? < from {
            low = row.try_get::<_, i64>(0)? + 1;
        } else {
            high = middle;
        }
    }
    let before = tx.rows(&BEFORE, &[&low, &POSTGRES_PRUNE_STRETCH]).await?;
    Ok(before.first().map_or(Ok(0), |row| row.try_get(0))?)
}
