//! A day in the shop: what its resources were and became. Nothing here names an event, but for the two
//! that are no change: a reminder, and a payment that failed.

use serde_json::{Value, json};
use tidings::{Change, ResourceModel, Result};

use crate::models;

/// What happened in the shop, and what it makes known.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) title: &'static str,
    pub(crate) changes: Vec<Change>,
}

/// Plays the day.
pub(crate) fn play() -> Result<Vec<Step>> {
    let mut steps = an_order()?;
    steps.extend(a_subscription()?);
    Ok(steps)
}

/// A resource as the shop has it, and the rules of its kind.
struct Kept {
    model: ResourceModel,
    now: Value,
}

impl Kept {
    fn new(model: ResourceModel) -> Self {
        Self { model, now: Value::Null }
    }

    /// It becomes something else.
    fn set(&mut self, after: Value) -> Result<Vec<Change>> {
        let changes = self.model.events(&self.now, &after)?;
        self.now = after;
        Ok(changes)
    }

    /// Some of its attributes become something else.
    fn edit(&mut self, edit: impl FnOnce(&mut Value)) -> Result<Vec<Change>> {
        let mut after = self.now.clone();
        edit(&mut after);
        self.set(after)
    }

    fn state(&mut self, state: &str) -> Result<Vec<Change>> {
        self.edit(|resource| resource["state"] = json!(state))
    }
}

fn an_order() -> Result<Vec<Step>> {
    let mut order = Kept::new(models::order()?);
    let mut warehouse = Kept::new(models::fulfillment_order()?);
    let mut fulfillment = Kept::new(models::fulfillment()?);
    let mut goods_return = Kept::new(models::goods_return()?);
    let mut refund = Kept::new(models::refund()?);
    let charge = |order: &mut Value, state: &str, updated: &str| {
        order["payment"]["charges"][0]["state"] = json!(state);
        order["updatedTime"] = json!(updated);
    };
    let within = |order: &mut Value, list: &str, entry: Value| {
        order["payment"]["charges"][0][list] = json!([entry]);
    };
    let mut steps = Vec::new();
    let mut step = |title, changes: Vec<Vec<Change>>| {
        steps.push(Step { title, changes: changes.into_iter().flatten().collect() });
    };

    step(
        "An order is placed.",
        vec![order.set(json!({
            "id": "247468780336",
            "state": "pending_payment",
            "currency": "EUR",
            "totalAmount": 59.80,
            "items": [{ "id": "1", "skuId": "mug", "quantity": 2 }],
            "payment": { "charges": [] },
            "updatedTime": "2026-03-02T09:00:00Z",
        }))?],
    );
    step(
        "The card is being authorized.",
        vec![order.edit(|order| {
            order["payment"]["charges"] = json!([
                { "id": "c1", "state": "pending", "amount": 59.80, "captures": [], "refunds": [] },
            ]);
            order["updatedTime"] = json!("2026-03-02T09:00:02Z");
        })?],
    );
    step(
        "It is authorized, and somebody has a look at the order.",
        vec![order.edit(|order| {
            charge(order, "capturable", "2026-03-02T09:00:04Z");
            order["state"] = json!("in_review");
            order["fraudState"] = json!("review_opened");
        })?],
    );
    step(
        "The order is found to be honest.",
        vec![order.edit(|order| {
            order["state"] = json!("accepted");
            order["fraudState"] = json!("passed");
        })?],
    );
    step(
        "The warehouse is asked for the goods.",
        vec![warehouse.set(json!({
            "id": "f1", "orderId": "247468780336", "state": "pending", "shipments": [],
        }))?],
    );
    step(
        "The money is asked for.",
        vec![order.edit(|order| {
            within(order, "captures", json!({ "id": "p1", "state": "pending", "amount": 59.80 }));
        })?],
    );
    step(
        "The money comes.",
        vec![order.edit(|order| {
            order["payment"]["charges"][0]["captures"][0]["state"] = json!("complete");
            charge(order, "complete", "2026-03-02T11:30:00Z");
        })?],
    );
    step(
        "The parcel leaves.",
        vec![
            warehouse.edit(|warehouse| {
                warehouse["state"] = json!("shipped");
                warehouse["shipments"] = json!([{ "id": "ship1", "items": [{ "skuId": "mug" }] }]);
            })?,
            fulfillment.set(json!({
                "id": "ful1", "trackingNumber": "T 1000", "orderDetails": { "id": "247468780336" },
            }))?,
            order.state("fulfilled")?,
        ],
    );
    step("Everything is done.", vec![order.state("complete")?]);
    step(
        "The customer sends it back.",
        vec![
            goods_return
                .set(json!({ "id": "ret1", "orderId": "247468780336", "state": "created" }))?,
            goods_return.state("accepted")?,
        ],
    );
    step(
        "The money is to go back.",
        vec![
            refund.set(json!({ "id": "re1", "state": "pending", "amount": 59.80 }))?,
            order.edit(|order| {
                within(order, "refunds", json!({ "id": "re1", "state": "pending" }))
            })?,
        ],
    );
    step(
        "It has gone back.",
        vec![
            refund.state("succeeded")?,
            order.edit(|order| {
                order["payment"]["charges"][0]["refunds"][0]["state"] = json!("complete");
                order["state"] = json!("returned");
            })?,
        ],
    );
    Ok(steps)
}

