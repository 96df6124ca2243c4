//! The statement of a listing, as both SQL stores put it together.

use crate::ground::account::{Account, Mode};

/// A value that is bound to a statement.
pub(crate) trait Bound: Clone {
    fn of_text(text: String) -> Self;
    fn of_mode(mode: Mode) -> Self;
}

/// A listing's statement, put together from constant parts; values are bound, never written in.
pub(crate) struct Listing<V> {
    /// From `SELECT` to before `WHERE`.
    select: &'static str,
    /// The column that orders it.
    pub(crate) key: &'static str,
    /// Each `?` stands for one of the values.
    pub(crate) conditions: Vec<String>,
    pub(crate) values: Vec<V>,
}

impl<V: Bound> Listing<V> {
    pub(crate) fn new(select: &'static str, key: &'static str) -> Self {
        Self { select, key, conditions: Vec::new(), values: Vec::new() }
    }

    /// Narrows it. Each `?` in the condition stands for one of the values.
    pub(crate) fn narrow<const N: usize>(&mut self, condition: impl Into<String>, values: [V; N]) {
        self.conditions.push(condition.into());
        self.values.extend(values);
    }

    pub(crate) fn narrow_to_account(
        &mut self,
        table: &str,
        account: Option<&Account>,
        mode: Option<Mode>,
    ) {
        if let Some(account) = account {
            self.narrow(format!("{table}.account = ?"), [V::of_text(account.as_str().to_owned())]);
        }
        if let Some(mode) = mode {
            self.narrow(format!("{table}.mode = ?"), [V::of_mode(mode)]);
        }
    }

    /// The statement in this order, of what compares so with a place, and its values.
    pub(crate) fn statement(&self, order: &str, at: Option<(&str, V)>) -> (String, Vec<V>) {
        let mut values = self.values.clone();
        let mut conditions = self.conditions.clone();
        if let Some((comparison, at)) = at {
            conditions.push(format!("{} {comparison} ?", self.key));
            values.push(at);
        }
        let any = if conditions.is_empty() { "" } else { " WHERE " };
        let (select, key, conditions) = (self.select, self.key, conditions.join(" AND "));
        (format!("{select}{any}{conditions} ORDER BY {key} {order}"), values)
    }
}
