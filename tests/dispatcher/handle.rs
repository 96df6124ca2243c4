//! The handle: what each operation does, which error it gives, and that nothing is half done after
//! an error.

use std::collections::BTreeMap;

use serde_json::json;
use tidings::{
    Account, Authentication, Change, Confirmation, DisabledReason, Edit, EndpointUrl, Error,
    ErrorKind, EventId, EventQuery, Filter, Filters, Grant, Headers, Mode, NetworkPolicy, OAuth,
    Overlap, PageRequest, Registration, ReplayId, ReplayQuery, ReplayRequest, Secret, StateKind,
    Status, Tidings, WebhookId, WebhookQuery, storage::MemoryStorage,
};

use super::faulty::{Call, Fault};
use super::kit::{FINE, Stage, exact, millis, quiet, registration, seconds};

fn typed() -> Confirmation {
    Confirmation::new("ada", "ada")
}

fn nobody() -> WebhookId {
    WebhookId::parse("0198c4ae-6d0c-7cc1-9d5b-5a1d0a3c9f10").unwrap()
}

async fn events(stage: &Stage) -> usize {
    let all = PageRequest::first(100).unwrap();
    stage.tidings.events(&EventQuery::default(), &all).await.unwrap().items.len()
}

async fn webhooks(stage: &Stage) -> Vec<tidings::Webhook> {
    let all = PageRequest::first(100).unwrap();
    stage.tidings.webhooks(&WebhookQuery::default(), &all).await.unwrap().items
}

#[track_caller]
fn fails<T: std::fmt::Debug>(result: Result<T, Error>, kind: ErrorKind, field: Option<&str>) {
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.field()), (kind, field), "{error}");
}

/// Publishes the same event twice, its rebuilt twin, and another one with its id.
#[tokio::test(start_paused = true)]
async fn a_publish_is_idempotent_by_id_and_content() {
    let stage = Stage::new(|_| FINE);
    stage.webhook("a").await;
    let event = stage.event("order.paid");
    let with_id = |total: f64| {
        let change = Change::of("order.paid", &json!({"total": total})).unwrap();
        stage.tidings.event(change.id(event.id())).unwrap()
    };
    assert!(stage.tidings.publish(&event).await.unwrap().new);
    tokio::time::advance(seconds(5)).await;
    for again in [event.clone(), with_id(29.90)] {
        let published = stage.tidings.publish(&again).await.unwrap();
        assert_eq!((published.id, published.new), (event.id(), false));
    }
    fails(stage.tidings.publish(&with_id(30.0)).await, ErrorKind::Conflict, None);
    assert_eq!(events(&stage).await, 1);
    let kept = stage.tidings.stored_event(event.id()).await.unwrap();
    assert_eq!(kept.payload(), event.payload());
    let run = stage.start(quiet());
    stage.until_ended(1).await;
    run.stop().await;
    stage.assert_delivered_once(1).await;
}

/// Publishes batches: none, repeated within, in conflict with each other, with what is there, and
/// too many.
#[tokio::test(start_paused = true)]
async fn a_batch_is_kept_whole_or_not_at_all() {
    let stage = Stage::new(|_| FINE);
    assert_eq!(stage.tidings.publish_all(&[]).await.unwrap(), []);
    let [a, b, c] = [(); 3].map(|()| stage.event("order.paid"));
    let twin = {
        let change = Change::of("order.paid", &json!({"other": true})).unwrap();
        stage.tidings.event(change.id(a.id())).unwrap()
    };
    let conflict = stage.tidings.publish_all(&[b.clone(), a.clone(), twin.clone()]).await;
    assert!(conflict.as_ref().unwrap_err().to_string().contains(&a.id().to_string()));
    fails(conflict, ErrorKind::Conflict, None);
    assert_eq!(events(&stage).await, 0, "nothing of it is kept");
    let published = stage.tidings.publish_all(&[a.clone(), b.clone(), a.clone()]).await.unwrap();
    let new: Vec<_> = published.iter().map(|published| published.new).collect();
    assert_eq!(new, [true, true, false]);
    fails(stage.tidings.publish_all(&[c.clone(), twin]).await, ErrorKind::Conflict, None);
    fails(stage.tidings.stored_event(c.id()).await, ErrorKind::NotFound, None);
    let many = vec![c; 10_001];
    fails(stage.tidings.publish_all(&many).await, ErrorKind::Limit, None);
    assert_eq!(events(&stage).await, 2);
}

