//! Publishing in a host's transaction, with the drivers that the crate has itself.
#![cfg(all(feature = "postgres", feature = "outbox-rusqlite"))]

#[path = "support/databases.rs"]
mod databases;
#[path = "support/transactions.rs"]
mod transactions;

#[path = "outbox/delivery.rs"]
mod delivery;
#[path = "outbox/held.rs"]
mod held;
#[path = "outbox/postgres.rs"]
mod postgres;
#[path = "outbox/sqlite.rs"]
mod sqlite;
