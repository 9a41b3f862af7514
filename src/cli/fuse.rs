//! `fuse`: the main job. Two images of one scene in, a high-resolution hyperspectral image out.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::Output;
use super::checkpoint::CheckpointOptions;
use super::engine_options::EngineOptions;
use super::log::Log;
use super::opening::Opening;
use super::options::{ConfigOptions, Pair, PairOptions, RefineOptions, ScratchOptions, SensorOptions};
use super::page::{Images, PAGE, page_path, write_page};
use super::progress::Stages;
use super::summary::{DEGRADATION, compare, save_degradation};
use crate::coordination::deviation::{self, calibration};
use crate::coordination::memory::fusion_bytes;
use crate::coordination::placement::{OnGrid, Placed, Placement};
use crate::coordination::product::{ModelImage, Product};
use crate::coordination::start::told_window;
use crate::coordination::watcher::split_off;
use crate::cube::strips::{self, Cropped, Strips};
use crate::cube::{Metadata, SampleType};
use crate::error::{Error, Result};
use crate::evidence::verdict::Verdict;
use crate::fusion::Fusion;
use crate::io::{self, OutputSet, Target, write_strips};

/// Fuse a low-resolution hyperspectral and a high-resolution multispectral image of one scene
///
/// Point spread function and spectral response are estimated from the two images unless given. The result has the
/// MSI's pixels and grid, the HSI's bands, wavelengths and unit.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hsr-gpu fuse --hsi lr.npy --msi hr.npy --out z.npy")]
pub struct Fuse {
    #[command(flatten)]
    pair: PairOptions,
    /// High-resolution hyperspectral image to write (.npy, .npz, .mat, .hdr, .tif)
    #[arg(long, value_name = "FILE", required_unless_present = "dump_config")]
    out: Option<PathBuf>,
    /// Whose pixels the result lies on: the MSI's, or the HSI's divided by the ratio rounded up
    #[arg(long, value_enum, default_value = "msi")]
    grid: OnGrid,
    #[command(flatten)]
    sensors: SensorOptions,
    #[command(flatten)]
    config: ConfigOptions,
    #[command(flatten)]
    refine: RefineOptions,
    #[command(flatten)]
    engine: EngineOptions,
    #[command(flatten)]
    scratch: ScratchOptions,
    #[command(flatten)]
    checkpoint: CheckpointOptions,
    /// Go on from the checkpoint, if it is there: with the same bits, and only with the same images and options
    #[arg(long, requires = "checkpoint")]
    resume: bool,
    /// Write the PSF (psf.npy, K x K) and SRF (srf.npy, B x b) that were used into this folder
    #[arg(long, value_name = "DIR")]
    save_degradation: Option<PathBuf>,
    /// Write a standard deviation for every sample of the result into this file, in the HSI's unit; with --reference
    /// the summary says how many errors lie within it
    #[arg(long, value_name = "FILE")]
    save_std: Option<PathBuf>,
    /// Write an image of one band on the HSI's grid into this file that says which pixels contradict the others and were left
    /// out: 0 none, 1 where the HSI is suspect, 2 where the MSI is
    #[arg(long, value_name = "FILE")]
    save_suspect: Option<PathBuf>,
    /// End with exit code 1 where the verdict is not good; what was asked for is written all the same
    #[arg(long)]
    strict: bool,
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
    /// Whether it shows its configuration and fuses nothing.
    pub fn only_shows(&self) -> bool {
        self.config.dump_config
    }

