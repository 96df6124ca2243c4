//! The simulation: the real engine over a virtual clock, with faults, and a model that knows what
//! must be true.
//!
//! One seed is one world: its policy, its faults, its receivers, what the host does in thirty days.
//! Two dispatchers run the production code. Time is tokio's paused clock, which jumps to the next
//! timer when nothing else is to be done.

pub mod faults;
pub mod host;
pub mod model;
pub mod receiver;
pub mod rng;
pub mod store;
pub mod world;
