//! What changed about a resource: `data.previousAttributes` (seed row E20).
//!
//! An attribute that changed is listed with its former value:
//!
//! | Before | After | In the previous attributes |
//! |---|---|---|
//! | equal | equal | left out |
//! | an object | an object | an object of what changed inside; left out when nothing did |
//! | any other value | another value | the value before; arrays count as one value |
//! | missing | any value, `null` too | `null` |
//! | any value | missing | the value before |
//!
//! Values are equal as JSON values: the order of keys and the spelling of numbers and strings make
//! no difference, and of a repeated key the last value counts. Numbers are compared as decimal
//! numbers of any length. What is listed is copied byte for byte, so `29.90` stays `29.90`, in the
//! order in which the former resource has its attributes; those newly set follow.
//!
//! A resource is a JSON object. `null` stands for one that does not exist, and has no attributes.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use super::error::{Error, Result};
use super::json::{self, Attributes, Walk, common_prefix, common_suffix};
use super::same::same_value;
use crate::policy::PAYLOAD_DEPTH_MAX;

/// The attributes of `before` that differ in `after`, with their values in `before`; `None` when
/// nothing changed.
///
/// ```
/// use serde_json::value::RawValue;
///
/// let before = RawValue::from_string(r#"{"price": {"amount": 9.250, "currency": "USD"}}"#.into())?;
/// let after = RawValue::from_string(
///     r#"{"price": {"amount": 29.99, "currency": "USD"}, "paidTime": "2026-02-03T04:05:06Z"}"#.into(),
/// )?;
/// let changed = tidings::diff::diff(&before, &after)?.unwrap();
/// assert_eq!(changed.get(), r#"{"price":{"amount":9.250},"paidTime":null}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for the field `previousAttributes` when a side is neither
/// an object nor `null`, or what changed is nested deeper than 100 levels.
pub fn diff(before: &RawValue, after: &RawValue) -> Result<Option<Box<RawValue>>> {
    let before = resource(before, "the former resource")?;
    let after = resource(after, "the changed resource")?;
    let mut changes = Changes::default();
    let changed = changes.add(before, after, 1);
    if changes.too_deep {
        let message = format!("what changed is nested deeper than {PAYLOAD_DEPTH_MAX} levels");
        return Err(invalid(message));
    }
    changed
        .then(|| RawValue::from_string(changes.out))
        .transpose()
        .map_err(|error| invalid("cannot be written as JSON").with_source(error))
}

/// [`diff`] of any two values that can be written as JSON.
///
/// # Errors
/// As [`diff`], and when a value cannot be written as JSON.
pub fn of(
    before: &(impl Serialize + ?Sized),
    after: &(impl Serialize + ?Sized),
) -> Result<Option<Box<RawValue>>> {
    let write = |error| invalid("cannot be written as JSON").with_source(error);
    diff(&to_raw_value(before).map_err(write)?, &to_raw_value(after).map_err(write)?)
}

/// [`diff`] of two [`Value`]s, as a map; empty when nothing changed.
///
/// A [`Value`] has already lost what `serde_json` does not keep of long numbers; [`diff`] and [`of`]
/// keep them.
///
/// # Errors
/// As [`diff`].
pub fn previous_attributes(before: &Value, after: &Value) -> Result<Map<String, Value>> {
    let changed = of(before, after)?;
    Ok(changed.map_or_else(Map::new, |changed| pick(changed.get(), before, after)))
}

/// The values in `before` of what `changed` lists. Taken from there, for reading numbers back from
/// text may change their last digit.
fn pick(changed: &str, before: &Value, after: &Value) -> Map<String, Value> {
    let members = json::members(changed).unwrap_or_default();
    let pick_one = |member: json::Member<'_>| {
        let key = String::from_utf8_lossy(&member.key).into_owned();
        let value = match (before.get(&key), after.get(&key)) {
            (Some(was @ Value::Object(_)), Some(now @ Value::Object(_))) => {
                pick(member.value, was, now).into()
            }
            (was, _) => was.cloned().unwrap_or_default(),
        };
        (key, value)
    };
    members.into_iter().map(pick_one).collect()
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::invalid("previousAttributes", message)
}

