//! What registration compares: leading principal components of the HSI, and the MSI blurred by about the PSF.

use nalgebra::{DMatrix, SymmetricEigen};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, s};
use rayon::prelude::*;

use super::geometry::Place;
use crate::cube::bicubic::keys;

/// Principal components of the HSI at most.
const COMPONENTS: usize = 10;
/// Channels of the MSI at most.
const CHANNELS: usize = 6;
/// Pixels that principal axes are taken from, about.
const SAMPLE: usize = 20_000;
/// Pixels of the reduced MSI to an LR pixel, at least.
const BLOCKS: f64 = 4.0;
/// Pixels on the longer side of the finest level of a [`Pyramid`], at most.
const LARGE: usize = 1024;
/// Pixels on the shorter side of its coarsest level, at least.
const SMALL: usize = 8;
/// Full width at half maximum of a Gaussian of deviation 1: √(8 ln 2).
pub const FWHM: f64 = 2.354_820_045;
/// Share of the variance below which an axis is rounding.
const ROUNDING: f64 = 1e-7;

/// An image on few axes, with its mask.
#[derive(Debug, Clone)]
pub struct Components {
    /// Rows × columns × axes; 0 where masked.
    pub samples: Array3<f64>,
    /// Pixels that may be used.
    pub valid: Array2<bool>,
}

/// Means, deviations and leading principal axes (bands × axes) of the standardised bands of an image; of unit variance where
/// `whiten` says so.
/// `None` where nothing varies.
fn axes(
    image: ArrayView3<f32>,
    valid: ArrayView2<bool>,
    most: usize,
    whiten: bool,
) -> Option<(Vec<f64>, DMatrix<f64>)> {
    let (rows, columns, bands) = image.dim();
    let step = ((rows * columns) as f64 / SAMPLE as f64).sqrt().ceil().max(1.0) as usize;
    let places: Vec<(usize, usize)> = (0..rows)
        .step_by(step)
        .flat_map(|r| (0..columns).step_by(step).map(move |c| (r, c)))
        .filter(|&at| valid[at])
        .collect();
    if places.len() < 2 {
        return None;
    }
    let n = places.len() as f64;
    let mut mean = vec![0.0; bands];
    for &(r, c) in &places {
        for (m, &x) in mean.iter_mut().zip(image.slice(s![r, c, ..])) {
            *m += f64::from(x) / n;
        }
    }
    let rows = DMatrix::from_fn(places.len(), bands, |k, b| {
        f64::from(image[[places[k].0, places[k].1, b]]) - mean[b]
    });
    let mut covariance = rows.tr_mul(&rows) / n;
    let scale: Vec<f64> = (0..bands)
        .map(|b| {
            let deviation = covariance[(b, b)].sqrt();
            // A band of one value takes no part.
            if deviation > 1e-6 * mean[b].abs() {
                1.0 / deviation
            } else {
                0.0
            }
        })
        .collect();
    for i in 0..bands {
        for j in 0..bands {
            covariance[(i, j)] *= scale[i] * scale[j];
        }
    }
    let eigen = SymmetricEigen::new(covariance);
    let mut order: Vec<usize> = (0..bands).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let total: f64 = eigen.eigenvalues.iter().map(|x| x.max(0.0)).sum();
    order.retain(|&k| eigen.eigenvalues[k] > ROUNDING * total && eigen.eigenvalues[k] > 0.0);
    order.truncate(most);
    if order.is_empty() {
        return None;
    }
    let axes = DMatrix::from_fn(bands, order.len(), |b, k| {
        let length = if whiten {
            eigen.eigenvalues[order[k]].sqrt()
        } else {
            1.0
        };
        scale[b] * eigen.eigenvectors[(b, order[k])] / length
    });
    Some((mean, axes))
}

impl Components {
    /// At most `most` leading principal components.
    fn of(image: ArrayView3<f32>, valid: ArrayView2<bool>, most: usize, whiten: bool) -> Option<Components> {
        let (mean, axes) = axes(image, valid, most, whiten)?;
        let (rows, columns, _) = image.dim();
        let mut samples = Array3::zeros((rows, columns, axes.ncols()));
        samples
            .axis_iter_mut(ndarray::Axis(0))
            .into_par_iter()
            .enumerate()
            .for_each(|(r, mut row)| {
                for (c, mut to) in row.outer_iter_mut().enumerate() {
                    if !valid[[r, c]] {
                        continue;
                    }
                    for (b, &x) in image.slice(s![r, c, ..]).iter().enumerate() {
                        let x = f64::from(x) - mean[b];
                        for (k, y) in to.iter_mut().enumerate() {
                            *y += axes[(b, k)] * x;
                        }
                    }
                }
            });
        Some(Components {
            samples,
            valid: valid.to_owned(),
        })
    }

