//! Models: the shop's resources, their states, and every kind of exception to `resource.state`.

use serde_json::{Value, json};
use tidings::{Change, DataObject, ErrorKind, ModelBuilder, ResourceModel};

use crate::models;

fn types(changes: &[Change]) -> Vec<&str> {
    changes.iter().map(|change| change.event_type().as_str()).collect()
}

fn object(change: &Change) -> Value {
    serde_json::from_str(change.object().get()).unwrap()
}

fn previous(change: &Change) -> Value {
    change.previous().map_or(Value::Null, |raw| serde_json::from_str(raw.get()).unwrap())
}

/// Takes resources through their states, from none on, and compares the types (the state tables of
/// domain 7d).
#[test]
fn states_have_their_events() {
    // No former state: the resource is new.
    type Row = (Option<&'static str>, &'static str, &'static [&'static str]);
    let tables: [(ResourceModel, &[Row]); 9] = [
        (
            models::order().unwrap(),
            &[
                (None, "pending_payment", &["order.pending_payment"]),
                (Some("pending_payment"), "in_review", &["order.review_opened"]),
                (Some("in_review"), "accepted", &["order.accepted"]),
                (Some("in_review"), "blocked", &["order.blocked"]),
                (Some("accepted"), "cancelled", &["order.cancelled"]),
                (Some("accepted"), "fulfilled", &["order.fulfilled"]),
                (Some("fulfilled"), "complete", &["order.complete"]),
                (Some("complete"), "returned", &["order.refunded"]),
                (Some("complete"), "dispute", &["order.dispute"]),
                (Some("dispute"), "complete", &["order.dispute.resolved"]),
                (Some("dispute"), "returned", &["order.dispute.resolved", "order.refunded"]),
            ],
        ),
        (
            models::refund().unwrap(),
            &[
                (None, "pending", &["refund.pending"]),
                (Some("pending"), "pending_information", &["refund.pending_information"]),
                (Some("pending"), "failed", &["refund.failed"]),
                (Some("pending"), "succeeded", &["refund.complete"]),
                (Some("pending_information"), "expired", &[]),
            ],
        ),
        (
            models::invoice().unwrap(),
            &[
                (None, "draft", &["invoice.created"]),
                (None, "open", &["invoice.created", "invoice.open"]),
                (Some("draft"), "open", &["invoice.open", "invoice.updated"]),
                (Some("open"), "paid", &["invoice.paid", "invoice.updated"]),
                (Some("open"), "void", &["invoice.void", "invoice.updated"]),
                (Some("open"), "uncollectible", &["invoice.uncollectible", "invoice.updated"]),
            ],
        ),
        (
            models::tax_identifier().unwrap(),
            &[
                (None, "pending", &["tax_identifier.pending"]),
                (Some("pending"), "verified", &["tax_identifier.verified"]),
                (Some("pending"), "not_valid", &["tax_identifier.not_valid"]),
            ],
        ),
        (
            models::fulfillment_order().unwrap(),
            &[
                (None, "pending", &["fulfillment_order.pending"]),
                (Some("pending"), "shipped", &[]),
                (Some("pending"), "cancelled", &["fulfillment_order.cancelled"]),
            ],
        ),
        (
            models::fulfillment_cancellation().unwrap(),
            &[
                (None, "pending", &["fulfillment_cancellation.created"]),
                (Some("pending"), "accepted", &["fulfillment_cancellation.accepted"]),
                (Some("pending"), "rejected", &["fulfillment_cancellation.rejected"]),
            ],
        ),
        (
            models::goods_return().unwrap(),
            &[
                (None, "created", &["return.created"]),
                (Some("created"), "accepted", &["return.accepted"]),
            ],
        ),
        (
            models::fulfillment_return().unwrap(),
            &[
                (None, "created", &["fulfillment_return.created"]),
                (Some("created"), "pending", &["fulfillment_return.pending"]),
                (Some("pending"), "accepted", &["fulfillment_return.accepted"]),
                (Some("pending"), "rejected", &["fulfillment_return.rejected"]),
            ],
        ),
        (
            models::source().unwrap(),
            &[
                (None, "pending_redirect", &["source.created"]),
                (None, "chargeable", &["source.created", "source.chargeable"]),
                (Some("pending_redirect"), "chargeable", &["source.chargeable"]),
                (Some("pending_redirect"), "requires_action", &[]),
                (Some("chargeable"), "consumed", &[]),
                (Some("pending_funds"), "failed", &[]),
                (Some("chargeable"), "cancelled", &[]),
                (Some("requires_action"), "pending_funds", &[]),
            ],
        ),
    ];
    for (model, rows) in tables {
        for (from, to, expected) in rows {
            let of = |state| json!({ "id": "1", "state": state });
            let before = from.map_or(Value::Null, of);
            let changes = model.events(&before, &of(to)).unwrap();
            let name = model.name();
            assert_eq!(types(&changes), *expected, "{name}: {from:?} to {to}");
            // What is new has no former attributes; what became something else says what it was.
            for change in &changes {
                let was = from.map_or(Value::Null, |from| json!({ "state": from }));
                assert_eq!(previous(change), was, "{name}: {from:?} to {to}");
                assert_eq!(object(change), of(to), "{name}: {from:?} to {to}");
            }
            assert_eq!(model.events(&of(to), &of(to)).unwrap().len(), 0, "{name}: {to} stays");
        }
    }
}

