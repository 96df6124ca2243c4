//! Marks: the events that are still to be routed, a few of each account at a time.
//!
//! Routed marks are removed, but PostgreSQL keeps what was removed until no transaction can see it
//! any more, and an index walk passes over all of it: where one transaction stays open for hours,
//! every look from the beginning would take longer than the one before. So a look begins at a
//! *floor*: what lies below is routed, or in the hands of another router, or belongs to a publish
//! that was not yet visible. The floor stays behind the newest number by a second of publishes, which
//! covers publishes that overlap; a look without a floor, now and then, finds the rest. How often
//! depends on how long it takes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use tokio_postgres::types::Type;

use super::fault::Step;
use super::rows::count;
use super::tx::{Query, Tx};
use crate::ground::policy::{
    POSTGRES_ACCOUNTS_KEPT, POSTGRES_FLOOR_LAG, POSTGRES_WHOLE_LOOK, POSTGRES_WHOLE_LOOK_SHARE,
    ROUTE_FEW,
};

/// An event that is still to be routed.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) account: String,
    pub(super) seq: i64,
    /// The key of the last webhook that it was routed to; 0 at the beginning.
    pub(super) cursor: i64,
}

/// What a store remembers of its looks. Nothing depends on it but speed and fairness.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// The account that was served last.
    served: String,
    /// Where looks begin, for each account that had marks.
    floors: BTreeMap<String, i64>,
    /// The newest number at moments of the last second and a little more.
    newest: VecDeque<(Instant, i64)>,
    /// The last look without a floor: when it ended, and how long it took.
    whole: Option<(Instant, Duration)>,
}

/// One look to come.
#[derive(Debug)]
pub(super) struct Look {
    whole: bool,
    served: String,
    accounts: Vec<String>,
    floors: Vec<i64>,
    began: Instant,
}

/// What a look found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) marks: Vec<Mark>,
    /// How many marks of an account were asked for at most.
    share: usize,
    /// How many accounts were asked for at most.
    accounts: usize,
    /// The newest number; 0 if there were no marks.
    newest: i64,
}

impl Looks {
    /// The next look.
    pub(super) fn next(&self) -> Look {
        let began = Instant::now();
        let whole = self.whole.is_none_or(|(at, took)| {
            began.duration_since(at) >= POSTGRES_WHOLE_LOOK.max(took * POSTGRES_WHOLE_LOOK_SHARE)
        });
        let accounts = self.floors.keys().cloned().collect();
        let floors = self.floors.values().map(|floor| if whole { 0 } else { *floor }).collect();
        Look { whole, served: self.served.clone(), accounts, floors, began }
    }

    /// A look's marks were routed, but for the `unfinished` ones, and that is committed.
    pub(super) fn done(&mut self, look: &Look, found: &Found, unfinished: &[i64]) {
        if look.whole {
            self.whole = Some((Instant::now(), look.began.elapsed()));
        }
        let lagging = self.lagging(look.began, found.newest);
        let mut floors: BTreeMap<&str, (i64, usize)> = BTreeMap::new();
        for mark in &found.marks {
            let (floor, count) = floors.entry(mark.account.as_str()).or_insert((i64::MAX, 0));
            *count += 1;
            if unfinished.contains(&mark.seq) {
                *floor = (*floor).min(mark.seq - 1);
            }
            if *count >= found.share {
                *floor = (*floor).min(mark.seq);
            }
        }
        let saw_all = floors.len() < found.accounts;
        for (account, began) in look.accounts.iter().zip(&look.floors) {
            // It was looked at, and had nothing.
            if saw_all && !floors.contains_key(account.as_str()) {
                self.floors.insert(account.clone(), lagging.max(*began));
            }
        }
        for (account, (floor, _)) in floors {
            self.floors.insert(account.to_owned(), floor.min(lagging));
        }
        if let Some(mark) = found.marks.last() {
            self.served.clone_from(&mark.account);
        }
        if self.floors.len() > POSTGRES_ACCOUNTS_KEPT {
            self.floors.clear();
        }
    }

