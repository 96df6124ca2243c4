//! Which webhooks want an event: an equality join of its type's patterns with the spans.

use std::collections::HashMap;
use std::rc::Rc;

use rusqlite::{Connection, params};

use super::fault::Step;
use super::rows;
use crate::ground::account::{Account, Mode};
use crate::ground::event::Event;
use crate::ground::event_type::EventType;
use crate::ground::policy::SQLITE_SPANS_KEPT;

/// A span of one webhook: its key, and the numbers in it.
#[derive(Clone, Copy)]
struct Span {
    webhook: i64,
    from: i64,
    to: i64,
}

/// Webhooks that want an event.
pub(super) struct Wanting {
    /// Their keys, rising, each once.
    pub(super) webhooks: Vec<i64>,
    /// Whether there may be more of them.
    pub(super) more: bool,
}

/// What a call has read of the spans. The events of a batch are of few types, so the spans of a
/// type are kept for the length of the call, unless there are very many.
pub(super) struct Spans<'db> {
    conn: &'db Connection,
    kept: HashMap<(Account, Mode, EventType), Kept>,
}

/// The spans for one account, mode and type, by webhook; `None` where there are very many.
type Kept = Option<Rc<[Span]>>;

const OPEN: i64 = i64::MAX;

impl<'db> Spans<'db> {
    pub(super) fn new(conn: &'db Connection) -> Self {
        Self { conn, kept: HashMap::new() }
    }

    /// The webhooks after `cursor` that want the event with number `seq`: at least `limit`, unless
    /// there are no more.
    pub(super) fn wanting(
        &mut self,
        event: &Event,
        seq: i64,
        cursor: i64,
        limit: usize,
    ) -> Step<Wanting> {
        let place = (event.account().clone(), event.mode(), event.event_type().clone());
        let spans = match self.kept.get(&place) {
            Some(spans) => spans.clone(),
            None => {
                let spans = self.all(event)?;
                self.kept.insert(place, spans.clone());
                spans
            }
        };
        let Some(spans) = spans else {
            return self.some(event, seq, cursor, limit);
        };
        let wants = |span: &&Span| span.webhook > cursor && span.from < seq && seq <= span.to;
        let mut webhooks: Vec<i64> = spans.iter().filter(wants).map(|span| span.webhook).collect();
        webhooks.dedup();
        Ok(Wanting { webhooks, more: false })
    }

    /// All spans for events of this account, mode and type.
    fn all(&self, event: &Event) -> Step<Kept> {
        let sql = "SELECT webhook, from_seq, to_seq FROM tidings_span \
                   WHERE account = ?1 AND mode = ?2 AND pattern = ?3 LIMIT ?4";
        let mut statement = self.conn.prepare_cached(sql)?;
        let (account, mode) = (event.account().as_str(), rows::mode(event.mode()));
        let limit = rows::bound(SQLITE_SPANS_KEPT);
        let mut spans = Vec::new();
        for pattern in event.event_type().patterns() {
            let mut rows = statement.query(params![account, mode, pattern, limit])?;
            while let Some(row) = rows.next()? {
                let to: Option<i64> = row.get(2)?;
                let (webhook, from) = (row.get(0)?, row.get(1)?);
                spans.push(Span { webhook, from, to: to.unwrap_or(OPEN) });
            }
            if spans.len() >= SQLITE_SPANS_KEPT {
                return Ok(None);
            }
        }
        spans.sort_unstable_by_key(|span| span.webhook);
        Ok(Some(spans.into()))
    }

    /// Some of the webhooks of a wide event, from each pattern no more than are needed.
    fn some(&self, event: &Event, seq: i64, cursor: i64, limit: usize) -> Step<Wanting> {
        // One webhook has at most one span of a pattern around a number, so rows are webhooks.
        let sql = "SELECT webhook FROM tidings_span WHERE account = ?1 AND mode = ?2 \
                   AND pattern = ?3 AND webhook > ?4 AND from_seq < ?5 \
                   AND (to_seq IS NULL OR to_seq >= ?5) ORDER BY webhook LIMIT ?6";
        let mut statement = self.conn.prepare_cached(sql)?;
        let (account, mode) = (event.account().as_str(), rows::mode(event.mode()));
        let rows_limit = rows::bound(limit);
        let mut webhooks: Vec<i64> = Vec::new();
        // Up to here nothing is missing.
        let mut horizon = OPEN;
        for pattern in event.event_type().patterns() {
            let values = params![account, mode, pattern, cursor, seq, rows_limit];
            let before = webhooks.len();
            let mut rows = statement.query(values)?;
            while let Some(row) = rows.next()? {
                webhooks.push(row.get(0)?);
            }
            if webhooks.len() - before >= limit
                && let Some(last) = webhooks.last()
            {
                horizon = horizon.min(*last);
            }
        }
        webhooks.retain(|webhook| *webhook <= horizon);
        webhooks.sort_unstable();
        webhooks.dedup();
        Ok(Wanting { webhooks, more: horizon != OPEN })
    }
}
