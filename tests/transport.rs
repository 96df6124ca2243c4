//! The hyper transport against real sockets on loopback.
#![cfg(feature = "hyper")]

#[path = "transport/addresses.rs"]
mod addresses;
#[path = "transport/answers.rs"]
mod answers;
#[path = "support/authority.rs"]
mod authority;
#[path = "transport/caps.rs"]
mod caps;
#[path = "transport/connections.rs"]
mod connections;
#[path = "address_policy/lists.rs"]
#[allow(dead_code)]
mod lists;
#[path = "transport/mutual.rs"]
mod mutual;
#[path = "transport/receiver.rs"]
mod receiver;
#[path = "transport/secure.rs"]
mod secure;
#[path = "support/trace.rs"]
mod trace;
