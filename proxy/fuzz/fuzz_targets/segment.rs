//! Any bytes as a segment of the spool.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countersign::audit::fuzz::segment(data));
