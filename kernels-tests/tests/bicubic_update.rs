//! `shaders/bicubic_update.wgsl` against its twin, and with mistakes that must be seen.

use kernels_tests::kernels::{refinement_fails, refinement_holds};

#[test]
fn bicubic_update_is_its_twin() {
    refinement_holds("bicubic_update");
}

// Mistakes in the taps of either axis, and in the pixel's factor.
#[test]
fn bicubic_update_mutations_are_caught() {
    refinement_fails(
        "bicubic_update",
        "bicubic_update.wgsl",
        &[
            ("column_#{C}.at * BANDS", "#{C}u * BANDS"),
            ("row_taps[rows + #{R}u].weight", "row_taps[rows].weight"),
            ("modulation[pixel]", "modulation[0]"),
        ],
    );
}
