//! Where a run starts: θ estimated from the two images, weights from the seed, the linear path by least squares.

use nalgebra::{DMatrix, DVector};
use ndarray::{Array2, ArrayView2, ArrayView3};
use serde::Serialize;

use crate::coordination::config::{Config, PsfWindow};
use crate::coordination::model::{Calibration, Model};
use crate::coordination::scene::Scene;
use crate::engine::{Geometry, TrainingState};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::network::{Architecture, initial_parameters};
use crate::sensor::estimate::{Estimate, Options, Psf, estimate, fit_mixture, widest_window};
use crate::sensor::observe::blur_samples;
use crate::sensor::psf::{self, GaussianPsf, published_centre};
use crate::sensor::srf;
use crate::sensor::window::side_of_parity;

/// PSF and SRF that the user knows.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// K×K, sum 1.
    pub psf: Option<Array2<f64>>,
    /// B×b, columns summing to 1.
    pub srf: Option<Array2<f64>>,
}

/// Side of the PSF's window where it is told, by a known PSF or by the configuration; `None` where the images say it.
///
/// # Errors
/// [`Error::Input`] where the PSF is too wide for the scale.
pub fn told_window(config: &Config, known: &Known, scale: usize) -> Result<Option<usize>> {
    let degradation = &config.degradation;
    let side = match (&known.psf, degradation.kernel, degradation.psf_window) {
        (Some(psf), _, _) => psf.nrows(),
        (None, 0, PsfWindow::Images) => return Ok(None),
        (None, 0, PsfWindow::Published) => scale,
        (None, side, _) => side_of_parity(side, scale),
    };
    let most = widest_window(scale);
    if side > most {
        return Err(Error::input(format!(
            "a PSF of {side} x {side} pixels is too wide for a scale of {scale} (at most {most})"
        )));
    }
    Ok(Some(side))
}

/// What is known of a run before PSF and SRF are.
#[derive(Debug, Clone, Serialize)]
pub struct Foreseen {
    /// Side of the PSF's window, HR pixels.
    pub kernel: KernelRange,
    /// Weights and biases of one member.
    pub weights: usize,
    /// Members that the configuration asks for; where the prior is mixed, those of shorter trainings come in addition.
    pub members: usize,
}

/// Sides that the PSF's window may have, HR pixels; one where it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct KernelRange {
    /// The smallest.
    pub least: usize,
    /// The largest.
    pub most: usize,
}

/// What a run of this scene will be like; refuses what the run would refuse for its scene and configuration.
///
/// # Errors
/// As [`told_window`] and [`Config::architecture`]; [`Error::Input`] where the scene has no usable pixel.
pub fn foresee(config: &Config, scene: &Scene, known: &Known) -> Result<Foreseen> {
    let kernel = match told_window(config, known, scene.scale)? {
        Some(side) => KernelRange {
            least: side,
            most: side,
        },
        None => KernelRange {
            least: side_of_parity(1, scene.scale),
            most: widest_window(scene.scale),
        },
    };
    let pixels = usable_pixels(scene);
    if pixels == 0 {
        return Err(Error::input(
            "no LR pixel is usable: all are masked in the HSI or the MSI",
        ));
    }
    let (bands, msi_bands) = (scene.lr_hsi.dim().2, scene.hr_msi.dim().2);
    let architecture = config.architecture(bands, msi_bands, pixels)?;
    Ok(Foreseen {
        kernel,
        weights: architecture.weights(),
        members: architecture.members,
    })
}

/// Offset (row, column) of a PSF whose centre is not learned from the middle of its window of this side.
fn centre(config: &Config, side: usize) -> [f64; 2] {
    match config.degradation.psf_window {
        PsfWindow::Images => [0.0; 2],
        PsfWindow::Published => published_centre(side),
    }
}

/// Estimates what is not known of the degradation from a scene.
///
/// # Errors
/// [`Error::Input`] where the scene has no usable pixel or the PSF does not fit the scale.
pub fn estimate_degradation(config: &Config, scene: &Scene, known: &Known) -> Result<Estimate> {
    let kernel = told_window(config, known, scene.scale)?;
    let options = Options {
        scale: scene.scale,
        kernel,
        centre: kernel.map_or([0.0; 2], |side| centre(config, side)),
        learn_centre: config.degradation.centre,
        model: config.degradation.psf_model,
        known_psf: known.psf.clone(),
        known_srf: known.srf.clone(),
    };
    estimate(
        scene.lr_hsi.view(),
        scene.hr_msi.view(),
        Some(scene.lr_valid.view()),
        Some(scene.hr_valid.view()),
        &options,
    )
}