/// Takes a subscription through its states, with the invoice at hand (domain 7d).
#[test]
fn a_subscription_has_its_events() {
    let model = models::subscription().unwrap();
    let of = |state: &str| json!({ "id": "s1", "state": state });
    for (from, to, expected) in [
        ("", "draft", &["subscription.created"][..]),
        ("draft", "active", &["subscription.updated"]),
        ("draft", "activeFree", &["subscription.updated"]),
        ("active", "activePendingInvoice", &[]),
        ("activePendingInvoice", "active", &["subscription.extended"]),
        ("activePendingInvoice", "failed", &["subscription.failed"]),
        ("active", "lapsed", &["subscription.lapsed"]),
        ("active", "cancelled", &["subscription.updated"]),
        ("cancelled", "ended", &[]),
        ("cancelled", "", &["subscription.deleted"]),
    ] {
        let resource = |state: &str| if state.is_empty() { Value::Null } else { of(state) };
        let change = model.change(&resource(from), &resource(to)).unwrap();
        let change = change.related("invoice", &json!({ "id": "i1" })).unwrap();
        assert_eq!(types(&change.events().unwrap()), expected, "{from} to {to}");
    }
}

/// Takes a charge and what happens within it through their states (domain 7d).
#[test]
fn parts_have_their_events() {
    let order = models::order().unwrap();
    let with = |charge: Value| json!({ "id": "o1", "state": "accepted", "payment": { "charges": [charge] } });
    for state in ["pending", "capturable", "processing", "complete", "cancelled", "failed"] {
        let before = with(json!({ "id": "c1", "state": "other" }));
        let after = with(json!({ "id": "c1", "state": state }));
        let expected = format!("order.charge.{state}");
        assert_eq!(types(&order.events(&before, &after).unwrap()), [expected]);
    }
    for (part, name, states) in [
        ("captures", "capture", &["pending", "complete", "failed"][..]),
        ("refunds", "refund", &["pending", "complete", "failed"]),
        ("cancels", "cancel", &["pending", "pending_information", "complete", "failed"]),
    ] {
        for state in states {
            let before = with(json!({ "id": "c1", "state": "capturable", part: [] }));
            let after = with(json!({
                "id": "c1", "state": "capturable", part: [{ "id": "p1", "state": state }],
            }));
            let expected = format!("order.charge.{name}.{state}");
            assert_eq!(types(&order.events(&before, &after).unwrap()), [expected]);
        }
    }
}

// --- the nine classes of exceptions (domain 7e) -------------------------------------------------

