//! What every kernel's test asks of the table of cases.

use hsr_gpu::engine::gpu::GpuEngine;
use hsr_gpu::engine::gpu::cases::{Case, cases};
use hsr_gpu::engine::gpu::compare::{Row, compare_reconstruct, compare_step};
use hsr_gpu::engine::gpu::compare_lr_steps::compare_lr_steps;
use hsr_gpu::engine::gpu::shaders::Replacement;

/// The comparisons of `kernels`, which are of one kind: parts of a step, `reconstruct`, or `lr_steps`.
fn rows(engine: &GpuEngine, kernels: &[&str], case: &Case) -> Vec<Row> {
    let rows = match kernels {
        ["reconstruct"] => compare_reconstruct(engine, case),
        ["lr_steps"] => compare_lr_steps(engine, case),
        _ => compare_step(engine, case),
    };
    let rows = rows.unwrap_or_else(|e| panic!("{}: {e}", case.name));
    rows.into_iter().filter(|r| kernels.contains(&r.kernel)).collect()
}

/// Compares `kernel` with its twin on every case.
///
/// # Panics
/// If a comparison fails, or there was none.
pub fn holds(kernel: &str) {
    holds_on(&crate::gpu::engine(), &[kernel], &cases());
}

/// Compares `kernels`, parts of a step or one other, with their twins on these cases.
///
/// # Panics
/// As [`holds`].
pub fn holds_on(engine: &GpuEngine, kernels: &[&str], cases: &[Case]) {
    let mut compared = 0;
    let mut failed = Vec::new();
    for case in cases {
        for row in rows(engine, kernels, case) {
            compared += 1;
            println!(
                "{}: {}: NMSE {:.1e}, worst {:.1e}",
                row.shape, row.tensor, row.nmse, row.worst
            );
            if !row.passed {
                failed.push(row);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(compared > 0, "nothing was compared");
}

/// Asserts that a comparison of `kernel` fails with `replacements` in the shaders: one case of many sizes, three
/// members and the linear path is enough to see a mistake, and keeps compilation short.
///
/// # Panics
/// If none fails.
pub fn fails(kernel: &str, replacements: &[Replacement]) {
    fails_on(&crate::gpu::mutated(replacements.to_vec()), kernel);
}

/// Asserts that a comparison of `kernel` fails on an engine with wrong shaders.
///
/// # Panics
/// If none fails.
pub fn fails_on(engine: &GpuEngine, kernel: &str) {
    let all = cases();
    let case = all.iter().find(|c| c.name == "three members, linear path, K < s");
    let rows = rows(engine, &[kernel], case.expect("the case is in the table"));
    let mutations = &engine.pipelines.options().replacements;
    assert!(!rows.is_empty(), "nothing was compared");
    assert!(rows.iter().any(|r| !r.passed), "nobody noticed {mutations:?}");
}
