//! Quality of an estimated hyperspectral image against its reference.
//!
//! The literature disagrees about nearly every index, so a set of definitions has a name, a
//! [`Convention`], and travels with the numbers in [`Scores`]. [`evaluate`] is the only entry, and reads both images
//! in strips, so that neither need fit in memory; its numbers do not depend on the strips to the last bit.
//! `pair` reads, `pixel` holds the sums that treat pixels one by one, `window` the indices over sliding windows, `slide` their sums.

pub mod no_reference;
mod pair;
mod pixel;
mod slide;
mod window;

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use pulp::Arch;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::cube::SampleType;
use crate::cube::strips::{self, Strips};
use crate::error::{Error, Result};

use pair::{Images, Pair};
pub use pixel::PSNR_CAP_DB;
use pixel::{BandSums, Sums};
use slide::Weighting;
use window::{IndexSums, Indices, OfTile, TILE_ROWS, Tile, Windows};

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
    // Smaller strips than others take: some rows of windows' height are held beside the one that is read.
    let step = (strips::strip_rows(columns, bands) / 4).max(1);
    scores(reference, estimate, scale, convention, step)
}

/// [`evaluate`] with as many rows read at once.
fn scores(
    reference: &dyn Strips,
    estimate: &dyn Strips,
    scale: usize,
    convention: Convention,
    step: usize,
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
    let images = Images {
        reference,
        estimate,
        zeros_count: convention == Convention::Daem,
    };
    let mut sums = Sums::new(bands);
    let mut pixels = 0;
    images.for_each(step, |pair| {
        pixels += pair.pixels();
        sums.add(&pair, gain, norm_offset)
    })?;
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
    let (uiqi, ssim) = windowed(&images, convention, gain, &sums.bands, step)?;
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
/// Windows are gone through where at least [`TILE_ROWS`] rows of them lie in what has been read.
fn windowed(
    images: &Images,
    convention: Convention,
    gain: f64,
    bands: &[BandSums],
    step: usize,
) -> Result<(f64, f64)> {
    let (rows, columns, _) = images.reference.dim();
    let windows = |weighting, dropped| Windows::new(weighting, (rows, columns), dropped);
    // sewar crops its map by 4 on every side and so drops the last window of each axis.
    let (uiqi, ssim) = match convention {
        Convention::Strict => (
            windows(Weighting::Box(32), 0),
            windows(Weighting::gaussian(1.5, 5), 0),
        ),
        Convention::Daem => (windows(Weighting::Box(8), 1), windows(Weighting::Box(7), 0)),
    };
    let range = |band: &BandSums| match convention {
        Convention::Strict => band.peak,
        Convention::Daem => match band.estimate_range() {
            // A constant estimate: the published definition divides zero by zero.
            0.0 => band.peak,
            range => range,
        },
    };
    let ranges: Vec<f64> = bands.iter().map(range).collect();
    let indices = Indices {
        uiqi: &uiqi,
        ssim: &ssim,
        as_published: convention == Convention::Daem,
        gain,
        ranges: &ranges,
    };
    let more = uiqi.side().max(ssim.side()) - 1;
    let mut held: VecDeque<Pair> = VecDeque::new();
    let mut next = 0;
    let mut means = vec![[Mean::new(bands.len()), Mean::new(bands.len())]; Tile::columns(columns)];
    images.for_each(step, |pair| {
        let read = pair.rows.end;
        held.push_back(pair);
        let complete = if read == rows {
            rows
        } else {
            read.saturating_sub(more)
        };
        if complete < next + TILE_ROWS && read < rows {
            return Ok(());
        }
        let tiles = Tile::over(next..complete, columns);
        let row = |r: usize| held[held.partition_point(|pair| pair.rows.end <= r)].row(r);
        let of_tiles: Vec<[IndexSums; 2]> = tiles
            .par_iter()
            .map(|tile| {
                Arch::new().dispatch(OfTile {
                    indices: &indices,
                    tile,
                    row,
                })
            })
            .collect();
        for (tile, sums) in tiles.iter().zip(&of_tiles) {
            for (mean, sums) in means[tile.column()].iter_mut().zip(sums) {
                mean.add(sums);
            }
        }
        next = complete;
        held.retain(|pair| pair.rows.end > next);
        Ok(())
    })?;
    let [uiqi, ssim] = [0, 1].map(|index| Mean::values(means.iter().map(|of_column| &of_column[index])));
    let with_range = ssim.iter().zip(&ranges).filter(|&(_, &range)| range > 0.0);
    let ssim = mean_of(
        with_range.map(|(&value, _)| value),
        "SSIM: no band of the reference has a positive sample",
    )?;
    Ok((uiqi.iter().sum::<f64>() / bands.len() as f64, ssim))
}

/// Weighted mean of an index over windows of one column of tiles, as far as they have been seen.
#[derive(Debug, Clone)]
struct Mean {
    /// Of every band.
    sums: Vec<f64>,
    weight: f64,
}

impl Mean {
    fn new(bands: usize) -> Self {
        Mean {
            sums: vec![0.0; bands],
            weight: 0.0,
        }
    }

    /// Adds rows of windows one after the other, so that it makes no difference how many come together.
    fn add(&mut self, rows: &IndexSums) {
        for (row, weight) in rows.sums.chunks_exact(self.sums.len()).zip(&rows.weights) {
            self.sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            self.weight += weight;
        }
    }

    /// The means of all bands. Every counted pixel lies in some window, but the dropped ones may have held them all: then 1.
    fn values<'a>(columns: impl Iterator<Item = &'a Mean>) -> Vec<f64> {
        let all = columns.cloned().reduce(|mut all, column| {
            all.sums
                .iter_mut()
                .zip(&column.sums)
                .for_each(|(sum, x)| *sum += x);
            all.weight += column.weight;
            all
        });
        let Some(all) = all else { return Vec::new() };
        let value = |sum: &f64| if all.weight > 0.0 { sum / all.weight } else { 1.0 };
        all.sums.iter().map(value).collect()
    }
}

#[cfg(test)]
mod tests;
