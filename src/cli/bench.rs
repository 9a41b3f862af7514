//! `bench`: how long the parts of the work take here, on data made up on the spot.
//!
//! The rows have the sizes of the paper's protocol and of the default fusion; `bench/torch_peer.py` prints the same
//! rows for PyTorch, and `bench/compare.sh` lays them side by side.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use ndarray::{Array3, ArrayView3};
use serde::Serialize;

use super::Output;
use super::options::{Backend, EngineOptions};
use crate::coordination::config::Config;
use crate::engine::{
    Engine, Geometry, Noise, Output as Wanted, Problem, StepPlan, TrainingSet, TrainingState,
    degradation_parameters,
};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::network::{Activation, Architecture, Initialisation, initial_parameters};
use crate::random::{Purpose, key, philox, uniform};
use crate::sensor::psf;

/// Time that a row is measured for, at least, and its fewest and most runs.
const LEAST_TIME: Duration = Duration::from_millis(1000);
const RUNS: std::ops::RangeInclusive<usize> = 5..=200;
/// Most bytes of made-up HR pixels or of results that a row may hold.
const MOST_BYTES: usize = 2 << 30;

/// Measure training, fine-tuning and reconstruction on this machine
///
/// Times are medians over runs; small steps are queued as the training loop queues them.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hsr-gpu bench --only member_step --backend cpu --threads 2 --json")]
pub struct Bench {
    /// Measure this row alone; may be given several times
    #[arg(long, value_enum, value_name = "NAME")]
    only: Vec<Row>,
    /// Threads of the CPU engine [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Also measure over image sizes (256 to 4096), bands (8 to 200) and ratios (4 to 32)
    #[arg(long)]
    sweep: bool,
    #[command(flatten)]
    engine: EngineOptions,
}

/// A kind of row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
enum Row {
    /// A step of the coordination loop: 32 patches of 4 x 4 LR pixels, both updates
    TrainStep,
    /// A step of partial fine-tuning on 256 LR pixels
    FinetuneStep,
    /// The mean of a whole image
    Reconstruct,
    /// A step of eight networks of six layers of 24 on LR pixels alone
    MemberStep,
    /// Opening the device and the first training step
    ColdStart,
}

/// One measurement.
#[derive(Debug, Clone, Serialize)]
struct Measured {
    name: Row,
    preset: &'static str,
    bands: usize,
    msi_bands: usize,
    scale: usize,
    members: usize,
    /// LR pixels of a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    lr_pixels: Option<usize>,
    /// HR pixels of a step or an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    hr_pixels: Option<usize>,
    /// Median over runs.
    seconds: f64,
    /// Shortest run.
    least_seconds: f64,
    runs: usize,
    backend: &'static str,
    adapter: String,
    threads: usize,
    precision: &'static str,
    /// Largest resident memory of the process so far, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_bytes: Option<u64>,
}

/// Sizes of a row.
#[derive(Debug, Clone)]
struct Sizes {
    name: Row,
    preset: &'static str,
    bands: usize,
    scale: usize,
    /// LR pixels of a step; side of the image of a reconstruction.
    size: usize,
}

impl Sizes {
    fn main() -> Vec<Sizes> {
        let row = |name, preset, scale, size| Sizes {
            name,
            preset,
            bands: 31,
            scale,
            size,
        };
        let mut rows = vec![
            row(Row::ColdStart, "cave", 32, 16),
            row(Row::TrainStep, "cave", 32, 512),
            row(Row::FinetuneStep, "cave", 32, 256),
            row(Row::Reconstruct, "cave", 32, 512),
        ];
        rows.extend([64, 256, 1024].map(|n| row(Row::MemberStep, "members", 32, n)));
        rows
    }

    fn sweep() -> Vec<Sizes> {
        let row = |name, bands, scale, size| Sizes {
            name,
            preset: "cave",
            bands,
            scale,
            size,
        };
        let mut rows = Vec::new();
        rows.extend([256, 1024, 2048, 4096].map(|side| row(Row::Reconstruct, 31, 32, side)));
        rows.extend([8, 128, 200].map(|bands| row(Row::Reconstruct, bands, 32, 512)));
        rows.extend([8, 128, 200].map(|bands| row(Row::TrainStep, bands, 32, 512)));
        rows.extend([4, 8, 16].map(|scale| row(Row::TrainStep, 31, scale, 512)));
        rows
    }

    /// The network: the preset's, or the eight members of `member_step`.
    fn architecture(&self) -> Result<Architecture> {
        if self.name == Row::MemberStep {
            return Ok(Architecture {
                bands: self.bands,
                msi_bands: 3,
                encoder: vec![24; 6],
                concatenate: true,
                mean: vec![],
                std: vec![],
                slope: 0.3,
                encoder_last: Activation::Leaky,
                decoder_last: Activation::Linear,
                members: 8,
                linear_path: false,
            });
        }
        Config::load(self.preset, None)?.architecture(self.bands, 3)
    }
}

