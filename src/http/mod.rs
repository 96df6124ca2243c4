//! The HTTP API: what operators and the host's customers do with webhooks without writing Rust.
//!
//! [`Api`] is an [`axum::Router`] that the host mounts behind its own login, which it is told about by an
//! [`Authorizer`]. Here are the handlers, one file for each resource; `call.rs` has what they have in
//! common.

mod answer;
mod call;
mod deliveries;
mod events;
mod form;
mod openapi;
mod origin;
mod params;
mod problem;
mod problems;
mod replays;
mod router;
mod secrets;
mod sight;
mod webhooks;

pub use self::openapi::openapi;
pub use self::router::Api;
#[cfg(feature = "console")]
pub(crate) use self::{
    answer::{guard, of_kind},
    call::actor,
    router::Shared,
};
pub use crate::ports::authorizer::{Actor, Authorizer, Permission, authorizer_fn};
