//! Refinement as a whole on synthetic scenes whose truth is known: exact on clean data, harmless on noise, quiet
//! where there is nothing to be had.

use ndarray::{Array2, Array3, ArrayView3, s};

use super::consistency::{Observed, Prior, correct};
use super::prediction::Predictor;
use super::spread::{Lattice, weights};
use super::*;
use crate::cube::Cube;
use crate::cube::raster::Raster;
use crate::cube::scratch::Store;
use crate::engine::Geometry;
use crate::engine::cpu::CpuEngine;
use crate::engine::refinement::Guide;
use crate::random::{key, normals};
use crate::sensor::observe::{Observation, add_noise, apply_response, blur_and_downsample};
use crate::sensor::psf::GaussianPsf;

const SCALE: usize = 4;
const BANDS: usize = 10;

/// What a network would have seen, and the truth.
struct Case {
    truth: Array3<f32>,
    x: Array3<f32>,
    y: Array3<f32>,
    psf: Array2<f64>,
    usable: Array2<bool>,
}

impl Case {
    /// A smooth scene of two materials on 4·`rows` × 4·`columns` pixels, with noise of `snr` dB on X.
    fn new(rows: usize, columns: usize, bands: usize, snr: Option<f64>) -> Case {
        let truth = Array3::from_shape_fn((SCALE * rows, SCALE * columns, bands), |(r, c, b)| {
            let other = (r / 6 + c / 9) % 2 == 0;
            let (r, c, b) = (r as f32 / 11.0, c as f32 / 13.0, b as f32 / bands as f32);
            let spectrum = if other { 0.2 + 0.4 * b } else { 0.6 - 0.3 * b };
            spectrum + 0.08 * (r + 3.0 * b).sin() + 0.08 * (c - 2.0 * b).cos()
        });
        let psf = GaussianPsf::from_variances(1.6, 0.9, 0.4).unwrap().kernel(SCALE);
        let cube = Cube::new(truth.clone());
        let mut x = blur_and_downsample(&cube, &psf, SCALE).unwrap();
        let srf = Array2::from_shape_fn((bands, 2), |(i, j)| {
            if (2 * i / bands) == j {
                2.0 / bands as f64
            } else {
                0.0
            }
        });
        let y = apply_response(&cube, &srf).unwrap().samples;
        if let Some(snr) = snr {
            add_noise(&mut x, snr, 11, Observation::LrHsi).unwrap();
        }
        Case {
            truth,
            x: x.samples,
            y,
            psf,
            usable: Array2::from_elem((rows, columns), true),
        }
    }

    /// The truth, wrong by a smooth field in every band, as a network is wrong.
    fn prior(&self, error: f32) -> Array3<f32> {
        Array3::from_shape_fn(self.truth.dim(), |(r, c, b)| {
            let wave = ((r + c) as f32 / 15.0 + b as f32).sin();
            self.truth[[r, c, b]] + error * wave
        })
    }

    fn observed(&self, strip_rows: usize) -> Observed<'_> {
        Observed {
            lr_hsi: self.x.view(),
            hr_msi: self.y.view(),
            usable: self.usable.view(),
            psf: &self.psf,
            geometry: Geometry {
                scale: SCALE,
                kernel: self.psf.nrows(),
            },
            strip_rows,
            store: &Store::Memory,
        }
    }

    fn refined(&self, prior: &Array3<f32>) -> (Array3<f32>, RefinementReport) {
        let mut z = prior.clone();
        let mut report = RefinementReport::default();
        refine(
            &CpuEngine,
            &self.observed(1000),
            &mut z,
            &mut report,
            &mut |_, _| (),
        )
        .unwrap();
        (z, report)
    }

    fn error(&self, z: &Array3<f32>) -> f64 {
        let sum: f64 = z
            .iter()
            .zip(&self.truth)
            .map(|(a, b)| f64::from(a - b).powi(2))
            .sum();
        (sum / z.len() as f64).sqrt()
    }
}

