//! PostgreSQL: the conformance suite, and what only it has, over throwaway servers.
#![cfg(all(feature = "postgres", feature = "conformance"))]

#[path = "../support/authority.rs"]
#[allow(dead_code)] // Other tests need the rest of it.
mod authority;
#[path = "../support/cluster.rs"]
mod cluster;
mod conformance;
mod faults;
mod kit;
mod late;
mod migrate;
mod nodes;
mod setup;
mod stall;
mod statements;
