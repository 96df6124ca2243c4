//! Listings: pages of a table, newest first, without a walk through what lies before the page.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::state::{Row, State};
use crate::ground::delivery::DeliveryView;
use crate::ground::id::{DeliveryId, ReplayId, WebhookId};
use crate::ground::page::{Page, PageRequest, Place, Seen};
use crate::ground::policy::{LISTING_BYTES, LISTING_ROWS};
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

/// The page of a table's rows that are shown. As [`Page::of`] would make it, but for a look that ends early:
/// everybody waits behind it.
pub(super) fn page<K: Key, V, T>(
    table: &BTreeMap<K, V>,
    request: &PageRequest,
    shown: impl Fn(&V) -> Option<T>,
    weigh: impl Fn(&T) -> usize,
) -> Page<T> {
    let look = |rows: &mut dyn Iterator<Item = (&K, &V)>, wanted: usize| {
        let mut seen = Seen { items: Vec::new(), ended: None };
        let mut bytes = 0;
        for (looked, (key, value)) in rows.enumerate() {
            if seen.items.len() == wanted {
                break;
            }
            if let Some(item) = shown(value) {
                bytes += weigh(&item);
                seen.items.push((key.number(), item));
            }
            if bytes > LISTING_BYTES || looked + 1 == LISTING_ROWS {
                seen.ended = Some(key.number());
                break;
            }
        }
        seen
    };
    let any = |seen: Seen<T>| !seen.items.is_empty() || seen.ended.is_some();
    let wanted = request.limit() + 1;
    let (ahead, behind) = match request.place() {
        Place::First => (look(&mut table.iter().rev(), wanted), false),
        Place::After(cursor) => {
            let at = K::of(cursor.key());
            let ahead = look(&mut table.range(..at).rev(), wanted);
            (ahead, any(look(&mut table.range(at..), 1)))
        }
        Place::Before(cursor) => {
            let at = K::of(cursor.key());
            let ahead = look(&mut table.range((Bound::Excluded(at), Bound::Unbounded)), wanted);
            (ahead, any(look(&mut table.range(..=at).rev(), 1)))
        }
    };
    Page::of_look(request, ahead, behind)
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
            return page(&self.deliveries, request, view, DeliveryView::bytes);
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
                assert_eq!(page(&table, &request, shown, |_| 0), expected, "{request:?}");
            }
        }
    }
}
