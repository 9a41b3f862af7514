//! Registration of the two images: a shift of the MSI against the HSI that is smaller than a pixel of the MSI is
//! taken out of the MSI before anything is trained.
//!
//! Two instruments on one grid are rarely registered to better than a fraction of a pixel. The estimated PSF can bear
//! such a shift as an offset of its centre, and a fusion is consistent with it, but lies where the MSI's pixels lie:
//! beside the HSI by a fraction of a pixel, which costs several decibels against any spectrum known on the HSI's
//! grid (Hyperion and ALI over Paris: 4 dB at ×3). Whether the image is shifted or the PSF is lopsided, the data
//! say: the right one of the two explains them better. A shift of a pixel or more is left to the PSF: then the grids
//! do not mean the same places, and the result keeps to the finer one.

use ndarray::{Array2, Axis};
use rayon::prelude::*;

use crate::coordination::config::{Config, Register};
use crate::coordination::scene::Scene;
use crate::coordination::start::{Known, estimate_degradation};
use crate::cube::bicubic::keys;
use crate::cube::raster::Raster;
use crate::error::Result;
use crate::sensor::estimate::Estimate;
use crate::sensor::psf::{GaussianPsf, centroid};

/// Least shift worth a resampling, HR pixels.
const LEAST: f64 = 0.05;
/// Standard errors that a shift must exceed.
const SIGNIFICANT: f64 = 3.0;
/// A shift from here on is no misregistration within a pixel, HR pixels.
const LARGE: f64 = 1.0;
/// A shifted image must explain the data better than a shifted PSF by this factor of the misfit: more than resampling
/// and noise change by chance, less than real misregistrations do (0.80 and 0.83 for Hyperion and ALI over Paris).
const BETTER: f64 = 0.95;

/// Estimates what is not known of the degradation; with the MSI of `scene` moved onto the HSI's grid where
/// `config.register` asks for it, and the shift in HR pixels (row, column) that was taken out.
///
/// # Errors
/// As [`estimate_degradation`].
pub fn registered_estimate(
    config: &Config,
    scene: &mut Scene,
    known: &Known,
) -> Result<(Estimate, Option<[f64; 2]>)> {
    let found = estimate_degradation(config, scene, known)?;
    let size = found.kernel;
    let shift = match config.register {
        Register::Msi => None,
        Register::Hsi => shift(&found, size),
        Register::Auto => shift(&found, size).filter(|s| s[0].hypot(s[1]) < LARGE),
    };
    let Some(shift) = shift else {
        return Ok((found, None));
    };
    let (hr_msi, hr_valid) = scene.shifted_msi(shift)?;
    let before = (
        std::mem::replace(&mut scene.hr_msi, hr_msi),
        std::mem::replace(&mut scene.hr_valid, hr_valid),
    );
    let again = estimate_degradation(config, scene, known)?;
    if config.register == Register::Auto && gaussian_misfit(&again) > BETTER * gaussian_misfit(&found) {
        (scene.hr_msi, scene.hr_valid) = before;
        return Ok((found, None));
    }
    Ok((again, Some(shift)))
}

/// What the best Gaussian leaves: a free kernel bears a shift as well as a shifted image does and is no judge between them.
fn gaussian_misfit(found: &Estimate) -> f64 {
    found.gaussian.as_ref().map_or(found.misfit, |form| form.misfit)
}

/// By how much content of the MSI lies further down and to the right than the HSI's, HR pixels, where that is
/// significant: how far the centroid of the best Gaussian is from that of the same Gaussian about its own pixel. (Not the
/// Gaussian's centre, whose mass the K×K window may cut.)
fn shift(found: &Estimate, size: usize) -> Option<[f64; 2]> {
    let form = found.gaussian.as_ref()?;
    let (gaussian, errors) = (&form.psf, form.centre?);
    let centred = GaussianPsf {
        centre: [0.0; 2],
        ..*gaussian
    };
    let (to, from) = (centroid(&gaussian.kernel(size)), centroid(&centred.kernel(size)));
    let shift = [to[0] - from[0], to[1] - from[1]];
    let clear = |axis: usize| gaussian.centre[axis].abs() > SIGNIFICANT * errors[axis];
    let large = shift[0].hypot(shift[1]) >= LEAST;
    (large && (clear(0) || clear(1)) && shift.iter().all(|s| s.is_finite())).then_some(shift)
}

