//! The report page of a fusion, from what `fuse` and `demo` hold when they are done.

use std::path::{Path, PathBuf};

use ndarray::Array2;

use super::output::with_options;
use super::summary::make_folder;
use crate::coordination::product::Fused;
use crate::coordination::summary::{ObjectiveSummary, Summary};
use crate::coordination::training::{Epoch, History};
use crate::cube::bicubic;
use crate::cube::strips::Strips;
use crate::error::Result;
use crate::io;
use crate::report::html::{Chart, Page, Series};

/// Points of a curve.
const POINTS: u32 = 200;

/// The images of a fusion, all in one unit.
pub struct Images<'a> {
    /// X.
    pub hsi: &'a dyn Strips,
    /// The result.
    pub result: &'a dyn Strips,
    /// The truth, where it is known.
    pub reference: Option<&'a dyn Strips>,
    /// The PSF (K×K) that the HSI was made with, where it is known.
    pub true_psf: Option<&'a Array2<f64>>,
}

/// The name of the page in its folder.
pub const PAGE: &str = "report.html";

/// The place of the page in a folder, which is made where it is missing.
///
/// # Errors
/// [`crate::Error::Input`] where the folder cannot be made.
pub fn page_path(folder: &Path) -> Result<PathBuf> {
    make_folder(folder)?;
    Ok(folder.join(PAGE))
}

/// Writes the page.
///
/// # Errors
/// [`crate::Error::Failed`] if it cannot be written.
pub fn write_page(path: &Path, title: &str, fused: &Fused, summary: &Summary, images: &Images) -> Result<()> {
    let model = &fused.model;
    let baseline = bicubic::Upsampled::new(images.hsi, summary.scale)?;
    let mut kernels = vec![(summary.degradation.psf.to_owned(), model.psf())];
    if model.config.degradation.coordination && model.fixed_psf.is_none() {
        kernels = vec![
            ("at the start of coordination".to_owned(), model.start_psf()),
            ("at its end".to_owned(), model.psf()),
        ];
    }
    kernels.extend(images.true_psf.map(|psf| ("true".to_owned(), psf.clone())));
    let objective = |title: &str, history: &History| {
        let length = (history.steps.len() as u32 / POINTS).max(1);
        let epochs = ObjectiveSummary::new(model, history, length).epochs;
        chart(title, &epochs, length)
    };
    let mut charts = vec![objective("Objective of the coordination loop", &fused.training)];
    if !fused.finetuning.steps.is_empty() {
        charts.push(objective("Objective of fine-tuning", &fused.finetuning));
    }
    let named = |name: &str, scores: &Option<_>| scores.clone().map(|s| (name.to_owned(), s));
    let page = Page {
        title: title.to_owned(),
        facts: facts(summary),
        remarks: remarks(summary),
        lr_hsi: images.hsi,
        bicubic: &baseline,
        fused: images.result,
        reference: images.reference,
        kernels,
        response: model.srf(),
        charts,
        scores: [
            named("fused", &summary.metrics),
            named("bicubic", &summary.bicubic),
        ]
        .into_iter()
        .flatten()
        .collect(),
        settings: model.config.to_toml()?,
        times: summary
            .stages
            .iter()
            .map(|t| (t.stage.to_owned(), t.seconds))
            .chain([("all".to_owned(), summary.seconds)])
            .collect(),
    };
    let html = page.html()?;
    io::replace(path, |out| out.write_all(&html))
}

/// L_φ and, where it was trained, L_θ over the steps.
fn chart(title: &str, epochs: &[Epoch], length: u32) -> Chart {
    let series = |name: &str, points: Vec<(u32, f64)>| {
        let (x, y) = points.into_iter().map(|(x, y)| (f64::from(x), y)).unzip();
        Series {
            name: name.to_owned(),
            x,
            y,
        }
    };
    let theta: Vec<_> = epochs
        .iter()
        .filter_map(|e| Some((e.step, e.degradation?)))
        .collect();
    let mut all = vec![series(
        "L_φ (network)",
        epochs.iter().map(|e| (e.step, e.network)).collect(),
    )];
    if !theta.is_empty() {
        all.push(series("L_θ (degradation)", theta));
    }
    Chart {
        title: title.to_owned(),
        x_label: "step".to_owned(),
        y_label: match length {
            1 => "loss".to_owned(),
            n => format!("loss, mean of {n} steps"),
        },
        logarithmic: true,
        series: all,
    }
}

fn facts(summary: &Summary) -> Vec<(String, String)> {
    let (rows, columns, bands) = summary.shape;
    let degradation = &summary.degradation;
    let psf = match degradation.psf_variances_angle {
        None => degradation.psf.to_owned(),
        Some((v1, v2, angle)) => format!(
            "{}, variances {v1:.3} and {v2:.3} pixels², angle {angle:.3} rad",
            degradation.psf
        ),
    };
    let mut facts = vec![(
        "Result",
        format!("{rows} x {columns} pixels, {bands} bands, x{}", summary.scale),
    )];
    facts.extend(summary.engine.clone().map(|engine| ("Engine", engine)));
    if let Some(network) = &summary.network {
        facts.extend([
            (
                "Network",
                format!(
                    "{} weights x {} member{}",
                    network.weights,
                    network.members,
                    if network.members == 1 { "" } else { "s" }
                ),
            ),
            (
                "Trained on",
                format!(
                    "{} of {} LR pixels",
                    network.training_pixels.1, network.training_pixels.0
                ),
            ),
            ("Seed", network.seed.to_string()),
        ]);
    }
    facts.extend([
        ("PSF", psf),
        ("SRF", degradation.srf.to_owned()),
        (
            "Misfit",
            format!(
                "{:.3} % of the spread of the images",
                100.0 * degradation.misfit.1
            ),
        ),
        ("Verdict", with_options(&summary.verdict.to_string())),
        ("Time", format!("{:.1} s", summary.seconds)),
        ("Program", format!("hsr-gpu {}", env!("CARGO_PKG_VERSION"))),
    ]);
    let mixture = summary.network.as_ref().and_then(|n| n.mixture.as_ref());
    if let Some(mixture) = mixture {
        facts.push(("Prior", mixture.line()));
    }
    if let Some(expected) = mixture.and_then(|m| m.expected.as_ref()) {
        facts.push((
            "Expected",
            format!("PSNR {:.1} dB, SAM {:.1} deg", expected.psnr_db, expected.sam_deg),
        ));
    }
    if summary.suspect_share > 0.0 {
        facts.push((
            "Suspect",
            format!("{:.1} % of the LR pixels", 100.0 * summary.suspect_share),
        ));
    }
    if summary.masked_pixels > 0 {
        facts.push(("No data", format!("{} pixels", summary.masked_pixels)));
    }
    facts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn remarks(summary: &Summary) -> Vec<String> {
    let mut remarks = summary.degradation.remarks.clone();
    let network = summary.network.as_ref();
    let rises = [
        network.map(|n| &n.objective),
        network.and_then(|n| n.finetune.as_ref()),
    ];
    for objective in rises.into_iter().flatten().filter(|o| !o.rises.is_empty()) {
        remarks.push(format!(
            "the objective rose beyond sampling noise before step {:?}",
            objective.rises
        ));
    }
    remarks
}
