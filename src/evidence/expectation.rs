//! The error of a result that is to be expected, from errors of held-out LR pixels.
//!
//! An LR pixel's error is the mean of those of its HR pixels; refinement mends it and leaves what they are off by within the LR
//! pixel. How much that is, relative to the error of LR pixels, shows in what predictions that have seen different LR pixels
//! disagree about: they do so on HR pixels, too, where nothing was observed.

use nalgebra::DMatrix;
use ndarray::{Array3, s};
use serde::Serialize;

/// Share of normal errors within one standard deviation.
const WITHIN_ONE: f64 = 0.683;

/// Held-out errors on one part of the LR grid.
#[derive(Debug, Clone)]
pub struct HeldOutErrors {
    /// Errors, pixels × B.
    pub errors: DMatrix<f64>,
    /// What was observed there, pixels × B.
    pub observed: DMatrix<f64>,
}

/// What several predictions disagree about.
#[derive(Debug, Clone)]
pub struct Disagreement {
    /// Sums of the variance of an LR pixel, B.
    coarse: Vec<f64>,
    /// Sums of the mean variance of its HR pixels about it, B.
    within: Vec<f64>,
}

/// What a result is expected to be off by.
#[derive(Debug, Clone, Serialize)]
pub struct Expectation {
    /// PSNR in dB, as the convention `strict` has it.
    pub psnr_db: f64,
    /// Mean spectral angle, degrees.
    pub sam_deg: f64,
    /// What 68.3 % of the errors of every band are expected to stay below, in the unit of the errors: their standard deviation
    /// where they are normal, and less where a few are large.
    #[serde(skip)]
    pub deviation: Vec<f64>,
}

impl Disagreement {
    /// Of no pixels yet; the errors within LR pixels then count for as large as theirs.
    pub fn none(bands: usize) -> Self {
        Disagreement {
            coarse: vec![0.0; bands],
            within: vec![0.0; bands],
        }
    }

    /// Adds the LR pixel `at`, of `scale` × `scale` HR pixels, of predictions of an image (HR pixels and LR pixels each).
    pub fn add(&mut self, made: &[(Array3<f32>, Array3<f32>)], at: (usize, usize), scale: usize) {
        let count = made.len() as f64;
        let variance = |values: &mut dyn Iterator<Item = f64>| {
            let (sum, squares) = values.fold((0.0, 0.0), |(a, b), x| (a + x, b + x * x));
            (squares - sum * sum / count).max(0.0)
        };
        let rows = at.0 * scale..(at.0 + 1) * scale;
        let columns = at.1 * scale..(at.1 + 1) * scale;
        let low: Vec<_> = made
            .iter()
            .map(|(_, low)| low.slice(s![at.0, at.1, ..]))
            .collect();
        let high: Vec<_> = made
            .iter()
            .map(|(high, _)| high.slice(s![rows.clone(), columns.clone(), ..]))
            .collect();
        for band in 0..self.coarse.len() {
            self.coarse[band] += variance(&mut low.iter().map(|low| f64::from(low[band])));
            let mut sum = 0.0;
            for r in 0..scale {
                for c in 0..scale {
                    let both = high.iter().zip(&low);
                    sum += variance(&mut both.map(|(high, low)| f64::from(high[[r, c, band]] - low[band])));
                }
            }
            self.within[band] += sum / (scale * scale) as f64;
        }
    }

    /// Variance within LR pixels relative to that of LR pixels.
    fn growth(&self, band: usize) -> f64 {
        if self.coarse[band] > 0.0 {
            self.within[band] / self.coarse[band]
        } else {
            1.0
        }
    }
}

