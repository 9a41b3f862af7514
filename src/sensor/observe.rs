//! The observation model X = (Z ∗ C)↓s + noise, Y = Z ×₃ R + noise on whole images, accumulated in f64.
//!
//! This is what `simulate` and `demo` degrade a scene with; the engines have their own kernels for the
//! training loop and are tested against the same formulas.

use std::ops::Range;

use ndarray::{Array2, Array3, ArrayView3, Axis};
use rayon::prelude::*;

use super::psf::window_start;
use crate::cube::strips::{self, Strips};
use crate::cube::{Cube, Metadata};
use crate::error::{Error, Result};
use crate::random::{Purpose, key, normals};

/// Which of the two observations noise is drawn for, so that both draw apart from one seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Observation {
    /// X, the low-resolution hyperspectral image.
    LrHsi = 0,
    /// Y, the high-resolution multispectral image.
    HrMsi = 1,
}

/// (Z ∗ C)↓s: one output pixel per `scale` × `scale` block of `image`, weighted by the K×K `psf`.
///
/// The window of output pixel (r, c) starts at row r·s + s/2 − K/2 and column c·s + s/2 − K/2 (integer
/// divisions); where it leaves the image the edge pixels go on. An output pixel is usable if every pixel of its
/// window is; a masked one holds the image's no-data value, or 0 if it has none.
///
/// # Errors
/// [`Error::Input`] if the image is not whole blocks or `psf` is not square.
pub fn blur_and_downsample(image: &Cube, psf: &Array2<f64>, scale: usize) -> Result<Cube> {
    check_blur(image.samples.dim(), psf, scale)?;
    let part = Part {
        samples: image.samples.view(),
        valid: image.valid.as_ref(),
        first: 0,
        rows: image.rows(),
        origin: [0; 2],
        blocks: image.columns() / scale,
    };
    let (samples, valid) = blurred_rows(&part, 0..image.rows() / scale, psf, scale, image.metadata.nodata);
    let mut low = Cube::new(samples);
    low.valid = image.valid.is_some().then_some(valid);
    low.metadata = low_metadata(&image.metadata, scale);
    Ok(low)
}

/// [`blur_and_downsample`] of bare samples (rows × columns × bands), none masked.
///
/// # Errors
/// As [`blur_and_downsample`].
pub fn blur_samples(image: ArrayView3<f32>, psf: &Array2<f64>, scale: usize) -> Result<Array3<f32>> {
    check_blur(image.dim(), psf, scale)?;
    let rows = image.dim().0;
    let part = Part {
        samples: image,
        valid: None,
        first: 0,
        rows,
        origin: [0; 2],
        blocks: image.dim().1 / scale,
    };
    Ok(blurred_rows(&part, 0..rows / scale, psf, scale, None).0)
}

/// What [`blur_and_downsample`] leaves of an image's metadata.
pub(super) fn low_metadata(metadata: &Metadata, scale: usize) -> Metadata {
    let mut low = metadata.clone();
    low.grid = low.grid.and_then(|grid| grid.scaled(scale as f64));
    low
}

pub(super) fn check_blur(
    (rows, columns, _): (usize, usize, usize),
    psf: &Array2<f64>,
    scale: usize,
) -> Result<()> {
    let size = psf.nrows();
    if scale == 0 || !rows.is_multiple_of(scale) || !columns.is_multiple_of(scale) {
        return Err(Error::input(format!(
            "{rows} x {columns} pixels are no whole number of {scale} x {scale} blocks; crop the image to multiples of {scale}"
        )));
    }
    if size == 0 || psf.ncols() != size {
        return Err(Error::input(format!(
            "a PSF is a square matrix, found {} x {}",
            psf.nrows(),
            psf.ncols()
        )));
    }
    Ok(())
}

/// Rows of an image, from `first` of its `rows` on.
pub(super) struct Part<'a> {
    pub samples: ArrayView3<'a, f32>,
    pub valid: Option<&'a Array2<bool>>,
    pub first: usize,
    pub rows: usize,
    /// First row and column of the first block in the image.
    pub origin: [usize; 2],
    /// Blocks side by side.
    pub blocks: usize,
}

