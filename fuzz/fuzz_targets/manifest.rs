#![no_main]

use std::path::Path;

use hsr_gpu_fuzz::file;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let path = file("scenes.txt", data);
    let _ = hsr_gpu::coordination::manifest::read(Path::new(&path));
    let _ = hsr_gpu::experiment::manifest::read(Path::new(&path));
});
