//! [`WebhookStore`](crate::ports::storage::WebhookStore): kept whole, replaced only by who has seen
//! the present version, deleted for good.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::fixtures::*;
use crate::ground::authentication::{Authentication, Basic};
use crate::ground::header::Headers;
use crate::ground::secrets::Overlap;
use crate::ground::signature::SignatureScheme;

/// Inserts a webhook at a time with microseconds and reads it back.
pub(super) async fn a_new_webhook_is_stored_as_version_one(store: &dyn Storage) {
    let now = at(5) + Duration::from_micros(250);
    let webhook = hook(1, &["order.*"]);
    let stored = put(store, &webhook, now).await;
    assert_eq!(stored, webhook.stored(now), "put answers with Webhook::stored");
    assert_eq!(stored.version(), 1);
    assert_eq!(stored_webhook(store, webhook.id()).await, Some(stored), "what put said is kept");
}

/// Inserts a webhook with every field set, five secrets among them, and compares.
pub(super) async fn every_field_survives(store: &dyn Storage) {
    let text = "Überweisung \u{1F4B6} 'quoted' \"twice\" \\ %_";
    let metadata = BTreeMap::from([(text.to_owned(), text.to_owned()), ("b".into(), "".into())]);
    let headers = Headers::parse([("X-Tenant", "a, b; c"), ("X-Other", "2")]).expect("headers");
    let basic = Basic::new("user", "pass:word ü").expect("credentials");
    let edit = Edit::new()
        .address(address("https://receiver.example.com:8443/a/b?c=d%20e"))
        .description(text)
        .metadata(metadata)
        .headers(headers)
        .authentication(Authentication::Basic(basic))
        .api_version(Some("2026-01-31".into()))
        .timeout(Some(Duration::from_millis(1_500)))
        .schemes([SignatureScheme::StandardWebhooks, SignatureScheme::digital_river()]);
    let mut webhook = hook_of(1, &["*", "order.paid", "a.b.c.*"], |registration| {
        registration.account(account("Größe 'n' co")).mode(Mode::Test).with(edit)
    });
    for (byte, hours) in [(8, 24), (9, 12), (10, 3), (11, 1)] {
        let overlap = Overlap::hours(hours).expect("an overlap");
        let open = webhook.secrets().expect("open secrets");
        let secrets = open.rotate(secret(byte), overlap, at(u64::from(byte)));
        webhook =
            webhook.with_secrets(secrets.expect("at most five secrets")).expect("open secrets");
    }
    let stored = put(store, &webhook, at(60)).await;
    let found = stored_webhook(store, webhook.id()).await.expect("it is listed");
    assert_eq!(stored, webhook.stored(at(60)), "put answers with Webhook::stored");
    assert_eq!(found, stored, "every field is kept");
    let texts = |webhook: &Webhook| -> Vec<_> {
        let parts = webhook.secrets().expect("open secrets").parts();
        parts.map(|part| (part.secret.reveal().to_owned(), part.created, part.expires)).collect()
    };
    assert_eq!(texts(&found), texts(&webhook), "secrets survive, with their times");
    assert_eq!(found.secrets().expect("open secrets").parts().count(), 5);
    let Authentication::Basic(found) = found.authentication() else {
        panic!("the authentication is lost");
    };
    assert_eq!(found.reveal_password(), "pass:word ü");
}

/// Inserts a webhook in each state of being disabled and reads it back.
pub(super) async fn every_status_survives(store: &dyn Storage) {
    let reasons = [
        DisabledReason::NeverEnabled,
        DisabledReason::Person,
        DisabledReason::Failing,
        DisabledReason::Gone,
    ];
    for (number, reason) in (1..).zip(reasons) {
        let stored = put(store, &hook(number, &["a.b"]).disable(reason), start()).await;
        assert_eq!(stored.status(), Status::Disabled(reason));
        assert_eq!(stored_webhook(store, stored.id()).await, Some(stored));
    }
}

