//! Ground: pure. No async, no I/O, no clock, no randomness; time is a parameter.

pub(crate) mod account;
pub(crate) mod address;
pub(crate) mod error;
pub(crate) mod failure;
pub(crate) mod id;
pub(crate) mod network;
pub mod policy;
pub mod time;
