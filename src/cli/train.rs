//! `train`: the coordination loop over many scenes, into a model that `finetune` and `infer` go on from.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Output;
use super::checkpoint::CheckpointOptions;
use super::engine_options::EngineOptions;
use super::log::Log;
use super::options::{BandOptions, ConfigOptions, PlacementOptions, Printed, ScratchOptions, SensorOptions};
use super::pending_engine::PendingEngine;
use super::progress::Stages;
use crate::coordination::checkpoint;
use crate::coordination::config::Config;
use crate::coordination::keeper::Identity;
use crate::coordination::manifest;
use crate::coordination::memory::{MemoryBudget, pair_bytes};
use crate::coordination::model::Model;
use crate::coordination::placement::{OnGrid, Placed};
use crate::coordination::run::Run;
use crate::coordination::scene::Scene;
use crate::coordination::stages::train;
use crate::coordination::start::{Known, check_fits, start_on_scenes};
use crate::coordination::summary::ObjectiveSummary;
use crate::coordination::training_set::training_data;
use crate::coordination::watcher::Watcher;
use crate::cube::Metadata;
use crate::cube::bands::{BandSelection, TakenBands};
use crate::engine::{Engine, StepLosses};
use crate::error::{Error, Result};
use crate::interrupt::Shield;
use crate::io::{self, OutputSet, Reading};

/// Train the network and the degradation on many scenes
#[derive(Debug, Args)]
#[command(
    after_help = "The manifest has one scene a line: HSI,MSI (paths relative to the manifest; # begins a comment), and \
                  behind that what is so of one scene alone, as options of fuse: bands=, msi-bands= (items of a list with \
                  spaces between them), hsi-mask=, msi-mask=, axes=, shape=, wavelengths=, msi-axes=, msi-wavelengths=, \
                  clouds=, msi-clouds=.\n\nExample:\n  hsr-gpu train --scenes scenes.txt --out model.safetensors"
)]
pub struct Train {
    /// Manifest of the scenes
    #[arg(long, value_name = "MANIFEST", required_unless_present = "dump_config")]
    scenes: Option<PathBuf>,
    /// Model to write (.safetensors)
    #[arg(short, long, value_name = "MODEL", required_unless_present = "dump_config")]
    out: Option<PathBuf>,
    /// Go on: from the checkpoint, if it is there; else, where a model is named, from that one with its configuration,
    /// which --steps lengthens
    #[arg(long, value_name = "MODEL", num_args = 0..=1)]
    resume: Option<Option<PathBuf>>,
    #[command(flatten)]
    checkpoint: CheckpointOptions,
    /// Value that stands for "no data" in the images
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    nodata: Option<f64>,
    #[command(flatten)]
    bands: BandOptions,
    #[command(flatten)]
    placement: PlacementOptions,
    #[command(flatten)]
    sensors: SensorOptions,
    #[command(flatten)]
    config: ConfigOptions,
    #[command(flatten)]
    engine: EngineOptions,
    #[command(flatten)]
    scratch: ScratchOptions,
    /// Write the losses as a TensorBoard event file into this folder
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
}

/// What `train` tells.
#[derive(Debug, serde::Serialize)]
struct Report {
    model: String,
    engine: String,
    scenes: usize,
    steps: u32,
    objective: ObjectiveSummary,
}

impl Report {
    /// In one line; an epoch has so many steps.
    fn text(&self, epoch: u32) -> String {
        let last = self.objective.epochs.last();
        format!(
            "{}: {} steps on {} scenes, {} epochs of {epoch} steps, L_phi {:.6}, L_theta {}",
            self.model,
            self.steps,
            self.scenes,
            self.objective.epochs.len(),
            last.map_or(f64::NAN, |e| e.network),
            last.and_then(|e| e.degradation)
                .map_or("not trained".to_owned(), |l| format!("{l:.6}"))
        )
    }
}

/// Where an interrupted run leaves its model if the place of the result is taken.
fn interrupted(out: &Path) -> PathBuf {
    out.with_extension("interrupted.safetensors")
}

/// Keeps the model of an interrupted run of so many steps; returns what is to be told.
fn keep_interrupted(out: &Path, model: &Model, steps: u32) -> Result<Error> {
    // A model that is there already may be a finished one.
    let kept = if out.exists() {
        interrupted(out)
    } else {
        out.to_owned()
    };
    checkpoint::save(&kept, model)?;
    Ok(Error::Interrupted(format!(
        "interrupted; kept {} after {} of {steps} steps, go on with --resume {0}",
        kept.display(),
        model.step,
    )))
}

