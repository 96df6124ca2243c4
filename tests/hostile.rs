//! Receivers that mean harm, over real sockets and TLS: each kind alone, all of them beside good
//! ones, and a thousand webhooks that point at one victim.
#![cfg(feature = "hyper")]

#[path = "hostile/alone.rs"]
mod alone;
#[allow(dead_code)] // Other tests need the rest of it.
#[path = "support/authority.rs"]
mod authority;
#[path = "hostile/behaviour.rs"]
mod behaviour;
#[path = "hostile/crowd.rs"]
mod crowd;
#[allow(dead_code)] // Other tests need the rest of it.
#[path = "transport/receiver.rs"]
mod receiver;
#[path = "hostile/secure.rs"]
mod secure;
#[path = "hostile/together.rs"]
mod together;
#[path = "support/trace.rs"]
mod trace;
#[path = "hostile/victim.rs"]
mod victim;
