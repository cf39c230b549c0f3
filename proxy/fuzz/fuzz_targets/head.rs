//! Any bytes as the head of an authorizer's answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countersign::authorizer::fuzz::head(data));
