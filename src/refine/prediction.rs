//! How well LR pixels are predicted from their neighbours, which is what guides of the spread are chosen by: each pixel from
//! all others, in closed form.

use std::ops::Range;

use nalgebra::DMatrix;
use rayon::prelude::*;

use crate::engine::refinement::Guide;
use crate::refine::spread::{Lattice, NUGGET};

/// Reaches that are tried, LR pixels.
const RADII: [f64; 3] = [2.5, 4.0, Guide::MAX_RADIUS];
/// Widths of colour that are tried, in standard deviations of the MSI.
const WIDTHS: [f64; 3] = [0.5, 1.0, 2.0];
/// Side of the part of the LR grid on which they are compared.
const SAMPLE_SIDE: usize = 20;
/// Fewest LR pixels to compare on.
const FEWEST_PIXELS: usize = 16;
/// A guide must predict better than this, relative to predicting zero.
const WORTH: f64 = 0.98;
/// Rows and columns from which on a matrix is inverted by parts of it.
const BLOCK: usize = 48;

/// Parts of an LR grid and their usable pixels: its middle, or where it is large, each quarter's middle.
pub fn samples((rows, columns): (usize, usize), usable: &[bool]) -> Vec<Sample> {
    let middles = |length: usize| {
        let parts = if length >= 2 * SAMPLE_SIDE { 2 } else { 1 };
        let side = (length / parts).min(SAMPLE_SIDE);
        (0..parts).map(move |part| {
            let first = length * (2 * part + 1) / (2 * parts) - side / 2;
            first..first + side
        })
    };
    let sample = |part: (Range<usize>, Range<usize>)| Sample {
        pixels: part
            .0
            .clone()
            .flat_map(|r| part.1.clone().map(move |c| r * columns + c))
            .filter(|&k| usable[k])
            .collect(),
        rows: part.0,
        columns: part.1,
    };
    let mut samples: Vec<Sample> = middles(rows)
        .flat_map(|rows| middles(columns).map(move |columns| sample((rows.clone(), columns))))
        .filter(|sample| sample.pixels.len() >= FEWEST_PIXELS)
        .collect();
    if samples.is_empty() {
        // Small, or masked where samples lie.
        let mut whole = sample((0..rows, 0..columns));
        let every = whole.pixels.len().div_ceil(SAMPLE_SIDE * SAMPLE_SIDE).max(1);
        whole.pixels = whole.pixels.into_iter().step_by(every).collect();
        samples.push(whole);
    }
    samples
}

impl Lattice<'_> {
    /// Rows `sample` of images on the LR grid (each n × B), side by side.
    fn part(&self, sample: &[usize], images: &[&[f32]]) -> DMatrix<f64> {
        let bands = images.first().map_or(0, |image| image.len() / self.usable.len());
        DMatrix::from_fn(sample.len(), bands * images.len(), |k, j| {
            f64::from(images[j / bands][sample[k] * bands + j % bands])
        })
    }
}
/// A part of the LR grid on which guides and predictions are compared.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its rows.
    pub rows: Range<usize>,
    /// Its columns.
    pub columns: Range<usize>,
    /// Its usable pixels, as numbers in the grid's order.
    pub pixels: Vec<usize>,
}

/// The guides that are tried, ready to predict LR pixels from their neighbours: made once for all residuals of a lattice.
pub struct Predictor<'a> {
    lattice: Lattice<'a>,
    samples: Vec<Sample>,
    /// (K + νI)⁻¹ on every sample for every guide; none where there are too few pixels to compare on.
    guides: Vec<(Guide, Vec<DMatrix<f64>>)>,
}

impl<'a> Predictor<'a> {
    /// Of a lattice.
    pub fn new(lattice: Lattice<'a>) -> Self {
        let samples = samples((lattice.rows, lattice.columns), lattice.usable);
        let mut guides = Vec::new();
        let enough = samples.iter().any(|s| s.pixels.len() >= FEWEST_PIXELS);
        if enough && lattice.colour_variance > 0.0 {
            guides.extend(RADII.iter().flat_map(|&radius| {
                WIDTHS.iter().map(move |&width| Guide {
                    radius,
                    precision: 1.0 / (2.0 * width * width * lattice.colour_variance),
                })
            }));
        }
        let inverted = |guide: Guide, sample: &Sample| {
            let sample = &sample.pixels;
            let n = sample.len();
            let kernel = |a, b| lattice.kernel(guide, sample[a], sample[b]);
            let mut system = DMatrix::from_fn(n, n, |a, b| if a < b { 0.0 } else { kernel(a, b) });
            (0..n).for_each(|k| system[(k, k)] += NUGGET);
            system.fill_upper_triangle_with_lower_triangle();
            inverse(system)
        };
        let inverses = guides.into_par_iter().filter_map(|guide| {
            let inverses: Option<Vec<_>> = samples.iter().map(|sample| inverted(guide, sample)).collect();
            Some((guide, inverses?))
        });
        Predictor {
            guides: inverses.collect(),
            lattice,
            samples,
        }
    }

