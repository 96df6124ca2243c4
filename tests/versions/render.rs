//! Rendering: what the payload for an older version is made of, and what stands in the way.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tidings::{
    Account, Change, ErrorKind, Event, EventId, Mode, Timestamp, VersionedData, Versions,
};

use crate::kit::{
    FLAT, FLAT_DATA, NEWEST, NEWEST_DATA, OLDEST, OLDEST_DATA, flat, oldest, paid, payload, raw,
    versions,
};

fn id() -> EventId {
    EventId::new(Timestamp::UNIX_EPOCH, &[3; 10])
}

fn newest(change: Change) -> Event {
    let change = change.api_version(NEWEST).unwrap();
    change.into_event(id(), Timestamp::UNIX_EPOCH).unwrap()
}

fn small() -> Event {
    newest(Change::of("order.paid", &json!({ "id": "o-1" })).unwrap())
}

/// Renders the sample, and asks for every kind of version.
#[test]
fn an_event_has_a_payload_for_each_version() {
    let event = versions().render(newest(paid())).unwrap();
    let now = payload(NEWEST_DATA, NEWEST);
    for (version, expected) in [
        (None, &now),
        (Some("default"), &now),
        (Some("latest"), &now),
        (Some(NEWEST), &now),
        (Some("2023-01-01"), &now),
        (Some(""), &now),
        (Some(FLAT), &payload(FLAT_DATA, FLAT)),
        (Some(OLDEST), &payload(OLDEST_DATA, OLDEST)),
    ] {
        assert_eq!(event.rendered(version), expected, "{version:?}");
    }
    assert_eq!(event.payload(), now);
    assert_eq!(event.digest(), newest(paid()).digest(), "the newest alone is the content");
    let kept = Event::from_stored(event.to_stored());
    assert_eq!(kept, event);
    assert_eq!(kept.rendered(Some(FLAT)), event.rendered(Some(FLAT)));
    assert_ne!(kept, newest(paid()));
}

/// Renders an event twice, with other functions the second time; and with no older version.
#[test]
fn an_event_is_rendered_once() {
    let event = versions().render(newest(paid())).unwrap();
    let other = Versions::new(NEWEST).unwrap().older(FLAT, oldest).unwrap();
    assert_eq!(other.render(event.clone()).unwrap(), event);
    let alone = Versions::new(NEWEST).unwrap();
    assert_eq!(alone.render(newest(paid())).unwrap().renderings(), None);
}

/// Renders a payload that came as text, with white space, an odd key and the version in another
/// spelling of its key.
#[test]
fn a_payload_that_was_read_keeps_its_members() {
    let text = r#" { "type" : "order.paid", "a\u0062\"" : [ 1 , 2.50 ],
        "digitalriverVersion" : "2026-01-01",
        "data" : { "object" : {"n": 1.0}, "previousAttributes": { } },
        "id":"86976837-18b5-473c-9a2e-7e774a827670" } "#;
    let event = Event::parse(text, Account::default(), Timestamp::UNIX_EPOCH).unwrap();
    let same = Versions::new(NEWEST).unwrap().older(FLAT, VersionedData::unchanged).unwrap();
    let event = same.render(event).unwrap();
    assert_eq!(
        event.rendered(Some(FLAT)),
        concat!(
            r#"{"type":"order.paid","a\u0062\"":[ 1 , 2.50 ],"digitalriverVersion":"2025-06-01","#,
            r#""data":{"object":{"n": 1.0}},"id":"86976837-18b5-473c-9a2e-7e774a827670"}"#
        )
    );
    assert_eq!(event.payload(), text);
}

