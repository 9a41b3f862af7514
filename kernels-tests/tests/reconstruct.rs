//! `shaders/reconstruct.wgsl` against its twin, and with mistakes that must be seen.

use hsr_gpu::engine::gpu::shaders::Replacement;
use kernels_tests::kernels::{fails, holds};

#[test]
fn reconstruct_is_its_twin() {
    holds("reconstruct");
}

// A member that is left out and a tile's first pixel that is forgotten.
#[test]
fn reconstruct_mutations_are_caught() {
    fails(
        "reconstruct",
        &[Replacement {
            file: "reconstruct.wgsl",
            from: "step.first_member + e;",
            to: "step.first_member;",
        }],
    );
    fails(
        "reconstruct",
        &[Replacement {
            file: "reconstruct.wgsl",
            from: "step.first_pixel + n,",
            to: "n,",
        }],
    );
}
