//! Twin of `shaders/degradation_update.wgsl`: takes the sums over windows and LR pixels back to θ, Adam.

use crate::engine::cpu::degradation_sums::{self, DegradationPass, DegradationSums};
use crate::engine::cpu::network_update::Adam;
use crate::engine::work::Work;
use crate::engine::{Problem, degradation_parameters};
use crate::real::Real;
use crate::sensor::{psf, srf};

/// Losses and gradients of θ.
#[derive(Debug, Clone)]
pub struct DegradationGradient<T> {
    /// Unweighted terms 1, 2, 3 of L_θ.
    pub losses: [T; 3],
    /// Gradient of each unweighted term, 3 × θ.
    pub terms: Vec<T>,
    /// Σ α_t term_t, with zeros where a parameter is not learned.
    pub total: Vec<T>,
}

/// Work of one call on the sums of [`crate::engine::cpu::degradation_sums`], Adam included.
pub fn work<T: Real>(problem: &Problem<T>) -> Work {
    let (bands, b) = (problem.architecture.bands, problem.architecture.msi_bands);
    let (response, size) = (bands * b, degradation_parameters(b));
    let learned = (0..size).filter(|&k| learned(problem, k)).count();
    let scales = 3 * (1 + psf::PARAMETERS) + 2 * response;
    let back = 2 * response * srf::MIXTURE_BACKWARD_OPERATIONS;
    let update = learned * (3 * 2 + Adam::OPERATIONS);
    // The SRF is read beside the sums; θ and both moments are read and written, the terms' gradients, their total and
    // three losses written.
    Work::of::<T>(
        scales + back + update,
        degradation_sums::values(bands, b) + response + 10 * size + 3,
    )
}

/// Takes the sums over the batches of `pass` back to θ.
pub fn gradient<T: Real>(pass: &DegradationPass<T>, sums: &DegradationSums<T>) -> DegradationGradient<T> {
    let architecture = &pass.problem.architecture;
    let (bands, b) = (architecture.bands, architecture.msi_bands);
    let block = pass.problem.geometry.scale * pass.problem.geometry.scale;
    let (hr, lr) = (pass.windows.len(), pass.observations.len());
    // Each term is a mean over its own elements.
    let scale = [
        1.0 / (hr * bands) as f64,
        1.0 / (hr * block * b) as f64,
        1.0 / (lr * b) as f64,
    ]
    .map(T::of);

    let DegradationSums {
        mut losses,
        to_psf,
        to_srf: [second, third],
    } = sums.clone();
    let mut to_srf = [vec![], second, third];

    let size = pass.theta.len();
    let mut terms = vec![T::zero(); 3 * size];
    for (t, term) in terms.chunks_exact_mut(size).enumerate() {
        losses[t] *= scale[t];
        let (psf_part, srf_part) = term.split_at_mut(psf::PARAMETERS);
        for (g, &sum) in psf_part.iter_mut().zip(&to_psf[t]) {
            *g = sum * scale[t];
        }
        if t > 0 {
            to_srf[t].iter_mut().for_each(|g| *g *= scale[t]);
            let parameters = &pass.theta[psf::PARAMETERS..];
            srf::mixture_backward(parameters, &pass.degradation.srf, &to_srf[t], srf_part, bands, b);
        }
    }
    let mut total = vec![T::zero(); size];
    for (k, total) in total.iter_mut().enumerate() {
        if learned(pass.problem, k) {
            for t in 0..3 {
                *total += T::of(pass.problem.alpha[t]) * terms[t * size + k];
            }
        }
    }
    DegradationGradient { losses, terms, total }
}

/// Whether parameter `k` of θ is learned.
pub fn learned<T>(problem: &Problem<T>, k: usize) -> bool {
    match k {
        0..3 => problem.learn_psf && problem.fixed_psf.is_none(),
        3..psf::PARAMETERS => problem.learn_centre && problem.fixed_psf.is_none(),
        _ => problem.learn_srf && problem.fixed_srf.is_none(),
    }
}

/// Adam on the learned parameters of θ.
pub fn update<T: Real>(
    problem: &Problem<T>,
    adam: Adam,
    gradient: &[T],
    theta: &mut [T],
    m: &mut [T],
    v: &mut [T],
) {
    for k in 0..theta.len() {
        if learned(problem, k) {
            adam.update(gradient[k], &mut theta[k], &mut m[k], &mut v[k]);
        }
    }
}
