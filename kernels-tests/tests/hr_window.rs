//! `shaders/hr_window.wgsl` against its twin, and with mistakes that must be seen.

use hsr_gpu::engine::gpu::shaders::Replacement;
use kernels_tests::kernels::{fails, holds};

#[test]
fn hr_window_is_its_twin() {
    holds("hr_window");
}

// A derivative mistaken for another, and a wrong sign.
#[test]
fn hr_window_mutations_are_caught() {
    for (from, to) in [
        (
            "windows[record + 5u * BAND_QUADS + quad]",
            "windows[record + 4u * BAND_QUADS + quad]",
        ),
        ("let s = sign(residual);", "let s = -sign(residual);"),
    ] {
        let file = "hr_window.wgsl";
        fails("hr_window", &[Replacement { file, from, to }]);
    }
}
