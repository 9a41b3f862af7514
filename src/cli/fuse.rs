//! `fuse`: the main job. Two images of one scene in, a high-resolution hyperspectral image out.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::Output;
use super::checkpoint::CheckpointOptions;
use super::creation::CreationOptions;
use super::dry_run::Plan;
use super::engine_options::EngineOptions;
use super::log::Log;
use super::options::{
    ConfigOptions, Pair, PairOptions, Printed, RefineOptions, ScratchOptions, SensorOptions,
};
use super::page::{Images, PAGE, page_path, write_page};
use super::pending_engine::PendingEngine;
use super::progress::Stages;
use super::summary::{DEGRADATION, compare, save_degradation};
use crate::baseline::Method;
use crate::coordination::config::{Config, Refine};
use crate::coordination::deviation::{self, Calibration, calibration};
use crate::coordination::fused_scene::{FusedImage, Maker, ModelImage};
use crate::coordination::keeper::{Identity, Keeper};
use crate::coordination::memory::fusion_bytes;
use crate::coordination::method::ByMethod;
use crate::coordination::placement::{OnGrid, Placed, Placement};
use crate::coordination::product::Fused;
use crate::coordination::scene::{Part, Scene};
use crate::coordination::start::{Known, foresee, told_window};
use crate::coordination::summary::Summary;
use crate::coordination::watcher::{Watcher, split_off};
use crate::cube::strips::{self, Cropped, Strips};
use crate::cube::{Metadata, SampleType};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::evidence::verdict::Verdict;
use crate::fusion::Fusion;
use crate::io::{self, OutputSet, Target, TiffOptions, write_strips};

/// Options that mean something to the network alone.
const OF_THE_NETWORK: [&str; 19] = [
    "preset",
    "config",
    "dump_config",
    "seed",
    "steps",
    "finetune_steps",
    "members",
    "revive",
    "patience",
    "no_coordination",
    "robust",
    "checkpoint",
    "every",
    "resume",
    "save_std",
    "save_suspect",
    "report",
    "log",
    "dry_run",
];

/// Fuse a low-resolution hyperspectral and a high-resolution multispectral image of one scene
///
/// Point spread function and spectral response are estimated from the two images unless given. The result has the
/// MSI's pixels and grid, the HSI's bands, wavelengths and unit.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hsr-gpu fuse lr.tif hr.tif -o z.tif")]
pub struct Fuse {
    #[command(flatten)]
    pair: PairOptions,
    /// High-resolution hyperspectral image to write (.npy, .npz, .mat, .hdr, .tif)
    #[arg(short, long, value_name = "FILE", required_unless_present = "dump_config")]
    out: Option<PathBuf>,
    /// Whose pixels the result lies on: the MSI's, or the HSI's divided by the ratio rounded up
    #[arg(long, value_enum, default_value = "msi")]
    grid: OnGrid,
    /// Fuse by a method without a network instead; PSF and SRF are estimated or told as ever, and only with --refine auto is the MSI
    /// denoised and the result made to agree with the HSI
    #[arg(long, value_enum, value_name = "NAME", conflicts_with_all = OF_THE_NETWORK)]
    method: Option<Method>,
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
    /// Read and check everything, say what the run would do and what it would write, and end there
    #[arg(long, conflicts_with = "dump_config")]
    dry_run: bool,
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
    #[command(flatten)]
    creation: CreationOptions,
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

/// What is computed.
struct Request {
    scene: Scene,
    metadata: Metadata,
    known: Known,
    config: Config,
    memory: usize,
}

impl Request {
    fn by_method(
        self,
        method: Method,
        device: Option<&PendingEngine>,
        watcher: &mut dyn Watcher,
    ) -> Result<ByMethod> {
        let open = device.map(|device| move || device.engine());
        let fusion = Fusion::of_scene(self.scene, self.metadata)
            .config(self.config)
            .known(self.known)
            .memory(self.memory)
            .watch(watcher);
        match &open {
            Some(open) => fusion.on_demand(open).run_method(method),
            None => fusion.run_method(method),
        }
    }

    fn compute<'e>(
        self,
        device: &'e PendingEngine,
        watcher: &mut dyn Watcher,
        keeper: &mut Keeper,
    ) -> Result<Fused<'e>> {
        Fusion::of_scene(self.scene, self.metadata)
            .config(self.config)
            .known(self.known)
            .memory(self.memory)
            .on_demand(&|| device.engine())
            .watch(watcher)
            .keep(keeper)
            .run()
    }
}

