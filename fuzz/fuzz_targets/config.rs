#![no_main]

use hsr_gpu::coordination::config::Config;

libfuzzer_sys::fuzz_target!(|data: &str| {
    let _ = Config::load("single-scene", Some(("fuzzed", data)));
    let _ = data.parse::<hsr_gpu::sensor::catalogue::PsfSpec>();
    let _ = data.parse::<hsr_gpu::sensor::catalogue::SrfSpec>();
});
