//! The event types that a host supports: what people choose from, what is checked, what tools read.
//!
//! `entry.rs` is one type, `builder.rs` how a catalogue comes together, `openapi.rs` how it is told to
//! others, `schema.rs` how payloads are checked.

mod builder;
mod entry;
mod openapi;
#[cfg(feature = "schema")]
mod schema;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;

pub use self::builder::CatalogueBuilder;
pub use self::entry::CatalogueEntry;
use super::error::{Error, Result};
use super::event::Event;
use super::event_type::EventType;
use super::filter::{Filter, Filters};
use crate::policy::EVENT_TYPE_BYTES_MAX;

/// The event types that a host supports (seed rows E3, E4 and E7). Cheap to clone.
///
/// ```
/// use tidings::{Catalogue, CatalogueEntry, Filters, ResourceModel};
///
/// let order = ResourceModel::builder("order").state("state").states(["accepted", "blocked"]).build()?;
/// let catalogue = Catalogue::builder()
///     .model(&order)
///     .entry(CatalogueEntry::new("order.accepted")?.description("It is paid for.").key())
///     .json(r#"{"types": [{"type": "fulfillment.created", "aliases": ["fulfillment.create"]}]}"#)?
///     .strict()
///     .build()?;
/// assert_eq!(catalogue.entries().count(), 5);
///
/// let error = catalogue.check_type(&"order.acepted".parse()?).unwrap_err();
/// assert!(error.to_string().contains("order.accepted"));
///
/// // What a webhook's details show: everything, and what is selected.
/// let selected = catalogue.selection(&Filters::parse(["order.blocked"])?);
/// assert_eq!(selected.iter().filter(|one| one.selected).count(), 1);
/// # Ok::<(), tidings::Error>(())
/// ```
///
/// Give it to the [handle](crate::Builder::catalogue), and to an [outbox](crate::outbox::Outbox) that
/// publishes in transactions of the host's own.
#[derive(Debug, Clone)]
pub struct Catalogue {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    entries: BTreeMap<EventType, CatalogueEntry>,
    aliases: HashMap<EventType, EventType>,
    strict: bool,
    #[cfg(feature = "schema")]
    schemas: schema::Schemas,
}

/// An event type, and whether a webhook asks for it. As JSON, the entry's fields and `selected`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Selected<'c> {
    /// The type.
    #[serde(flatten)]
    pub entry: &'c CatalogueEntry,
    /// Whether the webhook's filters match it.
    pub selected: bool,
}

impl Catalogue {
    /// Builds a catalogue.
    pub fn builder() -> CatalogueBuilder {
        CatalogueBuilder::default()
    }

    /// The types, in the order of their names.
    pub fn entries(&self) -> impl Iterator<Item = &CatalogueEntry> {
        self.inner.entries.values()
    }

    /// The types that every integration should watch (seed row E4).
    pub fn key_entries(&self) -> impl Iterator<Item = &CatalogueEntry> {
        self.entries().filter(|entry| entry.key)
    }

    /// The type of this name or alias.
    pub fn get(&self, name: &str) -> Option<&CatalogueEntry> {
        let event_type = EventType::parse(name).ok()?;
        self.inner.entries.get(self.inner.aliases.get(&event_type).unwrap_or(&event_type))
    }

    /// Whether what it has not is refused.
    pub fn is_strict(&self) -> bool {
        self.inner.strict
    }

    /// All types, each with whether these filters match it (seed row E7).
    pub fn selection(&self, filters: &Filters) -> Vec<Selected<'_>> {
        let is_selected = |entry: &CatalogueEntry| filters.matches(&entry.event_type);
        self.entries().map(|entry| Selected { entry, selected: is_selected(entry) }).collect()
    }

    /// Checks an event before it is published: its type, and what its schema says of its object.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid): for the field `type` as [`check_type`](Self::check_type);
    /// for `data.object` when payloads are checked and it breaks its schema, with the place and the rule.
    pub fn check(&self, event: &Event) -> Result<()> {
        self.check_type(event.event_type())?;
        #[cfg(feature = "schema")]
        self.inner.schemas.check(event)?;
        Ok(())
    }

    /// Checks a type. Without [`strict`](CatalogueBuilder::strict) all are fine but aliases: those who ask
    /// for one have the type's own name.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `type` when it is an alias, or the catalogue
    /// is strict and has it not, with the nearest name that it has.
    pub fn check_type(&self, event_type: &EventType) -> Result<()> {
        let is_known = self.inner.entries.contains_key(event_type);
        let message = match self.inner.aliases.get(event_type) {
            None if is_known || !self.inner.strict => return Ok(()),
            Some(name) => format!("{event_type} is another name of {name}: publish that"),
            None => {
                format!("{event_type} is not in the catalogue{}", self.hint(event_type.as_str()))
            }
        };
        Err(Error::invalid("type", message))
    }

    /// The filters as they are kept: an alias becomes the type's own name.
    ///
    /// `former` are those that the webhook had: what was fine then, and has gone from the catalogue since,
    /// does not stand in the way of an edit.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `types` when the catalogue is strict and a
    /// filter matches none of its types, with the nearest name.
    pub fn filters(&self, filters: &Filters, former: Option<&Filters>) -> Result<Filters> {
        self.filters_beside(filters, former, |_| false)
    }

    /// As [`filters`](Self::filters), where there are types beside those of the catalogue.
    pub(crate) fn filters_beside(
        &self,
        filters: &Filters,
        former: Option<&Filters>,
        beside: impl Fn(&Filter) -> bool,
    ) -> Result<Filters> {
        let check = |filter: &Filter| {
            let own = self.own_name(filter);
            let is_known = filter == &Filter::all()
                || beside(&own)
                || self.inner.entries.keys().any(|event_type| own.matches(event_type))
                || former.is_some_and(|former| former.iter().any(|former| former == filter));
            if self.inner.strict && !is_known {
                let hint = self.hint(filter.as_str());
                let message = format!("{filter} matches no type of the catalogue{hint}");
                return Err(Error::invalid("types", message));
            }
            Ok(own)
        };
        Filters::new(filters.iter().map(check).collect::<Result<Vec<_>>>()?)
    }

    /// A filter that is an alias, by the type's own name.
    fn own_name(&self, filter: &Filter) -> Filter {
        let name = EventType::parse(filter.as_str()).ok();
        let name = name.and_then(|name| self.inner.aliases.get(&name));
        name.map_or_else(|| filter.clone(), |name| name.clone().into())
    }

    /// The known name that is most like this one, if one is.
    pub fn nearest(&self, name: &str) -> Option<&EventType> {
        if name.len() > EVENT_TYPE_BYTES_MAX {
            return None;
        }
        let lower = name.to_lowercase();
        // A third of it may be wrong.
        let most = name.len().max(6) / 3;
        let distance = |known: &EventType| {
            if known.as_str().len().abs_diff(name.len()) > most {
                return None;
            }
            let distance = strsim::osa_distance(&lower, &known.as_str().to_lowercase());
            (distance <= most).then_some(distance)
        };
        let names = self.inner.entries.keys();
        let near = names.filter_map(|known| Some((distance(known)?, known))).min();
        near.map(|(_, known)| known)
    }

    fn hint(&self, name: &str) -> String {
        self.nearest(name).map_or_else(String::new, |near| format!("; did you mean {near}?"))
    }
}
