//! Properties of the ground that hold for any input: events, types, filters, diff and digest.

use proptest::prelude::*;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use tidings::{Account, Change, Event, EventId, EventType, Filter, Filters, Mode, Timestamp};

/// Any JSON value of a few levels. Keys are few, so that two values share some.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..4_i64).prop_map(Value::from),
        (-9_999_999..9_999_999_i32).prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object_of(inner).prop_map(Value::from),
        ]
    })
}

fn object_of(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let key = prop_oneof![4 => "[a-d]", 1 => "[\"\\\\é\u{1}]{1,2}"];
    prop::collection::btree_map(key, inner, 0..5).prop_map(|map| map.into_iter().collect())
}

fn object() -> impl Strategy<Value = Value> {
    object_of(value()).prop_map(Value::from)
}

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

/// Takes out members that are `null`: missing and `null` look alike in previous attributes.
fn without_nulls(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|_, value| !value.is_null());
        members.values_mut().for_each(without_nulls);
    }
}

/// Undoes a change, by the meaning of previous attributes.
fn undo(after: &mut Map<String, Value>, previous: &Map<String, Value>) {
    for (key, was) in previous {
        match (after.get_mut(key), was) {
            (Some(Value::Object(now)), Value::Object(was)) => undo(now, was),
            (_, Value::Null) => {
                after.remove(key);
            }
            _ => {
                after.insert(key.clone(), was.clone());
            }
        }
    }
}

/// The text of `value` in other words: white space, members turned round, each first given a wrong
/// value, strings in escapes, integers with a fraction and a power of ten.
fn other_words(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            out.push_str(" {\n");
            for (index, (key, value)) in members.iter().rev().enumerate() {
                out.push_str(if index > 0 { "\t," } else { "" });
                escaped(key, out);
                out.push_str(" : [\"wrong\"],");
                escaped(key, out);
                out.push(':');
                other_words(value, out);
            }
            out.push_str("} ");
        }
        Value::Array(items) => {
            out.push_str(" [ ");
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { " ,\r\n" } else { "" });
                other_words(item, out);
            }
            out.push_str(" ]");
        }
        Value::String(text) => escaped(text, out),
        Value::Number(number) if number.as_i64() == Some(0) => out.push_str("-0.00E+7"),
        Value::Number(number) if number.is_i64() => out.push_str(&format!("{number}00.0e-2")),
        other => out.push_str(&other.to_string()),
    }
}

fn escaped(text: &str, out: &mut String) {
    out.push('"');
    for unit in text.encode_utf16() {
        out.push_str(&format!("\\u{unit:04X}"));
    }
    out.push('"');
}

fn event(object: &RawValue, previous: Option<&RawValue>) -> Event {
    let mut change = Change::of("order.updated", object).unwrap();
    if let Some(previous) = previous {
        change = change.previous_attributes(previous).unwrap();
    }
    let id = EventId::new(Timestamp::UNIX_EPOCH, &[3; 10]);
    change.into_event(id, Timestamp::UNIX_EPOCH).unwrap()
}

fn event_type() -> impl Strategy<Value = EventType> {
    prop::collection::vec("[ab]{1,2}", 2..=8)
        .prop_map(|segments| EventType::parse(&segments.join(".")).unwrap())
}

fn filter() -> impl Strategy<Value = Filter> {
    prop_oneof![
        Just(Filter::all()),
        event_type().prop_map(Filter::from),
        prop::collection::vec("[ab]{1,2}", 1..=7).prop_map(|leading| Filter::parse(&format!(
            "{}.*",
            leading.join(".")
        ))
        .unwrap()),
    ]
}

/// Whether `text` is a type, by a second reading of the rule.
fn is_type(text: &str) -> bool {
    let segments: Vec<_> = text.split('.').collect();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    text.len() <= 128
        && (2..=8).contains(&segments.len())
        && segments.iter().all(|segment| !segment.is_empty() && segment.chars().all(allowed))
}

