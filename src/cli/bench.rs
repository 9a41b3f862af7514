//! `bench`: how long the parts of the work take here, on data made up on the spot.
//!
//! The rows have the sizes of the paper's protocol and of the default fusion; `bench/torch_peer.py` prints the same
//! rows for PyTorch, and `bench/compare.sh` lays them side by side.

use std::time::{Duration, Instant};

use clap::Args;
use ndarray::{Array3, ArrayView3};
use serde::Serialize;

use super::Output;
use super::engine_options::{Backend, EngineOptions};
use crate::cli::memory;
use crate::engine::workload;
use crate::engine::{Engine, Output as Wanted, Precision};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::network::Architecture;

mod protocol;
mod sizes;

use sizes::{Row, Sizes};

/// Time that a row is measured for, at least, and its fewest and most runs.
const LEAST_TIME: Duration = Duration::from_millis(1000);
const RUNS: std::ops::RangeInclusive<usize> = 5..=200;
/// Time that the steps of a run take together, about, and their greatest number: what a GPU is handed in one go.
const QUEUED: Duration = Duration::from_millis(20);
const MOST_QUEUED: u32 = 64;

/// Measure training, fine-tuning and reconstruction on this machine
///
/// Times are medians over runs; small steps are queued as the training loop queues them. `cold_start` is opening the
/// device and the first step, with compiled kernels from disk where there are some (HSR_GPU_CACHE=off: never).
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hsr-gpu bench --only member_step --backend cpu --threads 2 --json\n  hsr-gpu bench --only cave_protocol    # the paper's whole protocol; minutes on a CPU"
)]
pub struct Bench {
    /// Measure this row alone; may be given several times. cave_protocol is measured only when named
    #[arg(long, value_enum, value_name = "NAME")]
    only: Vec<Row>,
    /// Also measure over image sizes (256 to 4096), bands (8 to 200) and ratios (4 to 32)
    #[arg(long)]
    sweep: bool,
    /// Divide pixels, image sides and the protocol's steps by this: for a look at a slow device
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    shrink: u16,
    #[command(flatten)]
    engine: EngineOptions,
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
    /// Largest resident memory of the process during the row, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_bytes: Option<u64>,
    /// Most bytes of buffers on the device at once during the row; none where that is the process's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_bytes: Option<u64>,
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

/// What `bench --json` tells.
#[derive(Serialize)]
struct Rows<'a> {
    rows: &'a [Measured],
}

