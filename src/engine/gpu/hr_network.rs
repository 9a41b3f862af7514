//! Host side of `shaders/hr_network.wgsl`: the fused HR pass, a workgroup a window.

use crate::engine::Problem;
use crate::engine::gpu::defines::{self, Shape, Target, quads};
use crate::engine::gpu::pipeline::spread;
use crate::engine::gpu::preprocessor::Defines;
use crate::error::{Error, Result};
use crate::network::Layout;
use crate::random::Purpose;
use crate::sensor::psf;

/// The shader.
pub const FILE: &str = "hr_network.wgsl";

/// Invocations a workgroup and quads of a band tile that fit `memory` bytes of workgroup memory.
fn tiling(msi: usize, bands: usize, memory: usize) -> Result<(usize, usize)> {
    for workgroup in [64, 32, 16] {
        let columns = 4 * workgroup * (1 + psf::PARAMETERS + msi);
        let tile = memory.saturating_sub(columns) / (16 * workgroup);
        if tile > 0 {
            return Ok((workgroup, tile.min(8).min(quads(bands))));
        }
    }
    Err(Error::failed(format!(
        "{msi} MSI bands need more workgroup memory than the adapter's {memory} bytes: use --backend cpu"
    )))
}

/// What its text depends on.
///
/// # Errors
/// [`Error::Failed`] if the columns of one window do not fit the workgroup memory.
pub fn defines(problem: &Problem<f32>, layout: &Layout, shape: &Shape, target: Target) -> Result<Defines> {
    let (workgroup, tile) = tiling(shape.msi, shape.bands, target.workgroup_memory)?;
    let mut d = shape.defines(problem.geometry);
    d.extend(&defines::network(&problem.architecture, layout, tile, target)?)
        .extend(&shape.window_defines())
        .extend(&defines::noise(problem.noise, Purpose::HighResolution))
        .number("WG", workgroup)
        .number("KEEP", usize::from(defines::keeps_tensors(problem)));
    Ok(d)
}

/// Workgroups for `hr_count` windows, one each.
pub fn workgroups(hr_count: usize) -> [u32; 3] {
    spread(hr_count)
}
