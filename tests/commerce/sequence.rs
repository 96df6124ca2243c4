//! The shop's day, as it must come out.

use serde_json::Value;

use crate::day;

/// Each event: its step, its type, the id of what its object is, and its previous attributes.
const DAY: &str = r#"
An order is placed.
    order.pending_payment             247468780336   -
The card is being authorized.
    order.charge.pending              c1             -
It is authorized, and somebody has a look at the order.
    order.charge.capturable           c1             {"state":"pending"}
    order.review_opened               247468780336   {"payment":{"charges":[{"amount":59.8,"captures":[],"id":"c1","refunds":[],"state":"pending"}]},"state":"pending_payment","updatedTime":"2026-03-02T09:00:02Z","fraudState":null}
The order is found to be honest.
    order.review_closed               247468780336   {"fraudState":"review_opened","state":"in_review"}
    order.accepted                    247468780336   {"fraudState":"review_opened","state":"in_review"}
The warehouse is asked for the goods.
    fulfillment_order.pending         f1             -
The money is asked for.
    order.charge.capture.pending      c1             {"captures":[]}
The money comes.
    order.charge.capture.complete     c1             {"captures":[{"amount":59.8,"id":"p1","state":"pending"}],"state":"capturable"}
    order.charge.complete             c1             {"captures":[{"amount":59.8,"id":"p1","state":"pending"}],"state":"capturable"}
The parcel leaves.
    fulfillment_order.shipped         ship1          -
    fulfillment.created               ful1           -
    order.fulfilled                   247468780336   {"state":"accepted"}
Everything is done.
    order.complete                    247468780336   {"state":"fulfilled"}
The customer sends it back.
    return.created                    ret1           -
    return.accepted                   ret1           {"state":"created"}
The money is to go back.
    refund.pending                    re1            -
    order.charge.refund.pending       c1             {"refunds":[]}
It has gone back.
    refund.complete                   re1            {"state":"pending"}
    order.charge.refund.complete      c1             {"refunds":[{"id":"re1","state":"pending"}]}
    order.refunded                    247468780336   {"payment":{"charges":[{"amount":59.8,"captures":[{"amount":59.8,"id":"p1","state":"complete"}],"id":"c1","refunds":[{"id":"re1","state":"pending"}],"state":"complete"}]},"state":"complete"}
Somebody subscribes.
    subscription.created              s1             -
    checkout.created                  co1            -
The checkout gets a source, and the subscription begins.
    checkout.updated                  co1            {"sourceId":null}
    subscription.updated              s1             {"currentPeriodEndDate":null,"state":"draft"}
The next period comes near.
    invoice.created                   i1             -
    subscription.reminder             s1+i1          -
The period has ended: the invoice is to be paid.
    invoice.open                      i1             {"state":"draft"}
    invoice.updated                   i1             {"state":"draft"}
It is paid, and the subscription goes on.
    invoice.paid                      i1             {"state":"open"}
    invoice.updated                   i1             {"state":"open"}
    subscription.extended             s1+i1          {"subscription":{"currentPeriodEndDate":"2026-04-02","state":"activePendingInvoice"},"invoice":{"state":"open"}}
A month later the card is refused.
    invoice.created                   i2             -
    invoice.open                      i2             -
    subscription.payment_failed       s1+i2          -
Nobody pays.
    invoice.uncollectible             i2             {"state":"open"}
    invoice.updated                   i2             {"state":"open"}
    subscription.lapsed               s1             {"state":"activePendingInvoice"}
The subscription is cleared away.
    subscription.deleted              {}             {"currentPeriodEndDate":"2026-05-02","id":"s1","planId":"monthly","state":"lapsed"}
"#;

/// Plays the day from the changes of resources alone, and compares every event with the table.
#[test]
fn a_shops_day_is_told_in_its_order() {
    let mut told = String::from("\n");
    for step in day::play().unwrap() {
        told.push_str(&format!("{}\n", step.title));
        for change in step.changes {
            let object: Value = serde_json::from_str(change.object().get()).unwrap();
            let previous = change.previous().map_or("-", |previous| previous.get());
            let line = format!("    {:33} {:14} {previous}\n", change.event_type(), named(&object));
            told.push_str(&line);
        }
    }
    assert_eq!(told, DAY);
}

/// The ids of what an object is, or is made of.
fn named(object: &Value) -> String {
    let id = |value: &Value| value["id"].as_str().map(str::to_owned);
    let both = || Some(format!("{}+{}", id(&object["subscription"])?, id(&object["invoice"])?));
    id(object).or_else(both).unwrap_or_else(|| object.to_string())
}
