//! `infer`: a trained model over a high-resolution MSI.

use std::path::PathBuf;

use clap::Args;
use ndarray::Array2;

use super::Output;
use super::input::read_image;
use super::options::EngineOptions;
use super::progress::Stages;
use crate::coordination::checkpoint;
use crate::coordination::fuse::{finish, reconstruct};
use crate::coordination::scene::Scene;
use crate::cube::Metadata;
use crate::engine::Output as Wanted;
use crate::error::{Error, Result};
use crate::io;

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
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Value that stands for "no data" in the MSI
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    nodata: Option<f64>,
    /// Draw a sample from the first member's mean and standard deviation instead of the mean
    #[arg(long)]
    sample: bool,
    /// Seed of the sample
    #[arg(long, requires = "sample", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    engine: EngineOptions,
}

/// What `infer` tells.
#[derive(Debug, serde::Serialize)]
struct Report {
    out: String,
    engine: String,
    shape: (usize, usize, usize),
    masked_pixels: usize,
}

impl Infer {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error`] with the line to show.
    pub fn run(self, output: &Output) -> Result<()> {
        io::check_cube_writable(&self.out)?;
        let mut stages = Stages::new(output);
        let name = self.model.display().to_string();
        let model = checkpoint::load(&self.model)?;
        let msi = stages.run("read", |_| read_image(&self.msi, self.nodata))?;
        if msi.bands() != model.architecture.msi_bands {
            return Err(Error::input(format!(
                "{name}: trained for {} MSI bands; {} has {}",
                model.architecture.msi_bands,
                self.msi,
                msi.bands()
            )));
        }
        if self.sample && !model.config.training.sampling {
            return Err(Error::input(format!(
                "{name}: trained without sampling, so it has no standard deviation to draw from; leave --sample out"
            )));
        }
        let engine = self.engine.open()?;
        let (rows, columns, _) = msi.samples.dim();
        let valid = msi
            .valid
            .clone()
            .unwrap_or_else(|| Array2::from_elem((rows, columns), true));
        let mut scene = Scene {
            lr_hsi: ndarray::Array3::zeros((0, 0, model.architecture.bands)),
            lr_valid: Array2::from_elem((0, 0), true),
            hr_msi: msi.samples.clone(),
            hr_valid: valid,
            scale: model.geometry.scale,
            hsi_unit: model.calibration.hsi_unit,
            msi_unit: 1.0,
        };
        scene.calibrate(&model.calibration);
        let wanted = if self.sample {
            Wanted::Sample {
                seed: self.seed,
                member: 0,
            }
        } else {
            Wanted::Mean
        };
        let samples = stages.run("reconstruct", |w| {
            reconstruct(engine.as_ref(), &model, &scene.hr_msi, wanted, &mut |d, t| {
                w.progress(d, t, None);
            })
        })?;
        let bands = Metadata {
            wavelengths: model.wavelengths.clone(),
            ..Metadata::default()
        };
        let image = finish(samples, &scene, Metadata::of_fusion(&bands, &msi.metadata));
        stages.run("write", |_| io::write_cube(&self.out, &image))?;
        let report = Report {
            out: self.out.display().to_string(),
            engine: engine.name(),
            shape: image.samples.dim(),
            masked_pixels: image.masked_pixels(),
        };
        let text = format!(
            "{}: {rows} x {columns} x {} on {}",
            report.out,
            image.bands(),
            report.engine
        );
        output.result(&report, &text)
    }
}
