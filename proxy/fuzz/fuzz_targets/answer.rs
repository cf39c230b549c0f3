//! Any bytes as the body of an authorizer's answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countersign::wire::fuzz::answer(data));
