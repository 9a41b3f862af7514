//! CNMF: coupled non-negative matrix factorisation.
//!
//! [`CITATION`]. X ≈ W H_x and Y ≈ W_y H: both images are mixtures of the same M spectra W, with W_y = RᵀW and abundances
//! H_x = (H∗C)↓ (eqs. 4 and 5). Factors are found by multiplicative updates (Lee & Seung), of ‖X − W H_x‖² and ‖Y − W_y H‖² in turn:
//!
//! W ← W ∘ (X H_xᵀ) / (W H_x H_xᵀ),  H ← H ∘ (WᵀX) / (WᵀW H).
//!
//! 1. W starts from vertex component analysis of X (Nascimento & Bioucas-Dias 2005), H_x from 1/M; with W held, then with both free.
//! 2. W_y = RᵀW, H starts from the expanded H_x; with W_y held, so that H follows.
//! 3. H_x = (H∗C)↓; W with it held, then both, and again from 2; at last Z = W H.
//!
//! Abundances of a pixel sum to about one: a row of δ is put below W and the image (section III-D). Defaults: M = 30 (fewer where there are
//! fewer bands or pixels), 200 updates each, three rounds, δ = 0.1 for images in \[0, 1\]. W_y is RᵀW throughout: the coupling is exact, and each pixel
//! of H is a problem of its own. Samples below zero are taken for zero.

use nalgebra::{DMatrix, DVector};
use ndarray::{Array3, ArrayView3, Axis};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::pair::{Pair, mapped};
use super::subspace::Subspace;
use crate::error::Result;
use crate::interrupt;
use crate::random::{key, normals};
use crate::sensor::observe::blur_samples;

/// Where it is published.
pub const CITATION: &str = "N. Yokoya, T. Yairi, A. Iwasaki: Coupled nonnegative matrix factorization unmixing for hyperspectral \
                            and multispectral data fusion, IEEE Trans. Geosci. Remote Sens. 50 (2012) 528-537";

/// M, spectra that pixels are mixed from.
const SPECTRA: usize = 30;
/// Images of the abundances that are held at once, in single precision: they and what the MSI tells of them.
pub(super) const PLANES: usize = 2 * SPECTRA;
/// Updates of a step.
const UPDATES: usize = 200;
/// Updates of the abundances between two of the spectra, where both are free.
const TOGETHER: usize = 5;
/// Rounds over the two images.
const ROUNDS: usize = 3;
/// δ, how much abundances that do not sum to one cost.
const SUM: f32 = 0.1;
/// The least that is divided by.
const LEAST: f32 = 1e-12;
/// Pixels whose abundances are updated side by side.
const LANES: usize = 16;

/// # Errors
/// [`crate::Error::Interrupted`] after a stop.
pub(super) fn fuse(pair: &Pair, progress: &mut dyn FnMut(usize, usize)) -> Result<Array3<f32>> {
    let steps = 2 * ROUNDS;
    progress(0, steps);
    let hsi = pair.hsi.view().mapv(|x| x.max(0.0));
    let msi = pair.msi.mapv(|x| x.max(0.0));
    let mut spectra = vertices(pair, SPECTRA);
    let m = spectra.ncols();
    let (h, w, _) = hsi.dim();
    let mut low = Array3::from_elem((h, w, m), 1.0 / m as f32);
    update_abundances(&spectra, hsi.view(), &mut low, UPDATES);
    let mut high = None;
    for round in 0..ROUNDS {
        both(&mut spectra, hsi.view(), &mut low)?;
        progress(2 * round + 1, steps);
        interrupt::check()?;
        let response = DMatrix::from_fn(pair.msi.dim().2, spectra.nrows(), |j, k| pair.response[[k, j]]);
        let seen = &response * &spectra;
        let mut abundance = match high.take() {
            Some(abundance) => abundance,
            None => pair.expanded(low.view()).mapv_into(|x| x.max(1e-4)),
        };
        update_abundances(&seen, msi.view(), &mut abundance, UPDATES);
        progress(2 * round + 2, steps);
        interrupt::check()?;
        low = blur_samples(abundance.view(), pair.psf, pair.scale)?;
        high = Some(abundance);
        update_spectra(&mut spectra, &flat(hsi.view()), low.view(), UPDATES);
    }
    let high = high.unwrap_or_else(|| pair.expanded(low.view()));
    Ok(mapped(high.view(), &spectra))
}

