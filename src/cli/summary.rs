//! What a run tells about itself: the PSF and SRF it found, its objective, metrics and times.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::cli::memory;
use crate::coordination::deviation::Calibration;
use crate::coordination::model::Model;
use crate::coordination::product::Fused;
use crate::coordination::revival::Revived;
use crate::coordination::start::Known;
use crate::coordination::training::{Epoch, History, rises};
use crate::coordination::watcher::StageTime;
use crate::cube::bicubic;
use crate::cube::strips::Strips;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::io;
use crate::metrics::{Convention, Scores, evaluate};
use crate::refine::RefinementReport;
use crate::report::terminal;
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
    /// Shift in HR pixels (row, column) that was taken out of the MSI to register it to the HSI; null where none was.
    pub registered: Option<[f64; 2]>,
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

/// Metrics of `result` and of bicubic interpolation of `hsi` against `reference`, under `strict`.
///
/// # Errors
/// [`Error::Input`] where the reference has another shape.
pub fn compare(
    reference: &dyn Strips,
    result: &dyn Strips,
    hsi: &dyn Strips,
    scale: usize,
) -> Result<(Scores, Scores)> {
    let scores = evaluate(reference, result, scale, Convention::Strict)?;
    let baseline = bicubic::Upsampled::new(hsi, scale)?;
    Ok((scores, evaluate(reference, &baseline, scale, Convention::Strict)?))
}

/// Writes `psf.npy` (K×K) and `srf.npy` (B×b) into `folder`, which is made where it is missing.
///
/// # Errors
/// [`Error::Input`] where the folder cannot take them.
pub fn save_degradation(folder: &Path, model: &Model) -> Result<()> {
    make_folder(folder)?;
    io::write_matrix(folder.join("psf.npy"), &model.psf())?;
    io::write_matrix(folder.join("srf.npy"), &model.srf())
}

/// Makes a folder for results.
///
/// # Errors
/// [`Error::Input`] where that is not possible.
pub fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|e| Error::input(format!("{}: cannot make this folder: {e}", folder.display())))
}

/// PSF and SRF as lines for a terminal.
pub fn degradation_text(model: &Model, summary: &DegradationSummary, wavelengths: Option<&[f64]>) -> String {
    let mut text = String::new();
    let mut line = |s: String| {
        text.push_str(&s);
        text.push('\n');
    };
    match (summary.psf_variances_angle, summary.psf_centre) {
        (Some((v1, v2, angle)), Some([row, column])) => {
            let centre = if row == 0.0 && column == 0.0 {
                String::new()
            } else {
                format!(", centre moved by ({row:.2}, {column:.2}) pixels (row, column)")
            };
            line(format!(
                "PSF ({}, {k} x {k}): Gaussian, variances {v1:.3} and {v2:.3} pixels², angle {angle:.3} rad{centre}",
                summary.psf,
                k = summary.kernel
            ));
        }
        _ => line(format!("PSF ({}, {k} x {k}):", summary.psf, k = summary.kernel)),
    }
    line(terminal::psf_picture(&model.psf()));
    line(format!("SRF ({}):", summary.srf));
    line(terminal::srf_curves(&model.srf(), wavelengths));
    line(format!(
        "misfit of the two images through PSF and SRF: {:.3} % of their spread (an isotropic PSF: {:.3} %)",
        100.0 * summary.misfit.1,
        100.0 * summary.misfit.0
    ));
    for (j, (gain, offset)) in summary.gain.iter().zip(&summary.offset).enumerate() {
        if *gain != 1.0 || *offset != 0.0 {
            line(format!(
                "MSI band {j}: gain {gain:.4}, offset {offset:.5} (of the scaled image) taken out"
            ));
        }
    }
    for remark in &summary.remarks {
        line(format!("note: {remark}"));
    }
    text
}

