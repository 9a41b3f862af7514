//! `experiment finetune`: the supplement's Figs. 3 and 4. Partial fine-tuning with the estimated and with the start PSF,
//! from models trained with and without coordination.

use crate::coordination::config::{Config, FineTunePsf, Guide};
use crate::error::Result;
use crate::experiment::conditions::{Observation, setting};
use crate::experiment::convergence::{conditions, traced_of};
use crate::experiment::manifest::Reference;
use crate::experiment::paper::Paper;
use crate::experiment::plan::Plan;
use crate::experiment::published::METRICS;
use crate::experiment::table::Results;
use crate::report::chart::{Chart, Series};
use crate::report::plot::{Content, Figure};

/// Four runs a scene and seed; two of them share a trained model.
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
            for (with, guide) in [("with", Guide::Estimated), ("without", Guide::Start)] {
                for (name, psf) in [
                    ("estimated", FineTunePsf::Estimated),
                    ("start", FineTunePsf::Start),
                ] {
                    let paper = Paper {
                        guide,
                        finetune: Some(psf),
                        ..Paper::new(config)
                    };
                    let value = format!("trained {with}, {name} PSF");
                    plan.add_paper(
                        &format!("fine-tuning, {}", reference.name),
                        &value,
                        &setting,
                        paper,
                    );
                }
            }
        }
    }
    Ok(plan)
}

/// Metrics over the steps of fine-tuning of every scene, first seed.
pub fn figures(results: &Results) -> Vec<Figure> {
    let mut figures = Vec::new();
    for scene in &results.scenes {
        let runs = traced_of(results, scene);
        let Some((first, _)) = runs.first() else { continue };
        let charts = METRICS.map(|(title, label, value)| Chart {
            title: title.to_owned(),
            x_label: "step of partial fine-tuning".to_owned(),
            y_label: label.to_owned(),
            logarithmic: false,
            series: runs
                .iter()
                .map(|(row, trace)| {
                    let began = trace.finetuning.first().map_or(0, |p| p.step);
                    let points = trace.finetuning.iter();
                    let measured =
                        points.filter_map(|p| Some((f64::from(p.step - began), value(p.scores.as_ref()?))));
                    Series::new(&row.value, measured)
                })
                .collect(),
        });
        figures.push(Figure {
            name: format!("finetune-{}", scene.name),
            caption: format!(
                "Partial fine-tuning with the estimated and with the start PSF, from models trained with and without \
                 coordination. {}, {}.",
                scene.name,
                conditions(first)
            ),
            content: Content::Charts(charts.to_vec()),
        });
    }
    figures
}
