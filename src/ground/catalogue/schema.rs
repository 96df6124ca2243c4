//! Payloads are checked against the schemas of their types.

use std::collections::HashMap;
use std::fmt;

use jsonschema::Validator;
use serde_json::Value;

use super::builder::invalid;
use super::entry::CatalogueEntry;
use crate::ground::error::{Error, Result};
use crate::ground::event::Event;
use crate::ground::event_type::EventType;

/// The schemas, ready to check with.
#[derive(Default)]
pub(super) struct Schemas {
    validators: HashMap<EventType, Validator>,
}

impl fmt::Debug for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.validators.keys()).finish()
    }
}

impl Schemas {
    /// The schemas of these entries. Each must be met by its own example.
    pub(super) fn of<'e>(entries: impl Iterator<Item = &'e CatalogueEntry>) -> Result<Self> {
        let mut validators = HashMap::new();
        for entry in entries {
            let Some(schema) = &entry.schema else { continue };
            let event_type = &entry.event_type;
            let validator = jsonschema::options().offline().build(schema).map_err(|error| {
                invalid(format!("the schema of {event_type} cannot be used: {error}"))
            })?;
            if let Some(example) = &entry.example
                && let Some(says) = fault(&validator, example)
            {
                return Err(invalid(format!(
                    "the example of {event_type} breaks its schema: {says}"
                )));
            }
            validators.insert(event_type.clone(), validator);
        }
        Ok(Self { validators })
    }

    /// Checks the object of an event.
    pub(super) fn check(&self, event: &Event) -> Result<()> {
        let Some(validator) = self.validators.get(event.event_type()) else { return Ok(()) };
        let object: Value = serde_json::from_str(event.object()?.get()).map_err(|error| {
            Error::invalid("data.object", "cannot be read as JSON").with_source(error)
        })?;
        match fault(validator, &object) {
            None => Ok(()),
            Some(says) => {
                let message = format!("breaks the schema of {}: {says}", event.event_type());
                Err(Error::invalid("data.object", message))
            }
        }
    }
}

/// Where a value breaks a schema, and by which word of it. Not the value: it may be a secret.
fn fault(validator: &Validator, value: &Value) -> Option<String> {
    let error = validator.iter_errors(value).next()?;
    let place = error.instance_path().to_string();
    let place = if place.is_empty() { "the object itself" } else { &place };
    let rule = error.schema_path().to_string();
    Some(format!("{place} against {rule}"))
}
