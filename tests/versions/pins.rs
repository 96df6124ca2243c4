//! Pins and versions at the handle: what a webhook may be pinned to, and what an event may be of.

use tidings::storage::MemoryStorage;
use tidings::{Edit, Error, ErrorKind, Registration, Tidings, Versions};

use crate::kit::{FLAT, NEWEST, OLDEST, paid, pinned, versions};

fn pin(version: &str) -> Edit {
    Edit::new().api_version(Some(version.into()))
}

fn registration(edit: Edit) -> Registration {
    Registration::new("https://example.com/hook", ["order.*"]).unwrap().with(edit)
}

fn is_refused(error: &Error, words: &[&str]) {
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("apiVersion")), "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word} is not in: {error}");
    }
}

/// Creates and edits webhooks with every kind of pin; the error names what there is.
#[tokio::test]
async fn a_webhook_is_pinned_to_what_there_is() {
    let tidings = Tidings::builder(MemoryStorage::new()).versions(versions()).build();
    let webhook = pinned(&tidings, "a", None).await;
    for version in [NEWEST, FLAT, OLDEST, "latest", "default"] {
        let created = tidings.create(registration(pin(version))).await.unwrap().webhook;
        let edited = tidings.edit(webhook.id(), None, pin(version)).await.unwrap();
        let expected = Some(version).filter(|version| *version != "default");
        assert_eq!((created.api_version(), edited.api_version()), (expected, expected));
    }
    let known = ["2023-01-01", NEWEST, FLAT, OLDEST, "latest", "default"];
    let refused = tidings.create(registration(pin("2023-01-01"))).await.unwrap_err();
    is_refused(&refused, &known);
    let refused = tidings.edit(webhook.id(), None, pin("2023-01-01")).await.unwrap_err();
    is_refused(&refused, &known);
    let kept = tidings.webhook(webhook.id()).await.unwrap();
    assert_eq!(kept.api_version(), None, "nothing was changed");

    let without = Tidings::new(MemoryStorage::new());
    let free = without.create(registration(pin("2023-01-01"))).await.unwrap().webhook;
    assert_eq!(free.api_version(), Some("2023-01-01"));
}

/// Edits a webhook that is pinned to a version which the host has given up since.
#[tokio::test]
async fn a_pin_of_old_does_not_stand_in_the_way() {
    let storage = std::sync::Arc::new(MemoryStorage::new());
    let before = Tidings::builder_shared(storage.clone()).versions(versions()).build();
    let webhook = pinned(&before, "a", Some(OLDEST)).await;
    let fewer = Versions::new(NEWEST).unwrap();
    let after = Tidings::builder_shared(storage).versions(fewer).build();
    let edit = Edit::new().description("as it was");
    let edited = after.edit(webhook.id(), None, edit).await.unwrap();
    assert_eq!((edited.description(), edited.api_version()), ("as it was", Some(OLDEST)));
    let refused = after.edit(webhook.id(), None, pin(FLAT)).await.unwrap_err();
    is_refused(&refused, &[FLAT, NEWEST]);
    // It gets the newest: the events of now have nothing else.
    let event = after.event(paid()).unwrap();
    assert_eq!(event.rendered(edited.api_version()), event.payload());
}

/// Builds events that name no version, the newest and an older one, with and without versions.
#[tokio::test]
async fn an_event_is_of_the_newest_version() {
    let tidings = Tidings::builder(MemoryStorage::new()).versions(versions()).build();
    let plain = tidings.event(paid()).unwrap();
    assert_eq!(plain.api_version(), Some(NEWEST));
    assert_eq!(tidings.event(paid().api_version(NEWEST).unwrap()).unwrap(), plain);
    let refused = tidings.event(paid().api_version(FLAT).unwrap()).unwrap_err();
    is_refused(&refused, &[FLAT, NEWEST]);
    assert_eq!(tidings.versions().map(Versions::newest), Some(NEWEST));

    let without = Tidings::new(MemoryStorage::new());
    assert!(without.versions().is_none());
    assert_eq!(without.event(paid()).unwrap().api_version(), None);
    let named = without.event(paid().api_version(FLAT).unwrap()).unwrap();
    assert_eq!((named.api_version(), named.renderings()), (Some(FLAT), None));
}
