//! Replays: jobs, and their steps.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::append;
use super::fault::Step;
use super::listings;
use super::rows::{self, INSERT_DELIVERY, Kept, delivery_columns};
use super::slots::Slots;
use super::sweep;
use super::writer::Db;
use crate::adapters::listing::{Listing, Source};
use crate::adapters::passed::Passed;
use crate::ground::account::Mode;
use crate::ground::delivery::{Delivery, State, StateKind};
use crate::ground::event_type::EventType;
use crate::ground::id::{Cause, DeliveryId, EventId, ReplayId, WebhookId};
use crate::ground::page::{Page, PageRequest};
use crate::ground::policy::{
    LISTING_ROWS, REPLAY_DUE_MAX, REPLAY_REST_LONG, REPLAY_STEP_EVENTS, REPLAY_WAITING_MAX,
    SQLITE_PRUNE_STRETCH,
};
use crate::ground::replay::{ReplayJob, ReplayRoom, ReplayScope, ReplayState};
use crate::ground::replay_request::ReplayQuery;
use crate::ground::time::{Timestamp, after};
use crate::ports::replay::ReplayStepped;

/// Keeps a job, unless there is one with its id.
pub(super) fn start(db: &mut Db, job: &ReplayJob) -> Step<ReplayJob> {
    let conn = &db.conn;
    if let Some(kept) = find(conn, job.id)? {
        return Ok(kept);
    }
    let mut job = job.clone();
    job.starts(append::last(conn)?);
    let sql = "INSERT INTO tidings_replay (id, account, mode, webhook, due, ended, record) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let webhook = job.webhook().map(WebhookId::uuid);
    conn.prepare_cached(sql)?.execute(params![
        job.id.uuid().as_bytes().as_slice(),
        job.account.as_str(),
        rows::mode(job.mode),
        webhook.as_ref().map(|id| id.as_bytes().as_slice()),
        job.due.map(rows::millis),
        job.state.ended().map(rows::millis),
        job.to_stored()?,
    ])?;
    Ok(job)
}

/// Lists jobs, by falling id.
pub(super) fn jobs(
    conn: &Connection,
    query: &ReplayQuery,
    request: &PageRequest,
) -> Step<Page<ReplayJob>> {
    const REPLAYS: Source<Value> = Source {
        select: "SELECT r.id, r.record FROM tidings_replay r",
        table: "tidings_replay r",
        key: "r.id",
        cursor: listings::id_cursor,
        rows: LISTING_ROWS,
    };
    let mut listing = Listing::new(REPLAYS);
    listing.narrow_to_account("r", query.account.as_ref());
    listing.narrow_to_mode("r", query.mode);
    let blob = |id: Uuid| Value::Blob(id.as_bytes().to_vec());
    if let Some(id) = query.id {
        listing.anchor("r.id = ?", [blob(id.uuid())]);
    }
    if let Some(webhook) = query.webhook {
        listing.narrow("r.webhook = ?", [blob(webhook.uuid())]);
    }
    let read = |row: &Row<'_>| {
        let key = rows::uuid(row, 0)?.as_u128();
        // One that is damaged, or that a newer version wrote, does not hide the others.
        let job = ReplayJob::from_stored(rows::text(row, 1)?).ok();
        Ok((key, job.filter(|job| query.matches(job))))
    };
    listings::page(&listing, conn, request, read, |_| 0)
}

/// Cancels a job.
pub(super) fn cancel(db: &mut Db, id: ReplayId, now: Timestamp) -> Step<Option<ReplayJob>> {
    let Some(mut job) = find(&db.conn, id)? else {
        return Ok(None);
    };
    job.cancel(now);
    write(&db.conn, &job)?;
    Ok(Some(job))
}