/// Names versions badly, twice, and too many (table).
#[test]
fn versions_have_plain_names_of_their_own() {
    for bad in ["", "default", "latest", "2026/01", "a b", "é", "\"", &"1".repeat(65)] {
        let one = Versions::new(bad).unwrap_err();
        let other = Versions::new(NEWEST).unwrap().older(bad, oldest).unwrap_err();
        for error in [one, other] {
            assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("apiVersion")));
        }
    }
    for taken in [NEWEST, FLAT] {
        let error = versions().older(taken, oldest).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("apiVersion")));
        assert!(error.to_string().contains(taken), "{error}");
    }
    let mut many = Versions::new(&"1".repeat(64)).unwrap();
    for number in 0..16 {
        many = many.older(&format!("v_{number}.0"), oldest).unwrap();
    }
    assert_eq!(many.names().count(), 17);
    assert_eq!(many.clone().older("v_16.0", oldest).unwrap_err().kind(), ErrorKind::Limit);
    assert_eq!(
        format!("{:?}", versions()),
        r#"Versions["2026-01-01", "2025-06-01", "2024-01-01"]"#
    );
    assert_eq!((versions().newest(), many.newest().len()), (NEWEST, 64));
}

/// Lets a function fail, and gives events of other versions (table).
#[test]
fn what_cannot_be_rendered_is_refused() {
    let fails = Versions::new(NEWEST)
        .unwrap()
        .older(OLDEST, oldest)
        .unwrap()
        .older(FLAT, |_: &Event| Err::<VersionedData, _>("the host's own words"))
        .unwrap();
    let unnamed = Change::of("order.paid", &json!({})).unwrap();
    let unnamed = unnamed.into_event(id(), Timestamp::UNIX_EPOCH).unwrap();
    let older = Change::of("order.paid", &json!({})).unwrap().api_version(FLAT).unwrap();
    let older = older.into_event(id(), Timestamp::UNIX_EPOCH).unwrap();
    for (versions, event, words, source) in [
        (&fails, small(), FLAT, Some("the host's own words")),
        (&versions(), small(), FLAT, Some("missing field `amount`")),
        (&versions(), unnamed, "no version", None),
        (&versions(), older, FLAT, None),
    ] {
        let error = versions.render(event).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("apiVersion")));
        assert!(error.to_string().contains(words), "{error}");
        let found = std::error::Error::source(&error).map(ToString::to_string);
        let found = found.as_deref().unwrap_or_default();
        assert!(found.starts_with(source.unwrap_or_default()), "{found}");
    }
    assert!(VersionedData::of(&1).is_err());
    let data = VersionedData::of(&json!({ "password": "hunter2" })).unwrap();
    assert!(!format!("{data:?}").contains("hunter2"));
    assert_eq!(data.previous_attributes(&"x").unwrap_err().field(), Some("previousAttributes"));
}

/// Renders payloads at and beyond the bounds of size and depth, of which the newest is far.
#[test]
fn a_rendering_has_the_bounds_of_a_payload() {
    let render = |object: String| {
        let object = raw(&object);
        let versions = Versions::new(NEWEST).unwrap();
        let versions = versions.older(FLAT, move |_: &Event| VersionedData::of(&object)).unwrap();
        versions.render(small()).map(|event| event.rendered(Some(FLAT)).to_owned())
    };
    let padded = |pad: usize| format!(r#"{{"pad":"{}"}}"#, "x".repeat(pad));
    let room = (1 << 20) - render(padded(0)).unwrap().len();
    assert_eq!(render(padded(room)).unwrap().len(), 1 << 20);
    let nested =
        |levels: usize| format!("{}{{}}{}", r#"{"a":"#.repeat(levels - 1), "}".repeat(levels - 1));
    assert!(render(nested(98)).is_ok());
    for (object, words) in [
        (padded(room + 1), "version 2025-06-01 has 1048577 bytes; at most 1048576"),
        (nested(99), "version 2025-06-01 is nested deeper than 100 levels"),
        (nested(10_000), "nested deeper"),
    ] {
        let error = render(object).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("apiVersion")));
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// Renders an event of 1 MB for three, four and five versions: together they may have 4 MiB.
#[test]
fn what_older_versions_take_together_is_bounded() {
    let big = json!({ "text": "x".repeat(1_000_000) });
    let mut versions = Versions::new(NEWEST).unwrap();
    for number in 1..=5 {
        let big = big.clone();
        let version = format!("v{number}");
        versions = versions.older(&version, move |_| VersionedData::of(&big)).unwrap();
        let rendered = versions.render(small());
        if number < 5 {
            assert!(rendered.unwrap().renderings().unwrap().len() > number * 1_000_000);
            continue;
        }
        let error = rendered.unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("apiVersion")));
        assert!(error.to_string().contains("at most 4194304"), "{error}");
    }
}

