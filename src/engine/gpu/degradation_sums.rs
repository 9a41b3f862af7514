//! Host side of `shaders/degradation_sums.wgsl`: the sums over windows and LR pixels that θ's gradient is made from.
//!
//! One workgroup that summed everything would wait for hundreds of loads in a row, longer than the HR pass of a card takes.

use crate::engine::Problem;
use crate::engine::gpu::defines::Shape;
use crate::engine::gpu::preprocessor::Defines;
use crate::sensor::psf;

/// Sums a workgroup; its other invocations share the batch.
const SUMS: usize = 8;

/// What its text depends on.
pub fn defines(problem: &Problem<f32>, shape: &Shape) -> Defines {
    let mut d = shape.defines(problem.geometry);
    d.extend(&shape.window_defines());
    d
}

/// Number of sums: gradients of terms 2 and 3 to the SRF, then three losses and two gradients to the PSF.
pub fn count(shape: &Shape) -> usize {
    2 * shape.bands * shape.msi + 3 + 2 * psf::PARAMETERS
}

/// Workgroups.
pub fn workgroups(shape: &Shape) -> [u32; 3] {
    [count(shape).div_ceil(SUMS) as u32, 1, 1]
}
