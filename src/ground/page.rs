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
        Self::from_keyed(found, newer, older)
    }

    /// The page of these items in the order of falling keys, where `newer` and `older` say whether
    /// there are more on either side.
    pub fn from_keyed(found: Vec<(u128, T)>, newer: bool, older: bool) -> Self {
        let next = found.last().filter(|_| older).map(|(key, _)| Cursor(*key));
        let previous = found.first().filter(|_| newer).map(|(key, _)| Cursor(*key));
        Self { items: found.into_iter().map(|(_, item)| item).collect(), next, previous }
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
