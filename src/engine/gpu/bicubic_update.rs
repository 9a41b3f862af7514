//! Host side of `shaders/bicubic_update.wgsl`: modulated cubic convolution of a residual, some HR rows at a time.

use bytemuck::{Pod, Zeroable};

use crate::engine::cpu;
use crate::engine::cpu::bicubic_update::taps;
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::parts::{Buffers, PartUniform, rows_of_part};
use crate::engine::gpu::preprocessor::Defines;
use crate::engine::refinement::{BICUBIC_REACH, RefinementGrid, Strip};
use crate::error::Result;

/// The shader.
pub const FILE: &str = "bicubic_update.wgsl";

/// Invocations a workgroup.
const WORKGROUP: usize = 64;

/// Twin of `Tap` in the shader.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Tap {
    at: u32,
    weight: f32,
}

/// What its text depends on.
pub fn defines(grid: &RefinementGrid) -> Defines {
    let mut d = Defines::default();
    d.number("WG", WORKGROUP).number("BANDS", grid.bands);
    d
}

/// The taps of `count` HR rows or columns from `first` on, counted from the LR row or column `from`.
fn table(grid: &RefinementGrid, axis: usize, first: usize, count: usize, from: usize) -> Vec<Tap> {
    let length = [grid.rows, grid.columns][axis];
    (first..first + count)
        .flat_map(|p| taps::<f32>(grid.lr_position(p, axis), length))
        .map(|(at, weight)| Tap {
            at: (at - from) as u32,
            weight,
        })
        .collect()
}

/// See [`crate::engine::refinement::Refiner::bicubic_update`].
///
/// # Errors
/// [`crate::Error::Failed`] where the device fails or a binding does not hold one row.
pub fn bicubic_update(
    engine: &GpuEngine,
    grid: &RefinementGrid,
    strip: Strip,
    residual: &[f32],
    modulation: &[f32],
    hr_hsi: &mut [f32],
) -> Result<()> {
    let (line, lr_line) = (grid.hr_columns() * grid.bands, grid.columns * grid.bands);
    let pipeline = engine.pipelines.get(&engine.context, FILE, &defines(grid))?;
    let mut buffers = Buffers::of(engine);
    buffers.write("column_taps", &table(grid, 1, 0, grid.hr_columns(), 0))?;
    let step = rows_of_part(engine, line);
    let factors = modulation.chunks(step * grid.hr_columns());
    for (k, (hr_hsi, factors)) in hr_hsi.chunks_mut(step * line).zip(factors).enumerate() {
        let first = strip.hr_row + k * step;
        let hr = first..first + hr_hsi.len() / line;
        let lr = grid.lr_rows(&hr, BICUBIC_REACH);
        let near = (lr.start - strip.lr_row) * lr_line..(lr.end - strip.lr_row) * lr_line;
        buffers.write("residual", &residual[near])?;
        buffers.write("row_taps", &table(grid, 0, first, hr.len(), lr.start))?;
        buffers.write("modulation", factors)?;
        buffers.write("hr_hsi", hr_hsi)?;
        let part = PartUniform {
            hr_rows: hr.len() as u32,
            ..PartUniform::of(grid)
        };
        let workgroups = hr_hsi.len().div_ceil(WORKGROUP);
        let work = cpu::bicubic_update::work::<f32>(grid, hr.len(), lr.len());
        buffers.run(&pipeline, part, workgroups, FILE, work)?;
        buffers.read("hr_hsi", hr_hsi)?;
    }
    Ok(())
}
