//! Host side of `shaders/lr_network.wgsl`: the LR pass of every member, forward and backward.

use crate::engine::Problem;
use crate::engine::gpu::defines::{self, Shape, Target};
use crate::engine::gpu::preprocessor::Defines;
use crate::error::Result;
use crate::network::Layout;
use crate::random::Purpose;

/// The shader.
pub const FILE: &str = "lr_network.wgsl";

/// Invocations a workgroup.
const WORKGROUP: usize = 64;

/// What its text depends on; `windows` is the number of windows of the training set.
///
/// # Errors
/// As [`defines::network`].
pub fn defines(
    problem: &Problem<f32>,
    layout: &Layout,
    shape: &Shape,
    windows: usize,
    target: Target,
) -> Result<Defines> {
    let mut d = shape.defines(problem.geometry);
    // Eight quads of mean and eight of deviation are live at once.
    d.extend(&defines::network(&problem.architecture, layout, 8, target)?)
        .extend(&shape.pixel_defines())
        .extend(&defines::noise(problem.noise, Purpose::LowResolution))
        .number("WG", WORKGROUP)
        .number("FROZEN", usize::from(problem.frozen_encoder))
        // Only the frozen abundances are found by window.
        .number("WINDOWS", if problem.frozen_encoder { windows } else { 0 })
        .number("KEEP", usize::from(defines::keeps_tensors(problem)));
    Ok(d)
}

/// Workgroups for `lr_count` LR pixels of each member.
pub fn workgroups(lr_count: usize, members: usize) -> [u32; 3] {
    [lr_count.div_ceil(WORKGROUP) as u32, members as u32, 1]
}
