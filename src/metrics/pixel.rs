//! The sums that treat every pixel by itself: squared errors, peaks, means and spectral angles.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::error::{Error, Result};

use super::pair::{Pair, Row};

/// PSNR of a band is never reported above this (dB), so that equal images have a finite value.
///
/// Rounding a band to single precision alone leaves an error of about 2⁻²⁵/√3 of its peak, which is 155 dB:
/// what lies above the cap is equality.
pub const PSNR_CAP_DB: f64 = 160.0;

/// Bands of a pixel that are summed side by side.
const LANES: usize = 8;

/// Sums over the counted pixels of one band.
#[derive(Debug, Clone, Copy)]
pub(super) struct BandSums {
    pub(super) squared_error: f64,
    pub(super) reference_sum: f64,
    /// Largest reference sample.
    pub(super) peak: f64,
    estimate_min: f64,
    estimate_max: f64,
}

impl BandSums {
    const EMPTY: BandSums = BandSums {
        squared_error: 0.0,
        reference_sum: 0.0,
        peak: f64::NEG_INFINITY,
        estimate_min: f64::INFINITY,
        estimate_max: f64::NEG_INFINITY,
    };

    fn add(&mut self, other: &BandSums) {
        self.squared_error += other.squared_error;
        self.reference_sum += other.reference_sum;
        self.peak = self.peak.max(other.peak);
        self.estimate_min = self.estimate_min.min(other.estimate_min);
        self.estimate_max = self.estimate_max.max(other.estimate_max);
    }

    /// Maximum less minimum of the estimate.
    pub(super) fn estimate_range(&self) -> f64 {
        self.estimate_max - self.estimate_min
    }

    /// 10·log₁₀(peak²/MSE), capped; `None` without a positive peak.
    pub(super) fn psnr_db(&self, pixels: usize) -> Option<f64> {
        (self.peak > 0.0).then(|| {
            let mse = self.squared_error / pixels as f64;
            (20.0 * self.peak.log10() - 10.0 * mse.log10()).min(PSNR_CAP_DB)
        })
    }

    /// MSE over squared mean of the reference; `None` if that mean is zero.
    pub(super) fn relative_mse(&self, pixels: usize) -> Option<f64> {
        let mean = self.reference_sum / pixels as f64;
        (mean != 0.0).then(|| self.squared_error / pixels as f64 / (mean * mean))
    }
}

/// Sums of one image pair.
pub(super) struct Sums {
    pub(super) bands: Vec<BandSums>,
    /// Spectral angles in radians, summed over the counted pixels.
    pub(super) angle_sum: f64,
}

impl Sums {
    /// Of no pixel yet.
    pub(super) fn new(bands: usize) -> Self {
        Sums {
            bands: vec![BandSums::EMPTY; bands],
            angle_sum: 0.0,
        }
    }

    /// Adds the counted pixels of some rows, samples × `gain`.
    ///
    /// Rows are summed by themselves and then in order, so that neither the number of threads nor that of the strips
    /// changes a bit.
    pub(super) fn add(&mut self, pair: &Pair, gain: f64, norm_offset: f64) -> Result<()> {
        let rows: Vec<Result<Sums>> = pair
            .rows
            .clone()
            .into_par_iter()
            .map(|r| {
                let row = pair.row(r);
                let of_row = OfRow {
                    row,
                    bands: pair.bands,
                    gain,
                    norm_offset,
                };
                Arch::new()
                    .dispatch(of_row)
                    .map_err(|column| not_finite(row, pair.bands, r, column))
            })
            .collect();
        for row in rows {
            let row = row?;
            self.angle_sum += row.angle_sum;
            for (sum, part) in self.bands.iter_mut().zip(&row.bands) {
                sum.add(part);
            }
        }
        Ok(())
    }
}

/// The sums of a row, or the column of a pixel that has a sample which is not finite; in the widest vectors there are.
struct OfRow<'a> {
    row: Row<'a>,
    bands: usize,
    gain: f64,
    norm_offset: f64,
}

impl WithSimd for OfRow<'_> {
    type Output = std::result::Result<Sums, usize>;

    // The compiler makes the vectors, from loops over a fixed number of lanes that are inlined here.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        let OfRow {
            row,
            bands,
            gain,
            norm_offset,
        } = self;
        let lines = bands.div_ceil(LANES);
        let mut sums = vec![LineSums::EMPTY; lines];
        let (mut x, mut y) = (vec![[0.0; LANES]; lines], vec![[0.0; LANES]; lines]);
        let mut angle_sum = 0.0;
        let pixels = row
            .reference
            .chunks_exact(bands)
            .zip(row.estimate.chunks_exact(bands));
        for (column, (reference, estimate)) in pixels.enumerate() {
            if !row.counted[column] {
                continue;
            }
            scaled(&mut x, reference, gain);
            scaled(&mut y, estimate, gain);
            for ((sum, x), y) in sums.iter_mut().zip(&x).zip(&y) {
                sum.add(x, y);
            }
            let angle = spectral_angle(&x, &y, norm_offset);
            if !angle.is_finite() {
                return Err(column);
            }
            angle_sum += angle;
        }
        Ok(Sums {
            bands: (0..bands).map(|b| sums[b / LANES].band(b % LANES)).collect(),
            angle_sum,
        })
    }
}

