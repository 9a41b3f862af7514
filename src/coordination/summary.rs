//! What a run tells about itself, in numbers: the PSF and SRF it found, its objective, metrics and times.

use serde::{Serialize, Serializer};

use crate::coordination::deviation::Calibration;
use crate::coordination::fused_scene::FusedScene;
use crate::coordination::method::ByMethod;
use crate::coordination::model::{Degradation, Model};
use crate::coordination::placement::{OnGrid, Placement};
use crate::coordination::prior::MixtureReport;
use crate::coordination::product::Fused;
use crate::coordination::revival::Revived;
use crate::coordination::start::Known;
use crate::coordination::training::{Epoch, History, rises};
use crate::coordination::watcher::StageTime;
use crate::evidence::agreement::Agreement;
use crate::evidence::verdict::Verdict;
use crate::metrics::Scores;
use crate::named;
use crate::refine::RefinementReport;
use crate::sensor::estimate::Estimate;
use crate::sensor::psf::GaussianPsf;

/// Rise of the objective, as a share of it, from which on a fusion speaks of it.
const RISE_WORTH_SAYING: f64 = 0.05;

/// Response of each MSI band.
#[derive(Debug, Clone, Serialize)]
pub struct Curves {
    /// Centres of the HSI's bands in nm; null where they are not known.
    pub wavelengths_nm: Option<Vec<f64>>,
    /// A curve for each MSI band.
    pub msi_bands: Vec<Curve>,
}

/// Response of one MSI band.
#[derive(Debug, Clone, Serialize)]
pub struct Curve {
    /// A weight for each band of the HSI.
    pub weights: Vec<f64>,
}

/// A Gaussian PSF as programs read it.
#[derive(Serialize)]
struct Gaussian {
    variance_1: f64,
    variance_2: f64,
    angle: f64,
}

fn gaussian<S: Serializer>(found: &Option<(f64, f64, f64)>, to: S) -> std::result::Result<S::Ok, S::Error> {
    let named = |&(variance_1, variance_2, angle): &(f64, f64, f64)| Gaussian {
        variance_1,
        variance_2,
        angle,
    };
    found.as_ref().map(named).serialize(to)
}

/// Pixels that could be used and those that were.
#[derive(Serialize)]
struct Pixels {
    usable: usize,
    used: usize,
}

fn training_pixels<S: Serializer>(
    &(usable, used): &(usize, usize),
    to: S,
) -> std::result::Result<S::Ok, S::Error> {
    Pixels { usable, used }.serialize(to)
}

/// Steps that were taken and those of the schedule.
#[derive(Serialize)]
struct Steps {
    taken: u32,
    planned: u32,
}

fn steps<S: Serializer>(&(taken, planned): &(u32, u32), to: S) -> std::result::Result<S::Ok, S::Error> {
    Steps { taken, planned }.serialize(to)
}

/// The degradation of a run, in numbers.
#[derive(Debug, Clone, Serialize)]
pub struct DegradationSummary {
    /// `estimated` or `given`.
    pub psf: &'static str,
    /// Variances along the axes in HR pixels squared and angle in radians; null for a kernel of no such form.
    #[serde(rename = "psf_gaussian", serialize_with = "gaussian")]
    pub psf_variances_angle: Option<(f64, f64, f64)>,
    /// Offset (row, column) of the PSF's centre in HR pixels; null likewise.
    #[serde(serialize_with = "named::down_across_if")]
    pub psf_centre: Option<[f64; 2]>,
    /// Side K of the PSF.
    pub kernel: usize,
    /// `estimated` or `given`.
    pub srf: &'static str,
    /// Band (from 0) where each MSI band responds most.
    pub srf_peak_band: Vec<usize>,
    /// The SRF.
    pub srf_curves: Curves,
    /// Root mean square of X·R − (Y∗C)↓ relative to the spread of (Y∗C)↓: at the isotropic start, and as estimated.
    #[serde(serialize_with = "named::before_after")]
    pub misfit: (f64, f64),
    /// Gain of each MSI band that was taken out of it.
    pub gain: Vec<f64>,
    /// Offset of each MSI band that was taken out of it, in scaled units.
    pub offset: Vec<f64>,
    /// What the scene cannot determine.
    pub remarks: Vec<String>,
}

