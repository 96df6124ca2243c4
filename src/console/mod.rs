//! The console: the webhook service page, for operators and customers, over the HTTP API.
//!
//! Pages are one document with modules and styles that are in the crate; they load nothing from elsewhere
//! and need no tools to be built. All that they show comes from the API, which is mounted beside them, and
//! so is narrowed by the same authorizer.

mod files;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{OriginalUri, Path, State};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use self::files::{FILES, INDEX, Kept};
use crate::engine::tidings::Tidings;
use crate::http::{Api, Shared, actor, guard, of_kind};
use crate::ports::authorizer::Authorizer;

/// The webhook service page: an [`axum::Router`] that the host mounts behind its own login.
///
/// Under the place where it is mounted are the page, its files, and at `api/` the [HTTP API](Api). What a
/// person sees and may do there, the [`Authorizer`] says; a customer's portal is the same page with less
/// within reach. It can be themed by a style sheet of the host's that sets a few variables
/// ([`style`](Self::style)).
///
/// ```
/// use tidings::api::{Actor, Console, Permission, authorizer_fn};
/// use tidings::storage::MemoryStorage;
/// use tidings::Tidings;
///
/// #[derive(Clone)]
/// struct Session { user: String }
///
/// let login = authorizer_fn(|request| {
///     let session = request.extensions.get::<Session>();
///     Ok(session.map(|session| Actor::new(&session.user).may(Permission::ALL)))
/// });
/// let console = Console::new(Tidings::new(MemoryStorage::new()), login);
/// let app: axum::Router = axum::Router::new().merge(console.at("/admin/hooks"));
/// ```
#[must_use]
pub struct Console {
    api: Api,
    place: Option<Arc<str>>,
    style: Bytes,
}

impl Console {
    /// The page over this handle, for those whom `authorizer` knows.
    pub fn new(tidings: Tidings, authorizer: impl Authorizer) -> Self {
        Self { api: Api::new(tidings, authorizer), place: None, style: Bytes::new() }
    }

    /// As [`Api::origin`].
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.api = self.api.origin(origin);
        self
    }

    /// Says under which path browsers see the page, such as `/admin/hooks`: where a proxy in front of the
    /// host takes a part of it away. Otherwise the request's own path tells.
    pub fn mounted_at(mut self, path: impl Into<String>) -> Self {
        self.place = Some(path.into().into());
        self
    }

    /// A style sheet of the host's, loaded after the page's own: `:root { --tidings-accent: #0a7; }`.
    pub fn style(mut self, css: impl Into<String>) -> Self {
        self.style = Bytes::from(css.into());
        self
    }

    /// The page and what belongs to it under this path, with and without a slash at its end, to be
    /// [merged](Router::merge) into the host's own router.
    pub fn at(self, path: &str) -> Router {
        let path = format!("/{}", path.trim_matches('/'));
        let served = self.served();
        let slash = get(page).layer(axum::middleware::map_response(guarded)).with_state(served);
        match path.as_str() {
            "/" => self.router(),
            path => Router::new().route(&format!("{path}/"), slash).nest(path, self.router()),
        }
    }

    fn served(&self) -> Served {
        Served { shared: self.api.shared(), place: self.place.clone(), style: self.style.clone() }
    }

    /// The router alone, to be nested wherever the host likes. [`Router::nest`] takes the path without a
    /// slash at its end; [`at`](Self::at) takes both.
    pub fn router(self) -> Router {
        let served = self.served();
        let pages = Router::new()
            .route("/", get(page))
            .route("/assets/{name}", get(file))
            .layer(axum::middleware::map_response(guarded))
            .with_state(served);
        pages.nest("/api", self.api.router())
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("api", &self.api).field("place", &self.place).finish()
    }
}

/// What the handlers share.
#[derive(Clone)]
struct Served {
    shared: Shared,
    place: Option<Arc<str>>,
    style: Bytes,
}

/// The page, for who is logged in. Its links are to where it is mounted.
async fn page(State(served): State<Served>, parts: Parts) -> Response {
    if let Err(problem) = actor(&parts, &served.shared).await {
        return refused(problem.status());
    }
    let original = parts.extensions.get::<OriginalUri>();
    let path = match (&served.place, original) {
        (Some(place), _) => place,
        (None, Some(original)) => original.0.path(),
        (None, None) => parts.uri.path(),
    };
    let text = INDEX.replace("{{base}}", &base(path));
    of_kind(StatusCode::OK, "text/html; charset=utf-8", text)
}

/// A path as the beginning of the page's links: with one slash at its end and its beginning, fit for an
/// attribute.
fn base(path: &str) -> String {
    // `//host/` would be another host.
    let path = format!("/{}", path.trim_matches('/'));
    let path = if path == "/" { path } else { format!("{path}/") };
    let mut text = String::with_capacity(path.len());
    for char in path.chars() {
        match char {
            '&' => text.push_str("&amp;"),
            '"' => text.push_str("&quot;"),
            '\'' => text.push_str("&#39;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            char => text.push(char),
        }
    }
    text
}

/// A file of the page's. It has nothing of the host's, so whoever loads it needs no login; it is asked for
/// again each time, and sent only if it is another one.
async fn file(
    State(served): State<Served>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let (kind, text, tag) = if name == "host.css" {
        ("text/css; charset=utf-8", Body::from(served.style), None)
    } else {
        match FILES.iter().find(|file| file.name == name) {
            Some(Kept { kind, text, .. }) => (*kind, Body::from(*text), Some(TAG)),
            None => {
                let text = "There is no such file.";
                return of_kind(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", text);
            }
        }
    };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    let unchanged = tag.is_some() && known == tag;
    let mut response = if unchanged {
        of_kind(StatusCode::NOT_MODIFIED, kind, Body::empty())
    } else {
        of_kind(StatusCode::OK, kind, text)
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Some(tag) = tag {
        headers.insert(header::ETAG, HeaderValue::from_static(tag));
    }
    response
}

/// The files of one version of the crate are the same.
const TAG: &str = concat!("\"", env!("CARGO_PKG_VERSION"), "\"");

fn refused(status: StatusCode) -> Response {
    let text = match status {
        StatusCode::UNAUTHORIZED => "You are not logged in. Log in, then load this page again.",
        StatusCode::FORBIDDEN => "You may not see this page.",
        _ => "This page cannot be shown now. Try again in a moment.",
    };
    of_kind(status, "text/plain; charset=utf-8", text)
}

/// What every answer has: nothing is loaded from elsewhere, no script stands in the page, nobody frames it.
async fn guarded(response: Response) -> Response {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                          connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'self'";
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    guard(response, headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a base of paths as browsers and proxies have them (table).
    #[test]
    fn a_base_stays_on_its_host_and_in_its_attribute() {
        for (path, expected) in [
            ("/", "/"),
            ("", "/"),
            ("/admin/hooks", "/admin/hooks/"),
            ("/admin/hooks/", "/admin/hooks/"),
            ("admin", "/admin/"),
            ("//evil.example/x", "/evil.example/x/"),
            ("/a\"><script>'&", "/a&quot;&gt;&lt;script&gt;&#39;&amp;/"),
        ] {
            assert_eq!(base(path), expected, "{path}");
        }
    }
}