/// What is delivered, and what that is held against.
struct Delivery<'a> {
    target: Target<'a>,
    std_target: Option<Target<'a>>,
    page: Option<PathBuf>,
    /// With the part of it that the result shows, and the grid that it lies on.
    reference: Option<(io::Image, (Part, OnGrid))>,
    /// The HSI in its own unit, where metrics or a page want it; the scene's is scaled. Open since before anything is written
    /// over it.
    original: Option<io::Image>,
    /// What is known of the HSI.
    hsi: Metadata,
    placement: Placement,
}

impl Delivery<'_> {
    fn reference(&self) -> Option<(Cropped<'_>, OnGrid)> {
        let (image, (part, grid)) = self.reference.as_ref()?;
        Some((cropped(image, part), *grid))
    }

    /// The part of the HSI that is fused.
    fn original(&self) -> Option<Cropped<'_>> {
        let hsi = self.original.as_ref()?;
        Some(cropped(hsi, &self.placement.hsi_part))
    }

    /// A result that is not in memory, read back from its file: it is not made a third time.
    fn written(&self, image: &FusedImage) -> Result<Option<io::Image>> {
        if image.is_held() || self.original.is_none() {
            return Ok(None);
        }
        let name = self.target.path.to_string_lossy();
        let metadata = image.metadata();
        let written = io::open_image(&name, metadata.nodata, self.target.memory)?;
        Ok(Some(written.with_metadata(metadata.clone())))
    }

    /// Metrics of the result and of bicubic interpolation, where there is a reference.
    fn measure(
        &self,
        fused: &dyn Maker,
        result: &dyn Strips,
        summary: &mut Summary,
        stages: &mut Stages,
    ) -> Result<()> {
        let (Some((reference, grid)), Some(hsi)) = (self.reference(), self.original()) else {
            return Ok(());
        };
        let (scene, image) = (&fused.fused().scene, FusedImage::new(fused));
        let (metrics, bicubic) = stages.run("metrics", |_| match grid {
            OnGrid::Hsi => compare(&reference, &ModelImage(&image), (&hsi, scene.scale), None),
            OnGrid::Msi => compare(&reference, result, (&hsi, scene.scale), scene.wanted()),
        })?;
        summary.scored_on = Some(grid);
        summary.metrics = Some(metrics);
        summary.bicubic = Some(bicubic);
        Ok(())
    }

    /// How true the deviations are, where they and a reference are there.
    fn calibrated(&self, image: &FusedImage, result: &dyn Strips) -> Result<Option<Calibration>> {
        let (Some((reference, _)), Some(target)) = (self.reference(), &self.std_target) else {
            return Ok(None);
        };
        let name = target.path.to_string_lossy();
        let deviation = io::open_image(&name, image.metadata().nodata, target.memory)?;
        calibration(&deviation, &reference, result).map(Some)
    }

    /// The page, where one is asked for.
    fn show(&self, title: &str, fused: &Fused, result: &dyn Strips, summary: &Summary) -> Result<()> {
        let (Some(path), Some(hsi)) = (&self.page, self.original()) else {
            return Ok(());
        };
        // The page lays images over each other, on the pixels that the model was made on.
        let (image, reference) = (fused.strips(), self.reference());
        let model = ModelImage(&image);
        let resampled = fused.common.scene.wanted().is_some();
        let reference = reference.filter(|(_, grid)| !resampled || *grid == OnGrid::Hsi);
        let images = Images {
            hsi: &hsi,
            result: if resampled { &model } else { result },
            reference: reference.as_ref().map(|(image, _)| image as &dyn Strips),
            true_psf: None,
        };
        write_page(path, title, fused, summary, &images)
    }
}

fn cropped<'a>(image: &'a io::Image, (rows, columns): &Part) -> Cropped<'a> {
    Cropped::new(image, rows.clone(), columns.clone())
}

impl Fuse {
    /// How its images are laid out that are GeoTIFF.
    fn tiff(&self, out: &Path) -> Result<TiffOptions> {
        let others = [&self.save_std, &self.save_suspect].into_iter().flatten();
        let outputs: Vec<&Path> = std::iter::once(out).chain(others.map(PathBuf::as_path)).collect();
        self.creation.tiff(&outputs)
    }

