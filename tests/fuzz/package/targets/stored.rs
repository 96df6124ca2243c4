//! Hands bytes to the entry `stored`.
#![no_main]

#[path = "../../entries/stored.rs"]
mod stored;

libfuzzer_sys::fuzz_target!(|data: &[u8]| stored::run(data));
