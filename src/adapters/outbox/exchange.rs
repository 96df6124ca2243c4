//! What is asked of the host's database for one publish, and what its answers mean. Pure, so that
//! there is one of it for drivers that block and drivers that do not.

use std::collections::HashMap;

use serde::Serialize;

use super::Dialect;
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::event::Event;
use crate::ports::storage::Appended;

/// The events that are there already, each as its id and its digest. An update, though it changes
/// nothing: so the lock for writing is taken before anything is read, and what is read stays true.
const SQLITE_KNOWN: &str = "UPDATE tidings_event SET digest = digest \
    WHERE id IN (SELECT unhex(value) FROM json_each(?1)) \
    RETURNING lower(hex(id)) || ' ' || lower(hex(digest)) AS answer";

/// The view gives each event its mark. The time is the database's; in milliseconds, which the day's
/// fraction can tell apart.
const SQLITE_INSERT: &str = "INSERT INTO tidings_publish \
    (id, account, mode, type, created, published, digest, payload, order_key, renderings, trace) \
    SELECT unhex(value ->> 'id'), value ->> 'account', value ->> 'mode', value ->> 'type', \
        value ->> 'created', CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER), \
        unhex(value ->> 'digest'), value ->> 'payload', value ->> 'key', \
        value ->> 'renderings', value ->> 'trace' \
    FROM json_each(?1) ORDER BY key";

/// An event as the statements read it.
#[derive(Serialize)]
struct Row<'a> {
    id: String,
    account: &'a str,
    mode: bool,
    #[serde(rename = "type")]
    event_type: &'a str,
    created: i64,
    digest: String,
    payload: &'a str,
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renderings: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn of(event: &'a Event) -> Self {
        Self {
            id: id(event),
            account: event.account().as_str(),
            mode: event.mode().is_live(),
            event_type: event.event_type().as_str(),
            created: event.created().timestamp_millis(),
            digest: digest(event),
            payload: event.payload(),
            key: event.key(),
            renderings: event.renderings(),
            trace: event.trace_text(),
        }
    }
}

fn id(event: &Event) -> String {
    event.id().uuid().simple().to_string()
}

