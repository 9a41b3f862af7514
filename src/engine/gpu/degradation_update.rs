//! Host side of `shaders/degradation_update.wgsl`: the chain rule from sums to θ, Adam.

use crate::engine::Problem;
use crate::engine::cpu::degradation_update::learned;
use crate::engine::gpu::defines::Shape;
use crate::engine::gpu::degradation_sums;
use crate::engine::gpu::preprocessor::Defines;
use crate::sensor::psf;

/// What its text depends on.
pub fn defines(problem: &Problem<f32>, shape: &Shape) -> Defines {
    let mut d = shape.defines(problem.geometry);
    d.number("WG", 256)
        .number("MEMBERS", problem.architecture.members)
        .number("LEARN_PSF", usize::from(learned(problem, 0)))
        .number("LEARN_CENTRE", usize::from(learned(problem, psf::PARAMETERS - 1)))
        .number("LEARN_SRF", usize::from(learned(problem, psf::PARAMETERS)));
    d
}

/// Floats of its `sums` buffer: three terms and their total, then the sums that they are made from.
pub fn sums(shape: &Shape) -> usize {
    4 * shape.theta + degradation_sums::count(shape)
}

/// One workgroup.
pub const WORKGROUPS: [u32; 3] = [1, 1, 1];
