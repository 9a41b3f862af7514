//! Twin of `shaders/degradation.wgsl`: PSF, its derivatives and SRF from the parameters θ.

use crate::engine::Problem;
use crate::engine::work::Work;
use crate::real::Real;
use crate::sensor::{psf, srf};

/// PSF and SRF as the other kernels read them.
#[derive(Debug, Clone)]
pub struct Degradation<T> {
    /// The PSF and its derivative to each of its parameters, (1 + [`psf::PARAMETERS`]) × K×K.
    pub bank: Vec<T>,
    /// The SRF, B×b.
    pub srf: Vec<T>,
}

/// Work of one call: what is fixed costs nothing.
pub fn work<T: Real>(problem: &Problem<T>) -> Work {
    let kernel = problem.geometry.kernel * problem.geometry.kernel;
    let response = problem.architecture.bands * problem.architecture.msi_bands;
    let psf = Work::of::<T>(
        kernel * (psf::GAUSSIAN_OPERATIONS + psf::DERIVATIVES_OPERATIONS),
        psf::PARAMETERS + (1 + psf::PARAMETERS) * kernel,
    );
    let srf = Work::of::<T>(
        response * srf::MIXTURE_OPERATIONS,
        srf::parameters(problem.architecture.msi_bands) + response,
    );
    let parametric = [(&problem.fixed_psf, psf), (&problem.fixed_srf, srf)];
    parametric
        .into_iter()
        .filter(|(fixed, _)| fixed.is_none())
        .map(|(_, work)| work)
        .sum()
}

/// Computes the PSF bank and the SRF of `theta`; fixed ones take the place of the parametrised.
pub fn degradation<T: Real>(problem: &Problem<T>, theta: &[T], out: &mut Degradation<T>) {
    let size = problem.geometry.kernel;
    let (kernel, derivatives) = out.bank.split_at_mut(size * size);
    match &problem.fixed_psf {
        Some(fixed) => {
            kernel.copy_from_slice(fixed);
            derivatives.fill(T::zero());
        }
        None => {
            psf::gaussian(theta, kernel, size);
            psf::gaussian_derivatives(theta, kernel, derivatives, size);
        }
    }
    match &problem.fixed_srf {
        Some(fixed) => out.srf.copy_from_slice(fixed),
        None => {
            let architecture = &problem.architecture;
            srf::mixture(
                &theta[psf::PARAMETERS..],
                &mut out.srf,
                architecture.bands,
                architecture.msi_bands,
            );
        }
    }
}
