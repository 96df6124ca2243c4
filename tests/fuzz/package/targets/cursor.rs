//! Hands bytes to the entry `cursor`.
#![no_main]

#[path = "../../entries/cursor.rs"]
mod cursor;

libfuzzer_sys::fuzz_target!(|data: &[u8]| cursor::run(data));
