//! `experiment hyperparameters`: the supplement's section C, Figs. 5 and 6. The weights of the losses, one at a time.

use crate::coordination::config::Config;
use crate::error::Result;
use crate::experiment::conditions::{Observation, setting};
use crate::experiment::manifest::Reference;
use crate::experiment::paper::Paper;
use crate::experiment::plan::Plan;
use crate::experiment::published::METRICS;
use crate::experiment::table::{ResultRow, Results};
use crate::report::chart::{Chart, Series};
use crate::report::plot::{Content, Figure};

/// Epochs where none are asked for: enough for the PSF to arrive from the paper's start, and 33 runs end in minutes.
pub const EPOCHS: u32 = 40;
/// Tenths of the largest weight.
const TENTHS: u32 = 8;

/// A weight by its name and its place.
type Weight = (&'static str, fn(&mut Paper) -> &mut f64);

/// The weights.
const WEIGHTS: [Weight; 4] = [
    ("α₁", |p| &mut p.alpha[0]),
    ("α₂", |p| &mut p.alpha[1]),
    ("α₃", |p| &mut p.alpha[2]),
    ("β", |p| &mut p.beta),
];

/// Nine runs a weight, scene and seed; the run at the defaults stands under every weight whose default is among them.
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
    for (name, weight) in WEIGHTS {
        for tenth in 0..=TENTHS {
            for reference in references {
                for seed in seeds.clone() {
                    let setting = setting(reference, config, observation, seed)?;
                    let mut paper = Paper {
                        traced: false,
                        ..Paper::new(config)
                    };
                    let value = f64::from(tenth) / 10.0;
                    *weight(&mut paper) = value;
                    plan.add_paper(name, &value.to_string(), &setting, paper);
                }
            }
        }
    }
    Ok(plan)
}

/// Whether a run has not trained its network.
fn untrained(row: &ResultRow) -> bool {
    row.cell.paper.as_ref().is_some_and(|p| p.beta == 0.0)
}

/// PSNR, SAM, ERGAS and the distance of the PSF over each weight, means over scenes and seeds.
pub fn figures(results: &Results) -> Vec<Figure> {
    type Value = Box<dyn Fn(&ResultRow) -> Option<f64>>;
    let [psnr, sam, ergas, _] = METRICS;
    let mut values: Vec<(&str, &str, Value)> = Vec::new();
    for (title, label, value) in [psnr, sam, ergas] {
        values.push((
            title,
            label,
            Box::new(move |row| Some(value(&row.outcome.scores))),
        ));
    }
    values.push(("PSF", "‖C′ − C‖ / ‖C‖", Box::new(|row| row.outcome.psf_nrmse)));
    let charts = values.into_iter().map(|(title, label, value)| Chart {
        title: title.to_owned(),
        x_label: "weight, the others at their defaults".to_owned(),
        y_label: label.to_owned(),
        logarithmic: false,
        series: WEIGHTS
            .iter()
            .map(|(name, _)| {
                let rows: Vec<&ResultRow> = results
                    .rows
                    .iter()
                    .filter(|r| r.factor == *name && !untrained(r))
                    .collect();
                let mut at: Vec<&str> = rows.iter().map(|r| r.value.as_str()).collect();
                at.dedup();
                let mean = |x: &&str| {
                    let here: Vec<f64> = rows
                        .iter()
                        .filter(|r| r.value == *x)
                        .filter_map(|r| value(r))
                        .collect();
                    let sum: f64 = here.iter().sum();
                    Some((x.parse().ok()?, sum / here.len() as f64))
                };
                Series::new(*name, at.iter().filter_map(mean))
            })
            .collect(),
    });
    let start: Vec<String> = results
        .rows
        .iter()
        .filter(|r| untrained(r))
        .map(|r| format!("{:.1} dB", r.outcome.scores.psnr_db))
        .collect();
    let start = match &start[..] {
        [] => String::new(),
        found => format!(
            " β = 0 leaves the network at its start ({}) and is left out of the curves, which it would flatten.",
            found.join(", ")
        ),
    };
    vec![Figure {
        name: "hyperparameters".to_owned(),
        caption: format!(
            "Each weight of the losses over 0 to 0.8, means over {} scene(s) and {} seed(s). C′ is the estimated PSF.{start}",
            results.scenes.len(),
            results.seeds
        ),
        content: Content::Charts(charts.collect()),
    }]
}
