//! How a catalogue comes together: from code, from models, from files.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::entry::CatalogueEntry;
use super::{Catalogue, Inner};
use crate::ground::error::{Error, Result};
use crate::ground::event_type::EventType;
use crate::ground::model::ResourceModel;
use crate::policy::CATALOGUE_TYPES_MAX;

/// Builds a [`Catalogue`].
#[derive(Debug, Clone, Default)]
#[must_use = "it is no catalogue yet"]
pub struct CatalogueBuilder {
    entries: Vec<CatalogueEntry>,
    models: Vec<CatalogueEntry>,
    strict: bool,
    #[cfg(feature = "schema")]
    checked: bool,
}

/// A catalogue as a file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    types: Vec<CatalogueEntry>,
}

impl CatalogueBuilder {
    /// Adds an event type.
    pub fn entry(mut self, entry: CatalogueEntry) -> Self {
        self.entries.push(entry);
        self
    }

    /// Adds the event types that a model is known to produce. Where an entry describes one of them, the
    /// entry counts.
    pub fn model(mut self, model: &ResourceModel) -> Self {
        let entry = |(event_type, resource): (EventType, String)| {
            CatalogueEntry::of(event_type).of_resource(resource)
        };
        self.models.extend(model.event_types().into_iter().map(entry));
        self
    }

    /// Adds the event types of a JSON file: `{"types": [{"type": "order.accepted", …}]}`, or the list
    /// alone. The keys are the names of [`CatalogueEntry`]'s fields in camelCase.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `catalogue`, with the line, when the text is
    /// something else.
    pub fn json(mut self, text: &str) -> Result<Self> {
        let read = if text.trim_start().starts_with('[') {
            serde_json::from_str(text)
        } else {
            serde_json::from_str(text).map(|file: File| file.types)
        };
        self.entries.extend(read.map_err(unreadable)?);
        Ok(self)
    }

    /// Adds the event types of a TOML file, of `[[types]]` tables.
    ///
    /// # Errors
    /// As [`json`](Self::json).
    #[cfg(feature = "toml")]
    #[cfg_attr(docsrs, doc(cfg(feature = "toml")))]
    pub fn toml(mut self, text: &str) -> Result<Self> {
        let file: File = toml::from_str(text).map_err(unreadable)?;
        self.entries.extend(file.types);
        Ok(self)
    }

    /// Refuses to publish types that the catalogue has not, and webhooks that ask for them.
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Checks every `data.object` against its type's schema when it is published. References to other
    /// documents are not followed.
    #[cfg(feature = "schema")]
    #[cfg_attr(docsrs, doc(cfg(feature = "schema")))]
    pub fn check_payloads(mut self) -> Self {
        self.checked = true;
        self
    }

    /// The catalogue.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `catalogue` when a type or alias is there
    /// twice, there are more than 10,000 types, a schema is neither an object nor a boolean; and with
    /// [`check_payloads`](Self::check_payloads) when a schema is none, points to another document, or is
    /// not met by the type's own example.
    pub fn build(self) -> Result<Catalogue> {
        let mut entries = BTreeMap::new();
        for entry in self.entries {
            if !matches!(entry.schema, None | Some(Value::Object(_) | Value::Bool(_))) {
                let message = format!("the schema of {} is no JSON Schema", entry.event_type);
                return Err(invalid(message));
            }
            let event_type = entry.event_type.clone();
            if entries.insert(event_type.clone(), entry).is_some() {
                return Err(invalid(format!("has {event_type} twice")));
            }
        }
        for entry in self.models {
            entries
                .entry(entry.event_type.clone())
                .and_modify(|described: &mut CatalogueEntry| {
                    described.resource = described.resource.take().or(entry.resource.clone());
                })
                .or_insert(entry);
        }
        if entries.len() > CATALOGUE_TYPES_MAX {
            let message = format!("has {} types; {CATALOGUE_TYPES_MAX} are allowed", entries.len());
            return Err(invalid(message));
        }
        let mut aliases = HashMap::new();
        for entry in entries.values() {
            for alias in &entry.aliases {
                let taken = entries.contains_key(alias)
                    || aliases.insert(alias.clone(), entry.event_type.clone()).is_some();
                if taken {
                    return Err(invalid(format!("has the alias {alias} twice, or as a type")));
                }
            }
        }
        #[cfg(feature = "schema")]
        let schemas = if self.checked {
            super::schema::Schemas::of(entries.values())?
        } else {
            Default::default()
        };
        Ok(Catalogue {
            inner: Arc::new(Inner {
                entries,
                aliases,
                strict: self.strict,
                #[cfg(feature = "schema")]
                schemas,
            }),
        })
    }
}

pub(super) fn invalid(message: String) -> Error {
    Error::invalid("catalogue", message)
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    invalid(format!("cannot be read: {error}")).with_source(error)
}