/// Inserts a webhook whose secrets are sealed, finds it by each part that is not, routes to it, and
/// disables it.
pub(super) async fn sealed_secrets_are_kept_as_they_are(store: &dyn Storage) {
    let text = hook(1, &["order.*"]).to_stored().expect("a record");
    let mut record: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    // What they hold only the handle can tell: any bytes will do.
    let key = serde_json::json!({ "key": "k1", "nonce": "A".repeat(32), "text": "c2VhbGVk" });
    let authority = serde_json::json!(["MAA="]);
    let fields = record.as_object_mut().expect("an object");
    fields.remove("secrets");
    fields.insert("sealed".into(), key);
    fields.insert("rootCertificates".into(), authority);
    let sealed = Webhook::from_stored(&record.to_string()).expect("a sealed record");
    assert!(sealed.sealed_with().is_some(), "it is sealed");
    let stored = put(store, &sealed, at(1)).await;
    assert_eq!(stored, sealed.stored(at(1)), "put answers with Webhook::stored");
    let every = WebhookQuery::default;
    for query in [
        WebhookQuery { id: Some(stored.id()), ..every() },
        WebhookQuery { text: Some(stored.id().to_string()), ..every() },
        WebhookQuery { text: Some(stored.address().as_str().to_uppercase()), ..every() },
        WebhookQuery { account: Some(stored.account().clone()), ..every() },
        WebhookQuery { enabled: Some(true), mode: Some(stored.mode()), ..every() },
    ] {
        let found = store.webhooks(&query, &PageRequest::default()).await.expect("list webhooks");
        assert_eq!(found.items, from_ref(&stored), "a sealed webhook is found: {query:?}");
    }
    let none = WebhookQuery { text: Some("c2VhbGVk".into()), ..every() };
    let found = store.webhooks(&none, &PageRequest::default()).await.expect("list webhooks");
    assert!(found.items.is_empty(), "what is sealed is not searched");

    let worker = Worker::start(store, 1, at(1)).await;
    publish(store, &[event(1, "order.paid")], at(1)).await;
    let leased = worker.route(at(1)).await.leased;
    assert_eq!(leased.len(), 1, "a sealed webhook is owed its events");
    is_webhook(&leased[0], &stored);
    let disabled = put(store, &stored.disable(DisabledReason::Person), at(2)).await;
    assert_eq!(disabled.sealed_with(), stored.sealed_with(), "it stays sealed");
    assert_eq!(stored_webhook(store, stored.id()).await, Some(disabled));
}

/// Edits a stored webhook three times.
pub(super) async fn a_replacement_counts_the_version_up(store: &dyn Storage) {
    let mut webhook = registered(store, 1, &["order.*"]).await;
    for number in 1..=3 {
        let edit = Edit::new().description(format!("edit {number}"));
        let edited = webhook.edit(edit).expect("an edit");
        webhook = put(store, &edited, at(number)).await;
        assert_eq!(webhook, edited.stored(at(number)), "put answers with Webhook::stored");
        assert_eq!(webhook.version(), number + 1);
        assert_eq!(webhook.created(), start(), "an edit does not change when it was created");
        assert_eq!(stored_webhook(store, webhook.id()).await.as_ref(), Some(&webhook));
    }
}

/// Edits with the version before, and with one that is yet to come.
pub(super) async fn a_stale_edit_changes_nothing(store: &dyn Storage) {
    let first = registered(store, 1, &["order.*"]).await;
    let second = put(store, &first.disable(DisabledReason::Person), at(1)).await;
    let future = second.stored(at(2));
    for stale in [first.enable(), future] {
        let version = stale.version();
        refused(store.put(&stale, at(3)).await, ErrorKind::Stale, "put compares the version");
        let found = stored_webhook(store, first.id()).await;
        assert_eq!(found.as_ref(), Some(&second), "a stale edit (version {version}) was written");
    }
}

/// Edits a webhook that never was, and one that was deleted.
pub(super) async fn an_edit_of_nothing_is_not_found(store: &dyn Storage) {
    let never = hook(1, &["order.*"]).stored(start());
    refused(store.put(&never, at(1)).await, ErrorKind::NotFound, "put finds no such webhook");
    let deleted = registered(store, 2, &["order.*"]).await;
    assert!(store.delete(deleted.id(), at(1)).await.expect("delete"));
    refused(store.put(&deleted, at(2)).await, ErrorKind::NotFound, "the webhook was deleted");
    let page = store.webhooks(&WebhookQuery::default(), &PageRequest::default()).await;
    assert!(page.expect("list webhooks").items.is_empty(), "a refused edit made a webhook");
}

/// Inserts two webhooks with one id.
pub(super) async fn a_taken_id_is_a_conflict(store: &dyn Storage) {
    let stored = registered(store, 1, &["order.*"]).await;
    let other = hook(1, &["invoice.*"]);
    refused(store.put(&other, at(1)).await, ErrorKind::Conflict, "an insert's id is taken");
    assert_eq!(stored_webhook(store, stored.id()).await, Some(stored), "the first one stays");
}

