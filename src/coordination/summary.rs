//! What a run tells about itself, in numbers: the PSF and SRF it found, its objective, metrics and times.

use serde::Serialize;

use crate::coordination::deviation::Calibration;
use crate::coordination::model::Model;
use crate::coordination::placement::{OnGrid, Placement};
use crate::coordination::prior::MixtureReport;
use crate::coordination::product::Fused;
use crate::coordination::revival::Revived;
use crate::coordination::training::{Epoch, History, rises};
use crate::coordination::watcher::StageTime;
use crate::evidence::agreement::Agreement;
use crate::evidence::verdict::Verdict;
use crate::metrics::Scores;
use crate::refine::RefinementReport;
use crate::sensor::estimate::Estimate;

/// Rise of the objective, as a share of it, from which on a fusion speaks of it.
const RISE_WORTH_SAYING: f64 = 0.05;

/// The degradation of a run, in numbers.
#[derive(Debug, Clone, Serialize)]
pub struct DegradationSummary {
    /// `estimated` or `given`.
    pub psf: &'static str,
    /// Variances along the axes in HR pixels squared and angle in radians; null for a kernel of no such form.
    pub psf_variances_angle: Option<(f64, f64, f64)>,
    /// Offset (row, column) of the PSF's centre in HR pixels; null likewise.
    pub psf_centre: Option<[f64; 2]>,
    /// Side K of the PSF.
    pub kernel: usize,
    /// `estimated` or `given`.
    pub srf: &'static str,
    /// Band (from 0) where each MSI band responds most.
    pub srf_peak_band: Vec<usize>,
    /// Root mean square of X·R − (Y∗C)↓ relative to the spread of (Y∗C)↓: at the isotropic start, and as estimated.
    pub misfit: (f64, f64),
    /// Gain of each MSI band that was taken out of it.
    pub gain: Vec<f64>,
    /// Offset of each MSI band that was taken out of it, in scaled units.
    pub offset: Vec<f64>,
    /// What the scene cannot determine.
    pub remarks: Vec<String>,
}

impl DegradationSummary {
    /// Of an estimate and the model that went on from it; `psf_given` and `srf_given` say what the user knew.
    pub fn new(model: &Model, estimate: &Estimate, psf_given: bool, srf_given: bool) -> Self {
        let gaussian = model.gaussian();
        let word = |given| if given { "given" } else { "estimated" };
        let peak = |column: ndarray::ArrayView1<f64>| {
            column
                .iter()
                .enumerate()
                .max_by(|a, b| a.1.total_cmp(b.1))
                .map_or(0, |(i, _)| i)
        };
        DegradationSummary {
            psf: word(psf_given),
            psf_variances_angle: gaussian.map(|g| g.variances()),
            psf_centre: gaussian.map(|g| g.centre),
            kernel: model.geometry.kernel,
            srf: word(srf_given),
            srf_peak_band: model.srf().columns().into_iter().map(peak).collect(),
            misfit: (estimate.misfit_start, estimate.misfit),
            gain: estimate.gain.clone(),
            offset: estimate.offset.clone(),
            remarks: estimate.determined.remarks.clone(),
        }
    }
}

/// The objective of a stage.
#[derive(Debug, Clone, Serialize)]
pub struct ObjectiveSummary {
    /// Means over stretches of the stage's steps.
    pub epochs: Vec<Epoch>,
    /// Last steps of stretches whose L_φ rose beyond sampling noise.
    pub rises: Vec<u32>,
}

impl ObjectiveSummary {
    /// Of a stage's losses, in stretches of `length` steps.
    pub fn new(model: &Model, history: &History, length: u32) -> Self {
        let training = &model.config.training;
        let epochs = history.epochs(length, training.alpha, training.beta);
        let rises = rises(&epochs, RISE_WORTH_SAYING)
            .into_iter()
            .map(|k| epochs[k].step)
            .collect();
        ObjectiveSummary { epochs, rises }
    }
}

