//! `experiment convergence` to `experiment network`: the figures and tables of the paper's supplement.

use std::ops::Range;
use std::path::PathBuf;

use clap::Args;

use super::run::{Delivery, ExperimentFiles, MethodOptions, NETWORK, PlannedExperiment, Told, delivered};
use crate::cli::Output;
use crate::cli::engine_options::EngineOptions;
use crate::cli::options::{Printed, load_config};
use crate::coordination::config::Config;
use crate::error::Result;
use crate::experiment::conditions::Observation;
use crate::experiment::manifest::Reference;
use crate::experiment::paper::EPOCH;
use crate::experiment::plan::Plan;
use crate::experiment::table::Results;
use crate::experiment::{convergence, coordination, finetune, hyperparameters, manifest, network, table2};
use crate::io::OutputSet;
use crate::report::html::ExperimentPage;
use crate::report::plot::Figure;
use crate::report::table::Table;
use crate::sensor::catalogue::PsfSpec;

/// What every experiment with the paper's network takes.
#[derive(Debug, Args)]
pub struct Protocol {
    #[command(flatten)]
    place: ExperimentFiles,
    /// Number of seeds, from --seed on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// First seed: weights, noise and batches [default: the preset's]
    #[arg(long)]
    seed: Option<u64>,
    /// Epochs of the coordination loop, of 73 steps each as published [default: the preset's 100; hyperparameters: 40]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    epochs: Option<u32>,
    /// Ratio of the grids [default: 32 where it leaves 8 x 8 LR pixels of the scene, else 8, else 4]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u16).range(2..=256))]
    scale: Option<u16>,
    /// Preset of the network and the schedule: cave, harvard, chikusei, wv2, cave-released
    #[arg(long, value_name = "NAME", default_value = "cave")]
    preset: String,
    /// TOML file whose keys win over the preset's
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the configuration that the runs start from as TOML and stop
    #[arg(long)]
    dump_config: bool,
    #[command(flatten)]
    engine: EngineOptions,
}

/// The PSF that scenes are degraded with.
#[derive(Debug, Args)]
pub struct TruePsf {
    /// True PSF: paper:0 to paper:5, gaussian:VAR1,VAR2,ANGLE, disk:RADIUS or line:LENGTH,ANGLE [default: paper:5 at
    /// x32, else a Gaussian that fits into a block]
    #[arg(long)]
    psf: Option<PsfSpec>,
}

/// Partial fine-tuning.
#[derive(Debug, Args)]
pub struct Tuning {
    /// Steps of partial fine-tuning [default: the preset's 475]
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    finetune_steps: Option<u32>,
}

/// `convergence`, `coordination`, `hyperparameters`.
#[derive(Debug, Args)]
pub struct Plain {
    #[command(flatten)]
    protocol: Protocol,
    #[command(flatten)]
    psf: TruePsf,
}

/// `finetune`.
#[derive(Debug, Args)]
pub struct Tuned {
    #[command(flatten)]
    protocol: Protocol,
    #[command(flatten)]
    psf: TruePsf,
    #[command(flatten)]
    tuning: Tuning,
}

/// `table2`.
#[derive(Debug, Args)]
pub struct Table2 {
    #[command(flatten)]
    protocol: Protocol,
    #[command(flatten)]
    tuning: Tuning,
    #[command(flatten)]
    methods: MethodOptions,
    /// Train on the other scenes of the manifest too, as published, in turn: one more row
    #[arg(long)]
    leave_one_out: bool,
}

/// `network`.
#[derive(Debug, Args)]
pub struct Network {
    /// Folder for the table as CSV and JSON
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Write one HTML page with the tables into this folder
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

type MakePlan<'a> = &'a dyn Fn(&[Reference], &Config, &Observation, Range<u64>) -> Result<Plan>;
type MakeFigures = fn(&Results) -> Vec<Figure>;

impl Plain {
    /// What the experiment of this name reads and writes.
    ///
    /// # Errors
    /// As [`ExperimentFiles::files`].
    pub fn files(&self, name: &str, set: &mut OutputSet) -> Result<()> {
        self.protocol.files(name, set)
    }

    /// Objective, metrics and PSF over epochs.
    ///
    /// # Errors
    /// [`Error`] with the line to show.
    pub fn convergence(self, output: &Output) -> Result<()> {
        self.run(
            "convergence",
            None,
            &convergence::plan,
            convergence::figures,
            output,
        )
    }

    /// With and without coordination.
    ///
    /// # Errors
    /// [`Error`] with the line to show.
    pub fn coordination(self, output: &Output) -> Result<()> {
        self.run(
            "coordination",
            None,
            &coordination::plan,
            coordination::figures,
            output,
        )
    }

    /// The weights of the losses.
    ///
    /// # Errors
    /// [`Error`] with the line to show.
    pub fn hyperparameters(self, output: &Output) -> Result<()> {
        let epochs = Some(hyperparameters::EPOCHS);
        self.run(
            "hyperparameters",
            epochs,
            &hyperparameters::plan,
            hyperparameters::figures,
            output,
        )
    }

