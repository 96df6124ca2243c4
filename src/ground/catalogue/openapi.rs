//! The catalogue as OpenAPI 3.1 has webhooks.

use serde_json::{Map, Value, json};

use super::{Catalogue, CatalogueEntry};

/// The id and time that examples of payloads have.
const EXAMPLE_ID: &str = "0198c4ae-6d0c-7cc1-9d5b-5a1d0a3c9f10";
const EXAMPLE_TIME: &str = "2026-01-31T08:15:30.120Z";

impl Catalogue {
    /// The `webhooks` section of an OpenAPI 3.1 document: for each type the request that a webhook gets,
    /// with the schema and an example of its payload.
    pub fn openapi_webhooks(&self) -> Value {
        let webhook = |entry: &CatalogueEntry| {
            (entry.event_type.to_string(), json!({ "post": operation(entry) }))
        };
        Value::Object(self.entries().map(webhook).collect())
    }

    /// A whole OpenAPI 3.1 document of nothing but the webhooks.
    ///
    /// ```
    /// use tidings::{Catalogue, CatalogueEntry};
    ///
    /// let catalogue = Catalogue::builder().entry(CatalogueEntry::new("order.accepted")?).build()?;
    /// let document = catalogue.openapi("Shop", "2026-01-31");
    /// assert_eq!(document["openapi"], "3.1.0");
    /// assert!(document["webhooks"]["order.accepted"]["post"].is_object());
    /// # Ok::<(), tidings::Error>(())
    /// ```
    pub fn openapi(&self, title: &str, version: &str) -> Value {
        json!({
            "openapi": "3.1.0",
            "info": { "title": title, "version": version },
            "webhooks": self.openapi_webhooks(),
        })
    }
}

fn operation(entry: &CatalogueEntry) -> Value {
    let event_type = entry.event_type.as_str();
    let mut media = json!({ "schema": payload_schema(entry) });
    if let Some(example) = &entry.example {
        media["example"] = json!({
            "id": EXAMPLE_ID,
            "type": event_type,
            "data": { "object": example },
            "liveMode": true,
            "createdTime": EXAMPLE_TIME,
        });
    }
    let mut operation = json!({
        "operationId": event_type,
        "summary": event_type,
        "tags": [entry.resource()],
        "parameters": parameters(),
        "requestBody": { "required": true, "content": { "application/json": media } },
        "responses": {
            "2XX": { "description": "The event was received." },
            "410": { "description": "Nobody is here any more: the webhook is disabled." },
            "default": { "description": "The event was not received, and is sent again." },
        },
    });
    let more = [
        (!entry.description.is_empty()).then(|| ("description", json!(entry.description))),
        entry.deprecated.then_some(("deprecated", json!(true))),
        entry.key.then_some(("x-key", json!(true))),
        entry.version.as_ref().map(|version| ("x-version", json!(version))),
    ];
    if let Value::Object(operation) = &mut operation {
        operation.extend(more.into_iter().flatten().map(|(key, value)| (key.to_owned(), value)));
    }
    operation
}

/// The headers of Standard Webhooks, by which requests are signed unless a webhook says otherwise.
fn parameters() -> Value {
    let header = |name: &str, description: &str, kind: &str| {
        let schema = json!({ "type": kind });
        json!({ "in": "header", "name": name, "description": description, "schema": schema })
    };
    json!([
        header("webhook-id", "The event's id: the same on every attempt.", "string"),
        header(
            "webhook-timestamp",
            "When the attempt was signed, in seconds since 1970. Of webhooks that are signed by Standard \
             Webhooks, as they are unless they say otherwise.",
            "integer",
        ),
        header(
            "webhook-signature",
            "The signatures of the attempt, one for each secret. Of the same webhooks.",
            "string",
        ),
    ])
}

fn payload_schema(entry: &CatalogueEntry) -> Value {
    json!({
        "type": "object",
        "required": ["id", "type", "data", "liveMode", "createdTime"],
        "properties": {
            "id": { "type": "string", "format": "uuid" },
            "type": { "const": entry.event_type.as_str() },
            "data": {
                "type": "object",
                "required": ["object"],
                "properties": {
                    "object": object_schema(entry),
                    "previousAttributes": {
                        "type": "object",
                        "description": "The attributes that changed, with their former values.",
                    },
                },
            },
            "liveMode": { "type": "boolean" },
            "createdTime": { "type": "string", "format": "date-time" },
            "apiVersion": { "type": "string" },
        },
    })
}

/// The type's own schema. One that points into itself becomes a document of its own, so that its `#`
/// stays what it was.
fn object_schema(entry: &CatalogueEntry) -> Value {
    match &entry.schema {
        None => json!({ "type": "object" }),
        Some(Value::Object(schema)) if points_inside(schema) && !schema.contains_key("$id") => {
            let mut schema = schema.clone();
            schema.insert("$id".to_owned(), json!(format!("urn:event:{}", entry.event_type)));
            Value::Object(schema)
        }
        Some(schema) => schema.clone(),
    }
}

fn points_inside(schema: &Map<String, Value>) -> bool {
    schema.iter().any(|(key, value)| match value {
        Value::String(text) => key.ends_with("ef") && key.starts_with('$') && text.starts_with('#'),
        Value::Object(inner) => points_inside(inner),
        Value::Array(values) => values.iter().filter_map(Value::as_object).any(points_inside),
        _ => false,
    })
}
