//! `shaders/degradation_sums.wgsl` against its twin, and with mistakes that must be seen.

use hsr_gpu::engine::gpu::shaders::Replacement;
use kernels_tests::kernels::{fails, holds};

#[test]
fn degradation_sums_is_its_twin() {
    holds("degradation_sums");
}

// A slice of the batch left out, and the spectrum of the wrong window.
#[test]
fn degradation_sums_mutations_are_caught() {
    for (from, to) in [
        (
            "for (var half = SLICES / 2u; half > 0u",
            "for (var half = SLICES / 4u; half > 0u",
        ),
        (
            "batch[step.lr_first + clamped#{U}] * PADDED",
            "clamped#{U} * PADDED",
        ),
    ] {
        let file = "degradation_sums.wgsl";
        fails("degradation_sums", &[Replacement { file, from, to }]);
    }
}
