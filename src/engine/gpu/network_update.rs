//! Host side of `shaders/network_update.wgsl`: the gradient of φ over the LR batch, and Adam.

use crate::engine::gpu::blocks::{self, blocks};
use crate::engine::gpu::defines::{ShaderTarget, Shape};
use crate::engine::gpu::preprocessor::Defines;
use crate::network::Layout;

/// Blocks of parameters a workgroup; its other invocations share the batch.
const TOGETHER: usize = 4;

/// What its text depends on.
pub fn defines(
    layout: &Layout,
    shape: &Shape,
    members: usize,
    frozen_encoder: bool,
    target: ShaderTarget,
) -> Defines {
    let blocks = blocks(layout, shape, frozen_encoder).len();
    let mut d = shape.pixel_defines();
    d.extend(&blocks::defines(layout, shape, frozen_encoder))
        .number("MEMBERS", members)
        .number("TOGETHER", TOGETHER)
        .number("BLOCK_GROUPS", blocks.div_ceil(TOGETHER))
        .number("SOFTWARE", usize::from(target.software));
    d
}

/// Workgroups: the `blocks` of each member, and one more that sums its loss.
pub fn workgroups(blocks: usize, members: usize) -> [u32; 3] {
    [blocks.div_ceil(TOGETHER) as u32 + 1, members as u32, 1]
}