    /// Of an HSI: as many components as its pixels can bear.
    pub fn of_hsi(image: ArrayView3<f32>, valid: ArrayView2<bool>) -> Option<Components> {
        let usable = valid.iter().filter(|ok| **ok).count();
        Components::of(image, valid, COMPONENTS.min(usable / 12), true)
    }

    /// Rows and columns.
    pub fn size(&self) -> [usize; 2] {
        let (rows, columns, _) = self.samples.dim();
        [rows, columns]
    }

    /// Number of axes.
    pub fn axes(&self) -> usize {
        self.samples.dim().2
    }

    /// Means of blocks of `factor` × `factor` pixels; a block is valid if most of it is. Blocks that are cut off at the end
    /// are dropped.
    pub fn reduced(&self, factor: [usize; 2]) -> Components {
        let [rows, columns] = self.size();
        let size = [rows / factor[0], columns / factor[1]];
        let mut samples = Array3::zeros((size[0], size[1], self.axes()));
        let mut valid = Array2::from_elem(size, false);
        for r in 0..size[0] {
            for c in 0..size[1] {
                let mut count = 0;
                let mut to = samples.slice_mut(s![r, c, ..]);
                for i in r * factor[0]..(r + 1) * factor[0] {
                    for j in c * factor[1]..(c + 1) * factor[1] {
                        if self.valid[[i, j]] {
                            count += 1;
                            to += &self.samples.slice(s![i, j, ..]);
                        }
                    }
                }
                if 2 * count > factor[0] * factor[1] {
                    to /= count as f64;
                    valid[[r, c]] = true;
                } else {
                    to.fill(0.0);
                }
            }
        }
        Components { samples, valid }
    }

    /// Blurred by Gaussians of these standard deviations (pixels, down and across). A pixel is valid if most of what its
    /// blur takes is.
    pub fn blurred(self, deviation: [f64; 2]) -> Components {
        let [rows, columns] = self.size();
        let axes = self.axes();
        // The weight of valid pixels is blurred along, as one more axis.
        let mut image = Array3::zeros((rows, columns, axes + 1));
        image.slice_mut(s![.., .., ..axes]).assign(&self.samples);
        for (at, &ok) in self.valid.indexed_iter() {
            image[[at.0, at.1, axes]] = f64::from(u8::from(ok));
        }
        for (axis, &sigma) in deviation.iter().enumerate() {
            if sigma < 0.1 {
                continue;
            }
            let reach = (3.5 * sigma).ceil() as isize;
            let mut weights: Vec<f64> = (-reach..=reach)
                .map(|k| (-0.5 * (k as f64 / sigma).powi(2)).exp())
                .collect();
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|w| *w /= sum);
            let length = image.dim().0 as isize * isize::from(axis == 0)
                + image.dim().1 as isize * isize::from(axis == 1);
            let mut out = Array3::zeros(image.dim());
            out.axis_iter_mut(ndarray::Axis(axis))
                .into_par_iter()
                .enumerate()
                .for_each(|(at, mut line)| {
                    for (k, &w) in weights.iter().enumerate() {
                        let from = at as isize + k as isize - reach;
                        if (0..length).contains(&from) {
                            line.scaled_add(w, &image.index_axis(ndarray::Axis(axis), from as usize));
                        }
                    }
                });
            image = out;
        }
        let mut samples = Array3::zeros((rows, columns, axes));
        let mut valid = self.valid;
        for ((r, c), ok) in valid.indexed_iter_mut() {
            let weight = image[[r, c, axes]];
            *ok = *ok && weight > 0.8;
            if *ok {
                let from = image.slice(s![r, c, ..axes]);
                samples.slice_mut(s![r, c, ..]).assign(&from.mapv(|x| x / weight));
            }
        }
        Components { samples, valid }
    }
}