impl Scene {
    /// The MSI and its mask with their content moved up and to the left by `shift` (row, column) HR pixels, by cubic
    /// convolution; edge pixels go on beyond the edge. Pixels that would draw on a masked one become masked.
    ///
    /// # Errors
    /// [`crate::Error::Failed`] where the scene's store has no room for it.
    pub fn shifted_msi(&self, shift: [f64; 2]) -> Result<(Raster, Array2<bool>)> {
        let mut valid = self.hr_valid.clone();
        for (axis, &by) in shift.iter().enumerate() {
            let taps = Taps::new(by);
            for mut lane in valid.lanes_mut(Axis(axis)) {
                let old = lane.to_vec();
                for (at, ok) in lane.iter_mut().enumerate() {
                    *ok = taps.at(at, old.len()).all(|(from, _)| old[from]);
                }
            }
        }
        let (rows, columns, bands) = self.hr_msi.dim();
        let line = self.hr_msi.line();
        let old = self.hr_msi.samples();
        let [down, across] = shift.map(Taps::new);
        let across: Vec<Vec<(usize, f64)>> = (0..columns).map(|c| across.at(c, columns).collect()).collect();
        let mut moved = Raster::zeros(&self.store, (rows, columns, bands))?;
        moved
            .samples_mut()
            .par_chunks_mut(line)
            .zip(valid.axis_iter(Axis(0)).into_par_iter())
            .enumerate()
            .for_each_init(Vec::new, |row, (r, (out, valid))| {
                let near: Vec<(usize, f64)> = down.at(r, rows).collect();
                row.clear();
                row.extend((0..line).map(|i| weighted(&near, |from| old[from * line + i])));
                for ((pixel, near), &ok) in out.chunks_mut(bands).zip(&across).zip(valid) {
                    for (band, y) in pixel.iter_mut().enumerate() {
                        *y = match ok {
                            true => weighted(near, |from| row[from * bands + band]),
                            false => 0.0,
                        };
                    }
                }
            });
        Ok((moved, valid))
    }
}

/// Sum of samples with their weights.
fn weighted(near: &[(usize, f64)], sample: impl Fn(usize) -> f32) -> f32 {
    let products = near
        .iter()
        .map(|&(from, weight)| weight * f64::from(sample(from)));
    products.sum::<f64>() as f32
}

/// The four samples that a shifted one is made of.
struct Taps {
    first: isize,
    weights: [f64; 4],
}

impl Taps {
    fn new(by: f64) -> Self {
        let below = by.floor();
        let t = by - below;
        Taps {
            first: below as isize - 1,
            weights: [1.0 + t, t, 1.0 - t, 2.0 - t].map(keys),
        }
    }

