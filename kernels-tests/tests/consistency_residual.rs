//! `shaders/consistency_residual.wgsl` against its twin, and with mistakes that must be seen.

use kernels_tests::kernels::{refinement_fails, refinement_holds};

#[test]
fn consistency_residual_is_its_twin() {
    refinement_holds("consistency_residual");
}

// Mistakes in where windows begin, the order of the PSF, and the part of rows that is there.
#[test]
fn consistency_residual_mutations_are_caught() {
    refinement_fails(
        "consistency_residual",
        "consistency_residual.wgsl",
        &[
            ("+ START, 0,", ", 0,"),
            ("psf[i * KERNEL + j]", "psf[j * KERNEL + i]"),
            ("let first = (row - step.hr_row)", "let first = row"),
            ("row >= step.hr_row &&", "row > step.hr_row &&"),
        ],
    );
}
