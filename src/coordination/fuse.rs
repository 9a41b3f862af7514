//! [`fuse`], all stages of a fusion on one scene.

use crate::coordination::config::{Config, Refine};
use crate::coordination::keeper::{Identity, Keeper};
use crate::coordination::memory::fits;
use crate::coordination::product::{Fused, Product};
use crate::coordination::reconstruct::reconstruct;
use crate::coordination::refined::{correct_strips, denoise_scene, make_consistent};
use crate::coordination::run::Run;
use crate::coordination::scene::Scene;
use crate::coordination::stages::{fine_tune, train};
use crate::coordination::start::{Known, estimate_degradation, start};
use crate::coordination::training_set::training_data;
use crate::coordination::watcher::{Watcher, split_off, stage};
use crate::cube::Metadata;
use crate::engine::{Engine, Output, StepLosses};
use crate::error::Result;
use crate::refine::RefinementReport;

/// A fusion to be done.
pub struct Job<'a, 'e> {
    /// Asked for the engine when that is needed and not before: a device may open while the images are looked at.
    pub engine: &'a dyn Fn() -> Result<&'e dyn Engine<f32>>,
    /// What decides the result besides the data.
    pub config: &'a Config,
    /// The two images.
    pub scene: Scene,
    /// What is known of the degradation.
    pub known: Known,
    /// What the result is to carry.
    pub metadata: Metadata,
    /// Bytes to stay below where that is possible ([`fits`]).
    pub memory: usize,
}

/// Denoises, estimates, trains, fine-tunes, reconstructs and refines one scene; goes on from a checkpoint where `keeper` has
/// one, with the same bits, whenever the run that wrote it ended.
///
/// The result is held as a whole where the run then stays within `memory` bytes ([`fits`]), and else is a
/// [`Product::Strips`]: the same bits, made row by row. What else is of the size of an image lies where the scene does.
/// What comes before training is made anew, so that a checkpoint holds no image.
///
/// # Errors
/// [`crate::Error::Input`] where the scene does not fit the configuration or the checkpoint is of another run,
/// [`crate::Error::Interrupted`] after a stop, [`crate::Error::Failed`] where training diverges or the device fails, and what
/// `engine` returns.
pub fn fuse<'e>(job: Job<'_, 'e>, watcher: &mut dyn Watcher, keeper: &mut Keeper) -> Result<Fused<'e>> {
    let Job {
        engine,
        config,
        mut scene,
        known,
        metadata,
        memory,
    } = job;
    let mut times = Vec::new();
    let kept = match keeper.keeps() {
        true => keeper.begin(
            Identity::of("a fusion", config, engine()?)?
                .scene("", &scene)
                .known(&known),
        )?,
        false => None,
    };
    let mut refinement = (config.refine == Refine::Auto).then(RefinementReport::default);
    if let Some(report) = &mut refinement {
        stage("denoise", watcher, &mut times, |_| {
            denoise_scene(|| Ok(engine()?.refiner()), &mut scene, report)
        })?;
    }
    let estimate = stage("estimate", watcher, &mut times, |_| {
        estimate_degradation(config, &scene, &known)
    })?;
    let model = start(config, &mut scene, &known, &estimate)?;
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
        mut model,
        training,
        tuning,
    } = run;
    model.wavelengths = metadata.wavelengths.clone();
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
        engine,
        metadata,
        product,
        scene,
        model,
        known,
        estimate,
        training,
        finetuning,
        pixels,
        refinement,
        times,
    })
}
