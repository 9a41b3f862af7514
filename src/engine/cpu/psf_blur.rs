//! Twin of `shaders/psf_blur.wgsl`: (Y∗C)↓ of the LR batch, its derivatives to the PSF, and term 3 of L_θ.
//!
//! Term 3 is mean|X·R − (Y∗C)↓|: R and C act on different axes, so it sees θ alone.

use rayon::prelude::*;

use crate::engine::cpu::degradation::Degradation;
use crate::engine::work::Work;
use crate::engine::{Problem, TrainingSet};
use crate::real::Real;
use crate::sensor::psf;

/// What one LR pixel leaves for the other kernels. Sums are neither weighted nor divided by the batch.
#[derive(Debug, Clone)]
pub struct LrObservation<T> {
    /// (Y∗C)↓, b values.
    pub lr_msi: Vec<T>,
    /// X·R, b values.
    pub srf_of_lr_hsi: Vec<T>,
    /// Sign of X·R − (Y∗C)↓, b values; the sign of 0 is 0.
    pub sign: Vec<T>,
    /// Σ_j |X·R − (Y∗C)↓|.
    pub loss: T,
    /// Gradient of `loss` to the PSF's parameters.
    pub psf_gradient: [T; psf::PARAMETERS],
}

impl<T: Real> LrObservation<T> {
    /// All zero.
    pub fn zero(msi_bands: usize) -> Self {
        let zeros = || vec![T::zero(); msi_bands];
        LrObservation {
            lr_msi: zeros(),
            srf_of_lr_hsi: zeros(),
            sign: zeros(),
            loss: T::zero(),
            psf_gradient: [T::zero(); psf::PARAMETERS],
        }
    }
}

/// −1, 0 or 1.
pub fn sign<T: Real>(x: T) -> T {
    if x > T::zero() {
        T::one()
    } else if x < T::zero() {
        -T::one()
    } else {
        T::zero()
    }
}

/// Work of `pixels` LR pixels.
pub fn work<T: Real>(problem: &Problem<T>, pixels: usize) -> Work {
    let (bands, b) = (problem.architecture.bands, problem.architecture.msi_bands);
    let kernel = problem.geometry.kernel * problem.geometry.kernel;
    let maps = 1 + psf::PARAMETERS;
    let operations = b * (2 * maps * kernel + 2 * bands + 2 + 2 * psf::PARAMETERS);
    let values = kernel * b + bands + 3 * b + 1 + psf::PARAMETERS;
    Work::of::<T>(pixels * operations, pixels * values + maps * kernel + bands * b)
}

/// Observes every LR pixel of `batch`.
pub fn psf_blur<T: Real>(
    problem: &Problem<T>,
    data: &TrainingSet<T>,
    degradation: &Degradation<T>,
    batch: &[u32],
    out: &mut [LrObservation<T>],
) {
    let (b, bands) = (problem.architecture.msi_bands, problem.architecture.bands);
    let geometry = problem.geometry;
    let (size, side, at) = (geometry.kernel, geometry.window(), geometry.kernel_offset());
    out.par_iter_mut()
        .zip(batch)
        .with_min_len(4)
        .for_each(|(out, &window)| {
            let window = window as usize;
            let pixels = &data.hr_msi[window * side * side * b..][..side * side * b];
            let spectrum = &data.lr_hsi[window * bands..][..bands];
            out.loss = T::zero();
            out.psf_gradient = [T::zero(); psf::PARAMETERS];
            for j in 0..b {
                let mut sums = [T::zero(); 1 + psf::PARAMETERS];
                for r in 0..size {
                    for c in 0..size {
                        let y = pixels[((r + at) * side + c + at) * b + j];
                        for (p, sum) in sums.iter_mut().enumerate() {
                            *sum += degradation.bank[p * size * size + r * size + c] * y;
                        }
                    }
                }
                let mut response = T::zero();
                for (i, &x) in spectrum.iter().enumerate() {
                    response += x * degradation.srf[i * b + j];
                }
                let residual = response - sums[0];
                out.lr_msi[j] = sums[0];
                out.srf_of_lr_hsi[j] = response;
                out.sign[j] = sign(residual);
                out.loss += residual.abs();
                for p in 0..psf::PARAMETERS {
                    out.psf_gradient[p] -= out.sign[j] * sums[1 + p];
                }
            }
        });
}