fn digest(event: &Event) -> String {
    event.digest().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How far a publish is.
#[derive(Debug)]
enum Step {
    /// One statement does it all.
    Call(&'static str),
    /// To ask which events are there already.
    Known,
    /// To insert those that are not.
    Insert,
    /// All answers are in.
    Done,
}

/// The questions and answers of one publish.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    events: &'a [Event],
    step: Step,
    answers: Vec<Appended>,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(dialect: Dialect, events: &'a [Event]) -> Self {
        let step = match dialect {
            _ if events.is_empty() => Step::Done,
            Dialect::Sqlite => Step::Known,
            Dialect::Postgres(calls) => {
                let rendered = events.iter().any(|event| event.renderings().is_some());
                Step::Call(if rendered { calls.rendered } else { calls.plain })
            }
        };
        Self { events, step, answers: Vec::new() }
    }

    /// The next statement and its value.
    pub(super) fn ask(&self) -> Option<(&'static str, String)> {
        match self.step {
            Step::Call(call) => Some((call, json(self.events.iter().map(Row::of)))),
            Step::Known => Some((SQLITE_KNOWN, json(self.events.iter().map(id)))),
            Step::Insert => {
                let stored = self.events.iter().zip(&self.answers);
                let stored = stored.filter(|(_, answer)| **answer == Appended::Stored);
                Some((SQLITE_INSERT, json(stored.map(|(event, _)| Row::of(event)))))
            }
            Step::Done => None,
        }
    }

    /// The rows of the statement that was asked.
    pub(super) fn hear(&mut self, rows: &[String]) -> Result<()> {
        match self.step {
            Step::Call(_) => {
                self.answers = rows.iter().map(|row| told(row)).collect::<Result<_>>()?;
                self.step = Step::Done;
            }
            Step::Known => {
                let mut known = HashMap::new();
                for row in rows {
                    let (id, digest) = row.split_once(' ').ok_or_else(|| strange(row))?;
                    known.insert(id.to_owned(), digest.to_owned());
                }
                self.answers = compare(self.events, known);
                let writes = self.answers.contains(&Appended::Stored)
                    && !self.answers.contains(&Appended::Conflict);
                self.step = if writes { Step::Insert } else { Step::Done };
            }
            Step::Insert | Step::Done => self.step = Step::Done,
        }
        Ok(())
    }

    /// What became of the events.
    pub(super) fn end(self) -> Result<Vec<Appended>> {
        if self.answers.len() != self.events.len() {
            let message = format!(
                "the database answered for {} events of {}",
                self.answers.len(),
                self.events.len()
            );
            return Err(Error::new(ErrorKind::Storage, message));
        }
        match self.answers.iter().position(|answer| *answer == Appended::Conflict) {
            None => Ok(self.answers),
            Some(at) => {
                let message = format!(
                    "an event with id {} but other content is already published; nothing of this call is kept",
                    self.events[at].id()
                );
                Err(Error::new(ErrorKind::Conflict, message))
            }
        }
    }
}

/// Compares events with those that are there (id and digest) and with each other.
fn compare(events: &[Event], mut known: HashMap<String, String>) -> Vec<Appended> {
    let mut answers = Vec::with_capacity(events.len());
    for event in events {
        let digest = digest(event);
        answers.push(match known.get(&id(event)) {
            Some(there) if *there == digest => Appended::Duplicate,
            Some(_) => Appended::Conflict,
            None => {
                known.insert(id(event), digest);
                Appended::Stored
            }
        });
    }
    answers
}

/// The answer that the function of PostgreSQL gives for one event.
fn told(row: &str) -> Result<Appended> {
    match row {
        "stored" => Ok(Appended::Stored),
        "duplicate" => Ok(Appended::Duplicate),
        "conflict" => Ok(Appended::Conflict),
        other => Err(strange(other)),
    }
}

fn strange(row: &str) -> Error {
    Error::new(ErrorKind::Storage, format!("the database answered {row:?} to a publish"))
}

/// A JSON array as text.
fn json(items: impl Iterator<Item = impl Serialize>) -> String {
    // Text, numbers and flags are always JSON.
    serde_json::to_string(&items.collect::<Vec<_>>()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Calls;
    use super::*;
    use crate::ground::change::Change;
    use crate::ground::id::EventId;
    use crate::ground::time::Timestamp;

    fn event(number: u8, state: &str) -> Event {
        let id = EventId::new(Timestamp::UNIX_EPOCH, &[number; 10]);
        let object = json!({ "id": "1", "state": state });
        Change::of("order.paid", &object).unwrap().into_event(id, Timestamp::UNIX_EPOCH).unwrap()
    }

    /// Plays the database: what is known, and what the exchange says and asks then (table).
    #[test]
    fn what_is_known_decides_what_is_inserted() {
        let (new, old, other) = (event(1, "new"), event(1, "old"), event(2, "new"));
        let row = |event| format!("{} {}", id(event), digest(event));
        use Appended::{Duplicate, Stored};
        for (events, known, answers, inserted) in [
            (vec![], vec![], Some(vec![]), 0),
            (vec![&new], vec![], Some(vec![Stored]), 1),
            (vec![&new], vec![row(&new)], Some(vec![Duplicate]), 0),
            (vec![&new], vec![row(&old)], None, 0),
            (vec![&new, &other], vec![row(&other)], Some(vec![Stored, Duplicate]), 1),
            (vec![&new, &new], vec![], Some(vec![Stored, Duplicate]), 1),
            (vec![&new, &old], vec![], None, 0),
            (vec![&other, &new], vec![row(&old)], None, 0),
        ] {
            let events: Vec<Event> = events.into_iter().cloned().collect();
            let mut exchange = Exchange::new(Dialect::Sqlite, &events);
            let mut found = 0;
            while let Some((sql, value)) = exchange.ask() {
                if sql == SQLITE_INSERT {
                    found = value.matches("\"digest\"").count();
                    exchange.hear(&[]).unwrap();
                } else {
                    exchange.hear(&known).unwrap();
                }
            }
            assert_eq!(found, inserted, "{events:?}");
            let ended = exchange.end();
            match answers {
                Some(answers) => assert_eq!(ended.unwrap(), answers, "{events:?}"),
                None => assert_eq!(ended.unwrap_err().kind(), ErrorKind::Conflict, "{events:?}"),
            }
        }
    }

    /// Answers too little, too much, and nonsense.
    #[test]
    fn a_database_that_answers_nonsense_is_an_error() {
        let events = [event(1, "new"), event(2, "new")];
        for rows in [&["stored"][..], &["stored"; 3], &["stored", "perhaps"]] {
            let rows: Vec<String> = rows.iter().map(|row| (*row).to_owned()).collect();
            let calls = Calls { plain: "call", rendered: "another" };
            let mut exchange = Exchange::new(Dialect::Postgres(calls), &events);
            assert_eq!(exchange.ask().unwrap().0, "call");
            let heard = exchange.hear(&rows).and_then(|()| exchange.end());
            assert_eq!(heard.unwrap_err().kind(), ErrorKind::Storage, "{rows:?}");
        }
        let mut exchange = Exchange::new(Dialect::Sqlite, &events);
        assert!(exchange.hear(&["nonsense".to_owned()]).is_err());
    }
}