/// Where the blocks begin along an axis of `length` pixels and how many they are, so that no window of side `kernel` leaves
/// the image.
pub fn inner_blocks(length: usize, scale: usize, kernel: usize) -> (usize, usize) {
    let margin = kernel.saturating_sub(scale) / 2;
    (margin, length.saturating_sub(2 * margin) / scale.max(1))
}

/// LR rows `low` and their mask, from the rows that their windows see.
pub(super) fn blurred_rows(
    part: &Part,
    low: Range<usize>,
    psf: &Array2<f64>,
    scale: usize,
    nodata: Option<f64>,
) -> (Array3<f32>, Array2<bool>) {
    let (_, columns, bands) = part.samples.dim();
    let size = psf.nrows();
    let start = window_start(scale, size);
    // Row or column number of a window's element, held inside the image.
    let inside =
        |first: usize, k: usize, length: usize| (first + k).saturating_add_signed(start).min(length - 1);
    let fill = nodata.unwrap_or(0.0) as f32;
    let mut samples = Array3::<f32>::zeros((low.len(), part.blocks, bands));
    let mut valid = Array2::from_elem((low.len(), part.blocks), true);
    samples
        .axis_iter_mut(Axis(0))
        .into_par_iter()
        .zip(valid.axis_iter_mut(Axis(0)))
        .enumerate()
        .for_each(|(r, (mut line, mut line_valid))| {
            let mut sum = vec![0.0; bands];
            for (c, mut out) in line.outer_iter_mut().enumerate() {
                sum.fill(0.0);
                let mut usable = true;
                for i in 0..size {
                    let first = part.origin[0] + (low.start + r) * scale;
                    let row = inside(first, i, part.rows) - part.first;
                    let pixels = part.samples.index_axis(Axis(0), row);
                    for j in 0..size {
                        let column = inside(part.origin[1] + c * scale, j, columns);
                        usable &= part.valid.is_none_or(|v| v[[row, column]]);
                        let weight = psf[[i, j]];
                        for (s, &x) in sum.iter_mut().zip(pixels.index_axis(Axis(0), column)) {
                            *s += weight * f64::from(x);
                        }
                    }
                }
                line_valid[c] = usable;
                for (o, &s) in out.iter_mut().zip(&sum) {
                    *o = if usable { s as f32 } else { fill };
                }
            }
        });
    (samples, valid)
}

/// Z ×₃ R: the bands of a sensor with response `srf` (B×b).
///
/// Wavelengths of the result are the means of the image's under each column. Masked pixels hold the image's
/// no-data value, or 0 if it has none.
///
/// # Errors
/// [`Error::Input`] if `srf` has not one row a band.
pub fn apply_response(image: &Cube, srf: &Array2<f64>) -> Result<Cube> {
    let (rows, columns, bands) = image.samples.dim();
    check_response(bands, srf)?;
    let fill = image.metadata.nodata.unwrap_or(0.0) as f32;
    let mut samples = Array3::<f32>::zeros((rows, columns, srf.ncols()));
    samples
        .axis_iter_mut(Axis(0))
        .into_par_iter()
        .enumerate()
        .for_each(|(r, mut line)| {
            let mut sum = vec![0.0; srf.ncols()];
            for (c, mut out) in line.outer_iter_mut().enumerate() {
                if !image.is_valid(r, c) {
                    out.fill(fill);
                    continue;
                }
                sum.fill(0.0);
                let pixel = image.samples.index_axis(Axis(0), r);
                for (&x, weights) in pixel.index_axis(Axis(0), c).iter().zip(srf.outer_iter()) {
                    for (s, &w) in sum.iter_mut().zip(weights) {
                        *s += w * f64::from(x);
                    }
                }
                for (o, &s) in out.iter_mut().zip(&sum) {
                    *o = s as f32;
                }
            }
        });
    let mut multispectral = Cube::new(samples);
    multispectral.valid = image.valid.clone();
    multispectral.metadata = response_metadata(&image.metadata, srf);
    Ok(multispectral)
}

pub(super) fn check_response(bands: usize, srf: &Array2<f64>) -> Result<()> {
    if srf.nrows() == bands {
        return Ok(());
    }
    Err(Error::input(format!(
        "the SRF has {} rows and the image {bands} bands; it needs one row a band",
        srf.nrows()
    )))
}

