//! Marks: the events that are still to be routed, a few of each account at a time.

use std::collections::VecDeque;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params};

use super::fault::Step;
use super::rows;
use crate::ground::policy::ROUTE_FEW;

/// An event that is still to be routed.
pub(super) struct Mark {
    pub(super) account: String,
    pub(super) seq: i64,
    /// The key of the last webhook that it was routed to; 0 at the beginning.
    pub(super) cursor: i64,
}

/// Chooses at most `limit` marks: a few of each account from the one after `served` on, then a few
/// more of each that has more. An index finds each account's first, however many marks there are.
pub(super) fn pick(conn: &Connection, served: &str, limit: usize) -> Step<Vec<Mark>> {
    let mut picked = Vec::new();
    let mut rest = first_round(conn, served, limit, &mut picked)?;
    let sql = "SELECT account, seq, cursor FROM tidings_mark \
               WHERE account = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
    let mut statement = conn.prepare_cached(sql)?;
    while let Some((account, after)) = rest.pop_front() {
        let few = ROUTE_FEW.min(limit - picked.len());
        if few == 0 {
            break;
        }
        let before = picked.len();
        let mut rows = statement.query(params![account, after, rows::bound(few)])?;
        while let Some(row) = rows.next()? {
            picked.push(Mark { account: row.get(0)?, seq: row.get(1)?, cursor: row.get(2)? });
        }
        if picked.len() - before == few
            && let Some(last) = picked.last()
        {
            rest.push_back((account, last.seq));
        }
    }
    Ok(picked)
}

/// A few marks of each account. Answers with the accounts that have more, and where those begin.
fn first_round(
    conn: &Connection,
    served: &str,
    limit: usize,
    picked: &mut Vec<Mark>,
) -> Step<VecDeque<(String, i64)>> {
    // One walk over many accounts with few marks each; a jump over what is left of a long one.
    let sql = "SELECT account, seq, cursor FROM tidings_mark \
               WHERE (account, seq) > (?1, ?2) ORDER BY account, seq";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rest = VecDeque::new();
    let (mut account, mut after, mut taken) = (served.to_owned(), i64::MAX, 0);
    let mut wrapped = served.is_empty();
    'jump: loop {
        let mut rows = statement.query(params![account, after])?;
        while picked.len() < limit
            && let Some(row) = rows.next()?
        {
            let of = rows::text(row, 0)?;
            if of != account {
                if wrapped && !served.is_empty() && of > served {
                    return Ok(rest);
                }
                of.clone_into(&mut account);
                taken = 0;
            }
            if taken == ROUTE_FEW {
                rest.push_back((account.clone(), after));
                after = i64::MAX;
                taken = 0;
                continue 'jump;
            }
            after = row.get(1)?;
            taken += 1;
            picked.push(Mark { account: account.clone(), seq: after, cursor: row.get(2)? });
        }
        if wrapped || picked.len() >= limit {
            return Ok(rest);
        }
        wrapped = true;
        (account, after, taken) = (String::new(), i64::MAX, 0);
    }
}

/// Whether any mark is left.
pub(super) fn any(conn: &Connection) -> Step<bool> {
    let sql = "SELECT 1 FROM tidings_mark LIMIT 1";
    Ok(conn.prepare_cached(sql)?.query_row([], |_| Ok(())).optional()?.is_some())
}

/// The event of this mark goes on after the webhook `cursor` in a later turn.
pub(super) fn advance(conn: &Connection, mark: &Mark, cursor: i64) -> Step<()> {
    let sql = "UPDATE tidings_mark SET cursor = ?3 WHERE account = ?1 AND seq = ?2";
    conn.prepare_cached(sql)?.execute(params![mark.account, mark.seq, cursor])?;
    Ok(())
}

/// Removes marks, run by run: what was picked of an account in one go has no gaps.
pub(super) struct Done<'db> {
    delete: CachedStatement<'db>,
    run: Option<(String, i64, i64)>,
}

impl<'db> Done<'db> {
    pub(super) fn new(conn: &'db Connection) -> Step<Self> {
        let sql = "DELETE FROM tidings_mark WHERE account = ?1 AND seq BETWEEN ?2 AND ?3";
        Ok(Self { delete: conn.prepare_cached(sql)?, run: None })
    }

    /// This mark is routed to the end, as is every picked one before it.
    pub(super) fn add(&mut self, mark: &Mark) -> Step<()> {
        if let Some((account, _, last)) = &mut self.run
            && *account == mark.account
        {
            *last = mark.seq;
            return Ok(());
        }
        self.flush()?;
        self.run = Some((mark.account.clone(), mark.seq, mark.seq));
        Ok(())
    }

    /// Removes the last run.
    pub(super) fn flush(&mut self) -> Step<()> {
        if let Some((account, first, last)) = self.run.take() {
            self.delete.execute(params![account, first, last])?;
        }
        Ok(())
    }
}
