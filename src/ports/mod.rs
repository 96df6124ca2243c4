//! Ports: the traits that a host may implement.

pub(crate) mod clock;
pub(crate) mod entropy;
pub(crate) mod observer;
pub(crate) mod storage;
pub(crate) mod transport;