impl Train {
    /// What it reads and writes.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for a name that no result can have.
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        let (Some(list), Some(out)) = (&self.scenes, &self.out) else {
            return Ok(());
        };
        if self.config.dump_config {
            return Ok(());
        }
        set.reads("--scenes", &list.to_string_lossy());
        manifest::files(list)
            .iter()
            .for_each(|file| set.reads("the manifest", file));
        self.sensors.files(set);
        self.config.files(set);
        set.writes("--out", out);
        // A model may be gone on with in its place.
        let resumed = self
            .resume
            .iter()
            .flatten()
            .filter(|model| !io::same_file(model, out));
        for model in resumed {
            set.reads("--resume", &model.to_string_lossy());
        }
        set.may_write("--out, where it is interrupted,", &interrupted(out));
        self.checkpoint.files(set);
        if let Some(folder) = &self.log {
            set.writes_into("--log", folder, &[]);
        }
        Ok(())
    }

    /// Runs the command.
    ///
    /// # Errors
    /// [`Error`] with the line to show; after Ctrl-C the checkpoint, or without one the model, holds how far it came.
    pub fn run(self, output: &Output) -> Result<()> {
        let from = self.model_to_go_on_from()?;
        let config = self.config.load("cave", Some(&self.sensors))?;
        if self.config.dump_config {
            return output.result(&Printed { config: &config }, &config.to_toml()?);
        }
        let missing = |what: &str| Error::input(format!("{what} is missing"));
        let list = self
            .scenes
            .as_deref()
            .ok_or_else(|| missing("--scenes MANIFEST"))?;
        let out = self.out.as_deref().ok_or_else(|| missing("--out MODEL"))?;
        let mut keeper = self.checkpoint.keeper(self.resume.is_some())?;
        let mut budget = self.scratch.budget(Some(out))?;
        let device = PendingEngine::begin(&self.engine, output)?;
        let mut stages = Stages::new(output);
        let (mut scenes, first) = stages.run("read", |_| self.read(list, &mut budget, output))?;

        let from = match from {
            Some(path) => Some(self.go_on(&path, &scenes[0])?),
            None => None,
        };
        device.look()?;
        let mut kept = None;
        if keeper.keeps() {
            let identity = self.identity(device.engine()?, from.as_ref(), &config, &first, &scenes)?;
            kept = keeper.begin(identity)?;
        }
        let model = match from {
            Some(model) => {
                scenes
                    .iter_mut()
                    .for_each(|scene| scene.calibrate(&model.calibration));
                model
            }
            None => stages.run("estimate", |_| self.start(&config, &mut scenes, &first))?,
        };
        let engine = device.engine()?;
        let training = model.config.training.clone();
        let seed = model.config.seed;
        let mut data = training_data(&scenes, model.geometry, training.patch, training.batch, seed)?;
        let mut run = match kept {
            Some(run) => keeper.continued(run, &model)?,
            None => Run::new(model),
        };
        let epoch = data.batches.steps_per_epoch();
        let mut log = Log::open(self.log.as_deref(), &training)?;
        log.psf(run.model.step, &run.model.psf());
        // The loop looks at Ctrl-C itself, and the model as far as it came is kept.
        let shield = Shield::hold();
        let result = stages.run("train", |w| {
            let mut w = log.watch(w);
            let mut progress = |done: u32, total: u32, losses: &StepLosses| {
                w.progress(done as usize, total as usize, Some(losses));
            };
            train(engine, &mut run, &mut data, &mut progress, &mut keeper)
        });
        let Run {
            model,
            training: history,
            ..
        } = run;
        if matches!(result, Err(Error::Interrupted(_))) && !keeper.keeps() {
            return Err(keep_interrupted(out, &model, training.steps)?);
        }
        result?;
        checkpoint::save(out, &model)?;
        drop(shield);
        log.psf(model.step, &model.psf());
        log.finish()?;
        keeper.done()?;
        let objective = ObjectiveSummary::new(&model, &history, epoch);
        let report = Report {
            model: out.display().to_string(),
            engine: engine.name(),
            scenes: scenes.len(),
            steps: model.step,
            objective,
        };
        output.result(&report, &report.text(epoch))
    }

    /// The model file that `--resume` names, if it names one.
    fn model_to_go_on_from(&self) -> Result<Option<PathBuf>> {
        let from = self.resume.clone().flatten();
        if self.resume.is_some() && from.is_none() {
            self.checkpoint.needed()?;
        }
        let c = &self.config;
        let set = c.preset.is_some() || c.config.is_some() || c.seed.is_some() || c.members.is_some();
        if from.is_some() && set {
            return Err(Error::input(
                "--resume MODEL goes on with the model's configuration; leave out --preset, --config, --seed and --members",
            ));
        }
        Ok(from)
    }

    /// Everything that decides the bits of a run, for its checkpoint.
    fn identity(
        &self,
        engine: &dyn Engine<f32>,
        from: Option<&Model>,
        config: &Config,
        first: &Metadata,
        scenes: &[Scene],
    ) -> Result<Identity> {
        let start = match from {
            Some(model) => {
                Identity::of("training", &model.config, engine)?.model("the model to go on from", model)
            }
            None => Identity::of("training", config, engine)?.known(&self.known(first, &scenes[0])?),
        };
        let numbered = scenes.iter().enumerate();
        Ok(numbered.fold(start, |identity, (k, scene)| {
            identity.scene(&format!(" of scene {}", k + 1), scene)
        }))
    }

    /// The model that is gone on from, with its steps to come.
    fn go_on(&self, path: &std::path::Path, scene: &Scene) -> Result<Model> {
        let mut model = checkpoint::load(path)?;
        check_fits(&model, &path.display().to_string(), scene)?;
        let steps = &mut model.config.training.steps;
        *steps = self.config.steps.unwrap_or(*steps);
        if model.step >= *steps {
            return Err(Error::input(format!(
                "the model has its {} steps already; ask for more with --steps",
                model.step
            )));
        }
        Ok(model)
    }

    /// All scenes of the manifest, which must agree in bands and scale, and what the first one's HSI says of itself.
    fn read(
        &self,
        list: &std::path::Path,
        budget: &mut MemoryBudget,
        output: &Output,
    ) -> Result<(Vec<Scene>, Metadata)> {
        let mut scenes: Vec<Scene> = Vec::new();
        let (mut first, mut unusual) = (None, Vec::new());
        for entry in manifest::read(list)? {
            let at = |e: Error| match e {
                Error::Input(m) => Error::input(format!("{} line {}: {m}", list.display(), entry.line)),
                other => other,
            };
            let open = |file, bands, mask, arrangement| {
                let reading = Reading {
                    bands,
                    nodata: self.nodata,
                    mask,
                    arrangement,
                    memory: usize::MAX,
                };
                io::open_image_as(file, &reading).map_err(at)
            };
            let own = entry.options;
            let bands = own.bands.unwrap_or_else(|| self.bands.selection());
            let hsi = open(&entry.hsi, bands, own.hsi_mask, own.array)?;
            let bands = own.msi_bands.unwrap_or(BandSelection::All);
            let msi = open(&entry.msi, bands, own.msi_mask, own.msi_array)?;
            output.notes(&[&hsi, &msi]);
            let placed = self
                .placement
                .read(([&hsi, &msi], OnGrid::Msi), budget, pair_bytes, &mut unusual);
            let Placed {
                hsi: metadata, scene, ..
            } = placed.map_err(at)?;
            if let Some(other) = scenes.first() {
                let kind = |s: &Scene| (s.lr_hsi.dim().2, s.hr_msi.dim().2, s.scale);
                if kind(other) != kind(&scene) {
                    return Err(at(Error::input(format!(
                        "{:?} (HSI bands, MSI bands, ratio), but the first scene has {:?}",
                        kind(&scene),
                        kind(other)
                    ))));
                }
            }
            first.get_or_insert(metadata);
            scenes.push(scene);
        }
        unusual.iter().for_each(|line| output.say(line));
        first
            .map(|hsi| (scenes, hsi))
            .ok_or_else(|| Error::input("the manifest has no scene"))
    }

    /// What the user knows of the degradation; all bands of the MSI are taken.
    fn known(&self, first: &Metadata, scene: &Scene) -> Result<Known> {
        let all = scene.hr_msi.dim().2;
        let msi = TakenBands {
            all,
            taken: (0..all).collect(),
        };
        self.sensors.known(first, &msi, scene)
    }

    /// Start from the scene whose images agree best through their estimated degradation, in one unit for all.
    fn start(&self, config: &Config, scenes: &mut [Scene], first: &Metadata) -> Result<Model> {
        let known = self.known(first, &scenes[0])?;
        let mut model = start_on_scenes(config, scenes, &known)?;
        model.wavelengths = first.wavelengths.clone();
        Ok(model)
    }
}
