//! `fuse`: the main job. Two images of one scene in, a high-resolution hyperspectral image out.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::Output;
use super::input::read_image;
use super::options::{ConfigOptions, EngineOptions, Pair, PairOptions, SensorOptions};
use super::progress::Stages;
use super::summary::{DegradationSummary, ObjectiveSummary, Summary, compare, make_folder, save_degradation};
use crate::coordination::config::Config;
use crate::coordination::fuse::{fine_tune_model, reconstruct, train, training_data};
use crate::coordination::model::Model;
use crate::coordination::scene::Scene;
use crate::coordination::start::{Known, estimate_degradation, start};
use crate::cube::{Cube, Metadata};
use crate::engine::{Engine, Output as Wanted};
use crate::error::{Error, Result};
use crate::io;

/// Fuse a low-resolution hyperspectral and a high-resolution multispectral image of one scene
///
/// Point spread function and spectral response are estimated from the two images unless given. The result has the
/// MSI's pixels and grid, the HSI's bands, wavelengths and unit.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hsr-gpu fuse --hsi lr.npy --msi hr.npy --out z.npy")]
pub struct Fuse {
    #[command(flatten)]
    pair: PairOptions,
    /// High-resolution hyperspectral image to write (.npy, .mat, .hdr)
    #[arg(long, value_name = "FILE", required_unless_present = "dump_config")]
    out: Option<PathBuf>,
    #[command(flatten)]
    sensors: SensorOptions,
    #[command(flatten)]
    config: ConfigOptions,
    #[command(flatten)]
    engine: EngineOptions,
    /// Write the PSF (psf.npy, K x K) and SRF (srf.npy, B x b) that were used into this folder
    #[arg(long, value_name = "DIR")]
    save_degradation: Option<PathBuf>,
    /// True high-resolution hyperspectral image: adds metrics beside bicubic interpolation's
    #[arg(long, value_name = "FILE")]
    reference: Option<String>,
}

/// A fused scene.
pub struct Fused {
    /// The result in the HSI's unit, with metadata.
    pub image: Cube,
    /// The model it came from.
    pub model: Model,
    /// What is told about the run; metrics and total time are the caller's to fill in.
    pub summary: Summary,
}

