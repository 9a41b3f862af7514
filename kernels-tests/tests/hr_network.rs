//! `shaders/hr_network.wgsl` against its twin, and with mistakes that must be seen.

use hsr_gpu::engine::gpu::Options;
use hsr_gpu::engine::gpu::compare::cases::{Case, cases};
use hsr_gpu::engine::gpu::defines::ShaderTarget;
use hsr_gpu::engine::gpu::shaders::Replacement;
use kernels_tests::gpu::{engine, with};
use kernels_tests::kernels::{fails, holds, holds_on};

#[test]
fn hr_network_is_its_twin() {
    holds("hr_network");
}

// Bands that do not fit workgroup memory at once are drawn twice; with as little memory as WebGPU promises most do not.
#[test]
fn tiles_drawn_twice_are_the_twin_too() {
    let engine = with(Options {
        checked: true,
        target: Some(ShaderTarget {
            workgroup_memory: 8_192,
            ..engine().target()
        }),
        ..Options::default()
    });
    let wide: Vec<_> = cases()
        .into_iter()
        .filter(|c| c.architecture.bands > 100)
        .collect();
    holds_on(&engine, &["hr_network"], &wide);
}

// A software adapter gives an invocation one pixel and unrolls nothing; cards are given texts of one, two and four pixels.
// Windows with an odd number of pixels are among the cases.
#[test]
fn the_texts_for_cards_are_the_twin_too() {
    for (pixels, wide) in [(1, false), (2, true), (4, false)] {
        let there = engine().target();
        let engine = with(Options {
            checked: true,
            target: Some(ShaderTarget {
                pixels,
                rolled: true,
                wide: wide && there.wide,
                inputs: 4 / pixels,
                software: false,
                workgroup_memory: 32_768,
                ..there
            }),
            ..Options::default()
        });
        // The other kernels of a step are compiled as for a card too, and so unrolled: small networks will do.
        let few = |c: &Case| c.architecture.bands < 20 && c.architecture.encoder.len() <= 2;
        let some: Vec<_> = cases().into_iter().filter(few).collect();
        holds_on(&engine, &["hr_network", "hr_window"], &some);
        holds_on(&engine, &["reconstruct"], &some);
    }
}

// A wrong sign and a dropped row of the PSF.
#[test]
fn hr_network_mutations_are_caught() {
    fails(
        "hr_network",
        &[Replacement {
            file: "hr_network.wgsl",
            from: "select(0.0, -sign(residual#{P}_#{J}), in_block#{P})",
            to: "select(0.0, sign(residual#{P}_#{J}), in_block#{P})",
        }],
    );
    fails(
        "hr_network",
        &[Replacement {
            file: "hr_network.wgsl",
            from: "let in_kernel#{P} = inside#{P} && kernel_row#{P} < ",
            to: "let in_kernel#{P} = inside#{P} && kernel_row#{P} + 1u < ",
        }],
    );
}
