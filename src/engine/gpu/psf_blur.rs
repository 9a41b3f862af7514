//! Host side of `shaders/psf_blur.wgsl`: (Y∗C)↓ of the LR batch and term 3 of L_θ.

use crate::engine::Problem;
use crate::engine::gpu::defines::Shape;
use crate::engine::gpu::pipeline::spread;
use crate::engine::gpu::preprocessor::Defines;

/// What its text depends on.
pub fn defines(problem: &Problem<f32>, shape: &Shape) -> Defines {
    let mut d = shape.defines(problem.geometry);
    d.number("WG", 64).number("TOGETHER", shape.msi.min(4));
    d
}

/// Workgroups for `lr_count` LR pixels, one each.
pub fn workgroups(lr_count: usize) -> [u32; 3] {
    spread(lr_count)
}