    fn run(
        self,
        name: &'static str,
        epochs: Option<u32>,
        plan: MakePlan,
        figures: MakeFigures,
        output: &Output,
    ) -> Result<()> {
        let config = self.protocol.configuration(epochs, None)?;
        self.protocol
            .run(name, config, self.psf.psf, plan, figures, output)
    }
}

impl Tuned {
    /// What it reads and writes.
    ///
    /// # Errors
    /// As [`ExperimentFiles::files`].
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        self.protocol.files("finetune", set)
    }

    /// Partial fine-tuning from four sides.
    ///
    /// # Errors
    /// [`Error`] with the line to show.
    pub fn finetune(self, output: &Output) -> Result<()> {
        let config = self.protocol.configuration(None, Some(&self.tuning))?;
        self.protocol.run(
            "finetune",
            config,
            self.psf.psf,
            &finetune::plan,
            finetune::figures,
            output,
        )
    }
}

impl Table2 {
    /// What it reads and writes.
    ///
    /// # Errors
    /// As [`ExperimentFiles::files`].
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        self.protocol.files("table2", set)
    }

    /// The table of section E.
    ///
    /// # Errors
    /// [`Error`] with the line to show.
    pub fn run(self, output: &Output) -> Result<()> {
        let config = self.protocol.configuration(None, Some(&self.tuning))?;
        let training = if self.leave_one_out {
            table2::Training::LeaveOneOut
        } else {
            table2::Training::OneScene
        };
        let methods = self.methods.methods;
        let plan: MakePlan = &|references, config, o, seeds| {
            table2::plan(references, config, o.scale, training, seeds, &methods)
        };
        self.protocol
            .run("table2", config, None, plan, |_| Vec::new(), output)
    }
}

impl Protocol {
    fn files(&self, name: &str, set: &mut OutputSet) -> Result<()> {
        if self.dump_config {
            return Ok(());
        }
        if let Some(path) = &self.config {
            set.reads("--config", &path.to_string_lossy());
        }
        self.place.files(name, set)
    }

    /// The configuration; without `tuning` there is no fine-tuning.
    fn configuration(&self, epochs: Option<u32>, tuning: Option<&Tuning>) -> Result<Config> {
        let mut config = load_config(&self.preset, self.config.as_deref())?;
        config.seed = self.seed.unwrap_or(config.seed);
        if let Some(epochs) = self.epochs.or(epochs) {
            config.training.steps = epochs * EPOCH;
        }
        config.finetune.steps = match tuning {
            None => 0,
            Some(tuning) => tuning.finetune_steps.unwrap_or(config.finetune.steps),
        };
        Ok(config)
    }

    fn run(
        self,
        name: &'static str,
        paper: Config,
        psf: Option<PsfSpec>,
        plan: MakePlan,
        figures: MakeFigures,
        output: &Output,
    ) -> Result<()> {
        if self.dump_config {
            return output.result(&Printed { config: &paper }, &paper.to_toml()?);
        }
        let references = match &self.place.scenes {
            Some(path) => manifest::read(path)?,
            None => vec![manifest::built_in_binned()?],
        };
        let observation = Observation {
            scale: self.scale.map(usize::from),
            psf,
        };
        let seeds = paper.seed..paper.seed + self.seeds;
        let plan = plan(&references, &paper, &observation, seeds)?;
        let fusion = Config::load("single-scene", None)?;
        let t = &paper.training;
        let tuned = match paper.finetune.steps {
            0 => "no fine-tuning".to_owned(),
            steps => format!("{steps} steps of partial fine-tuning"),
        };
        let ran = format!(
            "the paper's network and schedule (preset {}): {} steps of {} patches of {p} x {p} LR pixels ({:.1} epochs of \
             {EPOCH} steps), {tuned}, {} member(s), no refinement",
            self.preset,
            t.steps,
            t.batch,
            f64::from(t.steps) / f64::from(EPOCH),
            paper.network.members,
            p = t.patch
        );
        PlannedExperiment {
            name,
            place: &self.place,
            engine: &self.engine,
            fusion: &fusion,
            paper: &paper,
            references: &references,
            plan,
            seeds: self.seeds,
            ran,
            figures,
        }
        .run(output)
    }
}

impl Network {
    /// What it writes.
    ///
    /// # Errors
    /// As [`ExperimentFiles::files`].
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        delivered(NETWORK, &self.out, self.report.as_deref(), set)
    }

    /// Counts the networks.
    ///
    /// # Errors
    /// [`Error`] with the line to show.
    pub fn run(self, output: &Output) -> Result<()> {
        let counts = network::count()?;
        let tables = network::tables(&counts);
        let delivery = Delivery::open(&self.out, self.report.as_deref())?;
        delivery.write("results.csv", network::csv(&counts).as_bytes())?;
        delivery.json(&counts)?;
        let ran = "counted from the layout that the engines compute on; nothing was trained";
        let text: Vec<String> = tables.iter().map(Table::text).collect();
        delivery.page(&ExperimentPage {
            title: "Experiment network".to_owned(),
            facts: vec![("Ran".to_owned(), ran.to_owned())],
            figures: Vec::new(),
            tables,
            remarks: Vec::new(),
            times: Vec::new(),
            settings: None,
        })?;
        output.result(
            &Told { results: &counts },
            &format!("{}\nran: {ran}", text.join("\n")),
        )
    }
}