    /// The number up to which publishes are visible for a look that `began`, as far as they took no
    /// longer than the lag. Takes down the number that is the newest now.
    fn lagging(&mut self, began: Instant, newest: i64) -> i64 {
        let old = |at: &Instant| began.saturating_duration_since(*at) >= POSTGRES_FLOOR_LAG;
        while self.newest.get(1).is_some_and(|(at, _)| old(at)) {
            self.newest.pop_front();
        }
        let lagging = self.newest.front().filter(|(at, _)| old(at)).map_or(0, |(_, seq)| *seq);
        if newest > 0 {
            self.newest.push_back((began, newest));
        }
        lagging
    }
}

impl Found {
    /// The last mark of each account that gave as many as it was asked for: it may have more.
    pub(super) fn full(&self) -> Vec<(&str, i64)> {
        let mut accounts: BTreeMap<&str, (usize, i64)> = BTreeMap::new();
        for mark in &self.marks {
            let (count, last) = accounts.entry(mark.account.as_str()).or_insert((0, 0));
            (*count, *last) = (*count + 1, mark.seq);
        }
        let full = accounts.into_iter().filter(|(_, (count, _))| *count >= self.share);
        full.map(|(account, (_, last))| (account, last)).collect()
    }

    /// Whether there may have been more accounts than were looked at.
    pub(super) fn left_accounts(&self) -> bool {
        let accounts: BTreeSet<&str> =
            self.marks.iter().map(|mark| mark.account.as_str()).collect();
        accounts.len() >= self.accounts
    }
}

// Each step is a walk from a place in the index (LATERAL with LIMIT, and a bound on both sides; an OR
// in place of the two branches would leave one), whatever the planner thinks of a table that is empty
// one moment and full the next. `known` are the accounts that had marks before; between two of them
// there may be new ones, which are found one after the other. From the account after the last one
// served on, around.
const PICK: Query = Query::new(
    "WITH RECURSIVE known AS MATERIALIZED ( \
         SELECT account, floor, \
             lead(account) OVER (ORDER BY account) AS next \
         FROM (SELECT '' COLLATE \"C\" AS account, 0 AS floor UNION ALL \
               SELECT k.account COLLATE \"C\", k.floor FROM unnest($1, $2) AS k(account, floor)) k \
     ), fresh AS ( \
         SELECT g.account, k.next FROM known k CROSS JOIN LATERAL ( \
             (SELECT m.account FROM {s}.mark m WHERE m.account > k.account \
             AND m.account < k.next ORDER BY m.account, m.seq LIMIT 1) UNION ALL \
             (SELECT m.account FROM {s}.mark m WHERE m.account > k.account \
             AND k.next IS NULL ORDER BY m.account, m.seq LIMIT 1)) g \
         UNION ALL \
         SELECT g.account, f.next FROM fresh f CROSS JOIN LATERAL ( \
             (SELECT m.account FROM {s}.mark m WHERE m.account > f.account \
             AND m.account < f.next ORDER BY m.account, m.seq LIMIT 1) UNION ALL \
             (SELECT m.account FROM {s}.mark m WHERE m.account > f.account \
             AND f.next IS NULL ORDER BY m.account, m.seq LIMIT 1)) g \
     ), accounts AS MATERIALIZED ( \
         SELECT account, floor FROM ( \
             (SELECT account, 0::bigint AS floor FROM fresh LIMIT $6) \
             UNION ALL \
             SELECT k.account, k.floor FROM known k CROSS JOIN LATERAL ( \
                 SELECT FROM {s}.mark m WHERE m.account = k.account AND m.seq > k.floor \
                 ORDER BY m.account, m.seq LIMIT 1) m \
             WHERE k.account <> '' \
         ) a WHERE (SELECT true FROM {s}.webhook w WHERE w.account = a.account AND w.needs = 2 \
             LIMIT 1) IS NULL \
         ORDER BY account <= $3, account LIMIT $6 \
     ), share AS MATERIALIZED ( \
         SELECT greatest($5, $4 / greatest(count(*), 1)) AS few FROM accounts \
     ) \
     SELECT m.account, m.seq, m.cursor, (SELECT few FROM share), \
         (SELECT last_value FROM {s}.event_seq) \
     FROM accounts a CROSS JOIN LATERAL ( \
         SELECT m.account, m.seq, m.cursor FROM {s}.mark m \
         WHERE m.account = a.account AND m.seq > a.floor \
         ORDER BY m.account, m.seq LIMIT (SELECT few FROM share) FOR UPDATE SKIP LOCKED) m \
     ORDER BY a.account <= $3, a.account, m.seq LIMIT $4",
    &[Type::TEXT_ARRAY, Type::INT8_ARRAY, Type::TEXT, Type::INT8, Type::INT8, Type::INT8],
);

