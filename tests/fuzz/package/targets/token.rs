//! Hands bytes to the entry `token`.
#![no_main]

#[path = "../../entries/token.rs"]
mod token;

libfuzzer_sys::fuzz_target!(|data: &[u8]| token::run(data));
