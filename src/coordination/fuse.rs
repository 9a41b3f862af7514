//! [`fuse`], all stages of a fusion on one scene.

use crate::coordination::config::{Config, Refine};
use crate::coordination::keeper::{Identity, Keeper};
use crate::coordination::memory::fits;
use crate::coordination::product::{Fused, Product};
use crate::coordination::reconstruct::reconstruct;
use crate::coordination::refined::{correct_strips, make_consistent};
use crate::coordination::registration::registered_estimate;
use crate::coordination::run::Run;
use crate::coordination::scene::Scene;
use crate::coordination::stages::{fine_tune, train};
use crate::coordination::start::{Known, start};
use crate::coordination::training_set::training_data;
use crate::coordination::watcher::{Watcher, split_off, stage};
use crate::engine::{Engine, Output, StepLosses};
use crate::error::Result;
use crate::refine::{RefinementReport, denoise};

/// Denoises, estimates, trains, fine-tunes, reconstructs and refines one scene.
///
/// The result is held as a whole where the run then stays within `memory` bytes ([`fits`]), and else is a
/// [`Product::Strips`]: the same bits, made row by row. What else is of the size of an image lies where the scene does.
///
/// # Errors
/// [`Error::Input`] where the scene does not fit the configuration, [`Error::Interrupted`] after Ctrl-C,
/// [`Error::Failed`] where training diverges or the device fails.
pub fn fuse(
    engine: &dyn Engine<f32>,
    config: &Config,
    scene: Scene,
    known: &Known,
    memory: usize,
    watcher: &mut dyn Watcher,
) -> Result<Fused> {
    let keeper = &mut Keeper::none();
    fuse_kept(&|| Ok(engine), config, scene, known, memory, watcher, keeper)
}

/// [`fuse`] with checkpoints, going on from one where `keeper` has it: with the same bits, whenever the run that
/// wrote it ended.
///
/// What comes before training is made anew, so that a checkpoint holds no image. `engine` is asked for its engine when that
/// is needed and not before: a device may open while the images are looked at.
///
/// # Errors
/// Those of [`fuse`] and of `engine`, and [`Error::Input`] where the checkpoint is of another run.
pub fn fuse_kept<'e>(
    engine: &dyn Fn() -> Result<&'e dyn Engine<f32>>,
    config: &Config,
    mut scene: Scene,
    known: &Known,
    memory: usize,
    watcher: &mut dyn Watcher,
    keeper: &mut Keeper,
) -> Result<Fused> {
    let mut times = Vec::new();
    let kept = match keeper.keeps() {
        true => keeper.begin(
            Identity::of("a fusion", config, engine()?)?
                .scene("", &scene)
                .known(known),
        )?,
        false => None,
    };
    let mut refinement = (config.refine == Refine::Auto).then(RefinementReport::default);
    if let Some(report) = &mut refinement {
        stage("denoise", watcher, &mut times, |_| {
            denoise(
                || Ok(engine()?.refiner()),
                &mut scene.hr_msi,
                scene.hr_valid.view(),
                &scene.store,
                report,
            )
        })?;
    }
    let (estimate, registered) = stage("estimate", watcher, &mut times, |_| {
        registered_estimate(config, &mut scene, known)
    })?;
    let model = start(config, &mut scene, known, &estimate)?;
    let engine = engine()?;
    let mut run = match kept {
        Some(run) => keeper.continued(run, &model)?,
        None => Run::new(model),
    };
    let scenes = [scene];
    let (patch, batch) = (config.training.patch, config.training.batch);
    let mut data = training_data(&scenes, run.model.geometry, patch, batch, config.seed)?;
    stage("train", watcher, &mut times, |w| {
        let mut progress = |done: u32, total: u32, losses: &StepLosses| {
            w.progress(done as usize, total as usize, Some(losses));
        };
        train(engine, &mut run, &mut data, &mut progress, keeper)
    })?;
    stage("fine-tune", watcher, &mut times, |w| {
        let mut progress = |done: u32, total: u32, losses: &StepLosses| {
            w.progress(done as usize, total as usize, Some(losses));
        };
        fine_tune(engine, &mut run, &mut data, &mut progress, keeper)
    })?;
    let Run {
        model,
        training,
        tuning,
    } = run;
    let finetuning = tuning.map(|t| t.history).unwrap_or_default();
    let [scene] = scenes;
    let pixels = (data.usable, data.set.windows);
    drop(data);
    let product = if fits(&scene, memory) {
        let mut samples = stage("reconstruct", watcher, &mut times, |w| {
            reconstruct(
                engine,
                &model,
                scene.hr_msi.view(),
                Output::Mean,
                &mut |done, total| {
                    w.progress(done, total, None);
                },
            )
        })?;
        if let Some(report) = &mut refinement {
            stage("refine", watcher, &mut times, |w| {
                let mut progress = |done, total| w.progress(done, total, None);
                make_consistent(engine, &scene, &model.psf(), &mut samples, report, &mut progress)
            })?;
        }
        Product::Whole(samples)
    } else {
        let mut correction = None;
        if let Some(report) = &mut refinement {
            let mut network = 0.0;
            correction = stage("refine", watcher, &mut times, |w| {
                let mut progress = |done, total| w.progress(done, total, None);
                let (correction, seconds) = correct_strips(engine, &model, &scene, report, &mut progress)?;
                network = seconds;
                Ok(correction)
            })?;
            split_off(&mut times, "reconstruct", network);
        }
        Product::Strips(correction.map(Box::new))
    };
    Ok(Fused {
        product,
        scene,
        model,
        estimate,
        registered,
        training,
        finetuning,
        pixels,
        refinement,
        times,
    })
}
