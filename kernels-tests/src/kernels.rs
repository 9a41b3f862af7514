//! What every kernel's test asks of the table of cases.

use hsr_gpu::engine::gpu::compare::cases::{Case, cases};
use hsr_gpu::engine::gpu::compare::compare_lr_steps;
use hsr_gpu::engine::gpu::compare::{Row, compare_reconstruct, compare_step};
use hsr_gpu::engine::gpu::compare::{compare_refinement, refinement_cases};
use hsr_gpu::engine::gpu::shaders::Replacement;
use hsr_gpu::engine::gpu::{GpuEngine, Options};

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

/// Comparisons of a pass of refinement, on an engine of these options.
fn refinement_rows(options: Options, kernel: &str) -> Vec<Row> {
    let engine = crate::gpu::with(Options {
        checked: true,
        ..options
    });
    let cases = refinement_cases().into_iter();
    let rows = cases.flat_map(|case| {
        compare_refinement(&engine, &case, kernel).unwrap_or_else(|e| panic!("{}: {e}", case.name))
    });
    rows.collect()
}

/// Compares a pass of refinement with its twin on every case: images as a whole, strips of them, and both cut into parts of
/// one row or a few, as images are that a binding does not hold.
///
/// # Panics
/// If a comparison fails, or there was none.
pub fn refinement_holds(kernel: &str) {
    for part_bytes in [None, Some(16), Some(10_000)] {
        let rows = refinement_rows(
            Options {
                part_bytes,
                ..Options::default()
            },
            kernel,
        );
        for row in &rows {
            println!(
                "{part_bytes:?}: {}: {}: NMSE {:.1e}, worst {:.1e}",
                row.shape, row.tensor, row.nmse, row.worst
            );
        }
        assert!(!rows.is_empty(), "nothing was compared");
        let failed: Vec<_> = rows.iter().filter(|r| !r.passed).collect();
        assert!(failed.is_empty(), "parts of {part_bytes:?}: {failed:#?}");
    }
}

/// Asserts that a comparison of a pass of refinement fails with each of these mistakes in its shader: (right, wrong).
///
/// # Panics
/// If none fails.
pub fn refinement_fails(kernel: &str, file: &'static str, mistakes: &[(&'static str, &'static str)]) {
    for &(from, to) in mistakes {
        let options = Options {
            replacements: vec![Replacement { file, from, to }],
            // So that an image has many parts, and all its bands are one or many too.
            part_bytes: Some(10_000),
            ..Options::default()
        };
        let rows = refinement_rows(options, kernel);
        assert!(!rows.is_empty(), "nothing was compared");
        assert!(rows.iter().any(|r| !r.passed), "nobody noticed `{to}`");
    }
}
