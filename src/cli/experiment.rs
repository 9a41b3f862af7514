//! `experiment`: the tables of quality, each from one command.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Output;
use super::options::{ConfigOptions, EngineOptions};
use super::progress::Cells;
use crate::error::{Error, Result};
use crate::experiment::runner::{Runner, cells_folder};
use crate::experiment::table::{Heading, Results};
use crate::experiment::{manifest, robustness, scenes};
use crate::io;

/// Run an experiment on reference scenes: degrade, fuse, measure, compare; resumable
///
/// Every finished run is kept in DIR/cells; the same command goes on from there. At the end DIR/results.csv and
/// DIR/results.json hold every number and every setting, and a table is printed.
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
            "begins a comment; NAME.wl.npy beside NAME.npy holds band centres in nm. Without a manifest a part of the ",
            "built-in scene is taken.\n\nExample:\n  ",
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
}

/// What every experiment takes.
#[derive(Debug, Args)]
struct Common {
    /// Manifest of the scenes [default: a part of the built-in scene]
    #[arg(long, value_name = "MANIFEST")]
    scenes: Option<PathBuf>,
    /// Folder for the results and the finished runs
    #[arg(long, value_name = "DIR", required_unless_present = "dump_config")]
    out: Option<PathBuf>,
    /// Number of seeds, from --seed on [default: 1; robustness: 10, for its factor "seed"]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: Option<u64>,
    /// Run only what has this text in its factor, value or name
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Run finished cells anew
    #[arg(long)]
    fresh: bool,
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
        };
        let config = common.config.load("single-scene", None)?;
        if common.config.dump_config {
            return output.result(&config, &config.to_toml()?);
        }
        let out = common
            .out
            .as_deref()
            .ok_or_else(|| Error::input("--out DIR is missing"))?;
        let references = match &common.scenes {
            Some(path) => manifest::read(path)?,
            None => vec![manifest::built_in()?],
        };
        let (seed, model) = (config.seed, config.degradation.psf_model);
        let seeds = common.seeds.unwrap_or(if name == "scenes" { 1 } else { 10 });
        let mut plan = match name {
            "scenes" => scenes::plan(&references, model, seed, seeds)?,
            _ => robustness::plan(&references, model, seed, seeds)?,
        };
        if let Some(filter) = &common.only {
            plan.only(filter)?;
        }
        let folder = cells_folder(out)?;
        let (csv, json) = (out.join("results.csv"), out.join("results.json"));
        io::check_writable(&csv)?;
        let engine = common.engine.open()?;
        let runner = Runner {
            engine: engine.as_ref(),
            config: &config,
            references: &references,
            folder,
            fresh: common.fresh,
        };
        let finished = runner.run(&plan, &mut Cells::new(output))?;
        if finished.other_builds > 0 {
            output.say(&format!(
                "note: {} cells were computed by another build of this version; --fresh runs them anew",
                finished.other_builds
            ));
        }
        let heading = Heading {
            experiment: name,
            engine: engine.name(),
            config: &config,
            seeds,
        };
        let results = Results::new(&heading, &references, &plan, &finished);
        let text = serde_json::to_vec_pretty(&results)
            .map_err(|e| Error::failed(format!("results as JSON: {e}")))?;
        io::replace(&csv, |out| out.write_all(results.csv().as_bytes()))?;
        io::replace(&json, |out| out.write_all(&text))?;
        output.result(&results, &results.text())
    }
}
