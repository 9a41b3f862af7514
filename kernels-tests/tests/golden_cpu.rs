//! The CPU engine against the golden tensors, in `f64` and in `f32`.

use hsr_gpu::engine::cpu::CpuEngine;
use kernels_tests::golden::{Golden, Limits, files};

// 1e-10 relative is 1e-20 of energy: two float64 implementations differ by the order of their sums alone.
#[test]
fn golden_cpu_f64() {
    for path in files() {
        let golden = Golden::read(&path);
        let (forward, gradient) = golden.check::<f64>(
            &CpuEngine,
            Limits {
                forward: 1e-20,
                gradient: 1e-20,
            },
        );
        println!(
            "{}: worst NMSE forward {forward:.1e}, gradient {gradient:.1e}",
            golden.name
        );
    }
}

// The limits for single precision: rounding leaves about 1e-13, Adam's normalisation lifts a gradient
// near zero to a full step and takes parameters to about 1e-10.
#[test]
fn golden_cpu_f32() {
    for path in files() {
        let golden = Golden::read(&path);
        let (forward, gradient) = golden.check::<f32>(
            &CpuEngine,
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