/// Made-up samples in (0, 1).
fn made_up(n: usize, stream: u32) -> Vec<f32> {
    let word = |k: usize| philox(key(1), [k as u32, stream, Purpose::SensorNoise as u32, 0]);
    (0..n.div_ceil(4))
        .flat_map(|k| word(k).map(uniform::<f32>))
        .take(n)
        .collect()
}

/// A state with the weights of the presets' start, a Gaussian PSF of a quarter of the block and a spread SRF.
fn start(architecture: &Architecture, scale: usize) -> TrainingState<f32> {
    let (bands, b) = (architecture.bands as f32, architecture.msi_bands);
    let mut theta = vec![0.0; degradation_parameters(b)];
    theta[0] = 4.0 / scale as f32;
    theta[2] = 4.0 / scale as f32;
    let (means, widths) = theta[psf::PARAMETERS..].split_at_mut(4 * b);
    for (k, mean) in means.iter_mut().enumerate() {
        *mean = (k as f32 + 0.5) * bands / (4 * b) as f32;
    }
    widths.fill(1.0 + bands / 12.0);
    let network = initial_parameters(architecture, Initialisation::FanIn, 0);
    TrainingState::start(architecture, network, theta)
}

/// Seconds of one call of `work`, again and again.
fn measure(mut work: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    work()?;
    let (begin, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < *RUNS.start() || (begin.elapsed() < LEAST_TIME && seconds.len() < *RUNS.end()) {
        interrupt::check()?;
        let run = Instant::now();
        work()?;
        seconds.push(run.elapsed().as_secs_f64());
    }
    Ok(seconds)
}

impl Bench {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error`] with the line to show.
    pub fn run(self, output: &Output) -> Result<()> {
        match self.threads {
            None => self.measure_all(output),
            Some(n) => rayon::ThreadPoolBuilder::new()
                .num_threads(n.into())
                .build()
                .map_err(|e| Error::failed(format!("--threads {n}: {e}")))?
                .install(|| self.measure_all(output)),
        }
    }

    fn measure_all(&self, output: &Output) -> Result<()> {
        let mut sizes = Sizes::main();
        if self.sweep {
            sizes.extend(Sizes::sweep());
        }
        sizes.retain(|s| self.only.is_empty() || self.only.contains(&s.name));
        let begin = Instant::now();
        let engine = self.engine.open()?;
        let opened = begin.elapsed().as_secs_f64();
        let mut rows = Vec::new();
        for sizes in sizes {
            interrupt::check()?;
            output.say(&format!(
                "bench: {:?}, {} bands, {}",
                sizes.name, sizes.bands, sizes.size
            ));
            rows.push(self.row(engine.as_ref(), &sizes, opened)?);
        }
        output.result(&rows, &table(&rows))
    }

    fn row(&self, engine: &dyn Engine<f32>, sizes: &Sizes, opened: f64) -> Result<Measured> {
        let architecture = sizes.architecture()?;
        let mut seconds = match sizes.name {
            Row::Reconstruct => reconstruct(engine, &architecture, sizes)?,
            Row::ColdStart => {
                let begin = Instant::now();
                steps(engine, &architecture, sizes, |work| work())?;
                vec![opened + begin.elapsed().as_secs_f64()]
            }
            _ => {
                let mut seconds = Vec::new();
                steps(engine, &architecture, sizes, |work| {
                    seconds = measure(work)?;
                    Ok(())
                })?;
                let each = f64::from(queued(sizes.name));
                seconds.iter().map(|s| s / each).collect()
            }
        };
        seconds.sort_by(f64::total_cmp);
        let block = sizes.scale * sizes.scale;
        let (lr_pixels, hr_pixels) = match sizes.name {
            Row::Reconstruct => (None, Some(sizes.size * sizes.size)),
            Row::TrainStep | Row::ColdStart => (Some(sizes.size), Some(sizes.size * block)),
            Row::FinetuneStep | Row::MemberStep => (Some(sizes.size), None),
        };
        Ok(Measured {
            name: sizes.name,
            preset: sizes.preset,
            bands: architecture.bands,
            msi_bands: architecture.msi_bands,
            scale: sizes.scale,
            members: architecture.members,
            lr_pixels,
            hr_pixels,
            seconds: seconds[seconds.len() / 2],
            least_seconds: seconds[0],
            runs: seconds.len(),
            backend: if self.on_cpu(engine) { "cpu" } else { "gpu" },
            adapter: engine.name(),
            threads: rayon::current_num_threads(),
            precision: "f32",
            peak_bytes: peak_bytes(),
        })
    }

    fn on_cpu(&self, engine: &dyn Engine<f32>) -> bool {
        self.engine.backend == Backend::Cpu || engine.name().starts_with("CPU")
    }
}

/// Steps that a run of a row queues before it waits: as many as the training loop, but for the large ones.
fn queued(row: Row) -> u32 {
    match row {
        Row::FinetuneStep | Row::MemberStep => 20,
        _ => 1,
    }
}

/// Makes a training run and hands `with` a closure that carries out [`queued`] steps of it.
fn steps(
    engine: &dyn Engine<f32>,
    architecture: &Architecture,
    sizes: &Sizes,
    with: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<()>,
) -> Result<()> {
    let (windows, block) = (sizes.size, sizes.scale * sizes.scale);
    let samples = windows * block * architecture.msi_bands;
    if samples > MOST_BYTES / size_of::<f32>() {
        return Err(Error::input(format!(
            "bench: {windows} windows of {block} pixels are too many"
        )));
    }
    let data = TrainingSet {
        lr_hsi: made_up(windows * architecture.bands, 1),
        hr_msi: made_up(samples, 2),
        windows,
    };
    let with_theta = matches!(sizes.name, Row::TrainStep | Row::ColdStart);
    let problem = Problem {
        architecture: architecture.clone(),
        geometry: Geometry {
            scale: sizes.scale,
            kernel: sizes.scale,
        },
        alpha: [0.5, 0.2, 0.2],
        beta: 0.5,
        noise: match sizes.name {
            Row::MemberStep => Noise::Off,
            _ => Noise::Philox(0),
        },
        learn_psf: true,
        learn_centre: false,
        learn_srf: true,
        fixed_psf: None,
        fixed_srf: None,
        frozen_encoder: sizes.name == Row::FinetuneStep,
        lr_capacity: windows,
        hr_capacity: windows,
    };
    let mut trainer = engine.trainer(&problem, &data, start(architecture, sizes.scale))?;
    let batch: Arc<[u32]> = (0..windows as u32).collect();
    let none: Arc<[u32]> = Arc::from([]);
    let mut step = 0;
    with(&mut || {
        for _ in 0..queued(sizes.name) {
            step += 1;
            trainer.step(&StepPlan {
                step,
                lr_batch: batch.clone(),
                hr_batch: if with_theta { batch.clone() } else { none.clone() },
                member: 0,
                network_rate: Some(1e-3),
                degradation_rate: with_theta.then_some(1e-3),
            })?;
        }
        trainer.losses().map(|_| ())
    })
}

fn reconstruct(engine: &dyn Engine<f32>, architecture: &Architecture, sizes: &Sizes) -> Result<Vec<f64>> {
    let (side, b) = (sizes.size, architecture.msi_bands);
    // The result goes out in tiles of rows, as `fuse` writes it.
    let rows = ((64 << 20) / (side * architecture.bands * size_of::<f32>())).clamp(1, side);
    let image = made_up(rows * side * b, 3);
    let image = ArrayView3::from_shape((rows, side, b), &image)
        .map_err(|e| Error::failed(format!("bench: image: {e}")))?;
    let state = start(architecture, sizes.scale);
    let mut out = Array3::zeros((rows, side, architecture.bands));
    measure(|| {
        for first in (0..side).step_by(rows) {
            let here = rows.min(side - first);
            engine.reconstruct(
                architecture,
                &state,
                image.slice(ndarray::s![..here, .., ..]),
                (first * side) as u32,
                Wanted::Mean,
                out.slice_mut(ndarray::s![..here, .., ..]),
            )?;
        }
        Ok(())
    })
}

/// Largest resident memory so far; Linux alone tells it in a file.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn table(rows: &[Measured]) -> String {
    let mut text = String::new();
    if let Some(first) = rows.first() {
        text += &format!("{}\n", first.adapter);
    }
    text += "row             bands  ratio  members  LR pixels  HR pixels      seconds  pixels/s\n";
    for r in rows {
        let pixels = r.hr_pixels.or(r.lr_pixels).unwrap_or(0) as f64 / r.seconds;
        let count = |n: Option<usize>| n.map_or("-".to_owned(), |n| n.to_string());
        let name = r.name.to_possible_value();
        text += &format!(
            "{:<14} {:>6} {:>6} {:>8} {:>10} {:>10} {:>12.6} {:>9.3e}\n",
            name.as_ref().map_or("", |n| n.get_name()),
            r.bands,
            r.scale,
            r.members,
            count(r.lr_pixels),
            count(r.hr_pixels),
            r.seconds,
            pixels
        );
    }
    text
}