proptest! {
    /// Takes the difference of two random resources, and undoes it on the later one.
    #[test]
    fn previous_attributes_undo_a_change(mut before in object(), mut after in object()) {
        without_nulls(&mut before);
        without_nulls(&mut after);
        let previous = tidings::diff::previous_attributes(&before, &after).unwrap();
        prop_assert_eq!(previous.is_empty(), before == after);
        let mut undone = after.as_object().unwrap().clone();
        undo(&mut undone, &previous);
        prop_assert_eq!(Value::from(undone), before);
    }

    /// Takes the difference of two random resources, nulls included, and looks at each attribute.
    #[test]
    fn every_changed_attribute_is_listed(before in object(), after in object()) {
        let previous = tidings::diff::previous_attributes(&before, &after).unwrap();
        let (before, after) = (before.as_object().unwrap(), after.as_object().unwrap());
        for key in before.keys().chain(after.keys()) {
            let changed = before.get(key) != after.get(key);
            prop_assert_eq!(previous.contains_key(key), changed, "{}", key);
        }
    }

    /// Compares a random resource with itself in other words.
    #[test]
    fn other_words_are_no_change(before in object()) {
        let mut text = String::new();
        other_words(&before, &mut text);
        let after = RawValue::from_string(text.trim().into()).unwrap();
        let changed = tidings::diff::diff(&raw(&before), &after).unwrap();
        prop_assert!(changed.is_none(), "{:?}", changed);
    }

    /// Digests a random resource, and the same in other words.
    #[test]
    fn a_digest_is_of_values(object in object(), previous in object()) {
        let mut words = [String::new(), String::new()];
        other_words(&object, &mut words[0]);
        other_words(&previous, &mut words[1]);
        let reworded = words.map(|text| RawValue::from_string(text.trim().into()).unwrap());
        prop_assert_eq!(
            event(&raw(&object), Some(&raw(&previous))).digest(),
            event(&reworded[0], Some(&reworded[1])).digest()
        );
    }

    /// Digests two random resources: alike exactly when they are equal.
    #[test]
    fn digests_differ_where_values_do(one in object(), other in object()) {
        let digest = |value: &Value| event(&raw(value), None).digest();
        prop_assert_eq!(digest(&one) == digest(&other), one == other);
    }

    /// Digests random integers of many digits, and each again one more.
    #[test]
    fn the_last_digit_counts(digits in "[1-9][0-9]{0,40}", last in 0..9_u8, zeros in 0..5_usize) {
        let number = |text: String| {
            event(&RawValue::from_string(format!(r#"{{"n":{text}}}"#)).unwrap(), None).digest()
        };
        let plain = number(format!("{digits}{last}"));
        prop_assert_ne!(plain, number(format!("{digits}{}", last + 1)));
        let padding = "0".repeat(zeros);
        prop_assert_eq!(plain, number(format!("{digits}{last}{padding}e-{zeros}")));
        prop_assert_eq!(plain, number(format!("{digits}.{last}{padding}e1")));
    }

    /// Builds an event of random resources, and reads its payload back.
    #[test]
    fn a_payload_reads_back(object in object(), previous in object(), live: bool, extra in value()) {
        let change = Change::of("order.updated", &object)
            .unwrap()
            .previous_attributes(&previous)
            .unwrap()
            .mode(Mode::from_live(live))
            .with("extra", &extra)
            .unwrap();
        let id = EventId::new(Timestamp::UNIX_EPOCH, &[3; 10]);
        let built = change.into_event(id, Timestamp::UNIX_EPOCH).unwrap();
        let read = Event::parse(built.payload(), Account::default(), Timestamp::MAX_UTC).unwrap();
        prop_assert_eq!(&read, &built);
        let (object, previous) = (raw(&object), raw(&previous));
        prop_assert_eq!(read.object().unwrap().get(), object.get());
        let listed = read.previous_attributes().unwrap().map(RawValue::get);
        prop_assert_eq!(listed, Some(previous.get()).filter(|text| *text != "{}"));
        let all: Value = serde_json::from_str(read.payload()).unwrap();
        prop_assert_eq!(&all["extra"], &extra);
    }

    /// Parses random text, and valid payloads with a random piece cut out or put in.
    #[test]
    fn parsing_never_panics(
        text in ".{0,64}",
        json in "[\\[\\]{}\",:\\\\0-9eE+.trufalsn-]{0,40}",
        places in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let _ = EventType::parse(&text);
        let _ = Filter::parse(&text);
        let good = event(&RawValue::from_string(r#"{"a":[1,{"b":"\u00e9\\"}],"c":-1.5e3}"#.into()).unwrap(), None);
        let good = good.payload();
        let (one, other) = (places.0.index(good.len()), places.1.index(good.len()));
        let (from, to) = (one.min(other), one.max(other));
        for payload in [&text, &json, &format!("{}{json}{}", &good[..from], &good[to..])] {
            match Event::parse(payload.as_str(), Account::default(), Timestamp::UNIX_EPOCH) {
                Ok(event) => {
                    prop_assert_eq!(event.payload(), payload.as_str());
                    prop_assert!(event.object().is_ok() && event.previous_attributes().is_ok());
                }
                Err(error) => prop_assert!(error.field().is_some()),
            }
        }
    }

    /// Reads from events over random text that a storage might give back.
    #[test]
    fn damaged_payloads_never_panic(payload in "[\\[\\]{}\",:\\\\0-9eE+.datobjecu-]{0,60}") {
        let mut stored = event(&raw(&Value::from(Map::new())), None).to_stored();
        for payload in [payload.clone(), format!(r#"{{"data":{{"object":{payload}"#)] {
            stored.payload = payload.into();
            let event = Event::from_stored(stored.clone());
            let _ = (event.object().is_ok(), event.previous_attributes().is_ok(), event.api_version());
        }
    }

    /// Compares what is accepted as a type with a second reading of the rule.
    #[test]
    fn types_are_what_the_rule_says(text in "([A-Za-z0-9_.* é-]{0,20}|[a-c.]{1,20}|[a-z]{60,70}\\.[a-z]{55,70})") {
        prop_assert_eq!(EventType::parse(&text).is_ok(), is_type(&text));
        let filter = Filter::parse(&text);
        if is_type(&text) {
            let event_type = EventType::parse(&text).unwrap();
            prop_assert!(filter.unwrap().matches(&event_type));
        }
    }

    /// Matches random filters against random types, in both ways that there are.
    #[test]
    fn a_filter_matches_by_pattern(filters in prop::collection::vec(filter(), 1..5), event_type in event_type()) {
        let patterns: Vec<_> = event_type.patterns().collect();
        for filter in &filters {
            let listed = patterns.iter().any(|pattern| pattern == filter.as_str());
            prop_assert_eq!(filter.matches(&event_type), listed, "{}", filter);
        }
        for pattern in &patterns {
            prop_assert!(Filter::parse(pattern).unwrap().matches(&event_type), "{}", pattern);
        }
        let any = filters.iter().any(|filter| filter.matches(&event_type));
        prop_assert_eq!(Filters::new(filters).unwrap().matches(&event_type), any);
    }
}