/// Builds events that are too large or too old to write.
#[tokio::test(start_paused = true)]
async fn an_oversize_event_cannot_be_built() {
    let stage = Stage::new(|_| FINE);
    let change = Change::of("order.paid", &json!({"pad": "x".repeat(1024 * 1024)})).unwrap();
    fails(stage.tidings.event(change), ErrorKind::Invalid, Some("payload"));
}

/// Creates webhooks with and without a word on whether they are enabled.
#[tokio::test(start_paused = true)]
async fn a_webhook_is_created_disabled_unless_it_is_said_otherwise() {
    let stage = Stage::new(|_| FINE);
    let make = || Registration::new("https://a.example/", ["*"]).unwrap();
    for (registration, status, prompt) in [
        (make(), Status::Disabled(DisabledReason::NeverEnabled), true),
        (make().enabled(true), Status::Enabled, false),
        (make().enabled(false), Status::Disabled(DisabledReason::Person), false),
    ] {
        let created = stage.tidings.create(registration).await.unwrap();
        assert_eq!((created.webhook.status(), created.prompt), (status, prompt));
        assert_eq!(created.webhook.version(), 1);
        let read = stage.tidings.webhook(created.webhook.id()).await.unwrap();
        assert_eq!(read, created.webhook);
    }
    let own = Secret::from_random(&[9; 32]);
    let created = stage.tidings.create(make().secret(own.clone())).await.unwrap();
    assert_eq!(created.webhook.secrets().unwrap().current(), &own);
    let all = webhooks(&stage).await;
    let made: std::collections::HashSet<_> = all
        .iter()
        .map(|webhook| webhook.secrets().unwrap().current().reveal().to_owned())
        .collect();
    assert_eq!(made.len(), 4, "each has a secret of its own");
}

/// Creates and edits webhooks that break a rule (table): nothing is written.
#[tokio::test(start_paused = true)]
async fn a_webhook_that_breaks_a_rule_is_neither_created_nor_changed() {
    let stage = Stage::new(|_| FINE);
    let webhook = stage.webhook("a").await;
    let oauth = |endpoint: &str| {
        let endpoint = EndpointUrl::parse(endpoint).unwrap();
        let oauth = OAuth::new(endpoint, "shop", "s", Grant::client_credentials(None)).unwrap();
        Edit::new().authentication(Authentication::OAuth(oauth))
    };
    let url = |text| EndpointUrl::parse(text).unwrap();
    let long = BTreeMap::from([("k".to_owned(), "x".repeat(513))]);
    let own = Headers::parse([("authorization", "mine")]).unwrap();
    for (edit, field) in [
        (Edit::new().address(url("http://10.0.0.1/hook")), "address"),
        (Edit::new().address(url("https://169.254.169.254/meta")), "address"),
        (Edit::new().address(url("http://localhost/")), "address"),
        (oauth("https://127.0.0.1/token"), "oauth.tokenEndPoint"),
        (oauth("https://id.example/").headers(own), "headers"),
        (Edit::new().description("x".repeat(1_025)), "description"),
        (Edit::new().metadata(long), "metadata"),
        (Edit::new().timeout(Some(millis(999))), "timeout"),
        (Edit::new().timeout(Some(seconds(61))), "timeout"),
        (Edit::new().schemes([]), "schemes"),
    ] {
        let created = stage.tidings.create(registration("b").with(edit.clone())).await;
        fails(created, ErrorKind::Invalid, Some(field));
        let edited = stage.tidings.edit(webhook.id(), None, edit).await;
        fails(edited, ErrorKind::Invalid, Some(field));
    }
    assert_eq!(webhooks(&stage).await, [webhook]);
}

