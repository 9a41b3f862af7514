//! What the estimate takes and what it gives.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::sensor::psf::GaussianPsf;

/// Form of the PSF that is searched.
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum PsfModel {
    /// A Gaussian unless a disk or a line explains the two images better; then a free kernel.
    Auto,
    /// A Gaussian of three parameters, two more for its centre.
    #[default]
    Gaussian,
    /// Non-negative weights with sum 1, for defocus and motion.
    Free,
}

/// What to estimate, and what is known beforehand.
#[derive(Debug, Clone)]
pub struct Options {
    /// Ratio of the two pixel grids.
    pub scale: usize,
    /// Side K ≥ 1 of the PSF's window; `None`: what the two images ask for ([`MASS`](crate::sensor::window::MASS)).
    pub kernel: Option<usize>,
    /// Offset (row, column) of the PSF's centre from the middle of the block in HR pixels, where it is not searched.
    pub centre: [f64; 2],
    /// Whether the PSF's centre (the misregistration of the two images) is searched too, within half an LR pixel.
    pub learn_centre: bool,
    /// The PSF with sum 1, where it is known; it is its own window.
    pub known_psf: Option<Array2<f64>>,
    /// The response, B×b, where it is known. Only its shape is trusted: a gain and an offset stay free.
    pub known_srf: Option<Array2<f64>>,
    /// Form of the PSF, where it is not known.
    pub model: PsfModel,
}

impl Options {
    /// Everything unknown, a Gaussian PSF with the centre in the middle.
    pub fn blind(scale: usize) -> Self {
        Options {
            scale,
            kernel: None,
            centre: [0.0; 2],
            learn_centre: false,
            known_psf: None,
            known_srf: None,
            model: PsfModel::Gaussian,
        }
    }
}

/// A PSF as it was found or given.
#[derive(Debug, Clone, PartialEq)]
pub enum Psf {
    /// A Gaussian.
    Gaussian(GaussianPsf),
    /// A K×K kernel of no particular form, sum 1.
    Free(Array2<f64>),
}

impl Psf {
    /// The K×K kernel, sum 1. A free kernel keeps its own size.
    pub fn kernel(&self, size: usize) -> Array2<f64> {
        match self {
            Psf::Gaussian(gaussian) => gaussian.kernel(size),
            Psf::Free(kernel) => kernel.clone(),
        }
    }

    /// The Gaussian, if it is one.
    pub fn gaussian(&self) -> Option<&GaussianPsf> {
        match self {
            Psf::Gaussian(gaussian) => Some(gaussian),
            Psf::Free(_) => None,
        }
    }
}

/// How well the data determine the estimate.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Determined {
    /// Standard errors of the variances v1, v2 (HR pixels squared) and the angle (radians) of
    /// [`GaussianPsf::variances`]; `None` where the PSF was given or the scene does not determine it.
    pub psf: Option<[f64; 3]>,
    /// Standard errors of the centre's row and column (HR pixels), where it was searched.
    pub centre: Option<[f64; 2]>,
    /// Independent directions of each MSI band's response that the data fix, of B at most; the rest is smoothness
    /// and non-negativity. Empty where the response was given.
    pub directions: Vec<f64>,
    /// Plain sentences about what the scene cannot determine.
    pub remarks: Vec<String>,
}

/// The Gaussian that explains the two images best.
#[derive(Debug, Clone, PartialEq)]
pub struct GaussianForm {
    /// It.
    pub psf: GaussianPsf,
    /// Standard errors of its centre (HR pixels), where that was searched.
    pub centre: Option<[f64; 2]>,
    /// As [`Estimate::misfit`].
    pub misfit: f64,
}

/// The estimated degradation.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// The point spread function.
    pub psf: Psf,
    /// Side K of its window.
    pub kernel: usize,
    /// The best Gaussian, where a PSF was found that was not asked to be [`PsfModel::Free`].
    pub gaussian: Option<GaussianForm>,
    /// The response, B×b, non-negative, columns sum to 1.
    pub response: Array2<f64>,
    /// Gain of each MSI band: `Y_j ≈ gain_j (Z·R)_j + offset_j`. 1 unless the data speak clearly against it.
    pub gain: Vec<f64>,
    /// Offset of each MSI band in the unit of the MSI; 0 unless the data speak clearly against it.
    pub offset: Vec<f64>,
    /// Root mean square of X·R − (Y∗C)↓ relative to the standard deviation of (Y∗C)↓, for the PSF of the start: an
    /// isotropic Gaussian whose standard deviation is a quarter of the scale (or the PSF that was given).
    pub misfit_start: f64,
    /// The same for the estimate.
    pub misfit: f64,
    /// How well each part is determined.
    pub determined: Determined,
}
