//! A model: the network and the degradation with everything that is needed to go on from them.

use ndarray::Array2;

use crate::coordination::config::Config;
use crate::engine::{Geometry, Noise, Problem, TrainingState};
use crate::network::Architecture;
use crate::sensor::psf::{self, GaussianPsf};
use crate::sensor::srf;

/// PSF (K×K, sum 1) and SRF (B×b, columns sum to 1) as a fusion found them or was given them.
#[derive(Debug, Clone, PartialEq)]
pub struct Degradation {
    /// The point spread function on the MSI's pixels.
    pub psf: Array2<f64>,
    /// The spectral response, a column a band of the MSI.
    pub srf: Array2<f64>,
}

/// Network φ, degradation θ, Adam's moments, and the configuration they came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The configuration of the run.
    pub config: Config,
    /// The network's widths with the scene's band counts.
    pub architecture: Architecture,
    /// Scale s and PSF side K.
    pub geometry: Geometry,
    /// Parameters and moments.
    pub state: TrainingState<f32>,
    /// θ at the start of the coordination loop.
    pub start: Vec<f32>,
    /// A PSF (K×K) that was given instead of estimated.
    pub fixed_psf: Option<Vec<f32>>,
    /// An SRF (B×b) that was given instead of estimated.
    pub fixed_srf: Option<Vec<f32>>,
    /// Steps of the coordination loop done so far.
    pub step: u32,
    /// Band centres of the HSI in nanometres.
    pub wavelengths: Option<Vec<f64>>,
    /// How the images were brought to the network's scale.
    pub calibration: Calibration,
}

/// From the units of the files to the scale that the network works in.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Calibration {
    /// What the HSI was divided by, and what a result is multiplied with.
    pub hsi_unit: f32,
    /// What the MSI was divided by.
    pub msi_unit: f32,
    /// Gain of each MSI band, divided out after the offset is taken off.
    pub gain: Vec<f64>,
    /// Offset of each MSI band, in scaled units.
    pub offset: Vec<f64>,
}

impl Model {
    /// The PSF that the model holds, K×K, sum 1.
    pub fn psf(&self) -> Array2<f64> {
        self.psf_of(&self.state.degradation)
    }

    /// The PSF of the start.
    pub fn start_psf(&self) -> Array2<f64> {
        self.psf_of(&self.start)
    }

    /// The Gaussian that the PSF is, unless a kernel was given.
    pub fn gaussian(&self) -> Option<GaussianPsf> {
        let p: Vec<f64> = self.state.degradation[..psf::PARAMETERS]
            .iter()
            .map(|&x| f64::from(x))
            .collect();
        self.fixed_psf.is_none().then(|| GaussianPsf::from_parameters(&p))
    }

    fn psf_of(&self, theta: &[f32]) -> Array2<f64> {
        let size = self.geometry.kernel;
        let mut kernel = Array2::zeros((size, size));
        match &self.fixed_psf {
            Some(fixed) => kernel.iter_mut().zip(fixed).for_each(|(k, &x)| *k = f64::from(x)),
            None => {
                let p: Vec<f64> = theta[..psf::PARAMETERS].iter().map(|&x| f64::from(x)).collect();
                kernel = GaussianPsf::from_parameters(&p).kernel(size);
            }
        }
        kernel
    }

    /// The SRF that the model holds, B×b, columns summing to 1.
    pub fn srf(&self) -> Array2<f64> {
        let (bands, b) = (self.architecture.bands, self.architecture.msi_bands);
        let mut response = vec![0.0; bands * b];
        match &self.fixed_srf {
            Some(fixed) => response
                .iter_mut()
                .zip(fixed)
                .for_each(|(r, &x)| *r = f64::from(x)),
            None => {
                let p: Vec<f64> = self.state.degradation[psf::PARAMETERS..]
                    .iter()
                    .map(|&x| f64::from(x))
                    .collect();
                srf::mixture(&p, &mut response, bands, b);
            }
        }
        Array2::from_shape_fn((bands, b), |(i, j)| response[i * b + j])
    }

    /// PSF and SRF that the model holds.
    pub fn degradation(&self) -> Degradation {
        Degradation {
            psf: self.psf(),
            srf: self.srf(),
        }
    }

    /// Whether anything of θ can be learned.
    pub fn learns_degradation(&self) -> bool {
        self.fixed_psf.is_none() || self.fixed_srf.is_none()
    }

    /// The run as an engine takes it, for batches of at most `capacity` LR pixels.
    pub fn problem(&self, capacity: usize, frozen_encoder: bool) -> Problem<f32> {
        let training = &self.config.training;
        Problem {
            architecture: self.architecture.clone(),
            geometry: self.geometry,
            alpha: training.alpha,
            beta: training.beta,
            noise: if training.sampling {
                Noise::Philox(self.config.seed)
            } else {
                Noise::Off
            },
            learn_psf: true,
            learn_centre: self.config.degradation.centre,
            learn_srf: true,
            fixed_psf: self.fixed_psf.clone(),
            fixed_srf: self.fixed_srf.clone(),
            frozen_encoder,
            lr_capacity: capacity,
            hr_capacity: match self.config.degradation.windows {
                0 => capacity,
                n => n.min(capacity),
            },
        }
    }
}
