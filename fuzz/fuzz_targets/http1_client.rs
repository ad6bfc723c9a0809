#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidegate_testkit::fuzz::http1_client(input));