/// Opens one network by the policy.
#[tokio::test(start_paused = true)]
async fn the_network_policy_decides_which_addresses_are_taken() {
    let network = NetworkPolicy::public_only().allow_loopback().require_https(true);
    let tidings = Tidings::builder(MemoryStorage::new()).network(network).build();
    for (address, taken) in [
        ("https://127.0.0.1:8443/", true),
        ("http://127.0.0.1:8080/", false),
        ("https://10.0.0.1/", false),
    ] {
        let registration = Registration::new(address, ["*"]).unwrap();
        assert_eq!(tidings.create(registration).await.is_ok(), taken, "{address}");
    }
}

/// Edits with the present and with an older version.
#[tokio::test(start_paused = true)]
async fn an_edit_of_an_older_version_is_refused() {
    let stage = Stage::new(|_| FINE);
    let first = stage.webhook("a").await;
    let say = |text: &str| Edit::new().description(text);
    let second = stage.tidings.edit(first.id(), Some(1), say("two")).await.unwrap();
    assert_eq!((second.version(), second.description()), (2, "two"));
    let stale = stage.tidings.edit(first.id(), Some(1), say("late")).await;
    fails(stale, ErrorKind::Stale, None);
    let third = stage.tidings.edit(first.id(), None, say("three")).await.unwrap();
    assert_eq!((third.version(), third.id()), (3, first.id()));
    let same = stage.tidings.edit(first.id(), Some(3), say("three")).await.unwrap();
    assert_eq!(same.version(), 3, "nothing changed");
}

/// Edits eight times at once, without a version.
#[tokio::test(start_paused = true)]
async fn edits_at_the_same_time_are_all_applied() {
    let stage = Stage::new(|_| FINE);
    let webhook = stage.webhook("a").await;
    let id = webhook.id();
    stage.plan(|_, _| Fault::Yield(2));
    let edits: Vec<_> = (0..4)
        .flat_map(|at: u64| {
            let timeout = Edit::new().timeout(Some(seconds(5 + at)));
            [timeout, Edit::new().description(format!("edit {at}"))]
        })
        .map(|edit| {
            let tidings = stage.tidings.clone();
            tokio::spawn(async move { tidings.edit(id, None, edit).await })
        })
        .collect();
    for edit in edits {
        edit.await.unwrap().unwrap();
    }
    let last = stage.tidings.webhook(webhook.id()).await.unwrap();
    assert_eq!(last.version(), 9);
    assert!(last.timeout().is_some() && last.description().starts_with("edit"));
}

/// Disables, reveals and rotates with names that were not typed exactly (table).
#[tokio::test(start_paused = true)]
async fn what_needs_a_confirmation_is_refused_without_it() {
    let stage = Stage::new(|_| FINE);
    let webhook = stage.webhook("a").await;
    let id = webhook.id();
    for (user, typed) in [("ada", "Ada"), ("ada", ""), ("", ""), ("ada", "ada ")] {
        let wrong = Confirmation::new(user, typed);
        fails(stage.tidings.disable(id, &wrong).await, ErrorKind::Refused, None);
        fails(stage.tidings.reveal(id, &wrong).await, ErrorKind::Refused, None);
        let rotated = stage.tidings.rotate(id, Overlap::default(), &wrong).await;
        fails(rotated, ErrorKind::Refused, None);
    }
    assert_eq!(webhooks(&stage).await, std::slice::from_ref(&webhook));
    assert_eq!(stage.tidings.reveal(id, &typed()).await.unwrap(), *webhook.secrets().unwrap());
    let disabled = stage.tidings.disable(id, &typed()).await.unwrap();
    assert_eq!(disabled.status(), Status::Disabled(DisabledReason::Person));
    assert!(stage.tidings.enable(id).await.unwrap().is_enabled());
}

/// Rotates until the sixth secret.
#[tokio::test(start_paused = true)]
async fn the_sixth_secret_is_refused() {
    let stage = Stage::new(|_| FINE);
    let id = stage.webhook("a").await.id();
    for count in 2..=5 {
        let secrets = stage.tidings.rotate(id, Overlap::default(), &typed()).await.unwrap();
        assert_eq!(secrets.parts().count(), count);
    }
    let before = stage.tidings.webhook(id).await.unwrap();
    let sixth = stage.tidings.rotate(id, Overlap::default(), &typed()).await;
    fails(sixth, ErrorKind::Limit, None);
    assert_eq!(stage.tidings.webhook(id).await.unwrap(), before);
}

