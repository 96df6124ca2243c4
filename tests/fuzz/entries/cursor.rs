//! Any bytes as a page's cursor, and as a listing that is walked with it.

use std::collections::BTreeSet;

use tidings::{Cursor, Page, PageRequest, Place};

/// Reads the text of a cursor, then walks a listing from any place, in pages of any size.
pub(crate) fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(cursor) = text.parse::<Cursor>()
    {
        assert_eq!(cursor.to_string(), text.to_ascii_lowercase());
        assert_eq!(text.len(), 32);
    }
    let [limit, rest @ ..] = data else { return };
    let Ok(request) = PageRequest::first(usize::from(*limit)) else {
        assert!(!(1..=100).contains(limit));
        return;
    };
    let keys: BTreeSet<u128> = rest.iter().map(|byte| u128::from(*byte)).collect();
    let page = |request: &PageRequest| Page::of(keys.iter().rev().map(|key| (*key, *key)), request);
    let mut seen: Vec<u128> = Vec::new();
    let mut at = request;
    loop {
        let found = page(&at);
        assert!(found.items.len() <= at.limit());
        seen.extend(&found.items);
        let Some(next) = found.next else { break };
        let read: Cursor = next.to_string().parse().unwrap();
        assert_eq!(read, next);
        at = request.after(read);
    }
    assert!(seen.iter().eq(keys.iter().rev()), "a walk repeats or hides an item");
    // From a place that has an item or none, both ways.
    let place = rest.first().map_or(0, |byte| u128::from(*byte));
    let older = page(&request.after(Cursor::new(place))).items;
    assert!(older.iter().eq(keys.range(..place).rev().take(request.limit())));
    let newer = page(&request.at(Place::Before(Cursor::new(place)))).items;
    let mut expected: Vec<_> = keys.range(place + 1..).take(request.limit()).collect();
    expected.reverse();
    assert!(newer.iter().eq(expected));
}
