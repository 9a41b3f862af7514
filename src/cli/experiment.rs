//! `experiment`: figures and tables, each from one command. What every experiment shares stands here; the paper's own are
//! in [`super::supplement`].

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Output;
use super::engine_options::EngineOptions;
use super::opening::Opening;
use super::options::ConfigOptions;
use super::progress::Cells;
use super::summary::make_folder;
use super::supplement::{Network, Plain, Table2, Tuned};
use crate::coordination::config::Config;
use crate::error::{Error, Result};
use crate::experiment::manifest::Reference;
use crate::experiment::plan::Plan;
use crate::experiment::runner::{Runner, cells_folder};
use crate::experiment::table::{Heading, Results};
use crate::experiment::{manifest, published, robustness, scenes};
use crate::io;
use crate::report::html::ExperimentPage;
use crate::report::plot::Figure;

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

/// Where an experiment takes its scenes from and puts its results.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Manifest of the scenes [default: the built-in scene]
    #[arg(long, value_name = "MANIFEST")]
    pub(super) scenes: Option<PathBuf>,
    /// Folder for the results and the finished runs
    #[arg(long, value_name = "DIR", required_unless_present = "dump_config")]
    out: Option<PathBuf>,
    /// Run only what has this text in its factor, value or name
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Run finished cells anew
    #[arg(long)]
    fresh: bool,
    /// Write one HTML page with figures, tables, settings and times into this folder
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

/// What the experiments on `fuse` itself take.
#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    place: Place,
    /// Number of seeds, from --seed on [default: 1; robustness: 10, for its factor "seed"]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: Option<u64>,
    #[command(flatten)]
    config: ConfigOptions,
    #[command(flatten)]
    engine: EngineOptions,
}

