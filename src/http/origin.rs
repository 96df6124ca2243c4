//! Same-origin proof: a change is done only for a page of the host's own, or for a program that is no
//! browser. Whoever sits behind a login must not do what a stranger's page makes their browser send.

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};

use super::problem::Problem;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what a foreign page sends. `origins` are those that the host named, beside its own.
///
/// Browsers say with every request that changes something where it comes from (`Sec-Fetch-Site`,
/// `Origin`), and no page can keep them from it. A form, which old browsers send without either, cannot
/// say that its body is JSON.
pub(super) fn check(parts: &Parts, origins: &[String]) -> Result<(), Problem> {
    if is_safe(&parts.method) {
        return Ok(());
    }
    let (headers, foreign) = (&parts.headers, "the request comes from a page of another origin");
    let named = |origin: &str| origins.iter().any(|known| known.eq_ignore_ascii_case(origin));
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("null"));
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        let own = site == "same-origin" || site == "none" || origin.is_some_and(named);
        if !own {
            return Err(Problem::forbidden("foreign_origin", foreign));
        }
    }
    if let Some(origin) = origin
        && !named(origin)
        && !is_own(origin, parts)
    {
        return Err(Problem::forbidden("foreign_origin", foreign));
    }
    let has_body = parts.method != Method::DELETE;
    if has_body && !is_json(headers) {
        let message = "a change needs the header Content-Type: application/json";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::new(status, "content_type", message).about("Content-Type"));
    }
    Ok(())
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether the origin is the host that the request was sent to. A proxy may have taken the scheme away.
fn is_own(origin: &str, parts: &Parts) -> bool {
    let host = parts.uri.authority().map(|authority| authority.as_str());
    let host = host.or_else(|| parts.headers.get(header::HOST)?.to_str().ok());
    let authority = ["https://", "http://"].iter().find_map(|scheme| origin.strip_prefix(scheme));
    matches!((authority, host), (Some(origin), Some(host)) if origin.eq_ignore_ascii_case(host))
}

fn is_json(headers: &HeaderMap) -> bool {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = text.and_then(|text| text.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri("/webhooks");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    /// Sends changes as pages of this and other origins, forms and programs do (table).
    #[test]
    fn only_own_pages_and_programs_change_anything() {
        let (host, json) = (("host", "hooks.example.com"), ("content-type", "application/json"));
        let form = ("content-type", "application/x-www-form-urlencoded");
        let own = ("origin", "https://hooks.example.com");
        for (method, headers, status) in [
            ("POST", vec![host, json], None),
            ("POST", vec![host, ("content-type", "Application/JSON; charset=utf-8")], None),
            ("POST", vec![host, json, own], None),
            ("POST", vec![host, json, ("origin", "https://HOOKS.example.com")], None),
            ("POST", vec![host, json, own, ("sec-fetch-site", "same-origin")], None),
            ("POST", vec![host, json, ("origin", "https://admin.example.com")], None),
            (
                "POST",
                vec![
                    host,
                    json,
                    ("origin", "https://admin.example.com"),
                    ("sec-fetch-site", "same-site"),
                ],
                None,
            ),
            ("POST", vec![host, json, ("origin", "https://evil.example")], Some(403)),
            ("POST", vec![host, json, ("origin", "null")], Some(403)),
            ("POST", vec![host, json, ("origin", "hooks.example.com")], Some(403)),
            ("POST", vec![host, json, ("origin", "https://hooks.example.com.evil")], Some(403)),
            ("POST", vec![host, json, ("sec-fetch-site", "cross-site")], Some(403)),
            ("POST", vec![host, json, own, ("sec-fetch-site", "same-site")], Some(403)),
            ("POST", vec![host, form], Some(415)),
            ("POST", vec![host], Some(415)),
            ("POST", vec![host, ("content-type", "text/plain")], Some(415)),
            ("PATCH", vec![host, json, ("origin", "https://evil.example")], Some(403)),
            ("DELETE", vec![host], None),
            ("DELETE", vec![host, ("origin", "https://evil.example")], Some(403)),
            ("GET", vec![host, ("origin", "https://evil.example")], None),
            ("HEAD", vec![host], None),
        ] {
            let origins = ["https://admin.example.com".to_owned()];
            let answer = check(&request(method, &headers), &origins);
            let answer = answer.err().map(|problem| {
                use axum::response::IntoResponse as _;
                problem.into_response().status().as_u16()
            });
            assert_eq!(answer, status, "{method} {headers:?}");
        }
    }
}
