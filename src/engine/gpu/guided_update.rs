//! Host side of `shaders/guided_update.wgsl`: weights of LR pixels over some HR rows at a time.

use bytemuck::{Pod, Zeroable};

use crate::engine::cpu;
use crate::engine::gpu::defines::{ShaderTarget, quads};
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::parts::{Buffers, PartUniform, rows_of_part};
use crate::engine::gpu::preprocessor::Defines;
use crate::engine::refinement::{Guide, RefinementGrid, Strip};
use crate::error::Result;

/// The shader.
pub const FILE: &str = "guided_update.wgsl";

/// Side of a workgroup's tile of HR pixels.
const SIDE: usize = 8;
/// Quads of bands of a workgroup: as many sums an invocation.
const WIDTH: usize = 8;
/// LR pixels in workgroup memory at most.
const CHUNK: usize = 32;

/// Twin of `Place` in the shader.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Place {
    below: i32,
    fraction: f32,
}

/// What its text depends on.
pub fn defines(grid: &RefinementGrid, target: ShaderTarget) -> Defines {
    let width = quads(grid.bands).min(WIDTH);
    // Weights, colour and place of an LR pixel.
    let bytes = 16 * width + 4 * grid.msi_bands + 8;
    let mut d = Defines::default();
    d.number("SIDE", SIDE)
        .number("CHUNK", (target.workgroup_memory / bytes).clamp(1, CHUNK))
        .number("WIDTH", width)
        .number("BANDS", grid.bands)
        .number("MSI", grid.msi_bands)
        .floats("NEGLIGIBLE", [cpu::guided_update::NEGLIGIBLE])
        .number("SOFTWARE", usize::from(target.software));
    d
}

/// Where `count` HR rows or columns from `first` on lie on the LR grid.
fn places(grid: &RefinementGrid, axis: usize, first: usize, count: usize) -> Vec<Place> {
    (first..first + count)
        .map(|p| {
            let position = grid.lr_position(p, axis);
            Place {
                below: position.floor() as i32,
                fraction: (position - position.floor()) as f32,
            }
        })
        .collect()
}

/// `count` quads of bands from `first` on of every pixel, zeros behind the last band.
fn quads_of(image: &[f32], bands: usize, first: usize, count: usize) -> Vec<f32> {
    let part = 4 * first..(4 * (first + count)).min(bands);
    let padding = 4 * count - part.len();
    image
        .chunks_exact(bands)
        .flat_map(|pixel| pixel[part.clone()].iter().copied().chain(vec![0.0; padding]))
        .collect()
}

/// See [`crate::engine::refinement::Refiner::guided_update`].
///
/// # Errors
/// [`crate::Error::Failed`] where the device fails or a binding does not hold one row.
// As the method that it implements.
#[allow(clippy::too_many_arguments)]
pub fn guided_update(
    engine: &GpuEngine,
    grid: &RefinementGrid,
    strip: Strip,
    guide: Guide,
    weights: &[f32],
    lr_msi: &[f32],
    hr_msi: &[f32],
    hr_hsi: &mut [f32],
) -> Result<()> {
    let (bands, b, columns) = (grid.bands, grid.msi_bands, grid.hr_columns());
    let defines = defines(grid, engine.target());
    let pipeline = engine.pipelines.get(&engine.context, FILE, &defines)?;
    let mut buffers = Buffers::of(engine);
    buffers.write("column_places", &places(grid, 1, 0, columns))?;
    let reach = (guide.radius.ceil() as usize).max(1);
    // Operations of a row and quad of bands, roughly: κ of the LR pixels in reach, and the products.
    let quad_work = (8 * reach * reach * columns * (4 + 16 / quads(bands).max(1))) as f64;
    let held = rows_of_part(engine, columns * bands.max(b));
    let (mut rest, mut rest_msi, mut first) = (hr_hsi, hr_msi, strip.hr_row);
    while !rest.is_empty() {
        let fitting = engine.pace.fitting(FILE) / (quad_work * quads(bands) as f64);
        let rows = held
            .min(fitting.max(1.0) as usize)
            .min(rest.len() / (columns * bands));
        let (hr_hsi, after) = rest.split_at_mut(rows * columns * bands);
        let (hr_msi, after_msi) = rest_msi.split_at(rows * columns * b);
        (rest, rest_msi) = (after, after_msi);
        let hr = first..first + rows;
        first += rows;
        let lr = grid.lr_rows(&hr, guide.radius);
        let near = (lr.start - strip.lr_row) * grid.columns..(lr.end - strip.lr_row) * grid.columns;
        buffers.write("lr_msi", &lr_msi[near.start * b..near.end * b])?;
        buffers.write("row_places", &places(grid, 0, hr.start, hr.len()))?;
        buffers.write("hr_msi", hr_msi)?;
        buffers.write("hr_hsi", hr_hsi)?;
        // The LR rows that one HR row reaches may be more than a part holds: then some bands at a time.
        let together = rows_of_part(engine, 4 * near.len()).min(quads(bands));
        for quad in (0..quads(bands)).step_by(together) {
            let count = together.min(quads(bands) - quad);
            let near = &weights[near.start * bands..near.end * bands];
            buffers.write("weights", &quads_of(near, bands, quad, count))?;
            let part = PartUniform {
                hr_rows: hr.len() as u32,
                lr_row: lr.start as u32,
                lr_rows: lr.len() as u32,
                quad: quad as u32,
                quads: count as u32,
                reach: reach as u32,
                radius: guide.radius as f32,
                sharpness: guide.precision as f32,
                ..PartUniform::of(grid)
            };
            let tiles = [
                columns.div_ceil(SIDE),
                hr.len().div_ceil(SIDE),
                count.div_ceil(WIDTH),
            ];
            let measured = (FILE, quad_work * (count * hr.len()) as f64);
            buffers.run_measured(&pipeline, part, tiles.map(|n| n as u32), measured, || {
                let bands = (4 * count).min(bands - 4 * quad);
                cpu::guided_update::work::<f32>(grid, &hr, guide, bands)
            })?;
        }
        buffers.read("hr_hsi", hr_hsi)?;
    }
    Ok(())
}