// Two back-projections leave a few per cent of what the spread missed; the field itself is recovered to a fifth
// (its wavelength is 24 LR pixels along the diagonal, far longer than the reach).
#[test]
fn clean_data_become_consistent_and_better() {
    let case = Case::new(16, 14, BANDS, None);
    let prior = case.prior(0.05);
    let (z, report) = case.refined(&prior);
    assert!(report.residual.1 < 0.03 * report.residual.0, "{report:?}");
    assert!(
        case.error(&z) < 0.2 * case.error(&prior),
        "{} {}",
        case.error(&z),
        case.error(&prior)
    );
    assert!(
        report.signal_share > 0.95 && report.hsi_snr_db.is_some_and(|db| db > 30.0),
        "{report:?}"
    );
}

// A perfect prior: all of X − (Z∗C)↓ is noise. The plain inverse would bring an error of about σ.
#[test]
fn noise_alone_does_no_harm() {
    for snr in [20.0, 30.0] {
        let case = Case::new(16, 14, BANDS, Some(snr));
        let (z, report) = case.refined(&case.truth);
        let sigma = report.residual.0;
        assert!(
            case.error(&z) < 0.15 * sigma,
            "{} of {sigma}, {report:?}",
            case.error(&z)
        );
    }
}

#[test]
fn signal_is_taken_from_noise() {
    let case = Case::new(16, 14, BANDS, Some(25.0));
    let prior = case.prior(0.05);
    let (z, report) = case.refined(&prior);
    assert!(case.error(&z) < 0.5 * case.error(&prior), "{report:?}");
}

#[test]
fn degenerate_scenes_stay_finite() {
    // Fewer LR pixels than bands; one LR pixel; a single row.
    for (rows, columns, bands) in [(3, 3, 40), (1, 1, 12), (1, 9, 6), (2, 1, 4)] {
        let case = Case::new(rows, columns, bands, None);
        let prior = case.prior(0.05);
        let (z, report) = case.refined(&prior);
        assert!(z.iter().all(|x| x.is_finite()), "{rows} {columns} {bands}");
        assert!(
            case.error(&z) <= 1.001 * case.error(&prior),
            "{rows} {columns} {bands} {report:?}"
        );
    }
    let case = Case::new(1, 1, 12, None);
    let prior = case.prior(0.05);
    assert_eq!(case.refined(&prior).0, prior);
    // A flat scene with a prior that is right, and one that is off by a constant.
    let mut flat = Case::new(5, 5, 6, None);
    for image in [&mut flat.truth, &mut flat.x, &mut flat.y] {
        image.fill(0.5);
    }
    let (z, _) = flat.refined(&flat.truth);
    assert!(flat.error(&z) < 1e-6);
    let (z, _) = flat.refined(&(&flat.truth + 0.1));
    assert!(flat.error(&z) < 0.02, "{}", flat.error(&z));
}

#[test]
fn masked_pixels_say_nothing() {
    let mut case = Case::new(12, 12, BANDS, None);
    let prior = case.prior(0.05);
    let (whole, _) = case.refined(&prior);
    case.usable[[5, 5]] = false;
    case.x.slice_mut(s![5, 5, ..]).fill(0.0);
    let (z, report) = case.refined(&prior);
    assert!(report.signal_share > 0.9, "{report:?}");
    // Far away nothing changes but for statistics; in its place the neighbours speak.
    assert!(
        case.error(&z) < 1.5 * case.error(&whole),
        "{} {}",
        case.error(&z),
        case.error(&whole)
    );
    case.usable.fill(false);
    assert_eq!(case.refined(&prior).0, prior);
}

