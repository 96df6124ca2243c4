//! A host's own tests: what does a small shop announce, and what becomes of it when receivers fail?
//!
//! The shop knows nothing of the test kit. Its tests, below, give it the handle of a kit, whose
//! receivers do what they are told and whose time moves when the test says so.
//!
//! `cargo test --features testing --example testing` runs the tests, and `cargo run --features testing
//! --example testing` tells the story of a receiver that is down for a morning.

use serde_json::{Value, json};
use tidings::testing::{Answer, Kit, hours};
use tidings::{Change, Result, Tidings};

/// An order of the shop.
#[derive(Debug, Clone, PartialEq)]
struct Order {
    id: String,
    total: f64,
    state: &'static str,
}

impl Order {
    fn new(id: &str, total: f64) -> Self {
        Self { id: id.into(), total, state: "open" }
    }

    /// What customers get to see of it.
    fn shown(&self) -> Value {
        json!({ "id": self.id, "total": self.total, "state": self.state })
    }
}

/// Takes the money. Announces it, unless the order was paid before.
async fn pay(order: &mut Order, tidings: &Tidings) -> Result<()> {
    if order.state == "paid" {
        return Ok(());
    }
    let before = order.shown();
    order.state = "paid";
    let change = Change::updated("order.paid", &before, &order.shown())?;
    tidings.publish(&tidings.event(change)?).await?;
    Ok(())
}

/// Shows what the kit does, as a program.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let kit = Kit::new();
    let shop = kit.receiver("shop").wants(["order.*"]);
    shop.answers(503);
    pay(&mut Order::new("7", 29.90), kit.tidings()).await?;
    kit.advance(hours(2));
    shop.answers(Answer::status(200));
    kit.advance(hours(3));
    for request in shop.requests() {
        let (at, kind) = (request.at(), request.event_type());
        println!("{at}  {kind}  {:?}", request.status());
    }
    kit.expect("order.paid").with(json!({ "id": "7", "state": "paid" })).to(&shop);
    println!("it took until {}, and no time at all", kit.now());
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidings::testing::{days, minutes, seconds};
    use tidings::{DisabledReason, Outcome, Registration, Status, time};

    use super::*;

    /// Pays twice, and looks at what the receiver got: it was told once, with the state before.
    #[tokio::test]
    async fn a_paid_order_is_announced_once() -> Result<()> {
        let kit = Kit::new();
        let shop = kit.receiver("shop").wants(["order.*"]);
        let mut order = Order::new("7", 29.90);
        pay(&mut order, kit.tidings()).await?;
        pay(&mut order, kit.tidings()).await?;

        kit.expect("order.paid")
            .with(json!({ "id": "7", "total": 29.90, "state": "paid" }))
            .previous(json!({ "state": "open" }))
            .to(&shop);
        kit.expect_nothing();
        Ok(())
    }

    /// Pays while only refunds are wanted, and while the one who wants payments is not enabled.
    #[tokio::test]
    async fn who_did_not_ask_is_left_alone() -> Result<()> {
        let kit = Kit::new();
        let (refunds, idle) = (kit.receiver("refunds"), kit.receiver("idle"));
        let refunds = refunds.wants(["order.refunded"]);
        kit.create(Registration::new(idle.address(), ["order.*"])?); // Nobody has enabled it.
        pay(&mut Order::new("7", 29.90), kit.tidings()).await?;

        kit.expect("order.paid").to_nobody();
        assert!(refunds.requests().is_empty() && idle.requests().is_empty());
        Ok(())
    }

    /// Lets the receiver fail twice, in two ways: it gets the order after the schedule's first waits.
    #[tokio::test]
    async fn a_receiver_that_fails_gets_it_again() -> Result<()> {
        let kit = Kit::new();
        let shop = kit.receiver("shop").wants(["order.*"]);
        shop.then(500).then(Answer::drops());
        pay(&mut Order::new("7", 29.90), kit.tidings()).await?;

        kit.advance(seconds(5));
        kit.expect("order.paid").times(0).to(&shop);
        kit.advance(minutes(5));
        kit.expect("order.paid").with(json!({ "id": "7" })).to(&shop);

        let waits = [seconds(0), seconds(5), seconds(5) + minutes(5)];
        let times = waits.map(|wait| time::after(Kit::START, wait));
        assert_eq!(shop.attempts().iter().map(|it| it.started).collect::<Vec<_>>(), times);
        Ok(())
    }

    /// Sells something every hour to a receiver that is down for a week: it is disabled, and gets what
    /// waits when somebody enables it.
    #[tokio::test]
    async fn a_receiver_that_is_down_for_days_is_disabled() -> Result<()> {
        let kit = Kit::new();
        let shop = kit.receiver("shop").wants(["order.*"]);
        shop.answers(Answer::refuses());
        for number in 0..7 * 24 {
            pay(&mut Order::new(&number.to_string(), 1.0), kit.tidings()).await?;
            kit.advance(hours(1));
        }
        assert_eq!(shop.webhook().status(), Status::Disabled(DisabledReason::Failing));
        let refused = |outcome: &Outcome| matches!(outcome, Outcome::Unanswered(_));
        assert!(shop.attempts().iter().all(|attempt| refused(&attempt.outcome)));

        let waiting = kit.waiting();
        assert!(waiting > 24);
        shop.answers(200);
        kit.tidings().enable(shop.id()).await?;
        kit.advance(days(1));
        kit.expect("order.paid").times(waiting).to(&shop);
        Ok(())
    }
}
