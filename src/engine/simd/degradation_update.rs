//! From sums over the batches to the gradient of θ; Adam itself is the twin's.

use crate::engine::Problem;
use crate::engine::cpu::degradation_update::{DegradationGradient, learned};
use crate::sensor::{psf, srf};

/// What the windows and LR pixels of a step sum up to, neither weighted nor divided by the batch.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    /// Terms 1, 2, 3 of L_θ.
    pub losses: [f64; 3],
    /// Gradient of each term to the PSF's parameters.
    pub to_psf: [[f32; psf::PARAMETERS]; 3],
    /// Gradient of terms 2 and 3 to the SRF, B×b.
    pub to_srf: [Vec<f32>; 2],
}

/// Takes the sums back to θ; term t is a mean over `counts[t]` elements. `response` is the SRF of `theta`.
pub(super) fn gradient(
    problem: &Problem<f32>,
    theta: &[f32],
    response: &[f32],
    sums: &Sums,
    counts: [usize; 3],
) -> DegradationGradient<f32> {
    let (bands, b) = (problem.architecture.bands, problem.architecture.msi_bands);
    let size = theta.len();
    let mut terms = vec![0.0; 3 * size];
    for (t, term) in terms.chunks_exact_mut(size).enumerate() {
        let (psf_part, srf_part) = term.split_at_mut(psf::PARAMETERS);
        psf_part.copy_from_slice(&sums.to_psf[t]);
        if t > 0 {
            let parameters = &theta[psf::PARAMETERS..];
            srf::mixture_backward(parameters, response, &sums.to_srf[t - 1], srf_part, bands, b);
        }
        term.iter_mut().for_each(|g| *g /= counts[t] as f32);
    }
    let total = (0..size)
        .map(|k| {
            if learned(problem, k) {
                (0..3)
                    .map(|t| problem.alpha[t] as f32 * terms[t * size + k])
                    .sum()
            } else {
                0.0
            }
        })
        .collect();
    let losses = std::array::from_fn(|t| (sums.losses[t] / counts[t] as f64) as f32);
    DegradationGradient { losses, terms, total }
}
