//! Twin of `shaders/degradation_sums.wgsl`: what the windows and LR pixels of a step sum up to.

use crate::engine::cpu::degradation::Degradation;
use crate::engine::cpu::hr_network::HrWindow;
use crate::engine::cpu::psf_blur::LrObservation;
use crate::engine::work::Work;
use crate::engine::{Problem, TrainingSet};
use crate::real::Real;
use crate::sensor::psf;

/// Inputs of the update of θ.
pub struct DegradationPass<'a, T> {
    /// The run.
    pub problem: &'a Problem<T>,
    /// Its data.
    pub data: &'a TrainingSet<T>,
    /// θ.
    pub theta: &'a [T],
    /// PSF bank and SRF of θ.
    pub degradation: &'a Degradation<T>,
    /// Windows of the LR batch.
    pub lr_batch: &'a [u32],
    /// Term 3 of each LR pixel.
    pub observations: &'a [LrObservation<T>],
    /// Terms 1 and 2 of each HR window.
    pub windows: &'a [HrWindow<T>],
}

/// Sums over the batches, neither weighted nor divided by their sizes.
#[derive(Debug, Clone)]
pub struct DegradationSums<T> {
    /// Terms 1, 2, 3 of L_θ.
    pub losses: [T; 3],
    /// Gradient of each term to the PSF's parameters; term 2 has none.
    pub to_psf: [[T; psf::PARAMETERS]; 3],
    /// Gradients of terms 2 and 3 to the SRF, B×b.
    pub to_srf: [Vec<T>; 2],
}

/// Numbers that [`DegradationSums`] holds; term 2 has no gradient to the PSF.
pub fn values(bands: usize, msi_bands: usize) -> usize {
    3 + 2 * psf::PARAMETERS + 2 * bands * msi_bands
}

/// Work of one call with `lr` LR pixels and `hr` windows.
pub fn work<T: Real>(problem: &Problem<T>, lr: usize, hr: usize) -> Work {
    let (bands, b) = (problem.architecture.bands, problem.architecture.msi_bands);
    let response = bands * b;
    let window = 2 + psf::PARAMETERS + response;
    let pixel = 1 + psf::PARAMETERS;
    Work::of::<T>(
        hr * window + lr * (pixel + 2 * response),
        hr * window + lr * (pixel + b + bands) + values(bands, b),
    )
}

/// Sums over the windows of the HR batch and the pixels of the LR batch, in their order.
pub fn sums<T: Real>(pass: &DegradationPass<T>) -> DegradationSums<T> {
    let architecture = &pass.problem.architecture;
    let (bands, b) = (architecture.bands, architecture.msi_bands);
    let mut losses = [T::zero(); 3];
    let mut to_psf = [[T::zero(); psf::PARAMETERS]; 3];
    let mut to_srf = [vec![T::zero(); bands * b], vec![T::zero(); bands * b]];
    for w in pass.windows {
        losses[0] += w.blur_loss;
        losses[1] += w.response_loss;
        for (sum, &g) in to_psf[0].iter_mut().zip(&w.psf_gradient) {
            *sum += g;
        }
        for (sum, &g) in to_srf[0].iter_mut().zip(&w.srf_gradient) {
            *sum += g;
        }
    }
    for (o, &window) in pass.observations.iter().zip(pass.lr_batch) {
        losses[2] += o.loss;
        for (sum, &g) in to_psf[2].iter_mut().zip(&o.psf_gradient) {
            *sum += g;
        }
        let spectrum = &pass.data.lr_hsi[window as usize * bands..][..bands];
        for (row, &x) in to_srf[1].chunks_exact_mut(b).zip(spectrum) {
            for (sum, &s) in row.iter_mut().zip(&o.sign) {
                *sum += x * s;
            }
        }
    }
    DegradationSums {
        losses,
        to_psf,
        to_srf,
    }
}
