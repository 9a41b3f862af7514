//! Host side of `shaders/degradation.wgsl`: the PSF with its derivatives and the SRF, from θ.

use crate::engine::Problem;
use crate::engine::gpu::defines::Shape;
use crate::engine::gpu::preprocessor::Defines;

/// What its text depends on. A fixed PSF or SRF is uploaded once and left alone.
pub fn defines(problem: &Problem<f32>, shape: &Shape) -> Defines {
    let mut d = shape.defines(problem.geometry);
    d.number("WG", 128)
        .number("PARAMETRIC_PSF", usize::from(problem.fixed_psf.is_none()))
        .number("PARAMETRIC_SRF", usize::from(problem.fixed_srf.is_none()));
    d
}

/// Workgroups: the PSF, and each column of the SRF.
pub fn workgroups(shape: &Shape) -> [u32; 3] {
    [1 + shape.msi as u32, 1, 1]
}