fn a_subscription() -> Result<Vec<Step>> {
    let mut subscription = Kept::new(models::subscription()?);
    let mut checkout = Kept::new(models::checkout()?);
    let mut invoice = Kept::new(models::invoice()?);
    let mut steps = Vec::new();
    let mut step = |title, changes: Vec<Vec<Change>>| {
        steps.push(Step { title, changes: changes.into_iter().flatten().collect() });
    };
    let draft = |id: &str| json!({ "id": id, "state": "draft", "totalAmount": 9.90 });

    step(
        "Somebody subscribes.",
        vec![
            subscription.set(json!({
                "id": "s1", "state": "draft", "planId": "monthly", "currentPeriodEndDate": null,
            }))?,
            checkout.set(json!({ "id": "co1", "subscriptionId": "s1", "sourceId": null }))?,
        ],
    );
    step(
        "The checkout gets a source, and the subscription begins.",
        vec![
            checkout.edit(|checkout| checkout["sourceId"] = json!("src1"))?,
            subscription.edit(|subscription| {
                subscription["state"] = json!("active");
                subscription["currentPeriodEndDate"] = json!("2026-04-02");
            })?,
        ],
    );
    step(
        "The next period comes near.",
        vec![
            invoice.set(draft("i1"))?,
            vec![
                subscription
                    .model
                    .change(&subscription.now, &subscription.now)?
                    .related("invoice", &invoice.now)?
                    .named("subscription.reminder")?,
            ],
        ],
    );
    step(
        "The period has ended: the invoice is to be paid.",
        vec![invoice.state("open")?, subscription.state("activePendingInvoice")?],
    );
    let (was, open) = (subscription.now.clone(), invoice.now.clone());
    let mut extended = was.clone();
    extended["state"] = json!("active");
    extended["currentPeriodEndDate"] = json!("2026-05-02");
    step(
        "It is paid, and the subscription goes on.",
        vec![
            invoice.state("paid")?,
            subscription
                .model
                .change(&was, &extended)?
                .related_changed("invoice", &open, &invoice.now)?
                .events()?,
        ],
    );
    subscription.now = extended;
    let mut invoice = Kept::new(models::invoice()?);
    step(
        "A month later the card is refused.",
        vec![
            subscription.state("activePendingInvoice")?,
            invoice.set(json!({ "id": "i2", "state": "open", "totalAmount": 9.90 }))?,
            vec![
                subscription
                    .model
                    .change(&subscription.now, &subscription.now)?
                    .related("invoice", &invoice.now)?
                    .named("subscription.payment_failed")?,
            ],
        ],
    );
    step("Nobody pays.", vec![invoice.state("uncollectible")?, subscription.state("lapsed")?]);
    step("The subscription is cleared away.", vec![subscription.set(Value::Null)?]);
    Ok(steps)
}
