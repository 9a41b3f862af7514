//! `shaders/guided_update.wgsl` against its twin, and with mistakes that must be seen.

use kernels_tests::kernels::{refinement_fails, refinement_holds};

#[test]
fn guided_update_is_its_twin() {
    refinement_holds("guided_update");
}

// Mistakes in the tile of bands, the part of bands that is there, the neighbourhood and the kernel.
#[test]
fn guided_update_mutations_are_caught() {
    refinement_fails(
        "guided_update",
        "guided_update.wgsl",
        &[
            ("down.below - place.x", "across.below - place.x"),
            ("4.0 * t + 1.0", "4.0 * t"),
            ("u32(left) + k % width;", "u32(left) + k % width + 1u;"),
            ("let quad = first_quad + at % WIDTH;", "let quad = at % WIDTH;"),
            (
                "let band = 4u * (step.quad + first_quad);",
                "let band = 4u * first_quad;",
            ),
        ],
    );
}
