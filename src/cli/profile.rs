//! `profile`: where the time of training, fine-tuning, reconstruction and refinement goes, kernel by kernel, against the limits of
//! the device as two small probes find them on the spot.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use ndarray::{Array3, ArrayView3};
use serde::Serialize;

use self::prepared::Prepared;
use super::Output;
use super::engine_options::EngineOptions;
use crate::coordination::config::Config;
use crate::engine::profile::{Bound, Clock, Instruments, Limits, Span};
use crate::engine::workload::{self, Workload};
use crate::engine::{Engine, Noise, Output as Wanted, Precision};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::io::OutputSet;
use crate::network::Architecture;

mod prepared;
mod refinement;
mod trace;

/// Fine-tune steps for each training step: they are that much shorter.
const FINE_TUNE_FACTOR: u32 = 10;
/// Most samples of an image and its reconstruction.
const MOST_SAMPLES: usize = 1 << 29;

/// Show time, work and limits of every kernel
///
/// Runs steps and a reconstruction on made-up data, of the size of the paper's CAVE protocol where nothing else is said.
/// Operations count what the method asks for, not what padding adds; a multiply-add is two. A kernel is bound by
/// arithmetic, memory or launches, whichever needs most time at the limits that are measured first.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hsr-gpu profile --backend cpu --threads 2\n  hsr-gpu profile --adapter 0 --stage train --trace steps.json    # open the file in ui.perfetto.dev"
)]
pub struct Profile {
    /// Network and batch of this preset: single-scene, cave, harvard, chikusei, wv2, cave-released
    #[arg(long, value_name = "NAME", default_value = "cave")]
    preset: String,
    /// Profile this stage alone; may be given several times
    #[arg(long, value_enum, value_name = "STAGE")]
    stage: Vec<Stage>,
    /// HSI bands [default: 128 for chikusei, 8 for wv2, else 31]
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u16).range(1..=4096))]
    bands: Option<u16>,
    /// MSI bands
    #[arg(long, value_name = "b", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    msi_bands: u16,
    /// Ratio of the two pixel grids
    #[arg(long, value_name = "s", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
    scale: u16,
    /// LR pixels of a training step [default: the preset's batch]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    lr_pixels: Option<u32>,
    /// LR pixels of a fine-tune step
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    finetune_pixels: u32,
    /// Side of the reconstructed image, and of the refined one (whole LR pixels of it)
    #[arg(long, value_name = "PIXELS", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..=8192))]
    side: u16,
    /// Training steps; ten fine-tune steps are taken for each
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    steps: u32,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Also write every call as a trace for ui.perfetto.dev or chrome://tracing
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineOptions,
}

/// A part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    /// Steps of the coordination loop
    Train,
    /// Steps of partial fine-tuning
    Finetune,
    /// The mean of a whole image
    Reconstruct,
    /// Every pass of refinement over a whole image
    Refine,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Train => "train",
            Stage::Finetune => "finetune",
            Stage::Reconstruct => "reconstruct",
            Stage::Refine => "refine",
        }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    adapter: String,
    preset: String,
    bands: usize,
    msi_bands: usize,
    scale: usize,
    threads: usize,
    precision: &'static str,
    clock: Clock,
    /// Why the device's timestamps were not used, where they were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamps: Option<String>,
    limits: Limits,
    stages: Vec<StageReport>,
}

#[derive(Debug, Serialize)]
struct StageReport {
    stage: Stage,
    /// Steps, or images.
    runs: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    lr_pixels: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hr_pixels: Option<usize>,
    /// Wall time of a run without the profile.
    seconds: f64,
    /// Time of a run inside kernels, with the profile.
    kernel_seconds: f64,
    /// Bytes of a run to the device, and from it; none where the device's memory is the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    moved_bytes: Option<[f64; 2]>,
    kernels: Vec<Row>,
}

