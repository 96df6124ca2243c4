//! Laws that hold for any resource: of the difference, and of models.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tidings::{Change, DataObject, ResourceModel, diff};

/// JSON of any shape, in which the words that models look for are frequent.
fn any_json() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec!["id", "state", "a", "b", "parts", "open", "closed", ""]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-9..9i32).prop_map(|n| json!(f64::from(n) / 4.0)),
        words.clone().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        let key = prop_oneof![4 => words.clone().prop_map(str::to_owned), 1 => any::<String>()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_resource() -> impl Strategy<Value = Value> {
    any_json().prop_map(|value| if value.is_object() { value } else { json!({ "a": value }) })
}

/// Two resources, of which the second is often the first with something changed.
fn any_change() -> impl Strategy<Value = (Value, Value)> {
    prop_oneof![
        (any_resource(), any_resource()),
        (any_resource(), any_resource()).prop_map(|(one, other)| {
            let mut merged = one.clone();
            if let (Some(into), Some(from)) = (merged.as_object_mut(), other.as_object()) {
                into.extend(from.clone());
            }
            (one, merged)
        }),
    ]
}

/// Texts of two resources, the second often the first with another word in it or a member more.
fn any_texts() -> impl Strategy<Value = (String, String)> {
    let key = || prop::sample::select(vec!["a", "b", "c", r"\u0061", "a/b", r"a\/b"]);
    let leaf = prop::sample::select(vec![
        "1",
        "1.0",
        "2",
        "10e-1",
        "true",
        "null",
        r#""a""#,
        r#""\u0061""#,
        r#""\"b\"""#,
        "[]",
        "{}",
    ]);
    let object = move |inner: BoxedStrategy<String>| {
        prop::collection::vec((key(), inner, any::<bool>()), 0..5).prop_map(|members| {
            let members: Vec<String> = members
                .into_iter()
                .map(|(key, value, wide)| {
                    if wide {
                        format!(" \"{key}\" : {value} ")
                    } else {
                        format!("\"{key}\":{value}")
                    }
                })
                .collect();
            format!("{{{}}}", members.join(","))
        })
    };
    let value = leaf.prop_map(str::to_owned).prop_recursive(4, 40, 5, move |inner| {
        let array = prop::collection::vec(inner.clone(), 0..4)
            .prop_map(|values| format!("[{}]", values.join(", ")));
        prop_oneof![2 => object(inner.boxed()), 1 => array]
    });
    let whole = object(value.boxed());
    (whole.clone().boxed(), whole.boxed(), 0..6_u8).prop_map(|(one, other, how)| match how {
        0 => (one, other),
        1 => (one.clone(), one.replacen('1', "2", 1)),
        2 => (one.clone(), one.replacen("true", "null", 1)),
        3 => (one.clone(), one.replacen("\"c\"", "\"d\"", 1)),
        4 => (one.clone(), one.replace("10e-1", "1")),
        _ => (format!(r#"{{"x":{one},"y":1}}"#), format!(r#"{{"x":{other},"y":1}}"#)),
    })
}

/// The difference, as the table of the module has it.
fn plain_difference(before: &Value, after: &Value) -> Map<String, Value> {
    let none = Map::new();
    let (before, after) = (before.as_object().unwrap_or(&none), after.as_object().unwrap_or(&none));
    let mut changed = Map::new();
    for (key, was) in before {
        match (was, after.get(key)) {
            (Value::Object(_), Some(is @ Value::Object(_))) => {
                let inside = plain_difference(was, is);
                if !inside.is_empty() {
                    changed.insert(key.clone(), inside.into());
                }
            }
            (was, Some(is)) if plainly_same(was, is) => {}
            _ => {
                changed.insert(key.clone(), was.clone());
            }
        }
    }
    for key in after.keys().filter(|key| !before.contains_key(*key)) {
        changed.insert(key.clone(), Value::Null);
    }
    changed
}

/// Whether two values are the same, numbers as numbers.
fn plainly_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| plainly_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, one)| other.get(key).is_some_and(|other| plainly_same(one, other)))
        }
        (one, other) => one == other,
    }
}

