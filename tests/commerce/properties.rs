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

    /// Hands 4,000 pairs of anything to a model that has one of everything.
    #[test]
    fn a_model_never_panics(before in any_json(), after in any_json()) {
        let model = model();
        for (before, after) in [(&before, &after), (&after, &before), (&Value::Null, &after)] {
            if let Ok(events) = model.events(before, after) {
                let unlike = events.iter().all(|change| {
                    change.event_type().as_str().starts_with("thing.")
                });
                prop_assert!(unlike);
            }
        }
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
