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
mod types;
mod uncertainty;
mod windows;

use ndarray::{Array2, ArrayView2, ArrayView3};

use self::samples::Data;
use super::coverage::Coverage;
use super::window::side_of_parity;
use crate::error::{Error, Result};

pub use self::mixture::fit_mixture;
pub use self::solve::widest_window;
pub use self::types::{Determined, Estimate, GaussianForm, Options, Psf, PsfModel};

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
