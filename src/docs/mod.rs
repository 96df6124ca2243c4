//! Longer texts: why, how changes become events, what must be in an event for a webhook, what becomes of an event, how to publish in a transaction
//! of your own, how to receive, how to serve receivers of older versions, what to set before production,
//! what there is to see, what is promised against whom, what comes after one database, and how to test a host.

#[doc = include_str!("conditions.md")]
pub mod conditions {}

#[doc = include_str!("design.md")]
pub mod design {}

#[doc = include_str!("lifecycle.md")]
pub mod lifecycle {}

#[doc = include_str!("observability.md")]
pub mod observability {}

#[doc = include_str!("outbox.md")]
pub mod outbox {}

#[doc = include_str!("production.md")]
pub mod production {}

#[cfg(feature = "receiver")]
#[doc = include_str!("receiving.md")]
pub mod receiving {}

#[doc = include_str!("resources.md")]
pub mod resources {}

#[doc = include_str!("scale.md")]
pub mod scale {}

#[doc = include_str!("security.md")]
pub mod security {}

#[cfg(feature = "testing")]
#[doc = include_str!("testing.md")]
pub mod testing {}

#[doc = include_str!("versions.md")]
pub mod versions {}