/// Everything that a fusion tells.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Version of the program.
    pub version: &'static str,
    /// The device.
    pub engine: String,
    /// What went wrong with devices on the way and was mended, a line each.
    pub mishaps: Vec<String>,
    /// Seed.
    pub seed: u64,
    /// Rows, columns and bands of the result.
    pub shape: (usize, usize, usize),
    /// Ratio s of the grids.
    pub scale: usize,
    /// Weights and biases of one member.
    pub weights: usize,
    /// Members.
    pub members: usize,
    /// LR pixels that could be trained on, and that were.
    pub training_pixels: (usize, usize),
    /// Steps of the coordination loop that were taken, and of its schedule.
    pub steps: (u32, u32),
    /// HR pixels that are masked in the result.
    pub masked_pixels: usize,
    /// How the images lie on each other, where they were read from files.
    pub placement: Option<Placement>,
    /// The grid that metrics were taken on, where there is a reference.
    pub scored_on: Option<OnGrid>,
    /// PSF and SRF.
    pub degradation: DegradationSummary,
    /// Outputs and members that were given another start on the way.
    pub revived: Vec<Revived>,
    /// Outputs (member, band) that are zero at every LR pixel: their bands are lost.
    pub dead_outputs: Vec<(usize, usize)>,
    /// The coordination loop.
    pub objective: ObjectiveSummary,
    /// Partial fine-tuning, where it ran.
    pub finetune: Option<ObjectiveSummary>,
    /// What is to be thought of the result.
    pub verdict: Verdict,
    /// How well the two images agree; null with too few LR pixels to tell.
    pub agreement: Option<Agreement>,
    /// Share of LR pixels that were left out because the others cannot explain them.
    pub suspect_share: f64,
    /// What the prior of refinement was mixed from, and what error is to be expected.
    pub mixture: Option<MixtureReport>,
    /// Refinement, where it was not switched off.
    pub refinement: Option<RefinementReport>,
    /// Metrics of the result, where a reference was given.
    pub metrics: Option<Scores>,
    /// How well `--save-std` holds, where it and a reference were given.
    pub calibration: Option<Calibration>,
    /// Metrics of bicubic interpolation of the HSI, likewise.
    pub bicubic: Option<Scores>,
    /// Largest resident memory of the process so far in bytes; null where the system does not tell.
    pub peak_bytes: Option<u64>,
    /// Most bytes of buffers that were on the device at once; null where its memory is the host's.
    pub device_bytes: Option<u64>,
    /// Time of each stage.
    pub stages: Vec<StageTime>,
    /// Time in all.
    pub seconds: f64,
}

impl Summary {
    /// Of a fused scene; metrics and times are added by what follows.
    pub fn new(fused: &Fused) -> Self {
        let (rows, columns, _) = fused.dim();
        let (model, config) = (&fused.model, &fused.model.config);
        let finetuned = !fused.finetuning.steps.is_empty();
        Summary {
            version: env!("CARGO_PKG_VERSION"),
            engine: fused.engine.name(),
            mishaps: fused.engine.mishaps(),
            seed: config.seed,
            shape: (rows, columns, model.architecture.bands),
            scale: fused.scene.scale,
            weights: model.architecture.weights(),
            members: model.architecture.members,
            training_pixels: fused.pixels,
            steps: (model.step, config.training.steps),
            masked_pixels: fused.scene.result_valid().iter().filter(|&&ok| !ok).count(),
            placement: fused.placement.clone(),
            scored_on: None,
            degradation: DegradationSummary::new(
                model,
                &fused.estimate,
                fused.known.psf.is_some(),
                fused.known.srf.is_some(),
            ),
            revived: fused.training.revived.clone(),
            dead_outputs: fused.training.dead.clone(),
            objective: ObjectiveSummary::new(model, &fused.training, (config.training.steps / 20).max(1)),
            finetune: finetuned.then(|| {
                ObjectiveSummary::new(model, &fused.finetuning, (config.finetune.steps / 10).max(1))
            }),
            verdict: fused.verdict.clone(),
            agreement: fused.agreement,
            suspect_share: fused.suspect.as_ref().map_or(0.0, |marks| {
                marks.iter().filter(|mark| **mark > 0).count() as f64 / marks.len().max(1) as f64
            }),
            mixture: fused.mixture.clone(),
            refinement: fused.refinement.clone(),
            metrics: None,
            calibration: None,
            bicubic: None,
            peak_bytes: None,
            device_bytes: None,
            seconds: fused.times.iter().map(|t| t.seconds).sum(),
            stages: fused.times.clone(),
        }
    }
}
