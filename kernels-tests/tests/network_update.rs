//! `shaders/network_update.wgsl` against its twin, and with mistakes that must be seen.

use hsr_gpu::engine::gpu::shaders::Replacement;
use kernels_tests::kernels::{fails, holds};

#[test]
fn network_update_is_its_twin() {
    holds("network_update");
}

// A changed decay and a wrong input.
#[test]
fn network_update_mutations_are_caught() {
    fails(
        "network_update",
        &[Replacement {
            file: "shared/adam.wgsl",
            from: "0.999 * v0",
            to: "0.99 * v0",
        }],
    );
    fails(
        "network_update",
        &[Replacement {
            file: "network_update.wgsl",
            from: "g#{C} += a#{U}[#{C}] * d#{U};",
            to: "g#{C} += a#{U}[#{3 - C}] * d#{U};",
        }],
    );
}
