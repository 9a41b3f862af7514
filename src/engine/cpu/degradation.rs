//! Twin of `shaders/degradation.wgsl`: PSF, its derivatives and SRF from the parameters θ.

use crate::engine::Problem;
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
