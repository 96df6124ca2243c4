//! The statements of a listing, as both SQL stores put them together, and a look along it.
//!
//! A page costs what it has, not what the table has. A condition that an index serves together with the
//! order is an anchor: rows that do not fit it are not met. Where there are others, a look goes by
//! stretches: it finds the row at which a stretch ends (in the index alone), then what fits up to there.

use crate::ground::account::{Account, Mode};
use crate::ground::page::Seen;
use crate::ground::policy::{LISTING_BYTES, LISTING_ROWS_FIRST, LISTING_ROWS_READ};

/// A value that is bound to a statement.
pub(crate) trait Bound: Clone {
    fn of_text(text: String) -> Self;
    fn of_mode(mode: Mode) -> Self;
    fn of_count(count: usize) -> Self;
    /// What a cursor says of a row that has this value as its key.
    fn key(&self) -> u128;
}

/// Where rows come from, and by what they are in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<V> {
    /// From `SELECT` to before `WHERE`.
    pub(crate) select: &'static str,
    /// The table that the key is of, with its alias.
    pub(crate) table: &'static str,
    /// The column that orders it.
    pub(crate) key: &'static str,
    /// The value of that column, of a cursor.
    pub(crate) cursor: fn(u128) -> V,
    /// How many rows are looked at for one page.
    pub(crate) rows: usize,
}

/// A listing, put together from constant parts; values are bound, never written in.
pub(crate) struct Listing<V> {
    source: Source<V>,
    /// Each `?` stands for one of the values.
    anchors: Vec<String>,
    anchor_values: Vec<V>,
    /// A column that has one of these values: rows of each are in order by an index.
    among: Option<(&'static str, Vec<V>)>,
    conditions: Vec<String>,
    values: Vec<V>,
}

/// A statement and its values.
pub(crate) type Statement<V> = (String, Vec<V>);

impl<V: Bound> Listing<V> {
    pub(crate) fn new(source: Source<V>) -> Self {
        Self {
            source,
            anchors: Vec::new(),
            anchor_values: Vec::new(),
            among: None,
            conditions: Vec::new(),
            values: Vec::new(),
        }
    }

    /// The column that orders it.
    #[cfg(feature = "postgres")]
    pub(crate) fn key(&self) -> &'static str {
        self.source.key
    }

    /// Narrows it by what an index serves together with the order, or by what few rows fit at all. Each
    /// `?` in the condition stands for one of the values.
    pub(crate) fn anchor(
        &mut self,
        condition: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) {
        self.anchors.push(condition.into());
        self.anchor_values.extend(values);
    }

    /// Narrows it to rows with one of these values, each of which is an anchor. For few values.
    pub(crate) fn among(&mut self, column: &'static str, values: Vec<V>) {
        self.among = Some((column, values));
    }

    /// Narrows it by what is found out row by row.
    pub(crate) fn narrow(
        &mut self,
        condition: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) {
        self.conditions.push(condition.into());
        self.values.extend(values);
    }

    pub(crate) fn narrow_to_mode(&mut self, table: &str, mode: Option<Mode>) {
        if let Some(mode) = mode {
            self.narrow(format!("{table}.mode = ?"), [V::of_mode(mode)]);
        }
    }

    pub(crate) fn narrow_to_account(&mut self, table: &str, account: Option<&Account>) {
        if let Some(account) = account {
            self.narrow(format!("{table}.account = ?"), [V::of_text(account.as_str().to_owned())]);
        }
    }

    pub(crate) fn anchor_to_account(&mut self, table: &str, account: Option<&Account>) {
        if let Some(account) = account {
            self.anchor(format!("{table}.account = ?"), [V::of_text(account.as_str().to_owned())]);
        }
    }

