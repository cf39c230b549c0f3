//! Any bytes as a signed checkpoint.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countersign::audit::fuzz::checkpoint(data));
