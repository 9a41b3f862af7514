//! Standard deviation of the noise of each band, from the image alone.
//!
//! Both estimators look at fine spatial detail and predict a band's from the other bands': what the scene does it
//! does in many bands, what the noise does it does in one. A prediction with coefficients c from bands of the same
//! noise carries their noise too, so the remainder's variance is σ²(1 + ‖c‖²).

use nalgebra::{DMatrix, DVector};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, s};
use rayon::prelude::*;

/// Bands on either side among which a band's predictors are found.
const REACH: usize = 4;
/// Predictors of an HSI band: the nearest bands.
const PREDICTORS: usize = 4;
/// Rounds of reweighting in the MSI's regression.
const ROUNDS: usize = 5;
/// Median of the absolute value of a standard normal.
const MEDIAN_ABSOLUTE: f64 = 0.674_489_75;
/// Side of the blocks of detail whose variances are compared.
const BLOCK: usize = 8;
/// Quantiles of the block variances: where the scene is quietest, and in the middle; with what they are for white
/// noise of variance 1 behind the 3×3 detail filter (by simulation, 10⁴ blocks; the detail is correlated, so no χ²
/// with 64 degrees of freedom).
const QUANTILES: [(f64, f64); 2] = [(0.1, 0.622), (0.5, 0.955)];
/// Noise is the same everywhere, texture is not. Were texture's variance exponentially distributed over the blocks,
/// the quietest tenth would still hold this share of the distance between the two quantiles.
const TEXTURE_LEFT: f64 = 0.2;
/// What the variance of texture's detail grows by when the image is halved, at the least: power spectra of natural images
/// fall as 1/f² (Field, J. Opt. Soc. Am. A 4, 1987), the blur of a sensor makes them steeper; white noise stays as it is.
const TEXTURE_GROWTH: f64 = 4.0;
/// Blocks that are looked at, spread over the image: enough for a quantile, few enough to cost nothing.
const MOST_BLOCKS: usize = 1024;

/// σ of every band of an LR-HSI: first differences to the right and below regressed on the four nearest bands'.
///
/// `None` with fewer differences than twice the predictors, where nothing can be told.
pub fn hsi_noise(image: ArrayView3<f32>, valid: ArrayView2<bool>) -> Option<Vec<f64>> {
    let (rows, columns, bands) = image.dim();
    let width = 2 * REACH + 1;
    // gram[j][k]: Σ d_j d_{j+k−REACH}, a band of the whole matrix.
    let mut gram = vec![0.0f64; bands * width];
    let mut count = 0usize;
    let mut d = vec![0.0f64; bands];
    for ((r, c), _) in valid.indexed_iter().filter(|(_, ok)| **ok) {
        for (i, j) in [(r + 1, c), (r, c + 1)] {
            if i >= rows || j >= columns || !valid[[i, j]] {
                continue;
            }
            count += 1;
            for ((d, &a), &b) in d
                .iter_mut()
                .zip(image.slice(s![r, c, ..]))
                .zip(image.slice(s![i, j, ..]))
            {
                *d = f64::from(b) - f64::from(a);
            }
            for j in 0..bands {
                for k in j.saturating_sub(REACH)..(j + REACH + 1).min(bands) {
                    gram[j * width + k + REACH - j] += d[j] * d[k];
                }
            }
        }
    }
    if count < 2 * PREDICTORS {
        return None;
    }
    let at = |j: usize, k: usize| gram[j * width + k + REACH - j];
    Some(
        (0..bands)
            .map(|j| {
                let near = nearest(j, bands);
                let n = near.len();
                let normal = DMatrix::from_fn(n, n, |a, b| {
                    let (a, b) = (near[a], near[b]);
                    if a.abs_diff(b) <= REACH { at(a, b) } else { 0.0 }
                });
                let right = DVector::from_fn(n, |a, _| at(j, near[a]));
                let c = solve(normal, &right);
                let remainder = (at(j, j) - c.dot(&right)).max(0.0);
                // A difference has twice the noise of a sample.
                let freedom = (count - n) as f64;
                (remainder / freedom / 2.0 / (1.0 + c.norm_squared())).sqrt()
            })
            .collect(),
    )
}

/// The bands nearest to `j`, at most [`PREDICTORS`], within [`REACH`] of it and of each other.
fn nearest(j: usize, bands: usize) -> Vec<usize> {
    let first = j
        .saturating_sub(PREDICTORS / 2)
        .min(bands.saturating_sub(PREDICTORS + 1));
    (first..(first + PREDICTORS + 1).min(bands))
        .filter(|&k| k != j)
        .collect()
}

