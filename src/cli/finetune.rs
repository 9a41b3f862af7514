//! `finetune`: partial fine-tuning of a trained model on one more scene.

use std::path::PathBuf;

use clap::Args;

use super::Output;
use super::engine_options::EngineOptions;
use super::options::{PairOptions, ScratchOptions};
use super::pending_engine::PendingEngine;
use super::progress::Stages;
use crate::coordination::checkpoint;
use crate::coordination::config::FineTunePsf;
use crate::coordination::keeper::Keeper;
use crate::coordination::memory::pair_bytes;
use crate::coordination::placement::OnGrid;
use crate::coordination::response::psf_kernel;
use crate::coordination::run::Run;
use crate::coordination::stages::fine_tune;
use crate::coordination::start::{check_fits, replace_psf};
use crate::coordination::summary::ObjectiveSummary;
use crate::coordination::training_set::training_data;
use crate::engine::StepLosses;
use crate::error::Result;
use crate::io::OutputSet;
use crate::sensor::catalogue::PsfSpec;

/// Fine-tune a trained model's decoders on one scene, on frozen abundances
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hsr-gpu finetune lr.npy hr.npy --model model.safetensors -o tuned.safetensors"
)]
pub struct FineTune {
    /// Model that `train` wrote
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    pair: PairOptions,
    /// Model to write
    #[arg(short, long, value_name = "MODEL")]
    out: PathBuf,
    /// PSF of this scene: blind (estimated from the pair), FILE, paper:0 to paper:5,
    /// gaussian:VAR1,VAR2,ANGLE, disk:RADIUS or line:LENGTH,ANGLE
    /// [default: the model's]
    #[arg(long)]
    psf: Option<PsfSpec>,
    /// Fine-tune with the PSF that training started from (the paper's ablation)
    #[arg(long, conflicts_with = "psf")]
    start_psf: bool,
    /// Steps [default: the model's configuration]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    steps: Option<u32>,
    #[command(flatten)]
    engine: EngineOptions,
    #[command(flatten)]
    scratch: ScratchOptions,
}

/// What `finetune` tells.
#[derive(Debug, serde::Serialize)]
struct Report {
    model: String,
    engine: String,
    objective: ObjectiveSummary,
}

impl FineTune {
    /// What it reads and writes.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for a name that no result can have.
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        set.reads("--model", &self.model.to_string_lossy());
        self.pair.files(set);
        if let Some(PsfSpec::File(file)) = &self.psf {
            set.reads("--psf", file);
        }
        set.writes("--out", &self.out);
        Ok(())
    }

    /// Runs the command.
    ///
    /// # Errors
    /// [`Error`] with the line to show.
    pub fn run(self, output: &Output) -> Result<()> {
        let mut budget = self.scratch.budget(Some(&self.out))?;
        let device = PendingEngine::begin(&self.engine, output)?;
        let mut stages = Stages::new(output);
        let name = self.model.display().to_string();
        let mut model = checkpoint::load(&self.model)?;
        let pair = stages.run("read", |_| {
            self.pair.read(output, OnGrid::Msi, &mut budget, pair_bytes)
        })?;
        let mut scene = pair.placed.scene;
        check_fits(&model, &name, &scene)?;
        device.look()?;
        if self.start_psf {
            model.config.finetune.psf = FineTunePsf::Start;
        }
        if let Some(steps) = self.steps {
            model.config.finetune.steps = steps;
        }
        scene.calibrate(&model.calibration);
        if let Some(spec) = &self.psf {
            let kernel = psf_kernel(spec, None, model.geometry.scale)?;
            stages.run("estimate", |_| replace_psf(&mut model, &scene, kernel))?;
        }
        let (batch, seed) = (model.config.training.batch.max(1024), model.config.seed);
        let mut data = training_data(&[scene], model.geometry, 1, batch, seed)?;
        let mut run = Run::new(model);
        let engine = device.engine()?;
        stages.run("fine-tune", |w| {
            let mut progress = |done: u32, total: u32, losses: &StepLosses| {
                w.progress(done as usize, total as usize, Some(losses));
            };
            fine_tune(engine, &mut run, &mut data, &mut progress, &mut Keeper::none())
        })?;
        let Run { model, tuning, .. } = run;
        let history = tuning.map(|t| t.history).unwrap_or_default();
        checkpoint::save(&self.out, &model)?;
        let objective = ObjectiveSummary::new(&model, &history, (model.config.finetune.steps / 10).max(1));
        let ends = objective.epochs.first().zip(objective.epochs.last());
        let text = format!(
            "{}: {} steps, L_phi {:.6} -> {:.6}",
            self.out.display(),
            history.steps.len(),
            ends.map_or(f64::NAN, |e| e.0.network),
            ends.map_or(f64::NAN, |e| e.1.network)
        );
        let report = Report {
            model: self.out.display().to_string(),
            engine: engine.name(),
            objective,
        };
        output.result(&report, &text)
    }
}