fn objective_text(name: &str, objective: &ObjectiveSummary) -> String {
    let (Some(first), Some(last)) = (objective.epochs.first(), objective.epochs.last()) else {
        return String::new();
    };
    let mut text = format!("{name}: L_phi {:.6} -> {:.6}", first.network, last.network);
    let with_theta: Vec<f64> = objective.epochs.iter().filter_map(|e| e.degradation).collect();
    if let (Some(first), Some(last)) = (with_theta.first(), with_theta.last()) {
        // Writing to a string cannot fail.
        let _ = write!(text, ", L_theta {first:.6} -> {last:.6}");
    }
    if !objective.rises.is_empty() {
        let _ = write!(
            text,
            "\n  warning: the objective rose beyond sampling noise before step {:?}",
            objective.rises
        );
    }
    text.push('\n');
    text
}

fn refinement_text(r: &RefinementReport) -> String {
    let decibels = |db: &Option<f64>| db.map_or("none found".to_owned(), |db| format!("{db:.1} dB"));
    let worst = r.msi_snr_db.iter().flatten().copied().reduce(f64::min);
    let mut text = format!(
        "refinement: SNR of the MSI's noisiest band {}{}; SNR of the HSI {}\n",
        decibels(&worst),
        if r.msi_denoised { ", denoised" } else { "" },
        decibels(&r.hsi_snr_db)
    );
    let spread = match r.reach {
        Some(reach) => format!("spread over pixels alike within {reach} LR pixels"),
        None => "interpolated".to_owned(),
    };
    if r.directions == 0 {
        text.push_str("  nothing in X − (Z∗C)↓ stands above the noise\n");
    } else {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  X − (Z∗C)↓: {:.1} % of its power in {} directions is signal, {spread}; RMS {:.6} -> {:.6}",
            100.0 * r.signal_share,
            r.directions,
            r.residual.0,
            r.residual.1
        );
    }
    text
}

/// The table of metrics, the result beside bicubic interpolation.
pub fn metrics_text(metrics: &Scores, bicubic: &Scores) -> String {
    let mut text = format!(
        "{:<10} {:>9} {:>9} {:>8} {:>8} {:>8} {:>10}   ({} pixels, convention strict)\n",
        "", "PSNR dB", "SAM deg", "ERGAS", "UIQI", "SSIM", "RMSE", metrics.pixels
    );
    for (name, s) in [("hsr-gpu", metrics), ("bicubic", bicubic)] {
        let _ = writeln!(
            text,
            "{name:<10} {:>9.3} {:>9.3} {:>8.4} {:>8.4} {:>8.4} {:>10.4}",
            s.psnr_db, s.sam_deg, s.ergas, s.uiqi, s.ssim, s.rmse
        );
    }
    text
}

impl Summary {
    /// Of a fused scene; metrics and times are added by what follows.
    pub fn new(engine: &dyn Engine<f32>, fused: &Fused, known: &Known) -> Self {
        let (rows, columns, _) = fused.scene.hr_msi.dim();
        let (model, config) = (&fused.model, &fused.model.config);
        let finetuned = !fused.finetuning.steps.is_empty();
        Summary {
            version: env!("CARGO_PKG_VERSION"),
            engine: engine.name(),
            mishaps: engine.mishaps(),
            seed: config.seed,
            shape: (rows, columns, model.architecture.bands),
            scale: fused.scene.scale,
            weights: model.architecture.weights(),
            members: model.architecture.members,
            training_pixels: fused.pixels,
            steps: (model.step, config.training.steps),
            masked_pixels: fused.scene.hr_valid.iter().filter(|&&ok| !ok).count(),
            registered: fused.registered,
            degradation: DegradationSummary::new(
                model,
                &fused.estimate,
                known.psf.is_some(),
                known.srf.is_some(),
            ),
            revived: fused.training.revived.clone(),
            dead_outputs: fused.training.dead.clone(),
            objective: ObjectiveSummary::new(model, &fused.training, (config.training.steps / 20).max(1)),
            finetune: finetuned.then(|| {
                ObjectiveSummary::new(model, &fused.finetuning, (config.finetune.steps / 10).max(1))
            }),
            refinement: fused.refinement.clone(),
            metrics: None,
            calibration: None,
            bicubic: None,
            peak_bytes: None,
            device_bytes: None,
            stages: Vec::new(),
            seconds: 0.0,
        }
    }

