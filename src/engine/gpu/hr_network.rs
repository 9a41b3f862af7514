//! Host side of `shaders/hr_network.wgsl`: the fused HR pass, a workgroup a window.

use crate::engine::Problem;
use crate::engine::cpu::half_weights::BLOCK;
use crate::engine::gpu::defines::{self, Arithmetic, Shape, Target, Tiles, quads};
use crate::engine::gpu::half_weights;
use crate::engine::gpu::pipeline::spread;
use crate::engine::gpu::preprocessor::Defines;
use crate::error::{Error, Result};
use crate::network::Layout;
use crate::random::Purpose;
use crate::sensor::psf;

/// The shader.
pub const FILE: &str = "hr_network.wgsl";

/// How a window's sample is cut up.
#[derive(Debug, PartialEq, Eq)]
struct Tiling {
    /// Invocations a workgroup, each a pixel of the chunk.
    workgroup: usize,
    /// Quads of a tile of bands at most.
    tile: usize,
    /// Whether workgroup memory holds the sample of all bands; otherwise that of a tile, and tiles are drawn twice, because
    /// the sign of Y − Ẑ·R needs all bands first.
    all: bool,
}

/// Cuts `bands` for `memory` bytes of workgroup memory. All bands at once are worth fewer invocations: they halve the
/// work. Half a subgroup is not worth it.
fn tiling(msi: usize, bands: usize, memory: usize) -> Result<Tiling> {
    let quads = quads(bands);
    let fitting = |workgroup: usize| {
        memory.saturating_sub(4 * workgroup * (1 + psf::PARAMETERS + msi)) / (16 * workgroup)
    };
    let cut = |workgroup: usize, all: bool| Tiling {
        workgroup,
        tile: fitting(workgroup).min(8).min(quads),
        all,
    };
    [64, 32]
        .into_iter()
        .find(|&workgroup| fitting(workgroup) >= quads)
        .map(|workgroup| cut(workgroup, true))
        .or_else(|| {
            let found = [64, 32, 16].into_iter().find(|&workgroup| fitting(workgroup) > 0);
            found.map(|workgroup| cut(workgroup, false))
        })
        .ok_or_else(|| {
            Error::failed(format!(
                "{msi} MSI bands need more workgroup memory than the adapter's {memory} bytes: use --backend cpu"
            ))
        })
}

/// The same for 16 bits: workgroups of one subgroup, tiles of whole matrices, and the network's own memory beside.
fn half_tiling(msi: usize, bands: usize, layout: &Layout, memory: usize) -> Result<Tiling> {
    let workgroup = half_weights::SUBGROUP;
    let other = half_weights::memory(layout) + 4 * workgroup * (1 + psf::PARAMETERS + msi);
    let matrix = BLOCK / 4;
    half_weights::fits(other + 16 * workgroup * matrix, memory)?;
    let fitting = (memory - other) / (16 * workgroup);
    Ok(Tiling {
        workgroup,
        tile: if fitting < 2 * matrix { matrix } else { 2 * matrix },
        all: fitting >= quads(bands),
    })
}

/// What its text depends on.
///
/// # Errors
/// [`Error::Failed`] if the columns of one window do not fit the workgroup memory.
pub fn defines(problem: &Problem<f32>, layout: &Layout, shape: &Shape, target: Target) -> Result<Defines> {
    let memory = target.workgroup_memory;
    let tiling = match target.arithmetic {
        Arithmetic::Single => tiling(shape.msi, shape.bands, memory)?,
        _ => half_tiling(shape.msi, shape.bands, layout, memory)?,
    };
    let mut d = shape.defines(problem.geometry);
    let network = defines::network(&problem.architecture, layout, tiling.tile, target)?;
    let held = match tiling.all {
        true => shape.band_quads,
        false => match target.arithmetic {
            Arithmetic::Single => Tiles::of(shape.band_quads, tiling.tile).width,
            _ => tiling.tile,
        },
    };
    d.extend(&network)
        .extend(&shape.window_defines())
        .extend(&defines::noise(problem.noise, Purpose::HighResolution))
        .number("WG", tiling.workgroup)
        .number("HELD", held)
        .number("WITH_MEAN", 1)
        .number("WITH_STD", 1)
        .number("KEEP", usize::from(defines::keeps_tensors(problem)));
    Ok(d)
}

/// Workgroups for `hr_count` windows, one each.
pub fn workgroups(hr_count: usize) -> [u32; 3] {
    spread(hr_count)
}
