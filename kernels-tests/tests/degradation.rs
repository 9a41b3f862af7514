//! `shaders/degradation.wgsl` against its twin, and with mistakes that must be seen.

use hsr_gpu::engine::gpu::shaders::Replacement;
use kernels_tests::kernels::{fails, holds};

#[test]
fn degradation_is_its_twin() {
    holds("degradation");
}

// A dropped term of the normalisation and a shifted band index.
#[test]
fn degradation_mutations_are_caught() {
    fails(
        "degradation",
        &[Replacement {
            file: "degradation.wgsl",
            from: "c * (g.last - last_mean)",
            to: "c * g.last",
        }],
    );
    fails(
        "degradation",
        &[Replacement {
            file: "degradation.wgsl",
            from: "z = (f32(band) - theta",
            to: "z = (f32(band) + 0.01 - theta",
        }],
    );
}
