//! Ports: the traits that a host may implement.

#[cfg(feature = "api")]
pub(crate) mod authorizer;
pub(crate) mod clock;
pub(crate) mod entropy;
pub(crate) mod hooks;
pub(crate) mod kept;
#[cfg(feature = "sealing")]
pub(crate) mod keys;
pub(crate) mod observer;
pub(crate) mod replay;
mod rules;
pub(crate) mod sql;
pub(crate) mod statistics;
pub(crate) mod storage;
pub(crate) mod transport;
