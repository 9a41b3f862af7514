//! Host side of `shaders/hr_network.wgsl`: the fused HR pass, a workgroup a part of a window.

use crate::engine::cpu::half_weights::BLOCK;
use crate::engine::gpu::defines::{self, Arithmetic, ShaderTarget, Shape, Tiles, quads};
use crate::engine::gpu::half_weights;
use crate::engine::gpu::pipeline::spread;
use crate::engine::gpu::preprocessor::Defines;
use crate::engine::{Noise, Problem};
use crate::error::{Error, Result};
use crate::network::Layout;
use crate::random::Purpose;
use crate::sensor::psf;

/// How a window's sample is cut up.
#[derive(Debug, PartialEq, Eq)]
struct Tiling {
    /// Invocations a workgroup.
    workgroup: usize,
    /// Pixels an invocation has of a chunk.
    pixels: usize,
    /// Quads of a tile of bands at most.
    tile: usize,
    /// Whether workgroup memory holds the sample of all bands; otherwise that of a tile, and tiles are drawn twice, because
    /// the sign of Y − Ẑ·R needs all bands first.
    all: bool,
}

/// Distance in quads of two pixels' samples of `quads` in workgroup memory: odd, so that neighbours lie in other banks.
fn pitch(quads: usize) -> usize {
    quads | 1
}

/// Bytes of workgroup memory of a chunk of `pixels` with `quads` of each held.
fn chunk_memory(msi: usize, pixels: usize, quads: usize) -> usize {
    pixels * (16 * pitch(quads) + 4 * (1 + psf::PARAMETERS + msi))
}

/// Cuts `bands` for the target's workgroup memory. All bands at once are worth fewer pixels an invocation and half a
/// workgroup: they halve the work of the last layers. So is memory beyond the budget, up to twice as much.
fn tiling(msi: usize, bands: usize, target: ShaderTarget) -> Result<Tiling> {
    let quads = quads(bands);
    let (memory, budget) = (target.workgroup_memory, target.memory_budget);
    let tile = |pixels: usize| {
        if target.software {
            quads.min(8)
        } else {
            quads.min(target.accumulators(pixels))
        }
    };
    let candidates = |memory: usize, quads: usize| {
        [(64, target.pixels), (64, 2), (64, 1), (32, 1)]
            .into_iter()
            .find(|&(workgroup, pixels)| {
                pixels <= target.pixels && chunk_memory(msi, workgroup * pixels, quads) <= memory
            })
    };
    let within = budget.min(memory);
    let whole = candidates(within, quads).or_else(|| candidates((2 * within).min(memory), quads));
    if let Some((workgroup, pixels)) = whole {
        return Ok(Tiling {
            workgroup,
            pixels,
            tile: tile(pixels),
            all: true,
        });
    }
    [64, 32, 16]
        .into_iter()
        .find_map(|workgroup| {
            let tile = (1..=tile(1))
                .rev()
                .find(|&tile| chunk_memory(msi, workgroup, tile) <= memory)?;
            Some(Tiling {
                workgroup,
                pixels: 1,
                tile,
                all: false,
            })
        })
        .ok_or_else(|| {
            Error::failed(format!(
                "{msi} MSI bands need more workgroup memory than the adapter's {memory} bytes: use the setting backend cpu"
            ))
        })
}

/// The same for 16 bits: workgroups of one subgroup, tiles of whole matrices, and the network's own memory beside.
fn half_tiling(msi: usize, bands: usize, layout: &Layout, memory: usize) -> Result<Tiling> {
    let workgroup = half_weights::SUBGROUP;
    let matrix = BLOCK / 4;
    let network = half_weights::memory(layout);
    let fits = |quads: usize| network + chunk_memory(msi, workgroup, quads) <= memory;
    half_weights::fits(network + chunk_memory(msi, workgroup, matrix), memory)?;
    Ok(Tiling {
        workgroup,
        pixels: 1,
        tile: if fits(2 * matrix) { 2 * matrix } else { matrix },
        all: fits(quads(bands)),
    })
}

fn tiling_for(layout: &Layout, shape: &Shape, target: ShaderTarget) -> Result<Tiling> {
    match target.arithmetic {
        Arithmetic::Single => tiling(shape.msi, shape.bands, target),
        _ => half_tiling(shape.msi, shape.bands, layout, target.workgroup_memory),
    }
}

/// Parts of a window, a workgroup each.
///
/// # Errors
/// As [`defines()`].
pub fn parts(layout: &Layout, shape: &Shape, target: ShaderTarget) -> Result<usize> {
    let tiling = tiling_for(layout, shape, target)?;
    Ok((shape.side * shape.side).div_ceil(tiling.workgroup * tiling.pixels))
}

/// Quads of a part's record: the sums of the sample, and term 2.
pub fn part_record(shape: &Shape) -> usize {
    shape.tail + 1
}

/// What its text depends on.
///
/// # Errors
/// [`Error::Failed`] if the columns of one part do not fit the workgroup memory.
pub fn defines(
    problem: &Problem<f32>,
    layout: &Layout,
    shape: &Shape,
    target: ShaderTarget,
) -> Result<Defines> {
    let tiling = tiling_for(layout, shape, target)?;
    let mut d = shape.defines(problem.geometry);
    let text = ShaderTarget {
        pixels: tiling.pixels,
        ..target
    };
    let network = defines::network(&problem.architecture, layout, tiling.tile, text)?;
    let held = if tiling.all {
        shape.band_quads
    } else {
        match target.arithmetic {
            Arithmetic::Single => Tiles::of(shape.band_quads, tiling.tile).width,
            _ => tiling.tile,
        }
    };
    // So many invocations share the sum over a pixel's bands held, in so many rounds.
    let lanes = held.min(tiling.workgroup);
    let columns = 1 + psf::PARAMETERS + shape.msi;
    d.extend(&network)
        .extend(&shape.window_defines())
        .extend(&defines::noise(problem.noise, Purpose::HighResolution))
        .number("WG", tiling.workgroup)
        .number("PIXELS", tiling.pixels)
        .number("WINDOW_PARTS", parts(layout, shape, target)?)
        .number("PART_RECORD", part_record(shape))
        .number("HELD", held)
        .number("PITCH", pitch(held))
        .number("LANES", lanes)
        .number("ROUNDS", held.div_ceil(lanes))
        // Columns whose sums of all invocations fit where the sample was.
        .number("TOGETHER", columns.min(pitch(held) * tiling.pixels))
        .number("WITH_MEAN", 1)
        .number("WITH_STD", usize::from(problem.noise != Noise::Off))
        .number("KEEP", usize::from(defines::keeps_tensors(problem)));
    Ok(d)
}

/// Workgroups for `hr_count` windows of so many parts.
pub fn workgroups(hr_count: usize, parts: usize) -> [u32; 3] {
    spread(hr_count * parts)
}
