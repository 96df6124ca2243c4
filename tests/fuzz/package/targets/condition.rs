//! Hands bytes to the entry `condition`.
#![no_main]

#[path = "../../entries/condition.rs"]
mod condition;

libfuzzer_sys::fuzz_target!(|data: &[u8]| condition::run(data));