/// Normal equations with a ridge of 1e-10 of their trace: equal or dead bands do not stop it.
fn solve(mut normal: DMatrix<f64>, right: &DVector<f64>) -> DVector<f64> {
    let n = right.len();
    let ridge = 1e-10 * normal.trace() / n.max(1) as f64 + f64::MIN_POSITIVE;
    for i in 0..n {
        normal[(i, i)] += ridge;
    }
    normal
        .cholesky()
        .map_or_else(|| DVector::zeros(n), |factor| factor.solve(right))
}

/// σ of every band of an HR-MSI: the finest diagonal detail, robustly regressed on the other bands', in the
/// quietest blocks, less the texture that the same detail of the halved image gives away.
///
/// The detail is that of the 3×3 filter \[1 −2 1\]ᵀ\[1 −2 1\]/6 (Immerkær, CVIU 64, 1996). `None` where the image has
/// no block of it free of masked pixels; an image too small to be halved is looked at in one scale.
pub fn msi_noise(image: ArrayView3<f32>, valid: ArrayView2<bool>) -> Option<Vec<f64>> {
    let (fine, coarse) = rayon::join(|| details(image, valid, 1), || details(image, valid, 2));
    let fine = fine?;
    let bands = 0..image.dim().2;
    Some(
        bands
            .into_par_iter()
            .map(|band| {
                let (variance, halved) = rayon::join(
                    || quietest(&fine, band),
                    || coarse.as_ref().map(|coarse| quietest(coarse, band)),
                );
                let growth = halved.map_or(0.0, |halved| (halved - variance).max(0.0));
                (variance - growth / (TEXTURE_GROWTH - 1.0)).max(0.0).sqrt()
            })
            .collect(),
    )
}

/// Detail of an image of means over `side`×`side` samples, times `side`: white noise has the variance it has at full size.
/// One row a sample, block by block, so that a block is 64 rows that follow each other.
fn details(image: ArrayView3<f32>, valid: ArrayView2<bool>, side: usize) -> Option<Array2<f64>> {
    let (rows, columns, bands) = image.dim();
    let (rows, columns) = (rows / side, columns / side);
    if rows < BLOCK + 2 || columns < BLOCK + 2 {
        return None;
    }
    let (height, width) = ((rows - 2) / BLOCK, (columns - 2) / BLOCK);
    let of_block = |block: usize| {
        let (top, left) = (block / width * BLOCK * side, block % width * BLOCK * side);
        let whole = s![top..top + (BLOCK + 2) * side, left..left + (BLOCK + 2) * side];
        if !valid.slice(whole).iter().all(|&ok| ok) {
            return Vec::new();
        }
        let means = Array3::from_shape_fn((BLOCK + 2, BLOCK + 2, bands), |(i, j, band)| {
            let (i, j) = (top + side * i, left + side * j);
            let samples = image.slice(s![i..i + side, j..j + side, band]);
            samples.iter().map(|&y| f64::from(y)).sum::<f64>() / side as f64
        });
        let mut detail = Vec::with_capacity(BLOCK * BLOCK * bands);
        for (i, j) in (0..BLOCK * BLOCK).map(|k| (k / BLOCK, k % BLOCK)) {
            for band in 0..bands {
                let mut sum = 0.0;
                for (u, a) in [1.0, -2.0, 1.0].into_iter().enumerate() {
                    for (v, b) in [1.0, -2.0, 1.0].into_iter().enumerate() {
                        sum += a * b * means[[i + u, j + v, band]];
                    }
                }
                detail.push(sum / 6.0);
            }
        }
        detail
    };
    let blocks: Vec<usize> = (0..height * width)
        .step_by((height * width).div_ceil(MOST_BLOCKS))
        .collect();
    let detail: Vec<f64> = blocks
        .into_par_iter()
        .with_min_len(16)
        .flat_map_iter(of_block)
        .collect();
    let samples = detail.len() / bands;
    if samples == 0 {
        return None;
    }
    Array2::from_shape_vec((samples, bands), detail).ok()
}

