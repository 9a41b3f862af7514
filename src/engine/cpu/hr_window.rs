//! Twin of `shaders/hr_window.wgsl`: term 1 of a window and its gradient to the PSF.

use crate::engine::cpu::hr_network::HrWindow;
use crate::engine::cpu::psf_blur::sign;
use crate::engine::work::Work;
use crate::engine::{Problem, TrainingSet};
use crate::real::Real;
use crate::sensor::psf;

/// Work of one call on `windows` windows. The parts that a device sums a window in are its own affair.
pub fn work<T: Real>(problem: &Problem<T>, windows: usize) -> Work {
    let bands = problem.architecture.bands;
    let moved = bands * (2 + psf::PARAMETERS) + 1 + psf::PARAMETERS;
    Work::of::<T>(windows * bands * (2 + 2 * psf::PARAMETERS), windows * moved)
}

/// Finishes the windows of `batch`.
pub fn hr_window<T: Real>(data: &TrainingSet<T>, batch: &[u32], out: &mut [HrWindow<T>]) {
    for (out, &window) in out.iter_mut().zip(batch) {
        let bands = out.blur_of_sample.len();
        let spectrum = &data.lr_hsi[window as usize * bands..][..bands];
        out.blur_loss = T::zero();
        out.psf_gradient = [T::zero(); psf::PARAMETERS];
        for (band, (&x, &z)) in spectrum.iter().zip(&out.blur_of_sample).enumerate() {
            let residual = x - z;
            let s = sign(residual);
            out.blur_loss += residual.abs();
            for (p, g) in out.psf_gradient.iter_mut().enumerate() {
                *g -= s * out.blur_of_derivatives[p * bands + band];
            }
        }
    }
}