    /// The rows from a place on, up to the edge.
    fn statement(&self, order: Order, from: Option<&Place<V>>, edge: Option<&V>) -> Statement<V> {
        let mut conditions = self.anchors.clone();
        let mut values = self.anchor_values.clone();
        if let Some((column, among)) = &self.among {
            let marks = vec!["?"; among.len()].join(", ");
            conditions.push(format!("{column} IN ({marks})"));
            values.extend(among.iter().cloned());
        }
        conditions.extend(self.conditions.iter().cloned());
        values.extend(self.values.iter().cloned());
        let key = self.source.key;
        if let Some(from) = from {
            conditions.push(format!("{key} {} ?", from.comparison));
            values.push(from.at.clone());
        }
        if let Some(edge) = edge {
            conditions.push(format!("{key} {} ?", order.up_to()));
            values.push(edge.clone());
        }
        let select = self.source.select;
        let text = format!("{select}{} ORDER BY {key} {}", all_of(&conditions), order.word());
        (text, values)
    }

    /// How many rows of the table fit, up to `most`. For conditions on its own columns.
    pub(crate) fn count(&self, most: usize) -> Statement<V> {
        let conditions = [&self.anchors[..], &self.conditions[..]].concat();
        let mut values = [&self.anchor_values[..], &self.values[..]].concat();
        values.push(V::of_count(most));
        let (table, conditions) = (self.source.table, all_of(&conditions));
        (format!("SELECT count(*) FROM (SELECT 1 FROM {table}{conditions} LIMIT ?) a"), values)
    }

    /// The key of the row at which a stretch from the place ends.
    fn edge(&self, order: Order, from: Option<&Place<V>>, stretch: usize) -> Statement<V> {
        let Source { key, table, .. } = self.source;
        let word = order.word();
        let rows = |more: Option<(&str, &V)>| {
            let mut conditions = self.anchors.clone();
            let mut values = self.anchor_values.clone();
            if let Some((column, value)) = more {
                conditions.push(format!("{column} = ?"));
                values.push(value.clone());
            }
            if let Some(from) = from {
                conditions.push(format!("{key} {} ?", from.comparison));
                values.push(from.at.clone());
            }
            let wheres = all_of(&conditions);
            (format!("SELECT {key} AS k FROM {table}{wheres} ORDER BY {key} {word}"), values)
        };
        let (mut text, mut values) = match &self.among {
            None => rows(None),
            Some((column, among)) => {
                let mut all = Vec::new();
                let mut texts = Vec::new();
                for (at, value) in among.iter().enumerate() {
                    let (text, values) = rows(Some((column, value)));
                    texts.push(format!("SELECT k FROM ({text} LIMIT ?) a{at}"));
                    all.extend(values);
                    all.push(V::of_count(stretch));
                }
                (format!("{} ORDER BY k {word}", texts.join(" UNION ALL ")), all)
            }
        };
        text.push_str(" LIMIT 1 OFFSET ?");
        values.push(V::of_count(stretch.saturating_sub(1)));
        (text, values)
    }

    /// Whether rows may be met that do not fit, or that are not in order.
    fn needs_edges(&self) -> bool {
        !self.conditions.is_empty() || self.among.is_some()
    }
}

fn all_of(conditions: &[String]) -> String {
    match conditions {
        [] => String::new(),
        conditions => format!(" WHERE {}", conditions.join(" AND ")),
    }
}

/// Which way a look goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// To greater keys.
    Rising,
    /// To lesser keys.
    Falling,
}

impl Order {
    const fn word(self) -> &'static str {
        match self {
            Self::Rising => "ASC",
            Self::Falling => "DESC",
        }
    }

    const fn beyond(self) -> &'static str {
        match self {
            Self::Rising => ">",
            Self::Falling => "<",
        }
    }

    const fn up_to(self) -> &'static str {
        match self {
            Self::Rising => "<=",
            Self::Falling => ">=",
        }
    }
}

/// Where a look begins.
#[derive(Debug, Clone)]
struct Place<V> {
    comparison: &'static str,
    at: V,
}

