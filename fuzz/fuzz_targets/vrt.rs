#![no_main]

use hsr_gpu_fuzz::{file, read};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    file("a.tif", include_bytes!("../../tests/fixtures/gdal_strips_lzw.tif"));
    read("x.vrt", data);
});