impl DegradationSummary {
    /// Of what a fusion went by, with the Gaussian that the PSF is, where it is one, and of the estimate before it.
    pub fn new(
        (used, gaussian): (&Degradation, Option<GaussianPsf>),
        estimate: &Estimate,
        known: &Known,
        wavelengths: Option<&[f64]>,
    ) -> Self {
        let word = |given| if given { "given" } else { "estimated" };
        let peak = |column: ndarray::ArrayView1<f64>| {
            column
                .iter()
                .enumerate()
                .max_by(|a, b| a.1.total_cmp(b.1))
                .map_or(0, |(i, _)| i)
        };
        DegradationSummary {
            psf: word(known.psf.is_some()),
            psf_variances_angle: gaussian.map(|g| g.variances()),
            psf_centre: gaussian.map(|g| g.centre),
            kernel: used.psf.nrows(),
            srf: word(known.srf.is_some()),
            srf_peak_band: used.srf.columns().into_iter().map(peak).collect(),
            srf_curves: Curves {
                wavelengths_nm: wavelengths.map(<[f64]>::to_vec),
                msi_bands: used
                    .srf
                    .columns()
                    .into_iter()
                    .map(|column| Curve {
                        weights: column.to_vec(),
                    })
                    .collect(),
            },
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

/// What a fusion by the network tells besides.
#[derive(Debug, Clone, Serialize)]
pub struct NetworkSummary {
    /// Seed.
    pub seed: u64,
    /// Weights and biases of one member.
    pub weights: usize,
    /// Members.
    pub members: usize,
    /// LR pixels that could be trained on, and that were.
    #[serde(serialize_with = "training_pixels")]
    pub training_pixels: (usize, usize),
    /// Steps of the coordination loop that were taken, and of its schedule.
    #[serde(serialize_with = "steps")]
    pub steps: (u32, u32),
    /// Outputs and members that were given another start on the way.
    #[serde(serialize_with = "revived")]
    pub revived: Vec<Revived>,
    /// Outputs (member, band) that are zero at every LR pixel: their bands are lost.
    #[serde(serialize_with = "named::outputs")]
    pub dead_outputs: Vec<(usize, usize)>,
    /// The coordination loop.
    pub objective: ObjectiveSummary,
    /// Partial fine-tuning, where it ran.
    pub finetune: Option<ObjectiveSummary>,
    /// What the prior of refinement was mixed from, and what error is to be expected.
    pub mixture: Option<MixtureReport>,
    /// How well `--save-std` holds, where it and a reference were given.
    pub calibration: Option<Calibration>,
}

/// Serializes what was revived with outputs by their names; checkpoints hold them as they are.
fn revived<S: Serializer>(all: &[Revived], to: S) -> std::result::Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Named<'a> {
        step: u32,
        #[serde(serialize_with = "named::outputs")]
        outputs: &'a [(usize, usize)],
        members: &'a [usize],
    }
    to.collect_seq(all.iter().map(|r| Named {
        step: r.step,
        outputs: &r.outputs,
        members: &r.members,
    }))
}

/// Everything that a fusion tells.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// What fused: `network`, or the name of a method.
    pub method: &'static str,
    /// The device; null where none was needed.
    pub engine: Option<String>,
    /// What went wrong with devices on the way and was mended, a line each.
    pub mishaps: Vec<String>,
    /// Rows, columns and bands of the result.
    #[serde(rename = "size", serialize_with = "named::size")]
    pub shape: (usize, usize, usize),
    /// Ratio s of the grids.
    pub scale: usize,
    /// HR pixels that are masked in the result.
    pub masked_pixels: usize,
    /// How the images lie on each other, where they were read from files.
    pub placement: Option<Placement>,
    /// The grid that metrics were taken on, where there is a reference.
    pub scored_on: Option<OnGrid>,
    /// PSF and SRF.
    pub degradation: DegradationSummary,
    /// What is to be thought of the result.
    pub verdict: Verdict,
    /// How well the two images agree; null with too few LR pixels to tell.
    pub agreement: Option<Agreement>,
    /// Share of LR pixels that were left out because the others cannot explain them.
    pub suspect_share: f64,
    /// What the network tells, where it fused.
    #[serde(flatten)]
    pub network: Option<NetworkSummary>,
    /// Refinement, where it was not switched off.
    pub refinement: Option<RefinementReport>,
    /// Metrics of the result, where a reference was given.
    pub metrics: Option<Scores>,
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
    /// Of a scene that the network fused; metrics and times are added by what follows.
    pub fn new(fused: &Fused) -> Self {
        let (model, config) = (&fused.model, &fused.model.config);
        let finetuned = !fused.finetuning.steps.is_empty();
        let mut summary = Summary::of("network", &fused.common, (&model.degradation(), model.gaussian()));
        summary.engine = Some(fused.engine.name());
        summary.mishaps = fused.engine.mishaps();
        summary.network = Some(NetworkSummary {
            seed: config.seed,
            weights: model.architecture.weights(),
            members: model.architecture.members,
            training_pixels: fused.pixels,
            steps: (model.step, config.training.steps),
            revived: fused.training.revived.clone(),
            dead_outputs: fused.training.dead.clone(),
            objective: ObjectiveSummary::new(model, &fused.training, (config.training.steps / 20).max(1)),
            finetune: finetuned.then(|| {
                ObjectiveSummary::new(model, &fused.finetuning, (config.finetune.steps / 10).max(1))
            }),
            mixture: fused.mixture.clone(),
            calibration: None,
        });
        summary
    }

    /// Of a scene that a method fused; likewise.
    pub fn of_method(fused: &ByMethod) -> Self {
        let common = &fused.common;
        let gaussian = match common.known.psf {
            Some(_) => None,
            None => common.estimate.psf.gaussian().copied(),
        };
        Summary::of(fused.method.name(), common, (&fused.degradation, gaussian))
    }

    fn of(method: &'static str, fused: &FusedScene, used: (&Degradation, Option<GaussianPsf>)) -> Self {
        Summary {
            method,
            engine: None,
            mishaps: Vec::new(),
            shape: fused.dim(),
            scale: fused.scene.scale,
            masked_pixels: fused.scene.result_valid().iter().filter(|&&ok| !ok).count(),
            placement: fused.placement.clone(),
            scored_on: None,
            degradation: DegradationSummary::new(
                used,
                &fused.estimate,
                &fused.known,
                fused.metadata.wavelengths.as_deref(),
            ),
            verdict: fused.verdict.clone(),
            agreement: fused.agreement,
            suspect_share: fused.suspect_share(),
            network: None,
            refinement: fused.refinement.clone(),
            metrics: None,
            bicubic: None,
            peak_bytes: None,
            device_bytes: None,
            seconds: fused.times.iter().map(|t| t.seconds).sum(),
            stages: fused.times.clone(),
        }
    }
}