impl Fuse {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error`] with the line to show.
    pub fn run(self, output: &Output) -> Result<()> {
        let started = Instant::now();
        let config = self.config.load("single-scene", self.sensors.kernel)?;
        if self.config.dump_config {
            return output.result(&config, &config.to_toml()?);
        }
        let out = self
            .out
            .as_deref()
            .ok_or_else(|| Error::input("--out FILE is missing"))?;
        io::check_cube_writable(out)?;
        if let Some(folder) = &self.save_degradation {
            make_folder(folder)?;
            io::check_matrix_writable(folder.join("psf.npy"))?;
        }
        let mut stages = Stages::new(output);
        let pair = stages.run("read", |_| self.pair.read())?;
        let known = self
            .sensors
            .known(&pair.hsi, pair.msi.bands(), pair.scene.scale)?;
        let reference = self
            .reference
            .as_deref()
            .map(|f| read_image(f, self.pair.nodata))
            .transpose()?;
        if let Some(reference) = &reference {
            let found = reference.samples.dim();
            let expected = (pair.msi.rows(), pair.msi.columns(), pair.hsi.bands());
            if found != expected {
                return Err(Error::input(format!(
                    "{}: the reference is {} x {} x {}, the result will be {} x {} x {}",
                    self.reference.unwrap_or_default(),
                    found.0,
                    found.1,
                    found.2,
                    expected.0,
                    expected.1,
                    expected.2
                )));
            }
        }
        let engine = self.engine.open()?;
        let Pair { hsi, msi, scene } = pair;
        let mut fused = fuse(engine.as_ref(), &config, scene, &known, (&hsi, &msi), &mut stages)?;
        if let Some(reference) = &reference {
            let (metrics, bicubic) = stages.run("metrics", |_| {
                compare(reference, &fused.image, &hsi, fused.summary.scale)
            })?;
            fused.summary.metrics = Some(metrics);
            fused.summary.bicubic = Some(bicubic);
        }
        stages.run("write", |_| io::write_cube(out, &fused.image))?;
        for lost in io::metadata_lost(out, &fused.image) {
            output.say(&format!("note: {} cannot hold {lost}", out.display()));
        }
        if let Some(folder) = &self.save_degradation {
            save_degradation(folder, &fused.model)?;
        }
        fused.summary.stages = stages.times;
        fused.summary.seconds = started.elapsed().as_secs_f64();
        let wavelengths = hsi.metadata.wavelengths.as_deref();
        output.result(&fused.summary, &fused.summary.text(&fused.model, wavelengths))
    }
}

/// Estimates, trains, fine-tunes and reconstructs one scene; `files` are the HSI and MSI it came from.
///
/// # Errors
/// [`Error::Input`] where the scene does not fit the configuration, [`Error::Interrupted`] after Ctrl-C.
pub fn fuse(
    engine: &dyn Engine<f32>,
    config: &Config,
    mut scene: Scene,
    known: &Known,
    files: (&Cube, &Cube),
    stages: &mut Stages,
) -> Result<Fused> {
    let (hsi, msi) = files;
    let estimate = stages.run("estimate", |_| estimate_degradation(config, &scene, known))?;
    let mut model = start(config, &mut scene, known, &estimate)?;
    model.wavelengths = hsi.metadata.wavelengths.clone();
    let training = &config.training;
    let scenes = [scene];
    let mut data = training_data(
        &scenes,
        model.geometry,
        training.patch,
        training.batch,
        config.seed,
    )?;
    let history = stages.run("train", |bar| {
        train(engine, &mut model, &mut data, &mut |done, total, losses| {
            bar.step(done, total, losses)
        })
    })?;
    let fine = stages.run("fine-tune", |bar| {
        fine_tune_model(engine, &mut model, &mut data, &mut |done, total, losses| {
            bar.step(done, total, losses)
        })
    })?;
    let [scene] = scenes;
    let samples = stages.run("reconstruct", |bar| {
        reconstruct(engine, &model, &scene.hr_msi, Wanted::Mean, &mut |done, total| {
            bar.at(done, total)
        })
    })?;
    let image = finish(samples, &scene, Metadata::of_fusion(&hsi.metadata, &msi.metadata));
    let summary = Summary {
        version: env!("CARGO_PKG_VERSION"),
        engine: engine.name(),
        seed: config.seed,
        shape: image.samples.dim(),
        scale: scene.scale,
        weights: model.architecture.weights(),
        members: model.architecture.members,
        training_pixels: (data.usable, data.set.windows),
        masked_pixels: image.masked_pixels(),
        degradation: DegradationSummary::new(&model, &estimate, known.psf.is_some(), known.srf.is_some()),
        objective: ObjectiveSummary::new(&model, &history, (training.steps / 20).max(1)),
        finetune: (!fine.steps.is_empty())
            .then(|| ObjectiveSummary::new(&model, &fine, (config.finetune.steps / 10).max(1))),
        metrics: None,
        bicubic: None,
        stages: Vec::new(),
        seconds: 0.0,
    };
    Ok(Fused {
        image,
        model,
        summary,
    })
}

/// Brings a reconstruction back to the HSI's unit and marks masked pixels with the no-data value.
pub fn finish(mut samples: ndarray::Array3<f32>, scene: &Scene, metadata: Metadata) -> Cube {
    samples *= scene.hsi_unit;
    let masked = scene.hr_valid.iter().any(|&ok| !ok);
    let mut image = Cube::new(samples);
    image.metadata = metadata;
    if masked {
        let value = image.metadata.nodata.unwrap_or(f64::NAN);
        for ((r, c), &ok) in scene.hr_valid.indexed_iter() {
            if !ok {
                image.samples.slice_mut(ndarray::s![r, c, ..]).fill(value as f32);
            }
        }
        image.metadata.nodata = Some(value);
        image.valid = Some(scene.hr_valid.clone());
    }
    image
}