/// Puts off the job that is due first, whose step failed, so that it does not stand before the others.
pub(super) fn postpone(db: &mut Db, now: Timestamp) -> Step<()> {
    let sql = "UPDATE tidings_replay SET due = ?2 WHERE id = (SELECT id FROM tidings_replay \
               WHERE due IS NOT NULL AND due <= ?1 ORDER BY due LIMIT 1)";
    let later = after(now, REPLAY_REST_LONG);
    let values = [rows::millis(now), rows::millis(later)];
    db.conn.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Forgets jobs that ended before this time and have nothing left to do.
pub(super) fn prune(conn: &Connection, before: i64, limit: i64) -> Step<()> {
    let sql = "DELETE FROM tidings_replay WHERE id IN (SELECT id FROM tidings_replay \
               WHERE ended IS NOT NULL AND ended < ?1 AND due IS NULL ORDER BY ended LIMIT ?2)";
    conn.prepare_cached(sql)?.execute([before, limit])?;
    Ok(())
}

fn find(conn: &Connection, id: ReplayId) -> Step<Option<ReplayJob>> {
    let sql = "SELECT record FROM tidings_replay WHERE id = ?1";
    let record: Option<String> = conn
        .prepare_cached(sql)?
        .query_row([id.uuid().as_bytes().as_slice()], |row| row.get(0))
        .optional()?;
    Ok(record.map(|record| ReplayJob::from_stored(&record)).transpose()?)
}

fn write(conn: &Connection, job: &ReplayJob) -> Step<()> {
    let sql = "UPDATE tidings_replay SET due = ?2, ended = ?3, record = ?4 WHERE id = ?1";
    conn.prepare_cached(sql)?.execute(params![
        job.id.uuid().as_bytes().as_slice(),
        job.due.map(rows::millis),
        job.state.ended().map(rows::millis),
        job.to_stored()?,
    ])?;
    Ok(())
}

/// One step of the job that is due first.
pub(super) fn step(db: &mut Db, now: Timestamp) -> Step<ReplayStepped> {
    let (conn, memory) = (&db.conn, &mut db.memory);
    let sql = "SELECT record FROM tidings_replay WHERE due IS NOT NULL AND due <= ?1 \
               ORDER BY due LIMIT 1";
    let record: Option<String> =
        conn.prepare_cached(sql)?.query_row([rows::millis(now)], |row| row.get(0)).optional()?;
    let Some(record) = record else {
        return Ok(ReplayStepped { next_due: next_due(conn)?, ..ReplayStepped::default() });
    };
    let mut job = ReplayJob::from_stored(&record)?;
    let slots = Slots::new(conn, &mut memory.webhooks)?;
    let mut stepper = Stepper { conn, now, slots };
    let made = match (job.state, job.scope) {
        (ReplayState::Running, ReplayScope::Range { webhook, from, .. }) => {
            stepper.range(&mut job, webhook, from)?
        }
        (ReplayState::Running, ReplayScope::Event { event, webhook }) => {
            stepper.event(&mut job, event, webhook)?
        }
        _ => {
            stepper.withdraw(&mut job)?;
            0
        }
    };
    stepper.slots.flush()?;
    write(conn, &job)?;
    Ok(ReplayStepped { job: Some(job), made, next_due: next_due(conn)? })
}

fn next_due(conn: &Connection) -> Step<Option<Timestamp>> {
    let sql = "SELECT min(due) FROM tidings_replay WHERE due IS NOT NULL";
    let least: Option<i64> = conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(least.map(rows::time))
}

struct Stepper<'db> {
    conn: &'db Connection,
    now: Timestamp,
    slots: Slots<'db>,
}

