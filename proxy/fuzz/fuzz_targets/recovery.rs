//! A script of frames and of damage to them, and what recovery finds.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countersign::audit::fuzz::recovery(data));