impl Bench {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error`] with the line to show.
    pub fn run(self, output: &Output) -> Result<()> {
        let mut sizes = Sizes::main();
        if self.sweep {
            sizes.extend(Sizes::sweep());
        }
        sizes.retain(|s| self.only.is_empty() || self.only.contains(&s.name));
        if self.only.contains(&Row::CaveProtocol) {
            sizes.push(Sizes::protocol());
        }
        for sizes in &mut sizes {
            sizes.shrink(self.shrink.into());
        }
        let begin = Instant::now();
        let engine = self.engine.open_alone()?;
        let opened = begin.elapsed().as_secs_f64();
        let mut rows = Vec::new();
        for sizes in sizes {
            interrupt::check()?;
            output.say(&format!(
                "bench: {}, {} bands, {}",
                sizes.name,
                sizes.bands,
                sizes.extent()
            ));
            rows.push(self.row(engine.as_ref(), &sizes, opened)?);
        }
        output.result(&Rows { rows: &rows }, &table(&rows))
    }

    fn row(&self, engine: &dyn Engine<f32>, sizes: &Sizes, opened: f64) -> Result<Measured> {
        let architecture = sizes.architecture()?;
        memory::reset_peak();
        if let Some(instruments) = engine.instruments() {
            instruments.take_peak_memory();
        }
        let mut seconds = match sizes.name {
            Row::CaveProtocol => vec![protocol::run(engine, &architecture, sizes)?],
            Row::Reconstruct => reconstruct(engine, &architecture, sizes)?,
            Row::ColdStart => {
                let begin = Instant::now();
                steps(engine, sizes, |work| work(1))?;
                vec![opened + begin.elapsed().as_secs_f64()]
            }
            _ => {
                let mut seconds = Vec::new();
                steps(engine, sizes, |work| {
                    seconds = step_seconds(work)?;
                    Ok(())
                })?;
                seconds
            }
        };
        seconds.sort_by(f64::total_cmp);
        let block = sizes.scale * sizes.scale;
        let (lr_pixels, hr_pixels) = match sizes.name {
            Row::Reconstruct => (None, Some(sizes.size * sizes.size)),
            Row::TrainStep | Row::ColdStart | Row::CaveProtocol => {
                (Some(sizes.size), Some(sizes.size * block))
            }
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
            precision: Precision::from(self.engine.precision).name(),
            peak_bytes: memory::peak(),
            device_bytes: engine.instruments().and_then(|i| i.take_peak_memory()),
        })
    }

    fn on_cpu(&self, engine: &dyn Engine<f32>) -> bool {
        self.engine.backend == Backend::Cpu || engine.name().starts_with("CPU")
    }
}

/// Makes a training run and hands `with` a closure that carries out so many steps of it and waits for them.
fn steps(
    engine: &dyn Engine<f32>,
    sizes: &Sizes,
    with: impl FnOnce(&mut dyn FnMut(u32) -> Result<()>) -> Result<()>,
) -> Result<()> {
    let workload = sizes.workload()?;
    let (mut trainer, batch) = (workload.trainer(engine)?, workload.batch());
    let mut step = 0;
    with(&mut |count| {
        for _ in 0..count {
            step += 1;
            trainer.step(&workload.plan(step, &batch))?;
        }
        trainer.losses().map(|_| ())
    })
}

/// Seconds of a step, again and again; each run queues as many as fit into [`QUEUED`], as the training loop does.
fn step_seconds(work: &mut dyn FnMut(u32) -> Result<()>) -> Result<Vec<f64>> {
    // The first step compiles kernels.
    work(1)?;
    let one = Instant::now();
    work(1)?;
    let fit = QUEUED.as_secs_f64() / one.elapsed().as_secs_f64();
    let count = fit.clamp(1.0, f64::from(MOST_QUEUED)) as u32;
    let seconds = measure(|| work(count))?;
    Ok(seconds.iter().map(|s| s / f64::from(count)).collect())
}

fn reconstruct(engine: &dyn Engine<f32>, architecture: &Architecture, sizes: &Sizes) -> Result<Vec<f64>> {
    let (side, b) = (sizes.size, architecture.msi_bands);
    // The result goes out in tiles of rows, as `fuse` writes it.
    let rows = ((64 << 20) / (side * architecture.bands * size_of::<f32>())).clamp(1, side);
    let image = workload::samples(rows * side * b, 3);
    let image = ArrayView3::from_shape((rows, side, b), &image)
        .map_err(|e| Error::failed(format!("bench: image: {e}")))?;
    let state = workload::start(architecture, sizes.scale);
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

fn table(rows: &[Measured]) -> String {
    let mut text = String::new();
    if let Some(first) = rows.first() {
        text += &format!("{}\n", first.adapter);
    }
    text += "row             bands  ratio  members  LR pixels  HR pixels      seconds  a second  pixels/s  peak MB  device MB\n";
    for r in rows {
        let pixels = r.hr_pixels.or(r.lr_pixels).unwrap_or(0) as f64 / r.seconds;
        let count = |n: Option<usize>| n.map_or("-".to_owned(), |n| n.to_string());
        let megabytes = |n: Option<u64>| n.map_or("-".to_owned(), |n| format!("{:.1}", n as f64 * 1e-6));
        text += &format!(
            "{:<14} {:>6} {:>6} {:>8} {:>10} {:>10} {:>12.6} {:>9.1} {:>9.3e} {:>8} {:>10}\n",
            r.name,
            r.bands,
            r.scale,
            r.members,
            count(r.lr_pixels),
            count(r.hr_pixels),
            r.seconds,
            1.0 / r.seconds,
            pixels,
            megabytes(r.peak_bytes),
            megabytes(r.device_bytes),
        );
    }
    text
}
