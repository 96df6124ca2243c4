//! Hands bytes to the entry `event`.
#![no_main]

#[path = "../../entries/event.rs"]
mod event;

libfuzzer_sys::fuzz_target!(|data: &[u8]| event::run(data));