/// Lets sixteen callers edit the same version at the same time.
pub(super) async fn of_concurrent_edits_one_wins(store: &dyn Storage) {
    let stored = registered(store, 1, &["order.*"]).await;
    let edits: Vec<_> = (0..16)
        .map(|number| stored.edit(Edit::new().description(format!("{number}"))).expect("an edit"))
        .collect();
    let answers = join_all(edits.iter().map(|edit| store.put(edit, at(1)))).await;
    let mut winners = Vec::new();
    for answer in answers {
        match answer {
            Ok(webhook) => winners.push(webhook),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Stale, "the losers are stale"),
        }
    }
    assert_eq!(winners.len(), 1, "compare and set lets exactly one of them through");
    assert_eq!(stored_webhook(store, stored.id()).await, winners.pop(), "the winner is kept");
}

/// Lets sixteen callers insert the same id at the same time.
pub(super) async fn of_concurrent_inserts_one_wins(store: &dyn Storage) {
    let inserts: Vec<_> = (0..16)
        .map(|number| {
            let edit = Edit::new().description(format!("{number}"));
            hook(1, &["order.*"]).edit(edit).expect("an edit")
        })
        .collect();
    let answers = join_all(inserts.iter().map(|webhook| store.put(webhook, at(1)))).await;
    let mut winners = Vec::new();
    for answer in answers {
        match answer {
            Ok(webhook) => winners.push(webhook),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "the id is taken"),
        }
    }
    assert_eq!(winners.len(), 1, "an id is given once");
    assert_eq!(stored_webhook(store, webhook_id(1)).await, winners.pop(), "the winner is kept");
}

/// Deletes a webhook twice, and one that never was.
pub(super) async fn a_webhook_is_deleted_once(store: &dyn Storage) {
    let webhook = registered(store, 1, &["order.*"]).await;
    let other = registered(store, 2, &["order.*"]).await;
    assert!(store.delete(webhook.id(), at(1)).await.expect("delete"), "it was there");
    assert!(!store.delete(webhook.id(), at(2)).await.expect("delete"), "it is gone already");
    assert!(!store.delete(webhook_id(9), at(2)).await.expect("delete"), "it never was");
    assert_eq!(stored_webhook(store, webhook.id()).await, None, "a deleted webhook is listed");
    assert_eq!(stored_webhook(store, other.id()).await, Some(other), "the other one stays");
}

/// Deletes a webhook with many deliveries waiting, and claims for a week.
pub(super) async fn nothing_is_claimed_for_a_deleted_webhook(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let (webhook, _) = waiting_orders(store, &worker, 1, 1..=20, start()).await;
    assert_eq!(worker.claim_of(at(1), 5).await.leased.len(), 5);
    store.delete(webhook.id(), at(2)).await.expect("delete");
    let next_due = worker.claims_nothing(at(3), "the webhook was deleted").await;
    assert_eq!(next_due, None, "the lane of a deleted webhook is never due");
    worker.beat(at(4), at(2 * 604_800)).await;
    worker.claims_nothing(at(604_800), "the webhook was deleted").await;
}

/// Deletes a webhook that has one delivery done and looks at the record.
pub(super) async fn what_has_ended_outlives_its_webhook(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let leased = leased_order(store, &worker, 1, start()).await;
    settle_all(store, from_ref(&leased), at(1)).await;
    let before = view(store, leased.delivery.id).await;
    store.delete(leased.webhook.id(), at(2)).await.expect("delete");
    assert_eq!(sweep_all(store, &sweep(at(3))).await.cancelled, 0, "nothing waits");
    assert_eq!(view(store, leased.delivery.id).await, before, "finished deliveries stay");
}

/// Edits the description of a webhook whose lane is paused and failing.
pub(super) async fn an_edit_leaves_the_lane_alone(store: &dyn Storage) {
    let worker = Worker::start(store, 1, start()).await;
    let leased = leased_order(store, &worker, 1, start()).await;
    settle(store, paused(&leased, at(60), at(1)), at(1)).await;
    let webhook = stored_webhook(store, leased.webhook.id()).await.expect("it is there");
    let edited = webhook.edit(Edit::new().description("new")).expect("an edit");
    let edited = put(store, &edited, at(2)).await;
    let next_due = worker.claims_nothing(at(3), "an edit does not end a pause").await;
    assert_eq!(next_due, Some(at(60)), "an edit does not move a pause");
    let probe = worker.claim_one(at(60)).await;
    assert!(probe.probe, "an edit does not open a paused lane");
    assert_eq!(probe.failing_since, Some(at(1)), "an edit does not end a stretch of failure");
    is_webhook(&probe, &edited);
}
