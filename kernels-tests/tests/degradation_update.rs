//! `shaders/degradation_update.wgsl` against its twin, and with mistakes that must be seen.

use hsr_gpu::engine::gpu::shaders::Replacement;
use kernels_tests::kernels::{fails, holds};

#[test]
fn degradation_update_is_its_twin() {
    holds("degradation_update");
}

// A dropped factor and a wrong weight.
#[test]
fn degradation_update_mutations_are_caught() {
    fails(
        "degradation_update",
        &[Replacement {
            file: "degradation_update.wgsl",
            from: "slope * z);",
            to: "slope);",
        }],
    );
    fails(
        "degradation_update",
        &[Replacement {
            file: "degradation_update.wgsl",
            from: "step.alpha_response * sums[THETA + k]",
            to: "step.alpha_blur * sums[THETA + k]",
        }],
    );
}
