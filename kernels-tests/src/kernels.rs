//! What every kernel's test asks of the table of cases.

use hsr_gpu::engine::gpu::GpuEngine;
use hsr_gpu::engine::gpu::cases::{Case, cases};
use hsr_gpu::engine::gpu::compare::{Row, compare_reconstruct, compare_step};
use hsr_gpu::engine::gpu::compare_lr_steps::compare_lr_steps;
use hsr_gpu::engine::gpu::shaders::Replacement;

fn rows(engine: &GpuEngine, kernel: &str, case: &Case) -> Vec<Row> {
    let rows = match kernel {
        "reconstruct" => compare_reconstruct(engine, case),
        "lr_steps" => compare_lr_steps(engine, case),
        _ => compare_step(engine, case),
    };
    let rows = rows.unwrap_or_else(|e| panic!("{}: {e}", case.name));
    rows.into_iter().filter(|r| r.kernel == kernel).collect()
}

/// Compares `kernel` with its twin on every case.
///
/// # Panics
/// If a comparison fails, or there was none.
pub fn holds(kernel: &str) {
    let engine = crate::gpu::engine();
    let mut compared = 0;
    let mut failed = Vec::new();
    for case in cases() {
        for row in rows(&engine, kernel, &case) {
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
    let engine = crate::gpu::mutated(replacements.to_vec());
    let all = cases();
    let case = all.iter().find(|c| c.name == "three members, linear path, K < s");
    let rows = rows(&engine, kernel, case.expect("the case is in the table"));
    assert!(!rows.is_empty(), "nothing was compared");
    assert!(rows.iter().any(|r| !r.passed), "nobody noticed {replacements:?}");
}
