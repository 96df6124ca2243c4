//! Accounts with ordered webhooks: their marks are routed in the order of their numbers (rule 9).
//!
//! One router at a time works on such an account, and passes no mark: none that is locked, none that
//! is routed by half, and none that is not yet visible though its number was given. Who may still
//! have a number like that, the locks on the table of events tell: a transaction that publishes holds
//! one from before it gets its numbers until they are visible, or never will be.

use std::collections::{HashSet, VecDeque};
use std::sync::PoisonError;

use tokio_postgres::types::Type;

use super::Inner;
use super::fault::Step;
use super::marks::Mark;
use super::rows::count;
use super::tx::{Query, Tx};
use crate::ground::policy::{POSTGRES_PUBLISHES_KEPT, ROUTE_FEW};

/// What a store remembers of the publishes under way.
#[derive(Debug, Default)]
pub(super) struct Publishes {
    /// Every number up to this one is visible, or never will be.
    settled: i64,
    /// The newest number at some moment, and who of those that published then still does.
    pending: VecDeque<(i64, HashSet<String>)>,
    /// The account that was served last.
    served: String,
}

impl Publishes {
    /// Takes down who publishes, asked after the newest number was. Answers with the number up to
    /// which there are no gaps that could be filled.
    fn settle(&mut self, newest: i64, publishing: &HashSet<String>) -> i64 {
        for (number, who) in &mut self.pending {
            who.retain(|one| publishing.contains(one));
            if who.is_empty() {
                self.settled = self.settled.max(*number);
            }
        }
        self.pending.retain(|(number, _)| *number > self.settled);
        if publishing.is_empty() {
            self.settled = self.settled.max(newest);
        } else if self.pending.len() < POSTGRES_PUBLISHES_KEPT {
            self.pending.push_back((newest, publishing.clone()));
        }
        self.settled
    }
}

const ACCOUNTS: Query = Query::new(
    "SELECT w.account FROM (SELECT DISTINCT account FROM {s}.webhook WHERE needs = 2) w \
     CROSS JOIN LATERAL (SELECT FROM {s}.mark m WHERE m.account = w.account \
     ORDER BY m.account, m.seq LIMIT 1) m ORDER BY w.account <= $1, w.account LIMIT $2",
    &[Type::TEXT, Type::INT8],
);
const NEWEST: Query =
    Query::new("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {s}.event_seq", &[]);
const PUBLISHING: Query = Query::new(
    "SELECT l.virtualtransaction FROM pg_locks l WHERE l.locktype = 'relation' \
     AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
     AND l.relation = '{s}.event'::regclass AND l.mode = 'RowExclusiveLock' \
     AND l.pid IS DISTINCT FROM pg_backend_pid()",
    &[],
);
const TURN: Query = Query::new(
    "SELECT a.account FROM unnest($1) AS a(account) \
     WHERE pg_try_advisory_xact_lock('{s}.mark'::regclass::oid::integer, hashtext(a.account))",
    &[Type::TEXT_ARRAY],
);
// Whoever has one of these locked is waited for.
const PICK: Query = Query::new(
    "SELECT m.account, m.seq, m.cursor FROM unnest($1) AS a(account) CROSS JOIN LATERAL ( \
     SELECT m.account, m.seq, m.cursor FROM {s}.mark m \
     WHERE m.account = a.account AND m.seq <= $2 \
     ORDER BY m.account, m.seq LIMIT $3 FOR UPDATE) m ORDER BY m.account, m.seq",
    &[Type::TEXT_ARRAY, Type::INT8, Type::INT8],
);

/// The marks of accounts with ordered webhooks that may be routed now, in order.
pub(super) async fn pick(tx: &Tx<'_>, inner: &Inner, limit: usize) -> Step<Vec<Mark>> {
    let publishes = || inner.publishes.lock().unwrap_or_else(PoisonError::into_inner);
    let served = publishes().served.clone();
    let accounts = tx.rows(&ACCOUNTS, &[&served, &count(limit.div_ceil(ROUTE_FEW))]).await?;
    if accounts.is_empty() {
        return Ok(Vec::new());
    }
    let accounts: Vec<&str> =
        accounts.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    // One after the other: whoever gets a number after the first answer is of no interest.
    let newest = tx.rows(&NEWEST, &[]).await?;
    let newest = newest.first().map_or(Ok(0), |row| row.try_get(0))?;
    let publishing = tx.rows(&PUBLISHING, &[]).await?;
    let publishing: HashSet<String> =
        publishing.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let settled = publishes().settle(newest, &publishing);
    let turn = tx.rows(&TURN, &[&accounts]).await?;
    let mine: Vec<&str> = turn.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let Some(last) = mine.last() else { return Ok(Vec::new()) };
    (*last).clone_into(&mut publishes().served);
    let share = count(limit / mine.len().max(1)).max(1);
    let rows = tx.rows(&PICK, &[&mine, &settled, &share]).await?;
    let mark = |row: &tokio_postgres::Row| {
        Ok(Mark { account: row.try_get(0)?, seq: row.try_get(1)?, cursor: row.try_get(2)? })
    };
    rows.iter().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(names: &[&str]) -> HashSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Sees publishers come and go, one of which stays for long.
    #[test]
    fn a_number_is_settled_once_all_who_published_then_have_ended() {
        let mut publishes = Publishes::default();
        assert_eq!(publishes.settle(5, &who(&[])), 5, "nobody publishes");
        assert_eq!(publishes.settle(7, &who(&["a", "b"])), 5, "either may have 6 or 7");
        assert_eq!(publishes.settle(9, &who(&["b", "c"])), 5, "b is still there");
        assert_eq!(publishes.settle(9, &who(&["c"])), 7, "c came after 7 was given");
        assert_eq!(publishes.settle(12, &who(&["d"])), 9);
        assert_eq!(publishes.settle(12, &who(&[])), 12);
        assert!(publishes.pending.is_empty());
    }

    /// Asks very often while one publisher never ends.
    #[test]
    fn what_is_remembered_is_bounded() {
        let mut publishes = Publishes::default();
        for number in 0..1_000_000 {
            assert_eq!(publishes.settle(number, &who(&["a"])), 0);
        }
        assert!(publishes.pending.len() <= POSTGRES_PUBLISHES_KEPT);
        assert_eq!(publishes.settle(1_000_000, &who(&[])), 1_000_000);
    }
}
