//! Which webhooks want an event: an equality join of its type's patterns with the spans.

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::types::Type;

use super::fault::Step;
use super::rows::count;
use super::tx::{Query, Tx};
use crate::ground::event::Event;
use crate::ground::policy::POSTGRES_SPANS_READ;

/// A span of one webhook: its key, and the numbers in it.
#[derive(Debug, Clone, Copy)]
struct Span {
    webhook: i64,
    from: i64,
    to: i64,
}

const END: i64 = i64::MAX;

/// The spans for one kind of event, by webhook, as far as they were read.
#[derive(Debug, Clone)]
struct Read {
    spans: Vec<Span>,
    /// From here on they were not read.
    horizon: i64,
}

/// What events have in common that are routed together: account, mode and type; and for a wide event
/// that goes on after a webhook, its number and that webhook: it is read for alone.
type Kind = (String, bool, String, i64, i64);

/// The spans that the events of one call are compared with.
#[derive(Debug, Default)]
pub(super) struct Spans {
    read: HashMap<Kind, Read>,
}

/// Webhooks that want an event.
#[derive(Debug, Default)]
pub(super) struct Wanting {
    /// Their keys, rising, each once.
    pub(super) webhooks: Vec<i64>,
    /// Whether there may be more of them behind.
    pub(super) more: bool,
}

// Each pattern's spans from an index, no more than can be needed. The limit is hidden from the planner,
// which then takes an order that the index has for better than a look at everything.
const SELECT: Query = Query::new(
    "SELECT k.kind, s.webhook, s.from_seq, s.to_seq, k.pattern \
     FROM unnest($1, $2, $3, $4, $5, $6, $7) \
     AS k(kind, account, mode, pattern, cursor, least, most) \
     CROSS JOIN LATERAL (SELECT s.webhook, s.from_seq, s.to_seq FROM {s}.span s \
     WHERE s.account = k.account AND s.mode = k.mode AND s.pattern = k.pattern \
     AND s.webhook > k.cursor AND s.from_seq < k.most \
     AND (s.to_seq IS NULL OR s.to_seq >= k.least) ORDER BY s.webhook LIMIT (SELECT $8)) s",
    &[
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::BOOL_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8,
    ],
);

fn kind(event: &Event, seq: i64, cursor: i64) -> Kind {
    let (account, event_type) = (event.account().as_str(), event.event_type().as_str());
    let alone = if cursor == 0 { 0 } else { seq };
    (account.to_owned(), event.mode().is_live(), event_type.to_owned(), alone, cursor)
}

impl Spans {
    /// Reads the spans for these events, each with its number and the webhook to go on after.
    pub(super) async fn read<'e>(
        tx: &Tx<'_>,
        events: impl Iterator<Item = (&'e Event, i64, i64)>,
    ) -> Step<Self> {
        let mut kinds: BTreeMap<Kind, (&Event, i64, i64)> = BTreeMap::new();
        for (event, seq, cursor) in events {
            let (_, least, most) =
                kinds.entry(kind(event, seq, cursor)).or_insert((event, seq, seq));
            (*least, *most) = ((*least).min(seq), (*most).max(seq));
        }
        let (mut number, mut account, mut mode) = (Vec::new(), Vec::new(), Vec::new());
        let (mut pattern, mut cursor) = (Vec::new(), Vec::new());
        let (mut least, mut most) = (Vec::new(), Vec::new());
        for (at, ((.., after), (event, first, last))) in kinds.iter().enumerate() {
            for text in event.event_type().patterns() {
                number.push(count(at));
                account.push(event.account().as_str());
                mode.push(event.mode().is_live());
                pattern.push(text);
                cursor.push(*after);
                least.push(*first);
                most.push(*last);
            }
        }
        let limit = count(POSTGRES_SPANS_READ);
        let rows = tx
            .rows(&SELECT, &[&number, &account, &mode, &pattern, &cursor, &least, &most, &limit])
            .await?;
        let empty = Read { spans: Vec::new(), horizon: END };
        let mut read = vec![empty; kinds.len()];
        let mut full: HashMap<(i64, String), (usize, i64)> = HashMap::new();
        for row in &rows {
            let (number, webhook): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let to: Option<i64> = row.try_get(3)?;
            let span = Span { webhook, from: row.try_get(2)?, to: to.unwrap_or(END) };
            if let Some(read) = usize::try_from(number).ok().and_then(|at| read.get_mut(at)) {
                read.spans.push(span);
            }
            let of = (number, row.try_get(4)?);
            let (count, last) = full.entry(of).or_default();
            (*count, *last) = (*count + 1, webhook.max(*last));
        }
        for ((number, _), (count, last)) in full {
            if count >= POSTGRES_SPANS_READ
                && let Some(read) = usize::try_from(number).ok().and_then(|at| read.get_mut(at))
            {
                // The last webhook may have more spans than were read.
                read.horizon = read.horizon.min(last);
            }
        }
        for read in &mut read {
            read.spans.retain(|span| span.webhook < read.horizon);
            read.spans.sort_unstable_by_key(|span| span.webhook);
        }
        Ok(Self { read: kinds.into_keys().zip(read).collect() })
    }

    /// The webhooks after `cursor` that want the event with number `seq`.
    pub(super) fn wanting(&self, event: &Event, seq: i64, cursor: i64) -> Wanting {
        let Some(read) = self.read.get(&kind(event, seq, cursor)) else {
            return Wanting::default();
        };
        let wants = |span: &&Span| span.from < seq && seq <= span.to;
        let spans = read.spans.iter().filter(wants);
        let mut webhooks: Vec<i64> = spans.map(|span| span.webhook).collect();
        webhooks.dedup();
        Wanting { webhooks, more: read.horizon != END }
    }

    /// The last webhook that was read for an event: to go on after. A kind whose first webhook has
    /// more spans than are read at once goes on before that one, event by event; of one event each
    /// webhook has at most one span for a pattern. (No webhook has the key 1.)
    pub(super) fn read_to(&self, event: &Event, seq: i64, cursor: i64) -> i64 {
        let read = self.read.get(&kind(event, seq, cursor));
        read.map_or(cursor, |read| read.horizon.saturating_sub(1))
    }
}
