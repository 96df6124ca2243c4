//! The shop's catalogue, and catalogues of every other kind.

use serde_json::{Value, json};
use tidings::{
    Account, Catalogue, CatalogueEntry, Change, ErrorKind, Event, EventId, Filters, Timestamp,
};

use crate::models;

const SHOP: &str = include_str!("../../examples/commerce/catalogue.json");

fn shop() -> Catalogue {
    Catalogue::builder().json(SHOP).unwrap().strict().build().unwrap()
}

fn event(event_type: &str, object: &Value) -> Event {
    let id = EventId::new(Timestamp::UNIX_EPOCH, &[1; 10]);
    Change::of(event_type, object).unwrap().into_event(id, Timestamp::UNIX_EPOCH).unwrap()
}

fn types<'c>(entries: impl Iterator<Item = &'c CatalogueEntry>) -> Vec<&'c str> {
    entries.map(|entry| entry.event_type.as_str()).collect()
}

/// Counts the shop's types by what is said of them (domain 7a).
#[test]
fn the_shops_catalogue_is_complete() {
    let shop = shop();
    // 128 are listed, one is missing there, and ten are of the other product.
    assert_eq!(shop.entries().count(), 128 + 1 + 10);
    assert_eq!(shop.entries().filter(|entry| entry.schema.is_some()).count(), 28);
    assert_eq!(shop.key_entries().count(), 20 + 9);
    assert_eq!(shop.entries().filter(|entry| entry.deprecated).count(), 8);
    assert!(shop.entries().all(|entry| entry.description.ends_with('.')));
    for (alias, name) in [
        ("fulfillment.create", "fulfillment.created"),
        ("checkout_session.order.create", "checkout_session.order.created"),
        ("order.credit_memo.create", "order.credit_memo.created"),
    ] {
        assert_eq!(shop.get(alias).unwrap().event_type.as_str(), name);
    }
    for (name, resource) in [
        ("order.charge.capture.complete", "charge"),
        ("fulfillment_order.shipped", "shipment"),
        ("order.charge.refund.failed", "order"),
    ] {
        assert_eq!(shop.get(name).unwrap().resource(), resource);
    }
    assert!(shop.get("nothing.here").is_none() && shop.get("nothing").is_none());
}

/// Asks every model of the shop for its types.
#[test]
fn all_that_the_models_say_is_in_the_catalogue() {
    let shop = shop();
    for model in models::all().unwrap() {
        for (event_type, _) in model.event_types() {
            shop.check_type(&event_type).unwrap();
        }
    }
}

/// Builds a catalogue of models, and describes one of their types.
#[test]
fn a_catalogue_can_be_built_from_models() {
    let catalogue = Catalogue::builder()
        .entry(CatalogueEntry::new("checkout.created").unwrap().description("Said first.").key())
        .model(&models::checkout().unwrap())
        .model(&models::refund().unwrap())
        .model(&models::refund().unwrap())
        .build()
        .unwrap();
    assert_eq!(
        types(catalogue.entries()),
        [
            "checkout.created",
            "checkout.deleted",
            "checkout.updated",
            "refund.complete",
            "refund.failed",
            "refund.pending",
            "refund.pending_information",
            "refund.updated",
        ]
    );
    let created = catalogue.get("checkout.created").unwrap();
    assert_eq!((created.key, created.description.as_str()), (true, "Said first."));
    assert_eq!(created.resource(), "checkout");
    assert!(!catalogue.is_strict());
    catalogue.check_type(&"never.heard_of".parse().unwrap()).unwrap();
    // An alias is nobody's type, strict or not: who asks for it has the other name.
    let alias = CatalogueEntry::new("a.new").unwrap().alias("a.old").unwrap();
    let lax = Catalogue::builder().entry(alias).build().unwrap();
    assert_eq!(lax.check_type(&"a.old".parse().unwrap()).unwrap_err().field(), Some("type"));
}

/// Reads the same catalogue from JSON, as a list and as a file, and from TOML, and writes it again.
#[test]
#[cfg(feature = "toml")]
fn files_say_the_same_in_json_and_toml() {
    let json = r#"[{
        "type": "order.paid", "description": "It is paid.", "resource": "order", "key": true,
        "aliases": ["order.payed"], "version": "2026-01-31", "example": {"id": "1", "total": 29.5},
        "schema": {"type": "object", "required": ["id"]}
    }, {"type": "order.gone", "deprecated": true}]"#;
    let toml = r#"
        [[types]]
        type = "order.paid"
        description = "It is paid."
        resource = "order"
        key = true
        aliases = ["order.payed"]
        version = "2026-01-31"
        example = { id = "1", total = 29.5 }
        schema = { type = "object", required = ["id"] }

        [[types]]
        type = "order.gone"
        deprecated = true
    "#;
    let file = format!(r#"{{"types": {json}}}"#);
    let catalogues = [
        Catalogue::builder().json(json).unwrap(),
        Catalogue::builder().json(&file).unwrap(),
        Catalogue::builder().toml(toml).unwrap(),
    ];
    let written = catalogues.map(|builder| {
        let catalogue = builder.build().unwrap();
        serde_json::to_value(catalogue.entries().collect::<Vec<_>>()).unwrap()
    });
    let mut expected: Vec<Value> = serde_json::from_str(json).unwrap();
    expected.reverse();
    for written in written {
        assert_eq!(written, Value::from(expected.clone()));
    }
}

