//! The GPU engine against the golden tensors.

use kernels_tests::golden::{Golden, Limits, files};
use kernels_tests::gpu::engine;

// The limits for single precision; what is seen is about as far from them as the CPU engine in f32.
#[test]
fn golden_gpu_f32() {
    let engine = engine();
    for path in files() {
        let golden = Golden::read(&path);
        let (forward, gradient) = golden.check::<f32>(
            &engine,
            Limits {
                forward: 1e-9,
                gradient: 1e-7,
            },
        );
        println!(
            "{}: worst NMSE forward {forward:.1e}, gradient {gradient:.1e}",
            golden.name
        );
    }
}
