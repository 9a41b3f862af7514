//! The degradation from the two images alone: PSF and SRF in closed form and by a search of three dimensions.
//!
//! Blurring works on rows and columns, the response on bands, so (Z∗C)↓ ×₃ R is the same whichever comes first:
//! X·R = (Y∗C)↓ up to noise, and Z has gone. For a candidate PSF the best response is a linear least-squares
//! problem; what it leaves is a function of the PSF's parameters alone, and its minimum is the estimate. Stands
//! with the sensors because nothing of a network or an engine is needed for it.

mod evidence;
mod free;
mod mixture;
mod response;
mod samples;
mod search;
mod solve;
#[cfg(test)]
mod tests;
mod uncertainty;
mod windows;

use ndarray::{Array2, ArrayView2, ArrayView3};
use serde::{Deserialize, Serialize};

use self::samples::Data;
use super::coverage::Coverage;
use super::psf::GaussianPsf;
use super::window::side_of_parity;
use crate::error::{Error, Result};

pub use self::mixture::fit_mixture;
pub use self::solve::widest_window;

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
    /// Side K ≥ 1 of the PSF's window; `None`: what the two images ask for ([`super::window::MASS`]).
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

/// Estimates PSF and SRF from the LR-HSI (h×w×B) and the HR-MSI (h·s × w·s × b).
///
/// `lr_valid` (h×w) and `hr_valid` (h·s × w·s) mask pixels; those with a sample that is not finite are left out too, and
/// LR pixels whose window leaves the image where enough others remain ([`Coverage::explained`]).
/// Where the scene does not determine the PSF (a flat scene, too few pixels) the isotropic start is returned
/// and `determined.remarks` says so. Same input, same bits.
///
/// # Errors
/// [`Error::Input`] if sizes do not fit each other or the options, no LR pixel is usable, or an image is zero
/// everywhere.
pub fn estimate(
    lr_hsi: ArrayView3<f32>,
    hr_msi: ArrayView3<f32>,
    lr_valid: Option<ArrayView2<bool>>,
    hr_valid: Option<ArrayView2<bool>>,
    options: &Options,
) -> Result<Estimate> {
    check(lr_hsi, hr_msi, (lr_valid, hr_valid), options)?;
    let (lr, hr) = (usable(lr_hsi, lr_valid), usable(hr_msi, hr_valid));
    let coverage = Coverage {
        lr: lr.view(),
        hr: hr.view(),
        scale: options.scale,
    };
    let data = Data::new(lr_hsi, hr_msi, coverage, options)?;
    // One way into the pool for all that is shared there: it is often and little.
    Ok(rayon::scope(|_| data.solve()))
}

/// Pixels that are valid and finite in every band.
fn usable(image: ArrayView3<f32>, valid: Option<ArrayView2<bool>>) -> Array2<bool> {
    let (rows, columns, _) = image.dim();
    let mut usable = valid.map_or_else(|| Array2::from_elem((rows, columns), true), |v| v.to_owned());
    for (ok, pixel) in usable.iter_mut().zip(image.rows()) {
        *ok = *ok && pixel.iter().all(|x| x.is_finite());
    }
    usable
}

fn check(
    lr_hsi: ArrayView3<f32>,
    hr_msi: ArrayView3<f32>,
    (lr_valid, hr_valid): (Option<ArrayView2<bool>>, Option<ArrayView2<bool>>),
    options: &Options,
) -> Result<()> {
    let (h, w, hsi_bands) = lr_hsi.dim();
    let (rows, columns, msi_bands) = hr_msi.dim();
    let s = options.scale;
    let k = match &options.known_psf {
        Some(psf) => psf.nrows(),
        None => options.kernel.unwrap_or(s),
    };
    if s == 0 || k == 0 {
        return Err(Error::input(format!(
            "scale {s} and kernel size {k} must both be at least 1"
        )));
    }
    if h == 0 || w == 0 || hsi_bands == 0 || msi_bands == 0 {
        return Err(Error::input(format!(
            "an image is empty: HSI {h} x {w} x {hsi_bands}, MSI {rows} x {columns} x {msi_bands}"
        )));
    }
    if h.checked_mul(s) != Some(rows) || w.checked_mul(s) != Some(columns) {
        return Err(Error::input(format!(
            "the MSI ({rows} x {columns} pixels) is not {s} times the HSI ({h} x {w} pixels)"
        )));
    }
    if k > 4 * rows.max(columns) {
        return Err(Error::input(format!(
            "kernel size {k} is far larger than the MSI ({rows} x {columns} pixels)"
        )));
    }
    for (valid, dim, name) in [(lr_valid, (h, w), "HSI"), (hr_valid, (rows, columns), "MSI")] {
        if let Some(valid) = valid
            && valid.dim() != dim
        {
            return Err(Error::input(format!(
                "the mask has {:?} pixels, the {name} {dim:?}",
                valid.dim()
            )));
        }
    }
    if side_of_parity(k, s) != k {
        return Err(Error::input(format!(
            "a window of {k} pixels has no middle in common with a block of {s}; both must be even or both odd"
        )));
    }
    if let Some(psf) = &options.known_psf {
        let sum = psf.sum();
        if psf.dim() != (k, k) || !psf.iter().all(|c| c.is_finite()) || (sum - 1.0).abs() > 1e-3 {
            return Err(Error::input(format!(
                "the known PSF is {:?} with sum {sum}; a {k} x {k} kernel of finite weights with sum 1 is needed",
                psf.dim()
            )));
        }
    }
    if let Some(srf) = &options.known_srf
        && (srf.dim() != (hsi_bands, msi_bands) || !srf.iter().all(|r| r.is_finite() && *r >= 0.0))
    {
        return Err(Error::input(format!(
            "the known SRF is {:?}; {hsi_bands} x {msi_bands} finite, non-negative values are needed",
            srf.dim()
        )));
    }
    Ok(())
}