/// Class 1: asks for events by name, and lets attributes speak, while the state stays.
#[test]
fn an_event_may_name_no_state() {
    let subscription = models::subscription().unwrap();
    let before = json!({ "id": "s1", "state": "active", "currentPeriodEndDate": "2026-01-31" });
    let after = json!({ "id": "s1", "state": "active", "currentPeriodEndDate": "2026-02-28" });
    let invoice = json!({ "id": "i1", "state": "paid" });
    let change =
        subscription.change(&before, &after).unwrap().related("invoice", &invoice).unwrap();
    let events = change.events().unwrap();
    assert_eq!(types(&events), ["subscription.extended"], "and no update");
    assert_eq!(object(&events[0])["subscription"]["state"], "active");
    let stays = subscription.change(&after, &after).unwrap().related("invoice", &invoice).unwrap();
    for name in ["subscription.reminder", "subscription.payment_failed"] {
        let event = stays.named(name).unwrap();
        assert_eq!((event.event_type().as_str(), previous(&event)), (name, Value::Null));
        assert_eq!(object(&event), json!({ "subscription": after, "invoice": invoice }));
    }
    let invalid = stays.named("subscription.source_invalid").unwrap();
    assert_eq!(object(&invalid), after);

    let order = models::order().unwrap();
    let review =
        |fraud: &str, state: &str| json!({ "id": "o1", "state": state, "fraudState": fraud });
    let closed = |after| types_of(&order, &review("review_opened", "in_review"), &after);
    assert_eq!(closed(review("passed", "in_review")), ["order.review_closed"]);
    assert_eq!(closed(review("passed", "accepted")), ["order.review_closed", "order.accepted"]);
    assert_eq!(closed(review("blocked", "blocked")), ["order.blocked"]);
    let back = order.change(&review("passed", "complete"), &review("passed", "complete")).unwrap();
    assert_eq!(object(&back.named("order.chargeback").unwrap())["state"], "complete");
    assert_eq!(back.named("chargeback").unwrap_err().field(), Some("type"));
}

fn types_of(model: &ResourceModel, before: &Value, after: &Value) -> Vec<String> {
    types(&model.events(before, after).unwrap()).into_iter().map(Into::into).collect()
}

/// Class 2: enters states whose events are called otherwise.
#[test]
fn a_type_may_be_another_word_than_the_state() {
    let of = |state: &str| json!({ "id": "1", "state": state });
    for (model, state, expected) in [
        (models::order(), "in_review", "order.review_opened"),
        (models::order(), "returned", "order.refunded"),
        (models::refund(), "succeeded", "refund.complete"),
        (models::subscription(), "draft", "subscription.created"),
        (models::subscription(), "cancelled", "subscription.updated"),
        (models::source(), "pending_redirect", "source.created"),
        (models::fulfillment_cancellation(), "pending", "fulfillment_cancellation.created"),
    ] {
        assert_eq!(types_of(&model.unwrap(), &Value::Null, &of(state)), [expected]);
    }
}

/// Class 3: makes, changes and deletes resources without a state, and one that has a state of no
/// concern.
#[test]
fn a_resource_without_a_state_has_the_verbs() {
    for model in [models::checkout().unwrap(), models::plan().unwrap()] {
        let draft = json!({ "id": "1", "state": "draft", "total": 1 });
        let active = json!({ "id": "1", "state": "active", "total": 2 });
        let verb = |verb: &str| vec![format!("{}.{verb}", model.name())];
        assert_eq!(types_of(&model, &Value::Null, &draft), verb("created"));
        assert_eq!(types_of(&model, &draft, &active), verb("updated"));
        assert_eq!(types_of(&model, &active, &Value::Null), verb("deleted"));
        let updated = &model.events(&draft, &active).unwrap()[0];
        assert_eq!(previous(updated), json!({ "state": "draft", "total": 1 }));
    }
}

/// Class 4: enters states that make no event; the order's items have states of their own.
#[test]
fn a_state_may_be_silent() {
    let of = |state: &str| json!({ "id": "1", "state": state });
    for (model, from, to) in [
        (models::subscription(), "active", "activePendingInvoice"),
        (models::subscription(), "cancelled", "ended"),
        (models::refund(), "pending_information", "expired"),
        (models::source(), "chargeable", "consumed"),
    ] {
        assert_eq!(types_of(&model.unwrap(), &of(from), &of(to)), [""; 0]);
    }
    let order = |item: &str, state: &str| json!({ "id": "o", "state": state, "items": [of(item)] });
    let events = types_of(
        &models::order().unwrap(),
        &order("created", "accepted"),
        &order("fulfilled", "fulfilled"),
    );
    assert_eq!(events, ["order.fulfilled"], "none of the item's own");
}

