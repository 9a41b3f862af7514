//! Fuses several scenes on one engine, which compiles its kernels once: `cargo run --release --example many_scenes`.

use hsr_gpu::engine::Engine;
use hsr_gpu::engine::simd::SimdEngine;
use hsr_gpu::sensor::demo_pair::{DemoPair, demo_pair};
use hsr_gpu::{Fusion, Result};
use ndarray::s;

fn main() -> Result<()> {
    let DemoPair { hsi, msi, .. } = demo_pair()?;
    let engine = SimdEngine::new();
    println!("on {}", Engine::<f32>::name(&engine));
    // The quarters of the built-in scene stand for scenes of their own.
    for (row, column) in [(0, 0), (0, 9), (9, 0), (9, 9)] {
        let lr = hsi.samples.slice(s![row..row + 9, column..column + 9, ..]);
        let (r, c) = (8 * row, 8 * column);
        let hr = msi.samples.slice(s![r..r + 72, c..c + 72, ..]);
        let fused = Fusion::new(lr, hr).on(&engine).run()?;
        let report = fused.report();
        println!(
            "rows from {r}, columns from {c}: misfit {:.4}",
            report.degradation.misfit.1
        );
    }
    Ok(())
}
