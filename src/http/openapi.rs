//! The description of the API, in OpenAPI 3.1, made from the handlers.

use std::collections::HashSet;

use utoipa::OpenApi;
use utoipa::openapi::{self, Ref, RefOr, Required, Schema};

use super::answer::{self, Answer};
use super::call::Call;
use super::problem::Problem;
use super::problems::{self, Problems};
use super::{deliveries, events, replays, secrets, sight, webhooks};

/// The API, as the handlers describe it.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Webhooks",
        description = "Events and webhooks: who is told what happened, and what became of it. All times are UTC; \
            bodies are JSON. Changes need `Content-Type: application/json`. What is out of reach looks as if it did \
            not exist.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = ".", description = "Where this description is")),
    paths(
        webhooks::list, webhooks::create, webhooks::read, webhooks::edit, webhooks::delete,
        webhooks::enable, webhooks::disable, webhooks::test,
        secrets::reveal, secrets::rotate,
        sight::of_webhook, replays::start,
        events::list, events::publish, events::read, events::deliveries, replays::start_of_event,
        deliveries::list, deliveries::read, deliveries::redeliver,
        replays::list, replays::read, replays::cancel,
        sight::statistics, sight::overview, sight::catalogue, sight::me, serve
    ),
    components(schemas(Problem)),
    tags(
        (name = "webhooks", description = "The receivers' registrations"),
        (name = "secrets", description = "What requests are signed with"),
        (name = "events", description = "What happened"),
        (name = "deliveries", description = "What is owed to whom, and what became of it"),
        (name = "replays", description = "Past events, delivered again"),
        (name = "sight", description = "What there is to see")
    )
)]
struct Description;

fn description() -> openapi::OpenApi {
    let mut description = Description::openapi();
    problems::describe(&mut description);
    require_bodies(&mut description);
    description
}

/// A body is required where something must be in it: a request without one is taken as an empty one.
fn require_bodies(description: &mut openapi::OpenApi) {
    let schemas = description.components.iter().flat_map(|components| &components.schemas);
    let needy = schemas.filter_map(|(name, schema)| match schema {
        RefOr::T(Schema::Object(object)) if !object.required.is_empty() => {
            Some(Ref::from_schema_name(name.as_str()).ref_location)
        }
        _ => None,
    });
    let needy: HashSet<String> = needy.collect();
    for item in description.paths.paths.values_mut() {
        for operation in [&mut item.post, &mut item.patch].into_iter().flatten() {
            let Some(RefOr::T(body)) = &mut operation.request_body else { continue };
            let needed = body.content.values().any(|content| match content {
                RefOr::T(content) => {
                    matches!(&content.schema, Some(RefOr::Ref(schema)) if needy.contains(&schema.ref_location))
                }
                RefOr::Ref(_) => true,
            });
            body.required = Some(if needed { Required::True } else { Required::False });
        }
    }
}

/// The description of the HTTP API (OpenAPI 3.1), as JSON.
///
/// It is the same as at `openapi.json`, and as the file `src/http/openapi.json` of the sources.
pub fn openapi() -> String {
    let mut text = description().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "sight", operation_id = "getOpenapi",
    responses((status = 200, body = Object), Problems))]
pub(super) async fn serve(_: Call) -> Answer {
    answer::ok(&description())
}
