//! Marks: the events that are still to be routed, account by account.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use crate::ground::account::Account;
use crate::ground::id::WebhookId;

/// An event that is still to be routed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    /// Its number.
    pub(super) number: u64,
    /// The last webhook that it was routed to: a wide event takes several turns.
    pub(super) cursor: Option<WebhookId>,
}

/// All marks, in order of publish within each account.
#[derive(Default)]
pub(super) struct Marks {
    queues: BTreeMap<Account, VecDeque<Mark>>,
    /// The account whose turn was last.
    served: Option<Account>,
}

impl Marks {
    /// Marks the event with this number.
    pub(super) fn push(&mut self, account: &Account, number: u64) {
        let queue = self.queues.entry(account.clone()).or_default();
        queue.push_back(Mark { number, cursor: None });
    }

    /// The account whose turn it is: each in its turn, so that one account's flood does not stand
    /// before another's few.
    pub(super) fn next_account(&mut self) -> Option<Account> {
        let later = self.served.as_ref().and_then(|served| {
            let later = (Bound::Excluded(served), Bound::Unbounded);
            self.queues.range::<Account, _>(later).next()
        });
        let account = later.or_else(|| self.queues.first_key_value())?.0.clone();
        self.served = Some(account.clone());
        Some(account)
    }

    /// The first mark of `account`.
    pub(super) fn first(&self, account: &Account) -> Option<Mark> {
        self.queues.get(account)?.front().copied()
    }

    /// The numbers of the first marks of all accounts.
    pub(super) fn firsts(&self) -> impl Iterator<Item = u64> + '_ {
        self.queues.values().filter_map(|queue| queue.front()).map(|mark| mark.number)
    }

    /// The first mark of `account` is routed to the end.
    pub(super) fn done(&mut self, account: &Account) {
        let Some(queue) = self.queues.get_mut(account) else {
            return;
        };
        queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(account);
        }
    }

    /// The first mark of `account` goes on after `cursor` in a later turn.
    pub(super) fn pause(&mut self, account: &Account, cursor: WebhookId) {
        if let Some(mark) = self.queues.get_mut(account).and_then(VecDeque::front_mut) {
            mark.cursor = Some(cursor);
        }
    }

    /// How many there are, in all or of one account.
    pub(super) fn len(&self, account: Option<&Account>) -> usize {
        match account {
            Some(account) => self.queues.get(account).map_or(0, VecDeque::len),
            None => self.queues.values().map(VecDeque::len).sum(),
        }
    }

    /// Whether everything is routed.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// The least number that is still to be routed.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.firsts().min()
    }
}