/// From errors at LR pixels and what predictions disagree about; `peaks` are the bands' maxima. `None` without pixels or bands.
pub fn expect(parts: &[HeldOutErrors], disagreement: &Disagreement, peaks: &[f64]) -> Option<Expectation> {
    let pixels: usize = parts.iter().map(|f| f.errors.nrows()).sum();
    if pixels == 0 || peaks.is_empty() {
        return None;
    }
    let factors: Vec<f64> = (0..peaks.len())
        .map(|band| disagreement.growth(band).sqrt())
        .collect();
    let error: Vec<f64> = factors
        .iter()
        .enumerate()
        .map(|(band, factor)| {
            let squares: f64 = parts.iter().map(|f| f.errors.column(band).norm_squared()).sum();
            factor * (squares / pixels as f64).sqrt()
        })
        .collect();
    let column = |band: usize| -> Vec<f64> {
        let columns = parts
            .iter()
            .flat_map(|f| f.errors.column(band).iter().copied().collect::<Vec<_>>());
        columns.collect()
    };
    let deviation = factors.iter().enumerate();
    let deviation = deviation
        .map(|(band, factor)| factor * quantile(column(band)))
        .collect();
    let decibels = peaks
        .iter()
        .zip(&error)
        .filter(|(peak, e)| **peak > 0.0 && **e > 0.0)
        .map(|(peak, e)| 20.0 * (peak / e).log10());
    let (sum, count) = decibels.fold((0.0, 0usize), |(s, n), db| (s + db, n + 1));
    let angle = |f: &HeldOutErrors, k: usize| {
        let (mut dot, mut own, mut other) = (0.0, 0.0, 0.0);
        for (band, factor) in factors.iter().enumerate() {
            let truth = f.observed[(k, band)];
            let made = truth - factor * f.errors[(k, band)];
            dot += truth * made;
            own += truth * truth;
            other += made * made;
        }
        let cosine: f64 = dot / (own * other).sqrt();
        cosine
            .is_finite()
            .then(|| cosine.clamp(-1.0, 1.0).acos().to_degrees())
    };
    let angles = parts
        .iter()
        .flat_map(|f| (0..f.errors.nrows()).filter_map(move |k| angle(f, k)));
    let (angles, angled) = angles.fold((0.0, 0usize), |(s, n), a| (s + a, n + 1));
    Some(Expectation {
        psnr_db: sum / count.max(1) as f64,
        sam_deg: angles / angled.max(1) as f64,
        deviation,
    })
}

/// What 68.3 % of values stay below in size.
fn quantile(values: Vec<f64>) -> f64 {
    let mut sizes: Vec<f64> = values.into_iter().map(f64::abs).collect();
    sizes.sort_by(f64::total_cmp);
    let at = (WITHIN_ONE * sizes.len() as f64).ceil() as usize;
    sizes.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANDS: usize = 3;

    fn errors() -> HeldOutErrors {
        HeldOutErrors {
            errors: DMatrix::from_fn(400, BANDS, |k, _| if k % 2 == 0 { 1.0 } else { -1.0 }),
            observed: DMatrix::from_element(400, BANDS, 10.0),
        }
    }

    /// Two predictions of one LR pixel of 2 × 2 that lie `coarse` apart, and whose HR pixels lie `within` to both sides of that.
    fn disagreement(coarse: f32, within: f32) -> Disagreement {
        let of = |sign: f32| {
            let low = Array3::from_elem((1, 1, BANDS), sign * coarse);
            let detail = |(r, c, _): (usize, usize, usize)| if (r + c) % 2 == 0 { within } else { -within };
            let high = Array3::from_shape_fn((2, 2, BANDS), |at| sign * (coarse + detail(at)));
            (high, low)
        };
        let mut found = Disagreement::none(BANDS);
        found.add(&[of(0.5), of(-0.5)], (0, 0), 2);
        found
    }

    #[test]
    fn growth_is_the_variance_within_lr_pixels_over_theirs() {
        for (coarse, within, growth) in [(1.0, 3.0, 9.0), (2.0, 1.0, 0.25), (0.0, 1.0, 1.0)] {
            let found = disagreement(coarse, within);
            assert!(
                (0..BANDS).all(|band| (found.growth(band) - growth).abs() < 1e-9),
                "{found:?}"
            );
        }
    }

    #[test]
    fn the_quantile_leaves_a_third_above() {
        assert_eq!(
            quantile(
                (1..=1000)
                    .map(|k| if k % 2 == 0 { 1.0 } else { -1.0 } * f64::from(k))
                    .collect()
            ),
            683.0
        );
        assert_eq!(quantile(Vec::new()), 0.0);
    }

    // Errors of 1 with a peak of 100 are 40 dB; an error of alike sign in all bands of a grey pixel bends nothing.
    #[test]
    fn expected_numbers_follow_from_the_errors() {
        let found = expect(&[errors()], &disagreement(1.0, 1.0), &[100.0; BANDS]).unwrap();
        assert!(
            (found.psnr_db - 40.0).abs() < 1e-9 && found.sam_deg < 1e-3,
            "{found:?}"
        );
        assert!(
            found.deviation.iter().all(|d| (d - 1.0).abs() < 1e-9),
            "{found:?}"
        );
        let finer = expect(&[errors()], &disagreement(1.0, 10.0), &[100.0; BANDS]).unwrap();
        assert!((finer.psnr_db - 20.0).abs() < 1e-9, "{finer:?}");
        assert!(expect(&[], &Disagreement::none(BANDS), &[1.0; BANDS]).is_none());
    }
}
