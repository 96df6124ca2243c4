//! Pages of a listing: newest first, by a key that never changes, so that inserts and deletions
//! between two calls neither repeat nor hide an item.

use std::fmt;
use std::str::FromStr;

use super::error::{Error, Result};
use super::policy::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};

/// A place in a listing. Opaque to callers; a store makes it from the item's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(u128);

impl Cursor {
    /// The place of the item with this key. Listings go from the greatest key to the least.
    pub const fn new(key: u128) -> Self {
        Self(key)
    }

    /// The key.
    pub const fn key(self) -> u128 {
        self.0
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u128::from_str_radix(text, 16) {
            Ok(key) if hex => Ok(Self(key)),
            _ => Err(Error::invalid("cursor", "is not one that a page gave")),
        }
    }
}

/// Which part of a listing is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)]
pub enum Place {
    /// The newest items.
    First,
    /// The items that follow (are older than) this one.
    After(Cursor),
    /// The items that precede (are newer than) this one.
    Before(Cursor),
}

/// Asks for one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageRequest {
    limit: usize,
    place: Place,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { limit: PAGE_ITEMS_DEFAULT, place: Place::First }
    }
}

impl PageRequest {
    /// The newest `limit` items.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) unless `limit` is 1 to 100.
    pub fn first(limit: usize) -> Result<Self> {
        if !(1..=PAGE_ITEMS_MAX).contains(&limit) {
            return Err(Error::invalid("limit", format!("must be 1 to {PAGE_ITEMS_MAX}")));
        }
        Ok(Self { limit, place: Place::First })
    }

    /// This request, for another place.
    #[must_use]
    pub fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// This request, for the items after `cursor`.
    #[must_use]
    pub fn after(self, cursor: Cursor) -> Self {
        self.at(Place::After(cursor))
    }

    /// How many items at most.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Which part of the listing.
    pub fn place(&self) -> Place {
        self.place
    }
}

/// One page of a listing, newest first.
///
/// It may have fewer items than were asked for, or none, and a [`next`](Page::next) all the same: a store
/// looks at so many rows ([`LISTING_ROWS`](crate::policy::LISTING_ROWS)) and bytes
/// ([`LISTING_BYTES`](crate::policy::LISTING_BYTES)) for one page, and says where it ended. Whoever follows
/// `next` until there is none has seen every item.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::exhaustive_structs)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The cursor to ask for what follows [`After`](Place::After); `None` at the end.
    pub next: Option<Cursor>,
    /// The cursor to ask for what precedes [`Before`](Place::Before); `None` at the beginning.
    pub previous: Option<Cursor>,
}

impl<T> Page<T> {
    /// The page of `items`, which come in the order of falling keys. For implementers whose
    /// listings are in memory; walks the items once.
    pub fn of(items: impl Iterator<Item = (u128, T)>, request: &PageRequest) -> Self {
        let mut newer = false;
        let mut found: Vec<(u128, T)> = Vec::new();
        let mut older = false;
        for (key, item) in items {
            match request.place {
                Place::After(Cursor(at)) if key >= at => {
                    newer = true;
                    continue;
                }
                Place::Before(Cursor(at)) if key <= at => {
                    older = true;
                    break;
                }
                _ => {}
            }
            if found.len() == request.limit {
                if matches!(request.place, Place::Before(_)) {
                    found.remove(0);
                    newer = true;
                } else {
                    older = true;
                    break;
                }
            }
            found.push((key, item));
        }
        let (next, previous) = match (found.is_empty(), request.place) {
            // From what stands at the cursor itself.
            (true, Place::After(Cursor(at))) if newer => (None, Some(Cursor(at.saturating_sub(1)))),
            (true, Place::Before(Cursor(at))) if older => {
                (Some(Cursor(at.saturating_add(1))), None)
            }
            _ => return Self::from_keyed(found, newer, older),
        };
        Self { items: Vec::new(), next, previous }
    }

    /// The page of these items in the order of falling keys, where `newer` and `older` say whether
    /// there are more on either side.
    pub fn from_keyed(found: Vec<(u128, T)>, newer: bool, older: bool) -> Self {
        let next = found.last().filter(|_| older).map(|(key, _)| Cursor(*key));
        let previous = found.first().filter(|_| newer).map(|(key, _)| Cursor(*key));
        Self { items: found.into_iter().map(|(_, item)| item).collect(), next, previous }
    }