/// One kernel of a stage.
#[derive(Debug, Serialize)]
struct Row {
    kernel: String,
    calls: u64,
    seconds: f64,
    operations: u64,
    bytes: u64,
    gflops: f64,
    gigabytes_per_second: f64,
    /// Share of the device's multiply-add rate.
    arithmetic_share: f64,
    /// Share of the device's copy bandwidth.
    memory_share: f64,
    bound: Bound,
}

impl Profile {
    /// What it reads and writes.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for a name that no result can have.
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        if let Some(trace) = &self.trace {
            set.writes("--trace", trace);
        }
        Ok(())
    }

    /// Runs the command.
    ///
    /// # Errors
    /// [`Error`] with the line to show.
    pub fn run(self, output: &Output) -> Result<()> {
        let (architecture, train, finetune) = self.workloads()?;
        let wanted = |stage| self.stage.is_empty() || self.stage.contains(&stage);
        train.check()?;
        finetune.check()?;
        let samples = usize::from(self.side).pow(2) * (architecture.bands + architecture.msi_bands);
        if samples > MOST_SAMPLES {
            return Err(Error::input(format!(
                "--side {}: an image of {} bands would have {samples} samples, more than {MOST_SAMPLES}",
                self.side, architecture.bands
            )));
        }
        if wanted(Stage::Refine) {
            refinement::check(self.side.into(), train.scale)?;
        }
        let engine = self.engine.open_alone()?;
        let engine = engine.as_ref();
        let instruments = engine
            .instruments()
            .ok_or_else(|| Error::failed(format!("{}: cannot be profiled", engine.name())))?;
        output.say("profile: measuring the limits of the device");
        let limits = instruments.limits()?;

        let (mut clock, mut timestamps) = (instruments.clock(), None);
        if clock == Clock::HostClock && !engine.name().starts_with("CPU") {
            timestamps = Some("unusable: the adapter writes none inside passes".to_owned());
        }
        let (mut stages, mut traced) = (Vec::new(), Vec::new());
        for stage in [Stage::Train, Stage::Finetune, Stage::Reconstruct, Stage::Refine] {
            if !wanted(stage) {
                continue;
            }
            interrupt::check()?;
            output.say(&format!("profile: {}", stage.name()));
            let mut prepared = match stage {
                Stage::Train => steps(engine, &train, self.steps)?,
                Stage::Finetune => steps(engine, &finetune, FINE_TUNE_FACTOR * self.steps)?,
                Stage::Reconstruct => self.image(engine, &architecture, train.scale)?,
                Stage::Refine => {
                    let (bands, msi) = (architecture.bands, architecture.msi_bands);
                    refinement::passes(engine, self.side.into(), train.scale, bands, msi)?
                }
            };
            // The first run compiles kernels and fills caches; the second says what a run takes by itself.
            (prepared.run)()?;
            instruments.take_moved();
            let begin = Instant::now();
            (prepared.run)()?;
            let seconds = begin.elapsed().as_secs_f64() / f64::from(prepared.runs);
            let moved = instruments.take_moved();
            let moved = moved.map(|both| both.map(|bytes| bytes as f64 / f64::from(prepared.runs)));
            let mut spans = recorded(instruments, clock, &mut prepared)?;
            if let Err(why) = &spans {
                output.say(&format!("profile: {why}; timing by the host's clock"));
                timestamps = Some(format!("unusable: {why}"));
                clock = Clock::HostClock;
                spans = recorded(instruments, clock, &mut prepared)?;
            }
            let spans = spans.map_err(Error::failed)?;
            let mut report = stage_report(stage, &prepared, seconds, &spans, &limits);
            report.moved_bytes = moved;
            stages.push(report);
            traced.push((stage.name(), spans));
        }
        if let Some(path) = &self.trace {
            trace::write(path, &engine.name(), &traced)?;
        }
        let report = Report {
            adapter: engine.name(),
            preset: self.preset.clone(),
            bands: architecture.bands,
            msi_bands: architecture.msi_bands,
            scale: train.scale,
            threads: rayon::current_num_threads(),
            precision: Precision::from(self.engine.precision).name(),
            clock,
            timestamps,
            limits,
            stages,
        };
        output.result(&report, &table(&report))
    }

    /// The network, and the runs of both training stages.
    fn workloads(&self) -> Result<(Architecture, Workload, Workload)> {
        let config = Config::load(&self.preset, None)?;
        let bands = self.bands.map_or_else(
            || match self.preset.as_str() {
                "chikusei" => 128,
                "wv2" => 8,
                _ => 31,
            },
            usize::from,
        );
        let training = &config.training;
        let lr_pixels = self
            .lr_pixels
            .map_or(training.patch * training.patch * training.batch, |n| n as usize);
        let architecture = config.architecture(bands, self.msi_bands.into(), lr_pixels)?;
        let hr_windows = match config.degradation.windows {
            0 => lr_pixels,
            n => n.min(lr_pixels),
        };
        let train = Workload {
            architecture: architecture.clone(),
            scale: self.scale.into(),
            windows: lr_pixels,
            lr_pixels,
            hr_windows,
            every: config.degradation.every,
            noise: if training.sampling {
                Noise::Philox(self.seed)
            } else {
                Noise::Off
            },
            frozen_encoder: false,
        };
        let finetune = Workload {
            windows: self.finetune_pixels as usize,
            lr_pixels: self.finetune_pixels as usize,
            hr_windows: 0,
            frozen_encoder: true,
            ..train.clone()
        };
        Ok((architecture, train, finetune))
    }

    fn image<'a>(
        &self,
        engine: &'a dyn Engine<f32>,
        architecture: &'a Architecture,
        scale: usize,
    ) -> Result<Prepared<'a>> {
        let side = usize::from(self.side);
        let image = workload::samples(side * side * architecture.msi_bands, 3);
        let state = workload::start(architecture, scale);
        let mut out = Array3::zeros((side, side, architecture.bands));
        let shape = (side, side, architecture.msi_bands);
        Ok(Prepared {
            runs: 1,
            lr_pixels: None,
            hr_pixels: Some(side * side),
            run: Box::new(move || {
                let image = ArrayView3::from_shape(shape, &image)
                    .map_err(|e| Error::failed(format!("profile: image: {e}")))?;
                engine.reconstruct(architecture, &state, image, 0, Wanted::Mean, out.view_mut())
            }),
        })
    }
}

