//! What every experiment shares: where it takes its scenes from, how its plan is worked off, and what it delivers.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::baseline::Method;
use crate::cli::Output;
use crate::cli::engine_options::EngineOptions;
use crate::cli::page::{PAGE, page_path};
use crate::cli::pending_engine::PendingEngine;
use crate::cli::progress::Cells;
use crate::cli::summary::make_folder;
use crate::coordination::config::Config;
use crate::coordination::manifest;
use crate::error::{Error, Result};
use crate::experiment::manifest::Reference;
use crate::experiment::plan::Plan;
use crate::experiment::published;
use crate::experiment::runner::{Runner, cells_folder};
use crate::experiment::table::{Heading, Results};
use crate::io::{self, Lock, OutputSet};
use crate::report::html::ExperimentPage;
use crate::report::plot::Figure;

/// The numbers of an experiment, in its folder.
const NUMBERS: &str = "results.json";
/// The experiment whose numbers do not name it.
pub(super) const NETWORK: &str = "network";

/// Where an experiment takes its scenes from and puts its results.
#[derive(Debug, Args)]
pub(super) struct ExperimentFiles {
    /// Manifest of the scenes [default: the built-in scene]
    #[arg(long, value_name = "MANIFEST")]
    pub(super) scenes: Option<PathBuf>,
    /// Folder for the results and the finished runs
    #[arg(short, long, value_name = "DIR", required_unless_present = "dump_config")]
    pub(super) out: Option<PathBuf>,
    /// Run only what has this text in its factor, value or name
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Run finished cells anew
    #[arg(long)]
    fresh: bool,
    /// Write one HTML page with figures, tables, settings and times into this folder
    #[arg(long, value_name = "DIR")]
    pub(super) report: Option<PathBuf>,
}

impl ExperimentFiles {
    /// What the experiment of this name reads and writes.
    ///
    /// # Errors
    /// [`Error::Input`] where the folder holds the results of another experiment.
    pub(super) fn files(&self, name: &str, set: &mut OutputSet) -> Result<()> {
        if let Some(path) = &self.scenes {
            set.reads("--scenes", &path.to_string_lossy());
            manifest::files(path)
                .iter()
                .for_each(|file| set.reads("the manifest", file));
        }
        match &self.out {
            Some(out) => delivered(name, out, self.report.as_deref(), set),
            None => Ok(()),
        }
    }
}

/// What runs beside the fusion.
#[derive(Debug, Args)]
pub(super) struct MethodOptions {
    /// Methods without a network that are measured beside the fusion, by commas; `hsr-gpu fuse --help` says what they are
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',')]
    pub(super) methods: Vec<Method>,
}

impl MethodOptions {
    /// Their names, behind what else is run.
    pub(super) fn said(&self) -> String {
        self.methods
            .iter()
            .map(|method| format!(", {}", method.name()))
            .collect()
    }
}

/// What the experiment of this name leaves in `out` and `report`.
///
/// # Errors
/// [`Error::Input`] where `out` holds the results of another experiment.
pub(super) fn delivered(name: &str, out: &Path, report: Option<&Path>, set: &mut OutputSet) -> Result<()> {
    set.writes_into("--out", out, &["results.csv", NUMBERS, "epochs.csv"]);
    if let Some(folder) = report {
        set.writes_into("--report", folder, &[PAGE]);
    }
    let numbers = out.join(NUMBERS);
    let Ok(text) = std::fs::read(&numbers) else {
        return Ok(());
    };
    let found = serde_json::from_slice::<Value>(&text).ok();
    let found = found
        .as_ref()
        .map(|value| value["experiment"].as_str().unwrap_or(NETWORK));
    match found {
        Some(found) if found == name => Ok(()),
        _ => Err(Error::input(format!(
            "{}: holds {}; give experiment {name} a folder of its own",
            numbers.display(),
            found.map_or("no results of an experiment".to_owned(), |found| format!(
                "the results of experiment {found}"
            ))
        ))),
    }
}

/// An experiment that is planned.
pub(super) struct PlannedExperiment<'a> {
    /// Its name.
    pub(super) name: &'static str,
    /// Scenes and results.
    pub(super) place: &'a ExperimentFiles,
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

impl PlannedExperiment<'_> {
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
        let delivery = Delivery::open(out, self.place.report.as_deref())?;
        let folder = cells_folder(out)?;
        let device = PendingEngine::begin(self.engine, output)?;
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
        output.result(&Told { results: &results }, &results.text())
    }
}

/// What `experiment --json` tells: what it wrote as results.json.
#[derive(Serialize)]
pub(super) struct Told<'a, T> {
    pub(super) results: &'a T,
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
    _lock: Lock,
}

impl<'a> Delivery<'a> {
    /// Makes the folders and keeps other experiments out of the first.
    ///
    /// # Errors
    /// [`Error::Input`] where they cannot be made, or another experiment is at work there.
    pub(super) fn open(out: &'a Path, report: Option<&Path>) -> Result<Self> {
        make_folder(out)?;
        let _lock = Lock::take(&out.join(NUMBERS), "another experiment is at work in this folder")?;
        let page = report.map(page_path).transpose()?;
        Ok(Delivery { out, page, _lock })
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
        self.write(NUMBERS, &text)
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
