//! Any lines as filters, the first as an event type: what is accepted is kept as it is and matches as
//! its definition says.

use tidings::{EventType, Filter, Filters};

/// Parses, writes, reads back, and matches.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let event_type = EventType::parse(lines.next().unwrap_or_default()).ok();
    let lines: Vec<_> = lines.collect();
    let mut good = Vec::new();
    for line in &lines {
        let Ok(filter) = Filter::parse(line) else { continue };
        assert_eq!(filter.as_str(), *line);
        assert!(line.len() <= 128);
        let json = serde_json::to_string(&filter).unwrap();
        assert_eq!(serde_json::from_str::<Filter>(&json).unwrap(), filter);
        if let Some(event_type) = &event_type {
            assert_eq!(filter.matches(event_type), matches(line, event_type.as_str()), "{line}");
        }
        good.push(filter);
    }
    assert_eq!(
        Filters::parse(&lines).is_ok(),
        good.len() == lines.len() && Filters::new(good.clone()).is_ok()
    );
    if let Ok(filters) = Filters::new(good.clone()) {
        let json = serde_json::to_string(&filters).unwrap();
        assert_eq!(serde_json::from_str::<Filters>(&json).unwrap(), filters);
        assert_eq!(filters.len(), filters.iter().count());
        if let Some(event_type) = &event_type {
            let any = good.iter().any(|filter| filter.matches(event_type));
            assert_eq!(filters.matches(event_type), any);
            let types: Vec<_> = event_type.segments().collect();
            assert_eq!(types.join("."), event_type.as_str());
            let pattern = |pattern: String| Filter::parse(&pattern).unwrap().matches(event_type);
            assert!(event_type.patterns().all(pattern));
        }
    }
}

/// The definition, by segments.
fn matches(filter: &str, event_type: &str) -> bool {
    let wanted: Vec<_> = filter.split('.').collect();
    let given: Vec<_> = event_type.split('.').collect();
    match wanted.split_last() {
        Some((&"*", leading)) => given.len() > leading.len() && given.starts_with(leading),
        _ => wanted == given,
    }
}
