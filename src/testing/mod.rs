//! A test kit for hosts: what does my code announce, and what becomes of it?
//!
//! A [`Kit`] is a [`Tidings`](crate::Tidings) of its own, over a storage in memory, with receivers that
//! do what a test tells them, and with a clock that moves only when the test says so. Three days pass in
//! milliseconds; nothing is dialled, nothing sleeps.
//!
//! ```
//! use serde_json::json;
//! use tidings::testing::{Kit, hours};
//! use tidings::{Change, Result, Tidings};
//!
//! // The code under test.
//! async fn pay(order: &str, tidings: &Tidings) -> Result<()> {
//!     let before = json!({ "id": order, "state": "open" });
//!     let after = json!({ "id": order, "state": "paid" });
//!     let event = tidings.event(Change::updated("order.paid", &before, &after)?)?;
//!     tidings.publish(&event).await?;
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let kit = Kit::new();
//! let shop = kit.webhook(["order.*"]);
//! shop.answers(503); // It is down,
//!
//! pay("7", kit.tidings()).await?;
//! kit.advance(hours(2));
//! kit.expect("order.paid").times(0).to(&shop);
//!
//! shop.answers(200); // and up again.
//! kit.advance(hours(3));
//! kit.expect("order.paid")
//!     .with(json!({ "id": "7", "state": "paid" }))
//!     .previous(json!({ "state": "open" }))
//!     .to(&shop);
//! # Ok(())
//! # }
//! ```
//!
//! [`docs::testing`](crate::docs::testing) has more, and the example `testing` is a host with its tests.
//!
//! The feature is for tests: name the crate under `dev-dependencies` with it. It switches on tokio's
//! `test-util`.

// A test library: an expectation that is not met is a panic.
#![allow(clippy::expect_used, clippy::panic)]

mod answer;
mod clock;
mod expect;
mod json;
mod kit;
mod leases;
mod pages;
mod receiver;
mod receivers;
mod request;
mod runner;

use std::time::Duration;

pub use answer::Answer;
pub use expect::Expectation;
pub use kit::{Kit, KitBuilder};
pub use receiver::Receiver;
pub use request::Request;

/// So many seconds.
pub const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// So many minutes.
pub const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

/// So many hours.
pub const fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3_600)
}

/// So many days of 24 hours.
pub const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}