/// `count` steps of a run, waited for at the end.
fn steps<'a>(engine: &'a dyn Engine<f32>, workload: &Workload, count: u32) -> Result<Prepared<'a>> {
    let mut trainer = workload.trainer(engine)?;
    let (workload, batch) = (workload.clone(), workload.batch());
    let block = workload.scale * workload.scale;
    let mut step = 0;
    Ok(Prepared {
        runs: count,
        lr_pixels: Some(workload.lr_pixels),
        hr_pixels: (workload.hr_windows > 0).then_some(workload.hr_windows * block),
        run: Box::new(move || {
            for _ in 0..count {
                interrupt::check()?;
                step += 1;
                trainer.step(&workload.plan(step, &batch))?;
            }
            trainer.losses().map(|_| ())
        }),
    })
}

/// Spans of one run, or why the clock cannot be used.
fn recorded(
    instruments: &dyn Instruments,
    clock: Clock,
    prepared: &mut Prepared,
) -> Result<std::result::Result<Vec<Span>, String>> {
    instruments.start_profile(clock)?;
    let done = (prepared.run)();
    let profile = instruments.take_profile();
    done?;
    Ok(profile.unusable.map_or(Ok(profile.spans), Err))
}

fn stage_report(
    stage: Stage,
    prepared: &Prepared,
    seconds: f64,
    spans: &[Span],
    limits: &Limits,
) -> StageReport {
    let mut kernels: BTreeMap<&str, (u64, f64, crate::engine::work::Work)> = BTreeMap::new();
    for span in spans {
        let (calls, seconds, work) = kernels.entry(&span.kernel).or_default();
        *calls += span.calls;
        *seconds += span.seconds;
        *work = *work + span.work;
    }
    let mut rows: Vec<Row> = kernels
        .into_iter()
        .map(|(kernel, (calls, seconds, work))| {
            // A span of no length is one that the clock does not resolve.
            let rate = |amount: u64| {
                if seconds > 0.0 {
                    amount as f64 / seconds
                } else {
                    0.0
                }
            };
            Row {
                kernel: kernel.to_owned(),
                calls,
                seconds,
                operations: work.operations,
                bytes: work.bytes,
                gflops: rate(work.operations) * 1e-9,
                gigabytes_per_second: rate(work.bytes) * 1e-9,
                arithmetic_share: rate(work.operations) / limits.operations_per_second,
                memory_share: rate(work.bytes) / limits.bytes_per_second,
                bound: limits.bound(work, calls),
            }
        })
        .collect();
    rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    StageReport {
        stage,
        runs: prepared.runs,
        lr_pixels: prepared.lr_pixels,
        hr_pixels: prepared.hr_pixels,
        seconds,
        kernel_seconds: spans.iter().map(|s| s.seconds).sum::<f64>() / f64::from(prepared.runs),
        moved_bytes: None,
        kernels: rows,
    }
}