impl Experiment {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error`] with the line to show.
    pub fn run(self, output: &Output) -> Result<()> {
        let (name, common) = match self.name {
            Name::Scenes(common) => ("scenes", common),
            Name::Robustness(common) => ("robustness", common),
            Name::Convergence(command) => return command.convergence(output),
            Name::Coordination(command) => return command.coordination(output),
            Name::Finetune(command) => return command.finetune(output),
            Name::Hyperparameters(command) => return command.hyperparameters(output),
            Name::Table2(command) => return command.run(output),
            Name::Network(command) => return command.run(output),
        };
        let config = common.config.load("single-scene", None)?;
        if common.config.dump_config {
            return output.result(&config, &config.to_toml()?);
        }
        let references = match &common.place.scenes {
            Some(path) => manifest::read(path)?,
            None => vec![manifest::built_in()?],
        };
        let (seed, model) = (config.seed, config.degradation.psf_model);
        let seeds = common.seeds.unwrap_or(if name == "scenes" { 1 } else { 10 });
        let plan = match name {
            "scenes" => scenes::plan(&references, model, seed, seeds)?,
            _ => robustness::plan(&references, model, seed, seeds)?,
        };
        Run {
            name,
            place: &common.place,
            engine: &common.engine,
            fusion: &config,
            paper: &config,
            references: &references,
            plan,
            seeds,
            ran: "what `fuse` does, with and without refinement, bicubic interpolation and quadratic regression".to_owned(),
            figures: |_| Vec::new(),
        }
        .run(output)
    }
}

/// An experiment that is planned.
pub(super) struct Run<'a> {
    /// Its name.
    pub(super) name: &'static str,
    /// Scenes and results.
    pub(super) place: &'a Place,
    /// The device.
    pub(super) engine: &'a EngineOptions,
    /// The configuration of fusions.
    pub(super) fusion: &'a Config,
    /// The configuration of the paper's method.
    pub(super) paper: &'a Config,
    /// The scenes.
    pub(super) references: &'a [Reference],
    /// The runs.
    pub(super) plan: Plan,
    /// Number of seeds.
    pub(super) seeds: u64,
    /// What is run, in a sentence.
    pub(super) ran: String,
    /// The figures of the results.
    pub(super) figures: fn(&Results) -> Vec<Figure>,
}

impl Run<'_> {
    /// Works the plan off and writes everything.
    ///
    /// # Errors
    /// [`Error`] with the line to show.
    pub(super) fn run(mut self, output: &Output) -> Result<()> {
        let out = self
            .place
            .out
            .as_deref()
            .ok_or_else(|| Error::input("--out DIR is missing"))?;
        if let Some(filter) = &self.place.only {
            self.plan.only(filter)?;
        }
        let folder = cells_folder(out)?;
        let delivery = Delivery::open(out, self.place.report.as_deref())?;
        let device = Opening::begin(self.engine, output)?;
        let engine = device.engine()?;
        let runner = Runner {
            engine,
            config: self.fusion,
            paper: self.paper,
            references: self.references,
            folder,
            fresh: self.place.fresh,
        };
        let finished = runner.run(&self.plan, &mut Cells::new(output))?;
        if finished.other_builds > 0 {
            output.say(&format!(
                "note: {} cells were computed by another build of this version; --fresh runs them anew",
                finished.other_builds
            ));
        }
        let heading = Heading {
            experiment: self.name,
            engine: engine.name(),
            config: self.paper,
            seeds: self.seeds,
            ran: self.ran.clone(),
            published: (self.name == "table2").then_some((published::PROTOCOL, &published::PUBLISHED[..])),
        };
        let results = Results::new(&heading, self.references, &self.plan, &finished);
        let figures = (self.figures)(&results);
        delivery.write("results.csv", results.csv().as_bytes())?;
        delivery.json(&results)?;
        if let Some(epochs) = results.epochs_csv() {
            delivery.write("epochs.csv", epochs.as_bytes())?;
        }
        if !figures.is_empty() {
            make_folder(&out.join("figures"))?;
        }
        for figure in &figures {
            delivery.write(&format!("figures/{}.svg", figure.name), figure.svg()?.as_bytes())?;
            let mut png = Vec::new();
            let written = figure.picture()?.write_png(&mut png);
            written.map_err(|e| Error::failed(format!("figure {}: {e}", figure.name)))?;
            delivery.write(&format!("figures/{}.png", figure.name), &png)?;
        }
        delivery.page(&ExperimentPage {
            title: format!("Experiment {}", self.name),
            facts: facts(&results),
            figures,
            tables: results.tables(),
            remarks: results.remarks(),
            times: results.times(),
            settings: Some(self.paper.to_toml()?),
        })?;
        output.result(&results, &results.text())
    }
}

fn facts(results: &Results) -> Vec<(String, String)> {
    let scenes: Vec<String> = results
        .scenes
        .iter()
        .map(|s| {
            format!(
                "{} ({} x {} x {}, {})",
                s.name, s.shape.0, s.shape.1, s.shape.2, s.sensor
            )
        })
        .collect();
    let seeds = match results.seeds {
        0 | 1 => results.seed.to_string(),
        n => format!("{} to {}", results.seed, results.seed + n - 1),
    };
    [
        ("Ran", results.ran.clone()),
        ("Scenes", scenes.join(", ")),
        ("Seeds", seeds),
        ("Engine", results.engine.clone()),
        ("Runs", results.cells.0.to_string()),
        (
            "Program",
            format!("hsr-gpu {} (build {:08x})", results.version, results.build),
        ),
        ("Command", results.command.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// The folder that results go to, and the page beside them.
pub(super) struct Delivery<'a> {
    out: &'a Path,
    page: Option<PathBuf>,
}

impl<'a> Delivery<'a> {
    /// Makes the folders and sees that they take files.
    ///
    /// # Errors
    /// [`Error::Input`] where they do not.
    pub(super) fn open(out: &'a Path, report: Option<&Path>) -> Result<Self> {
        make_folder(out)?;
        io::check_writable(out.join("results.csv"))?;
        let page = report.map(super::page::page_path).transpose()?;
        Ok(Delivery { out, page })
    }

    /// Writes a file of the results.
    ///
    /// # Errors
    /// [`Error`] where that fails.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        io::replace(self.out.join(name), |out| out.write_all(bytes))
    }

    /// Writes `results.json`.
    ///
    /// # Errors
    /// [`Error`] where that fails.
    pub(super) fn json(&self, results: &impl Serialize) -> Result<()> {
        let text =
            serde_json::to_vec_pretty(results).map_err(|e| Error::failed(format!("results as JSON: {e}")))?;
        self.write("results.json", &text)
    }

    /// Writes the page, if one was asked for.
    ///
    /// # Errors
    /// [`Error`] where that fails.
    pub(super) fn page(&self, page: &ExperimentPage) -> Result<()> {
        let Some(path) = &self.page else { return Ok(()) };
        let html = page.html()?;
        io::replace(path, |out| out.write_all(&html))
    }
}
