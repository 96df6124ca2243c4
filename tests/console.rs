//! The console: the page wherever it is mounted, its files, what browsers are told of them, and the page in
//! a browser.
#![cfg(feature = "console")]

#[cfg(all(feature = "hyper", feature = "sqlite"))]
#[path = "console/browser.rs"]
mod browser;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use tidings::Tidings;
use tidings::api::{Actor, Console, Permission, authorizer_fn};
use tidings::storage::MemoryStorage;
use tower::ServiceExt;

fn console() -> Console {
    let authorizer = authorizer_fn(|request| {
        let name = request.headers.get("x-user").and_then(|name| name.to_str().ok());
        assert_ne!(name, Some("Panic"), "planted");
        Ok(name.map(|name| Actor::new(name).all_accounts().may(Permission::ALL)))
    });
    Console::new(Tidings::new(MemoryStorage::new()), authorizer)
}

async fn ask(app: &Router, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, String) {
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("a request");
    let response = app.clone().oneshot(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let text = body.collect().await.expect("a body").to_bytes();
    (parts.status.as_u16(), parts.headers, String::from_utf8(text.to_vec()).expect("UTF-8"))
}

const ADA: [(&str, &str); 1] = [("x-user", "Ada")];

/// Mounts the page in several places, and loads it and a file of it as a browser would (table).
#[tokio::test]
async fn the_page_works_wherever_it_is_mounted() {
    let nested = |path: &str| Router::new().nest(path, console().router());
    let merged = || Router::new().merge(console().at("/hooks"));
    let behind = Router::new().nest("/inner", console().mounted_at("/outer/hooks").router());
    for (app, path, base) in [
        (console().router(), "/", "/"),
        (nested("/hooks"), "/hooks", "/hooks/"),
        (nested("/admin/a/hooks"), "/admin/a/hooks", "/admin/a/hooks/"),
        (merged(), "/hooks", "/hooks/"),
        (merged(), "/hooks/", "/hooks/"),
        (console().at("/"), "/", "/"),
        (behind, "/inner", "/outer/hooks/"),
    ] {
        let (status, headers, page) = ask(&app, path, &ADA).await;
        assert_eq!(status, 200, "{path}");
        assert!(page.contains(&format!(r#" src="{base}assets/app.js""#)), "{path}: {page}");
        assert!(!page.contains("{{"), "{path}: {page}");
        assert_eq!(headers["content-type"], "text/html; charset=utf-8");
        let place = path.trim_end_matches('/');
        assert_eq!(ask(&app, &format!("{place}/assets/app.js"), &ADA).await.0, 200, "{path}");
        let (status, _, me) = ask(&app, &format!("{place}/api/me"), &ADA).await;
        assert!(status == 200 && me.contains("Ada"), "{path}: {me}");
        assert_eq!(ask(&app, &format!("{place}/nothing"), &ADA).await.0, 404, "{path}");
    }
}

/// Loads everything that the page and its modules name, and nothing is left over.
#[tokio::test]
async fn every_file_is_served_and_used() {
    let app = console().router();
    let (_, _, page) = ask(&app, "/", &ADA).await;
    let mut named: BTreeSet<String> = BTreeSet::from(["app.js".to_owned()]);
    let quoted = |text: &str, before: &str| -> Vec<String> {
        let parts = text.split(before).skip(1);
        parts.filter_map(|part| Some(part.split(['"', '\'']).next()?.to_owned())).collect()
    };
    named.extend(quoted(&page, "assets/"));
    let mut looked: BTreeSet<String> = BTreeSet::new();
    while let Some(name) = named.difference(&looked).next().cloned() {
        let (status, headers, text) = ask(&app, &format!("/assets/{name}"), &[]).await;
        assert_eq!(status, 200, "{name}");
        let kind = match name.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(headers["content-type"], kind, "{name}");
        if name.ends_with(".js") {
            let imports =
                text.lines().filter(|line| line.contains("from ") || line.contains("import("));
            for line in imports {
                named.extend(quoted(line, "\"./").into_iter().chain(quoted(line, "'./")));
            }
        }
        looked.insert(name);
    }
    looked.remove("host.css");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/assets");
    let files =
        fs::read_dir(folder).expect("the files").map(|file| file.expect("a file").file_name());
    let mut files: BTreeSet<String> =
        files.map(|name| name.into_string().expect("a name")).collect();
    files.remove("index.html");
    assert_eq!(looked, files);
}

/// Reads the files: small, and without what could make a payload into a page or load from elsewhere.
#[test]
fn the_files_are_small_and_build_pages_from_text_alone() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/assets");
    let mut size = 0;
    for file in fs::read_dir(folder).expect("the files") {
        let path = file.expect("a file").path();
        let (name, text) = (path.display().to_string(), fs::read_to_string(&path).expect("a text"));
        size += text.len();
        for bad in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "DOMParser",
            "srcdoc",
            "eval(",
            "new Function",
            "setTimeout(\"",
            "style=\"",
            "javascript:",
            "@import",
            "createContextualFragment",
            " onclick=",
            " onload=",
            "<script>",
            "{{base}}\"{",
        ] {
            assert!(!text.contains(bad), "{name} has {bad}");
        }
        let lines = text.lines().count();
        assert!(lines <= 400, "{name} has {lines} lines");
        // The names of namespaces are no places.
        for line in text.lines().filter(|line| line.contains("http")) {
            let known = line.contains("www.w3.org") || !line.contains("src=\"http");
            assert!(known, "{name}: {line}");
        }
    }
    // A quarter of that when it is compressed.
    assert!(size < 200 * 1024, "{size} bytes");
}

/// Asks for the page as nobody, as an authorizer that panics, and looks at what browsers are told.
#[tokio::test]
async fn the_page_is_for_who_is_logged_in() {
    let app = console().router();
    for (headers, status) in [(&[][..], 401), (&[("x-user", "Panic")][..], 403), (&ADA[..], 200)] {
        let (answered, told, page) = ask(&app, "/", headers).await;
        assert_eq!((answered, page.contains("<html")), (status, status == 200), "{page}");
        let policy = told["content-security-policy"].to_str().expect("a policy");
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(
            (&told["cache-control"], &told["x-frame-options"]),
            (&"no-store".parse().expect("a value"), &"DENY".parse().expect("a value"))
        );
        assert_eq!(told["x-content-type-options"], "nosniff");
    }
    assert_eq!(ask(&app, "/api/me", &[]).await.0, 401);
}

/// Loads a file again with the tag of before, and the host's own style.
#[tokio::test]
async fn files_are_sent_once_and_a_host_has_its_style() {
    let app = console().style(":root { --tidings-accent: #0a7; }").router();
    let (_, headers, text) = ask(&app, "/assets/app.js", &[]).await;
    let tag = headers["etag"].to_str().expect("a tag").to_owned();
    let (status, headers, again) = ask(&app, "/assets/app.js", &[("if-none-match", &tag)]).await;
    assert_eq!(
        (status, again.as_str(), &headers["cache-control"]),
        (304, "", &"no-cache".parse().expect("a value"))
    );
    assert!(!text.is_empty());
    assert_eq!(ask(&app, "/assets/host.css", &[]).await.2, ":root { --tidings-accent: #0a7; }");
    assert_eq!(ask(&console().router(), "/assets/host.css", &[]).await.2, "");
    assert_eq!(ask(&app, "/assets/../mod.rs", &[]).await.0, 404);
}