/// A model at its start for a scene; takes the MSI's gain and offset out of the scene.
///
/// # Errors
/// [`Error::Input`] where the configuration's widths make no network.
pub fn start(config: &Config, scene: &mut Scene, known: &Known, estimate: &Estimate) -> Result<Model> {
    let (bands, b) = (scene.lr_hsi.dim().2, scene.hr_msi.dim().2);
    let geometry = geometry_of(scene, estimate);
    let pixels = usable_pixels(scene);
    let config = config.settled(pixels);
    let architecture = config.architecture(bands, b, pixels)?;
    let isotropic = 1.0 / config.degradation.variance.sqrt();
    let found = config.degradation.estimate_start.then_some(estimate);
    let calibration = Calibration {
        hsi_unit: scene.hsi_unit,
        msi_unit: scene.msi_unit,
        gain: estimate.gain.clone(),
        offset: estimate.offset.clone(),
    };
    scene.calibrate(&calibration);
    let gaussian = found
        .and_then(|e| e.psf.gaussian().copied())
        .unwrap_or(GaussianPsf {
            factor: [isotropic, 0.0, isotropic],
            centre: centre(&config, estimate.kernel),
        });
    let mixture = found.map_or_else(|| spread_response(bands, b), |e| fit_mixture(&e.response));
    let theta: Vec<f32> = gaussian
        .parameters()
        .iter()
        .chain(&mixture)
        .map(|&x| x as f32)
        .collect();
    let single = |m: &Array2<f64>| m.iter().map(|&x| x as f32).collect::<Vec<f32>>();
    // A kernel that the estimate found without the Gaussian form stands like a known one.
    let free = found.and_then(|e| match &e.psf {
        Psf::Free(kernel) => Some(kernel),
        Psf::Gaussian(_) => None,
    });
    let network = initial_parameters(&architecture, config.network.initialisation, config.seed);
    let mut model = Model {
        state: TrainingState::start(&architecture, network, theta.clone()),
        start: theta,
        fixed_psf: known.psf.as_ref().or(free).map(single),
        fixed_srf: known.srf.as_ref().map(single),
        step: 0,
        wavelengths: None,
        calibration,
        config,
        architecture,
        geometry,
    };
    if model.architecture.linear_path {
        let lr_msi = blur_samples(scene.hr_msi.view(), &model.psf(), scene.scale)?;
        let usable = scene.usable();
        model.state.linear = linear_path(&model.architecture, scene, lr_msi.view(), usable.view())?;
    }
    Ok(model)
}

/// Scale and side of the PSF of a scene's model.
pub fn geometry_of(scene: &Scene, estimate: &Estimate) -> Geometry {
    Geometry {
        scale: scene.scale,
        kernel: estimate.kernel,
    }
}

/// LR pixels that a network can learn from.
pub fn usable_pixels(scene: &Scene) -> usize {
    scene.usable().iter().filter(|ok| **ok).count()
}

/// [`start`] for several scenes: from the one whose images agree best through their estimated degradation, in one unit
/// for all.
///
/// # Errors
/// As [`estimate_degradation`] and [`start`]; [`Error::Input`] where there is no scene.
pub fn start_on_scenes(config: &Config, scenes: &mut [Scene], known: &Known) -> Result<Model> {
    let mut best: Option<(usize, Estimate)> = None;
    for (at, scene) in scenes.iter().enumerate() {
        interrupt::check()?;
        let found = estimate_degradation(config, scene, known)?;
        if best.as_ref().is_none_or(|(_, b)| found.misfit < b.misfit) {
            best = Some((at, found));
        }
    }
    let (at, found) = best.ok_or_else(|| Error::input("no scene to start from"))?;
    let pixels = scenes.iter().map(usable_pixels).sum();
    let model = start(&config.settled(pixels), &mut scenes[at], known, &found)?;
    for (other, scene) in scenes.iter_mut().enumerate() {
        if other != at {
            scene.calibrate(&model.calibration);
        }
    }
    Ok(model)
}

