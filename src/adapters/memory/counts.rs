//! Statistics: numbers by webhook, hour and measure.

use std::collections::BTreeMap;

use crate::ground::account::{Account, Mode};
use crate::ground::delivery::{Attempt, State};
use crate::ground::id::WebhookId;
use crate::ground::statistics::{Hour, Measure, StatisticsQuery, counted};
use crate::ports::statistics::Counted;

/// All numbers.
#[derive(Default)]
pub(super) struct Counts(BTreeMap<WebhookId, Of>);

/// Those of one webhook, which may be gone.
struct Of {
    account: Account,
    mode: Mode,
    numbers: BTreeMap<(Hour, Measure), u64>,
}

impl Counts {
    pub(super) fn add(
        &mut self,
        webhook: WebhookId,
        (account, mode): (&Account, Mode),
        attempt: Option<&Attempt>,
        state: Option<&State>,
    ) {
        for place in counted(attempt, state) {
            let of = self.0.entry(webhook).or_insert_with(|| Of {
                account: account.clone(),
                mode,
                numbers: BTreeMap::new(),
            });
            *of.numbers.entry(place).or_default() += 1;
        }
    }

    pub(super) fn find(&self, query: &StatisticsQuery) -> Vec<Counted> {
        let hours = query.hours();
        let mut sums: BTreeMap<(Hour, Measure), u64> = BTreeMap::new();
        let wanted =
            self.0.iter().filter(|(webhook, of)| query.matches(**webhook, &of.account, of.mode));
        for (_, of) in wanted {
            let numbers = of.numbers.iter().filter(|((hour, _), _)| hours.contains(hour));
            for (place, count) in numbers {
                *sums.entry(*place).or_default() += count;
            }
        }
        let counted = |((hour, measure), count)| Counted { hour, measure, count };
        sums.into_iter().map(counted).collect()
    }

    pub(super) fn forget(&mut self, before: Hour, limit: usize) -> usize {
        let mut gone = 0;
        self.0.retain(|_, of| {
            while gone < limit
                && let Some(first) = of.numbers.first_entry()
                && first.key().0 < before
            {
                first.remove();
                gone += 1;
            }
            !of.numbers.is_empty()
        });
        gone
    }
}
