//! `infer`: a trained model over a high-resolution MSI.

use std::path::PathBuf;

use clap::Args;

use super::Output;
use super::arrays::MsiArrayOptions;
use super::creation::CreationOptions;
use super::engine_options::EngineOptions;
use super::options::MemoryOptions;
use super::pending_engine::PendingEngine;
use super::progress::Stages;
use crate::coordination::checkpoint;
use crate::coordination::inference::Inferred;
use crate::cube::bands::BandSelection;
use crate::cube::strips::Strips;
use crate::engine::Output as Wanted;
use crate::error::{Error, Result};
use crate::io::{self, OutputSet, Reading, Target, write_strips};
use crate::named::Size;

/// Reconstruct a high-resolution hyperspectral image from a multispectral one with a trained model
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hsr-gpu infer --model tuned.safetensors --msi hr.npy --out z.npy")]
pub struct Infer {
    /// Model that `train` or `finetune` wrote
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// High-resolution multispectral image
    #[arg(long, value_name = "FILE")]
    msi: String,
    /// High-resolution hyperspectral image to write
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Value that stands for "no data" in the MSI
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    nodata: Option<f64>,
    /// Bands of the MSI, in the order of the list: numbers from 0 and wavelengths, single or from-to [default: all]
    #[arg(long, value_name = "LIST")]
    msi_bands: Option<BandSelection>,
    /// Pixels of the MSI to leave out: matrix or image of one band, 0 where a pixel is left out
    #[arg(long, value_name = "FILE")]
    msi_mask: Option<String>,
    #[command(flatten)]
    msi_array: MsiArrayOptions,
    /// Draw a sample from the first member's mean and standard deviation instead of the mean
    #[arg(long)]
    sample: bool,
    /// Seed of the sample
    #[arg(long, requires = "sample", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    engine: EngineOptions,
    #[command(flatten)]
    creation: CreationOptions,
    #[command(flatten)]
    memory: MemoryOptions,
}

/// What `infer` tells.
#[derive(Debug, serde::Serialize)]
struct Report {
    out: String,
    engine: String,
    size: Size,
    masked_pixels: usize,
}

impl Infer {
    /// What it reads and writes.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for a name that no result can have.
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        set.reads("--model", &self.model.to_string_lossy());
        set.reads("--msi", &self.msi);
        self.msi_array.files(set);
        if let Some(file) = &self.msi_mask {
            set.reads("--msi-mask", file);
        }
        set.writes_image("--out", &self.out)?;
        self.creation.tiff(&[&self.out]).map(drop)
    }

    /// Runs the command.
    ///
    /// # Errors
    /// [`Error`] with the line to show.
    pub fn run(self, output: &Output) -> Result<()> {
        let device = PendingEngine::begin(&self.engine, output)?;
        let mut stages = Stages::new(output);
        let name = self.model.display().to_string();
        let model = checkpoint::load(&self.model)?;
        let reading = Reading {
            bands: self.msi_bands.clone().unwrap_or(BandSelection::All),
            nodata: self.nodata,
            mask: self.msi_mask.clone(),
            arrangement: self.msi_array.arrangement(),
            memory: self.memory.max_memory,
        };
        let msi = io::open_image_as(&self.msi, &reading)?;
        output.notes(&[&msi]);
        if self.sample && !model.config.training.sampling {
            return Err(Error::input(format!(
                "{name}: trained without sampling, so it has no standard deviation to draw from; leave --sample out"
            )));
        }
        // Before the device, which may take long to open.
        Inferred::check(&model, &name, (&self.msi, &msi))?;
        let engine = device.engine()?;
        let wanted = if self.sample {
            Wanted::Sample {
                seed: self.seed,
                member: 0,
            }
        } else {
            Wanted::Mean
        };
        let image = Inferred::new(engine, &model, &msi, wanted, self.msi_mask.is_some());
        let masked = stages.run("reconstruct", |w| {
            let target = Target {
                path: &self.out,
                sample_type: image.sample_type(),
                interleave: None,
                memory: self.memory.max_memory,
                tiff: self.creation.tiff(&[&self.out])?,
            };
            write_strips(&target, &image, &mut |d, t| w.progress(d, t, None))
        })?;
        let (rows, columns, bands) = image.dim();
        let report = Report {
            out: self.out.display().to_string(),
            engine: engine.name(),
            size: image.dim().into(),
            masked_pixels: masked,
        };
        let text = format!(
            "{}: {rows} x {columns} x {bands} on {}",
            report.out, report.engine
        );
        output.result(&report, &text)
    }
}
