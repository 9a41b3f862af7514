#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hsr_gpu_fuzz::read("x.jp2", data));
