//! What is answered: JSON, listings with their cursors, and versions as ETags.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::ground::page::Page;
use crate::ground::webhook::Webhook;

/// What a handler gives.
pub(super) type Answer = Result<Response, Problem>;

/// A page of a listing, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listing<T> {
    /// The items.
    data: Vec<T>,
    /// Whether there are more, in the direction that was asked for.
    has_more: bool,
    /// The cursor of the page that follows: for `startingAfter`.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// The cursor of the page that precedes: for `endingBefore`.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
}

impl<T> Listing<T> {
    /// `backwards`: the page before a cursor was asked for.
    pub(super) fn of(page: Page<T>, backwards: bool) -> Self {
        let more = if backwards { &page.previous } else { &page.next };
        Self {
            has_more: more.is_some(),
            next: page.next.map(|cursor| cursor.to_string()),
            previous: page.previous.map(|cursor| cursor.to_string()),
            data: page.items,
        }
    }

    /// Nothing: of what is out of reach, too.
    pub(super) const fn empty() -> Self {
        Self { data: Vec::new(), has_more: false, next: None, previous: None }
    }
}

/// 200 with this as JSON.
pub(super) fn ok(body: &impl Serialize) -> Answer {
    Ok(json(StatusCode::OK, body))
}

/// 202: it is on its way.
pub(super) fn accepted(body: &impl Serialize) -> Answer {
    Ok(json(StatusCode::ACCEPTED, body))
}

/// This status with this as JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(text) => of_kind(status, JSON, text),
        Err(error) => {
            tracing::error!(name: "tidings.api.failed", %error);
            empty(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// The content type of JSON.
pub(super) const JSON: &str = "application/json";

/// This status with a body of this content type.
pub(crate) fn of_kind(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// This status, and nothing more.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

/// Gives the response these headers, as far as it has none of the name.
pub(crate) fn guard<const N: usize>(
    mut response: Response,
    headers: [(HeaderName, &'static str); N],
) -> Response {
    for (name, value) in headers {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// The response with the version of this webhook: for `If-Match`.
pub(super) fn versioned(mut response: Response, webhook: &Webhook) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", webhook.version())) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// The version that a change is made from, where the request says so: an [`ETag`](versioned) of ours.
pub(super) fn version_asked(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(tag) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let tag = tag.to_str().unwrap_or_default().trim();
    if tag == "*" {
        return Ok(None);
    }
    let version = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    // Another's tag, a weak one or a list of them matches no version of ours.
    let version = version.and_then(|version| version.parse().ok());
    version.map(Some).ok_or_else(|| {
        let message = "If-Match is not the ETag of this webhook: read it again";
        Problem::new(StatusCode::PRECONDITION_FAILED, "stale", message).about("If-Match")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads every form of an If-Match header (table).
    #[test]
    fn if_match_names_a_version() {
        for (text, version) in [
            (None, Ok(None)),
            (Some("*"), Ok(None)),
            (Some("\"7\""), Ok(Some(7))),
            (Some(" \"7\" "), Ok(Some(7))),
            (Some("W/\"7\""), Err(())),
            (Some("7"), Err(())),
            (Some("\"7\", \"8\""), Err(())),
            (Some("\"x\""), Err(())),
            (Some(""), Err(())),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(text) = text {
                headers.insert(header::IF_MATCH, HeaderValue::from_str(text).unwrap());
            }
            assert_eq!(version_asked(&headers).map_err(drop), version, "{text:?}");
        }
    }
}
