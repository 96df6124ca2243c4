//! Hands bytes to the entry `retry_after`.
#![no_main]

#[path = "../../entries/retry_after.rs"]
mod retry_after;

libfuzzer_sys::fuzz_target!(|data: &[u8]| retry_after::run(data));
