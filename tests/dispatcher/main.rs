//! What the dispatcher and the handle promise, each promise a test: over the storage in memory, in
//! virtual time, with receivers and faults made of closures.
#![cfg(feature = "engine")]
// A test has no outside.
#![allow(unreachable_pub)]

mod faulty;
mod kit;

mod backlog;
mod cancel;
mod comeback;
mod condition;
mod delivery;
mod faults;
mod handle;
mod health;
mod limits;
mod oauth;
mod reports;
mod retention;
mod shutdown;
#[path = "../support/trace.rs"]
mod trace;
mod traceparent;
mod wire;