/// Names things that do not exist, to every operation.
#[tokio::test(start_paused = true)]
async fn unknown_ids_are_not_found() {
    let stage = Stage::new(|_| FINE);
    let (handle, id) = (&stage.tidings, nobody());
    let gone = ErrorKind::NotFound;
    fails(handle.webhook(id).await, gone, None);
    fails(handle.edit(id, None, Edit::new().description("x")).await, gone, None);
    fails(handle.enable(id).await, gone, None);
    fails(handle.disable(id, &typed()).await, gone, None);
    fails(handle.delete(id).await, gone, None);
    fails(handle.reveal(id, &typed()).await, gone, None);
    fails(handle.rotate(id, Overlap::default(), &typed()).await, gone, None);
    fails(handle.send_test(id).await, gone, None);
    let event = EventId::from_uuid(id.uuid());
    fails(handle.stored_event(event).await, gone, None);
    let delivery = tidings::DeliveryId::of(event, id, tidings::Cause::ROUTED);
    fails(handle.delivery(delivery).await, gone, None);
    fails(handle.redeliver(delivery).await, gone, None);
    let webhook = stage.webhook("a").await;
    handle.delete(webhook.id()).await.unwrap();
    fails(handle.delete(webhook.id()).await, gone, None);
    fails(handle.webhook(webhook.id()).await, gone, None);
}

/// Redelivers to a deleted webhook and sends a test event to a disabled one.
#[tokio::test(start_paused = true)]
async fn nothing_is_made_for_a_webhook_that_gets_nothing() {
    let stage = Stage::new(|_| FINE);
    let webhook = stage.webhook("a").await;
    let run = stage.start(quiet());
    stage.publish(1).await;
    stage.until_ended(1).await;
    run.stop().await;
    stage.tidings.disable(webhook.id(), &typed()).await.unwrap();
    let test = stage.tidings.send_test(webhook.id()).await;
    fails(test, ErrorKind::Invalid, Some("status"));
    assert_eq!(events(&stage).await, 1);
    let delivery = stage.only().await.delivery.id;
    stage.tidings.delete(webhook.id()).await.unwrap();
    fails(stage.tidings.redeliver(delivery).await, ErrorKind::NotFound, None);
    assert_eq!(stage.deliveries(&[]).await.len(), 1);
    assert_eq!(stage.deliveries(&[StateKind::Delivered]).await.len(), 1);
}

/// Searches webhooks by text, state, type, account and mode (table), and pages through them.
#[tokio::test(start_paused = true)]
async fn webhooks_are_searched() {
    let stage = Stage::new(|_| FINE);
    let a = stage.webhook("alpha").await;
    let test = registration("beta").enabled(false).mode(Mode::Test);
    let b = stage.tidings.create(test).await.unwrap().webhook;
    let of_shop = registration("gamma")
        .account(Account::new("shop").unwrap())
        .with(Edit::new().types(Filters::parse(["invoice.paid"]).unwrap()));
    let c = stage.tidings.create(of_shop).await.unwrap().webhook;
    let text = |text: &str| WebhookQuery { text: Some(text.into()), ..WebhookQuery::default() };
    let none = WebhookQuery::default;
    let wants = |text| WebhookQuery { types: vec![Filter::parse(text).unwrap()], ..none() };
    for (query, found) in [
        (none(), vec![&c, &b, &a]),
        (text("ALPHA.example"), vec![&a]),
        (text(&b.id().to_string()[20..]), vec![&b]),
        (text("nothing"), vec![]),
        (WebhookQuery { enabled: Some(false), ..none() }, vec![&b]),
        (WebhookQuery { mode: Some(Mode::Live), ..none() }, vec![&c, &a]),
        (WebhookQuery { account: Some(Account::default()), ..none() }, vec![&b, &a]),
        (wants("invoice.paid"), vec![&c]),
        (wants("invoice.*"), vec![&c]),
    ] {
        let page = stage.tidings.webhooks(&query, &PageRequest::default()).await.unwrap();
        assert_eq!(page.items.iter().collect::<Vec<_>>(), found, "{query:?}");
    }
    let mut request = PageRequest::first(1).unwrap();
    for webhook in [&c, &b, &a] {
        let page = stage.tidings.webhooks(&none(), &request).await.unwrap();
        assert_eq!(page.items.iter().collect::<Vec<_>>(), [webhook]);
        if let Some(cursor) = page.next {
            request = request.after(cursor);
        }
    }
}

