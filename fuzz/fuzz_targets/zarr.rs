#![no_main]

use hsr_gpu_fuzz::file;

// A store of one array: its JSON up to the first zero (of version 3 where it says so), its first chunk behind it.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    let (json, chunk) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let newer = json.windows(10).any(|word| word == b"node_type\"");
    let (store, mark, key) = if newer {
        ("v3.zarr/x", "zarr.json", "c/0/0/0")
    } else {
        ("v2.zarr/x", ".zarray", "0.0.0")
    };
    file(&format!("{store}/{mark}"), json);
    file(&format!("{store}/{key}"), chunk);
    let path = file(&format!("{store}/.zattrs"), b"{\"_ARRAY_DIMENSIONS\": [\"y\", \"x\", \"band\"]}");
    let store = path.trim_end_matches("/.zattrs");
    let _ = hsr_gpu::io::read_cube(store);
    let _ = hsr_gpu::io::read_matrix(store);
});