/// Updates spectra and abundances in turn.
fn both(spectra: &mut DMatrix<f64>, image: ArrayView3<f32>, low: &mut Array3<f32>) -> Result<()> {
    let all = flat(image);
    for _ in 0..UPDATES / TOGETHER {
        interrupt::check()?;
        update_spectra(spectra, &all, low.view(), 1);
        update_abundances(spectra, image, low, TOGETHER);
    }
    Ok(())
}

/// W ∘ (X Hᵀ) / (W H Hᵀ) so many times.
fn update_spectra(spectra: &mut DMatrix<f64>, image: &DMatrix<f64>, low: ArrayView3<f32>, times: usize) {
    let abundance = flat(low);
    let (told, square) = (image.tr_mul(&abundance), abundance.tr_mul(&abundance));
    for _ in 0..times {
        let made = &*spectra * &square;
        for ((x, told), made) in spectra.iter_mut().zip(&told).zip(&made) {
            *x *= told / made.max(f64::from(LEAST));
        }
    }
}

/// Pixels × bands of an image.
fn flat(image: ArrayView3<f32>) -> DMatrix<f64> {
    let (rows, columns, bands) = image.dim();
    DMatrix::from_row_iterator(rows * columns, bands, image.iter().map(|&x| f64::from(x)))
}

/// H ∘ (WᵀX + δ²) / ((WᵀW + δ²) H) so many times; pixels are apart.
fn update_abundances(
    spectra: &DMatrix<f64>,
    image: ArrayView3<f32>,
    abundance: &mut Array3<f32>,
    times: usize,
) {
    let m = spectra.ncols();
    let square = spectra.tr_mul(spectra).add_scalar(f64::from(SUM * SUM));
    let square: Vec<f32> = square.iter().map(|&x| x as f32).collect();
    let told = mapped(image, &spectra.transpose());
    let arch = Arch::new();
    abundance
        .axis_iter_mut(Axis(0))
        .into_par_iter()
        .zip(told.axis_iter(Axis(0)))
        .for_each(|(mut abundance, told)| {
            let mut right = vec![[0.0f32; LANES]; m];
            let mut here = vec![[0.0f32; LANES]; m];
            let mut next = vec![[0.0f32; LANES]; m];
            let columns = told.nrows();
            for first in (0..columns).step_by(LANES) {
                let lanes = LANES.min(columns - first);
                for k in 0..m {
                    for lane in 0..lanes {
                        right[k][lane] = told[[first + lane, k]] + SUM * SUM;
                        here[k][lane] = abundance[[first + lane, k]];
                    }
                }
                for _ in 0..times {
                    arch.dispatch(Update {
                        square: &square,
                        right: &right,
                        here: &here,
                        next: &mut next,
                    });
                    std::mem::swap(&mut here, &mut next);
                }
                for k in 0..m {
                    for lane in 0..lanes {
                        abundance[[first + lane, k]] = here[k][lane];
                    }
                }
            }
        });
}

/// One update of the abundances of some pixels, with whatever vector instructions there are; no bit depends on them.
struct Update<'a> {
    /// WᵀW + δ², M×M.
    square: &'a [f32],
    /// WᵀX + δ².
    right: &'a [[f32; LANES]],
    /// H before and after.
    here: &'a [[f32; LANES]],
    next: &'a mut [[f32; LANES]],
}

impl WithSimd for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let rows = self.square.chunks_exact(self.here.len());
        for (((next, row), here), right) in self.next.iter_mut().zip(rows).zip(self.here).zip(self.right) {
            let mut sum = [LEAST; LANES];
            for (weight, other) in row.iter().zip(self.here) {
                for (sum, other) in sum.iter_mut().zip(other) {
                    *sum += weight * other;
                }
            }
            for (lane, next) in next.iter_mut().enumerate() {
                *next = here[lane] * right[lane] / sum[lane];
            }
        }
    }
}