fn table(report: &Report) -> String {
    let limits = &report.limits;
    let mut text = format!(
        "{}, {}, preset {}, {} bands from {}, x{}\n\
         limits measured here: {:.1} GFLOP/s of multiply-adds, {:.1} GB/s of copying, {:.1} us a launch\n",
        report.adapter,
        report.precision,
        report.preset,
        report.bands,
        report.msi_bands,
        report.scale,
        limits.operations_per_second * 1e-9,
        limits.bytes_per_second * 1e-9,
        limits.launch_seconds * 1e6,
    );
    if let Some(why) = &report.timestamps {
        text += &format!("timestamps {why}; the host's clock is used, with the launch in every time\n");
    }
    for stage in &report.stages {
        let count = |n: Option<usize>, of: &str| n.map_or(String::new(), |n| format!(", {n} {of} pixels"));
        text += &format!(
            "\n{} x {}{}{}: {:.3} ms each, {:.3} ms in kernels{}\n",
            stage.runs,
            stage.stage.name(),
            count(stage.lr_pixels, "LR"),
            count(stage.hr_pixels, "HR"),
            1e3 * stage.seconds,
            1e3 * stage.kernel_seconds,
            stage.moved_bytes.map_or(String::new(), |[up, down]| format!(
                ", {:.1} KB to the device and {:.1} KB from it",
                1e-3 * up,
                1e-3 * down
            )),
        );
        text += &format!(
            "{:<28} {:>6} {:>11} {:>6} {:>11} {:>11} {:>9} {:>6} {:>8} {:>6}  bound by\n",
            "kernel", "calls", "us a call", "time", "MFLOP", "KB", "GFLOP/s", "limit", "GB/s", "limit"
        );
        let all: f64 = stage.kernels.iter().map(|k| k.seconds).sum();
        for k in &stage.kernels {
            let calls = k.calls as f64;
            let bound = match k.bound {
                Bound::Arithmetic => "arithmetic",
                Bound::Memory => "memory",
                Bound::Launches => "launches",
            };
            text += &format!(
                "{:<28} {:>6} {:>11.1} {:>5.1}% {:>11.3} {:>11.1} {:>9.2} {:>5.1}% {:>8.2} {:>5.1}%  {bound}\n",
                k.kernel,
                k.calls,
                1e6 * k.seconds / calls,
                100.0 * k.seconds / all,
                1e-6 * k.operations as f64 / calls,
                1e-3 * k.bytes as f64 / calls,
                k.gflops,
                100.0 * k.arithmetic_share,
                k.gigabytes_per_second,
                100.0 * k.memory_share,
            );
        }
    }
    text
}
