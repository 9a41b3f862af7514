//! Host side of `shaders/lr_network.wgsl`: the LR pass of every member, forward and backward.

use crate::engine::Problem;
use crate::engine::gpu::defines::{self, ShaderTarget, Shape};
use crate::engine::gpu::preprocessor::Defines;
use crate::error::Result;
use crate::network::Layout;
use crate::random::Purpose;

/// Invocations a workgroup.
const WORKGROUP: usize = 64;
/// LR pixels a workgroup at most: few, so that a small batch reaches many of a card's multiprocessors, and as many as
/// there are pixels side by side whose bands invocations share.
const MOST_PIXELS: usize = WORKGROUP / 8;
/// Bytes of workgroup memory that its pixels' records take at most.
const MEMORY: usize = 15 << 10;

/// LR pixels of a workgroup, and quads of workgroup memory that their records take; none where one record is too large, and
/// lies in storage memory as all others do.
fn chunk(shape: &Shape) -> (usize, usize) {
    let pitch = shape.pixel_record | 1;
    let most = [MOST_PIXELS, MOST_PIXELS / 2, MOST_PIXELS / 4, 1];
    let fitting = most.into_iter().find(|pixels| 16 * pitch * pixels <= MEMORY);
    fitting.map_or((MOST_PIXELS, 0), |pixels| (pixels, pixels * pitch))
}

/// What the text of `shared/lr_pass.wgsl` depends on, for `workgroup` invocations that take `tile` pixels each at a time,
/// of which `sharing` share a pixel's bands, and have `local` quads of workgroup memory for records; `windows` is the number of windows of the training set.
///
/// # Errors
/// As [`defines::network`].
pub(super) fn pass(
    problem: &Problem<f32>,
    layout: &Layout,
    shape: &Shape,
    windows: usize,
    [workgroup, tile, sharing, local]: [usize; 4],
    target: ShaderTarget,
) -> Result<Defines> {
    let mut d = shape.defines(problem.geometry);
    d.extend(&defines::network(&problem.architecture, layout, 1, target)?)
        .extend(&shape.pixel_defines())
        .extend(&defines::noise(problem.noise, Purpose::LowResolution))
        .number("WG", workgroup)
        .number("TILE", tile)
        .number("SHARING", sharing)
        .number("LOCAL", usize::from(local > 0))
        .number("ROWS_QUADS", local)
        .texts("ROWS", [if local > 0 { "rows" } else { "pixels" }])
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
    target: ShaderTarget,
) -> Result<Defines> {
    let (pixels, local) = chunk(shape);
    let mut d = pass(
        problem,
        layout,
        shape,
        windows,
        [WORKGROUP, 1, WORKGROUP / MOST_PIXELS, local],
        target,
    )?;
    d.number("CHUNK", pixels);
    Ok(d)
}

/// Workgroups for `lr_count` LR pixels of each member.
pub fn workgroups(shape: &Shape, lr_count: usize, members: usize) -> [u32; 3] {
    [lr_count.div_ceil(chunk(shape).0) as u32, members as u32, 1]
}
