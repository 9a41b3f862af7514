//! Quality of an estimated hyperspectral image against its reference.
//!
//! The literature disagrees about nearly every index, so a set of definitions has a name, a
//! [`Convention`], and travels with the numbers in [`Scores`]. [`evaluate`] is the only entry;
//! `pixel` holds the sums that treat pixels one by one, `window` the indices over sliding windows.

mod pixel;
mod window;

use std::fmt;
use std::str::FromStr;

use ndarray::{Array2, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::cube::{Cube, SampleType};
use crate::error::{Error, Result};

use pixel::BandSums;
use window::{Planes, Support, Weighting};

/// PSNR of a band is never reported above this (dB), so that equal images have a finite value.
///
/// Rounding a band to single precision alone leaves an error of about 2⁻²⁵/√3 of its peak, which is 155 dB:
/// what lies above the cap is equality.
pub const PSNR_CAP_DB: f64 = 160.0;

/// A named set of definitions of the six indices.
///
/// | index | `strict` | `daem` (the code published with Guo et al. 2023) |
/// |---|---|---|
/// | samples | as they are | ×255 / full scale |
/// | PSNR | per band, peak = maximum of the reference band, mean over bands | same |
/// | SAM | mean angle in degrees | both norms + 1e-6 |
/// | ERGAS | 100/s · √mean(MSE_b/μ_b²) | s = 32 whatever the scale |
/// | UIQI | Wang and Bovik 2002, every 32×32 window | `sewar.uqi`: 8×8 windows, window means used as if they were sums |
/// | SSIM | Wang et al. 2004, 11×11 Gaussian σ = 1.5, range = peak of the reference band | `skimage` defaults, 7×7 uniform windows, range = max − min of the estimated band (of a constant one: as `strict`) |
/// | RMSE | over all samples | same, on ×255 |
/// | zero spectra | left out as no data | counted (their angle is 90°) |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Convention {
    /// Textbook definitions.
    Strict,
    /// What the authors' code computes; for comparison with the published tables.
    Daem,
}

impl Convention {
    /// Every convention, in the order in which reports list them.
    pub const ALL: [Convention; 2] = [Convention::Strict, Convention::Daem];
}

impl fmt::Display for Convention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Convention::Strict => "strict",
            Convention::Daem => "daem",
        })
    }
}

impl FromStr for Convention {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Convention::ALL
            .into_iter()
            .find(|c| c.to_string() == name)
            .ok_or_else(|| Error::input(format!("unknown convention '{name}': use strict or daem")))
    }
}

/// Indices of one estimate under one convention. Every number is finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The definitions behind the numbers.
    pub convention: Convention,
    /// Peak signal-to-noise ratio in dB, mean over bands; a band's value is capped at [`PSNR_CAP_DB`].
    pub psnr_db: f64,
    /// Spectral angle in degrees, mean over pixels.
    pub sam_deg: f64,
    /// Erreur relative globale adimensionnelle de synthèse (Wald 2000).
    pub ergas: f64,
    /// Universal image quality index, −1 to 1.
    pub uiqi: f64,
    /// Structural similarity, −1 to 1.
    pub ssim: f64,
    /// Root mean square error in the unit of the samples (`daem`: of 255).
    pub rmse: f64,
    /// Pixels that the numbers are made of.
    pub pixels: usize,
    /// Pixels left out: masked in either image or, under `strict`, zero in every band of the reference.
    pub masked: usize,
}

/// Compares `estimate` with `reference` (both rows × columns × bands, same unit).
///
/// `scale` is the ratio of the pixel grids that ERGAS is normalised with. Pixels that are masked in either
/// image enter no index; a sliding window is computed from the pixels of it that remain, and windows
/// weigh as much as they have pixels. Bands whose reference has no positive sample have no PSNR and no SSIM and
/// bands whose reference has mean zero no ERGAS term: they are left out of those means. A zero
/// spectrum in the estimate where the reference has signal counts as 90°.
///
/// # Errors
/// [`Error::Input`] if the shapes differ, `scale` is 0, a usable sample is not finite, or nothing is left to compare.
pub fn evaluate(reference: &Cube, estimate: &Cube, scale: usize, convention: Convention) -> Result<Scores> {
    if reference.samples.dim() != estimate.samples.dim() {
        let text = |c: &Cube| {
            format!(
                "{} rows x {} columns x {} bands",
                c.rows(),
                c.columns(),
                c.bands()
            )
        };
        return Err(Error::input(format!(
            "reference and estimate differ in shape: {} against {}; compare images on one grid with the same bands",
            text(reference),
            text(estimate)
        )));
    }
    if scale == 0 {
        return Err(Error::input(
            "scale 0: ERGAS needs the ratio of the pixel grids, an integer from 1",
        ));
    }
    let counted = counted_pixels(reference, estimate, convention);
    let pixels = counted.iter().filter(|&&ok| ok).count();
    let masked = counted.len() - pixels;
    if pixels == 0 {
        return Err(Error::input(format!(
            "nothing to compare: all {masked} pixels are masked or zero in every band of the reference"
        )));
    }
    let gain = match convention {
        Convention::Strict => 1.0,
        Convention::Daem => 255.0 / full_scale(reference),
    };
    let norm_offset = match convention {
        Convention::Strict => 0.0,
        Convention::Daem => 1e-6,
    };
    let sums = pixel::sums(reference, estimate, &counted, gain, norm_offset)?;
    let ergas_scale = match convention {
        Convention::Strict => scale as f64,
        Convention::Daem => 32.0,
    };
    let (uiqi, ssim) = windowed(reference, estimate, &counted, gain, &sums.bands, convention)?;
    Ok(Scores {
        convention,
        psnr_db: mean_of(
            sums.bands.iter().filter_map(|b| b.psnr_db(pixels)),
            "PSNR: no band of the reference has a positive sample",
        )?,
        sam_deg: sums.angle_sum.to_degrees() / pixels as f64,
        ergas: 100.0 / ergas_scale
            * mean_of(
                sums.bands.iter().filter_map(|b| b.relative_mse(pixels)),
                "ERGAS: every band of the reference has mean zero",
            )?
            .sqrt(),
        uiqi,
        ssim,
        rmse: (sums.bands.iter().map(|b| b.squared_error).sum::<f64>()
            / (pixels as f64 * sums.bands.len() as f64))
            .sqrt(),
        pixels,
        masked,
    })
}

