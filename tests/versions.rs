//! Webhooks that are pinned to older versions of a host's API: what each gets, over all attempts,
//! releases of the host, and ways to publish.
#![cfg(all(feature = "postgres", feature = "outbox-rusqlite"))]

#[path = "versions/additive.rs"]
mod additive;
#[path = "support/databases.rs"]
mod databases;
#[path = "versions/kit.rs"]
mod kit;
#[path = "versions/migration.rs"]
mod migration;
#[path = "versions/pins.rs"]
mod pins;
#[path = "support/place.rs"]
mod place;
#[path = "versions/render.rs"]
mod render;
#[path = "versions/sent.rs"]
mod sent;
