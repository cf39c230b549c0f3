//! Any bytes as the file that says how far Kafka has the spool.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countersign::audit::fuzz::cursor(data));