    /// The option that has it show something and fuse nothing.
    pub fn only_shows(&self) -> Option<&'static str> {
        let options = [
            (self.config.dump_config, "--dump-config"),
            (self.dry_run, "--dry-run"),
        ];
        options.iter().find(|(given, _)| *given).map(|(_, name)| *name)
    }

    /// What it reads and writes.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for a name that no result can have.
    pub fn files(&self, set: &mut OutputSet) -> Result<()> {
        let Some(out) = self.out.as_deref().filter(|_| !self.config.dump_config) else {
            return Ok(());
        };
        if self.dry_run {
            set.dry_run();
        }
        self.pair.files(set);
        self.sensors.files(set);
        self.config.files(set);
        if let Some(file) = &self.reference {
            set.reads("--reference", file);
        }
        set.writes_image("--out", out)?;
        self.tiff(out)?;
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
        if self.method.is_some() {
            config.refine = Refine::Off;
        }
        self.refine.apply(&mut config);
        if self.config.dump_config {
            return output.result(&Printed { config: &config }, &config.to_toml()?);
        }
        let out = self
            .out
            .as_deref()
            .ok_or_else(|| Error::input("--out FILE is missing"))?;
        let mut stages = Stages::new(output);
        if let Some(method) = self.method {
            return self.run_method((method, config), out, stages, output);
        }
        let mut keeper = self.checkpoint.keeper(self.resume)?;
        let device = PendingEngine::begin(&self.engine, output)?;
        let (request, delivery) = self.prepare(out, config, &mut stages, output)?;
        if self.dry_run {
            return self.rehearse(&request, &delivery, device.engine()?, &mut keeper, output);
        }
        // A run that is refused for its device leaves no event file.
        match self.log {
            Some(_) => device.engine().map(|_| ())?,
            None => device.look()?,
        }
        let mut log = Log::open(self.log.as_deref(), &request.config.training)?;
        let fused = request.compute(&device, &mut log.watch(stages.watcher()), &mut keeper)?;
        let mut summary = fused.report();
        summary.placement = Some(delivery.placement.clone());
        let image = fused.strips();
        self.deliver(&delivery, &fused, &image, &mut stages, output)?;
        if let Some(target) = &delivery.std_target {
            let deviation = fused.deviation()?;
            stages.run("deviation", |w| {
                write_strips(target, &deviation, &mut |done, total| {
                    w.progress(done, total, None)
                })
            })?;
        }
        let written = delivery.written(&image)?;
        let result: &dyn Strips = written.as_ref().map_or(&image, |written| written);
        delivery.measure(&fused, result, &mut summary, &mut stages)?;
        for (name, scores) in [("fused", &summary.metrics), ("bicubic", &summary.bicubic)] {
            scores.iter().for_each(|s| log.scores(fused.model.step, name, s));
        }
        if let Some(network) = &mut summary.network {
            network.calibration = delivery.calibrated(&image, result)?;
        }
        summary.finish(Some(fused.engine), stages.times, started);
        let title = format!("Fusion of {} and {}", self.pair.hsi(), self.pair.msi());
        delivery.show(&title, &fused, result, &summary)?;
        log.psf(0, &fused.model.start_psf());
        log.psf(fused.model.step, &fused.model.psf());
        log.finish()?;
        keeper.done()?;
        let wavelengths = delivery.hsi.wavelengths.as_deref();
        output.result(&summary, &summary.text(&fused.degradation(), wavelengths))?;
        self.judge(&fused.common.verdict)
    }

    /// The failure that a verdict is with `--strict`.
    fn judge(&self, verdict: &Verdict) -> Result<()> {
        if self.strict && *verdict != Verdict::Good {
            return Err(Error::failed(format!("--strict: the verdict is {verdict}")));
        }
        Ok(())
    }

    /// The same by a method without a network; a device is opened where refinement asks for one.
    fn run_method(
        &self,
        (method, config): (Method, Config),
        out: &Path,
        mut stages: Stages,
        output: &Output,
    ) -> Result<()> {
        let started = Instant::now();
        self.engine.check()?;
        let device = match config.refine {
            Refine::Auto => Some(PendingEngine::begin(&self.engine, output)?),
            Refine::Off => None,
        };
        let (request, delivery) = self.prepare(out, config, &mut stages, output)?;
        let fused = request.by_method(method, device.as_ref(), stages.watcher())?;
        let mut summary = Summary::of_method(&fused);
        summary.placement = Some(delivery.placement.clone());
        let image = fused.strips();
        self.deliver(&delivery, &fused, &image, &mut stages, output)?;
        let written = delivery.written(&image)?;
        let result: &dyn Strips = written.as_ref().map_or(&image, |written| written);
        delivery.measure(&fused, result, &mut summary, &mut stages)?;
        let engine = device.as_ref().map(PendingEngine::engine).transpose()?;
        summary.engine = engine.map(|engine| engine.name());
        summary.mishaps = engine.map_or(Vec::new(), |engine| engine.mishaps());
        summary.finish(engine, stages.times, started);
        let wavelengths = delivery.hsi.wavelengths.as_deref();
        output.result(&summary, &summary.text(&fused.degradation, wavelengths))?;
        self.judge(&fused.common.verdict)
    }

    /// Says what the run would do.
    fn rehearse(
        &self,
        request: &Request,
        delivery: &Delivery,
        engine: &dyn Engine<f32>,
        keeper: &mut Keeper,
        output: &Output,
    ) -> Result<()> {
        let Request {
            scene, known, config, ..
        } = request;
        if keeper.keeps() {
            keeper.begin(Identity::of_fusion(config, engine, scene, known)?)?;
        }
        let mut files = OutputSet::new();
        self.files(&mut files)?;
        let plan = Plan::new(
            (scene, &delivery.placement),
            (foresee(config, scene, known)?, config.training.steps),
            engine.name(),
            request.memory,
            files.planned(),
        );
        output.result(&plan, &plan.text())
    }

    /// Reads and checks everything: what is to be computed, and what is to be delivered.
    fn prepare<'a>(
        &'a self,
        out: &'a Path,
        config: Config,
        stages: &mut Stages,
        output: &Output,
    ) -> Result<(Request, Delivery<'a>)> {
        let page = match &self.report {
            Some(folder) if self.dry_run => Some(folder.join(PAGE)),
            Some(folder) => Some(page_path(folder)?),
            None => None,
        };
        let mut budget = self.scratch.budget(Some(out))?;
        let Pair {
            placed,
            msi_bands,
            hsi: original,
        } = stages.run("read", |_| {
            self.pair.read(output, self.grid, &mut budget, fusion_bytes)
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
            tiff: self.tiff(out)?,
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
        let reference = match &self.reference {
            Some(file) => {
                let image = self.pair.open_reference(file, memory, &original)?;
                let fit = self.fit_reference(&image, shape, &placement)?;
                Some((image, fit))
            }
            None => None,
        };
        told_window(&config, &known, scene.scale)?;
        let request = Request {
            metadata: Metadata::of_fusion(&hsi, &msi),
            scene,
            known,
            config,
            memory,
        };
        let delivery = Delivery {
            original: (reference.is_some() || page.is_some()).then_some(original),
            target,
            std_target,
            page,
            reference,
            hsi,
            placement,
        };
        Ok((request, delivery))
    }

    /// Writes the result, and what can stand beside that of any method.
    fn deliver(
        &self,
        to: &Delivery,
        fused: &dyn Maker,
        image: &FusedImage,
        stages: &mut Stages,
        output: &Output,
    ) -> Result<()> {
        let target = &to.target;
        stages.run("write", |w| {
            write_strips(target, image, &mut |done, total| w.progress(done, total, None))
        })?;
        if image.seconds() > 0.0 {
            split_off(&mut stages.times, "reconstruct again", image.seconds());
        }
        for lost in io::metadata_lost(target.path, image.metadata()) {
            output.say(&format!("note: {} cannot hold {lost}", target.path.display()));
        }
        if let Some(folder) = &self.save_degradation {
            save_degradation(folder, &fused.degradation())?;
        }
        if let Some(path) = &self.save_suspect {
            let suspects = fused.fused().suspects(&to.hsi);
            let target = Target {
                path,
                sample_type: suspects.sample_type,
                ..to.target.clone()
            };
            write_strips(&target, &suspects, &mut |_, _| ())?;
        }
        Ok(())
    }

    /// The reference, which must have finite samples, and the grid that it lies on: that of the result, or of the whole MSI
    /// or HSI of which the result is a part; the HSI's, each pixel divided by the scale, where only that fits.
    fn fit_reference(
        &self,
        image: &io::Image,
        shape: (usize, usize, usize),
        placement: &Placement,
    ) -> Result<(Part, OnGrid)> {
        let (rows, columns, bands) = image.dim();
        let fit = placement.shown((rows, columns), (shape.0, shape.1));
        if let Some((part, grid)) = fit.filter(|_| bands == shape.2) {
            // Bad samples are found now and not after the work.
            strips::for_each(&cropped(image, &part), |_, _| Ok(()))?;
            return Ok((part, grid));
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
