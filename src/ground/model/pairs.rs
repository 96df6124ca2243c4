//! Which part of the former resource is which part of the present one: matched by id.

use std::collections::HashMap;

use super::path::{Path, word};

/// A part before and after; one side is missing where it came or went.
pub(super) type Pair<'t> = (Option<&'t str>, Option<&'t str>);

/// The parts at `path`: those of the present resource in their order, then those that went.
///
/// Parts are the same when their ids are; those without an id, when they are the first, second, … of
/// such. One part at a single place is the same unless both sides say that it is another.
pub(super) fn pairs<'t>(path: &Path, id: &Path, before: &'t str, after: &'t str) -> Vec<Pair<'t>> {
    let (former, present) = (path.objects(before), path.objects(after));
    if path.is_single() {
        let (Some(&was), Some(&is)) = (former.first(), present.first()) else {
            let pair = (former.first().copied(), present.first().copied());
            return if pair == (None, None) { Vec::new() } else { vec![pair] };
        };
        return match (identity(id, was), identity(id, is)) {
            (Some(one), Some(other)) if one != other => vec![(None, Some(is)), (Some(was), None)],
            _ => vec![(Some(was), Some(is))],
        };
    }
    let mut unmatched: HashMap<_, usize> =
        identities(id, &former).into_iter().zip(0..former.len()).collect();
    let mut pairs: Vec<Pair<'t>> = identities(id, &present)
        .iter()
        .zip(present)
        .map(|(identity, is)| (unmatched.remove(identity).map(|at| former[at]), Some(is)))
        .collect();
    let mut went: Vec<usize> = unmatched.into_values().collect();
    went.sort_unstable();
    pairs.extend(went.into_iter().map(|at| (Some(former[at]), None)));
    pairs
}

/// The id of each, and how many of the same came before it.
fn identities(id: &Path, parts: &[&str]) -> Vec<(Option<String>, usize)> {
    let mut counts: HashMap<Option<String>, usize> = HashMap::new();
    let number = |part: &&str| {
        let identity = identity(id, part);
        let count = counts.entry(identity.clone()).or_default();
        *count += 1;
        (identity, *count)
    };
    parts.iter().map(number).collect()
}

/// The id of a part or resource.
pub(super) fn identity(id: &Path, text: &str) -> Option<String> {
    word(id.value(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Matches parts in arrays and at single places (table).
    #[test]
    fn parts_are_matched_by_id() {
        let id = Path::parse("id").unwrap();
        for (path, before, after, expected) in [
            (
                "a[]",
                r#"{"a":[{"id":1,"n":1},{"id":"2"},{"id":3}]}"#,
                r#"{"a":[{"id":"2","n":1},{"id":4},{"id":1}]}"#,
                vec![
                    (Some(r#"{"id":"2"}"#), Some(r#"{"id":"2","n":1}"#)),
                    (None, Some(r#"{"id":4}"#)),
                    (Some(r#"{"id":1,"n":1}"#), Some(r#"{"id":1}"#)),
                    (Some(r#"{"id":3}"#), None),
                ],
            ),
            (
                "a[]",
                r#"{"a":[{"n":1},{"n":2},{"id":1},{"id":1,"n":3}]}"#,
                r#"{"a":[{"n":4},{"id":1}]}"#,
                vec![
                    (Some(r#"{"n":1}"#), Some(r#"{"n":4}"#)),
                    (Some(r#"{"id":1}"#), Some(r#"{"id":1}"#)),
                    (Some(r#"{"n":2}"#), None),
                    (Some(r#"{"id":1,"n":3}"#), None),
                ],
            ),
            (
                "a",
                r#"{"a":{"id":1}}"#,
                r#"{"a":{"n":1}}"#,
                vec![(Some(r#"{"id":1}"#), Some(r#"{"n":1}"#))],
            ),
            (
                "a",
                r#"{"a":{"id":1}}"#,
                r#"{"a":{"id":2}}"#,
                vec![(None, Some(r#"{"id":2}"#)), (Some(r#"{"id":1}"#), None)],
            ),
            ("a", r#"{"a":null}"#, r#"{"a":{"id":2}}"#, vec![(None, Some(r#"{"id":2}"#))]),
            ("a", r#"{"a":{}}"#, r#"{}"#, vec![(Some("{}"), None)]),
            ("a", "{}", r#"{"a":[]}"#, vec![]),
        ] {
            let path = Path::parse(path).unwrap();
            assert_eq!(pairs(&path, &id, before, after), expected, "{before} to {after}");
        }
    }
}
