//! `shaders/hr_network.wgsl` against its twin, and with mistakes that must be seen.
#![cfg(feature = "gpu")]

use hsr_gpu::engine::gpu::shaders::Replacement;
use kernels_tests::kernels::{fails, holds};

#[test]
fn hr_network_is_its_twin() {
    holds("hr_network");
}

// A wrong sign and a dropped row of the PSF.
#[test]
fn hr_network_mutations_are_caught() {
    fails(
        "hr_network",
        &[Replacement {
            file: "hr_network.wgsl",
            from: "select(0.0, -sign(residual), in_block)",
            to: "select(0.0, sign(residual), in_block)",
        }],
    );
    fails(
        "hr_network",
        &[Replacement {
            file: "hr_network.wgsl",
            from: "let in_kernel = inside && kernel_row < ",
            to: "let in_kernel = inside && kernel_row + 1u < ",
        }],
    );
}
