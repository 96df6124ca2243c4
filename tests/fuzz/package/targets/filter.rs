//! Hands bytes to the entry `filter`.
#![no_main]

#[path = "../../entries/filter.rs"]
mod filter;

libfuzzer_sys::fuzz_target!(|data: &[u8]| filter::run(data));