    /// The rows of `images` (each n × B, side by side) that are predicted, of one sample after the other.
    fn predicted(&self, images: &[&[f32]]) -> Vec<DMatrix<f64>> {
        let parts = self
            .samples
            .iter()
            .map(|sample| self.lattice.part(&sample.pixels, images));
        parts.collect()
    }

    /// For every guide, what `judge` says of the errors of predicting each of these rows from all others,
    /// α_k / (K + νI)⁻¹_kk.
    fn errors<R: Send>(
        &self,
        predicted: &[DMatrix<f64>],
        judge: impl Fn(&[DMatrix<f64>]) -> R + Sync,
    ) -> Vec<(Guide, R)> {
        let judged = self.guides.par_iter().map(|(guide, inverses)| {
            let errors = inverses
                .iter()
                .zip(predicted)
                .map(|(inverse, right)| left(inverse, right));
            (*guide, judge(&errors.collect::<Vec<_>>()))
        });
        judged.collect()
    }

    /// What is left of images when each LR pixel is predicted from its neighbours with the guide that suits the residuals: each pixels × B,
    /// and in [`samples`]. `None` where there is no guide.
    pub fn asked(
        &self,
        residuals: &[DMatrix<f64>],
        images: &[Vec<DMatrix<f64>>],
    ) -> Option<Vec<Vec<DMatrix<f64>>>> {
        let square = |parts: &[DMatrix<f64>]| parts.iter().map(DMatrix::norm_squared).sum::<f64>();
        let errors = self.errors(residuals, square).into_iter().enumerate();
        let (best, _) = errors.min_by(|a, b| a.1.1.total_cmp(&b.1.1))?;
        let parts = images.iter().zip(&self.guides[best].1);
        let left =
            parts.map(|(images, inverse)| images.par_iter().map(|image| left(inverse, image)).collect());
        Some(left.collect())
    }

    /// The guide that predicts LR pixels of `residuals` (n × B, row-major) best from their neighbours, and the error
    /// of its prediction relative to predicting zero; `None` where no guide is worth it.
    pub fn choose(&self, residuals: &[f32]) -> Option<(Guide, f64)> {
        let square = |parts: &[DMatrix<f64>]| parts.iter().map(DMatrix::norm_squared).sum::<f64>();
        let predicted = self.predicted(&[residuals]);
        let power = square(&predicted);
        if power <= 0.0 {
            return None;
        }
        let errors = self.errors(&predicted, square).into_iter();
        errors
            .map(|(guide, error)| (guide, (error / power).sqrt()))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .filter(|&(_, error)| error < WORTH)
    }
}

/// What is left of an image (n × B) when each row is predicted from all others by `inverse` = (K + νI)⁻¹.
fn left(inverse: &DMatrix<f64>, image: &DMatrix<f64>) -> DMatrix<f64> {
    let mut error = inverse * image;
    for (k, mut row) in error.row_iter_mut().enumerate() {
        row /= inverse[(k, k)];
    }
    error
}

/// The inverse of a symmetric positive definite matrix, by that of its first half and of what is left of the other: nearly
/// all of it is products, which are several times as fast as substitution. `None` where rounding makes a part indefinite.
fn inverse(matrix: DMatrix<f64>) -> Option<DMatrix<f64>> {
    let n = matrix.nrows();
    if n <= BLOCK {
        return Some(matrix.cholesky()?.inverse());
    }
    let (half, rest) = (n / 2, n - n / 2);
    let beside = matrix.view((0, half), (half, rest));
    let first = inverse(matrix.view((0, 0), (half, half)).into_owned())?;
    let carried = &first * beside;
    let second = inverse(matrix.view((half, half), (rest, rest)) - beside.transpose() * &carried)?;
    let corner = &carried * -&second;
    let mut whole = DMatrix::zeros(n, n);
    whole
        .view_mut((0, 0), (half, half))
        .copy_from(&(first - &corner * carried.transpose()));
    whole.view_mut((half, 0), (rest, half)).tr_copy_from(&corner);
    whole.view_mut((0, half), (half, rest)).copy_from(&corner);
    whole.view_mut((half, half), (rest, rest)).copy_from(&second);
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The inverse times the matrix is 1 up to the rounding of n terms at a condition below n / NUGGET.
    #[test]
    fn matrices_are_inverted_by_parts() {
        for n in [1, BLOCK, BLOCK + 1, 2 * BLOCK + 3, 5 * BLOCK + 2] {
            let alike =
                |a: usize, b: usize| (-(a.abs_diff(b) as f64) / 9.0).exp() * (a * b % 7 + 1) as f64 / 7.0;
            let half = DMatrix::from_fn(n, n, |a, b| if b <= a { alike(a, b) } else { 0.0 });
            let matrix = &half * half.transpose() / n as f64 + DMatrix::identity(n, n) * NUGGET;
            let found = inverse(matrix.clone()).unwrap();
            let error = (&found * &matrix - DMatrix::identity(n, n)).amax();
            assert!(error < 1e-11, "{n}: {error}");
            let asymmetry = (&found - found.transpose()).amax() / found.amax();
            assert!(asymmetry < 1e-13, "{n}: {asymmetry}");
        }
        assert!(inverse(DMatrix::from_element(BLOCK + 9, BLOCK + 9, 1.0)).is_none());
    }
}
