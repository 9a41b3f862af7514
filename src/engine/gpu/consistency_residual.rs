//! Host side of `shaders/consistency_residual.wgsl`: X − (Z∗C)↓, some HR rows after the other.

use crate::engine::cpu;
use crate::engine::gpu::defines::ShaderTarget;
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::parts::{Buffers, PartUniform, rows_of_part};
use crate::engine::gpu::preprocessor::Defines;
use crate::engine::refinement::{RefinementGrid, Strip};
use crate::error::Result;

/// The shader.
pub const FILE: &str = "consistency_residual.wgsl";

/// Invocations a workgroup.
const WORKGROUP: usize = 64;

/// What its text depends on.
pub fn defines(grid: &RefinementGrid, target: ShaderTarget) -> Defines {
    let mut d = Defines::default();
    d.number("WG", WORKGROUP)
        .number("BANDS", grid.bands)
        .number("SCALE", grid.geometry.scale)
        .number("KERNEL", grid.geometry.kernel)
        .number("SOFTWARE", usize::from(target.software));
    d
}

/// See [`crate::engine::refinement::Refiner::consistency_residual`].
///
/// # Errors
/// [`crate::Error::Failed`] where the device fails or a binding does not hold one row.
pub fn consistency_residual(
    engine: &GpuEngine,
    grid: &RefinementGrid,
    strip: Strip,
    psf: &[f32],
    target: &[f32],
    hr_hsi: &[f32],
    residual: &mut [f32],
) -> Result<()> {
    let (line, lr_line) = (grid.hr_columns() * grid.bands, grid.columns * grid.bands);
    let pipeline = engine
        .pipelines
        .get(&engine.context, FILE, &defines(grid, engine.target()))?;
    let mut buffers = Buffers::of(engine);
    buffers.write("psf", psf)?;
    let (step, lr_step) = (rows_of_part(engine, line), rows_of_part(engine, lr_line));
    let parts = residual
        .chunks_mut(lr_step * lr_line)
        .zip(target.chunks(lr_step * lr_line));
    for (k, (residual, target)) in parts.enumerate() {
        let first = strip.lr_row + k * lr_step;
        let lr = first..first + residual.len() / lr_line;
        let seen = grid.hr_rows_of(&lr);
        buffers.write("residual", target)?;
        for first in seen.clone().step_by(step) {
            let hr = first..(first + step).min(seen.end);
            let samples = (hr.start - strip.hr_row) * line..(hr.end - strip.hr_row) * line;
            buffers.write("hr_hsi", &hr_hsi[samples])?;
            let part = PartUniform {
                hr_row: hr.start as u32,
                hr_rows: hr.len() as u32,
                lr_row: lr.start as u32,
                lr_rows: lr.len() as u32,
                ..PartUniform::of(grid)
            };
            let workgroups = residual.len().div_ceil(WORKGROUP);
            let work = cpu::consistency_residual::work::<f32>(grid, &lr, &hr);
            buffers.run(&pipeline, part, workgroups, FILE, work)?;
        }
        buffers.read("residual", residual)?;
    }
    Ok(())
}
