//! Hands bytes to the entry `public_key`.
#![no_main]

#[path = "../../entries/public_key.rs"]
mod public_key;

libfuzzer_sys::fuzz_target!(|data: &[u8]| public_key::run(data));
