//! What a catalogue says of one event type.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ground::error::{Error, Result};
use crate::ground::event_type::EventType;

/// An event type that a host supports, as people and tools are told of it.
///
/// ```
/// use serde_json::json;
/// use tidings::CatalogueEntry;
///
/// let accepted = CatalogueEntry::new("order.accepted")?
///     .description("The order's payment is certain.")
///     .key()
///     .example(&json!({ "id": "247", "state": "accepted" }))?
///     .schema(json!({ "type": "object", "required": ["id", "state"] }));
/// assert!(accepted.key);
/// assert_eq!(accepted.resource(), "order");
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct CatalogueEntry {
    /// The type.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// When it happens, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What `data.object` is; all but the type's last segment when nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Whether every integration should watch it (seed row E4).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub key: bool,
    /// Whether it is on its way out: it is still published, but nobody should begin to rely on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deprecated: bool,
    /// Other names, under which webhooks may ask for it. Nothing is published under them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<EventType>,
    /// The version of the host's interface that brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// A `data.object`, as an example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<Value>,
    /// The JSON Schema of `data.object` (draft 2020-12 unless it says otherwise).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
}

impl CatalogueEntry {
    /// An event type of which nothing else is said.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `type` when it is malformed.
    pub fn new(event_type: &str) -> Result<Self> {
        Ok(Self::of(EventType::parse(event_type)?))
    }

    pub(super) fn of(event_type: EventType) -> Self {
        Self {
            event_type,
            description: String::new(),
            resource: None,
            key: false,
            deprecated: false,
            aliases: Vec::new(),
            version: None,
            example: None,
            schema: None,
        }
    }

    /// Says when it happens.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// Says what `data.object` is.
    #[must_use]
    pub fn of_resource(mut self, name: impl Into<String>) -> Self {
        self.resource = Some(name.into());
        self
    }

    /// Recommends it to every integration (seed row E4).
    #[must_use]
    pub fn key(mut self) -> Self {
        self.key = true;
        self
    }

    /// Says that it is on its way out.
    #[must_use]
    pub fn deprecated(mut self) -> Self {
        self.deprecated = true;
        self
    }

    /// Adds another name.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `type` when it is malformed.
    pub fn alias(mut self, name: &str) -> Result<Self> {
        self.aliases.push(EventType::parse(name)?);
        Ok(self)
    }

    /// Says which version of the host's interface brought it.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Gives a `data.object` as an example.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `example` when it cannot be written as JSON.
    pub fn example(mut self, object: &(impl Serialize + ?Sized)) -> Result<Self> {
        let written = serde_json::to_value(object).map_err(|error| {
            Error::invalid("example", "cannot be written as JSON").with_source(error)
        })?;
        self.example = Some(written);
        Ok(self)
    }

    /// Gives the JSON Schema of `data.object`.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<Value>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// What `data.object` is.
    pub fn resource(&self) -> &str {
        self.resource.as_deref().unwrap_or_else(|| self.event_type.resource())
    }
}