/// Class 5: takes events whose object is another resource than the one that they are named after.
#[test]
fn the_object_may_be_another_resource() {
    let order = models::fulfillment_order().unwrap();
    let before = json!({ "id": "f1", "state": "pending", "shipments": [] });
    let shipment =
        json!({ "id": "ship1", "fulfillmentOrderId": "f1", "items": [{ "quantity": 2 }] });
    let after = json!({ "id": "f1", "state": "shipped", "shipments": [shipment] });
    let events = order.events(&before, &after).unwrap();
    assert_eq!(types(&events), ["fulfillment_order.shipped"]);
    assert_eq!((object(&events[0]), previous(&events[0])), (shipment, Value::Null));

    // A file's description, that the host has at hand.
    let model = ResourceModel::builder("order")
        .object_of("order.invoice.created", DataObject::Related("file".to_owned()))
        .build()
        .unwrap();
    let file = json!({ "id": "file1", "purpose": "customer_invoice" });
    let change = model.change(&json!({ "id": "o1" }), &json!({ "id": "o1" })).unwrap();
    let missing = change.named("order.invoice.created").unwrap_err();
    assert_eq!(missing.field(), Some("related"));
    let invoiced = change.related("file", &file).unwrap().named("order.invoice.created").unwrap();
    assert_eq!(object(&invoiced), file);

    // The charge, for what happens within it.
    let (before, after) = captured();
    let events = models::order().unwrap().events(&before, &after).unwrap();
    assert_eq!(types(&events), ["order.charge.capture.complete"]);
    assert_eq!(object(&events[0]), after["payment"]["charges"][1]);
    assert_eq!(previous(&events[0]), json!({ "captures": [{ "id": "p1", "state": "pending" }] }));
}

/// An order with two charges, of which the second is captured.
fn captured() -> (Value, Value) {
    let order = |state: &str| {
        json!({ "id": "o1", "state": "accepted", "updatedTime": state, "payment": { "charges": [
            { "id": "c0", "state": "cancelled" },
            { "id": "c1", "state": "capturable", "captures": [{ "id": "p1", "state": state }] },
        ]}})
    };
    (order("pending"), order("complete"))
}

/// Class 6: takes events of parts whose object is the order.
#[test]
fn the_object_may_be_the_parent() {
    let model = models::order().unwrap();
    let order = |charge: &str, refund: &str| {
        json!({ "id": "o1", "state": "complete", "payment": { "charges": [
            { "id": "c1", "state": charge, "refunds": [{ "id": "r1", "state": refund }] },
        ]}})
    };
    for (before, after, event_type) in [
        (order("complete", "pending"), order("complete", "failed"), "order.charge.refund.failed"),
        (order("pending", "pending"), order("failed", "pending"), "order.charge.failed"),
    ] {
        let events = model.events(&before, &after).unwrap();
        assert_eq!(types(&events), [event_type]);
        assert_eq!(object(&events[0]), after, "{event_type}");
        assert_eq!(previous(&events[0]), json!({ "payment": before["payment"] }), "{event_type}");
    }
    let stays = order("capturable", "complete");
    let failed = model.change(&stays, &stays).unwrap().named("order.charge.reauth.failed").unwrap();
    assert_eq!(object(&failed), stays);
}

