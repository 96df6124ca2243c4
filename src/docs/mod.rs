//! Longer texts. Guides: how to begin, how to publish in a transaction of your own, how to receive, how to
//! bring a storage or a transport of your own, how to move from another sender, how to deliver past events again, how to
//! manage webhooks over HTTP, what to set before
//! production, what there is to see, and what to do when something is wrong. And what stands behind them: how changes become
//! events, what must be in an event for a webhook, what becomes of an event, how to serve receivers of older
//! versions, what is promised against whom, what comes after one database, how to test a host, and why all
//! of it is as it is.

#[cfg(feature = "api")]
#[doc = include_str!("api.md")]
pub mod api {}

#[doc = include_str!("conditions.md")]
pub mod conditions {}

#[doc = include_str!("design.md")]
pub mod design {}

#[doc = include_str!("getting-started.md")]
pub mod getting_started {}

#[doc = include_str!("lifecycle.md")]
pub mod lifecycle {}

#[doc = include_str!("moving.md")]
pub mod moving {}

#[doc = include_str!("operations.md")]
pub mod operations {}

#[doc = include_str!("observability.md")]
pub mod observability {}

#[doc = include_str!("outbox.md")]
pub mod outbox {}

#[doc = include_str!("own-storage.md")]
pub mod own_storage {}

#[doc = include_str!("own-transport.md")]
pub mod own_transport {}

#[doc = include_str!("production.md")]
pub mod production {}

#[cfg(feature = "receiver")]
#[doc = include_str!("receiving.md")]
pub mod receiving {}

#[doc = include_str!("replay.md")]
pub mod replay {}

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
