//! The router: which path is whose, and what every answer has.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderName, StatusCode, header};

use super::answer;
use super::problem::Problem;
use super::{deliveries, events, openapi, replays, secrets, sight, webhooks};
use crate::engine::tidings::Tidings;
use crate::ports::authorizer::Authorizer;

/// The HTTP API: an [`axum::Router`] that the host mounts behind its own login.
///
/// It cannot be built without an [`Authorizer`], which is asked about every request. It opens no port of
/// its own. What it can do, path by path, is in the [guide](crate::docs::api) and, for programs, at
/// `openapi.json`.
///
/// ```
/// use tidings::Tidings;
/// use tidings::api::{Actor, Api, Permission, authorizer_fn};
/// use tidings::storage::MemoryStorage;
///
/// let tidings = Tidings::new(MemoryStorage::new());
/// let operators = authorizer_fn(|request| {
///     let token = request.headers.get("authorization").and_then(|value| value.to_str().ok());
///     # let expected = "of the host's configuration";
///     let known = token == Some(expected);
///     Ok(known.then(|| Actor::new("operator").all_accounts().may(Permission::ALL)))
/// });
/// let router: axum::Router = Api::new(tidings, operators).router();
/// let app: axum::Router = axum::Router::new().nest("/hooks/api", router);
/// ```
#[must_use]
pub struct Api {
    tidings: Tidings,
    authorizer: Arc<dyn Authorizer>,
    origins: Vec<String>,
}

impl Api {
    /// The API over this handle, for those whom `authorizer` knows.
    pub fn new(tidings: Tidings, authorizer: impl Authorizer) -> Self {
        Self { tidings, authorizer: Arc::new(authorizer), origins: Vec::new() }
    }

    /// Lets pages of this origin, such as `https://admin.example.com`, change things. Those of the host
    /// that a request is sent to may do so anyhow; name it where a proxy changes the header `Host`.
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// What its handlers share, for the page beside it.
    pub(crate) fn shared(&self) -> Shared {
        Shared {
            tidings: self.tidings.clone(),
            authorizer: self.authorizer.clone(),
            origins: self.origins.as_slice().into(),
        }
    }

    /// The router, to be mounted wherever the host likes.
    pub fn router(self) -> Router {
        let shared = self.shared();
        Router::new()
            .route("/webhooks", get(webhooks::list).post(webhooks::create))
            .route(
                "/webhooks/{id}",
                get(webhooks::read).patch(webhooks::edit).delete(webhooks::delete),
            )
            .route("/webhooks/{id}/enable", post(webhooks::enable))
            .route("/webhooks/{id}/disable", post(webhooks::disable))
            .route("/webhooks/{id}/test", post(webhooks::test))
            .route("/webhooks/{id}/secrets/reveal", post(secrets::reveal))
            .route("/webhooks/{id}/secrets/rotate", post(secrets::rotate))
            .route("/webhooks/{id}/statistics", get(sight::of_webhook))
            .route("/webhooks/{id}/replays", post(replays::start))
            .route("/events", get(events::list).post(events::publish))
            .route("/events/{id}", get(events::read))
            .route("/events/{id}/deliveries", get(events::deliveries))
            .route("/events/{id}/replays", post(replays::start_of_event))
            .route("/deliveries", get(deliveries::list))
            .route("/deliveries/{id}", get(deliveries::read))
            .route("/deliveries/{id}/redeliver", post(deliveries::redeliver))
            .route("/replays", get(replays::list))
            .route("/replays/{id}", get(replays::read))
            .route("/replays/{id}/cancel", post(replays::cancel))
            .route("/statistics", get(sight::statistics))
            .route("/overview", get(sight::overview))
            .route("/catalogue", get(sight::catalogue))
            .route("/me", get(sight::me))
            .route("/openapi.json", get(openapi::serve))
            .fallback(unknown)
            .method_not_allowed_fallback(other_method)
            .layer(axum::middleware::map_response(guarded))
            .with_state(shared)
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("origins", &self.origins).finish_non_exhaustive()
    }
}

/// What all handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(super) tidings: Tidings,
    pub(super) authorizer: Arc<dyn Authorizer>,
    pub(super) origins: Arc<[String]>,
}

async fn unknown() -> Problem {
    Problem::not_found("page")
}

async fn other_method() -> Problem {
    let message = "this cannot be done here in this way";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

/// What is answered is for whoever asked, and no page: it is not stored, guessed at, or framed.
async fn guarded(response: Response) -> Response {
    const NONE: &str = "default-src 'none'; frame-ancestors 'none'";
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, NONE),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    answer::guard(response, headers)
}