    fn at(&self, at: usize, length: usize) -> impl Iterator<Item = (usize, f64)> {
        let weights = self.weights.into_iter().enumerate();
        weights
            .filter(|(_, weight)| *weight != 0.0)
            .map(move |(k, weight)| {
                let from = at.saturating_add_signed(self.first + k as isize);
                (from.min(length - 1), weight)
            })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;
    use crate::coordination::start::Known;
    use crate::cube::Cube;
    use crate::sensor::observe::blur_and_downsample;

    /// Two waves of a wavelength well above a pixel, so that cubic convolution is exact to a few parts in a thousand.
    fn wave(row: f64, column: f64, band: usize) -> f64 {
        let b = band as f64;
        1.0 + 0.4 * (0.23 * row + 0.31 * column + 0.5 * b).sin()
            + 0.3 * (0.41 * column - 0.17 * row - 0.8 * b * b).cos()
            + 0.2 * (0.29 * row * (1.0 + 0.07 * b)).sin()
    }

    /// A scene of scale 4 whose MSI lies `by` further down and to the right.
    fn scene(by: [f64; 2]) -> Scene {
        observed(by, [0.0; 2])
    }

    /// The same with a PSF whose centre is moved within its window.
    fn observed(by: [f64; 2], centre: [f64; 2]) -> Scene {
        let image = |by: [f64; 2], bands: usize| {
            Cube::new(Array3::from_shape_fn((96, 96, bands), |(r, c, b)| {
                wave(r as f64 - by[0], c as f64 - by[1], b) as f32
            }))
        };
        let mut psf = GaussianPsf::from_variances(1.5, 0.9, 0.4).unwrap();
        psf.centre = centre;
        let psf = psf.kernel(6);
        let hsi = blur_and_downsample(&image([0.0; 2], 6), &psf, 4).unwrap();
        Scene::new(&hsi, &image(by, 2), "x", "y").unwrap()
    }

    fn config(register: Register) -> Config {
        let mut config = Config::load("single-scene", None).unwrap();
        config.register = register;
        config.degradation.kernel = 6;
        config
    }

    #[test]
    fn a_shift_within_a_pixel_is_found_and_taken_out() {
        let by = [0.3, -0.45];
        let mut moved = scene(by);
        let (estimate, found) =
            registered_estimate(&config(Register::Hsi), &mut moved, &Known::default()).unwrap();
        let found = found.unwrap();
        // The window of 6 cuts little of the Gaussian, and cubic convolution changes little of the waves.
        assert!((0..2).all(|k| (found[k] - by[k]).abs() < 0.05), "{found:?}");
        let left = estimate.psf.gaussian().unwrap().centre;
        assert!(left.iter().all(|c| c.abs() < 0.05), "{left:?}");
        let straight = scene([0.0; 2]);
        let error = |a: &Scene| {
            // The end of an ndarray slice counts from the back, which the lint takes for an empty range.
            #[allow(clippy::reversed_empty_ranges)]
            let inner = ndarray::s![4..-4, 4..-4, ..];
            let difference = &a.hr_msi.view().slice(inner) - &straight.hr_msi.view().slice(inner);
            difference.iter().map(|d| d * d).sum::<f32>().sqrt()
        };
        assert!(error(&moved) < 0.1 * error(&scene(by)));
    }

    #[test]
    fn what_is_registered_or_lopsided_or_far_off_or_not_asked_for_stays() {
        let none = [0.0, 0.0];
        for (register, by, centre) in [
            (Register::Auto, none, none),
            (Register::Auto, none, [0.5, -0.3]),
            (Register::Auto, [2.4, 0.0], none),
            (Register::Msi, [0.3, -0.45], none),
        ] {
            let mut at = observed(by, centre);
            let before = at.hr_msi.samples().to_vec();
            let (_, found) = registered_estimate(&config(register), &mut at, &Known::default()).unwrap();
            assert_eq!(found, None, "{register:?} {by:?} {centre:?}");
            assert_eq!(at.hr_msi.samples(), before);
        }
        // A lopsided PSF is taken for a shift where that is asked for.
        let mut asked = observed(none, [0.5, -0.3]);
        let found = registered_estimate(&config(Register::Hsi), &mut asked, &Known::default()).unwrap();
        assert!(
            found.1.is_some_and(|[row, column]| row > 0.2 && column < -0.1),
            "{:?}",
            found.1
        );
    }

    #[test]
    fn masked_pixels_spread_by_the_taps_and_no_further() {
        let mut at = scene([0.0; 2]);
        at.hr_valid[[10, 20]] = false;
        at.hr_msi.view_mut()[[10, 20, 0]] = f32::NAN;
        let (moved, valid) = at.shifted_msi([0.5, 0.0]).unwrap();
        let masked: Vec<_> = valid
            .indexed_iter()
            .filter(|(_, ok)| !**ok)
            .map(|(p, _)| p)
            .collect();
        assert_eq!(masked, [(8, 20), (9, 20), (10, 20), (11, 20)]);
        assert!(moved.samples().iter().all(|x| x.is_finite()));
    }
}
