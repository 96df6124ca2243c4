//! The shop's resources, and the rules by which their changes become events.

use tidings::{DataObject, ModelBuilder, ResourceModel, Result};

/// Nobody: for what is not to be said.
const NONE: [&str; 0] = [];

/// A part whose own event comes with its states only, and whose end is not told.
fn part(name: &str) -> ModelBuilder {
    ResourceModel::builder(name).state("state").on_updated(NONE).on_deleted(NONE)
}

/// What happens within a charge: its events carry the charge.
fn within_charge(name: &str) -> ModelBuilder {
    part(name).object(DataObject::Parent)
}

/// A charge of an order, with its captures, refunds and cancellations.
pub(crate) fn charge() -> ModelBuilder {
    let capture = within_charge("capture").states(["pending", "complete", "failed"]);
    let refund = within_charge("refund")
        .states(["pending", "complete", "failed"])
        .object_of("order.charge.refund.failed", DataObject::Root);
    let cancel =
        within_charge("cancel").states(["pending", "pending_information", "complete", "failed"]);
    part("charge")
        .states(["pending", "capturable", "processing", "complete", "cancelled", "failed"])
        .object_of("order.charge.failed", DataObject::Root)
        .part("captures[]", capture)
        .part("refunds[]", refund)
        .part("cancels[]", cancel)
}

pub(crate) fn order() -> Result<ResourceModel> {
    ResourceModel::builder("order")
        .state("state")
        .states(["pending_payment", "in_review", "accepted", "blocked", "cancelled", "fulfilled"])
        .states(["complete", "returned", "dispute"])
        .bookkeeping(["updatedTime", "stateTransitions"])
        .on_state("in_review", ["order.review_opened"])
        .on_state("returned", ["order.refunded"])
        .on_leaving("dispute", ["order.dispute.resolved"])
        .on_transition("dispute", "returned", ["order.dispute.resolved", "order.refunded"])
        .on_transition("dispute", "cancelled", ["order.dispute.resolved", "order.cancelled"])
        .on_deleted(NONE)
        .when_becomes("fraudState", "passed", ["order.review_closed"])
        .part("payment.charges[]", charge())
        .build()
}

pub(crate) fn refund() -> Result<ResourceModel> {
    ResourceModel::builder("refund")
        .state("state")
        .states(["pending", "pending_information", "succeeded", "failed", "expired"])
        .on_state("succeeded", ["refund.complete"])
        .on_state("expired", NONE)
        .on_deleted(NONE)
        .build()
}

/// Each later change of its state is an update, too.
pub(crate) fn invoice() -> Result<ResourceModel> {
    ResourceModel::builder("invoice")
        .state("state")
        .states(["draft", "open", "paid", "void", "uncollectible"])
        .on_created(["invoice.created"])
        .on_state("draft", NONE)
        .on_deleted(NONE)
        .updated_with_state()
        .build()
}

pub(crate) fn subscription() -> Result<ResourceModel> {
    let with_invoice = DataObject::Several(vec![
        ("subscription".to_owned(), DataObject::Resource),
        ("invoice".to_owned(), DataObject::Related("invoice".to_owned())),
    ]);
    ResourceModel::builder("subscription")
        .state("state")
        .states(["draft", "active", "activeFree", "activePendingInvoice", "failed", "lapsed"])
        .states(["cancelled", "ended"])
        .bookkeeping(["updatedTime", "stateTransitions"])
        .on_state("draft", ["subscription.created"])
        .on_state("active", ["subscription.updated"])
        .on_state("activeFree", ["subscription.updated"])
        .on_state("activePendingInvoice", NONE)
        .on_state("cancelled", ["subscription.updated"])
        .on_state("ended", NONE)
        .on_transition("activePendingInvoice", "active", ["subscription.extended"])
        .when_changed("currentPeriodEndDate", ["subscription.extended"])
        .object_of("subscription.extended", with_invoice.clone())
        .object_of("subscription.reminder", with_invoice.clone())
        .object_of("subscription.payment_failed", with_invoice)
        .build()
}

/// A resource without a state.
pub(crate) fn checkout() -> Result<ResourceModel> {
    ResourceModel::builder("checkout").build()
}

/// What the warehouse is asked for; what it ships says so by itself.
pub(crate) fn fulfillment_order() -> Result<ResourceModel> {
    let shipment = ResourceModel::builder("shipment")
        .on_created(["fulfillment_order.shipped"])
        .on_updated(NONE)
        .on_deleted(NONE);
    ResourceModel::builder("fulfillment_order")
        .state("state")
        .states(["pending", "shipped", "cancelled"])
        .on_state("shipped", NONE)
        .on_updated(NONE)
        .on_deleted(NONE)
        .part("shipments[]", shipment)
        .build()
}

pub(crate) fn fulfillment() -> Result<ResourceModel> {
    ResourceModel::builder("fulfillment").on_updated(NONE).on_deleted(NONE).build()
}

pub(crate) fn fulfillment_cancellation() -> Result<ResourceModel> {
    ResourceModel::builder("fulfillment_cancellation")
        .state("state")
        .states(["pending", "accepted", "rejected"])
        .on_state("pending", ["fulfillment_cancellation.created"])
        .on_updated(NONE)
        .on_deleted(NONE)
        .build()
}

/// What a customer sends back. (`return` is a word of the language.)
pub(crate) fn goods_return() -> Result<ResourceModel> {
    ResourceModel::builder("return")
        .state("state")
        .states(["created", "accepted"])
        .on_deleted(NONE)
        .build()
}

pub(crate) fn fulfillment_return() -> Result<ResourceModel> {
    ResourceModel::builder("fulfillment_return")
        .state("state")
        .states(["created", "pending", "accepted", "rejected"])
        .on_updated(NONE)
        .on_deleted(NONE)
        .build()
}

pub(crate) fn tax_identifier() -> Result<ResourceModel> {
    ResourceModel::builder("tax_identifier")
        .state("state")
        .states(["pending", "verified", "not_valid"])
        .build()
}

/// Most of its states are nobody's business.
pub(crate) fn source() -> Result<ResourceModel> {
    let silent = ["pending_funds", "pending_redirect", "requires_action", "consumed", "cancelled"];
    let builder = ResourceModel::builder("source").state("state").states(["chargeable"]);
    silent
        .into_iter()
        .chain(["failed"])
        .fold(builder, |builder, state| builder.on_state(state, NONE))
        .on_created(["source.created"])
        .on_updated(NONE)
        .on_deleted(NONE)
        .build()
}

/// It has a state, but only the verbs are events.
pub(crate) fn plan() -> Result<ResourceModel> {
    ResourceModel::builder("plan").build()
}

/// All of them.
pub(crate) fn all() -> Result<Vec<ResourceModel>> {
    Ok(vec![
        order()?,
        refund()?,
        invoice()?,
        subscription()?,
        checkout()?,
        fulfillment_order()?,
        fulfillment()?,
        fulfillment_cancellation()?,
        goods_return()?,
        fulfillment_return()?,
        tax_identifier()?,
        source()?,
        plan()?,
    ])
}
