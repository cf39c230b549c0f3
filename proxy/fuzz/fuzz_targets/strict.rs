//! Any bytes to the strict reader of JSON, beside serde_json.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countersign::wire::fuzz::strict(data));
