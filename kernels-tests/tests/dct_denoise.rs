//! `shaders/dct_denoise.wgsl` against its twin, and with mistakes that must be seen.

use kernels_tests::kernels::{refinement_fails, refinement_holds};

#[test]
fn dct_denoise_is_its_twin() {
    refinement_holds("dct_denoise");
}

// Mistakes in the last row of blocks, their places, the mean, and the order of rows.
#[test]
fn dct_denoise_mutations_are_caught() {
    refinement_fails(
        "dct_denoise",
        "dct_denoise.wgsl",
        &[
            ("i < step.lr_height && ", "i + 1u < step.lr_height && "),
            ("min(block * STRIDE, length - 8u)", "min(block, length - 8u)"),
            ("low.x = 0.0;", "low.x = low.y;"),
            (
                "let row = r - begin(i, step.hr_height);",
                "let row = 7u - (r - begin(i, step.hr_height));",
            ),
        ],
    );
}
