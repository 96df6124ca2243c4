//! Ports: the traits that a host may implement.

pub(crate) mod transport;
