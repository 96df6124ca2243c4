//! Hands bytes to the entry `url`.
#![no_main]

#[path = "../../../address_policy/registries.rs"]
#[allow(dead_code)]
mod registries;
#[path = "../../entries/url.rs"]
mod url;

libfuzzer_sys::fuzz_target!(|data: &[u8]| url::run(data));