/// Chooses at most `limit` marks, and locks them: a few of each account from the one after the last
/// one served on. Those that another router has are passed over.
pub(super) async fn pick(tx: &Tx<'_>, look: &Look, limit: usize) -> Step<Found> {
    let accounts = limit.div_ceil(ROUTE_FEW);
    let (limit, few, most) = (count(limit), count(ROUTE_FEW), count(accounts));
    let rows =
        tx.rows(&PICK, &[&look.accounts, &look.floors, &look.served, &limit, &few, &most]).await?;
    let mut found = Found { marks: Vec::with_capacity(rows.len()), share: 1, accounts, newest: 0 };
    for row in &rows {
        let mark = Mark { account: row.try_get(0)?, seq: row.try_get(1)?, cursor: row.try_get(2)? };
        found.marks.push(mark);
        found.share = usize::try_from(row.try_get::<_, i64>(3)?).unwrap_or(usize::MAX);
        found.newest = row.try_get(4)?;
    }
    Ok(found)
}

const MORE: Query = Query::new(
    "SELECT EXISTS (SELECT FROM unnest($1, $2) AS a(account, last) CROSS JOIN LATERAL ( \
     SELECT FROM {s}.mark m WHERE m.account = a.account AND m.seq > a.last LIMIT 1) m)",
    &[Type::TEXT_ARRAY, Type::INT8_ARRAY],
);

/// Whether accounts have marks behind their last ones that were picked.
pub(super) async fn more(tx: &Tx<'_>, full: &[(&str, i64)]) -> Step<bool> {
    if full.is_empty() {
        return Ok(false);
    }
    let (accounts, last): (Vec<&str>, Vec<i64>) = full.iter().copied().unzip();
    let rows = tx.rows(&MORE, &[&accounts, &last]).await?;
    Ok(rows.first().map_or(Ok(false), |row| row.try_get(0))?)
}

const ANY: Query = Query::new("SELECT EXISTS (SELECT FROM {s}.mark)", &[]);

/// Whether any mark is left.
pub(super) async fn any(tx: &Tx<'_>) -> Step<bool> {
    let rows = tx.rows(&ANY, &[]).await?;
    Ok(rows.first().map_or(Ok(false), |row| row.try_get(0))?)
}

const DONE: Query = Query::new(
    "DELETE FROM {s}.mark m USING unnest($1, $2) AS d(account, seq) \
     WHERE m.account = d.account AND m.seq = d.seq",
    &[Type::TEXT_ARRAY, Type::INT8_ARRAY],
);
const ADVANCE: Query = Query::new(
    "UPDATE {s}.mark SET cursor = $3 WHERE account = $1 AND seq = $2",
    &[Type::TEXT, Type::INT8, Type::INT8],
);

/// These marks are routed to the end.
pub(super) async fn remove(tx: &Tx<'_>, marks: &[&Mark]) -> Step<()> {
    if marks.is_empty() {
        return Ok(());
    }
    let account: Vec<&str> = marks.iter().map(|mark| mark.account.as_str()).collect();
    let seq: Vec<i64> = marks.iter().map(|mark| mark.seq).collect();
    tx.run(&DONE, &[&account, &seq]).await
}

/// The event of this mark goes on after the webhook `cursor` in a later turn.
pub(super) async fn advance(tx: &Tx<'_>, mark: &Mark, cursor: i64) -> Step<()> {
    tx.run(&ADVANCE, &[&mark.account, &mark.seq, &cursor]).await
}
