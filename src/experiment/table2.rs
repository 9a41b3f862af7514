//! `experiment table2`: the supplement's section E. Each scene under a PSF drawn from the six of the paper, several seeds,
//! beside the published rows.

use crate::baseline;
use crate::coordination::config::{Config, FineTunePsf};
use crate::error::{Error, Result};
use crate::experiment::cell::Method;
use crate::experiment::conditions::{Observation, paper_psf, setting};
use crate::experiment::manifest::Reference;
use crate::experiment::paper::{Paper, Start};
use crate::experiment::plan::Plan;
use crate::random::{Purpose, key, philox};

/// Number of the paper's PSFs.
const PSFS: u32 = 6;

/// What all rows have in common.
const FACTOR: &str = "PSF drawn from the six";

/// Whether the paper's network sees the scenes of the manifest but the one it is tested on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Training {
    /// Every scene is trained on alone.
    OneScene,
    /// And on all others together, as the published protocol separates training from test.
    LeaveOneOut,
}

/// Four rows a scene and seed, one for each method of `beside`, and one more with [`Training::LeaveOneOut`].
///
/// # Errors
/// [`Error::Input`] for a scene that is too small, and where there are no others to train on.
pub fn plan(
    references: &[Reference],
    config: &Config,
    scale: Option<usize>,
    training: Training,
    seeds: std::ops::Range<u64>,
    beside: &[baseline::Method],
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
                ("quadratic regression (control)", Method::CONTROL),
                ("hsr-gpu, default of `fuse`", Method::Refined),
            ] {
                plan.add_method(FACTOR, name, &setting, method);
            }
            for method in beside {
                plan.add_method(FACTOR, method.name(), &setting, Method::Baseline(*method));
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
