//! Any text as an event: what is accepted is JSON, is kept to the byte, and is read back as the same.

use serde_json::Value;
use tidings::{Account, Event, Timestamp};

/// Parses, and reads what was accepted with another JSON parser.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parse = |text: &str| Event::parse(text, Account::default(), Timestamp::UNIX_EPOCH);
    let event = match parse(text) {
        Ok(event) => event,
        Err(error) => {
            assert!(error.field().is_some(), "{error}");
            return;
        }
    };
    assert_eq!(event.payload(), text);
    let again = parse(event.payload()).unwrap();
    assert_eq!((again.id(), again.digest()), (event.id(), event.digest()));
    assert_eq!(Event::from_stored(event.to_stored()).digest(), event.digest());
    assert_eq!(event.rendered(Some("2024-01-01")), text);
    // The other parser refuses what has no number of its own, such as 1e999.
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        assert!(serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok());
        return;
    };
    assert_eq!(value["type"].as_str(), Some(event.event_type().as_str()));
    let object: Value = serde_json::from_str(event.object().unwrap().get()).unwrap();
    assert_eq!(value["data"]["object"], object);
    let previous = event.previous_attributes().unwrap();
    if let Some(previous) = previous {
        let previous: Value = serde_json::from_str(previous.get()).unwrap();
        assert_eq!(value["data"]["previousAttributes"], previous);
    }
}
