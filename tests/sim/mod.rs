//! The simulation: the real engine over a virtual clock, with faults, and a model that knows what
//! must be true.
//!
//! One seed is one world: its policy, its faults, its receivers, what the host does in thirty days.
//! Two dispatchers run the production code. Time is tokio's paused clock, which jumps to the next
//! timer when nothing else is to be done.

#![allow(unreachable_pub, reason = "a test is a crate of its own, into which nobody reaches")]

pub mod end;
pub mod faults;
pub mod host;
pub mod life;
pub mod model;
pub mod order;
pub mod receiver;
pub mod rng;
pub mod rules;
pub mod store;
pub mod world;
