//! What may be taken away, and how much there is.

use std::ops::Bound;

use super::state::State;
use crate::ground::account::Account;
use crate::ground::event::Event;
use crate::ports::storage::{Expunge, Expunged, Expunging, TableSize};

impl State {
    pub(super) fn expunge(&mut self, expunge: &Expunge) -> Expunged {
        let place = expunge.begins(self.last);
        let numbers: Vec<u64> = match &expunge.what {
            Expunging::Event(id) => self.numbers.get(id).copied().into_iter().collect(),
            Expunging::Account(account) => {
                let later = (Bound::Excluded(place.after), Bound::Unbounded);
                let meant = self.events.range(later);
                let meant = meant.take_while(|(number, _)| **number <= place.through);
                let of = meant.filter(|(_, kept)| kept.event.account() == account);
                of.map(|(number, _)| *number).take(expunge.limit).collect()
            }
        };
        let mut done = Expunged::default();
        for number in &numbers {
            self.expunge_one(*number, &mut done);
        }
        done.next = numbers.last().and_then(|last| expunge.ends(place, numbers.len(), *last));
        done
    }

    fn expunge_one(&mut self, number: u64, done: &mut Expunged) {
        let Some(kept) = self.events.get_mut(&number) else { return };
        done.events += usize::from(!kept.event.is_expunged());
        kept.event = kept.event.expunged();
        let (event, deliveries) = (kept.event.clone(), kept.deliveries.clone());
        for id in deliveries {
            let Some(row) = self.deliveries.get_mut(&id) else { continue };
            row.event = event.clone();
            for attempt in row.attempts.iter_mut().filter(|attempt| !attempt.response.is_empty()) {
                attempt.response = Vec::new();
                done.answers += 1;
            }
        }
    }

    pub(super) fn backlog(&self, account: Option<&Account>, most: usize) -> usize {
        let Some(account) = account else {
            return most.min(self.waiting_by_age.len() + self.marks.len(None));
        };
        let of = |event: &Event| event.account() == account;
        let waiting = self.waiting_by_age.iter().filter_map(|(_, id)| self.deliveries.get(id));
        let waiting = waiting.filter(|row| of(&row.event)).take(most).count();
        most.min(waiting + self.marks.len(Some(account)))
    }

    pub(super) fn sizes(&self) -> Vec<TableSize> {
        let attempts = self.deliveries.values().map(|row| row.attempts.len()).sum();
        let tables = [
            ("webhooks", self.hooks.len()),
            ("events", self.events.len()),
            ("marks", self.marks.len(None)),
            ("deliveries", self.deliveries.len()),
            ("attempts", attempts),
        ];
        let size = |(name, rows): (&str, usize)| TableSize {
            name: name.to_owned(),
            rows: rows as u64,
            bytes: None,
        };
        tables.map(size).into()
    }
}