fn object() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    let key = prop_oneof![4 => "[a-d]", 1 => "[\"\\\\é\u{1},:{}]{1,2}"];
    let members = prop::collection::btree_map(key, leaf, 0..5);
    members.prop_map(|map| Value::from(map.into_iter().collect::<Map<_, _>>()))
}

proptest! {
    /// Renders random objects as other random objects: of the text only the data and the version
    /// differ, and all of it reads back.
    #[test]
    fn of_the_envelope_only_data_and_version_differ(
        (object, previous, old, older) in (object(), object(), object(), object()),
        live: bool,
        extra in object(),
    ) {
        let change = Change::of("order.updated", &object)
            .and_then(|change| change.previous_attributes(&previous))
            .and_then(|change| change.with("ex\"tra", &extra))
            .unwrap()
            .mode(Mode::from_live(live));
        let event = newest(change);
        let data = {
            let (old, older) = (old.clone(), older.clone());
            move |_: &Event| VersionedData::of(&old)?.previous_attributes(&older)
        };
        let versions = Versions::new(NEWEST).unwrap();
        let versions = versions.older(OLDEST, flat_or_same).unwrap().older(FLAT, data).unwrap();
        let event = versions.render(event).unwrap();
        let text = |object: &Value, previous: &Value| match previous.to_string().as_str() {
            "{}" => format!(r#""data":{{"object":{object}}},"#),
            previous => format!(r#""data":{{"object":{object},"previousAttributes":{previous}}},"#),
        };
        let version = |name| format!(r#","apiVersion":"{name}","#);
        let (new, changed) = (text(&object, &previous), text(&old, &older));
        prop_assert!(event.payload().contains(&new));
        let expected = event.payload().replacen(&new, &changed, 1);
        let expected = expected.replacen(&version(NEWEST), &version(FLAT), 1);
        prop_assert_eq!(event.rendered(Some(FLAT)), expected);
        let same = event.payload().replacen(&version(NEWEST), &version(OLDEST), 1);
        prop_assert_eq!(event.rendered(Some(OLDEST)), same);
        for (name, sent) in [(FLAT, event.rendered(Some(FLAT))), (OLDEST, event.rendered(Some(OLDEST)))] {
            let read = Event::parse(sent, Account::default(), Timestamp::MAX_UTC).unwrap();
            prop_assert_eq!(read.api_version(), Some(name));
            prop_assert_eq!((read.id(), read.mode(), read.created()), (event.id(), event.mode(), event.created()));
        }
    }

    /// Reads from events over random text that a storage might give back.
    #[test]
    fn damaged_renderings_never_panic(text in "[\\[\\]{}\",:\\\\0-9v.é-]{0,60}") {
        let mut stored = small().to_stored();
        for text in [text.clone(), format!(r#"{{"v0":{text}"#), format!(r#"{{"v0":{{"a":1}},"v1":{text}}}"#)] {
            stored.renderings = Some(text.into());
            let event = Event::from_stored(stored.clone());
            let _ = (event.rendered(Some("v0")), event.rendered(Some("v1")));
        }
        let event = Event::from_stored(stored);
        let read = event.rendered(Some("v0"));
        prop_assert!(read == r#"{"a":1}"# || read == event.payload(), "{}", read);
    }
}

/// What the function of an older version does with types that it does not know.
fn flat_or_same(event: &Event) -> Result<VersionedData, tidings::outbox::BoxError> {
    match event.event_type().as_str() {
        "order.paid" => flat(event),
        _ => Ok(VersionedData::unchanged(event)?),
    }
}
