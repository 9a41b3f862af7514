//! `experiment`: figures and tables, each from one command. What every experiment shares is in [`run`], the paper's own are in
//! [`supplement`].

mod run;
mod supplement;

use clap::{Args, Subcommand};

use self::run::{ExperimentFiles, MethodOptions, PlannedExperiment};
use self::supplement::{Network, Plain, Table2, Tuned};
use super::Output;
use super::engine_options::EngineOptions;
use super::options::{ConfigOptions, Printed};
use crate::error::Result;
use crate::experiment::{manifest, misplaced, robustness, scenes};
use crate::io::OutputSet;

/// Run an experiment on reference scenes: degrade, fuse, measure, compare; resumable
///
/// Every finished run is kept in DIR/cells; the same command goes on from there. At the end DIR/results.csv and
/// DIR/results.json hold every number and every setting, DIR/epochs.csv the course of runs that were followed, and
/// DIR/figures the figures as SVG and PNG; a table is printed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hsr-gpu experiment scenes --scenes scenes.txt --out quality --seeds 3")]
pub struct Experiment {
    #[command(subcommand)]
    name: Name,
}

macro_rules! help {
    ($example:literal) => {
        concat!(
            "The manifest has one reference scene a line: REFERENCE, or REFERENCE,SRF with nikon-d700, landsat-oli6 or a ",
            "B x b file, or REFERENCE,msi:IMAGE for two real sensors on one grid. Paths are relative to the manifest; # ",
            "begins a comment; NAME.wl.npy beside NAME.npy holds band centres in nm. Behind that, for a scene alone: ",
            "bands=LIST, msi-bands=LIST (items with spaces between them), hsi-mask=FILE (of the reference), msi-mask=FILE. ",
            "Without a manifest a part of the built-in scene is taken.\n\nExample:\n  ",
            $example
        )
    };
}

#[derive(Debug, Subcommand)]
enum Name {
    /// Every scene at x32 (paper:5) and x8 (gaussian:2.5,1.5,0.6), blind and told the response
    ///
    /// Pairs of real sensors run blind at x3 and x4. Bicubic interpolation stands beside them, and quadratic
    /// regression; it and the fusion with and without refinement. Scales that leave too few LR pixels of a scene are left out.
    #[command(after_help = help!("hsr-gpu experiment scenes --scenes scenes.txt --out quality --seeds 3"))]
    Scenes(Common),
    /// Blind, one factor at a time: noise, PSF, misregistration, seed, scale
    ///
    /// With and without refinement, beside bicubic interpolation and quadratic regression.
    #[command(after_help = help!("hsr-gpu experiment robustness --scenes scenes.txt --out robustness --only noise"))]
    Robustness(Common),
    /// Blind, pairs whose images do not lie on each other: shifts, rotation, warp, ratio, coordinate systems
    ///
    /// At x3, a PSF of FWHM 1 LR pixel, 40 dB; measured on the HSI's pixels, beside the same pair undisturbed.
    #[command(after_help = help!("hsr-gpu experiment misplaced --scenes scenes.txt --out misplaced"))]
    Misplaced(Common),
    /// Supplement A: objective, metrics and PSF of a run, epoch by epoch
    #[command(after_help = help!("hsr-gpu experiment convergence --out convergence --report convergence"))]
    Convergence(Plain),
    /// Supplement B: the same run with and without coordination
    ///
    /// Without it the PSF that guides the fusion stays where it started, while PSF and SRF are learned all the same.
    #[command(after_help = help!("hsr-gpu experiment coordination --scenes scenes.txt --out coordination"))]
    Coordination(Plain),
    /// Supplement B: fine-tuning with the estimated and the start PSF, from models with and without coordination
    #[command(after_help = help!("hsr-gpu experiment finetune --out finetune --finetune-steps 200"))]
    Finetune(Tuned),
    /// Supplement C: each weight of the losses over 0 to 0.8
    #[command(after_help = help!("hsr-gpu experiment hyperparameters --out hyperparameters --epochs 20"))]
    Hyperparameters(Plain),
    /// Supplement E: scenes under PSFs drawn from the six, beside the published rows
    #[command(after_help = help!("hsr-gpu experiment table2 --scenes scenes.txt --seeds 3 --leave-one-out --out table2"))]
    Table2(Table2),
    /// Supplement D: layers, parameters and operations of every preset
    #[command(after_help = "Example:\n  hsr-gpu experiment network --out network")]
    Network(Network),
}

/// What the experiments on `fuse` itself take.
#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    place: ExperimentFiles,
    #[command(flatten)]
    methods: MethodOptions,
    /// Number of seeds, from --seed on [default: 1; robustness: 10, for its factor "seed"]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: Option<u64>,
    #[command(flatten)]
    config: ConfigOptions,
    #[command(flatten)]
    engine: EngineOptions,
}

impl Experiment {
    /// What it reads and writes.
    ///
    /// # Errors
    /// [`crate::Error::Input`] where the folder holds the results of another experiment.
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        let of = |name: &str, common: &Common, set: &mut OutputSet| {
            if common.config.dump_config {
                Ok(())
            } else {
                common.config.files(set);
                common.place.files(name, set)
            }
        };
        match &self.name {
            Name::Scenes(common) => of("scenes", common, set),
            Name::Robustness(common) => of("robustness", common, set),
            Name::Misplaced(common) => of("misplaced", common, set),
            Name::Convergence(command) => command.files("convergence", set),
            Name::Coordination(command) => command.files("coordination", set),
            Name::Finetune(command) => command.files(set),
            Name::Hyperparameters(command) => command.files("hyperparameters", set),
            Name::Table2(command) => command.files(set),
            Name::Network(command) => command.files(set),
        }
    }

    /// Runs the command.
    ///
    /// # Errors
    /// [`crate::Error`] with the line to show.
    pub fn run(self, output: &Output) -> Result<()> {
        let (name, common) = match self.name {
            Name::Scenes(common) => ("scenes", common),
            Name::Robustness(common) => ("robustness", common),
            Name::Misplaced(common) => ("misplaced", common),
            Name::Convergence(command) => return command.convergence(output),
            Name::Coordination(command) => return command.coordination(output),
            Name::Finetune(command) => return command.finetune(output),
            Name::Hyperparameters(command) => return command.hyperparameters(output),
            Name::Table2(command) => return command.run(output),
            Name::Network(command) => return command.run(output),
        };
        let config = common.config.load("single-scene", None)?;
        if common.config.dump_config {
            return output.result(&Printed { config: &config }, &config.to_toml()?);
        }
        let references = match &common.place.scenes {
            Some(path) => manifest::read(path)?,
            None => vec![manifest::built_in()?],
        };
        let (seed, model) = (config.seed, config.degradation.psf_model);
        let seeds = common.seeds.unwrap_or(if name == "robustness" { 10 } else { 1 });
        let methods = &common.methods.methods;
        let plan = match name {
            "scenes" => scenes::plan(&references, model, (seed, seeds), methods)?,
            "misplaced" => misplaced::plan(&references, model, (seed, seeds), methods)?,
            _ => robustness::plan(&references, model, (seed, seeds), methods)?,
        };
        PlannedExperiment {
            name,
            place: &common.place,
            engine: &common.engine,
            fusion: &config,
            paper: &config,
            references: &references,
            plan,
            seeds,
            ran: format!(
                "what `fuse` does, with and without refinement, bicubic interpolation and quadratic regression{}",
                common.methods.said()
            ),
            figures: |_| Vec::new(),
        }
        .run(output)
    }
}