// Strips of every height, of an image that is there and of one that is made row by row, PSFs within a block and
// beyond it, masked pixels, with a guide and without: always the bits of the whole image in one piece.
#[test]
fn strips_leave_no_seam() {
    let narrow = Case::new(12, 10, BANDS, None);
    let mut wide = Case::new(12, 10, BANDS, None);
    wide.psf = GaussianPsf::from_variances(6.0, 3.0, 0.4)
        .unwrap()
        .kernel(3 * SCALE + 1);
    let mut masked = Case::new(12, 10, BANDS, Some(30.0));
    masked.usable.slice_mut(s![4..6, 2..7]).fill(false);
    let mut point = Case::new(3, 3, BANDS, None);
    point.psf = GaussianPsf::from_variances(1.0, 1.0, 0.0).unwrap().kernel(1);
    for (case, guided) in [(narrow, true), (wide, true), (masked, true), (point, false)] {
        let prior = case.prior(0.05);
        let (expected, whole) = case.refined(&prior);
        assert_eq!(whole.reach.is_some(), guided);
        assert_ne!(expected, prior);
        for rows in [1, 3, SCALE, 7, 2 * SCALE, 1000] {
            let observed = case.observed(rows);
            let mut z = prior.clone();
            let mut report = RefinementReport::default();
            refine(&CpuEngine, &observed, &mut z, &mut report, &mut |_, _| ()).unwrap();
            assert_eq!(z, expected, "{rows} rows of an image");
            let mut report = RefinementReport::default();
            let mut make = |rows: std::ops::Range<usize>, out: &mut [f32]| {
                out.copy_from_slice(prior.slice(s![rows, .., ..]).as_slice().unwrap());
                Ok(())
            };
            let mut seen = Vec::new();
            let mut progress = |done, total| seen.push((done, total));
            let mut prior_rows = Prior::Made(&mut make);
            let correction = correct(&CpuEngine, &observed, &mut prior_rows, &mut report, &mut progress)
                .unwrap()
                .unwrap();
            // Each row is told of once, and once more where something is spread over it.
            let height = prior.dim().0;
            let told = if guided { 2 * height } else { height };
            assert_eq!(seen.last(), Some(&(told, 2 * height)));
            assert!(seen.is_sorted());
            let mut z = prior.clone();
            for (k, mut part) in z.axis_chunks_iter_mut(ndarray::Axis(0), rows).enumerate() {
                let part = part.as_slice_mut().unwrap();
                correction
                    .apply(&CpuEngine, k * rows, case.y.view(), part)
                    .unwrap();
            }
            assert_eq!(z, expected, "{rows} rows that are made");
            assert_eq!(report.residual, whole.residual);
        }
    }
}

// Bands without negative samples in X get none; a band that has them keeps them.
#[test]
fn negative_samples_only_where_the_hsi_has_them() {
    let mut case = Case::new(10, 10, 4, None);
    case.x.slice_mut(s![.., .., 3]).mapv_inplace(|x| x - 0.5);
    let (z, _) = case.refined(&(&case.truth - 0.5));
    assert!(z.slice(s![.., .., ..3]).iter().all(|&x| x >= 0.0));
    assert!(z.slice(s![.., .., 3]).iter().any(|&x| x < -0.05));
}

/// A field that follows colour: what is learned at some LR pixels predicts others of their colour.
#[test]
fn guide_is_chosen_where_colour_or_place_predict() {
    let (rows, columns) = (16, 16);
    let colours: Vec<f32> = (0..rows * columns)
        .map(|k| if (k / 3 + k / 50) % 2 == 0 { 0.2 } else { 0.7 })
        .collect();
    let usable = vec![true; rows * columns];
    let lattice = Lattice {
        rows,
        columns,
        colours: &colours,
        colour_variance: 0.0625,
        usable: &usable,
    };
    let by_colour: Vec<f32> = colours
        .iter()
        .map(|&y| if y > 0.5 { 1.0 } else { -1.0 })
        .collect();
    let (guide, error) = Predictor::new(lattice).choose(&by_colour).unwrap();
    assert!(error < 0.3, "{error}");
    // The narrowest width of colour: two classes two standard deviations apart.
    assert!((guide.precision - 1.0 / (2.0 * 0.25 * 0.0625)).abs() < 1e-9);
    let noise: Vec<f32> = (0..rows * columns)
        .map(|k| normals::<f32>(key(3), 0, 0, k as u32, 0)[0])
        .collect();
    assert!(Predictor::new(lattice).choose(&noise).is_none());
    assert!(
        Predictor::new(lattice)
            .choose(&vec![0.0; rows * columns])
            .is_none()
    );
}