/// The text of the object that `value` is, or stands for.
fn resource<'a>(value: &'a RawValue, name: &str) -> Result<&'a str> {
    match value.get() {
        "null" => Ok("{}"),
        text if !json::is_object(text) => Err(invalid(format!("{name} is not a JSON object"))),
        text => Ok(text),
    }
}

/// [`diff`] of the texts of two objects that are known to be such, and of bounded depth.
pub(crate) fn between(before: &str, after: &str) -> Option<String> {
    let mut changes = Changes::default();
    changes.add(before, after, 1).then_some(changes.out)
}

/// The changes between two resources, as they are written down.
#[derive(Default)]
struct Changes {
    out: String,
    /// Something that had to be compared is nested deeper than allowed; what is written counts for
    /// nothing then.
    too_deep: bool,
}

impl Changes {
    /// Adds the object of what changed between two objects, the braces of which are the `level`th, or
    /// nothing; whether anything did.
    fn add(&mut self, before: &str, after: &str, level: usize) -> bool {
        if before == after {
            return false;
        }
        let start = self.out.len();
        match differing(before, after) {
            Some(members) => {
                for Differing { key, before, after, depth } in members {
                    self.member(key, start, (before, Some(after)), level, depth);
                }
            }
            None => self.by_key(before, after, level),
        }
        let changed = self.out.len() > start;
        if changed {
            self.out.push('}');
        }
        changed
    }

    /// Whether `depth` braces and brackets inside the `level`th are too many; then nothing is compared.
    fn is_too_deep(&mut self, level: usize, depth: usize) -> bool {
        let is_too_deep = level + depth > PAYLOAD_DEPTH_MAX;
        self.too_deep |= is_too_deep;
        is_too_deep
    }

    /// As [`add`](Self::add), without the last brace, of any objects.
    fn by_key(&mut self, before: &str, after: &str, level: usize) {
        let before = Attributes::of(before).unwrap_or_default();
        let after = Attributes::of(after).unwrap_or_default();
        let start = self.out.len();
        for member in before.iter() {
            let now = after.get(&member.key);
            if now == Some(member.value) {
                continue;
            }
            let depth = json::depth(member.value).max(now.map_or(0, json::depth));
            self.member(member.spelled, start, (member.value, now), level, depth);
        }
        for member in after.iter() {
            if before.get(&member.key).is_none()
                && !self.is_too_deep(level, json::depth(member.value))
            {
                self.key(member.spelled, start);
                self.out.push_str("null");
            }
        }
    }

    /// Adds what an attribute was, or what inside it was, if it is another now.
    fn member(
        &mut self,
        spelled: &str,
        start: usize,
        (before, after): (&str, Option<&str>),
        level: usize,
        depth: usize,
    ) {
        if self.is_too_deep(level, depth) {
            return;
        }
        let undo = self.out.len();
        self.key(spelled, start);
        let changed = match after {
            Some(after) if json::is_object(before) && json::is_object(after) => {
                self.add(before, after, level + 1)
            }
            Some(after) if same_value(before, after) => false,
            _ => {
                self.out.push_str(before);
                true
            }
        };
        if !changed {
            self.out.truncate(undo);
        }
    }

    /// Adds a key of the object that begins at `start`.
    fn key(&mut self, spelled: &str, start: usize) {
        self.out.push(if self.out.len() == start { '{' } else { ',' });
        self.out.push('"');
        self.out.push_str(spelled);
        self.out.push_str("\":");
    }
}

/// A member that two objects spell differently.
struct Differing<'a> {
    key: &'a str,
    before: &'a str,
    after: &'a str,
    depth: usize,
}

/// The members that differ in spelling between objects that have the same keys in the same order, each
/// once as far as it matters. `None`: these are other objects.
///
/// Nothing is looked into before that is certain: or each level would be looked into twice, and what is
/// nested in it four times.
fn differing<'a>(before: &'a str, after: &'a str) -> Option<Vec<Differing<'a>>> {
    let (same, same_end) = (common_prefix(before, after), common_suffix(before, after));
    let (mut was, mut is) = (Walk::new(before), Walk::new(after));
    let (mut differing, mut keys, mut looked) = (Vec::new(), HashSet::new(), 0);
    let _ = (was.eat(b'{'), is.eat(b'{'));
    loop {
        let rest = was.rest();
        // Looking through the rest is worth it once for each difference.
        if keys.len() > looked && rest.len() == is.rest().len() && rest.len() <= same_end {
            looked = keys.len();
            if are_not_in(&keys, rest) {
                return Some(differing);
            }
        }
        let key = match (was.key(), is.key()) {
            (Some(key), Some(other)) if key == other && !key.contains('\\') => key,
            (None, None) => return Some(differing),
            _ => return None,
        };
        if keys.contains(key) {
            // This value counts, and not the one that was found to differ.
            return None;
        }
        if !was.value_within(&mut is, same) {
            let (before, after) = (was.value()?, is.value()?);
            if before != after {
                keys.insert(key);
                differing.push(Differing {
                    key,
                    before,
                    after,
                    depth: was.depth().max(is.depth()),
                });
            }
        }
        let _ = (was.eat(b','), is.eat(b','));
    }
}

