//! Comparing JSON as an expectation means it: what it names must be there, the rest may be anything.

use serde_json::Value;
use serde_json::value::RawValue;

/// Characters of a value that a message shows.
const SHOWN: usize = 120;

/// The value of text that was JSON when it was published.
pub(super) fn parsed(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or(Value::Null)
}

/// The first place where `actual` lacks what `expected` names, in words; `None` where it has all of
/// it. Objects may have more keys, at every level; arrays are compared whole.
pub(super) fn lacks(path: &str, expected: &Value, actual: &Value) -> Option<String> {
    if let (Value::Object(expected), Value::Object(actual)) = (expected, actual) {
        return expected.iter().find_map(|(key, expected)| {
            let path = format!("{path}.{key}");
            match actual.get(key) {
                Some(actual) => lacks(&path, expected, actual),
                None => Some(format!("{path} is missing, expected {}", shown(expected))),
            }
        });
    }
    (!same(expected, actual))
        .then(|| format!("{path} is {}, expected {}", shown(actual), shown(expected)))
}

/// Whether they are the same; `30` and `30.0` are.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || (a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let found = |(key, a)| b.get(key).is_some_and(|b| same(a, b));
            a.len() == b.len() && a.iter().all(found)
        }
        _ => one == other,
    }
}

/// The text of a value, cut.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Compares pairs of values (table).
    #[test]
    fn what_is_named_must_be_there() {
        for (expected, actual, lack) in [
            (json!({}), json!({"a": 1}), None),
            (json!({"a": 1}), json!({"a": 1, "b": 2}), None),
            (json!({"a": {"b": 1}}), json!({"a": {"b": 1, "c": 2}}), None),
            (json!({"a": 30}), json!({"a": 30.0}), None),
            (json!({"a": [{"b": 1}]}), json!({"a": [{"b": 1.0}]}), None),
            (json!({"a": null}), json!({"a": null}), None),
            (json!({"a": null}), json!({}), Some("o.a is missing, expected null")),
            (json!({"a": 1}), json!({"a": 2}), Some("o.a is 2, expected 1")),
            (json!({"a": {"b": 1}}), json!({"a": {}}), Some("o.a.b is missing, expected 1")),
            (json!({"a": {"b": 1}}), json!({"a": 7}), Some(r#"o.a is 7, expected {"b":1}"#)),
            (
                json!({"a": [{"b": 1}]}),
                json!({"a": [{"b": 1, "c": 2}]}),
                Some(r#"o.a is [{"b":1,"c":2}], expected [{"b":1}]"#),
            ),
            (json!({"a": [1]}), json!({"a": [1, 2]}), Some("o.a is [1,2], expected [1]")),
        ] {
            assert_eq!(lacks("o", &expected, &actual).as_deref(), lack, "{expected} in {actual}");
        }
    }

    /// Shows a long text of wide characters.
    #[test]
    fn long_values_are_cut() {
        let text = shown(&json!("ü".repeat(1_000)));
        assert_eq!(text.chars().count(), SHOWN + 1);
    }
}
