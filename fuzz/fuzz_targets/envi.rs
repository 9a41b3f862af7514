#![no_main]

use hsr_gpu_fuzz::{file, read};

// The header up to the first zero, the samples behind it.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    file("x.img", data.get(end + 1..).unwrap_or_default());
    read("x.hdr", &data[..end]);
});
