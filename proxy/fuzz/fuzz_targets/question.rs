//! Any bytes as the body of a question.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countersign::wire::fuzz::question(data));