/// σ² of one band from its regressed detail.
fn quietest(detail: &Array2<f64>, band: usize) -> f64 {
    let (samples, bands) = detail.dim();
    let others: Vec<usize> = (0..bands).filter(|&k| k != band).collect();
    let n = others.len();
    let mut weights = vec![1.0; samples];
    let mut c = DVector::zeros(n);
    let mut remainder = vec![0.0; samples];
    for _ in 0..ROUNDS {
        let mut normal = DMatrix::<f64>::zeros(n, n);
        let mut right = DVector::<f64>::zeros(n);
        for (d, &w) in detail.outer_iter().zip(&weights) {
            for (a, &i) in others.iter().enumerate() {
                right[a] += w * d[i] * d[band];
                for (b, &k) in others.iter().enumerate().take(a + 1) {
                    normal[(a, b)] += w * d[i] * d[k];
                }
            }
        }
        normal.fill_upper_triangle_with_lower_triangle();
        c = solve(normal, &right);
        for (e, d) in remainder.iter_mut().zip(detail.outer_iter()) {
            *e = d[band] - others.iter().zip(c.iter()).map(|(&i, c)| c * d[i]).sum::<f64>();
        }
        let mut sizes: Vec<f64> = remainder.iter().map(|e| e.abs()).collect();
        let scale = 2.0 * median(&mut sizes) / MEDIAN_ABSOLUTE;
        if scale <= 0.0 {
            break;
        }
        // Cauchy weights: edges do not decide the coefficients.
        for (w, e) in weights.iter_mut().zip(&remainder) {
            *w = 1.0 / (1.0 + (e / scale).powi(2));
        }
    }
    let mut variances: Vec<f64> = remainder
        .chunks_exact(BLOCK * BLOCK)
        .map(|block| block.iter().map(|e| e * e).sum::<f64>() / (BLOCK * BLOCK) as f64)
        .collect();
    let [quiet, middle] = QUANTILES.map(|(quantile, of_noise)| {
        let at = ((variances.len() - 1) as f64 * quantile).round() as usize;
        *variances.select_nth_unstable_by(at, f64::total_cmp).1 / of_noise
    });
    let floor = (quiet - TEXTURE_LEFT * (middle - quiet).max(0.0)).max(0.0);
    floor / (1.0 + c.norm_squared())
}

fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Array3, Axis};

    use super::*;
    use crate::cube::Cube;
    use crate::sensor::observe::{Observation, add_noise};

    /// Smooth in place and spectrum, with edges: what bands share, and 0.2 to 0.8 high.
    fn scene(rows: usize, columns: usize, bands: usize) -> Array3<f32> {
        Array3::from_shape_fn((rows, columns, bands), |(r, c, b)| {
            let edge = if (r / 7 + c / 5) % 3 == 0 { 0.15 } else { 0.0 };
            let (r, c, b) = (r as f32 / 9.0, c as f32 / 8.0, b as f32 / bands as f32);
            0.45 + 0.1 * (r + 2.0 * b).sin() + 0.1 * (c - b).cos() + edge * (1.0 - b)
        })
    }

    /// `clean` with noise of `snr` dB and its true σ a band.
    fn noisy(clean: &Array3<f32>, snr: f64, seed: u64) -> (Array3<f32>, Vec<f64>) {
        let mut cube = Cube::new(clean.clone());
        add_noise(&mut cube, snr, seed, Observation::HrMsi).unwrap();
        let sigma = (&cube.samples - clean)
            .axis_iter(Axis(2))
            .map(|band| (band.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / band.len() as f64).sqrt())
            .collect();
        (cube.samples, sigma)
    }

    fn all(image: &Array3<f32>) -> Array2<bool> {
        Array2::from_elem((image.dim().0, image.dim().1), true)
    }

    // 2·16·15 differences: the standard error of σ is about 1/√(480) = 5 %; three of them, and 5 % for curvature.
    #[test]
    fn hsi_noise_is_found_with_more_bands_than_pixels_too() {
        for (bands, seed) in [(31, 1), (300, 2)] {
            let clean = scene(16, 16, bands);
            let (image, sigma) = noisy(&clean, 25.0, seed);
            let found = hsi_noise(image.view(), all(&image).view()).unwrap();
            for (j, (f, s)) in found.iter().zip(&sigma).enumerate() {
                assert!((f / s - 1.0).abs() < 0.2, "band {j}: {f} for {s}");
            }
            let mean = found.iter().sum::<f64>() / sigma.iter().sum::<f64>();
            assert!((mean - 1.0).abs() < 0.06, "{mean}");
        }
    }

    // The 10 % quantile of some 200 blocks is right to about 3 %; bias by texture upwards is allowed 10 %.
    #[test]
    fn msi_noise_is_told_from_texture() {
        let clean = scene(128, 128, 4);
        for snr in [20.0, 25.0, 30.0, 35.0] {
            let (image, sigma) = noisy(&clean, snr, 3);
            let found = msi_noise(image.view(), all(&image).view()).unwrap();
            for (f, s) in found.iter().zip(&sigma) {
                assert!((0.88..1.15).contains(&(f / s)), "{snr} dB: {f} for {s}");
            }
        }
        let found = msi_noise(clean.view(), all(&clean).view()).unwrap();
        assert!(found.iter().all(|&s| s < 1e-3), "{found:?}");
    }

    // Texture that no other band shows, everywhere: the detail alone (two bands, nothing to learn from) would see all
    // of it; copies of it in a second pair of bands reveal it.
    #[test]
    fn shared_texture_is_no_noise() {
        let (texture, _) = noisy(&Array3::from_elem((64, 64, 2), 0.5), 20.0, 9);
        let copies =
            ndarray::concatenate(Axis(2), &[texture.view(), texture.mapv(|x| 0.7 * x).view()]).unwrap();
        let found = msi_noise(copies.view(), all(&copies).view()).unwrap();
        assert!(found.iter().all(|&s| s < 1e-4), "{found:?}");
    }

    // Every band its own, with a spectrum that falls as 1/f²: white noise, averaged over 1, 2, 4, ... pixels and summed with
    // weights that grow with the scale. In one scale, all of it would be noise.
    #[test]
    fn texture_of_one_band_alone_is_told_by_its_growth_with_scale() {
        let mut texture = Array3::<f32>::zeros((128, 128, 3));
        for level in 0..6 {
            let side = 128 >> level;
            let (coarse, _) = noisy(&Array3::from_elem((side, side, 3), 1.0), 40.0, 20 + level as u64);
            texture += &Array3::from_shape_fn(texture.dim(), |(r, c, b)| {
                coarse[[r >> level, c >> level, b]] - 1.0
            });
        }
        texture += 0.5;
        let alone = |image: &Array3<f32>, side| {
            let detail = details(image.view(), all(image).view(), side).unwrap();
            (0..3).map(|b| quietest(&detail, b)).sum::<f64>()
        };
        assert!(alone(&texture, 2) > 3.0 * alone(&texture, 1));
        let found = msi_noise(texture.view(), all(&texture).view()).unwrap();
        // One scale finds 0.39 of σ in the texture alone; of 225 blocks and 49 both together find σ to some 7 %.
        let (image, sigma) = noisy(&texture, 25.0, 5);
        let with_noise = msi_noise(image.view(), all(&image).view()).unwrap();
        for band in 0..3 {
            assert!(
                found[band] < 0.1 * sigma[band],
                "{} for {}",
                found[band],
                sigma[band]
            );
            let share = with_noise[band] / sigma[band];
            assert!((0.88..1.12).contains(&share), "{share}");
        }
    }

    #[test]
    fn nothing_is_said_of_too_little() {
        let valid = |r, c| Array2::from_elem((r, c), true);
        assert!(hsi_noise(scene(1, 1, 20).view(), valid(1, 1).view()).is_none());
        assert!(msi_noise(scene(9, 40, 3).view(), valid(9, 40).view()).is_none());
        let masked = Array2::from_elem((40, 40), false);
        assert!(msi_noise(scene(40, 40, 3).view(), masked.view()).is_none());
        assert!(hsi_noise(scene(40, 40, 6).view(), masked.view()).is_none());
        let flat = Array3::from_elem((20, 20, 5), 0.3f32);
        assert_eq!(hsi_noise(flat.view(), valid(20, 20).view()).unwrap(), [0.0; 5]);
        assert_eq!(msi_noise(flat.view(), valid(20, 20).view()).unwrap(), [0.0; 5]);
        // Two bands have one predictor each, and one band none.
        for bands in [1, 2, 3] {
            let (image, sigma) = noisy(&Array3::from_elem((40, 40, bands), 0.5), 30.0, 4);
            let found = hsi_noise(image.view(), valid(40, 40).view()).unwrap();
            for (f, s) in found.iter().zip(&sigma) {
                assert!((f / s - 1.0).abs() < 0.1, "{bands} bands: {f} for {s}");
            }
        }
    }
}