/// Class 7: takes events about several resources.
#[test]
fn the_object_may_be_several_resources() {
    let subscription = models::subscription().unwrap();
    let active = json!({ "id": "s1", "state": "active" });
    let pending = json!({ "id": "s1", "state": "activePendingInvoice" });
    let (open, paid) =
        (json!({ "id": "i1", "state": "open" }), json!({ "id": "i1", "state": "paid" }));
    let extended = subscription
        .change(&pending, &active)
        .unwrap()
        .related_changed("invoice", &open, &paid)
        .unwrap();
    let events = extended.events().unwrap();
    assert_eq!(types(&events), ["subscription.extended"]);
    let text = events[0].object().get();
    assert!(text.starts_with(r#"{"subscription":{"#), "in the order of the declaration: {text}");
    assert_eq!(object(&events[0]), json!({ "subscription": active, "invoice": paid }));
    assert_eq!(
        previous(&events[0]),
        json!({ "subscription": { "state": "activePendingInvoice" }, "invoice": { "state": "open" } })
    );
    let alone = subscription.events(&pending, &active).unwrap_err();
    assert_eq!((alone.kind(), alone.field()), (ErrorKind::Invalid, Some("related")));
    assert!(alone.to_string().contains("invoice"), "{alone}");
}

/// Class 8: deletes a subscription, with all that it was (and its parts say nothing).
#[test]
fn what_is_deleted_is_empty_and_was_everything() {
    let before = json!({ "id": "s1", "state": "cancelled", "items": [{ "id": "i" }], "n": 29.90 });
    let events = models::subscription().unwrap().events(&before, &()).unwrap();
    assert_eq!(types(&events), ["subscription.deleted"]);
    assert_eq!((object(&events[0]), previous(&events[0])), (json!({}), before));

    let charge = ResourceModel::builder("charge").state("state");
    let model = ResourceModel::builder("order").part("charge", charge).build().unwrap();
    let order = json!({ "id": "o1", "charge": { "id": "c1", "state": "pending" } });
    assert_eq!(types(&model.events(&order, &None::<()>).unwrap()), ["order.deleted"]);
}

/// Class 9: takes operations that say several things at once, in their order (seed row E14).
#[test]
fn a_change_may_make_several_events() {
    let of = |state: &str| json!({ "id": "1", "state": state });
    let mut both = types_of(&models::subscription().unwrap(), &Value::Null, &of("draft"));
    both.extend(types_of(&models::checkout().unwrap(), &Value::Null, &json!({ "id": "c" })));
    assert_eq!(both, ["subscription.created", "checkout.created"]);
    let invoice = models::invoice().unwrap();
    let created = types_of(&invoice, &Value::Null, &of("open"));
    assert_eq!(created, ["invoice.created", "invoice.open"]);
    assert_eq!(types_of(&invoice, &of("open"), &of("paid")), ["invoice.paid", "invoice.updated"]);

    let order = |state: &str, capture: &str| {
        json!({ "id": "o1", "state": state, "payment": { "charges": [
            { "id": "c1", "state": capture, "captures": [{ "id": "p1", "state": capture }] },
        ]}})
    };
    let changes = models::order()
        .unwrap()
        .events(&order("accepted", "pending"), &order("fulfilled", "complete"));
    assert_eq!(
        types(&changes.unwrap()),
        ["order.charge.capture.complete", "order.charge.complete", "order.fulfilled"],
        "the inner before the outer"
    );
}

// --- what belongs to whom -----------------------------------------------------------------------

/// Changes parts and bookkeeping, and looks for events of the resource (seed row E13).
#[test]
fn a_change_of_a_part_is_none_of_the_resource() {
    let order = |charge: Value, note: &str, at: &str| {
        json!({ "id": "o1", "state": "accepted", "note": note, "updatedTime": at,
            "payment": { "method": "card", "charges": charge } })
    };
    let capturable = || json!([{ "id": "c1", "state": "capturable", "note": 1 }]);
    let model = models::order().unwrap();
    let before = order(capturable(), "", "1");
    for (what, after, expected) in [
        (
            "a state",
            order(json!([{ "id": "c1", "state": "cancelled", "note": 1 }]), "", "2"),
            &["order.charge.cancelled"][..],
        ),
        (
            "a silent attribute",
            order(json!([{ "id": "c1", "state": "capturable", "note": 2 }]), "", "2"),
            &[],
        ),
        (
            "one more",
            order(
                json!([{ "id": "c2", "state": "pending" }, { "id": "c1", "state": "capturable", "note": 1 }]),
                "",
                "2",
            ),
            &["order.charge.pending"],
        ),
        ("none any more", order(json!([]), "", "2"), &[]),
        ("bookkeeping", order(capturable(), "", "2"), &[]),
        ("its own", order(capturable(), "x", "2"), &["order.updated"]),
        (
            "both",
            order(json!([{ "id": "c1", "state": "cancelled" }]), "x", "2"),
            &["order.charge.cancelled", "order.updated"],
        ),
    ] {
        assert_eq!(types_of(&model, &before, &after), expected, "{what}");
    }
    let mut beside = before.clone();
    beside["payment"]["method"] = json!("transfer");
    assert_eq!(types_of(&model, &before, &beside), ["order.updated"], "beside the part");
    let mut moved = order(json!([{ "id": "c1", "state": "cancelled" }]), "", "2");
    moved["state"] = json!("cancelled");
    assert_eq!(types_of(&model, &before, &moved), ["order.charge.cancelled", "order.cancelled"]);
}

/// Declares parts in objects, in arrays of arrays, and without ids, and follows them.
#[test]
fn parts_are_followed_to_any_depth() {
    let leaf = ResourceModel::builder("leaf").state("at.state").id("at.key");
    let twig = ResourceModel::builder("twig").part("leaves[]", leaf);
    let branch = ResourceModel::builder("branch").part("twigs[].twig", twig);
    let model = ResourceModel::builder("tree").part("branch", branch).build().unwrap();
    let tree = |leaves: Value| json!({ "id": 7, "branch": { "twigs": [{ "twig": { "leaves": leaves } }, 5, null] } });
    let leaf = |key: u32, state: &str| json!({ "at": { "key": key, "state": state } });
    let before = tree(json!([leaf(1, "green"), leaf(2, "green")]));
    let after = tree(json!([leaf(2, "red"), leaf(1, "green"), leaf(3, "new")]));
    let events = model.events(&before, &after).unwrap();
    assert_eq!(types(&events), ["tree.branch.twig.leaf.red", "tree.branch.twig.leaf.new"]);
    assert_eq!(object(&events[0]), leaf(2, "red"));
    let event = events[0].clone().into_event(
        tidings::EventId::new(tidings::Timestamp::UNIX_EPOCH, &[1; 10]),
        tidings::Timestamp::UNIX_EPOCH,
    );
    assert_eq!(event.unwrap().key(), Some("7"), "in order with everything of the tree");
    let born = model.events(&(), &tree(json!([leaf(1, "green")]))).unwrap();
    assert_eq!(
        types(&born),
        [
            "tree.created",
            "tree.branch.created",
            "tree.branch.twig.created",
            "tree.branch.twig.leaf.green"
        ]
    );
    let fallen = model.events(&after, &tree(json!([leaf(2, "red")]))).unwrap();
    assert_eq!(types(&fallen), ["tree.branch.twig.leaf.deleted"; 2]);
    assert_eq!(previous(&fallen[0]), leaf(1, "green"));
    // A single part that became another one.
    let other = json!({ "id": 7, "branch": { "id": 2 } });
    let swapped = model.events(&json!({ "id": 7, "branch": { "id": 1 } }), &other).unwrap();
    assert_eq!(types(&swapped), ["tree.branch.created", "tree.branch.deleted"]);
}

/// Declares transitions of every kind, and takes the most specific (table).
#[test]
fn the_most_specific_declaration_counts() {
    let model = ResourceModel::builder("a")
        .state("s")
        .on_state("y", ["a.to_y"])
        .on_leaving("x", ["a.from_x"])
        .on_transition("x", "z", ["a.x_to_z", "a.more", "a.x_to_z"])
        .build()
        .unwrap();
    let of = |state: &str| json!({ "s": state });
    for (from, to, expected) in [
        (of("w"), of("y"), &["a.to_y"][..]),
        (of("x"), of("y"), &["a.from_x"]),
        (of("x"), of("z"), &["a.x_to_z", "a.more"]),
        (of("w"), of("z"), &["a.z"]),
        (of("x"), json!({}), &["a.from_x"]),
        (of("w"), json!({}), &["a.updated"]),
        (json!({}), of("y"), &["a.to_y"]),
        (Value::Null, json!({ "s": null }), &[]),
        (Value::Null, of("y"), &["a.to_y"]),
        (of("1"), json!({ "s": 2 }), &["a.2"]),
    ] {
        assert_eq!(types_of(&model, &from, &to), expected, "{from} to {to}");
    }
    let odd = model.events(&of("w"), &of("In Review")).unwrap_err();
    assert_eq!(odd.field(), Some("type"));
    assert!(odd.to_string().contains("In Review"), "{odd}");
}

/// Lists the types of models, and compares them with what the models say.
#[test]
fn a_model_knows_its_types() {
    let model = ResourceModel::builder("order")
        .state("state")
        .states(["open", "closed"])
        .on_state("open", ["order.opened"])
        .when_changed("note", ["order.noted"])
        .object_of("order.reminder", DataObject::Resource)
        .part("lines[]", ResourceModel::builder("line"))
        .build()
        .unwrap();
    let types: Vec<_> =
        model.event_types().iter().map(|(name, of)| format!("{name} of {of}")).collect();
    assert_eq!(
        types,
        [
            "order.opened of order",
            "order.closed of order",
            "order.noted of order",
            "order.updated of order",
            "order.deleted of order",
            "order.reminder of order",
            "order.line.created of order.line",
            "order.line.updated of order.line",
            "order.line.deleted of order.line",
        ]
    );
    let known = |model: ResourceModel, name: &str| {
        let types = model.event_types();
        let found = types.into_iter().find(|(event_type, _)| event_type.as_str() == name);
        found.map(|(_, object)| object)
    };
    for (model, name, object) in [
        (models::order(), "order.accepted", "order"),
        (models::order(), "order.charge.capture.complete", "order.charge"),
        (models::order(), "order.charge.refund.failed", "order"),
        (models::subscription(), "subscription.reminder", "subscription+invoice"),
    ] {
        assert_eq!(known(model.unwrap(), name).as_deref(), Some(object), "{name}");
    }
}

/// Declares what cannot be (table): the error names the place.
#[test]
fn a_bad_declaration_is_refused() {
    let order = || ResourceModel::builder("order");
    let deep = (0..8)
        .fold(ResourceModel::builder("x"), |model, _| ResourceModel::builder("x").part("x", model));
    let wide = (0..70)
        .fold(order(), |model, at| model.part(&format!("p{at}"), ResourceModel::builder("p")));
    let resource = || ("a".to_owned(), DataObject::Resource);
    let several = DataObject::Several(vec![("a".into(), DataObject::Several(vec![resource()]))]);
    for (bad, says) in [
        (ResourceModel::builder("or der"), "or der.created"),
        (order().state("a[]"), "many places"),
        (order().on_state("x", ["order.x"]), "not where the state stands"),
        (order().on_created(["x"]), "\"x\" is no event type"),
        (order().on_updated(["a.b"; 17]), "more than 16 events"),
        (order().object(DataObject::Parent), "no parent"),
        (order().object_of("x", DataObject::Root), "\"x\" is no event type"),
        (order().object(several), "several within several"),
        (order().object(DataObject::Several(vec![])), "at least one"),
        (order().object(DataObject::Several(vec![resource(), resource()])), "a key each"),
        (order().state("s").states(["In Review"]), "declare another"),
        (order().state("s").states(["charge.cancelled"]), "declare another"),
        (order().state("s").states((0..2_000).map(|at| format!("s{at}"))), "more than 1024 states"),
        (order().state("s").on_state("x", ["a.b"]).on_state("x", ["a.c"]), "on_state x"),
        (order().state("s").on_leaving("x", ["a.b"]).on_leaving("x", ["a.c"]), "on_leaving x"),
        (
            order().object_of("a.b", DataObject::Root).object_of("a.b", DataObject::Root),
            "object_of a.b",
        ),
        (order().part("charges[", ResourceModel::builder("charge")), "no path"),
        (order().part("c", ResourceModel::builder("c").state("")), "order.c: "),
        (
            order().state("s").on_transition("a", "b", ["a.b"]).on_transition("a", "b", ["a.c"]),
            "declared twice",
        ),
        (deep, "segments"),
        (wide, "more than 64"),
    ] {
        let error = bad.build().map(|model| model.name().to_owned()).expect_err(says);
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("model")));
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// Writes the shop's declarations as JSON and reads them back: they say the same.
#[test]
fn a_model_can_be_declared_as_json() {
    let text = serde_json::to_string(&models::charge()).unwrap();
    let read: ModelBuilder = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    let (one, other) = (models::charge().build(), read.build());
    // Alone it is no part of an order; what is within it stays.
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.event_types(), other.event_types());
    let charge = |state: &str| json!({ "id": "c1", "state": state, "captures": [{ "id": 1, "state": state }] });
    let events =
        [one, other].map(|model| types_of(&model, &charge("pending"), &charge("complete")));
    assert_eq!(events[0], ["charge.capture.complete", "charge.complete"]);
    assert_eq!(events[0], events[1]);
    let misspelled = serde_json::from_str::<ModelBuilder>(r#"{"name":"a","onStates":{}}"#);
    assert!(misspelled.unwrap_err().to_string().contains("onStates"));
}

/// Changes what stands at a part's place and is no object: it is the resource's own.
#[test]
fn what_is_no_object_is_no_part() {
    let source = ResourceModel::builder("source");
    let model = ResourceModel::builder("order").part("source", source).build().unwrap();
    let of = |source: Value| json!({ "id": "o1", "source": source });
    assert_eq!(types_of(&model, &of(json!("s1")), &of(json!("s2"))), ["order.updated"]);
    let whole = of(json!({ "id": "s2" }));
    assert_eq!(
        types_of(&model, &of(json!("s1")), &whole),
        ["order.source.created", "order.updated"]
    );
    assert_eq!(types_of(&model, &whole, &of(Value::Null)), ["order.source.deleted"]);
}

/// Asks for an event of a part by its name: only a change says of which part.
#[test]
fn an_event_of_a_part_cannot_be_named() {
    let order = json!({ "id": "o1", "state": "accepted" });
    let model = models::order().unwrap();
    let change = model.change(&order, &order).unwrap();
    let error = change.named("order.charge.capture.failed").unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("type")));
    assert_eq!(object(&change.named("order.chargeback").unwrap()), order);
}