/// `true` where a pixel enters the indices.
fn counted_pixels(reference: &Cube, estimate: &Cube, convention: Convention) -> Array2<bool> {
    Array2::from_shape_fn((reference.rows(), reference.columns()), |(r, c)| {
        reference.is_valid(r, c)
            && estimate.is_valid(r, c)
            && (convention == Convention::Daem
                || reference.samples.slice(s![r, c, ..]).iter().any(|&x| x != 0.0))
    })
}

/// The sample that `daem` maps to 255: the largest value of an 8- or 16-bit type, else 1 for images in \[0, 1\]
/// and the largest sample for others.
fn full_scale(reference: &Cube) -> f64 {
    match reference.sample_type {
        SampleType::U8 => f64::from(u8::MAX),
        SampleType::I8 => f64::from(i8::MAX),
        SampleType::U16 => f64::from(u16::MAX),
        SampleType::I16 => f64::from(i16::MAX),
        _ => reference.max_valid().map_or(1.0, |m| f64::from(m).max(1.0)),
    }
}

/// Mean of the values, or an error that says why there is none.
fn mean_of(values: impl Iterator<Item = f64>, why_none: &str) -> Result<f64> {
    let (sum, n) = values.fold((0.0, 0usize), |(sum, n), x| (sum + x, n + 1));
    if n == 0 {
        return Err(Error::input(format!("no {why_none}")));
    }
    Ok(sum / n as f64)
}

/// UIQI and SSIM, means over bands.
fn windowed(
    reference: &Cube,
    estimate: &Cube,
    counted: &Array2<bool>,
    gain: f64,
    bands: &[BandSums],
    convention: Convention,
) -> Result<(f64, f64)> {
    let (rows, columns) = counted.dim();
    let (uiqi_weighting, ssim_weighting) = match convention {
        Convention::Strict => (Weighting::Box(32), Weighting::gaussian(1.5, 5)),
        Convention::Daem => (Weighting::Box(8), Weighting::Box(7)),
    };
    let uiqi_support = Support::new(uiqi_weighting, counted);
    let ssim_support = Support::new(ssim_weighting, counted);
    let values: Vec<(f64, Option<f64>)> = (0..reference.bands())
        .into_par_iter()
        .map_init(
            || Planes::new(rows, columns),
            |planes, band| {
                planes.fill(reference, estimate, counted, band, gain);
                match convention {
                    Convention::Strict => {
                        let range = bands[band].peak;
                        let uiqi = uiqi_support.mean_of_windows(planes, window::uiqi, 0);
                        let ssim = (range > 0.0).then(|| {
                            ssim_support.mean_of_windows(planes, |m| window::ssim(m, range, false), 0)
                        });
                        (uiqi, ssim)
                    }
                    Convention::Daem => {
                        let range = match bands[band].estimate_range() {
                            // A constant estimate: the published definition divides zero by zero.
                            0.0 => bands[band].peak,
                            range => range,
                        };
                        // sewar crops its map by 4 on every side and so drops the last window of each axis.
                        let uiqi = uiqi_support.mean_of_windows(planes, window::sewar_uqi, 1);
                        let ssim = (range > 0.0).then(|| {
                            ssim_support.mean_of_windows(planes, |m| window::ssim(m, range, true), 0)
                        });
                        (uiqi, ssim)
                    }
                }
            },
        )
        .collect();
    let uiqi = values.iter().map(|v| v.0).sum::<f64>() / values.len() as f64;
    let ssim = mean_of(
        values.iter().filter_map(|v| v.1),
        "SSIM: no band of the reference has a positive sample",
    )?;
    Ok((uiqi, ssim))
}

#[cfg(test)]
mod tests;