/// The MSI on few axes, reduced to a few pixels for each LR pixel: what [`Guide`]s are made of.
pub struct Reduced {
    components: Components,
    factor: [usize; 2],
    ratio: [f64; 2],
}

impl Reduced {
    /// Of an MSI of which an LR pixel spans `ratio` pixels down and across. `None` where nothing varies.
    pub fn new(image: ArrayView3<f32>, valid: ArrayView2<bool>, ratio: [f64; 2]) -> Option<Reduced> {
        let factor = ratio.map(|r| ((r / BLOCKS).floor() as usize).max(1));
        let bands = image.dim().2;
        // Means of blocks first: an MSI is large, and axes of its means are as good.
        let (rows, columns) = (image.dim().0 / factor[0], image.dim().1 / factor[1]);
        let mut samples = Array3::<f32>::zeros((rows, columns, bands));
        let mut ok = Array2::from_elem((rows, columns), false);
        samples
            .axis_iter_mut(ndarray::Axis(0))
            .into_par_iter()
            .zip(ok.axis_iter_mut(ndarray::Axis(0)).into_par_iter())
            .enumerate()
            .for_each(|(r, (mut row, mut ok))| {
                let mut sum = vec![0.0f64; bands];
                for (c, (mut to, ok)) in row.outer_iter_mut().zip(ok.iter_mut()).enumerate() {
                    sum.fill(0.0);
                    let mut count = 0usize;
                    for i in r * factor[0]..(r + 1) * factor[0] {
                        for j in c * factor[1]..(c + 1) * factor[1] {
                            if valid[[i, j]] {
                                count += 1;
                                for (s, &x) in sum.iter_mut().zip(image.slice(s![i, j, ..])) {
                                    *s += f64::from(x);
                                }
                            }
                        }
                    }
                    *ok = 2 * count > factor[0] * factor[1];
                    if *ok {
                        for (t, s) in to.iter_mut().zip(&sum) {
                            *t = (s / count as f64) as f32;
                        }
                    }
                }
            });
        Some(Reduced {
            components: Components::of(samples.view(), ok.view(), CHANNELS, false)?,
            factor,
            ratio,
        })
    }

    /// The same on pixels of an HSI of `size` divided by an integer, at the places that `at` says for those of the HSI.
    pub fn brought(&self, size: [usize; 2], at: impl Fn(Place) -> Place + Sync) -> Reduced {
        let fine = [0, 1].map(|k| (self.ratio[k] / self.factor[k] as f64).round().max(1.0));
        let factor = self.factor.map(|f| f as f64);
        let [rows, columns] = [0, 1].map(|k| size[k] * fine[k] as usize);
        let mut samples = Array3::zeros((rows, columns, self.components.axes()));
        let mut valid = Array2::from_elem((rows, columns), false);
        samples
            .axis_iter_mut(ndarray::Axis(0))
            .into_par_iter()
            .zip(valid.axis_iter_mut(ndarray::Axis(0)).into_par_iter())
            .enumerate()
            .for_each(|(r, (mut row, mut valid))| {
                for (c, (mut to, ok)) in row.outer_iter_mut().zip(valid.iter_mut()).enumerate() {
                    let place = [(r as f64 + 0.5) / fine[0], (c as f64 + 0.5) / fine[1]];
                    if let Some((value, _)) = self.components.at(factor, at(place)) {
                        *ok = true;
                        to.iter_mut().zip(value).for_each(|(to, x)| *to = x);
                    }
                }
            });
        Reduced {
            components: Components { samples, valid },
            factor: [1; 2],
            ratio: fine,
        }
    }

    /// Pixels of the image that an LR pixel spans, down and across.
    pub fn ratio(&self) -> [f64; 2] {
        self.ratio
    }

    /// Blurred so that a pixel sees what a Gaussian PSF of this full width at half maximum (LR pixels) sees.
    pub fn guide(&self, width: f64) -> Guide {
        self.guide_at(self.ratio, width)
    }

    /// The same where an LR pixel spans `ratio` pixels.
    fn guide_at(&self, ratio: [f64; 2], width: f64) -> Guide {
        let deviation = [0, 1].map(|k| {
            let factor = self.factor[k] as f64;
            let wanted = (width * ratio[k] / FWHM).powi(2);
            ((wanted - (factor * factor - 1.0) / 12.0).max(0.0)).sqrt() / factor
        });
        Guide {
            components: self.components.clone().blurred(deviation),
            factor: self.factor.map(|f| f as f64),
        }
    }
}