/// Lets 15,000 charges fail at once, each event of which carries the whole order.
#[test]
fn what_one_change_says_is_bounded() {
    let charges = |state: &str| {
        let charge = |at: u32| json!({ "id": at, "state": state });
        json!({ "id": "o1", "payment": { "charges": (0..15_000).map(charge).collect::<Vec<_>>() } })
    };
    let model = models::order().unwrap();
    let error = model.events(&charges("pending"), &charges("failed")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    let error = model.events(&charges("pending"), &charges("complete")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "more than can be published together");
}

/// Hands over related resources that are none, and one that is nested too deep.
#[test]
fn a_related_resource_is_a_resource() {
    let model = models::subscription().unwrap();
    let of = json!({ "id": "s1", "state": "active" });
    let deep = (0..101).fold(json!(1), |inner, _| json!({ "a": inner }));
    for bad in [json!(null), json!([]), deep] {
        let change = || model.change(&of, &of).unwrap();
        assert_eq!(change().related("invoice", &bad).unwrap_err().field(), Some("data.object"));
        let former = change().related_changed("invoice", &bad, &of).unwrap_err();
        assert_eq!(former.field(), Some("previousAttributes"));
    }
}

/// Hands over what is no resource, and what is too large.
#[test]
fn what_is_no_resource_is_refused() {
    let model = models::checkout().unwrap();
    let deep = (0..101).fold(json!(1), |inner, _| json!({ "a": inner }));
    let large = json!({ "a": "x".repeat(1 << 20) });
    for bad in [json!(1), json!([]), json!("x"), deep, large] {
        let before = model.events(&bad, &json!({})).unwrap_err();
        let after = model.events(&json!({}), &bad).unwrap_err();
        assert_eq!(before.field(), Some("previousAttributes"));
        assert_eq!(after.field(), Some("data.object"));
    }
    assert_eq!(model.events(&(), &()).unwrap().len(), 0);
}
