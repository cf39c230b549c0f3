//! Any bytes as a record that is read back.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countersign::audit::fuzz::record(data));
