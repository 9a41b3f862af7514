//! The door to models of many scenes: trained, tuned to one more, and applied to an MSI.

use super::{Psf, Srf};
use crate::align::files::Named;
use crate::coordination::config::Config;
use crate::coordination::inference::Inferred;
use crate::coordination::keeper::Keeper;
use crate::coordination::memory::{MemoryBudget, pair_bytes};
use crate::coordination::model::Model;
use crate::coordination::placement::{Ground, Placed, Placing};
use crate::coordination::run::Run;
use crate::coordination::scene::Scene;
use crate::coordination::stages;
use crate::coordination::start::{Known, check_fits, replace_psf, start_on_scenes};
use crate::coordination::summary::ObjectiveSummary;
use crate::coordination::training_set::training_data;
use crate::coordination::watcher::{Watcher, stage};
use crate::cube::Cube;
use crate::cube::strips::Strips;
use crate::cube::view::View;
use crate::engine::{Engine, Output, StepLosses};
use crate::error::{Error, Result};

/// What work on models is done with.
pub struct Work<'a> {
    /// The engine.
    pub engine: &'a dyn Engine<f32>,
    /// Whoever is told of stages and their progress.
    pub watcher: &'a mut dyn Watcher,
    /// How two images are placed.
    pub placing: Placing,
}

/// A model and how it came about.
pub struct Trained {
    /// It; [`crate::coordination::checkpoint::save`] writes it.
    pub model: Model,
    /// The objective over the steps.
    pub objective: ObjectiveSummary,
}

/// Trains network and degradation on pairs of an HSI and an MSI, in `config.training.steps` steps.
///
/// # Errors
/// [`Error::Input`] where a pair does not fit, or has other bands or another ratio than the first; [`Error::Interrupted`] after a
/// stop, [`Error::Failed`] where training diverges.
pub fn train(pairs: &[[View; 2]], config: &Config, (psf, srf): (&Psf, &Srf), work: Work) -> Result<Trained> {
    let (mut scenes, mut first) = (Vec::new(), None);
    for (k, [hsi, msi]) in pairs.iter().enumerate() {
        let Placed {
            hsi: metadata, scene, ..
        } = placed(hsi, msi, work.placing)?;
        if let Some(other) = scenes.first() {
            let kind = |s: &Scene| (s.lr_hsi.dim().2, s.hr_msi.dim().2, s.scale);
            if kind(other) != kind(&scene) {
                return Err(Error::input(format!(
                    "scene {}: {:?} (HSI bands, MSI bands, ratio), but the first scene has {:?}",
                    k + 1,
                    kind(&scene),
                    kind(other)
                )));
            }
        }
        first.get_or_insert(metadata);
        scenes.push(scene);
    }
    let metadata = first.ok_or_else(|| Error::input("no scene to train on"))?;
    let known = Known {
        psf: psf.kernel(None, scenes[0].scale)?,
        srf: srf.response(&metadata, scenes[0].lr_hsi.dim().2)?,
    };
    let mut times = Vec::new();
    let mut model = stage("estimate", work.watcher, &mut times, |_| {
        start_on_scenes(config, &mut scenes, &known)
    })?;
    model.wavelengths = metadata.wavelengths;
    let t = &config.training;
    let mut data = training_data(&scenes, model.geometry, t.patch, t.batch, config.seed)?;
    let epoch = data.batches.steps_per_epoch();
    let mut run = Run::new(model);
    stage("train", work.watcher, &mut times, |w| {
        let mut progress = progress_of(w);
        stages::train(
            work.engine,
            &mut run,
            &mut data,
            &mut progress,
            &mut Keeper::none(),
        )
    })?;
    let objective = ObjectiveSummary::new(&run.model, &run.training, epoch);
    Ok(Trained {
        model: run.model,
        objective,
    })
}

/// Fine-tunes the decoders of a model on one more pair, on frozen abundances. `psf` stands for that of this pair (`Blind`: as its images
/// say); without it the model's stays.
///
/// # Errors
/// [`Error::Input`] where the pair is not what the model was trained for; else as [`train`].
pub fn fine_tune(mut model: Model, [hsi, msi]: [&View; 2], psf: Option<&Psf>, work: Work) -> Result<Trained> {
    let mut scene = placed(hsi, msi, work.placing)?.scene;
    check_fits(&model, "the model", &scene)?;
    scene.calibrate(&model.calibration);
    let mut times = Vec::new();
    if let Some(psf) = psf {
        let kernel = psf.kernel(None, model.geometry.scale)?;
        stage("estimate", work.watcher, &mut times, |_| {
            replace_psf(&mut model, &scene, kernel)
        })?;
    }
    let (batch, seed) = (model.config.training.batch.max(1024), model.config.seed);
    let mut data = training_data(&[scene], model.geometry, 1, batch, seed)?;
    let mut run = Run::new(model);
    stage("fine-tune", work.watcher, &mut times, |w| {
        let mut progress = progress_of(w);
        stages::fine_tune(
            work.engine,
            &mut run,
            &mut data,
            &mut progress,
            &mut Keeper::none(),
        )
    })?;
    let history = run.tuning.map(|t| t.history).unwrap_or_default();
    let epoch = (run.model.config.finetune.steps / 10).max(1);
    let objective = ObjectiveSummary::new(&run.model, &history, epoch);
    Ok(Trained {
        model: run.model,
        objective,
    })
}

/// The image that a model makes of an MSI, in the unit of the HSI that it was trained on.
///
/// # Errors
/// [`Error::Input`] where the MSI has another number of bands than the model was trained for.
pub fn infer(model: &Model, msi: &View, engine: &dyn Engine<f32>) -> Result<Cube> {
    Inferred::check(model, "the model", ("the MSI", msi))?;
    let image = Inferred::new(engine, model, msi, Output::Mean, true);
    image.rows(0..image.dim().0)
}

fn placed(hsi: &View, msi: &View, placing: Placing) -> Result<Placed> {
    let named = |name, image| Named { name, image };
    let ground = Ground::new(named("the HSI", hsi), named("the MSI", msi), placing)?;
    let store = MemoryBudget::new(usize::MAX, std::env::temp_dir()).place(ground.bytes(pair_bytes))?;
    ground.read(store, &mut |_, _| Ok(()))
}

fn progress_of(watcher: &mut dyn Watcher) -> impl FnMut(u32, u32, &StepLosses) {
    |done, total, losses| watcher.progress(done as usize, total as usize, Some(losses))
}
