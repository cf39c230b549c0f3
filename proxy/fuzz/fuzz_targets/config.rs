//! Any bytes as the text of a configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countersign::config::fuzz::config(data));
