#![no_main]

use hsr_gpu_fuzz::file;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let path = file("x.safetensors", data);
    let _ = hsr_gpu::coordination::checkpoint::load(std::path::Path::new(&path));
    let _ = hsr_gpu::coordination::checkpoint::load_run::<hsr_gpu::coordination::keeper::Identity>(
        std::path::Path::new(&path),
    );
});
