//! Listings: pages of a table, newest first, without a walk through what lies before the page.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::state::{Row, State};
use crate::ground::delivery::DeliveryView;
use crate::ground::id::{DeliveryId, ReplayId, WebhookId};
use crate::ground::page::{Page, PageRequest, Place};
use crate::ground::query::DeliveryQuery;

/// A table's key, as a cursor has it.
pub(super) trait Key: Copy + Ord {
    fn number(self) -> u128;
    fn of(number: u128) -> Self;
}

impl Key for u64 {
    fn number(self) -> u128 {
        self.into()
    }

    fn of(number: u128) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }
}

impl Key for WebhookId {
    fn number(self) -> u128 {
        self.uuid().as_u128()
    }

    fn of(number: u128) -> Self {
        Self::from_uuid(uuid::Uuid::from_u128(number))
    }
}

impl Key for DeliveryId {
    fn number(self) -> u128 {
        self.uuid().as_u128()
    }

    fn of(number: u128) -> Self {
        Self::from_uuid(uuid::Uuid::from_u128(number))
    }
}

impl Key for ReplayId {
    fn number(self) -> u128 {
        self.uuid().as_u128()
    }

    fn of(number: u128) -> Self {
        Self::from_uuid(uuid::Uuid::from_u128(number))
    }
}

/// The page of a table's rows that are shown. As [`Page::of`] would make it.
pub(super) fn page<K: Key, V, T>(
    table: &BTreeMap<K, V>,
    request: &PageRequest,
    shown: impl Fn(&V) -> Option<T>,
) -> Page<T> {
    let shown = |(key, value): (&K, &V)| Some((key.number(), shown(value)?));
    let wanted = request.limit() + 1;
    let mut found: Vec<(u128, T)>;
    let (newer, older);
    match request.place() {
        Place::Before(cursor) => {
            let at = K::of(cursor.key());
            let from = (Bound::Excluded(at), Bound::Unbounded);
            found = table.range(from).filter_map(shown).take(wanted).collect();
            newer = found.len() == wanted;
            older = table.range(..=at).rev().find_map(shown).is_some();
            found.truncate(request.limit());
            found.reverse();
        }
        place => {
            let to = match place {
                Place::After(cursor) => Bound::Excluded(K::of(cursor.key())),
                _ => Bound::Unbounded,
            };
            found =
                table.range((Bound::Unbounded, to)).rev().filter_map(shown).take(wanted).collect();
            older = found.len() == wanted;
            newer = match to {
                Bound::Excluded(at) => table.range(at..).find_map(shown).is_some(),
                _ => false,
            };
            found.truncate(request.limit());
        }
    }
    Page::from_keyed(found, newer, older)
}

/// The page of a listing that can only have this one item.
pub(super) fn one<T>(key: impl Key, item: Option<T>, request: &PageRequest) -> Page<T> {
    Page::of(item.into_iter().map(|item| (key.number(), item)), request)
}

impl State {
    pub(super) fn deliveries(
        &self,
        query: &DeliveryQuery,
        request: &PageRequest,
    ) -> Page<DeliveryView> {
        let view = |row: &Row| {
            query.matches(&row.delivery, &row.event).then(|| DeliveryView {
                delivery: row.delivery.clone(),
                event: row.event.clone(),
                attempts: row.attempts.clone(),
            })
        };
        if let Some(id) = query.id {
            return one(id, self.deliveries.get(&id).and_then(view), request);
        }
        let Some(event) = query.event else {
            return page(&self.deliveries, request, view);
        };
        let kept = self.numbers.get(&event).and_then(|number| self.events.get(number));
        let mut ids = kept.map(|kept| kept.deliveries.clone()).unwrap_or_default();
        ids.sort_unstable();
        let rows = ids.into_iter().rev().filter_map(|id| self.deliveries.get(&id));
        Page::of(rows.filter_map(|row| Some((row.delivery.id.number(), view(row)?))), request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::page::Cursor;

    /// Pages through tables with gaps, from every place, as `Page::of` does.
    #[test]
    fn pages_are_those_of_page_of() {
        let table: BTreeMap<u64, u64> =
            (0..40).filter(|key| key % 7 != 3).map(|key| (key, key)).collect();
        let shown = |value: &u64| Some(*value).filter(|value| value % 2 == 0);
        for limit in [1, 2, 5, 20, 100] {
            let cursors = || (0..42).map(Cursor::new);
            let places = cursors().map(Place::After).chain(cursors().map(Place::Before));
            for place in places.chain([Place::First]) {
                let request = PageRequest::first(limit).unwrap().at(place);
                let items = table
                    .iter()
                    .rev()
                    .filter_map(|(key, value)| Some(((*key).into(), shown(value)?)));
                let expected = Page::of(items, &request);
                assert_eq!(page(&table, &request, shown), expected, "{request:?}");
            }
        }
    }
}