/// A look along a listing for so many items. The store runs its statements, and tells it what they found.
pub(crate) struct Look<'l, V, T> {
    listing: &'l Listing<V>,
    order: Order,
    wanted: usize,
    from: Option<Place<V>>,
    stretch: usize,
    edge: Option<V>,
    items: Vec<(u128, T)>,
    looked: usize,
    passed: usize,
    bytes: usize,
    over: bool,
    ended: Option<u128>,
}

impl<'l, V: Bound, T> Look<'l, V, T> {
    /// From the key on: with what stands there, or without.
    pub(crate) fn new(
        listing: &'l Listing<V>,
        order: Order,
        from: Option<(u128, bool)>,
        wanted: usize,
    ) -> Self {
        let from = from.map(|(key, with)| {
            let comparison = match (order, with) {
                (order, false) => order.beyond(),
                (Order::Rising, true) => ">=",
                (Order::Falling, true) => "<=",
            };
            Place { comparison, at: (listing.source.cursor)(key) }
        });
        let exact = listing.conditions.is_empty();
        let stretch = if exact { wanted } else { LISTING_ROWS_FIRST.max(wanted) };
        // Of no values, none.
        let over = listing.among.as_ref().is_some_and(|(_, values)| values.is_empty());
        Self {
            listing,
            order,
            wanted,
            from,
            stretch,
            edge: None,
            items: Vec::new(),
            looked: 0,
            passed: 0,
            bytes: 0,
            over,
            ended: None,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// How many items are still to be found.
    #[cfg(feature = "postgres")]
    pub(crate) fn missing(&self) -> usize {
        self.wanted - self.items.len()
    }

    /// What finds the end of the next stretch; `None` where there are no stretches.
    pub(crate) fn edge_statement(&self) -> Option<Statement<V>> {
        let (listing, from) = (self.listing, self.from.as_ref());
        listing.needs_edges().then(|| listing.edge(self.order, from, self.stretch))
    }

    /// Where the stretch ends: nowhere, where it has fewer rows.
    pub(crate) fn set_edge(&mut self, edge: Option<V>) {
        self.edge = edge;
    }

    /// What finds the rows of the stretch.
    pub(crate) fn statement(&self) -> Statement<V> {
        self.listing.statement(self.order, self.from.as_ref(), self.edge.as_ref())
    }

    /// A row, and what it is if it fits; whether the look is over now.
    pub(crate) fn take(&mut self, key: u128, item: Option<T>, weigh: fn(&T) -> usize) -> bool {
        match item {
            Some(item) => {
                self.bytes += weigh(&item);
                self.items.push((key, item));
                self.over = self.items.len() == self.wanted;
            }
            None => self.passed += 1,
        }
        if !self.over && (self.bytes > LISTING_BYTES || self.passed >= LISTING_ROWS_READ) {
            self.over = true;
            self.ended = Some(key);
        }
        self.over
    }

    /// There are more rows in the stretch, behind this one: a client that reads some rows at once says so.
    #[cfg(feature = "postgres")]
    pub(crate) fn go_on(&mut self, key: u128) {
        let at = (self.listing.source.cursor)(key);
        self.from = Some(Place { comparison: self.order.beyond(), at });
    }

    /// The rows of the stretch have all been taken.
    pub(crate) fn turn(&mut self) {
        let Some(edge) = self.edge.take() else {
            self.over = true;
            return;
        };
        self.looked += self.stretch;
        if self.looked >= self.listing.source.rows {
            self.over = true;
            self.ended = Some(edge.key());
            return;
        }
        self.stretch = (self.stretch * 10).min(self.listing.source.rows - self.looked);
        self.from = Some(Place { comparison: self.order.beyond(), at: edge });
    }

    /// What it has found.
    pub(crate) fn seen(self) -> Seen<T> {
        Seen { items: self.items, ended: self.ended }
    }
}
