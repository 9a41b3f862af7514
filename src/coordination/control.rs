//! The control: quadratic regression from MSI pixel to spectrum, without a network.
//!
//! A network that does not beat this has not been trained well, so it stands as a row in every table of quality. It
//! sees the same two images and the same estimated PSF as the fusion, and nothing else.

use ndarray::{Array2, Array3};

use crate::coordination::config::{Config, Refine};
use crate::coordination::refined::{denoise_scene, make_consistent};
use crate::coordination::scene::Scene;
use crate::coordination::start::{Known, estimate_degradation};
use crate::coordination::watcher::{StageTime, Watcher, stage};
use crate::cube::{filled, in_order};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::refine::RefinementReport;
use crate::refine::regression::{Blend, Regression};
use crate::sensor::observe::blur_samples;

/// What the control made of a scene, in the scale of the scene.
pub struct Controlled {
    /// H×W×B.
    pub samples: Array3<f32>,
    /// The scene, denoised where refinement asked for it.
    pub scene: Scene,
    /// The PSF that it went by, K×K.
    pub psf: Array2<f64>,
    /// The response that was known or estimated with it, B×b.
    pub response: Array2<f64>,
    /// Time of each stage.
    pub times: Vec<StageTime>,
}

/// [`super::fuse::fuse`] with [`quadratic_regression`] in the place of the network; the engine only refines.
///
/// # Errors
/// As [`super::fuse::fuse`].
pub fn control(
    engine: &dyn Engine<f32>,
    config: &Config,
    mut scene: Scene,
    known: &Known,
    watcher: &mut dyn Watcher,
) -> Result<Controlled> {
    let mut times = Vec::new();
    let mut report = (config.refine == Refine::Auto).then(RefinementReport::default);
    if let Some(report) = &mut report {
        stage("denoise", watcher, &mut times, |_| {
            denoise_scene(|| Ok(engine.refiner()), &mut scene, report)
        })?;
    }
    let found = stage("estimate", watcher, &mut times, |_| {
        estimate_degradation(config, &scene, known)
    })?;
    let psf = known
        .psf
        .clone()
        .unwrap_or_else(|| found.psf.kernel(found.kernel));
    let mut samples = stage("regress", watcher, &mut times, |_| {
        quadratic_regression(&scene, &psf)
    })?;
    if let Some(report) = &mut report {
        stage("refine", watcher, &mut times, |w| {
            let mut progress = |done, total| w.progress(done, total, None);
            make_consistent(engine, &scene, &psf, &mut samples, report, &mut progress)
        })?;
    }
    Ok(Controlled {
        samples,
        scene,
        psf,
        response: known.srf.clone().unwrap_or(found.response),
        times,
    })
}

