//! The conditions under which an experiment of the supplement observes a scene.

use crate::coordination::config::Config;
use crate::error::{Error, Result};
use crate::experiment::cell::{Setting, Told};
use crate::experiment::manifest::Reference;
use crate::sensor::catalogue::{PsfSpec, paper_psfs};
use crate::sensor::estimate::PsfModel;

/// Least LR pixels along an axis that an experiment's own choice of scale leaves.
const LEAST_LR: usize = 8;
/// Scales that are tried, the published one first.
const SCALES: [usize; 3] = [32, 8, 4];

/// Scale and PSF as a user may fix them.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    /// Ratio of the grids; none: 32 as published where that leaves 8 × 8 LR pixels, else 8, else 4.
    pub scale: Option<usize>,
    /// The PSF; none: [`default_psf`].
    pub psf: Option<PsfSpec>,
}

/// `paper:5`, the default of the published code, at ×32; elsewhere a Gaussian that fits into a block.
pub fn default_psf(scale: usize) -> PsfSpec {
    if scale == 32 {
        return PsfSpec::Paper(5);
    }
    let area = (scale as f64 / 8.0).powi(2);
    PsfSpec::Gaussian(2.5 * area, 1.5 * area, 0.6)
}

/// A round Gaussian of a full width at half maximum in LR pixels.
pub fn as_wide(width: f64, scale: usize) -> PsfSpec {
    let deviation = width * scale as f64 / (8.0 * 2f64.ln()).sqrt();
    let rounded = (1e4 * deviation * deviation).round() / 1e4;
    PsfSpec::Gaussian(rounded, rounded, 0.0)
}

/// One of the six PSFs of the paper; below ×32 with variances in proportion to the scale, so that they fit into a block.
///
/// # Errors
/// [`Error::Failed`] if the program was built with broken assets.
pub fn paper_psf(number: usize, scale: usize) -> Result<PsfSpec> {
    if scale == 32 {
        return Ok(PsfSpec::Paper(number));
    }
    let psfs = paper_psfs()?;
    let psf = psfs
        .get(number)
        .ok_or_else(|| Error::failed(format!("no PSF paper:{number}")))?;
    let (v1, v2, angle) = psf.variances();
    let rounded = |x: f64| (1e4 * x).round() / 1e4;
    let share = scale as f64 / 32.0;
    Ok(PsfSpec::Gaussian(
        rounded(v1 * share),
        rounded(v2 * share),
        rounded(angle),
    ))
}

/// The setting of a scene: clean, blind, K = s.
///
/// # Errors
/// [`Error::Input`] where the scale leaves less than a patch of the scene.
pub fn setting(
    reference: &Reference,
    config: &Config,
    observation: &Observation,
    seed: u64,
) -> Result<Setting> {
    let (rows, columns, _) = reference.shape;
    let fits = |s: usize| rows.min(columns) / s >= LEAST_LR;
    let chosen = SCALES.into_iter().find(|&s| fits(s)).unwrap_or(SCALES[2]);
    let scale = observation.scale.unwrap_or(chosen);
    let (h, w, patch) = (rows / scale, columns / scale, config.training.patch);
    if let Some(psf @ (PsfSpec::Blind | PsfSpec::File(_))) = &observation.psf {
        return Err(Error::input(format!(
            "--psf {psf}: an experiment makes its own images; name a PSF such as paper:5 or gaussian:2.5,1.5,0.6"
        )));
    }
    if h.min(w) < patch {
        return Err(Error::input(format!(
            "scene {}: {rows} x {columns} pixels leave {h} x {w} LR pixels at x{scale}, less than a patch of {patch} x \
             {patch}; give a smaller --scale or a larger scene",
            reference.name
        )));
    }
    Ok(Setting {
        scene: reference.name.clone(),
        sensor: reference.sensor(),
        scale,
        psf: observation.psf.clone().unwrap_or_else(|| default_psf(scale)),
        published: true,
        shift: 0.0,
        misplaced: None,
        snr_hsi: None,
        snr_msi: None,
        told: Told::Blind,
        psf_model: PsfModel::Gaussian,
        seed,
    })
}
