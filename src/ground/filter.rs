//! Which event types a webhook wants: exact types, everything below a resource, or everything.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::event_type::{EventType, check_length, check_segments};
use crate::policy::{EVENT_TYPE_SEGMENTS, FILTERS_MAX};

/// One pattern: an exact event type (`order.accepted`), everything below one to seven leading
/// segments (`order.charge.*`), or everything (`*`).
///
/// A `*` stands for one or more whole segments and only at the end: `order.*` matches
/// `order.charge.capture.complete`, but not `order_item.updated`. A pattern also matches types that
/// come into use later.
///
/// ```
/// use tidings::{EventType, Filter};
///
/// let charges = Filter::parse("order.charge.*")?;
/// assert!(charges.matches(&EventType::parse("order.charge.capture.complete")?));
/// assert!(!charges.matches(&EventType::parse("order.accepted")?));
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Cow<'_, str>", into = "String")]
pub struct Filter(Arc<str>);

impl Filter {
    /// The filter that `text` spells.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `types` when the text is longer than
    /// 128 bytes or is none of the three forms.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "*" {
            return Ok(Self("*".into()));
        }
        check_length(text)
            .and_then(|()| match text.strip_suffix(".*") {
                Some(leading) => check_segments(leading, 1..=*EVENT_TYPE_SEGMENTS.end() - 1),
                None => check_segments(text, EVENT_TYPE_SEGMENTS),
            })
            .map_err(|message| Error::invalid("types", format!("{text:?} {message}")))?;
        Ok(Self(text.into()))
    }

    /// The filter that matches every event type.
    pub fn all() -> Self {
        Self("*".into())
    }

    /// The pattern's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there are types that both match: of `order.*` and `order.charge.*` all of the second, of
    /// `order.*` and `order.accepted` that one.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.0.strip_suffix('*'), other.0.strip_suffix('*')) {
            (Some(one), Some(two)) => one.starts_with(two) || two.starts_with(one),
            (Some(prefix), None) => other.0.starts_with(prefix),
            (None, Some(prefix)) => self.0.starts_with(prefix),
            (None, None) => self.0 == other.0,
        }
    }

    /// Whether events of this type are wanted: exactly when [`EventType::patterns`] has this text.
    pub fn matches(&self, event_type: &EventType) -> bool {
        match self.0.strip_suffix('*') {
            // The prefix keeps its dot, so that `order.*` leaves `order_item.updated` alone.
            Some(prefix) => event_type.as_str().starts_with(prefix),
            None => event_type.as_str() == &*self.0,
        }
    }
}

impl From<EventType> for Filter {
    /// The filter that matches this type alone.
    fn from(event_type: EventType) -> Self {
        Self(event_type.as_str().into())
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({})", self.0)
    }
}

impl AsRef<str> for Filter {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<Cow<'_, str>> for Filter {
    type Error = Error;

    fn try_from(text: Cow<'_, str>) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.0.as_ref().into()
    }
}

/// The set of filters of one webhook: 1 to 512 of them, each once, in the order of their texts. An
/// event is wanted when any of them matches. Cheap to clone.
///
/// ```
/// use tidings::{EventType, Filters};
///
/// let filters = Filters::parse(["order.*", "refund.failed", "order.*"])?;
/// assert_eq!(filters.len(), 2);
/// assert!(filters.matches(&EventType::parse("order.accepted")?));
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Filter>", into = "Vec<Filter>")]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema), schema(value_type = Vec<String>))]
pub struct Filters(Arc<[Filter]>);

impl Filters {
    /// The set of these filters. Repeated ones count once.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `types` when there is none, or there
    /// are more than 512.
    pub fn new(filters: impl IntoIterator<Item = Filter>) -> Result<Self> {
        Self::collect(filters.into_iter().map(Ok))
    }

    /// The set of the filters that these texts spell.
    ///
    /// # Errors
    /// As [`Filter::parse`] and [`Filters::new`].
    pub fn parse(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        Self::collect(texts.into_iter().map(|text| Filter::parse(text.as_ref())))
    }

    /// Everything: the one filter `*`.
    pub fn all() -> Self {
        Self(Arc::new([Filter::all()]))
    }

    fn collect(filters: impl Iterator<Item = Result<Filter>>) -> Result<Self> {
        let mut set = BTreeSet::new();
        for filter in filters {
            set.insert(filter?);
            if set.len() > FILTERS_MAX {
                return Err(Error::invalid(
                    "types",
                    format!("has more than {FILTERS_MAX} entries"),
                ));
            }
        }
        if set.is_empty() {
            return Err(Error::invalid(
                "types",
                "is empty; at least one event type, pattern or * is needed",
            ));
        }
        Ok(Self(set.into_iter().collect()))
    }

