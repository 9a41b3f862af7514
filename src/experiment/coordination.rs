//! `experiment coordination`: the supplement's section B, Figs. 1 and 2. The same run with and without coordination.
//!
//! Without it the PSF that guides the fusion stays where it started; θ is learned from the fusion all the same, so that
//! there is a PSF to compare. Both runs have one seed: weights, patches and ε agree.

use crate::coordination::config::{Config, Guide};
use crate::error::Result;
use crate::experiment::conditions::{Observation, setting};
use crate::experiment::convergence::{EPOCHS, conditions, metric_charts, over_epochs, strip, traced_of};
use crate::experiment::manifest::Reference;
use crate::experiment::paper::Paper;
use crate::experiment::plan::Plan;
use crate::experiment::table::Results;
use crate::report::chart::{Chart, Series};
use crate::report::plot::{Content, Figure};

/// Two runs a scene and seed.
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
            for (value, guide) in [("with", Guide::Estimated), ("without", Guide::Start)] {
                let paper = Paper {
                    guide,
                    ..Paper::new(config)
                };
                plan.add_paper(
                    &format!("coordination, {}", reference.name),
                    value,
                    &setting,
                    paper,
                );
            }
        }
    }
    Ok(plan)
}

/// Distance of the PSF from the truth and metrics over epochs, and strips of PSFs, of every scene, first seed.
pub fn figures(results: &Results) -> Vec<Figure> {
    let mut figures = Vec::new();
    for scene in &results.scenes {
        let runs = traced_of(results, scene);
        let Some((first, _)) = runs.first() else { continue };
        let what = format!("{}, {}", scene.name, conditions(first));
        let named: Vec<_> = runs
            .iter()
            .map(|(row, trace)| (format!("{} coordination", row.value), *trace))
            .collect();
        let curves = named
            .iter()
            .map(|(name, trace)| Series::new(name, over_epochs(trace, |p| Some(p.psf_nrmse))));
        let psf = Chart {
            title: format!("Distance of the PSF from the true one, {}", scene.name),
            x_label: EPOCHS.to_owned(),
            y_label: "‖C′ − C‖ / ‖C‖".to_owned(),
            logarithmic: false,
            series: curves.collect(),
        };
        figures.push(Figure {
            name: format!("coordination-psf-{}", scene.name),
            caption: format!(
                "Distance of the estimated PSF C′ from the true C, with and without coordination. {what}."
            ),
            content: Content::Charts(vec![psf]),
        });
        figures.push(Figure {
            name: format!("coordination-metrics-{}", scene.name),
            caption: format!("Quality over epochs with and without coordination. {what}."),
            content: Content::Charts(metric_charts(&named)),
        });
        let strips = runs
            .iter()
            .map(|(row, trace)| strip(&format!("{} coordination", row.value), row, trace));
        figures.push(Figure {
            name: format!("coordination-strip-{}", scene.name),
            caption: format!("The estimated PSF with and without coordination beside the true one. {what}."),
            content: Content::Kernels(strips.collect()),
        });
    }
    figures
}