/// Whether none of these few keys, in no spelling, is in the rest of an object.
fn are_not_in(keys: &HashSet<&str>, rest: &str) -> bool {
    const FEW: usize = 4;
    keys.len() <= FEW
        && !rest.contains("\\u")
        && keys.iter().all(|key| !key.contains('/') && !rest.contains(&format!("\"{key}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(before: &str, after: &str) -> Option<String> {
        let raw = |text: &str| RawValue::from_string(text.into()).unwrap();
        diff(&raw(before), &raw(after)).unwrap().map(|changed| changed.get().to_owned())
    }

    /// Compares two resources (table; domain 3, each row of its rule set).
    #[test]
    fn previous_attributes_follow_the_rules() {
        for (rule, before, after, expected) in [
            ("equal", r#"{"a":1}"#, r#"{"a":1}"#, None),
            (
                "equal in other words",
                r#"{"a":1.50,"b":"x"}"#,
                r#"{ "b":"\u0078", "a":15e-1 }"#,
                None,
            ),
            ("equal zeros", r#"{"a":-0}"#, r#"{"a":0.0}"#, None),
            ("scalar", r#"{"a":1,"b":2}"#, r#"{"a":6,"b":2}"#, Some(r#"{"a":1}"#)),
            ("kind", r#"{"a":1}"#, r#"{"a":"1"}"#, Some(r#"{"a":1}"#)),
            (
                "nested",
                r#"{"p":{"locked":false,"unitPrice":9.250,"currency":"USD"}}"#,
                r#"{"p":{"unitPrice":29.99,"locked":true,"currency":"USD"}}"#,
                Some(r#"{"p":{"locked":false,"unitPrice":9.250}}"#),
            ),
            (
                "nested and equal",
                r#"{"p":{"x":{"y":1.0}},"q":1}"#,
                r#"{"p":{"x":{"y":1}},"q":2}"#,
                Some(r#"{"q":1}"#),
            ),
            (
                "newly set",
                r#"{"a":1}"#,
                r#"{"a":1,"b":[2],"c":null}"#,
                Some(r#"{"b":null,"c":null}"#),
            ),
            (
                "null before",
                r#"{"t":{"activated":null}}"#,
                r#"{"t":{"activated":"x"}}"#,
                Some(r#"{"t":{"activated":null}}"#),
            ),
            (
                "newly set inside",
                r#"{"t":{}}"#,
                r#"{"t":{"activated":"x"}}"#,
                Some(r#"{"t":{"activated":null}}"#),
            ),
            ("removed", r#"{"a":{"b":1},"c":null}"#, "{}", Some(r#"{"a":{"b":1},"c":null}"#)),
            ("set to null", r#"{"a":{"b":1}}"#, r#"{"a":null}"#, Some(r#"{"a":{"b":1}}"#)),
            ("object to scalar", r#"{"a":{"b":1}}"#, r#"{"a":1}"#, Some(r#"{"a":{"b":1}}"#)),
            (
                "array whole",
                r#"{"a":[1,{"b":2}]}"#,
                r#"{"a":[1,{"b":3}]}"#,
                Some(r#"{"a":[1,{"b":2}]}"#),
            ),
            ("array equal", r#"{"a":[1,{"b":2,"c":3}]}"#, r#"{"a":[1.0,{"c":3,"b":2}]}"#, None),
            ("array order", r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#, Some(r#"{"a":[1,2]}"#)),
            ("array to object", r#"{"a":[]}"#, r#"{"a":{}}"#, Some(r#"{"a":[]}"#)),
            (
                "deleted",
                r#"{"id":"1","items":[ {"n":1} ]}"#,
                "null",
                Some(r#"{"id":"1","items":[ {"n":1} ]}"#),
            ),
            ("created", "null", r#"{"id":"1"}"#, Some(r#"{"id":null}"#)),
            ("never there", "null", "null", None),
            (
                "twenty digits",
                r#"{"n":12345678901234567890}"#,
                r#"{"n":12345678901234567891}"#,
                Some(r#"{"n":12345678901234567890}"#),
            ),
            (
                "thirty digits equal",
                r#"{"n":123456789012345678901234567890}"#,
                r#"{"n":12345678901234567890123456789e1}"#,
                None,
            ),
            ("repeated key", r#"{"a":1,"a":2}"#, r#"{"a":2}"#, None),
            (
                "repeated key changed",
                r#"{"a":3,"a":2,"b":1}"#,
                r#"{"b":1,"a":2,"a":3}"#,
                Some(r#"{"a":2}"#),
            ),
            ("key spelled otherwise", r#"{"\u0061":1}"#, r#"{"a":2}"#, Some(r#"{"\u0061":1}"#)),
            (
                "order",
                r#"{"z":1,"b":2}"#,
                r#"{"b":0,"y":1,"a":1,"z":0}"#,
                Some(r#"{"z":1,"b":2,"y":null,"a":null}"#),
            ),
        ] {
            assert_eq!(changed(before, after).as_deref(), expected, "{rule}");
        }
    }

    /// Takes the difference of values that are no resources, and of one nested too deep.
    #[test]
    fn only_objects_of_bounded_depth_have_attributes() {
        let raw = |text: String| RawValue::from_string(text).unwrap();
        let nested = |levels| raw(format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels)));
        let empty = raw("{}".into());
        assert!(diff(&nested(PAYLOAD_DEPTH_MAX), &empty).unwrap().is_some());
        let other = raw(nested(PAYLOAD_DEPTH_MAX).get().replace('1', "2"));
        let deep = diff(&nested(PAYLOAD_DEPTH_MAX), &other).unwrap().unwrap();
        assert_eq!(deep.get(), nested(PAYLOAD_DEPTH_MAX).get());
        for bad in [raw("1".into()), raw("[]".into()), nested(PAYLOAD_DEPTH_MAX + 1)] {
            for error in [diff(&bad, &empty).unwrap_err(), diff(&empty, &bad).unwrap_err()] {
                assert_eq!(error.field(), Some("previousAttributes"));
            }
        }
    }

    /// Takes the differences of resources that are nested to the limit and have other keys at every
    /// level, and of ones whose last member speaks against the short way.
    #[test]
    fn what_is_nested_or_long_is_compared_in_one_go() {
        let nested = |leaf: u32, key: &str| {
            let tail = format!(r#","{key}":1}}"#);
            format!("{}{leaf}{}", r#"{"a":"#.repeat(90), tail.repeat(90))
        };
        let deep = changed(&nested(1, "x"), &nested(2, "y")).unwrap();
        assert_eq!(deep.matches(r#""y":null"#).count(), 90);
        let flat = |first: u32| {
            let members: String = (0..60_000).map(|at| format!(r#","k{at}":0"#)).collect();
            format!(r#"{{"a":{first}{members},"z":"\u0061"}}"#)
        };
        assert_eq!(changed(&flat(1), &flat(2)).as_deref(), Some(r#"{"a":1}"#));
    }

    /// Takes the difference of a `Serialize` type and of `Value`s.
    #[test]
    fn typed_values_have_the_same_difference() {
        #[derive(Serialize)]
        struct Line {
            quantity: u128,
            note: Option<&'static str>,
        }
        let before = Line { quantity: u128::MAX, note: None };
        let after = Line { quantity: 1, note: None };
        let expected = format!(r#"{{"quantity":{}}}"#, u128::MAX);
        assert_eq!(of(&before, &after).unwrap().unwrap().get(), expected);
        let before = serde_json::json!({"a": 1, "b": {"c": 1}});
        let after = serde_json::json!({"a": 1.0, "b": {"d": 1}});
        let changed = previous_attributes(&before, &after).unwrap();
        assert_eq!(Value::from(changed), serde_json::json!({"b": {"c": 1, "d": null}}));
        assert!(previous_attributes(&before, &before).unwrap().is_empty());
    }
}
