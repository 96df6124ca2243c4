//! PostgreSQL: the conformance suite, and what only it has, over throwaway servers.
#![cfg(all(feature = "postgres", feature = "conformance"))]

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
