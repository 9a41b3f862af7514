//! `shaders/lr_network.wgsl` against its twin, and with mistakes that must be seen.
#![cfg(feature = "gpu")]

use hsr_gpu::engine::gpu::shaders::Replacement;
use kernels_tests::kernels::{fails, holds};

#[test]
fn lr_network_is_its_twin() {
    holds("lr_network");
}

// A dropped epsilon and a changed constant of Philox.
#[test]
fn lr_network_mutations_are_caught() {
    fails(
        "lr_network",
        &[Replacement {
            file: "lr_network.wgsl",
            from: "gradient * e * slope_at",
            to: "gradient * slope_at",
        }],
    );
    fails(
        "lr_network",
        &[Replacement {
            file: "shared/philox.wgsl",
            from: "0xBB67AE85u",
            to: "0xBB67AE84u",
        }],
    );
}
