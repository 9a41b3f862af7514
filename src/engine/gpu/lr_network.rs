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
/// LR pixels a workgroup: few, so that a small batch reaches many of a card's multiprocessors.
const CHUNK: usize = WORKGROUP / 8;

/// What the text of `shared/lr_pass.wgsl` depends on, for `workgroup` invocations that take `tile` pixels each at a
/// time; `windows` is the number of windows of the training set.
///
/// # Errors
/// As [`defines::network`].
pub(super) fn pass(
    problem: &Problem<f32>,
    layout: &Layout,
    shape: &Shape,
    windows: usize,
    (workgroup, tile): (usize, usize),
    target: Target,
) -> Result<Defines> {
    let mut d = shape.defines(problem.geometry);
    d.extend(&defines::network(&problem.architecture, layout, 1, target)?)
        .extend(&shape.pixel_defines())
        .extend(&defines::noise(problem.noise, Purpose::LowResolution))
        .number("WG", workgroup)
        .number("TILE", tile)
        .number("FROZEN", usize::from(problem.frozen_encoder))
        // Only the frozen abundances are found by window.
        .number("WINDOWS", if problem.frozen_encoder { windows } else { 0 })
        .number("KEEP", usize::from(defines::keeps_tensors(problem)));
    Ok(d)
}

/// What its text depends on.
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
    pass(problem, layout, shape, windows, (WORKGROUP, 1), target)
}

/// Workgroups for `lr_count` LR pixels of each member.
pub fn workgroups(lr_count: usize, members: usize) -> [u32; 3] {
    [lr_count.div_ceil(CHUNK) as u32, members as u32, 1]
}
