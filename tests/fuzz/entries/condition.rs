//! A condition, and the data of an event behind the first line break: what is accepted is kept as it is,
//! never panics, and obeys the laws of `$not`, `$and` and `$or`.

use tidings::{Account, Condition, Event, Timestamp};

/// Parses, writes, reads back, and asks.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, data) = text.split_once('\n').unwrap_or((text, "{}"));
    let Ok(condition) = Condition::parse(text) else { return };
    assert_eq!(condition.as_str(), text.trim());
    let json = serde_json::to_string(&condition).unwrap();
    assert_eq!(serde_json::from_str::<Condition>(&json).unwrap(), condition);
    let payload = format!(
        r#"{{"id":"0198c4ae-6d0c-7cc1-9d5b-5a1d0a3c9f10","type":"a.b","data":{{"object":{data},
            "previousAttributes":{data}}},"metadata":{data}}}"#
    );
    let Ok(event) = Event::parse(payload, Account::default(), Timestamp::UNIX_EPOCH) else {
        return;
    };
    let holds = condition.matches(&event);
    let law = |text: String, expected: bool| {
        // It may be over a bound.
        if let Ok(condition) = Condition::parse(&text) {
            assert_eq!(condition.matches(&event), expected, "{text}");
        }
    };
    law(format!(r#"{{"$not":{text}}}"#), !holds);
    law(format!(r#"{{"$not":{{"$not":{text}}}}}"#), holds);
    law(format!(r#"{{"$and":[{text},{{"type":"a.b"}}]}}"#), holds);
    law(format!(r#"{{"$and":[{text},{{"type":"a.c"}}]}}"#), false);
    law(format!(r#"{{"$or":[{{"type":"a.c"}},{text}]}}"#), holds);
    law(format!(r#"{{"$or":[{text},{{"type":"a.b"}}]}}"#), true);
}