/// Checks that a scene has the bands and scale that a model was trained for.
///
/// # Errors
/// [`Error::Input`] with both.
pub fn check_fits(model: &Model, name: &str, scene: &Scene) -> Result<()> {
    let (bands, msi_bands) = (scene.lr_hsi.dim().2, scene.hr_msi.dim().2);
    let a = &model.architecture;
    if (a.bands, a.msi_bands, model.geometry.scale) != (bands, msi_bands, scene.scale) {
        return Err(Error::input(format!(
            "{name}: trained for {} HSI bands, {} MSI bands and a ratio of {}; this scene has {bands}, {msi_bands} and {}",
            a.bands, a.msi_bands, model.geometry.scale, scene.scale
        )));
    }
    Ok(())
}

/// Puts another PSF in the place of a model's: `kernel`, or without one that of a scene, as its two images say.
///
/// # Errors
/// As [`estimate_degradation`].
pub fn replace_psf(model: &mut Model, scene: &Scene, kernel: Option<Array2<f64>>) -> Result<()> {
    let single = |kernel: Array2<f64>| kernel.iter().map(|&x| x as f32).collect::<Vec<f32>>();
    if let Some(kernel) = kernel {
        model.geometry.kernel = kernel.nrows();
        model.fixed_psf = Some(single(kernel));
        return Ok(());
    }
    let found = estimate_degradation(&model.config, scene, &Known::default())?;
    model.geometry.kernel = found.kernel;
    match found.psf {
        Psf::Gaussian(gaussian) => {
            let parameters = gaussian.parameters().map(|x| x as f32);
            model.state.degradation[..psf::PARAMETERS].copy_from_slice(&parameters);
            model.fixed_psf = None;
        }
        Psf::Free(kernel) => model.fixed_psf = Some(single(kernel)),
    }
    Ok(())
}

/// Mixture parameters that know nothing: the columns' Gaussians spread evenly over the bands.
fn spread_response(bands: usize, msi_bands: usize) -> Vec<f64> {
    let all = (srf::GAUSSIANS * msi_bands) as f64;
    let width = bands as f64 / all;
    let mean = |k: usize| (k as f64 + 0.5) * width - 0.5;
    (0..srf::GAUSSIANS * msi_bands)
        .map(mean)
        .chain(std::iter::repeat_n(width.max(0.5), all as usize))
        .collect()
}

/// Least-squares map from `lr_msi`, (Y∗C)↓, and 1 to X over some LR pixels, with a ridge of 1e-6 of the mean power so that
/// collinear MSI bands do not make it explode.
///
/// # Errors
/// [`Error::Failed`] where these pixels of the MSI hold nothing.
pub fn linear_path(
    architecture: &Architecture,
    scene: &Scene,
    lr_msi: ArrayView3<f32>,
    pixels: ArrayView2<bool>,
) -> Result<Vec<f32>> {
    let (b, bands) = (architecture.msi_bands, architecture.bands);
    let mut normal = DMatrix::<f64>::zeros(b + 1, b + 1);
    let mut right = DMatrix::<f64>::zeros(b + 1, bands);
    for ((r, c), _) in pixels.indexed_iter().filter(|(_, ok)| **ok) {
        let row = DVector::from_fn(
            b + 1,
            |j, _| if j < b { f64::from(lr_msi[[r, c, j]]) } else { 1.0 },
        );
        let hsi = scene.lr_hsi.pixel(r, c);
        let spectrum = DVector::from_fn(bands, |i, _| f64::from(hsi[i]));
        normal.ger(1.0, &row, &row, 1.0);
        right.ger(1.0, &row, &spectrum, 1.0);
    }
    let ridge = 1e-6 * normal.trace() / (b + 1) as f64;
    for j in 0..=b {
        normal[(j, j)] += ridge;
    }
    let map = normal
        .cholesky()
        .ok_or_else(|| Error::failed("linear path: the MSI's LR pixels hold no information (all zero?)"))?
        .solve(&right);
    let stride = architecture.band_stride();
    let mut out = vec![0.0; architecture.linear_parameters()];
    for j in 0..=b {
        for i in 0..bands {
            out[j * stride + i] = map[(j, i)] as f32;
        }
    }
    Ok(out)
}
