#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| segd_tests::fuzz::run("loader", bytes));