    /// The page of what a look found ahead, in the order in which it came upon it. `behind`: whether there
    /// may be something on the other side of the place.
    #[cfg(feature = "engine")]
    pub(crate) fn of_look(request: &PageRequest, ahead: Seen<T>, behind: bool) -> Self {
        let Seen { mut items, ended } = ahead;
        let more = if items.len() > request.limit {
            items.truncate(request.limit);
            items.last().map(|(key, _)| Cursor(*key))
        } else {
            ended.map(Cursor)
        };
        match request.place {
            Place::Before(Cursor(at)) => {
                items.reverse();
                // What is older than `at + 1` begins with what stands at the cursor itself.
                let last = items.last().map_or(at.saturating_add(1), |(key, _)| *key);
                let next = behind.then_some(Cursor(last));
                Self {
                    items: items.into_iter().map(|(_, item)| item).collect(),
                    next,
                    previous: more,
                }
            }
            Place::First | Place::After(_) => {
                let at = match request.place {
                    Place::After(Cursor(at)) => at.saturating_sub(1),
                    _ => u128::MAX,
                };
                let first = items.first().map_or(at, |(key, _)| *key);
                let previous = behind.then_some(Cursor(first));
                Self {
                    items: items.into_iter().map(|(_, item)| item).collect(),
                    next: more,
                    previous,
                }
            }
        }
    }

    /// This page with each item changed by `change`.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(change).collect(),
            next: self.next,
            previous: self.previous,
        }
    }
}

/// What a look along a listing has found.
#[cfg(feature = "engine")]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen<T> {
    /// What fits, with its keys.
    pub(crate) items: Vec<(u128, T)>,
    /// The key of the last row that was looked at, where the look ended before the listing did.
    pub(crate) ended: Option<u128>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(keys: &[u128], request: PageRequest) -> Page<u128> {
        Page::of(keys.iter().rev().map(|key| (*key, *key)), &request)
    }

    /// Walks a listing of ten forwards and backwards, three at a time.
    #[test]
    fn pages_join_without_gap_or_overlap() {
        let keys: Vec<u128> = (1..=10).collect();
        let request = PageRequest::first(3).unwrap();
        let mut seen = Vec::new();
        let mut at = request;
        let last = loop {
            let page = page(&keys, at);
            seen.extend(page.items.iter().copied());
            match page.next {
                Some(cursor) => at = request.after(cursor),
                None => break page,
            }
        };
        assert_eq!(seen, (1..=10).rev().collect::<Vec<u128>>());
        let back = page(&keys, request.at(Place::Before(last.previous.unwrap())));
        assert_eq!(back.items, [4, 3, 2]);
        assert!(back.next.is_some() && back.previous.is_some());
    }

    /// Takes the cursor's item and its neighbours away between two calls.
    #[test]
    fn a_cursor_outlives_its_item() {
        let request = PageRequest::first(2).unwrap();
        let first = page(&[1, 2, 3, 4, 5], request);
        let second = page(&[1, 2, 3, 6], request.after(first.next.unwrap()));
        assert_eq!(second.items, [3, 2]);
    }

    /// Makes pages of looks that ended early, found nothing, or too much, from each kind of place (table).
    #[cfg(feature = "engine")]
    #[test]
    fn a_look_that_ends_early_is_taken_up_where_it_ended() {
        let request = PageRequest::first(2).unwrap();
        let (after, before) = (request.after(Cursor(50)), request.at(Place::Before(Cursor(50))));
        let cursor = |at: Option<u128>| at.map(Cursor);
        for (request, found, ended, behind, items, next, previous) in [
            (request, &[9, 8, 7][..], None, false, &[9, 8][..], Some(8), None),
            (request, &[9, 8], None, false, &[9, 8], None, None),
            (request, &[9], Some(4), false, &[9], Some(4), None),
            (request, &[], Some(4), false, &[], Some(4), None),
            (request, &[], None, false, &[], None, None),
            (after, &[9, 8, 7], None, true, &[9, 8], Some(8), Some(9)),
            (after, &[], Some(4), true, &[], Some(4), Some(49)),
            (after, &[], None, true, &[], None, Some(49)),
            (before, &[51, 53, 55], None, true, &[53, 51], Some(51), Some(53)),
            (before, &[51], Some(70), true, &[51], Some(51), Some(70)),
            (before, &[], Some(70), true, &[], Some(51), Some(70)),
            (before, &[], None, false, &[], None, None),
        ] {
            let found = found.iter().map(|key| (*key, *key)).collect();
            let page = Page::of_look(&request, Seen { items: found, ended }, behind);
            let (next, previous) = (cursor(next), cursor(previous));
            assert_eq!(page, Page { items: items.to_vec(), next, previous }, "{request:?}");
        }
    }

    /// Reads cursors back from their text, and text that is none (table).
    #[test]
    fn cursors_are_read_back() {
        for key in [0, 1, u128::MAX] {
            assert_eq!(Cursor::new(key).to_string().parse::<Cursor>().unwrap().key(), key);
        }
        for text in ["", "1", "+0000000000000000000000000000001", &"g".repeat(32)] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
