//! `shaders/psf_blur.wgsl` against its twin, and with mistakes that must be seen.

use hsr_gpu::engine::gpu::shaders::Replacement;
use kernels_tests::kernels::{fails, holds};

#[test]
fn psf_blur_is_its_twin() {
    holds("psf_blur");
}

// A wrong sign and a wrong derivative.
#[test]
fn psf_blur_mutations_are_caught() {
    fails(
        "psf_blur",
        &[Replacement {
            file: "psf_blur.wgsl",
            from: "let residual = others.z - blur.x;",
            to: "let residual = blur.x - others.z;",
        }],
    );
    fails(
        "psf_blur",
        &[Replacement {
            file: "psf_blur.wgsl",
            from: "bank[2u * AREA + at], bank[3u * AREA + at]",
            to: "bank[2u * AREA + at], bank[2u * AREA + at]",
        }],
    );
}
