#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| segd::api::fuzz::run(bytes));
