//! Hands bytes to the entry `signature`.
#![no_main]

#[path = "../../entries/signature.rs"]
#[allow(dead_code)]
mod signature;

libfuzzer_sys::fuzz_target!(|data: &[u8]| signature::standard(data));