impl Stepper<'_> {
    /// The key of a webhook that is there, and the room that a job has with it.
    fn room(&mut self, job: &ReplayJob, id: WebhookId) -> Step<Option<(i64, ReplayRoom)>> {
        let sql = "SELECT key FROM tidings_webhook WHERE id = ?1 AND ended IS NULL";
        let id = id.uuid();
        let key: Option<i64> = self
            .conn
            .prepare_cached(sql)?
            .query_row([id.as_bytes().as_slice()], |row| row.get(0))
            .optional()?;
        let Some(key) = key else {
            return Ok(None);
        };
        let sql = "SELECT count(*) FROM (SELECT 1 FROM tidings_delivery \
                   WHERE webhook = ?1 AND state = 0 AND at <= ?2 LIMIT ?3)";
        let values = [key, rows::millis(self.now), rows::bound(REPLAY_DUE_MAX)];
        let due: i64 = self.conn.prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
        let sql = "SELECT count(*) FROM (SELECT 1 FROM tidings_delivery \
                   WHERE cause = ?1 AND cause IS NOT NULL AND state <= 1 AND state <> 1 LIMIT ?2)";
        let cause = job.id.uuid();
        let values = params![cause.as_bytes().as_slice(), rows::bound(REPLAY_WAITING_MAX)];
        let waiting: i64 = self.conn.prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
        // A webhook that cannot be read is treated as if it were disabled.
        let readable = self.slots.webhook(key)?.is_some();
        let slot = self.slots.get(key)?;
        let count = |count: i64| usize::try_from(count).unwrap_or(usize::MAX);
        let room = ReplayRoom {
            enabled: slot.enabled && readable,
            paused_until: slot.lane.paused_until,
            due: count(due),
            waiting: count(waiting),
        };
        Ok(Some((key, room)))
    }

    fn range(&mut self, job: &mut ReplayJob, to: WebhookId, from: Timestamp) -> Step<usize> {
        let found = self.room(job, to)?;
        let begun = job.begin(found.map(|(_, room)| room), self.now);
        let (Some(mut pass), Some((key, _))) = (begun, found) else {
            return Ok(0);
        };
        let Some(webhook) = self.slots.webhook(key)? else {
            return Ok(0);
        };
        let cursor = match i64::try_from(job.cursor()) {
            Ok(0) => seek(self.conn, from)?,
            Ok(cursor) => cursor,
            Err(_) => i64::MAX,
        };
        let passed = self.passed(job, cursor)?;
        let mut wanted = Vec::new();
        for event in &passed {
            let due = pass.event(job, &webhook, event.met(), || self.had(key, event))?;
            wanted.extend(due.map(|due| (event.seq, event.id, key, to, due)));
            if pass.is_over() {
                break;
            }
        }
        self.make(job, &wanted)?;
        job.stepped(pass, passed.len() < REPLAY_STEP_EVENTS);
        Ok(wanted.len())
    }

    /// The next events after the cursor. Of those that the job covers, with their types.
    fn passed(&self, job: &ReplayJob, cursor: i64) -> Step<Vec<Passed>> {
        // The index of accounts leaves the default one out: where there are no others, it is all.
        let sql = if job.account.as_str() == "default" {
            "SELECT seq, id, published, account, mode, type, EXISTS (SELECT 1 FROM tidings_mark m \
             WHERE m.account = e.account AND m.seq = e.seq) FROM tidings_event e \
             WHERE seq > ?1 AND ?3 <> '' ORDER BY seq LIMIT ?2"
        } else {
            "SELECT seq, id, published, account, mode, type, EXISTS (SELECT 1 FROM tidings_mark m \
             WHERE m.account = e.account AND m.seq = e.seq) FROM tidings_event e \
             WHERE seq > ?1 AND account = ?3 AND account <> 'default' ORDER BY seq LIMIT ?2"
        };
        let mut select = self.conn.prepare_cached(sql)?;
        let values = params![cursor, rows::bound(REPLAY_STEP_EVENTS), job.account.as_str()];
        let mut found = select.query(values)?;
        let mut passed = Vec::new();
        while let Some(row) = found.next()? {
            passed.push(read(row, job)?);
        }
        Ok(passed)
    }

    /// The deliveries of an event to a webhook.
    fn had(&self, key: i64, event: &Passed) -> Step<Vec<(Cause, StateKind)>> {
        let sql = concat!(
            "SELECT ",
            delivery_columns!(),
            " FROM tidings_delivery d WHERE d.id BETWEEN ?1 AND ?2 AND d.event = ?3 AND d.webhook = ?4"
        );
        let (low, high) = DeliveryId::range_of(event.id);
        let (low, high) = (low.uuid(), high.uuid());
        let mut select = self.conn.prepare_cached(sql)?;
        let mut found = select.query(params![
            low.as_bytes().as_slice(),
            high.as_bytes().as_slice(),
            event.seq,
            key
        ])?;
        let mut had = Vec::new();
        while let Some(row) = found.next()? {
            let delivery = Kept::read(row, 0)?.bare();
            had.push((delivery.cause, delivery.state.kind()));
        }
        Ok(had)
    }

    fn event(&mut self, job: &mut ReplayJob, event: EventId, to: Option<WebhookId>) -> Step<usize> {
        let (room, named) = match to {
            Some(webhook) => self.room(job, webhook)?.map(|(key, room)| (room, Some(key))).unzip(),
            None => (Some(ReplayRoom::FREE), None),
        };
        let Some(mut pass) = job.begin(room, self.now) else {
            return Ok(0);
        };
        let sql = "SELECT seq, type FROM tidings_event WHERE id = ?1";
        let kept: Option<(i64, String)> = self
            .conn
            .prepare_cached(sql)?
            .query_row([event.uuid().as_bytes().as_slice()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((seq, event_type)) = kept else {
            job.stepped(pass, true);
            return Ok(0);
        };
        let event_type = EventType::parse(&event_type)?;
        let webhooks = match (to, named.flatten()) {
            (Some(id), Some(key)) => vec![(key, id)],
            _ => self.webhooks(job)?,
        };
        let mut wanted = Vec::new();
        for (key, id) in &webhooks {
            let webhook = self.slots.webhook(*key)?;
            let due = pass.webhook(job, *id, webhook.as_deref(), &event_type);
            wanted.extend(due.map(|due| (seq, event, *key, *id, due)));
            if pass.is_over() {
                break;
            }
        }
        self.make(job, &wanted)?;
        job.stepped(pass, webhooks.len() < REPLAY_STEP_EVENTS);
        Ok(wanted.len())
    }

    /// The next enabled webhooks of a job's account and mode.
    fn webhooks(&self, job: &ReplayJob) -> Step<Vec<(i64, WebhookId)>> {
        let sql = "SELECT key, id FROM tidings_webhook WHERE account = ?1 AND mode = ?2 \
                   AND ended IS NULL AND enabled <> 0 AND id > ?3 ORDER BY id LIMIT ?4";
        let mut select = self.conn.prepare_cached(sql)?;
        let cursor = Uuid::from_u128(job.cursor());
        let mut found = select.query(params![
            job.account.as_str(),
            rows::mode(job.mode),
            cursor.as_bytes().as_slice(),
            rows::bound(REPLAY_STEP_EVENTS)
        ])?;
        let mut webhooks = Vec::new();
        while let Some(row) = found.next()? {
            webhooks.push((row.get(0)?, rows::uuid(row, 1)?.into()));
        }
        Ok(webhooks)
    }

    /// Makes deliveries: (event's number and id, webhook's key and id, due).
    fn make(
        &mut self,
        job: &ReplayJob,
        wanted: &[(i64, EventId, i64, WebhookId, Timestamp)],
    ) -> Step<()> {
        let mut insert = self.conn.prepare_cached(INSERT_DELIVERY)?;
        for (seq, event, key, webhook, due) in wanted {
            let delivery = Delivery::owed(*event, *webhook, job.id.cause(), self.now, *due);
            if rows::insert(&mut insert, &delivery, *seq, *key, None)? {
                self.slots.get(*key)?.lane.join(&delivery);
            }
        }
        Ok(())
    }

    /// Cancels what waits of a job that was cancelled. The lanes keep their bounds: the next claim finds
    /// the true ones.
    fn withdraw(&mut self, job: &mut ReplayJob) -> Step<()> {
        let sql = concat!(
            "SELECT ",
            delivery_columns!(),
            " FROM tidings_delivery d WHERE d.cause = ?1 AND d.cause IS NOT NULL AND d.state <= 1 \
             AND d.state <> 1 LIMIT ?2"
        );
        let cause = job.id.uuid();
        let values = params![cause.as_bytes().as_slice(), rows::bound(REPLAY_STEP_EVENTS)];
        let state = State::Cancelled { at: self.now };
        let count = sweep::end(self.conn, &mut self.slots, sql, values, state)?;
        let sql = "SELECT state FROM tidings_delivery \
                   WHERE cause = ?1 AND cause IS NOT NULL AND state <= 1 LIMIT 1";
        let left: Option<i64> = self
            .conn
            .prepare_cached(sql)?
            .query_row([cause.as_bytes().as_slice()], |row| row.get(0))
            .optional()?;
        let more = count == REPLAY_STEP_EVENTS;
        job.withdrew(count, more, left.is_some(), self.now);
        Ok(())
    }
}

fn read(row: &Row<'_>, job: &ReplayJob) -> Step<Passed> {
    let published = rows::time(row.get(2)?);
    let covers = job.covers(rows::text(row, 3)?, Mode::from_live(row.get(4)?), published);
    let event_type = covers.then(|| rows::text(row, 5).map(EventType::parse)).transpose()?;
    Ok(Passed {
        seq: row.get(0)?,
        id: rows::uuid(row, 1)?.into(),
        published,
        event_type: event_type.transpose()?,
        marked: row.get(6)?,
    })
}

/// A number of publish before all events that were published at `from` or later: publishes are numbered
/// in their order, but for clocks that disagree a little.
fn seek(conn: &Connection, from: Timestamp) -> Step<i64> {
    let from = rows::millis(from);
    let (mut low, mut high): (i64, i64) = conn
        .prepare_cached(
            "SELECT coalesce((SELECT min(seq) FROM tidings_event), 0), \
             coalesce((SELECT max(seq) FROM tidings_event), 0)",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let sql = "SELECT seq, published FROM tidings_event WHERE seq >= ?1 ORDER BY seq LIMIT 1";
    let mut probe = conn.prepare_cached(sql)?;
    while low < high {
        let middle = low + (high - low) / 2;
        let (seq, published): (i64, i64) =
            probe.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if published < from {
            low = seq + 1;
        } else {
            high = middle;
        }
    }
    let sql = "SELECT seq FROM tidings_event WHERE seq < ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2";
    let before: Option<i64> = conn
        .prepare_cached(sql)?
        .query_row([low, SQLITE_PRUNE_STRETCH], |row| row.get(0))
        .optional()?;
    Ok(before.unwrap_or(0))
}