/// JSON Merge Patch, by the algorithm of RFC 7396.
fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(members) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            members.remove(key);
        } else {
            merge_patch(members.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Without the members of objects whose value is null: a merge patch cannot tell them from missing
/// ones. Arrays are values of their own, with what is in them.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// A model that has one of everything.
fn model() -> ResourceModel {
    let leaf = ResourceModel::builder("leaf").state("state").object(DataObject::Parent);
    let part = ResourceModel::builder("part")
        .on_state("open", [""; 0])
        .state("state")
        .part("a", leaf.clone())
        .part("parts[]", leaf);
    ResourceModel::builder("thing")
        .state("state")
        .states(["open"])
        .on_leaving("closed", ["thing.reopened"])
        .on_transition("open", "closed", ["thing.done", "thing.closed"])
        .when_changed("b", ["thing.changed"])
        .when_becomes("a.state", "open", ["thing.opened"])
        .object_of("thing.reopened", DataObject::Attribute("a".to_owned()))
        .part("parts[]", part)
        .updated_with_state()
        .build()
        .unwrap()
}

/// What an event says, with its keys in order.
fn said(changes: tidings::Result<Vec<Change>>) -> Result<Vec<(String, Value, Value)>, String> {
    let said = |change: Change| {
        let previous = change.previous().map_or("null", |previous| previous.get());
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        (change.event_type().to_string(), value(change.object().get()), value(previous))
    };
    let changes = changes.map_err(|error| error.to_string())?;
    Ok(changes.into_iter().map(said).collect())
}

/// Writes JSON with the keys of every object backwards.
fn backwards(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            out.push('{');
            for (at, (key, value)) in members.iter().rev().enumerate() {
                out.push_str(if at == 0 { " " } else { " , " });
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push_str(" : ");
                backwards(value, out);
            }
            out.push('}');
        }
        Value::Array(values) => {
            out.push('[');
            for (at, value) in values.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                backwards(value, out);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn reversed(value: &Value) -> Box<serde_json::value::RawValue> {
    let mut out = String::new();
    backwards(value, &mut out);
    serde_json::value::RawValue::from_string(out).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Takes differences of 4,000 pairs of resources and applies each to the later one, by RFC 7396.
    #[test]
    fn previous_attributes_lead_back((before, after) in any_change()) {
        let previous = diff::previous_attributes(&before, &after).unwrap();
        let mut back = after.clone();
        merge_patch(&mut back, &previous.into());
        prop_assert_eq!(without_nulls(&back), without_nulls(&before));
    }

    /// Hands 4,000 pairs of anything, and of resources, to a model that has one of everything: what it says
    /// is what it is known to say, or the name of a state.
    #[test]
    fn a_model_never_panics(any in (any_json(), any_json()), change in any_change()) {
        let model = model();
        let known: Vec<_> = model.event_types().into_iter().map(|(known, _)| known).collect();
        for (before, after) in [&any, &change] {
            for (before, after) in [(before, after), (after, before), (&Value::Null, after)] {
                for event in model.events(before, after).unwrap_or_default() {
                    let name = event.event_type();
                    let state = name.segments().next_back().unwrap();
                    let is_state =
                        before.to_string().contains(state) || after.to_string().contains(state);
                    prop_assert!(known.contains(name) || is_state, "{}", name);
                }
            }
        }
    }

    /// Takes differences of 4,000 pairs of texts with repeated keys, escapes and white space, and compares
    /// them with those of the values that they mean, taken attribute by attribute.
    #[test]
    fn the_difference_is_that_of_the_values((before, after) in any_texts()) {
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let raw = |text: &str| serde_json::value::RawValue::from_string(text.to_owned()).unwrap();
        let expected = plain_difference(&value(&before), &value(&after));
        let changed = diff::diff(&raw(&before), &raw(&after)).unwrap();
        let changed = changed.map_or_else(|| json!({}), |changed| value(changed.get()));
        prop_assert_eq!(changed, Value::Object(expected), "{} to {}", before, after);
    }

    /// Asks a model about 4,000 changes, and about the same ones with all keys backwards.
    #[test]
    fn the_order_of_keys_makes_no_difference((before, after) in any_change()) {
        let model = model();
        let forwards = said(model.events(&before, &after));
        let backwards = said(model.events(&*reversed(&before), &*reversed(&after)));
        prop_assert_eq!(forwards, backwards);
    }

    /// Asks a model about 4,000 resources that stay as they are.
    #[test]
    fn no_change_makes_no_event(resource in any_resource()) {
        prop_assert_eq!(said(model().events(&resource, &*reversed(&resource))), Ok(Vec::new()));
    }
}
