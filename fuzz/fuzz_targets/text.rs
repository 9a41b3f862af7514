#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hsr_gpu_fuzz::read("x.csv", data));
