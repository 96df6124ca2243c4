//! Ground: pure. No async, no I/O, no clock, no randomness; time is a parameter.

pub(crate) mod account;
pub(crate) mod error;
pub(crate) mod header;
pub(crate) mod id;
pub mod policy;
pub(crate) mod secret;
pub(crate) mod secrets;
pub(crate) mod signature;
pub mod time;
