//! The sums that treat every pixel by itself: squared errors, peaks, means and spectral angles.

use ndarray::Axis;
use rayon::prelude::*;

use crate::error::{Error, Result};

use super::pair::Pair;

/// PSNR of a band is never reported above this (dB), so that equal images have a finite value.
///
/// Rounding a band to single precision alone leaves an error of about 2⁻²⁵/√3 of its peak, which is 155 dB:
/// what lies above the cap is equality.
pub const PSNR_CAP_DB: f64 = 160.0;

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
        let rows: Vec<Result<Sums>> = (0..pair.reference.rows())
            .into_par_iter()
            .map(|r| Sums::of_row(pair, r, gain, norm_offset))
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

    fn of_row(pair: &Pair, r: usize, gain: f64, norm_offset: f64) -> Result<Sums> {
        let bands = pair.reference.bands();
        let mut row = Sums::new(bands);
        let (mut x, mut y) = (vec![0.0; bands], vec![0.0; bands]);
        let reference_row = pair.reference.samples.index_axis(Axis(0), r);
        let estimate_row = pair.estimate.samples.index_axis(Axis(0), r);
        let pixels = reference_row.outer_iter().zip(estimate_row.outer_iter());
        for (c, (reference_pixel, estimate_pixel)) in pixels.enumerate() {
            if !pair.counted[[r, c]] {
                continue;
            }
            for (b, (&xs, &ys)) in reference_pixel.iter().zip(estimate_pixel).enumerate() {
                x[b] = f64::from(xs) * gain;
                y[b] = f64::from(ys) * gain;
                let sum = &mut row.bands[b];
                sum.squared_error += (x[b] - y[b]) * (x[b] - y[b]);
                sum.reference_sum += x[b];
                sum.peak = sum.peak.max(x[b]);
                sum.estimate_min = sum.estimate_min.min(y[b]);
                sum.estimate_max = sum.estimate_max.max(y[b]);
            }
            let angle = spectral_angle(&x, &y, norm_offset);
            if !angle.is_finite() {
                return Err(not_finite(&x, &y, pair.first + r, c));
            }
            row.angle_sum += angle;
        }
        Ok(row)
    }
}

fn not_finite(x: &[f64], y: &[f64], row: usize, column: usize) -> Error {
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
        "{which}: sample at row {row}, column {column}, band {band} (counted from 0) is not finite; repair or mask it"
    ))
}

/// Angle between two spectra in radians, 90° if one of them is zero, NaN if a sample is not finite.
///
/// With a `norm_offset` it is arccos(x·y / ((‖x‖+o)(‖y‖+o))). Without one it is 2·atan2(‖x/‖x‖ − y/‖y‖‖,
/// ‖x/‖x‖ + y/‖y‖‖) (Kahan), the same angle without the arccosine's loss of half the digits near zero.
fn spectral_angle(x: &[f64], y: &[f64], norm_offset: f64) -> f64 {
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (a, b) in x.iter().zip(y) {
        xx += a * a;
        yy += b * b;
        xy += a * b;
    }
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
    let (mut difference, mut sum) = (0.0, 0.0);
    for (a, b) in x.iter().zip(y) {
        let (u, v) = (a * nx, b * ny);
        difference += (u - v) * (u - v);
        sum += (u + v) * (u + v);
    }
    2.0 * difference.sqrt().atan2(sum.sqrt())
}
