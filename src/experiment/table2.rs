//! `experiment table2`: the supplement's section E. Each scene under a PSF drawn from the six of the paper, several seeds,
//! beside the published rows.

use serde::Serialize;

use crate::coordination::config::{Config, FineTunePsf};
use crate::error::{Error, Result};
use crate::experiment::cell::Method;
use crate::experiment::convergence::METRICS;
use crate::experiment::manifest::Reference;
use crate::experiment::paper::{Observation, Paper, Start, paper_psf, setting};
use crate::experiment::plan::Plan;
use crate::experiment::table::{Results, mean_and_spread};
use crate::random::{Purpose, key, philox};
use crate::report::table::Table;

/// Number of the paper's PSFs.
const PSFS: u32 = 6;

/// What all rows have in common.
const FACTOR: &str = "PSF drawn from the six";

/// What the paper and its supplement report for CAVE at ×32 with PSFs that change from image to image.
pub const PROTOCOL: &str = "as published by Guo et al. (CVPR 2023): CAVE x32, PSFs that change from image to image, 16 scenes \
                            to train and 16 to test, metrics as their code computes them";

/// A published row.
#[derive(Debug, Clone, Serialize)]
pub struct Published {
    /// The method, as the paper calls it.
    pub method: &'static str,
    /// PSNR in dB, SAM in degrees, ERGAS and UIQI.
    pub scores: [f64; 4],
}

const fn published(method: &'static str, scores: [f64; 4]) -> Published {
    Published { method, scores }
}

/// The published rows.
pub const PUBLISHED: [Published; 7] = [
    published("CNMF", [27.4, 17.9, 1.33, 0.815]),
    published("HySure", [28.0, 24.0, 1.25, 0.791]),
    published("CSTF", [28.2, 15.8, 1.12, 0.816]),
    published("MHFNet", [32.2, 10.0, 1.17, 0.761]),
    published("CUCaNet", [34.1, 9.10, 0.964, 0.922]),
    published("UAL", [34.9, 8.97, 0.797, 0.845]),
    published("Guo et al.", [39.5, 6.83, 0.355, 0.944]),
];

/// Whether the paper's network sees the scenes of the manifest but the one it is tested on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Training {
    /// Every scene is trained on alone.
    OneScene,
    /// And on all others together, as the published protocol separates training from test.
    LeaveOneOut,
}

/// Five rows a scene and seed, and one more with [`Training::LeaveOneOut`].
///
/// # Errors
/// [`Error::Input`] for a scene that is too small, and where there are no others to train on.
pub fn plan(
    references: &[Reference],
    config: &Config,
    scale: Option<usize>,
    training: Training,
    seeds: std::ops::Range<u64>,
) -> Result<Plan> {
    let mut plan = Plan::default();
    for (number, reference) in references.iter().enumerate() {
        for seed in seeds.clone() {
            let observation = Observation { scale, psf: None };
            let mut setting = setting(reference, config, &observation, seed)?;
            let word = philox(key(seed), [number as u32, 0, Purpose::ExperimentPsf as u32, 0])[0];
            setting.psf = paper_psf((word % PSFS) as usize, setting.scale)?;
            for (name, method) in [
                ("bicubic interpolation", Method::Bicubic),
                ("quadratic regression (control)", Method::Control),
                ("hsr-gpu, default of `fuse`", Method::Refined),
            ] {
                plan.add_method(FACTOR, name, &setting, method);
            }
            let paper = Paper {
                start: Start::Estimated,
                finetune: Some(FineTunePsf::Estimated),
                traced: false,
                ..Paper::new(config)
            };
            plan.add_paper(
                FACTOR,
                "paper's schedule, the scene alone",
                &setting,
                paper.clone(),
            );
            if training == Training::LeaveOneOut {
                let train_on = others(references, reference)?;
                let paper = Paper { train_on, ..paper };
                plan.add_paper(FACTOR, "paper's schedule, on the others", &setting, paper);
            }
        }
    }
    Ok(plan)
}

/// The other scenes of the same sensor with as many bands.
fn others(references: &[Reference], reference: &Reference) -> Result<Vec<(String, u32)>> {
    let kind = |r: &Reference| (r.sensor(), r.shape.2);
    let found: Vec<(String, u32)> = references
        .iter()
        .filter(|r| r.name != reference.name && kind(r) == kind(reference))
        .map(|r| (r.name.clone(), r.checksum))
        .collect();
    if found.is_empty() {
        return Err(Error::input(format!(
            "--leave-one-out: no other scene of {} with {} bands to train on for {}",
            reference.sensor(),
            reference.shape.2,
            reference.name
        )));
    }
    Ok(found)
}

/// The table: published rows, then measured ones with mean and standard deviation over scenes and seeds.
pub fn table(results: &Results) -> Table {
    let head = ["", "PSNR (dB)", "SAM (deg)", "ERGAS", "UIQI", "runs"];
    let mut rows: Vec<Vec<String>> = PUBLISHED
        .iter()
        .map(|p| {
            let mut row = vec![format!("{} (published)", p.method)];
            row.extend(p.scores.iter().map(f64::to_string));
            row.push("-".to_owned());
            row
        })
        .collect();
    for (_, value) in results.groups() {
        let here = results.rows.iter().filter(|r| r.value == value);
        let scores: Vec<_> = here.map(|r| &r.outcome.scores).collect();
        let mut row = vec![value.to_owned()];
        for (k, (_, _, metric)) in METRICS.iter().enumerate() {
            let values: Vec<f64> = scores.iter().map(|s| metric(s)).collect();
            row.push(mean_and_spread(&values, [2, 2, 3, 4][k]));
        }
        row.push(scores.len().to_string());
        rows.push(row);
    }
    Table {
        title: "Table of section E".to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows,
        note: format!(
            "Published rows: {PROTOCOL}. The others: mean and standard deviation over scenes and seeds, `strict`."
        ),
    }
}