/// Vertex component analysis: spectra of X that are farthest out in random directions orthogonal to those before, B×M.
fn vertices(pair: &Pair, most: usize) -> DMatrix<f64> {
    let subspace = Subspace::new(pair, most);
    let p = subspace.basis.ncols();
    let pixels: Vec<DVector<f64>> = pair
        .spectra()
        .map(|(_, hsi)| DVector::from_iterator(hsi.len(), hsi.iter().map(|&x| f64::from(x.max(0.0)))))
        .collect();
    let points: Vec<DVector<f64>> = pixels.iter().map(|x| subspace.basis.tr_mul(x)).collect();
    let mean: DVector<f64> = points.iter().sum::<DVector<f64>>() / points.len().max(1) as f64;
    // On the plane on which the mean's coefficient is one; what is too dark to be brought there stays where it is.
    let least = 1e-3 * mean.norm_squared();
    let points: Vec<DVector<f64>> = points
        .iter()
        .map(|y| {
            let along = y.dot(&mean);
            if along > least { y / along } else { y.clone() }
        })
        .collect();
    let mut found: Vec<DVector<f64>> = Vec::new();
    let mut chosen = Vec::new();
    for k in 0..p {
        let draw = |i: usize| normals::<f64>(key(0), 0, 0, k as u32, (i / 4) as u32)[i % 4];
        let mut direction = DVector::from_fn(p, |i, _| draw(i));
        for before in &found {
            direction -= before * before.dot(&direction);
        }
        let far = |at: usize| points[at].dot(&direction).abs();
        let Some(best) = (0..points.len()).max_by(|&a, &b| far(a).total_cmp(&far(b))) else {
            break;
        };
        let mut next = points[best].clone();
        for before in &found {
            next -= before * before.dot(&next);
        }
        if next.norm() > 1e-9 {
            found.push(next.normalize());
            chosen.push(best);
        }
    }
    // Zeros would stay zeros.
    DMatrix::from_fn(pair.hsi.dim().2, chosen.len().max(1), |i, k| {
        chosen.get(k).map_or(1.0, |&at| pixels[at][i]).max(1e-4)
    })
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::baseline::Inputs;

    // Two pure spectra, one pixel of values 2 and 3, abundances of a half: each becomes a half of (x + δ²) / (0.5 + δ²).
    #[test]
    fn an_update_by_hand() {
        let image = Array3::from_shape_vec((1, 1, 2), vec![2.0, 3.0]).unwrap();
        let mut abundance = Array3::from_elem((1, 1, 2), 0.5);
        update_abundances(&DMatrix::identity(2, 2), image.view(), &mut abundance, 1);
        for (found, x) in abundance.iter().zip([2.0f32, 3.0]) {
            assert!((found - 0.5 * (x + 0.01) / 0.51).abs() < 1e-5, "{found}");
        }
        // Two pixels (1, 2), (3, 1) of one band: X Hᵀ = [3, 7] of X = [1, 2], W H Hᵀ = [10 + 5, 5 + 5] of W = [1, 1].
        let low = Array3::from_shape_vec((1, 2, 2), vec![1.0, 3.0, 2.0, 1.0]).unwrap();
        let (image, mut spectra) = (
            DMatrix::from_column_slice(2, 1, &[1.0, 2.0]),
            DMatrix::repeat(1, 2, 1.0),
        );
        update_spectra(&mut spectra, &image, low.view(), 1);
        let square = [[5.0, 5.0], [5.0, 10.0]];
        let told = [1.0 + 2.0 * 2.0, 3.0 + 2.0];
        for k in 0..2 {
            let expected = told[k] / (square[k][0] + square[k][1]);
            assert!((spectra[(0, k)] - expected).abs() < 1e-12);
        }
    }

    // Three pixels are pure and all others mixtures of them: the corners are found.
    #[test]
    fn vertices_are_the_pure_pixels() {
        let pure = [
            [0.9f32, 0.1, 0.2, 0.1],
            [0.1, 0.8, 0.1, 0.3],
            [0.2, 0.1, 0.1, 0.7],
        ];
        let hsi = Array3::from_shape_fn((4, 5, 4), |(r, c, k)| {
            let at = 5 * r + c;
            let (a, b) = ((at % 4) as f32 / 8.0 + 0.1, (at % 3) as f32 / 8.0 + 0.1);
            match at {
                3 => pure[0][k],
                8 => pure[1][k],
                17 => pure[2][k],
                _ => a * pure[0][k] + b * pure[1][k] + (1.0 - a - b) * pure[2][k],
            }
        });
        let (msi, psf) = (Array3::from_elem((4, 5, 1), 0.5), Array2::from_elem((1, 1), 1.0));
        let (response, usable) = (Array2::from_elem((4, 1), 0.25), Array2::from_elem((4, 5), true));
        let inputs = Inputs {
            hsi: hsi.view(),
            msi: msi.view(),
            scale: 1,
            psf: &psf,
            response: &response,
            usable: usable.view(),
        };
        let found = vertices(&Pair::new(&inputs).unwrap(), 3);
        let mut columns: Vec<Vec<f32>> = (0..3)
            .map(|k| found.column(k).iter().map(|&x| x as f32).collect())
            .collect();
        columns.sort_by(|a, b| b[0].total_cmp(&a[0]));
        assert_eq!(columns, [pure[0], pure[2], pure[1]]);
    }
}
