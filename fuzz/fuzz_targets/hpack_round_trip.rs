#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidegate_testkit::fuzz::hpack_round_trip(input));