    /// The filters, in the order of their texts.
    pub fn iter(&self) -> std::slice::Iter<'_, Filter> {
        self.0.iter()
    }

    /// How many filters there are; at least one.
    #[allow(clippy::len_without_is_empty)] // It never is.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether any filter matches.
    pub fn matches(&self, event_type: &EventType) -> bool {
        self.0.iter().any(|filter| filter.matches(event_type))
    }
}

impl fmt::Debug for Filters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Filter::as_str)).finish()
    }
}

impl<'a> IntoIterator for &'a Filters {
    type Item = &'a Filter;
    type IntoIter = std::slice::Iter<'a, Filter>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl TryFrom<Vec<Filter>> for Filters {
    type Error = Error;

    fn try_from(filters: Vec<Filter>) -> Result<Self> {
        Self::new(filters)
    }
}

impl From<Filters> for Vec<Filter> {
    fn from(filters: Filters) -> Self {
        filters.0.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses good and bad patterns (table).
    #[test]
    fn a_filter_has_one_of_three_forms() {
        let longest = format!("{}.*", "a".repeat(126));
        for good in
            ["*", "order.accepted", "order.*", "a.b.c.d.e.f.g.*", "a.b.c.d.e.f.g.h", &longest]
        {
            assert_eq!(Filter::parse(good).unwrap().as_str(), good);
        }
        let too_long = format!("{}.*", "a".repeat(127));
        for bad in [
            "",
            "order",
            ".*",
            "*.*",
            "**",
            "*.accepted",
            "order.*.complete",
            "order.acc*",
            "order*",
            "order..*",
            "a.b.c.d.e.f.g.h.*",
            " *",
            &too_long,
        ] {
            let error = Filter::parse(bad).expect_err(bad);
            assert_eq!(error.field(), Some("types"), "{bad}");
        }
    }

    /// Matches filters against types (table).
    #[test]
    fn a_star_stands_for_whole_segments_at_the_end() {
        for (filter, event_type, matches) in [
            ("*", "order.accepted", true),
            ("order.accepted", "order.accepted", true),
            ("order.accepted", "order.accepted.late", false),
            ("order.Accepted", "order.accepted", false),
            ("order.*", "order.accepted", true),
            ("order.*", "order.charge.capture.complete", true),
            ("order.*", "order_item.updated", false),
            ("order.charge.*", "order.charge", false),
            ("order.charge.*", "order.charges.x", false),
        ] {
            let filter = Filter::parse(filter).unwrap();
            let event_type = EventType::parse(event_type).unwrap();
            assert_eq!(filter.matches(&event_type), matches, "{filter} {event_type}");
        }
    }

    /// Compares filters of each form with each other, both ways (table).
    #[test]
    fn filters_overlap_where_a_type_can_match_both() {
        for (one, two, overlap) in [
            ("*", "*", true),
            ("*", "order.*", true),
            ("*", "order.accepted", true),
            ("order.*", "order.*", true),
            ("order.*", "order.charge.*", true),
            ("order.*", "order.accepted", true),
            ("order.*", "order.charge.failed", true),
            ("order.*", "order_item.*", false),
            ("order.*", "order_item.updated", false),
            ("order.*", "refund.*", false),
            ("order.charge.*", "order.accepted", false),
            ("order.charge.*", "order.charge", false),
            ("order.accepted", "order.accepted", true),
            ("order.accepted", "order.accepted.late", false),
        ] {
            let (first, second) = (Filter::parse(one).unwrap(), Filter::parse(two).unwrap());
            assert_eq!(first.overlaps(&second), overlap, "{one} {two}");
            assert_eq!(second.overlaps(&first), overlap, "{two} {one}");
        }
    }

    /// Builds sets of no, repeated, 512 and 513 filters.
    #[test]
    fn a_set_has_1_to_512_filters() {
        let none: [&str; 0] = [];
        assert_eq!(Filters::parse(none).unwrap_err().field(), Some("types"));
        let set = Filters::parse(["refund.*", "order.*", "refund.*"]).unwrap();
        assert_eq!(format!("{set:?}"), r#"{"order.*", "refund.*"}"#);
        assert_eq!(set, Filters::parse(["order.*", "refund.*"]).unwrap());
        let many = |count| Filters::parse((0..count).map(|number| format!("a.b{number}")));
        assert_eq!(many(512).unwrap().len(), 512);
        assert!(many(513).unwrap_err().to_string().contains("512"));
        assert!(Filters::all().matches(&EventType::parse("a.b").unwrap()));
    }

    /// Reads and writes a set as a JSON array.
    #[test]
    fn serde_validates() {
        let read: Filters = serde_json::from_str(r#"["b.*","a.b","b.*"]"#).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"["a.b","b.*"]"#);
        for bad in ["[]", r#"["a"]"#, r#""a.b""#] {
            assert!(serde_json::from_str::<Filters>(bad).is_err(), "{bad}");
        }
    }
}
