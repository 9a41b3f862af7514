//! The error of a result that is to be expected, from errors of LR pixels that were predicted without themselves.
//!
//! An LR pixel's error is the mean of those of its HR pixels, so those are larger. By how much is told by how fast the mean
//! over 2×2 LR pixels falls: variance of an error field grows by one factor with each halving of the pixel where its
//! spectrum is a power law, as those of images are (Field, J. Opt. Soc. Am. A 4, 1987).

use nalgebra::DMatrix;
use serde::Serialize;

/// Growth of the variance with each halving that is expected where nothing is known, and how many blocks that counts for.
const GROWTH: f64 = 2.0;
const BLOCKS: f64 = 16.0;
/// White noise: the most that the variance can grow.
const WHITE: f64 = 4.0;

/// Errors on one part of the LR grid.
#[derive(Debug, Clone)]
pub struct ErrorField {
    /// Row and column of every pixel.
    pub places: Vec<(usize, usize)>,
    /// Errors, pixels × B.
    pub errors: DMatrix<f64>,
    /// What was observed there, pixels × B.
    pub observed: DMatrix<f64>,
}

/// What a result is expected to be off by.
#[derive(Debug, Clone, Serialize)]
pub struct Expectation {
    /// PSNR in dB, as the convention `strict` has it.
    pub psnr_db: f64,
    /// Mean spectral angle, degrees.
    pub sam_deg: f64,
    /// Root mean square error of every band, in the unit of the errors.
    #[serde(skip)]
    pub error: Vec<f64>,
}

/// From errors at LR pixels, of HR pixels `scale` times as small; `peaks` are the bands' maxima. `None` without pixels or bands.
pub fn expect(fields: &[ErrorField], scale: usize, peaks: &[f64]) -> Option<Expectation> {
    let pixels: usize = fields.iter().map(|f| f.errors.nrows()).sum();
    if pixels == 0 || peaks.is_empty() {
        return None;
    }
    let factor = growth(fields).powf((scale as f64).log2()).sqrt();
    let error: Vec<f64> = (0..peaks.len())
        .map(|band| {
            let squares: f64 = fields.iter().map(|f| f.errors.column(band).norm_squared()).sum();
            factor * (squares / pixels as f64).sqrt()
        })
        .collect();
    let decibels = peaks
        .iter()
        .zip(&error)
        .filter(|(peak, e)| **peak > 0.0 && **e > 0.0)
        .map(|(peak, e)| 20.0 * (peak / e).log10());
    let (sum, count) = decibels.fold((0.0, 0usize), |(s, n), db| (s + db, n + 1));
    let angle = |f: &ErrorField, k: usize| {
        let truth = f.observed.row(k);
        let made = truth - f.errors.row(k) * factor;
        let cosine = truth.dot(&made) / (truth.norm() * made.norm());
        cosine
            .is_finite()
            .then(|| cosine.clamp(-1.0, 1.0).acos().to_degrees())
    };
    let angles = fields
        .iter()
        .flat_map(|f| (0..f.errors.nrows()).filter_map(move |k| angle(f, k)));
    let (angles, angled) = angles.fold((0.0, 0usize), |(s, n), a| (s + a, n + 1));
    Some(Expectation {
        psnr_db: sum / count.max(1) as f64,
        sam_deg: angles / angled.max(1) as f64,
        error,
    })
}

/// Growth of the variance of errors with each halving of the pixel.
fn growth(fields: &[ErrorField]) -> f64 {
    let (mut single, mut mean, mut blocks) = (0.0, 0.0, 0.0);
    for field in fields {
        let at: std::collections::BTreeMap<(usize, usize), usize> = field
            .places
            .iter()
            .enumerate()
            .map(|(k, &place)| (place, k))
            .collect();
        for &(r, c) in field.places.iter().filter(|(r, c)| r % 2 == 0 && c % 2 == 0) {
            let four = [(r, c), (r + 1, c), (r, c + 1), (r + 1, c + 1)].map(|place| at.get(&place).copied());
            let [Some(a), Some(b), Some(d), Some(e)] = four else {
                continue;
            };
            let rows = [a, b, d, e].map(|k| field.errors.row(k));
            single += rows.iter().map(|row| row.norm_squared()).sum::<f64>() / 4.0;
            mean += rows
                .iter()
                .fold(rows[0] * 0.0, |sum, row| sum + row)
                .norm_squared()
                / 16.0;
            blocks += 1.0;
        }
    }
    // Geometric mean of what was measured and what is expected, by their numbers of blocks.
    let measured = if mean > 0.0 {
        (single / mean).clamp(1.0, WHITE)
    } else {
        GROWTH
    };
    ((blocks * measured.ln() + BLOCKS * GROWTH.ln()) / (blocks + BLOCKS)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{key, normals};

    /// Errors of unit variance on 20×20 pixels in 3 bands, alike over squares of `side` pixels.
    fn field(side: usize) -> ErrorField {
        let places: Vec<(usize, usize)> = (0..400).map(|k| (k / 20, k % 20)).collect();
        let errors = DMatrix::from_fn(400, 3, |k, band| {
            let square = (k / 20 / side * 20 + k % 20 / side) as u32;
            normals::<f64>(key(3), square, 0, 0, 0)[band]
        });
        ErrorField {
            observed: DMatrix::from_element(400, 3, 10.0),
            errors,
            places,
        }
    }

    #[test]
    fn white_errors_grow_fourfold_and_smooth_ones_do_not() {
        let (white, smooth) = (growth(&[field(1)]), growth(&[field(2)]));
        assert!((3.3..=4.0).contains(&white), "{white}");
        assert!((1.0..1.2).contains(&smooth), "{smooth}");
        assert!((growth(&[]) - GROWTH).abs() < 1e-12);
    }

    #[test]
    fn expected_numbers_follow_from_the_errors() {
        let found = expect(&[field(2)], 1, &[100.0; 3]).unwrap();
        // Errors of 1 with a peak of 100; the sample's variance scatters by some 20 % (100 squares).
        assert!((found.psnr_db - 40.0).abs() < 1.0, "{}", found.psnr_db);
        assert!(found.sam_deg > 2.0 && found.sam_deg < 7.0, "{}", found.sam_deg);
        let finer = expect(&[field(1)], 4, &[100.0; 3]).unwrap();
        assert!(finer.psnr_db < found.psnr_db - 8.0);
        assert!(expect(&[], 4, &[1.0]).is_none());
    }
}
