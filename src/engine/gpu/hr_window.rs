//! Host side of `shaders/hr_window.wgsl`: the parts of a window added up, and term 1.

use crate::engine::Problem;
use crate::engine::gpu::defines::{ShaderTarget, Shape};
use crate::engine::gpu::hr_network;
use crate::engine::gpu::pipeline::spread;
use crate::engine::gpu::preprocessor::Defines;
use crate::error::Result;
use crate::network::Layout;

/// What its text depends on.
///
/// # Errors
/// As [`hr_network::parts`].
pub fn defines(
    problem: &Problem<f32>,
    layout: &Layout,
    shape: &Shape,
    target: ShaderTarget,
) -> Result<Defines> {
    let mut d = shape.defines(problem.geometry);
    d.extend(&shape.window_defines())
        .number("WG", 64)
        .number("WINDOW_PARTS", hr_network::parts(layout, shape, target)?)
        .number("PART_RECORD", hr_network::part_record(shape));
    Ok(d)
}

/// Workgroups for `hr_count` windows, one each.
pub fn workgroups(hr_count: usize) -> [u32; 3] {
    spread(hr_count)
}
