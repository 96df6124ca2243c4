//! Any text as what a storage kept: the record of a webhook, and the columns of an event. Rows may be
//! damaged, or written by somebody else.

use tidings::{Account, Event, Secrets, Timestamp, TraceContext, Webhook};

/// Reads a webhook, and an event that has the text as its payload, its renderings and its
/// trace.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Webhook::from_stored(text) {
        Ok(webhook) => {
            let stored = webhook.to_stored().unwrap();
            assert_eq!(Webhook::from_stored(&stored).unwrap(), webhook);
            assert_eq!(Webhook::from_stored(&stored).unwrap().to_stored().unwrap(), stored);
            if let Ok(secrets) = webhook.secrets() {
                assert_eq!(&Secrets::from_stored(secrets.parts().cloned()).unwrap(), secrets);
            }
        }
        Err(error) => assert!(!error.to_string().contains("CANARY"), "{error}"),
    }
    let payload =
        r#"{"id":"019c12d4-6f38-7c3a-9d5e-0123456789ab","type":"a.b","data":{"object":{}}}"#;
    let event = Event::parse(payload, Account::default(), Timestamp::UNIX_EPOCH).unwrap();
    let mut stored = event.to_stored();
    stored.payload = text.into();
    stored.key = Some(text.into());
    stored.renderings = Some(text.into());
    stored.trace = Some(text.into());
    let event = Event::from_stored(stored);
    assert_eq!(event.payload(), text);
    let _ = (event.api_version(), event.order_key(), event.object(), event.previous_attributes());
    if let Some(trace) = event.trace() {
        let parent = TraceContext::parse(trace.traceparent()).unwrap();
        let whole = trace.tracestate().map_or(Ok(parent.clone()), |state| parent.with_state(state));
        assert!(whole.is_ok() && text.starts_with(trace.traceparent()), "{trace:?}");
    }
    for version in [None, Some("latest"), Some("2024-01-01"), Some("")] {
        let sent = event.rendered(version);
        assert!(sent == text || text.contains(sent), "what is sent was not stored");
    }
    let again = Event::from_stored(event.to_stored());
    assert_eq!(again, event);
}
