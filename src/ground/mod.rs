//! Ground: pure. No async, no I/O, no clock, no randomness; time is a parameter.

pub(crate) mod account;
pub(crate) mod address;
pub(crate) mod address_rule;
pub(crate) mod advance;
pub(crate) mod authentication;

pub(crate) mod catalogue;
pub(crate) mod change;
pub(crate) mod condition;
pub(crate) mod delivery;
pub mod diff;
pub(crate) mod digest;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod event_type;
pub(crate) mod failure;
pub(crate) mod filter;
pub(crate) mod header;
pub(crate) mod id;
pub(crate) mod identity;
#[cfg(feature = "hyper")]
pub(crate) mod identity_check;
mod identity_pem;
mod json;
pub(crate) mod lane;
pub(crate) mod model;
pub(crate) mod network;
pub(crate) mod oauth;
pub(crate) mod order;
pub(crate) mod page;
pub(crate) mod plain;
pub mod policy;
#[cfg(feature = "ed25519")]
pub(crate) mod public_key;
#[cfg(feature = "engine")]
pub(crate) mod publish;
pub(crate) mod query;
pub(crate) mod rate_limit;
pub(crate) mod replay;
pub(crate) mod replay_request;
#[cfg(feature = "engine")]
pub(crate) mod report;
pub mod resource;
pub(crate) mod retry_after;
mod same;
pub(crate) mod secret;
pub(crate) mod secrets;
pub(crate) mod signature;
pub mod statistics;
pub mod time;
pub(crate) mod trace;
pub(crate) mod vault;
#[cfg(feature = "sealing")]
pub(crate) mod vault_key;
pub(crate) mod versions;
pub(crate) mod view;
pub(crate) mod webhook;
mod webhook_record;