/// Least-squares map from all monomials of degree ≤ 2 of the LR-MSI pixel (Y∗C)↓ to the LR-HSI pixel, applied to
/// every HR-MSI pixel: H×W×B, in the scale of the scene.
///
/// `psf` is K×K with sum 1.
///
/// # Errors
/// [`Error::Input`] where no LR pixel is usable, [`Error::Interrupted`] after Ctrl-C.
pub fn quadratic_regression(scene: &Scene, psf: &Array2<f64>) -> Result<Array3<f32>> {
    let usable = scene.usable();
    let lr_msi = blur_samples(scene.hr_msi.view(), psf, scene.scale)?;
    let (_, columns, msi_bands) = lr_msi.dim();
    let colours = in_order(lr_msi.view());
    let pair = |((r, c), _): ((usize, usize), &bool)| {
        let at = (r * columns + c) * msi_bands;
        (&colours[at..at + msi_bands], scene.lr_hsi.pixel(r, c))
    };
    let pairs = usable.indexed_iter().filter(|(_, ok)| **ok).map(pair);
    let regression = Regression::fit(pairs).ok_or_else(|| {
        Error::input("no LR pixel is usable: all are masked or see masked pixels of the MSI")
    })?;
    interrupt::check()?;
    let (rows, columns, _) = scene.hr_msi.dim();
    filled((rows, columns, scene.lr_hsi.dim().2), |out| {
        Blend::alone(regression).apply(scene.hr_msi.samples(), out);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cube::Cube;

    /// Y is constant over every s×s block, so that (Y∗C)↓ is the block's own pixel and a spectrum that is a
    /// quadratic of Y is one on both grids.
    fn quadratic_pair(scale: usize) -> (Scene, Array3<f32>) {
        let (h, w) = (9, 8);
        let pixel = |r: usize, c: usize| {
            let (r, c) = (r as f64, c as f64);
            [
                0.5 + 0.4 * (1.3 * r + 0.2 * c).sin(),
                0.5 + 0.4 * (0.7 * c - 0.9 * r).cos(),
            ]
        };
        let spectrum = |[x, y]: [f64; 2], band: usize| {
            let b = band as f64;
            (0.2 + 0.1 * b * x + 0.3 * y + (0.2 - 0.05 * b) * x * x + 0.1 * x * y + 0.04 * b * y * y) as f32
        };
        let truth = Array3::from_shape_fn((h * scale, w * scale, 5), |(r, c, b)| {
            spectrum(pixel(r / scale, c / scale), b)
        });
        let msi = Array3::from_shape_fn((h * scale, w * scale, 2), |(r, c, j)| {
            pixel(r / scale, c / scale)[j] as f32
        });
        let hsi = Array3::from_shape_fn((h, w, 5), |(r, c, b)| spectrum(pixel(r, c), b));
        let scene = Scene::new(&Cube::new(hsi), &Cube::new(msi), "x", "y").unwrap();
        (scene, truth)
    }

    // The ridge moves a coefficient by about 1e-8 of its size and single precision rounds to 6e-8.
    #[test]
    fn a_quadratic_scene_is_recovered_exactly() {
        let (scene, truth) = quadratic_pair(3);
        let psf = Array2::from_elem((3, 3), 1.0 / 9.0);
        let found = quadratic_regression(&scene, &psf).unwrap() * scene.hsi_unit;
        let worst = (&found - &truth).iter().fold(0f32, |m, e| m.max(e.abs()));
        assert!(worst < 2e-6, "{worst}");
    }

    // A cubic is none: the control must not fit what it does not hold.
    #[test]
    fn a_cubic_scene_is_not() {
        let (mut scene, _) = quadratic_pair(3);
        let cube = |r: usize, c: usize| scene.hr_msi.pixel(3 * r, 3 * c)[0].powi(3);
        let spectrum = Array3::from_shape_fn((9, 8, 5), |(r, c, _)| cube(r, c));
        let truth = spectrum.clone();
        scene.lr_hsi = spectrum.into();
        let found = quadratic_regression(&scene, &Array2::from_elem((3, 3), 1.0 / 9.0)).unwrap();
        let worst = truth.indexed_iter().fold(0f32, |m, ((r, c, b), z)| {
            m.max((found[[3 * r, 3 * c, b]] - z).abs())
        });
        assert!(worst > 1e-3, "{worst}");
    }

    // Two LR pixels and six monomials, and an MSI of one value: finite, and the mean spectrum where nothing is known.
    #[test]
    fn too_little_information_stays_finite_and_masked_scenes_are_refused() {
        let hsi = Array3::from_shape_fn((1, 2, 4), |(_, c, b)| 1.0 + (c + b) as f32);
        let mut scene = Scene::new(&Cube::new(hsi), &Cube::new(Array3::ones((2, 4, 2))), "x", "y").unwrap();
        let psf = Array2::from_elem((2, 2), 0.25);
        let found = quadratic_regression(&scene, &psf).unwrap();
        let mean = (scene.lr_hsi.pixel(0, 0)[1] + scene.lr_hsi.pixel(0, 1)[1]) / 2.0;
        assert!(found.iter().all(|z| z.is_finite()) && (found[[1, 3, 1]] - mean).abs() < 1e-5);
        scene.lr_valid.fill(false);
        assert_eq!(quadratic_regression(&scene, &psf).unwrap_err().exit_code(), 2);
    }
}