pub(super) fn response_metadata(metadata: &Metadata, srf: &Array2<f64>) -> Metadata {
    Metadata {
        wavelengths: metadata.wavelengths.as_ref().map(|centres| {
            let mean = |column: ndarray::ArrayView1<f64>| {
                column.iter().zip(centres).map(|(w, x)| w * x).sum::<f64>() / column.sum()
            };
            srf.columns().into_iter().map(mean).collect()
        }),
        nodata: metadata.nodata,
        grid: metadata.grid.clone(),
        ..Metadata::default()
    }
}

/// Adds white Gaussian noise of the given signal-to-noise ratio to every band: 10·log₁₀(mean(signal²)/σ²) = `snr_db`,
/// the mean over the band's usable pixels.
///
/// The same `seed` and `observation` add the same noise whatever the number of threads. Masked pixels stay.
///
/// # Errors
/// [`Error::Input`] if `snr_db` is not finite.
pub fn add_noise(image: &mut Cube, snr_db: f64, seed: u64, observation: Observation) -> Result<()> {
    let noise = Noise::of(image, snr_db, seed, observation)?;
    noise.add(image, 0);
    Ok(())
}

/// The noise of [`add_noise`] for one image.
pub(super) struct Noise {
    sigma: Vec<f64>,
    seed: u64,
    observation: Observation,
}

impl Noise {
    pub(super) fn of(image: &dyn Strips, snr_db: f64, seed: u64, observation: Observation) -> Result<Noise> {
        if !snr_db.is_finite() {
            return Err(Error::input(format!("SNR of {snr_db} dB: give a finite number")));
        }
        let mut power = vec![0.0; image.dim().2];
        let mut usable = 0usize;
        strips::for_each(image, |_, strip| {
            let columns = strip.columns();
            for (p, pixel) in strip.samples.rows().into_iter().enumerate() {
                if strip.is_valid(p / columns, p % columns) {
                    usable += 1;
                    for (sum, &x) in power.iter_mut().zip(pixel) {
                        *sum += f64::from(x) * f64::from(x);
                    }
                }
            }
            Ok(())
        })?;
        let sigma = |sum: &f64| (sum / usable.max(1) as f64 / 10f64.powf(snr_db / 10.0)).sqrt();
        Ok(Noise {
            sigma: power.iter().map(sigma).collect(),
            seed,
            observation,
        })
    }

