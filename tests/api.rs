//! The HTTP API: what callers do with it, what they may not, and that it is as it is described.
#![cfg(all(feature = "api", feature = "schema", feature = "sealing"))]

#[path = "api/contract.rs"]
mod contract;
#[path = "api/curl.rs"]
mod curl;
#[path = "api/described.rs"]
mod described;
#[path = "api/forms.rs"]
mod forms;
#[path = "api/guard.rs"]
mod guard;
#[path = "api/journeys.rs"]
mod journeys;
#[cfg(feature = "sqlite")]
#[path = "api/replays.rs"]
mod replays;
#[cfg(all(feature = "hyper", feature = "ed25519"))]
#[path = "api/requests.rs"]
mod requests;
#[path = "api/stage.rs"]
mod stage;
#[cfg(feature = "sqlite")]
#[path = "api/strangers.rs"]
mod strangers;

use std::path::Path;

/// Compares the description with the file that is kept of it. `TIDINGS_WRITE=1` writes the file.
#[test]
fn the_description_is_the_kept_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/openapi.json");
    let description = tidings::api::openapi();
    if std::env::var_os("TIDINGS_WRITE").is_some() {
        std::fs::write(&file, &description).expect("the file is written");
    }
    let kept = std::fs::read_to_string(&file).expect("src/http/openapi.json");
    assert!(
        kept == description,
        "the API has changed: TIDINGS_WRITE=1 cargo test --test api the_desc"
    );
    let version = serde_json::from_str::<serde_json::Value>(&kept).expect("JSON");
    assert!(version["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
}