/// The MSI on few axes at many resolutions, each half of the one before: for ratios that are not known.
pub struct Pyramid {
    levels: Vec<Reduced>,
}

impl Pyramid {
    /// Of an MSI; of a large one from a coarser level on. `None` where nothing varies.
    pub fn new(image: ArrayView3<f32>, valid: ArrayView2<bool>) -> Option<Pyramid> {
        let finest = image.dim().0.max(image.dim().1).div_ceil(LARGE) as f64;
        let mut levels = vec![Reduced::new(image, valid, [BLOCKS * finest; 2])?];
        while let Some(last) = levels.last()
            && last.components.size().iter().all(|&n| n >= 2 * SMALL)
        {
            levels.push(Reduced {
                components: last.components.reduced([2; 2]),
                factor: last.factor.map(|f| 2 * f),
                ratio: last.ratio,
            });
        }
        Some(Pyramid { levels })
    }

    /// As [`Reduced::guide`], of an LR pixel that spans `ratio` pixels, from as few pixels as tell it.
    pub fn guide(&self, ratio: f64, width: f64) -> Guide {
        let enough = |level: &&Reduced| level.factor.iter().all(|&f| BLOCKS * f as f64 <= ratio * width);
        let level = self.levels.iter().rev().find(enough).unwrap_or(&self.levels[0]);
        level.guide_at([ratio; 2], width)
    }
}

/// A blurred MSI that can be asked at any place.
pub struct Guide {
    components: Components,
    factor: Place,
}

/// Value and slopes (down, across) of each channel at a place.
pub type Sampled = ([f64; CHANNELS], [[f64; CHANNELS]; 2]);

/// Derivative of [`keys`].
fn keys_slope(x: f64) -> f64 {
    let (a, sign) = (x.abs(), x.signum());
    sign * match a {
        a if a < 1.0 => (4.5 * a - 5.0) * a,
        a if a < 2.0 => (-1.5 * a + 5.0) * a - 4.0,
        _ => 0.0,
    }
}

impl Guide {
    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.components.axes()
    }

    /// At a place of the MSI; slopes are to its pixels. `None` beyond what is valid.
    pub fn at(&self, place: Place) -> Option<Sampled> {
        self.components.at(self.factor, place)
    }
}

impl Components {
    /// At a place of the image whose means of `factor` pixels these are; slopes are to its pixels. `None` beyond what is valid.
    fn at(&self, factor: Place, place: Place) -> Option<Sampled> {
        let [rows, columns] = self.size();
        let axis = |k: usize, n: usize| {
            let x = place[k] / factor[k] - 0.5;
            let first = x.floor() - 1.0;
            // Half a pixel beyond the outermost centres is within the image; further is not.
            if !(x >= -0.5 && x <= n as f64 - 0.5) {
                return None;
            }
            let offsets: [f64; 4] = std::array::from_fn(|i| x - (first + i as f64));
            let index: [usize; 4] =
                std::array::from_fn(|i| (first as isize + i as isize).clamp(0, n as isize - 1) as usize);
            Some((index, offsets.map(|d| keys(d.abs())), offsets.map(keys_slope)))
        };
        let (r, wr, dr) = axis(0, rows)?;
        let (c, wc, dc) = axis(1, columns)?;
        let (mut value, mut slope) = ([0.0; CHANNELS], [[0.0; CHANNELS]; 2]);
        for i in 0..4 {
            for j in 0..4 {
                if !self.valid[[r[i], c[j]]] {
                    return None;
                }
                let pixel = self.samples.slice(s![r[i], c[j], ..]);
                let (w, down, across) = (wr[i] * wc[j], dr[i] * wc[j], wr[i] * dc[j]);
                for (k, &x) in pixel.iter().enumerate() {
                    value[k] += w * x;
                    slope[0][k] += down * x;
                    slope[1][k] += across * x;
                }
            }
        }
        for (axis, slope) in slope.iter_mut().enumerate() {
            slope.iter_mut().for_each(|d| *d /= factor[axis]);
        }
        Some((value, slope))
    }
}
