//! Quality of an estimated hyperspectral image against its reference.
//!
//! The literature disagrees about nearly every index, so a set of definitions has a name, a
//! [`Convention`], and travels with the numbers in [`Scores`]. [`evaluate`] is the only entry, and reads both images
//! in strips, so that neither need fit in memory; its numbers do not depend on the strips to the last bit.
//! `pixel` holds the sums that treat pixels one by one, `window` the indices over sliding windows.

pub mod no_reference;
mod pair;
mod pixel;
mod window;

use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::cube::SampleType;
use crate::cube::strips::{self, Strips};
use crate::error::{Error, Result};
use crate::interrupt;

use pair::Pair;
pub use pixel::PSNR_CAP_DB;
use pixel::{BandSums, Sums};
use window::{Mean, Planes, Weighting, Windows};

/// Fewest rows of windows that are looked at together: a strip reads up to 31 rows more than it has windows.
const LEAST_WINDOW_ROWS: usize = 96;

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
pub fn evaluate(
    reference: &dyn Strips,
    estimate: &dyn Strips,
    scale: usize,
    convention: Convention,
) -> Result<Scores> {
    let (_, columns, bands) = reference.dim();
    let rows = strips::strip_rows(columns, bands);
    let steps = (rows, rows.max(LEAST_WINDOW_ROWS));
    scores(reference, estimate, scale, convention, steps)
}

/// [`evaluate`] with as many rows at once for sums over pixels, and as many rows of windows.
fn scores(
    reference: &dyn Strips,
    estimate: &dyn Strips,
    scale: usize,
    convention: Convention,
    (pixel_rows, window_rows): (usize, usize),
) -> Result<Scores> {
    if reference.dim() != estimate.dim() {
        let text = |image: &dyn Strips| {
            let (rows, columns, bands) = image.dim();
            format!("{rows} rows x {columns} columns x {bands} bands")
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
    let gain = match convention {
        Convention::Strict => 1.0,
        Convention::Daem => 255.0 / full_scale(reference)?,
    };
    let norm_offset = match convention {
        Convention::Strict => 0.0,
        Convention::Daem => 1e-6,
    };
    let (rows, columns, bands) = reference.dim();
    let mut sums = Sums::new(bands);
    let mut pixels = 0;
    for first in (0..rows).step_by(pixel_rows) {
        interrupt::check()?;
        let range = first..(first + pixel_rows).min(rows);
        let pair = Pair::read(reference, estimate, range, convention == Convention::Daem)?;
        pixels += pair.counted.iter().filter(|&&ok| ok).count();
        sums.add(&pair, gain, norm_offset)?;
    }
    let masked = rows * columns - pixels;
    if pixels == 0 {
        return Err(Error::input(format!(
            "nothing to compare: all {masked} pixels are masked or zero in every band of the reference"
        )));
    }
    let ergas_scale = match convention {
        Convention::Strict => scale as f64,
        Convention::Daem => 32.0,
    };
    let (uiqi, ssim) = windowed(reference, estimate, gain, &sums.bands, convention, window_rows)?;
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

/// The sample that `daem` maps to 255: the largest value of an 8- or 16-bit type, else 1 for images in \[0, 1\]
/// and the largest sample for others.
fn full_scale(reference: &dyn Strips) -> Result<f64> {
    Ok(match reference.sample_type() {
        SampleType::U8 => f64::from(u8::MAX),
        SampleType::I8 => f64::from(i8::MAX),
        SampleType::U16 => f64::from(u16::MAX),
        SampleType::I16 => f64::from(i16::MAX),
        _ => {
            let mut largest = 1.0f64;
            strips::for_each(reference, |_, strip| {
                largest = strip.max_valid().map_or(largest, |m| largest.max(f64::from(m)));
                Ok(())
            })?;
            largest
        }
    })
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
///
/// Windows are gone through in strips of the rows that they begin in; a strip reads as many rows more as a window has.
fn windowed(
    reference: &dyn Strips,
    estimate: &dyn Strips,
    gain: f64,
    bands: &[BandSums],
    convention: Convention,
    step: usize,
) -> Result<(f64, f64)> {
    let (rows, columns, count) = reference.dim();
    // sewar crops its map by 4 on every side and so drops the last window of each axis.
    let (uiqi, ssim) = match convention {
        Convention::Strict => (
            Windows::new(Weighting::Box(32), (rows, columns), 0),
            Windows::new(Weighting::gaussian(1.5, 5), (rows, columns), 0),
        ),
        Convention::Daem => (
            Windows::new(Weighting::Box(8), (rows, columns), 1),
            Windows::new(Weighting::Box(7), (rows, columns), 0),
        ),
    };
    let ranges = |band: &BandSums| match convention {
        Convention::Strict => band.peak,
        Convention::Daem => match band.estimate_range() {
            // A constant estimate: the published definition divides zero by zero.
            0.0 => band.peak,
            range => range,
        },
    };
    let more = uiqi.side().max(ssim.side()) - 1;
    let mut means = vec![(Mean::default(), Mean::default()); count];
    for first in (0..rows - (uiqi.side().min(ssim.side()) - 1)).step_by(step) {
        interrupt::check()?;
        let read = first..(first + step + more).min(rows);
        let pair = Pair::read(reference, estimate, read, convention == Convention::Daem)?;
        let size = pair.counted.dim();
        let (uiqi, ssim) = (
            uiqi.support(first..first + step, &pair.counted),
            ssim.support(first..first + step, &pair.counted),
        );
        means.par_iter_mut().enumerate().for_each_init(
            || Planes::new(size.0, size.1),
            |planes, (band, (uiqi_mean, ssim_mean))| {
                planes.fill(&pair.reference, &pair.estimate, &pair.counted, band, gain);
                let range = ranges(&bands[band]);
                let sample = convention == Convention::Daem;
                let uiqi_of = match convention {
                    Convention::Strict => window::uiqi,
                    Convention::Daem => window::sewar_uqi,
                };
                uiqi.add(planes, uiqi_of, uiqi_mean);
                if range > 0.0 {
                    ssim.add(planes, |m| window::ssim(m, range, sample), ssim_mean);
                }
            },
        );
    }
    let uiqi = means.iter().map(|m| m.0.value()).sum::<f64>() / count as f64;
    let with_range = means.iter().zip(bands).filter(|(_, band)| ranges(band) > 0.0);
    let ssim = mean_of(
        with_range.map(|(m, _)| m.1.value()),
        "SSIM: no band of the reference has a positive sample",
    )?;
    Ok((uiqi, ssim))
}

#[cfg(test)]
mod tests;
