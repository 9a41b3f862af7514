//! `fuse`: the main job. Two images of one scene in, a high-resolution hyperspectral image out.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::Output;
use super::input::read_image;
use super::log::Log;
use super::options::{ConfigOptions, EngineOptions, Pair, PairOptions, RefineOptions, SensorOptions};
use super::page::{Images, page_path, write_page};
use super::progress::Stages;
use super::summary::{Summary, compare, make_folder, save_degradation};
use crate::coordination::fuse::{finish, fuse};
use crate::coordination::start::checked_kernel;
use crate::cube::Metadata;
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
    refine: RefineOptions,
    #[command(flatten)]
    engine: EngineOptions,
    /// Write the PSF (psf.npy, K x K) and SRF (srf.npy, B x b) that were used into this folder
    #[arg(long, value_name = "DIR")]
    save_degradation: Option<PathBuf>,
    /// True high-resolution hyperspectral image: adds metrics beside bicubic interpolation's
    #[arg(long, value_name = "FILE")]
    reference: Option<String>,
    /// Write a page for the browser (report.html, one file) into this folder: images, spectra, PSF, curves, times
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Write the curves of the run as a TensorBoard event file into this folder
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
}

impl Fuse {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error`] with the line to show.
    pub fn run(self, output: &Output) -> Result<()> {
        let started = Instant::now();
        let mut config = self.config.load("single-scene", Some(&self.sensors))?;
        self.refine.apply(&mut config);
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
        let report = self.report.as_deref().map(page_path).transpose()?;
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
        checked_kernel(&config, &known, pair.scene.scale)?;
        let engine = self.engine.open()?;
        let Pair { hsi, msi, scene } = pair;
        let mut log = Log::open(self.log.as_deref(), &config.training)?;
        let mut watcher = log.watch(stages.watcher());
        let mut fused = fuse(engine.as_ref(), &config, scene, &known, &mut watcher)?;
        fused.model.wavelengths = hsi.metadata.wavelengths.clone();
        let samples = std::mem::take(&mut fused.samples);
        let image = finish(
            samples,
            &fused.scene,
            Metadata::of_fusion(&hsi.metadata, &msi.metadata),
        );
        let mut summary = Summary::new(engine.as_ref(), &fused, &image, &known);
        if let Some(reference) = &reference {
            let scale = fused.scene.scale;
            let (metrics, bicubic) = stages.run("metrics", |_| compare(reference, &image, &hsi, scale))?;
            log.scores(fused.model.step, "fused", &metrics);
            log.scores(fused.model.step, "bicubic", &bicubic);
            summary.metrics = Some(metrics);
            summary.bicubic = Some(bicubic);
        }
        stages.run("write", |_| io::write_cube(out, &image))?;
        for lost in io::metadata_lost(out, &image) {
            output.say(&format!("note: {} cannot hold {lost}", out.display()));
        }
        if let Some(folder) = &self.save_degradation {
            save_degradation(folder, &fused.model)?;
        }
        summary.finish(std::mem::take(&mut fused.times), stages.times, started);
        if let Some(path) = &report {
            let images = Images {
                hsi: &hsi,
                result: &image,
                reference: reference.as_ref(),
                true_psf: None,
            };
            let title = format!("Fusion of {} and {}", self.pair.hsi, self.pair.msi);
            write_page(path, &title, &fused, &summary, &images)?;
        }
        log.psf(0, &fused.model.start_psf());
        log.psf(fused.model.step, &fused.model.psf());
        log.finish()?;
        let wavelengths = hsi.metadata.wavelengths.as_deref();
        output.result(&summary, &summary.text(&fused.model, wavelengths))
    }
}