    /// What it reads and writes.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for a name that no result can have.
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        let Some(out) = self.out.as_deref().filter(|_| !self.config.dump_config) else {
            return Ok(());
        };
        self.pair.files(set);
        self.sensors.files(set);
        self.config.files(set);
        if let Some(file) = &self.reference {
            set.reads("--reference", file);
        }
        set.writes_image("--out", out)?;
        if let Some(path) = &self.save_std {
            set.writes_image("--save-std", path)?;
        }
        if let Some(path) = &self.save_suspect {
            set.writes_image("--save-suspect", path)?;
        }
        self.checkpoint.files(set);
        if let Some(folder) = &self.save_degradation {
            set.writes_into("--save-degradation", folder, &DEGRADATION);
        }
        if let Some(folder) = &self.report {
            set.writes_into("--report", folder, &[PAGE]);
        }
        if let Some(folder) = &self.log {
            set.writes_into("--log", folder, &[]);
        }
        Ok(())
    }

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
        let mut keeper = self.checkpoint.keeper(self.resume)?;
        let report = self.report.as_deref().map(page_path).transpose()?;
        let mut room = self.scratch.room(Some(out))?;
        let device = Opening::begin(&self.engine, output)?;
        let mut stages = Stages::new(output);
        let Pair { placed, msi_bands } = stages.run("read", |_| {
            self.pair.read(output, self.grid, &mut room, fusion_bytes)
        })?;
        let known = self.sensors.known(&placed.hsi, &msi_bands, &placed.scene)?;
        let Placed {
            hsi,
            msi,
            scene,
            placement,
        } = placed;
        let memory = self.scratch.memory.max_memory;
        let target = Target {
            path: out,
            sample_type: SampleType::F32,
            interleave: None,
            memory,
        };
        let (rows, columns) = scene.result_valid().dim();
        let shape = (rows, columns, scene.lr_hsi.dim().2);
        target.check(shape)?;
        let std_target = self.save_std.as_deref().map(|path| Target {
            path,
            ..target.clone()
        });
        if let Some(target) = &std_target {
            deviation::check(config.network.members, config.training.sampling)?;
            target.check(shape)?;
        }
        let reference = self
            .reference
            .as_deref()
            .map(|file| self.pair.open_reference(file, memory))
            .transpose()?;
        let reference = reference
            .as_ref()
            .map(|image| self.fit_reference(image, shape, &placement))
            .transpose()?;
        let scored_on = reference.as_ref().map(|(_, grid)| *grid);
        let reference = reference.map(|(image, _)| image);
        told_window(&config, &known, scene.scale)?;
        // A run that is refused for its device leaves no event file.
        match self.log {
            Some(_) => device.engine().map(|_| ())?,
            None => device.look()?,
        }
        let mut log = Log::open(self.log.as_deref(), &config.training)?;
        let mut watcher = log.watch(stages.watcher());
        let metadata = Metadata::of_fusion(&hsi, &msi);
        let fused = Fusion::of_scene(scene, metadata)
            .config(config)
            .known(known)
            .memory(memory)
            .on_demand(&|| device.engine())
            .watch(&mut watcher)
            .keep(&mut keeper)
            .run()?;
        let mut summary = fused.report();
        // In its own unit, for metrics and page; the scene's is scaled. Opened before anything is written over it.
        let original = (reference.is_some() || report.is_some())
            .then(|| self.pair.open_hsi())
            .transpose()?;
        let original = original.as_ref().map(|hsi| {
            let (rows, columns) = placement.hsi_part.clone();
            Cropped::new(hsi, rows, columns)
        });
        summary.scored_on = scored_on;
        summary.placement = Some(placement);
        let image = fused.strips();
        stages.run("write", |w| {
            write_strips(&target, &image, &mut |done, total| w.progress(done, total, None))
        })?;
        if image.seconds() > 0.0 {
            split_off(&mut stages.times, "reconstruct again", image.seconds());
        }
        for lost in io::metadata_lost(out, image.metadata()) {
            output.say(&format!("note: {} cannot hold {lost}", out.display()));
        }
        if let Some(target) = &std_target {
            let deviation = fused.deviation()?;
            stages.run("deviation", |w| {
                write_strips(target, &deviation, &mut |done, total| {
                    w.progress(done, total, None)
                })
            })?;
        }
        // What is not in memory is read back from the file and not made a third time.
        let written = match &fused.product {
            Product::Whole(_) if fused.scene.wanted().is_none() => None,
            _ => Some(
                io::open_image(&out.to_string_lossy(), image.metadata().nodata, memory)?
                    .with_metadata(image.metadata().clone()),
            ),
        };
        let result: &dyn Strips = written.as_ref().map_or(&image, |written| written);
        let reference = reference.as_ref().map(|image| image as &dyn Strips);
        if let (Some(reference), Some(hsi)) = (reference, &original) {
            let scale = fused.scene.scale;
            let (metrics, bicubic) = stages.run("metrics", |_| match scored_on {
                Some(OnGrid::Hsi) => compare(reference, &ModelImage(&image), (hsi, scale), None),
                _ => compare(reference, result, (hsi, scale), fused.scene.wanted()),
            })?;
            log.scores(fused.model.step, "fused", &metrics);
            log.scores(fused.model.step, "bicubic", &bicubic);
            if let Some(target) = &std_target {
                let name = target.path.to_string_lossy();
                let deviation = io::open_image(&name, image.metadata().nodata, memory)?;
                summary.calibration = Some(calibration(&deviation, reference, result)?);
            }
            summary.metrics = Some(metrics);
            summary.bicubic = Some(bicubic);
        }
        if let Some(folder) = &self.save_degradation {
            save_degradation(folder, &fused.model)?;
        }
        if let Some(path) = &self.save_suspect {
            io::write_cube(path, &fused.suspects(&hsi))?;
        }
        summary.finish(fused.engine, stages.times, started);
        if let (Some(path), Some(hsi)) = (&report, &original) {
            // The page lays images over each other, on the pixels that the model was made on.
            let model = ModelImage(&image);
            let resampled = fused.scene.wanted().is_some();
            let images = Images {
                hsi,
                result: if resampled { &model } else { result },
                reference: reference.filter(|_| !resampled || scored_on == Some(OnGrid::Hsi)),
                true_psf: None,
            };
            let title = format!("Fusion of {} and {}", self.pair.hsi, self.pair.msi);
            write_page(path, &title, &fused, &summary, &images)?;
        }
        log.psf(0, &fused.model.start_psf());
        log.psf(fused.model.step, &fused.model.psf());
        log.finish()?;
        keeper.done()?;
        let wavelengths = hsi.wavelengths.as_deref();
        output.result(&summary, &summary.text(&fused.model, wavelengths))?;
        match self.strict && fused.verdict != Verdict::Good {
            true => Err(Error::failed(format!(
                "--strict: the verdict is {}",
                fused.verdict
            ))),
            false => Ok(()),
        }
    }

    /// The reference, which must have finite samples, and the grid that it lies on: that of the result, or of the whole MSI
    /// or HSI of which the result is a part; the HSI's, each pixel divided by the scale, where only that fits.
    fn fit_reference<'a>(
        &self,
        image: &'a io::Image,
        shape: (usize, usize, usize),
        placement: &Placement,
    ) -> Result<(Cropped<'a>, OnGrid)> {
        let (rows, columns, bands) = image.dim();
        let size = (rows, columns);
        let times = |n: &std::ops::Range<usize>| n.start * placement.scale..n.end * placement.scale;
        let [(lr_rows, lr_columns), msi] = placement.whole;
        let hsi = (lr_rows * placement.scale, lr_columns * placement.scale);
        let ((msi_rows, msi_columns), (part_rows, part_columns)) = (&placement.msi_part, &placement.hsi_part);
        let (part_rows, part_columns) = (times(part_rows), times(part_columns));
        let on_msi = placement.grid == OnGrid::Msi;
        let whole = || (0..rows, 0..columns);
        let fit = if size == (shape.0, shape.1) {
            Some((whole(), placement.grid))
        } else if on_msi && size == msi {
            Some(((msi_rows.clone(), msi_columns.clone()), OnGrid::Msi))
        } else if size == hsi && (placement.resampled || !on_msi) {
            Some(((part_rows, part_columns), OnGrid::Hsi))
        } else if placement.resampled && size == (part_rows.len(), part_columns.len()) {
            Some((whole(), OnGrid::Hsi))
        } else {
            None
        };
        if let Some(((r, c), grid)) = fit.filter(|_| bands == shape.2) {
            let cropped = Cropped::new(image, r, c);
            // Bad samples are found now and not after the work.
            strips::for_each(&cropped, |_, _| Ok(()))?;
            return Ok((cropped, grid));
        }
        Err(Error::input(format!(
            "{}: the reference is {rows} x {columns} x {bands}, the result will be {} x {} x {}",
            self.reference.as_deref().unwrap_or_default(),
            shape.0,
            shape.1,
            shape.2
        )))
    }
}
