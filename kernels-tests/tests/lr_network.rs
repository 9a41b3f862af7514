//! `shaders/lr_network.wgsl` against its twin, and with mistakes that must be seen.

use hsr_gpu::engine::gpu::shaders::Replacement;
use kernels_tests::kernels::{fails, holds};

#[test]
fn lr_network_is_its_twin() {
    holds("lr_network");
}

// A dropped epsilon, a changed constant of Philox, and two inputs' weights mistaken on the way back.
#[test]
fn lr_network_mutations_are_caught() {
    fails(
        "lr_network",
        &[Replacement {
            file: "shared/lr_pass.wgsl",
            from: "gradient * e_quad * slope_at",
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
    fails(
        "lr_network",
        &[Replacement {
            file: "shared/lr_pass.wgsl",
            from: "vec4<f32>(dot(w0, d#{P}), dot(w1, d#{P})",
            to: "vec4<f32>(dot(w1, d#{P}), dot(w0, d#{P})",
        }],
    );
}
