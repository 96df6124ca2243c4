//! Adapters: the implementations of the ports that come with the crate.

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "hyper")]
pub(crate) mod hyper;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod listing;
pub(crate) mod memory;
pub(crate) mod outbox;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod passed;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod schema_name;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
#[cfg(any(feature = "hyper", feature = "postgres"))]
mod tls;
