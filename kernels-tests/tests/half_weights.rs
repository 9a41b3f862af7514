//! The HR pass and reconstruction in 16 bits: `shaders/half_weights.wgsl` and `shaders/shared/half_network.wgsl` against
//! their twins, and with mistakes that must be seen.
//!
//! The same text with plain loops in place of cooperative matrices: places, padding and rounding are what both share.

use hsr_gpu::engine::Precision;
use hsr_gpu::engine::gpu::compare::cases::cases;
use hsr_gpu::engine::gpu::compare::{compare_reconstruct, compare_step};
use hsr_gpu::engine::gpu::shaders::Replacement;
use hsr_gpu::engine::gpu::{GpuEngine, Options};
use kernels_tests::gpu::with;
use kernels_tests::kernels::{fails_on, holds_on};

fn half(replacements: Vec<Replacement>) -> GpuEngine {
    with(Options {
        checked: true,
        replacements,
        precision: Precision::F16,
        ..Options::default()
    })
}

#[test]
fn half_precision_is_its_twin() {
    let (engine, cases) = (half(Vec::new()), cases());
    holds_on(&engine, &["reconstruct"], &cases);
    let with_theta: Vec<_> = cases.into_iter().filter(|c| !c.frozen).collect();
    let kernels = [
        "half_weights",
        "hr_network",
        "degradation_sums",
        "degradation_update",
    ];
    holds_on(&engine, &kernels, &with_theta);
}

// Weights of the wrong member, a layer without its bias, and one decoder's products in the place of the other's.
#[test]
fn mutations_are_caught() {
    for (kernel, file, from, to) in [
        ("half_weights", "half_weights.wgsl", "step.member *", "0u *"),
        (
            "hr_network",
            "shared/half_network.wgsl",
            "+ APPENDED[L]}u] = 1.0h",
            "+ APPENDED[L]}u] = 0.0h",
        ),
        (
            "reconstruct",
            "shared/half_network.wgsl",
            "(to * #{WG}u + lane)",
            "(lane)",
        ),
    ] {
        fails_on(&half(vec![Replacement { file, from, to }]), kernel);
    }
}

// A kernel that went on computing in f32 would hold as well as one in f16: within its twin's tolerance. It would not differ
// from the twin in f32 as 11 bits of every factor do.
#[test]
fn sixteen_bits_are_sixteen_bits() {
    let all = cases();
    let case = all.iter().find(|c| c.name == "cave").unwrap();
    let (single, half) = (kernels_tests::gpu::engine(), half(Vec::new()));
    let image = |engine: &GpuEngine| {
        let rows = compare_reconstruct(engine, case).unwrap();
        rows.into_iter().find(|r| r.tensor == "mean").unwrap().nmse
    };
    println!("mean: f32 {:.1e}, f16 {:.1e}", image(&single), image(&half));
    let forced = with(Options {
        checked: true,
        precision: Precision::F16,
        target: Some(single.target()),
        ..Options::default()
    });
    let rows = compare_step(&forced, case).unwrap();
    let blurred = rows
        .iter()
        .find(|r| r.kernel == "hr_network" && r.tensor == "(Z*C)")
        .unwrap();
    assert!(blurred.nmse > 1e-9, "f32 passes for f16: {:.1e}", blurred.nmse);
}