    /// Adds what memory and the device held at most, the times of the fusion's stages and of the command's own, and the time since
    /// `started`.
    pub fn finish(
        &mut self,
        engine: &dyn Engine<f32>,
        fusion: Vec<StageTime>,
        command: Vec<StageTime>,
        started: Instant,
    ) {
        self.peak_bytes = memory::peak();
        self.device_bytes = engine.instruments().and_then(|i| i.take_peak_memory());
        let (before, after): (Vec<_>, Vec<_>) = command
            .into_iter()
            .partition(|t| matches!(t.stage, "read" | "simulate"));
        self.stages = [before, fusion, after].concat();
        self.seconds = started.elapsed().as_secs_f64();
    }

    /// The summary for a reader.
    pub fn text(&self, model: &Model, wavelengths: Option<&[f64]>) -> String {
        let (rows, columns, bands) = self.shape;
        let mut text = format!(
            "{rows} x {columns} pixels x {bands} bands, x{} from {} of {} LR pixels\nengine {}, seed {}, {} weights x {} member{}\n",
            self.scale,
            self.training_pixels.1,
            self.training_pixels.0,
            self.engine,
            self.seed,
            self.weights,
            self.members,
            if self.members == 1 { "" } else { "s" }
        );
        if self.steps.0 < self.steps.1 {
            let _ = writeln!(
                text,
                "training ended on a plateau of L_phi after {} of {} steps",
                self.steps.0, self.steps.1
            );
        }
        if let Some([row, column]) = self.registered {
            let _ = writeln!(
                text,
                "the MSI lay ({row:.2}, {column:.2}) pixels (down, right) of the HSI; it was registered to the HSI, and so is the \
                 result (--register msi leaves it)"
            );
        }
        if self.masked_pixels > 0 {
            let _ = writeln!(
                text,
                "{} pixels are masked and hold the no-data value",
                self.masked_pixels
            );
        }
        text.push_str(&degradation_text(model, &self.degradation, wavelengths));
        text.push_str(&objective_text("coordination", &self.objective));
        for revived in &self.revived {
            let _ = writeln!(
                text,
                "step {}: {} dead outputs and {} members that had learned nothing were given another start",
                revived.step,
                revived.outputs.len(),
                revived.members.len()
            );
        }
        if !self.dead_outputs.is_empty() {
            let _ = writeln!(
                text,
                "note: {} outputs are zero at every LR pixel, their ReLU never fires and their bands are lost; --revive gives \
                 such outputs another start",
                self.dead_outputs.len()
            );
        }
        if let Some(finetune) = &self.finetune {
            text.push_str(&objective_text("fine-tuning", finetune));
        }
        if let Some(refinement) = &self.refinement {
            text.push_str(&refinement_text(refinement));
        }
        if let (Some(metrics), Some(bicubic)) = (&self.metrics, &self.bicubic) {
            text.push_str(&metrics_text(metrics, bicubic));
        }
        if let Some(calibration) = &self.calibration {
            let _ = writeln!(
                text,
                "standard deviation: {:.1} % of the samples are within 1 sigma of the reference, {:.1} % within 2 (of normal errors \
                 68.3 % and 95.4 %)",
                100.0 * calibration.within_1,
                100.0 * calibration.within_2
            );
        }
        let held: Vec<String> = [
            (self.peak_bytes, "resident"),
            (self.device_bytes, "on the device"),
        ]
        .into_iter()
        .filter_map(|(bytes, place)| Some(format!("{:.1} MB {place}", bytes? as f64 / 1e6)))
        .collect();
        if !held.is_empty() {
            let _ = writeln!(text, "memory: at most {}", held.join(", "));
        }
        let stages: Vec<String> = self
            .stages
            .iter()
            .map(|s| format!("{} {:.2} s", s.stage, s.seconds))
            .collect();
        let _ = writeln!(text, "time: {:.2} s ({})", self.seconds, stages.join(", "));
        text
    }
}
