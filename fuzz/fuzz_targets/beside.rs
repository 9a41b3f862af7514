#![no_main]

use hsr_gpu_fuzz::{file, read};

// What GDAL keeps beside a TIFF: its XML up to the first zero, its mask behind it.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    file("x.tif.aux.xml", &data[..end]);
    file("x.tif.msk", data.get(end + 1..).unwrap_or_default());
    read("x.tif", include_bytes!("../../tests/fixtures/mask_beside.tif"));
});