    /// Adds it to rows of the image from `first` on.
    pub(super) fn add(&self, rows: &mut Cube, first: usize) {
        let columns = rows.columns();
        let (key, valid) = (key(self.seed), rows.valid.as_ref());
        rows.samples
            .axis_iter_mut(Axis(0))
            .into_par_iter()
            .enumerate()
            .for_each(|(r, mut line)| {
                for (c, mut pixel) in line.outer_iter_mut().enumerate() {
                    if valid.is_some_and(|v| !v[[r, c]]) {
                        continue;
                    }
                    let number = ((first + r) * columns + c) as u32;
                    for (quad, mut four) in pixel.axis_chunks_iter_mut(Axis(0), 4).enumerate() {
                        let purpose = Purpose::SensorNoise as u32;
                        let draws =
                            normals::<f64>(key, self.observation as u32, purpose, number, quad as u32);
                        for ((x, draw), s) in four.iter_mut().zip(draws).zip(&self.sigma[4 * quad..]) {
                            *x = (f64::from(*x) + s * draw) as f32;
                        }
                    }
                }
            });
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{arr2, s};

    use super::*;
    use crate::cube::grid::{GeoTiffTags, Grid, Source, Transform};
    use crate::sensor::psf::GaussianPsf;

    fn scene(rows: usize, columns: usize, bands: usize) -> Cube {
        Cube::new(Array3::from_shape_fn((rows, columns, bands), |(r, c, b)| {
            ((r * 37 + c * 91 + b * 53 + (r * c) % 17 * 29) % 256) as f32 / 255.0
        }))
    }

    // K = s: the plain weighted sum over each block, [[1, 2], [3, 4]] / 10 on [[a, b], [c, d]].
    #[test]
    fn kernel_of_the_block_by_hand() {
        let image = Cube::new(Array3::from_shape_fn((2, 4, 1), |(r, c, _)| (10 * r + c) as f32));
        let psf = arr2(&[[0.1, 0.2], [0.3, 0.4]]);
        let low = blur_and_downsample(&image, &psf, 2).unwrap();
        assert_eq!(low.samples.dim(), (1, 2, 1));
        // 0.1·0 + 0.2·1 + 0.3·10 + 0.4·11 = 7.6, and two more everywhere in the next block.
        assert!((low.samples[[0, 0, 0]] - 7.6).abs() < 1e-6);
        assert!((low.samples[[0, 1, 0]] - 9.6).abs() < 1e-6);
    }

    // K = 3, s = 2: windows start at 2r + 1 − 1, so they cover columns 0..3 and 2..5 of 4 (column 4 is column 3
    // again) and rows 0..3 of 2 (row 2 is row 1 again). K = 1 takes pixel s/2 of the block.
    #[test]
    fn other_kernels_by_hand() {
        let image = Cube::new(Array3::from_shape_fn((2, 4, 1), |(r, c, _)| (10 * r + c) as f32));
        let low = blur_and_downsample(&image, &Array2::from_elem((3, 3), 1.0 / 9.0), 2).unwrap();
        // Row mean (0 + 10 + 10)/3; column means (0 + 1 + 2)/3 and (2 + 3 + 3)/3.
        assert!((f64::from(low.samples[[0, 0, 0]]) - (20.0 / 3.0 + 1.0)).abs() < 1e-6);
        assert!((f64::from(low.samples[[0, 1, 0]]) - (20.0 / 3.0 + 8.0 / 3.0)).abs() < 1e-6);
        let low = blur_and_downsample(&image, &arr2(&[[1.0]]), 2).unwrap();
        assert_eq!(low.samples.as_slice().unwrap(), [11.0, 13.0]);
    }

    // A kernel of 2s on the block's centre is the kernel of s when its rim is zero: padding is (K − s)/2.
    #[test]
    fn wider_kernel_with_a_zero_rim_is_the_narrow_one() {
        let image = scene(12, 16, 3);
        let narrow = GaussianPsf::from_variances(2.0, 1.0, 0.4).unwrap().kernel(4);
        let mut wide = Array2::zeros((8, 8));
        wide.slice_mut(s![2..6, 2..6]).assign(&narrow);
        let a = blur_and_downsample(&image, &narrow, 4).unwrap();
        let b = blur_and_downsample(&image, &wide, 4).unwrap();
        assert_eq!(a.samples, b.samples);
    }

    // R acts on bands and C on pixels, so the order does not matter but for single-precision rounding between.
    #[test]
    fn blur_and_response_commute() {
        let image = scene(16, 16, 5);
        let psf = GaussianPsf::from_variances(3.0, 1.0, 0.7).unwrap().kernel(8);
        let srf = arr2(&[[0.5, 0.0], [0.5, 0.1], [0.0, 0.2], [0.0, 0.3], [0.0, 0.4]]);
        let a = apply_response(&blur_and_downsample(&image, &psf, 4).unwrap(), &srf).unwrap();
        let b = blur_and_downsample(&apply_response(&image, &srf).unwrap(), &psf, 4).unwrap();
        for (x, y) in a.samples.iter().zip(&b.samples) {
            assert!((x - y).abs() < 1e-6);
        }
        // By hand: 0.1·z₁ + 0.2·z₂ + 0.3·z₃ + 0.4·z₄ at one pixel.
        let z = image.samples.slice(s![3, 7, ..]).to_vec();
        let expected = 0.1 * z[1] + 0.2 * z[2] + 0.3 * z[3] + 0.4 * z[4];
        assert!((apply_response(&image, &srf).unwrap().samples[[3, 7, 1]] - expected).abs() < 1e-6);
    }

    #[test]
    fn wavelengths_follow_their_bands_and_the_grid_its_pixels() {
        let mut image = scene(4, 4, 3);
        image.metadata.wavelengths = Some(vec![400.0, 500.0, 600.0]);
        image.metadata.grid = Some(Grid {
            transform: Transform::new([500.0, 30.0, 0.0, 4000.0, 0.0, -30.0]),
            epsg: Some(32633),
            wkt: None,
            source: Source::GeoTiff(GeoTiffTags::default()),
        });
        let msi = apply_response(&image, &arr2(&[[0.5], [0.5], [0.0]])).unwrap();
        assert_eq!(msi.metadata.wavelengths, Some(vec![450.0]));
        assert_eq!(msi.metadata.grid, image.metadata.grid);
        let low = blur_and_downsample(&image, &arr2(&[[1.0]]), 4).unwrap();
        assert_eq!(low.metadata.wavelengths, image.metadata.wavelengths);
        let coarse = low.metadata.grid.unwrap().transform.unwrap();
        assert_eq!(coarse.0, [500.0, 120.0, 0.0, 4000.0, 0.0, -120.0]);
    }

    #[test]
    fn a_masked_pixel_masks_every_window_that_sees_it() {
        let mut image = scene(8, 8, 2);
        image.samples[[4, 4, 1]] = -9999.0;
        image.mask_value(-9999.0);
        let narrow = blur_and_downsample(&image, &Array2::from_elem((2, 2), 0.25), 2).unwrap();
        assert_eq!(narrow.masked_pixels(), 1);
        assert!(!narrow.is_valid(2, 2));
        assert_eq!(narrow.samples.slice(s![2, 2, ..]).to_vec(), [-9999.0; 2]);
        // Windows of 4 start at 2r − 1: rows 3..7 and 1..5 hold row 4, so blocks 1 and 2 of each axis.
        let wide = blur_and_downsample(&image, &Array2::from_elem((4, 4), 1.0 / 16.0), 2).unwrap();
        assert_eq!(wide.masked_pixels(), 4);
        let msi = apply_response(&image, &arr2(&[[0.5], [0.5]])).unwrap();
        assert_eq!(msi.masked_pixels(), 1);
        assert_eq!(msi.samples[[4, 4, 0]], -9999.0);
        let before = msi.samples[[4, 4, 0]];
        let mut noisy = msi;
        add_noise(&mut noisy, 20.0, 1, Observation::HrMsi).unwrap();
        assert_eq!(noisy.samples[[4, 4, 0]], before);
    }

    // 16,384 draws a band: the standard error of the measured SNR is 0.05 dB; four of them.
    #[test]
    fn noise_has_the_snr_of_every_band_and_repeats() {
        let mut clean = scene(128, 128, 5);
        clean.samples.slice_mut(s![.., .., 2]).mapv_inplace(|x| 100.0 * x);
        let noisy = |seed, which| {
            let mut image = clean.clone();
            add_noise(&mut image, 25.0, seed, which).unwrap();
            image.samples
        };
        let first = noisy(3, Observation::LrHsi);
        for b in 0..5 {
            let (x, y) = (clean.samples.slice(s![.., .., b]), first.slice(s![.., .., b]));
            let power: f64 = x.iter().map(|&v| f64::from(v).powi(2)).sum();
            let noise: f64 = x.iter().zip(y).map(|(&a, &b)| f64::from(b - a).powi(2)).sum();
            let snr = 10.0 * (power / noise).log10();
            assert!((snr - 25.0).abs() < 0.2, "band {b}: {snr} dB");
        }
        assert_eq!(first, noisy(3, Observation::LrHsi));
        assert_ne!(first, noisy(3, Observation::HrMsi));
        assert_ne!(first, noisy(4, Observation::LrHsi));
        assert!(add_noise(&mut clean.clone(), f64::NAN, 0, Observation::LrHsi).is_err());
    }

    #[test]
    fn misfits_are_refused() {
        let image = scene(6, 8, 3);
        for (error, word) in [
            (blur_and_downsample(&image, &arr2(&[[1.0]]), 4), "6 x 8 pixels"),
            (blur_and_downsample(&image, &arr2(&[[1.0]]), 0), "0 x 0 blocks"),
            (blur_and_downsample(&image, &Array2::ones((2, 3)), 2), "2 x 3"),
            (apply_response(&image, &Array2::ones((4, 1))), "4 rows"),
        ] {
            let error = error.unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
