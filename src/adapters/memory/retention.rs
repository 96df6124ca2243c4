//! What may be taken away, and how much there is.

use super::state::State;
use crate::ground::account::Account;
use crate::ports::storage::{Expunge, Expunged, Expunging, TableSize};

impl State {
    pub(super) fn expunge(&mut self, expunge: &Expunge) -> Expunged {
        let mut done = Expunged::default();
        match &expunge.what {
            Expunging::Event(id) => {
                if let Some(number) = self.numbers.get(id).copied() {
                    done.events = usize::from(self.expunge_one(number));
                }
            }
            Expunging::Account { account, before } => {
                let from = expunge.after.map_or(0, |after| after + 1);
                let of = self.events.range(from..);
                let of = of.filter(|(_, kept)| kept.event.account() == account);
                let of = of.filter(|(_, kept)| kept.published < *before);
                let numbers: Vec<u64> = of.map(|(number, _)| *number).take(expunge.limit).collect();
                for number in &numbers {
                    done.events += usize::from(self.expunge_one(*number));
                }
                let full = numbers.len() == expunge.limit;
                done.next = numbers.last().copied().filter(|_| full);
            }
        }
        done
    }

    fn expunge_one(&mut self, number: u64) -> bool {
        let Some(kept) = self.events.get_mut(&number) else { return false };
        let new = !kept.event.is_expunged();
        kept.event = kept.event.expunged();
        let (event, deliveries) = (kept.event.clone(), kept.deliveries.clone());
        for id in deliveries {
            if let Some(row) = self.deliveries.get_mut(&id) {
                row.event = event.clone();
                row.attempts.iter_mut().for_each(|attempt| attempt.response = Vec::new());
            }
        }
        new
    }

    pub(super) fn backlog(&self, account: Option<&Account>, most: usize) -> usize {
        let Some(account) = account else {
            return most.min(self.waiting_by_age.len() + self.marks.len(None));
        };
        let of = |event: &crate::ground::event::Event| event.account() == account;
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