// (K + νI) α = r to the stated 1e-4 of the squared norm, with a hole in the lattice.
#[test]
fn weights_solve_the_system() {
    let (rows, columns, bands) = (9, 7, 3);
    let n = rows * columns;
    let colours: Vec<f32> = (0..n).map(|k| (k % 5) as f32 / 5.0).collect();
    let mut usable = vec![true; n];
    usable[20] = false;
    let lattice = Lattice {
        rows,
        columns,
        colours: &colours,
        colour_variance: 0.08,
        usable: &usable,
    };
    let guide = Guide {
        radius: 2.5,
        precision: 5.0,
    };
    let right: Vec<f32> = (0..n * bands)
        .map(|i| normals::<f32>(key(8), 0, 0, i as u32, 0)[1])
        .collect();
    let alpha = weights(&lattice, guide, &right, &Store::Memory).unwrap();
    assert_eq!(alpha[20 * bands..21 * bands], [0.0; 3]);
    let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| f64::from(x)).collect() };
    let (right, alpha) = (wide(&right), wide(&alpha));
    let (mut wrong, mut power) = (0.0, 0.0);
    for (k, j) in (0..n)
        .filter(|&k| k != 20)
        .flat_map(|k| (0..bands).map(move |j| (k, j)))
    {
        let mut sum = 0.03 * alpha[k * bands + j];
        for l in 0..n {
            let (dr, dc) = (
                (k / columns).abs_diff(l / columns),
                (k % columns).abs_diff(l % columns),
            );
            let colour = f64::from(colours[k] - colours[l]);
            sum += guide.kernel((dr * dr + dc * dc) as f64, colour * colour) * alpha[l * bands + j];
        }
        wrong += (sum - right[k * bands + j]).powi(2);
        power += right[k * bands + j].powi(2);
    }
    assert!(wrong < 2e-4 * power, "{wrong} of {power}");
}

/// An MSI of fields with noise: error before and after denoising.
fn denoised(snr: f64) -> (f64, f64, RefinementReport) {
    // Fields of 24 × 36 pixels, so that some 8 × 8 blocks have no edge.
    let clean = Cube::new(Array3::from_shape_fn((96, 96, 3), |(r, c, b)| {
        let field = if (r / 24 + c / 36) % 2 == 0 { 0.2 } else { 0.0 };
        0.5 + field * (1.0 - 0.3 * b as f32) + 0.1 * (r as f32 / 11.0 + b as f32).sin()
    }));
    let mut noisy = clean.clone();
    add_noise(&mut noisy, snr, 2, Observation::HrMsi).unwrap();
    let mut y = Raster::from(noisy.samples.clone());
    let mut report = RefinementReport::default();
    denoise(
        || Ok(&CpuEngine),
        &mut y,
        Array2::from_elem((96, 96), true).view(),
        &Store::Memory,
        &mut report,
    )
    .unwrap();
    let error = |a: ArrayView3<f32>| {
        let sum: f64 = a
            .iter()
            .zip(&clean.samples)
            .map(|(a, b)| f64::from(a - b).powi(2))
            .sum();
        (sum / a.len() as f64).sqrt()
    };
    (error(noisy.samples.view()), error(y.view()), report)
}

#[test]
fn noisy_msi_is_denoised_and_a_clean_one_left_alone() {
    for snr in [20.0, 30.0] {
        let (before, after, report) = denoised(snr);
        assert!(report.msi_denoised);
        for db in report.msi_snr_db.iter().flatten() {
            assert!((db - snr).abs() < 1.5, "{snr}: {db}");
        }
        assert!(after < 0.5 * before, "{snr}: {after} of {before}");
    }
    let (before, after, report) = denoised(70.0);
    assert!(!report.msi_denoised && before == after, "{report:?}");
}

#[test]
fn masked_pixels_of_an_msi_stay() {
    let mut y = Cube::new(Case::new(12, 12, BANDS, None).y);
    add_noise(&mut y, 20.0, 2, Observation::HrMsi).unwrap();
    let mut valid = Array2::from_elem((48, 48), true);
    valid.slice_mut(s![..6, ..]).fill(false);
    y.samples.slice_mut(s![..6, .., ..]).fill(0.0);
    let mut report = RefinementReport::default();
    let mut y = Raster::from(y.samples);
    denoise(
        || Ok(&CpuEngine),
        &mut y,
        valid.view(),
        &Store::Memory,
        &mut report,
    )
    .unwrap();
    assert!(report.msi_denoised);
    assert!(y.view().slice(s![..6, .., ..]).iter().all(|&x| x == 0.0));
    // Too small for a block: said nothing, done nothing.
    let mut tiny = Raster::from(Array3::from_elem((5, 5, 2), 0.5));
    denoise(
        || Ok(&CpuEngine),
        &mut tiny,
        Array2::from_elem((5, 5), true).view(),
        &Store::Memory,
        &mut report,
    )
    .unwrap();
    assert_eq!(tiny.view(), Array3::from_elem((5, 5, 2), 0.5));
}
