//! What can go wrong with any request, for the description of the API.

use std::collections::BTreeMap;

use utoipa::openapi::{Content, HeaderBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, PartialSchema};

/// The statuses of errors, all with the same body.
pub(super) struct Problems;

/// Each with its name in the description, and what it means.
const STATUSES: [(&str, &str, &str); 13] = [
    ("400", "BadRequest", "A parameter breaks a rule; the body names it"),
    ("401", "Unauthorized", "Nobody is logged in"),
    ("403", "Forbidden", "This is not allowed, or was not confirmed"),
    ("404", "NotFound", "It does not exist, or is out of reach"),
    ("405", "MethodNotAllowed", "This cannot be done here"),
    ("408", "RequestTimeout", "The body did not come in time"),
    ("409", "Conflict", "It stands against what is there, or a limit"),
    ("412", "PreconditionFailed", "It was changed since it was read"),
    ("413", "PayloadTooLarge", "The body is too large"),
    ("415", "UnsupportedMediaType", "The body is not said to be JSON"),
    ("429", "TooManyRequests", "Too much waits already"),
    ("500", "InternalServerError", "It failed, for a reason that the server's log tells"),
    ("503", "ServiceUnavailable", "The storage, or the login, does not answer: try again"),
];

/// The headers that some of them have.
const HEADERS: [(&str, &str, &str); 3] = [
    ("Unauthorized", "WWW-Authenticate", "Always `Host`: how one logs in, the host's login knows"),
    ("MethodNotAllowed", "Allow", "What can be done here"),
    ("TooManyRequests", "Retry-After", "After how many seconds to try again"),
];

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let named = |name: &str| RefOr::Ref(Ref::from_response_name(name));
        STATUSES.iter().map(|(status, name, _)| ((*status).to_owned(), named(name))).collect()
    }
}

/// Describes them once, for all operations.
pub(super) fn describe(description: &mut OpenApi) {
    let components = description.components.get_or_insert_default();
    for (_, name, text) in STATUSES {
        let content = Content::new(Some(Ref::from_schema_name("Error")));
        let response = ResponseBuilder::new().description(text);
        let response = response.content("application/json", content);
        let headers = HEADERS.iter().filter(|(of, ..)| *of == name);
        let response = headers.fold(response, |response, (_, header, text)| {
            let header_text = HeaderBuilder::new().schema(Some(String::schema()));
            response.header(*header, header_text.description(Some(*text)).build())
        });
        let response = response.build();
        components.responses.insert(name.to_owned(), RefOr::T(response));
    }
}
