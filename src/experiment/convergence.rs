//! `experiment convergence`: the supplement's section A. Objective, metrics and PSF of one run, epoch by epoch.

use crate::coordination::config::Config;
use crate::error::Result;
use crate::experiment::conditions::{Observation, setting};
use crate::experiment::manifest::Reference;
use crate::experiment::paper::Paper;
use crate::experiment::plan::Plan;
use crate::experiment::published::METRICS;
use crate::experiment::table::{ResultRow, Results, SceneLine};
use crate::experiment::trace::{Point, Trace};
use crate::report::chart::{Chart, Series};
use crate::report::plot::{Content, Figure, Strip};

/// PSFs in a strip, the true one not counted.
const STRIP: usize = 7;
/// Label of an axis of epochs.
pub(super) const EPOCHS: &str = "epoch (73 steps)";

/// A run a scene and seed, from the paper's start.
///
/// # Errors
/// [`crate::Error::Input`] for a scene that is too small.
pub fn plan(
    references: &[Reference],
    config: &Config,
    observation: &Observation,
    seeds: std::ops::Range<u64>,
) -> Result<Plan> {
    let mut plan = Plan::default();
    for reference in references {
        for seed in seeds.clone() {
            let setting = setting(reference, config, observation, seed)?;
            plan.add_paper("scene", &reference.name, &setting, Paper::new(config));
        }
    }
    Ok(plan)
}

/// Objective, metrics and a strip of PSFs of every scene, first seed.
pub fn figures(results: &Results) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (row, trace) in traced(results) {
        let scene = &row.cell.setting.scene;
        let what = format!("{scene}, {}", conditions(row));
        let curve =
            |name: &str, value: fn(&Point) -> Option<f64>| Series::new(name, over_epochs(trace, value));
        figures.push(Figure {
            name: format!("convergence-objective-{scene}"),
            caption: format!("Means over epochs of the objective and its two parts. {what}."),
            content: Content::Charts(vec![Chart {
                title: format!("Objective, {scene}"),
                x_label: EPOCHS.to_owned(),
                y_label: "mean loss of an epoch".to_owned(),
                logarithmic: true,
                series: vec![
                    curve("L_θ + L_φ", Point::objective),
                    curve("L_θ (degradation)", |p| p.degradation),
                    curve("L_φ (network)", |p| p.network),
                ],
            }]),
        });
        figures.push(Figure {
            name: format!("convergence-metrics-{scene}"),
            caption: format!("Quality of the reconstruction after each epoch that was measured. {what}."),
            content: Content::Charts(metric_charts(&[(scene.clone(), trace)])),
        });
        figures.push(Figure {
            name: format!("convergence-psf-{scene}"),
            caption: format!(
                "The estimated PSF through training beside the true one; dark is large, each on its own scale. {what}."
            ),
            content: Content::Kernels(vec![strip(&format!("PSF, {scene}"), row, trace)]),
        });
    }
    figures
}

/// Rows of the first seed with their courses.
pub(super) fn traced(results: &Results) -> impl Iterator<Item = (&ResultRow, &Trace)> {
    let first = results
        .rows
        .iter()
        .filter(|row| row.cell.setting.seed == results.seed);
    first.filter_map(|row| Some((row, row.outcome.trace.as_ref()?)))
}

/// [`traced`] of one scene.
pub(super) fn traced_of<'a>(results: &'a Results, scene: &SceneLine) -> Vec<(&'a ResultRow, &'a Trace)> {
    let of_scene =
        |row: &ResultRow| (&row.cell.setting.scene, &row.cell.setting.sensor) == (&scene.name, &scene.sensor);
    traced(results).filter(|(row, _)| of_scene(row)).collect()
}

/// Scale, PSF and seed of a row.
pub(super) fn conditions(row: &ResultRow) -> String {
    let s = &row.cell.setting;
    format!("x{}, {}, seed {}", s.scale, s.psf, s.seed)
}

/// A value over the epochs that have it.
pub(super) fn over_epochs(trace: &Trace, value: impl Fn(&Point) -> Option<f64>) -> Vec<(f64, f64)> {
    let numbered = trace.training.iter().enumerate();
    numbered
        .filter_map(|(k, p)| Some((k as f64, value(p)?)))
        .collect()
}

/// PSNR, SAM, ERGAS and UIQI over epochs, a curve a run.
pub(super) fn metric_charts(runs: &[(String, &Trace)]) -> Vec<Chart> {
    METRICS
        .iter()
        .map(|(title, label, value)| Chart {
            title: (*title).to_owned(),
            x_label: EPOCHS.to_owned(),
            y_label: (*label).to_owned(),
            logarithmic: false,
            series: runs
                .iter()
                .map(|(name, trace)| Series::new(name, over_epochs(trace, |p| p.scores.as_ref().map(value))))
                .collect(),
        })
        .collect()
}

/// The PSF at the start, at epochs that are spread over the run, at its end, and the true one.
pub(super) fn strip(name: &str, row: &ResultRow, trace: &Trace) -> Strip {
    let truth = row.cell.setting.true_psf().ok();
    let size = truth.as_ref().map_or(row.cell.setting.scale, |psf| psf.nrows());
    let last = trace.training.len().saturating_sub(1);
    let mut at: Vec<usize> = (0..STRIP)
        .map(|k| (last * k + (STRIP - 1) / 2) / (STRIP - 1))
        .collect();
    at.dedup();
    let mut kernels: Vec<_> = at
        .into_iter()
        .filter_map(|k| Some((format!("epoch {k}"), trace.training.get(k)?.kernel(size))))
        .collect();
    kernels.extend(truth.map(|truth| ("true".to_owned(), truth)));
    Strip {
        name: name.to_owned(),
        kernels,
    }
}