/// Lists events by type and by time (table).
#[tokio::test(start_paused = true)]
async fn events_are_listed() {
    let stage = Stage::new(|_| FINE);
    let mut all = Vec::new();
    for kind in ["order.paid", "order.item.added", "invoice.paid"] {
        let event = stage.event(kind);
        stage.tidings.publish(&event).await.unwrap();
        all.insert(0, event);
        tokio::time::advance(seconds(10)).await;
    }
    let none = EventQuery::default;
    let types = |text| EventQuery { types: vec![Filter::parse(text).unwrap()], ..none() };
    let middle = Some(all[1].created());
    for (query, found) in [
        (none(), &all[..]),
        (types("order.*"), &all[1..]),
        (types("invoice.paid"), &all[..1]),
        (EventQuery { from: middle, ..none() }, &all[..2]),
        (EventQuery { until: middle, ..none() }, &all[2..]),
    ] {
        let page = stage.tidings.events(&query, &PageRequest::default()).await.unwrap();
        assert_eq!(page.items, found, "{query:?}");
    }
}

/// Fails the storage in every operation before and after it happened: the error is retryable, and
/// the repetition gives what the first call would have given.
#[tokio::test(start_paused = true)]
async fn an_operation_may_be_repeated_after_an_error_of_the_storage() {
    for fault in [Fault::Before, Fault::After] {
        let stage = Stage::with(exact(), |_| FINE);
        let handle = &stage.tidings;
        let webhook = stage.webhook("a").await;
        let once = |wanted: Call| {
            stage.plan(move |call, nth| match call == wanted && nth == 1 {
                true => fault,
                false => Fault::None,
            });
        };
        let retryable = |error: Error| assert!(error.is_retryable(), "{error}");
        let event = stage.event("order.paid");
        once(Call::Append);
        retryable(handle.publish(&event).await.unwrap_err());
        let published = handle.publish(&event).await.unwrap();
        assert_eq!(published.new, fault == Fault::Before);
        assert_eq!(events(&stage).await, 1);

        once(Call::Put);
        let edit = Edit::new().description("x");
        retryable(handle.edit(webhook.id(), None, edit.clone()).await.unwrap_err());
        assert_eq!(handle.edit(webhook.id(), None, edit).await.unwrap().version(), 2);
        once(Call::Put);
        retryable(handle.disable(webhook.id(), &typed()).await.unwrap_err());
        assert_eq!(handle.disable(webhook.id(), &typed()).await.unwrap().version(), 3);
        once(Call::Webhooks);
        retryable(handle.enable(webhook.id()).await.unwrap_err());
        assert!(handle.enable(webhook.id()).await.unwrap().is_enabled());

        once(Call::Delete);
        retryable(handle.delete(webhook.id()).await.unwrap_err());
        assert_eq!(handle.delete(webhook.id()).await.is_ok(), fault == Fault::Before);
        assert_eq!(webhooks(&stage).await, []);
    }
}

/// Asks for everything that a replay is over a storage that has none.
#[tokio::test(start_paused = true)]
async fn a_storage_without_replays_says_so() {
    let stage = Stage::new(|_| FINE);
    let webhook = stage.webhook("one").await.id();
    let (id, event) = (ReplayId::from_uuid(webhook.uuid()), EventId::from_uuid(webhook.uuid()));
    let tidings = &stage.tidings;
    for answer in [
        tidings.replay(ReplayRequest::all(webhook)).await.map(drop),
        tidings.replay_event(event, None).await.map(drop),
        tidings.replays(&ReplayQuery::default(), &PageRequest::default()).await.map(drop),
        tidings.replay_job(id).await.map(drop),
        tidings.cancel_replay(id).await.map(drop),
    ] {
        let error = answer.expect_err("it has no replays");
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("redeliver"), "{error}");
    }
}
