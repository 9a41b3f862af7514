//! What a run tells about itself, for a reader.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use crate::align::misplacement::Stage;
use crate::cli::memory;
use crate::cli::output::with_options;
use crate::coordination::model::Degradation;
use crate::coordination::native::{Native, OnMsi};
use crate::coordination::placement::{OnGrid, Placement};
use crate::coordination::prior::MixtureReport;
use crate::coordination::summary::{DegradationSummary, NetworkSummary, ObjectiveSummary, Summary};
use crate::coordination::watcher::StageTime;
use crate::cube::bicubic;
use crate::cube::strips::Strips;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::io;
use crate::metrics::{Convention, Scores, evaluate};
use crate::refine::RefinementReport;
use crate::report::terminal;

/// Metrics of `result` and of bicubic interpolation of `hsi` against `reference`, under `strict`.
///
/// # Errors
/// [`Error::Input`] where the reference has another shape.
pub fn compare(
    reference: &dyn Strips,
    result: &dyn Strips,
    (hsi, scale): (&dyn Strips, usize),
    native: Option<&Native>,
) -> Result<(Scores, Scores)> {
    let scores = evaluate(reference, result, scale, Convention::Strict)?;
    let upsampled = bicubic::Upsampled::new(hsi, scale)?;
    let native = native.map(|native| OnMsi::new(&upsampled, native, scale));
    let baseline: &dyn Strips = native.as_ref().map_or(&upsampled, |b| b);
    Ok((scores, evaluate(reference, baseline, scale, Convention::Strict)?))
}

/// The files of [`save_degradation`].
pub const DEGRADATION: [&str; 2] = ["psf.npy", "srf.npy"];

/// Writes `psf.npy` (K×K) and `srf.npy` (B×b) into `folder`, which is made where it is missing.
///
/// # Errors
/// [`Error::Input`] where the folder cannot take them.
pub fn save_degradation(folder: &Path, used: &Degradation) -> Result<()> {
    make_folder(folder)?;
    let [psf, srf] = DEGRADATION.map(|name| folder.join(name));
    io::write_matrix(psf, &used.psf)?;
    io::write_matrix(srf, &used.srf)
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
pub fn degradation_text(
    used: &Degradation,
    summary: &DegradationSummary,
    wavelengths: Option<&[f64]>,
) -> String {
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
    line(terminal::psf_picture(&used.psf));
    line(format!("SRF ({}):", summary.srf));
    line(terminal::srf_curves(&used.srf, wavelengths));
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
    text.push('\n');
    text
}

/// One line: what was mixed, the largest weight first; and what is to be expected of it.
fn mixture_text(mixture: &MixtureReport) -> String {
    let mut text = format!("prior, by LR pixels held out: {}\n", mixture.line());
    if let Some(expected) = &mixture.expected {
        let _ = writeln!(
            text,
            "expected, by the same: PSNR {:.1} dB, SAM {:.1} deg",
            expected.psnr_db, expected.sam_deg
        );
    }
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

/// Texts and measurements of the command line.
impl Summary {
    /// Adds what memory and the device held at most, the times of the command's own stages, and the time since
    /// `started`.
    pub fn finish(&mut self, engine: Option<&dyn Engine<f32>>, command: Vec<StageTime>, started: Instant) {
        self.peak_bytes = memory::peak();
        let instruments = engine.and_then(|engine| engine.instruments());
        self.device_bytes = instruments.and_then(|i| i.take_peak_memory());
        let (before, after): (Vec<_>, Vec<_>) = command
            .into_iter()
            .partition(|t| matches!(t.stage, "read" | "simulate"));
        self.stages = [before, std::mem::take(&mut self.stages), after].concat();
        self.seconds = started.elapsed().as_secs_f64();
    }

    /// The summary for a reader; `used` is what the fusion went by.
    pub fn text(&self, used: &Degradation, wavelengths: Option<&[f64]>) -> String {
        let (rows, columns, bands) = self.shape;
        let mut text = format!("{rows} x {columns} pixels x {bands} bands, x{}", self.scale);
        match &self.network {
            Some(network) => text.push_str(&network.head(self.engine.as_deref().unwrap_or_default())),
            None => {
                let _ = writeln!(text, " by {}, without a network", self.method);
            }
        }
        if let Some(placement) = &self.placement {
            for line in placement.notes() {
                let _ = writeln!(text, "{}", line.trim_start_matches("note: "));
            }
        }
        let misplaced = |p: &Placement| p.found.as_ref().is_some_and(|f| f.stage != Stage::None);
        match (self.scored_on, &self.placement) {
            (Some(OnGrid::Hsi), Some(p)) if p.grid == OnGrid::Msi => {
                let _ = writeln!(
                    text,
                    "metrics are taken on the reference's grid, the HSI's divided by {}",
                    self.scale
                );
            }
            // Both grids have the same size, so only who made the reference knows which it is on.
            (Some(OnGrid::Msi), Some(p)) if misplaced(p) => {
                let _ = writeln!(
                    text,
                    "metrics take the reference to lie on the MSI's pixels; one that lies where the HSI does needs --grid hsi"
                );
            }
            _ => {}
        }
        if self.masked_pixels > 0 {
            let _ = writeln!(
                text,
                "{} pixels are masked and hold the no-data value",
                self.masked_pixels
            );
        }
        let _ = writeln!(text, "verdict: {}", with_options(&self.verdict.to_string()));
        if self.suspect_share > 0.0 {
            let _ = writeln!(
                text,
                "{:.1} % of the LR pixels contradict the others and were left out (--save-suspect shows them, --robust off keeps \
                 them)",
                100.0 * self.suspect_share
            );
        }
        text.push_str(&degradation_text(used, &self.degradation, wavelengths));
        if let Some(network) = &self.network {
            text.push_str(&network.course());
        }
        if let Some(refinement) = &self.refinement {
            text.push_str(&refinement_text(refinement));
        }
        if let (Some(metrics), Some(bicubic)) = (&self.metrics, &self.bicubic) {
            text.push_str(&metrics_text(metrics, bicubic));
        }
        if let Some(network) = &self.network {
            text.push_str(&network.calibration());
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

/// What is said of a fusion by the network alone.
impl NetworkSummary {
    /// The rest of the first line, and what it was trained on.
    fn head(&self, engine: &str) -> String {
        let mut text = format!(
            " from {} of {} LR pixels\nengine {engine}, seed {}, {} weights x {} member{}\n",
            self.training_pixels.1,
            self.training_pixels.0,
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
        text
    }

    /// How training went, and what the prior was mixed from.
    fn course(&self) -> String {
        let mut text = objective_text("coordination", &self.objective);
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
        if let Some(mixture) = &self.mixture {
            text.push_str(&mixture_text(mixture));
        }
        text
    }

    /// How true the standard deviations are, where that was measured.
    fn calibration(&self) -> String {
        self.calibration.map_or(String::new(), |calibration| {
            format!(
                "standard deviation: {:.1} % of the samples are within 1 sigma of the reference, {:.1} % within 2 (of normal errors \
                 68.3 % and 95.4 %)\n",
                100.0 * calibration.within_1,
                100.0 * calibration.within_2
            )
        })
    }
}