/// Reads and builds what is no catalogue (table).
#[test]
fn a_bad_catalogue_is_refused() {
    let entry = |name: &str| CatalogueEntry::new(name).unwrap();
    let built = |builder: tidings::CatalogueBuilder| builder.build().map(drop);
    for (result, says) in [
        (Catalogue::builder().json("{").map(drop), "line 1"),
        (Catalogue::builder().json(r#"[{"type": "order"}]"#).map(drop), "2 to 8"),
        (Catalogue::builder().json(r#"[{"type": "a.b", "keys": 1}]"#).map(drop), "`keys`"),
        (Catalogue::builder().json(r#"[{"description": "x"}]"#).map(drop), "`type`"),
        (built(Catalogue::builder().entry(entry("a.b")).entry(entry("a.b"))), "a.b twice"),
        (
            built(
                Catalogue::builder().entry(entry("a.b").alias("a.c").unwrap()).entry(entry("a.c")),
            ),
            "alias a.c",
        ),
        (
            built(
                Catalogue::builder()
                    .entry(entry("a.b").alias("a.x").unwrap())
                    .entry(entry("a.c").alias("a.x").unwrap()),
            ),
            "alias a.x",
        ),
        (built(Catalogue::builder().entry(entry("a.b").schema("object"))), "no JSON Schema"),
    ] {
        let error = result.expect_err(says);
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("catalogue")));
        assert!(error.to_string().contains(says), "{error}");
    }
    #[cfg(feature = "toml")]
    {
        let error = Catalogue::builder().toml("[[types]]\ntype = 1").map(drop).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}

/// Misspells types and filters, and reads what a strict catalogue says (table).
#[test]
fn a_strict_catalogue_names_the_nearest() {
    let shop = shop();
    for (name, says) in [
        ("order.acepted", "did you mean order.accepted?"),
        ("Order.Accepted", "did you mean order.accepted?"),
        ("invoice.uncolectable", "did you mean invoice.uncollectible?"),
        ("order.charge.captured.complete", "did you mean order.charge.capture.complete?"),
        ("fulfillment.create", "is another name of fulfillment.created"),
        ("weather.sunny", "is not in the catalogue"),
    ] {
        let error = shop.check(&event(name, &json!({}))).unwrap_err();
        assert_eq!(error.field(), Some("type"));
        assert!(error.to_string().contains(says), "{name}: {error}");
    }
    assert_eq!(shop.nearest("weather.sunny"), None);
    for (filter, says) in [
        ("order.acepted", "did you mean order.accepted?"),
        ("ordr.*", "matches no type"),
        ("order.accepted.*", "matches no type"),
    ] {
        let error = shop.filters(&Filters::parse(["order.*", filter]).unwrap(), None).unwrap_err();
        assert_eq!(error.field(), Some("types"));
        assert!(error.to_string().contains(says), "{filter}: {error}");
    }
    let asked = Filters::parse(["*", "order.charge.*", "fulfillment.create"]).unwrap();
    let kept = shop.filters(&asked, None).unwrap();
    let kept: Vec<_> = kept.iter().map(|filter| filter.as_str().to_owned()).collect();
    assert_eq!(kept, ["*", "fulfillment.created", "order.charge.*"]);
    // What a webhook had when the catalogue still had it stays.
    let former = Filters::parse(["order.gone"]).unwrap();
    let more = Filters::parse(["order.gone", "order.accepted"]).unwrap();
    assert_eq!(shop.filters(&more, Some(&former)).unwrap(), more);
    assert!(shop.filters(&more, None).is_err());
    assert_eq!(shop.nearest(&"x".repeat(1 << 20)), None);
}

/// Selects types as webhooks do, and shows all of them (seed row E7).
#[test]
fn a_webhooks_details_show_all_types_and_which_are_selected() {
    let shop = shop();
    let filters = Filters::parse(["subscription.*", "order.accepted"]).unwrap();
    let selection = shop.selection(&filters);
    assert_eq!(selection.len(), 139);
    let selected = types(selection.iter().filter(|one| one.selected).map(|one| one.entry));
    assert_eq!(selected.len(), 18);
    assert!(
        selected.iter().all(|name| name.starts_with("subscription.") || *name == "order.accepted")
    );
    let shown = serde_json::to_value(&selection).unwrap();
    let accepted = shown.as_array().unwrap().iter().find(|one| one["type"] == "order.accepted");
    let accepted = accepted.unwrap();
    assert_eq!((&accepted["selected"], &accepted["key"]), (&json!(true), &json!(true)));
}

/// Plays the shop's day, and checks every event against its schema.
#[test]
#[cfg(feature = "schema")]
fn the_shops_day_meets_its_schemas() {
    let shop = Catalogue::builder().json(SHOP).unwrap().strict().check_payloads().build().unwrap();
    for change in crate::day::play().unwrap().into_iter().flat_map(|step| step.changes) {
        let id = EventId::new(Timestamp::UNIX_EPOCH, &[1; 10]);
        shop.check(&change.into_event(id, Timestamp::UNIX_EPOCH).unwrap()).unwrap();
    }
}

/// Checks payloads against schemas: good ones, bad ones, and types without one (table).
#[test]
#[cfg(feature = "schema")]
fn payloads_are_checked_against_their_schemas() {
    let schema = json!({
        "$defs": { "amount": { "type": "number", "minimum": 0 } },
        "type": "object",
        "required": ["id"],
        "properties": {
            "id": { "type": "string" },
            "lines": { "type": "array", "items": { "properties": {
                "amount": { "$ref": "#/$defs/amount" },
            }}},
        },
    });
    let entry = |name| CatalogueEntry::new(name).unwrap();
    let catalogue = Catalogue::builder()
        .entry(entry("order.paid").schema(schema.clone()).example(&json!({ "id": "1" })).unwrap())
        .entry(entry("order.never").schema(false))
        .check_payloads()
        .build()
        .unwrap();
    let good = json!({ "id": "1", "lines": [{ "amount": 29.90 }], "more": null });
    catalogue.check(&event("order.paid", &good)).unwrap();
    catalogue.check(&event("order.other", &json!({ "id": 1 }))).unwrap();
    for (name, object, says) in [
        ("order.paid", json!({}), "the object itself against /required"),
        ("order.paid", json!({ "id": 5005 }), "/id against /properties/id/type"),
        ("order.paid", json!({ "id": "1", "lines": [{}, { "amount": -5005 }] }), "/lines/1/amount"),
        ("order.never", json!({}), "the object itself"),
    ] {
        let error = catalogue.check(&event(name, &object)).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("data.object")));
        assert!(error.to_string().contains(says), "{error}");
        assert!(!error.to_string().contains("5005"), "values stay out of errors: {error}");
    }
    // Not asked for, it is not done.
    let unchecked = Catalogue::builder().entry(entry("order.paid").schema(schema)).build().unwrap();
    unchecked.check(&event("order.paid", &json!({}))).unwrap();
}

/// Builds catalogues of schemas that cannot be used, among them one that points elsewhere.
#[test]
#[cfg(feature = "schema")]
fn a_schema_cannot_point_to_other_documents() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let elsewhere = format!("http://{}/schema.json", listener.local_addr().unwrap());
    let example = CatalogueEntry::new("a.b").unwrap().example(&json!({ "id": 1 })).unwrap();
    let entry = CatalogueEntry::new("a.b").unwrap();
    for (entry, says) in [
        (entry.clone().schema(json!({ "$ref": elsewhere })), "cannot be used"),
        (entry.clone().schema(json!({ "$ref": "file:///etc/hostname" })), "cannot be used"),
        (entry.schema(json!({ "type": "objekt" })), "cannot be used"),
        (example.schema(json!({ "properties": { "id": { "type": "string" } } })), "example of a.b"),
    ] {
        let error = Catalogue::builder().entry(entry).check_payloads().build().unwrap_err();
        assert_eq!(error.field(), Some("catalogue"));
        assert!(error.to_string().contains(says), "{error}");
    }
    assert!(listener.accept().is_err(), "nobody called");
}

/// Exports a catalogue as OpenAPI, and checks the parts that tools go by.
#[test]
fn a_catalogue_is_told_as_openapi() {
    let pointed = json!({ "$defs": { "n": { "type": "number" } }, "properties": { "n": { "$ref": "#/$defs/n" } } });
    let plain = json!({ "type": "object", "required": ["id"] });
    let catalogue = Catalogue::builder()
        .entry(
            CatalogueEntry::new("order.paid")
                .unwrap()
                .description("It is paid.")
                .key()
                .version("2026-01-31")
                .schema(plain.clone())
                .example(&json!({ "id": "1" }))
                .unwrap(),
        )
        .entry(CatalogueEntry::new("order.counted").unwrap().schema(pointed).deprecated())
        .entry(CatalogueEntry::new("order.gone").unwrap())
        .build()
        .unwrap();
    let document = catalogue.openapi("Shop", "1");
    assert_eq!(document["webhooks"], catalogue.openapi_webhooks());
    assert_eq!(document["webhooks"].as_object().unwrap().len(), 3);
    let post = |name: &str| document["webhooks"][name]["post"].clone();
    let object = |name: &str| {
        post(name)["requestBody"]["content"]["application/json"]["schema"]["properties"]["data"]
            ["properties"]["object"]
            .clone()
    };
    let paid = post("order.paid");
    assert_eq!(
        [&paid["description"], &paid["x-key"], &paid["x-version"], &paid["tags"]],
        [&json!("It is paid."), &json!(true), &json!("2026-01-31"), &json!(["order"])]
    );
    assert_eq!(object("order.paid"), plain);
    // An example is a payload that the crate itself can read.
    let example = &paid["requestBody"]["content"]["application/json"]["example"];
    let read =
        Event::parse(example.to_string(), Account::default(), Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(
        (read.event_type().as_str(), read.object().unwrap().get()),
        ("order.paid", r#"{"id":"1"}"#)
    );
    assert_eq!(post("order.counted")["deprecated"], true);
    assert_eq!(object("order.counted")["$id"], "urn:event:order.counted");
    assert_eq!(object("order.gone"), json!({ "type": "object" }));
    assert!(post("order.gone").get("description").is_none());
}

#[cfg(feature = "engine")]
mod handle {
    use tidings::storage::MemoryStorage;
    use tidings::{Edit, EventQuery, PageRequest, Registration, Tidings};

    use super::*;

    /// Publishes through a handle with a strict catalogue: a batch with one unknown type is refused
    /// whole, and webhooks ask for known types under their own names.
    #[tokio::test]
    async fn a_handle_holds_to_its_catalogue() {
        let tidings = Tidings::builder(MemoryStorage::new()).catalogue(shop()).build();
        let change = |name| Change::of(name, &json!({ "id": "1" })).unwrap();
        let events =
            tidings.events_of([change("order.accepted"), change("order.acepted")]).unwrap();
        assert_ne!(events[0].id(), events[1].id());
        let error = tidings.publish_all(&events).await.unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("type")));
        let kept = tidings.events(&EventQuery::default(), &PageRequest::default()).await.unwrap();
        assert_eq!(kept.items.len(), 0, "nothing is half done");
        tidings.publish(&events[0]).await.unwrap();

        let ask = |types: &[&str]| Registration::new("https://example.com/", types).unwrap();
        let refused = tidings.create(ask(&["order.acepted"])).await.unwrap_err();
        assert_eq!(refused.field(), Some("types"));
        let created = tidings.create(ask(&["fulfillment.create"])).await.unwrap().webhook;
        let texts = |filters: &Filters| filters.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(created.types()), ["fulfillment.created"]);
        let edit = |types: &[&str]| Edit::new().types(Filters::parse(types).unwrap());
        let edited = tidings.edit(created.id(), None, edit(&["subscription.lapse"])).await.unwrap();
        assert_eq!(texts(edited.types()), ["subscription.lapsed"]);
        // Without the catalogue it came by another name; the next edit of its types mends that.
        let before = Tidings::new(MemoryStorage::new());
        let old = before.create(ask(&["fulfillment.create", "order.gone"])).await.unwrap().webhook;
        let after = Tidings::builder_shared(before.storage().clone()).catalogue(shop()).build();
        let same = Edit::new().types(old.types().clone());
        let mended = after.edit(old.id(), None, same).await.unwrap();
        assert_eq!(texts(mended.types()), ["fulfillment.created", "order.gone"]);
        let refused = tidings.edit(created.id(), None, edit(&["nothing.here"])).await.unwrap_err();
        assert_eq!(refused.field(), Some("types"));
        // A test event is no business of the catalogue's.
        tidings.send_test(tidings.enable(created.id()).await.unwrap().id()).await.unwrap();
    }

    /// Publishes through an outbox with a strict catalogue: nothing reaches the transaction.
    #[test]
    fn an_outbox_holds_to_its_catalogue() {
        use tidings::outbox::{BlockingSqlExecutor, BoxError, Outbox};
        struct Never;
        impl BlockingSqlExecutor for Never {
            fn fetch(&mut self, sql: &'static str, _: &str) -> Result<Vec<String>, BoxError> {
                panic!("{sql}")
            }
        }
        let outbox = Outbox::sqlite().catalogue(shop());
        let unknown = event("order.acepted", &json!({}));
        let error = outbox.publish_blocking(&mut Never, &[unknown]).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("type")));
    }
}
