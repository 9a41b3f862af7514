//! Host side of `shaders/dct_denoise.wgsl`: blocks, then pixels, of some rows of a plane at a time.

use crate::engine::cpu;
use crate::engine::cpu::dct_denoise::{THRESHOLD, dct_matrix};
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::parts::{Buffers, PartUniform, rows_of_part};
use crate::engine::gpu::preprocessor::Defines;
use crate::engine::refinement::{DCT_SIDE, PlaneShape};
use crate::error::Result;

/// The shader.
pub const FILE: &str = "dct_denoise.wgsl";

/// What its second dispatch is measured as.
const GATHER: &str = "dct_denoise.wgsl, gather";

/// Invocations a workgroup, [`DCT_SIDE`] a block.
const WORKGROUP: usize = 64;
/// Samples of a block.
const BLOCK: usize = DCT_SIDE * DCT_SIDE;

/// What its text depends on: `gather` for the dispatch that sums blocks into pixels.
pub fn defines(stride: usize, pilot: bool, gather: bool) -> Defines {
    let mut d = Defines::default();
    d.number("GATHER", usize::from(gather)).number("STRIDE", stride);
    if !gather {
        d.number("PILOT", usize::from(pilot))
            .floats("DCT", dct_matrix::<f64>().into_iter().flatten())
            .floats("THRESHOLD", [THRESHOLD]);
    }
    d
}

/// Blocks along a side of `length` pixels: every `stride`, and the last that fits.
fn blocks(length: usize, stride: usize) -> usize {
    (length - DCT_SIDE).div_ceil(stride) + 1
}

/// See [`crate::engine::refinement::Refiner::dct_denoise`].
///
/// # Errors
/// [`crate::Error::Failed`] where the device fails or a binding does not hold the blocks of one row.
pub fn dct_denoise(
    engine: &GpuEngine,
    shape: PlaneShape,
    stride: usize,
    noisy: &[f32],
    pilot: Option<&[f32]>,
    out: &mut [f32],
) -> Result<()> {
    let PlaneShape { rows, columns, .. } = shape;
    let pipeline = |gather| {
        let defines = defines(stride, pilot.is_some(), gather);
        engine.pipelines.get(&engine.context, FILE, &defines)
    };
    let (transform, gather) = (pipeline(false)?, pipeline(true)?);
    let mut buffers = Buffers::of(engine);
    let (down, across) = (blocks(rows, stride), blocks(columns, stride));
    let begin = |block: usize| (block * stride).min(rows - DCT_SIDE);
    // Blocks take more room than pixels; those above and below a part belong to it too.
    let held = rows_of_part(engine, across * BLOCK) * stride;
    let step = held.saturating_sub(2 * DCT_SIDE).max(stride);
    for (channel, out) in out.chunks_exact_mut(rows * columns).enumerate() {
        for (k, out) in out.chunks_mut(step * columns).enumerate() {
            let pixels = k * step..k * step + out.len() / columns;
            let first = (pixels.start.max(DCT_SIDE - 1) + 1 - DCT_SIDE).div_ceil(stride);
            let end = (first..down)
                .take_while(|&block| begin(block) < pixels.end)
                .last()
                .map_or(first, |block| block + 1);
            let seen = channel * rows + begin(first)..channel * rows + begin(end - 1) + DCT_SIDE;
            let seen = seen.start * columns..seen.end * columns;
            let count = (end - first) * across;
            buffers.write("noisy", &noisy[seen.clone()])?;
            if let Some(pilot) = pilot {
                buffers.write("pilot", &pilot[seen])?;
            }
            buffers.room("blocks", count * BLOCK)?;
            buffers.room("block_weights", count)?;
            buffers.room("clean", out.len())?;
            let part = PartUniform {
                hr_row: pixels.start as u32,
                hr_rows: pixels.len() as u32,
                hr_height: rows as u32,
                hr_columns: columns as u32,
                lr_row: first as u32,
                lr_rows: (end - first) as u32,
                lr_height: down as u32,
                lr_columns: across as u32,
                ..Default::default()
            };
            let workgroups = count.div_ceil(WORKGROUP / DCT_SIDE);
            let work = cpu::dct_denoise::block_work::<f32>(count, pilot.is_some());
            buffers.run(&transform, part, workgroups, FILE, work)?;
            let workgroups = out.len().div_ceil(WORKGROUP);
            let work = cpu::dct_denoise::pixel_work::<f32>(count, out.len());
            buffers.run(&gather, part, workgroups, GATHER, work)?;
            buffers.read("clean", out)?;
        }
    }
    Ok(())
}
