//! Ground: pure. No async, no I/O, no clock, no randomness; time is a parameter.

pub(crate) mod account;
pub(crate) mod change;
pub mod diff;
pub(crate) mod digest;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod event_type;
pub(crate) mod filter;
pub(crate) mod id;
mod json;
pub mod policy;
pub mod time;