/// Samples × `gain`, lane after lane.
#[inline(always)]
fn scaled(to: &mut [[f64; LANES]], from: &[f32], gain: f64) {
    let (whole, rest) = from.as_chunks::<LANES>();
    for (to, from) in to.iter_mut().zip(whole) {
        for l in 0..LANES {
            to[l] = f64::from(from[l]) * gain;
        }
    }
    if let Some(last) = to.get_mut(whole.len()) {
        for (to, &from) in last.iter_mut().zip(rest) {
            *to = f64::from(from) * gain;
        }
    }
}

/// [`BandSums`] of bands side by side.
#[derive(Clone, Copy)]
struct LineSums {
    squared_error: [f64; LANES],
    reference_sum: [f64; LANES],
    peak: [f64; LANES],
    estimate_min: [f64; LANES],
    estimate_max: [f64; LANES],
}

impl LineSums {
    const EMPTY: LineSums = LineSums {
        squared_error: [BandSums::EMPTY.squared_error; LANES],
        reference_sum: [BandSums::EMPTY.reference_sum; LANES],
        peak: [BandSums::EMPTY.peak; LANES],
        estimate_min: [BandSums::EMPTY.estimate_min; LANES],
        estimate_max: [BandSums::EMPTY.estimate_max; LANES],
    };

    #[inline(always)]
    fn add(&mut self, x: &[f64; LANES], y: &[f64; LANES]) {
        for l in 0..LANES {
            let (x, y) = (x[l], y[l]);
            self.squared_error[l] += (x - y) * (x - y);
            self.reference_sum[l] += x;
            // Comparisons instead of `max`, which looks after NaN; a pixel with one is refused.
            self.peak[l] = if x > self.peak[l] { x } else { self.peak[l] };
            self.estimate_min[l] = if y < self.estimate_min[l] {
                y
            } else {
                self.estimate_min[l]
            };
            self.estimate_max[l] = if y > self.estimate_max[l] {
                y
            } else {
                self.estimate_max[l]
            };
        }
    }

    fn band(&self, lane: usize) -> BandSums {
        BandSums {
            squared_error: self.squared_error[lane],
            reference_sum: self.reference_sum[lane],
            peak: self.peak[lane],
            estimate_min: self.estimate_min[lane],
            estimate_max: self.estimate_max[lane],
        }
    }
}

fn not_finite(row: Row<'_>, bands: usize, r: usize, column: usize) -> Error {
    let pixel = column * bands..(column + 1) * bands;
    let (x, y) = (&row.reference[pixel.clone()], &row.estimate[pixel]);
    let which = if x.iter().all(|v| v.is_finite()) {
        "estimate"
    } else {
        "reference"
    };
    let band = x
        .iter()
        .zip(y)
        .position(|(a, b)| !a.is_finite() || !b.is_finite())
        .unwrap_or(0);
    Error::input(format!(
        "{which}: sample at row {r}, column {column}, band {band} (counted from 0) is not finite; repair or mask it"
    ))
}

/// Angle between two spectra in radians, 90° if one of them is zero, NaN if a sample is not finite.
///
/// With a `norm_offset` it is arccos(x·y / ((‖x‖+o)(‖y‖+o))). Without one it is 2·atan2(‖x/‖x‖ − y/‖y‖‖,
/// ‖x/‖x‖ + y/‖y‖‖) (Kahan), the same angle without the arccosine's loss of half the digits near zero.
#[inline(always)]
fn spectral_angle(x: &[[f64; LANES]], y: &[[f64; LANES]], norm_offset: f64) -> f64 {
    let mut sums = [[0.0; LANES]; 3];
    for (x, y) in x.iter().zip(y) {
        for l in 0..LANES {
            sums[0][l] += x[l] * x[l];
            sums[1][l] += y[l] * y[l];
            sums[2][l] += x[l] * y[l];
        }
    }
    let [xx, yy, xy] = sums.map(total);
    if !(xx + yy).is_finite() {
        return f64::NAN;
    }
    if norm_offset > 0.0 {
        let cosine = xy / ((xx.sqrt() + norm_offset) * (yy.sqrt() + norm_offset));
        return cosine.clamp(-1.0, 1.0).acos();
    }
    if xx == 0.0 || yy == 0.0 {
        return std::f64::consts::FRAC_PI_2;
    }
    let (nx, ny) = (1.0 / xx.sqrt(), 1.0 / yy.sqrt());
    let mut sums = [[0.0; LANES]; 2];
    for (x, y) in x.iter().zip(y) {
        for l in 0..LANES {
            let (u, v) = (x[l] * nx, y[l] * ny);
            sums[0][l] += (u - v) * (u - v);
            sums[1][l] += (u + v) * (u + v);
        }
    }
    let [difference, sum] = sums.map(total);
    2.0 * difference.sqrt().atan2(sum.sqrt())
}

/// Of all lanes, in pairs.
fn total(lanes: [f64; LANES]) -> f64 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}
