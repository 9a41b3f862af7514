//! The front door of the library: two images in memory go in, the fused image comes out.
//!
//! Nothing here opens a file that was not named, and nothing is kept between two fusions: engines, progress and
//! cancellation are handed in.

pub mod trained;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use ndarray::Array2;

use crate::align::files::Named;
use crate::align::register::Align;
use crate::baseline::Method;
use crate::coordination::config::Config;
use crate::coordination::deviation::{self, Deviation};
use crate::coordination::fuse::{Job, fuse};
use crate::coordination::fused_scene::finish;
use crate::coordination::keeper::Keeper;
use crate::coordination::memory::{Dim, MemoryBudget, fusion_bytes, pair_bytes};
use crate::coordination::method::{ByMethod, fuse_by};
use crate::coordination::model::{Degradation, Model};
use crate::coordination::placement::{Ground, OnGrid, Placed, Placement, Placing};
use crate::coordination::product::Fused;
use crate::coordination::response::{psf_file, psf_kernel, srf_file, srf_response};
use crate::coordination::scene::Scene;
use crate::coordination::start::{Known, estimate_degradation, start, told_window};
use crate::coordination::summary::{DegradationSummary, Summary};
use crate::coordination::watcher::{Silent, Watcher};
use crate::cube::strips::Strips;
use crate::cube::view::View;
use crate::cube::{Cube, Metadata, SampleType};
use crate::engine::Engine;
use crate::engine::simd::SimdEngine;
use crate::error::{Error, Result};
use crate::interrupt::Token;
use crate::io::{Target, TiffOptions, write_strips};
use crate::sensor::catalogue::{PsfSpec, SrfSpec, psf_from_matrix, srf_from_matrix};
use crate::sensor::estimate::Estimate;
use crate::sensor::window::of_parity;

/// What a fusion computes on where no engine is named.
static PROCESSOR: LazyLock<SimdEngine> = LazyLock::new(SimdEngine::new);

/// The point spread function of a fusion.
#[derive(Debug, Clone, Default)]
pub enum Psf {
    /// To be estimated from the two images.
    #[default]
    Blind,
    /// K×K non-negative weights on the MSI's pixels; scaled to sum 1.
    Kernel(Array2<f64>),
    /// One by name, or a file's; see [`Psf::named`].
    Named(PsfSpec),
}

impl Psf {
    /// `paper:0` to `paper:5`, `gaussian:VAR1,VAR2,ANGLE`, `disk:RADIUS` or `line:LENGTH,ANGLE`, in pixels of the MSI and
    /// radians; a file of K×K weights, which is what any other name is taken for; `blind`.
    ///
    /// # Errors
    /// [`Error::Input`] for numbers that make no PSF.
    pub fn named(name: &str) -> Result<Psf> {
        match name.parse()? {
            PsfSpec::Blind => Ok(Psf::Blind),
            PsfSpec::File(file) => psf_file(&file).map(|()| Psf::Named(PsfSpec::File(file))),
            named => Ok(Psf::Named(named)),
        }
    }

    /// The kernel for a ratio of the grids, sum 1, of the ratio's parity; in a window of `side` where that is said. `None` for
    /// one that is to be estimated.
    ///
    /// # Errors
    /// [`Error::Input`] for weights that are no PSF, and a file that holds none.
    pub fn kernel(&self, side: Option<usize>, scale: usize) -> Result<Option<Array2<f64>>> {
        match self {
            Psf::Blind => Ok(None),
            Psf::Kernel(kernel) => {
                let kernel = psf_from_matrix(kernel.clone(), "the PSF")?;
                Ok(Some(of_parity(kernel, scale)))
            }
            Psf::Named(named) => psf_kernel(named, side, scale),
        }
    }
}

/// The spectral response of a fusion.
#[derive(Debug, Clone, Default)]
pub enum Srf {
    /// To be estimated from the two images.
    #[default]
    Blind,
    /// B×b non-negative weights, a row a band of the HSI and a column a band of the MSI; columns are scaled to sum 1.
    Matrix(Array2<f64>),
    /// A sensor's, resampled to the wavelengths of the HSI, or a file's; see [`Srf::named`].
    Named(SrfSpec),
}

impl Srf {
    /// A known sensor ([`crate::sensor::catalogue::sensor_names`]), or some of its bands as in `sentinel-2a:B2,B3`; a file of
    /// B×b weights, or of curves over wavelength, which is what any other name is taken for; `blind`.
    ///
    /// # Errors
    /// [`Error::Input`] for bands that the sensor has not.
    pub fn named(name: &str) -> Result<Srf> {
        match name.parse()? {
            SrfSpec::Blind => Ok(Srf::Blind),
            SrfSpec::File(file) => srf_file(&file).map(|()| Srf::Named(SrfSpec::File(file))),
            named => Ok(Srf::Named(named)),
        }
    }

    /// The response for an HSI of so many bands and these metadata, B×b, columns sum to 1. `None` for one that is to be
    /// estimated.
    ///
    /// # Errors
    /// [`Error::Input`] for weights that are no response of this image, and where its wavelengths are not known or do not
    /// reach over a band of the sensor.
    pub fn response(&self, metadata: &Metadata, bands: usize) -> Result<Option<Array2<f64>>> {
        match self {
            Srf::Blind => Ok(None),
            Srf::Matrix(matrix) => srf_from_matrix(matrix.clone(), bands, "the SRF").map(Some),
            Srf::Named(named) => srf_response(named, metadata, bands, None),
        }
    }
}

/// The two images, as they were handed in.
enum Pair<'a> {
    Images(Box<[View<'a>; 2]>),
    Scene(Box<(Scene, Metadata)>),
}

/// What is known and wanted.
struct Choices {
    /// The error of a preset that is not there is told by [`Fusion::run`].
    config: Result<Config>,
    psf: Psf,
    srf: Srf,
    known: Known,
    placing: Placing,
    /// The ratio of the pixel grids that is expected.
    scale: Option<usize>,
    memory: usize,
    scratch: Option<PathBuf>,
}

/// The same, checked against a scene.
struct Prepared {
    config: Config,
    scene: Scene,
    known: Known,
    metadata: Metadata,
    /// Where the scene is of two images that were placed here.
    placement: Option<Placement>,
}

enum Device<'a, 'e> {
    Open(&'e dyn Engine<f32>),
    OnDemand(&'a dyn Fn() -> Result<&'e dyn Engine<f32>>),
}

/// A fusion to be run: two images of one scene, and how.
///
/// ```
/// use hsr_gpu::{Fusion, Psf};
/// use ndarray::Array3;
///
/// # fn main() -> hsr_gpu::Result<()> {
/// let z = |r: f32, c: f32, b: f32| 1.0 + (0.3 * r + 0.2 * b).sin() * (0.4 * c - 0.3 * b).cos();
/// let hsi = Array3::from_shape_fn((8, 8, 9), |(r, c, b)| z(2.0 * r as f32 + 0.5, 2.0 * c as f32 + 0.5, b as f32));
/// let msi = Array3::from_shape_fn((16, 16, 3), |(r, c, b)| z(r as f32, c as f32, 3.0 * b as f32 + 1.0));
///
/// let fused = Fusion::new(&hsi, &msi)
///     .psf(Psf::Blind)
///     .settings(|config| config.training.steps = 50)
///     .run()?;
/// assert_eq!(fused.image()?.samples.dim(), (16, 16, 9));
/// # Ok(())
/// # }
/// ```
pub struct Fusion<'a, 'e> {
    pair: Pair<'a>,
    choices: Choices,
    device: Device<'a, 'e>,
    watcher: Option<&'a mut dyn Watcher>,
    keeper: Option<&'a mut Keeper>,
    token: Option<Token>,
}

impl<'a, 'e> Fusion<'a, 'e> {
    /// Of a low-resolution hyperspectral image (h×w×B) and a high-resolution multispectral image (H×W×b) of one scene: arrays,
    /// array views, a [`crate::cube::Cube`], or a [`View`] with what else is known of an image.
    ///
    /// H/h and W/w are one integer. Where both images have a pixel grid in their metadata, it says the ratio and which parts
    /// they share ([`Fusion::ignore_georeference`]).
    pub fn new(hsi: impl Into<View<'a>>, msi: impl Into<View<'a>>) -> Self {
        Fusion::of(Pair::Images(Box::new([hsi.into(), msi.into()])))
    }

    /// Of a scene that is read and scaled already; `metadata` is what the result is to carry.
    pub fn of_scene(scene: Scene, metadata: Metadata) -> Self {
        Fusion::of(Pair::Scene(Box::new((scene, metadata))))
    }

    fn of(pair: Pair<'a>) -> Self {
        Fusion {
            pair,
            choices: Choices {
                config: Config::load("single-scene", None),
                psf: Psf::Blind,
                srf: Srf::Blind,
                known: Known::default(),
                placing: Placing::default(),
                scale: None,
                memory: usize::MAX,
                scratch: None,
            },
            device: Device::Open(&*PROCESSOR),
            watcher: None,
            keeper: None,
            token: None,
        }
    }

    /// What is known of the point spread function.
    pub fn psf(mut self, psf: Psf) -> Self {
        self.choices.psf = psf;
        self
    }

    /// What is known of the spectral response.
    pub fn srf(mut self, srf: Srf) -> Self {
        self.choices.srf = srf;
        self
    }

    /// PSF and SRF that are checked and scaled already.
    pub fn known(mut self, known: Known) -> Self {
        self.choices.known = known;
        self
    }

    /// The configuration, as [`Config::load`] makes it. The default is the preset `single-scene`.
    pub fn config(mut self, config: Config) -> Self {
        self.choices.config = Ok(config);
        self
    }

    /// Changes some settings of the configuration.
    pub fn settings(mut self, change: impl FnOnce(&mut Config)) -> Self {
        if let Ok(config) = &mut self.choices.config {
            change(config);
        }
        self
    }

    /// Seed of weights, noise and batches: the same seed on the same device gives the same bits.
    pub fn seed(self, seed: u64) -> Self {
        self.settings(|config| config.seed = seed)
    }

    /// Whose pixels the result lies on; the MSI's by default.
    pub fn grid(mut self, grid: OnGrid) -> Self {
        self.choices.placing.grid = grid;
        self
    }

    /// How far the two images are registered to each other; as far as held-out LR pixels reward it by default.
    pub fn align(mut self, align: Align) -> Self {
        self.choices.placing.align = align;
        self
    }

    /// The ratio of the pixel grids that is expected: images that have another are refused.
    pub fn scale(mut self, scale: usize) -> Self {
        self.choices.scale = Some(scale);
        self
    }

    /// Goes by the sizes of the two images, whatever their grids say.
    pub fn ignore_georeference(mut self) -> Self {
        self.choices.placing.by_sizes = true;
        self
    }

    /// Bytes of memory to stay below where that is possible. Images of a larger scene lie on disk, and a larger result is made
    /// strip by strip whenever rows of it are asked for; no bit of it changes.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.choices.memory = bytes;
        self
    }

    /// The folder for what lies on disk; without it that of the system for temporary files.
    pub fn scratch(mut self, folder: impl Into<PathBuf>) -> Self {
        self.choices.scratch = Some(folder.into());
        self
    }

    /// The engine to compute on; without it the processor.
    pub fn on(mut self, engine: &'e dyn Engine<f32>) -> Self {
        self.device = Device::Open(engine);
        self
    }

    /// An engine that is asked for where it is first computed on, and not before: a device may open beside what needs none.
    pub fn on_demand(mut self, engine: &'a dyn Fn() -> Result<&'e dyn Engine<f32>>) -> Self {
        self.device = Device::OnDemand(engine);
        self
    }

    /// Whoever is told of stages and their progress.
    pub fn watch(mut self, watcher: &'a mut dyn Watcher) -> Self {
        self.watcher = Some(watcher);
        self
    }

    /// Leaves checkpoints, or goes on from one.
    pub fn keep(mut self, keeper: &'a mut Keeper) -> Self {
        self.keeper = Some(keeper);
        self
    }

    /// The token that stops the fusion when another thread cancels it.
    pub fn cancel(mut self, token: &Token) -> Self {
        self.token = Some(token.clone());
        self
    }

    /// Runs all stages: denoising, the estimate of PSF and SRF, training, fine-tuning, reconstruction and refinement.
    ///
    /// # Errors
    /// [`Error::Input`] where the two images do not fit each other or what is known of the sensors,
    /// [`Error::Interrupted`] after a stop, [`Error::Failed`] where training diverges, [`Error::Device`] where a device fails.
    pub fn run(self) -> Result<Fused<'e>> {
        self.with_job(|job, watcher, keeper, placement| {
            let mut fused = fuse(job, watcher, keeper)?;
            fused.common.placement = placement;
            Ok(fused)
        })
    }

    /// Fuses by a method without a network instead. Of the settings it takes what PSF and SRF are estimated by, and refinement.
    ///
    /// # Errors
    /// As [`Fusion::run`].
    pub fn run_method(self, method: Method) -> Result<ByMethod> {
        self.with_job(|job, watcher, _, placement| {
            let mut fused = fuse_by(method, job, watcher)?;
            fused.common.placement = placement;
            Ok(fused)
        })
    }

    fn with_job<R>(
        mut self,
        run: impl FnOnce(Job<'_, 'e>, &mut dyn Watcher, &mut Keeper, Option<Placement>) -> Result<R>,
    ) -> Result<R> {
        let token = self.token.take().unwrap_or_default();
        token.during(|| {
            let prepared = self.choices.prepare(self.pair)?;
            let open = || match self.device {
                Device::Open(engine) => Ok(engine),
                Device::OnDemand(engine) => engine(),
            };
            let job = Job {
                engine: &open,
                config: &prepared.config,
                scene: prepared.scene,
                known: prepared.known,
                metadata: prepared.metadata,
                memory: self.choices.memory,
            };
            let (silent, none) = (&mut Silent, &mut Keeper::none());
            let (watcher, keeper) = (self.watcher.unwrap_or(silent), self.keeper.unwrap_or(none));
            run(job, watcher, keeper, prepared.placement)
        })
    }

    /// Estimates PSF and SRF from the two images alone and ends there: seconds instead of minutes.
    ///
    /// # Errors
    /// [`Error::Input`] where the two images do not fit each other, have no usable pixel or are zero throughout,
    /// [`Error::Interrupted`] after a stop.
    pub fn estimate(mut self) -> Result<Estimated> {
        let token = self.token.take().unwrap_or_default();
        token.during(|| {
            let Prepared {
                config,
                mut scene,
                known,
                metadata,
                placement,
            } = self.choices.prepare(self.pair)?;
            let found = estimate_degradation(&config, &scene, &known)?;
            let model = start(&config, &mut scene, &known, &found)?;
            Ok(Estimated {
                found,
                model,
                known,
                wavelengths: metadata.wavelengths,
                placement,
            })
        })
    }

    /// Brings the MSI onto the pixels of the HSI, each divided by the ratio rounded up, and says what was found of its place.
    ///
    /// # Errors
    /// [`Error::Input`] where the two images share no ground, [`Error::Interrupted`] after a stop.
    pub fn aligned(mut self) -> Result<Aligned> {
        let token = self.token.take().unwrap_or_default();
        self.choices.placing.grid = OnGrid::Hsi;
        token.during(|| match &self.pair {
            Pair::Images(images) => {
                let placed = self.choices.placed(&images[0], &images[1], pair_bytes)?;
                let Placed {
                    scene,
                    msi,
                    placement,
                    ..
                } = placed;
                let samples = scene.hr_msi.view().to_owned();
                let image = finish(samples, scene.msi_unit, scene.hr_valid.view(), msi)?;
                Ok(Aligned { image, placement })
            }
            Pair::Scene(_) => Err(Error::input("a scene that is read already is aligned already")),
        })
    }
}

impl Choices {
    fn prepare(&self, pair: Pair) -> Result<Prepared> {
        let config = self.config.clone()?;
        config.check("the settings of the fusion")?;
        let (scene, metadata, placement) = match pair {
            Pair::Scene(pair) => {
                let (scene, metadata) = *pair;
                (scene, metadata, None)
            }
            Pair::Images(images) => {
                let placed = self.placed(&images[0], &images[1], fusion_bytes)?;
                let metadata = Metadata::of_fusion(&placed.hsi, &placed.msi);
                (placed.scene, metadata, Some(placed.placement))
            }
        };
        if let Some(scale) = self.scale.filter(|&scale| scale != scene.scale) {
            return Err(Error::input(format!(
                "a ratio of {scale} was asked for, but an HSI pixel is {} MSI pixels wide; leave it out, or take other images",
                scene.scale
            )));
        }
        let side = match config.degradation.kernel {
            0 => None,
            side => Some(side),
        };
        let psf = self.psf.kernel(side, scene.scale)?;
        let (bands, msi_bands) = (scene.lr_hsi.dim().2, scene.hr_msi.dim().2);
        let srf = self.srf.response(&metadata, bands)?;
        if let Some(srf) = srf.as_ref().filter(|srf| srf.ncols() != msi_bands) {
            return Err(Error::input(format!(
                "the SRF has {} bands and the MSI {msi_bands}; name those of the sensor that the MSI has, as in sentinel-2a:B2,B3",
                srf.ncols()
            )));
        }
        let known = Known {
            psf: psf.or_else(|| self.known.psf.clone()),
            srf: srf.or_else(|| self.known.srf.clone()),
        };
        told_window(&config, &known, scene.scale)?;
        Ok(Prepared {
            config,
            scene,
            known,
            metadata,
            placement,
        })
    }

    /// The two images as a scene of the ground that they share; `need` says what bytes one takes.
    fn placed(&self, hsi: &dyn Strips, msi: &dyn Strips, need: impl Fn(Dim, Dim) -> usize) -> Result<Placed> {
        let hsi = Named {
            name: "the HSI",
            image: hsi,
        };
        let msi = Named {
            name: "the MSI",
            image: msi,
        };
        let ground = Ground::new(hsi, msi, self.placing)?;
        let folder = self.scratch.clone().unwrap_or_else(std::env::temp_dir);
        let mut budget = MemoryBudget::new(self.memory, folder);
        let store = budget.place(ground.bytes(need))?;
        ground.read(store, &mut |_, _| Ok(()))
    }
}

/// PSF and SRF of two images before any training.
pub struct Estimated {
    /// What the images say, with its misfit and standard errors.
    pub found: Estimate,
    /// The model that a training would start from.
    pub model: Model,
    /// What was known.
    pub known: Known,
    /// Centres of the HSI's bands in nm, where they are known.
    pub wavelengths: Option<Vec<f64>>,
    /// How the images lie on each other; `None` for a scene that came placed.
    pub placement: Option<Placement>,
}

impl Estimated {
    /// PSF and SRF.
    pub fn degradation(&self) -> Degradation {
        self.model.degradation()
    }

    /// The estimate in numbers.
    pub fn report(&self) -> DegradationSummary {
        let used = (&self.degradation(), self.model.gaussian());
        DegradationSummary::new(used, &self.found, &self.known, self.wavelengths.as_deref())
    }
}

/// An MSI on the pixels of an HSI, each divided by the ratio.
pub struct Aligned {
    /// The MSI, s·h × s·w × b in its own unit; pixels that it does not show are masked.
    pub image: Cube,
    /// What was found of its place.
    pub placement: Placement,
}

impl Fused<'_> {
    /// Writes the result, strip by strip, in the format that the name of `path` asks for; an existing file is replaced when
    /// the new one is whole.
    ///
    /// # Errors
    /// [`crate::Error::Input`] where the file cannot be written or its format cannot hold the result, those of its rows.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let target = Target {
            path: path.as_ref(),
            sample_type: SampleType::F32,
            interleave: None,
            memory: usize::MAX,
            tiff: TiffOptions::default(),
        };
        write_strips(&target, &self.strips(), &mut |_, _| ()).map(drop)
    }

    /// PSF and SRF.
    pub fn degradation(&self) -> Degradation {
        self.model.degradation()
    }

    /// A standard deviation for every sample of the result, strip by strip.
    ///
    /// # Errors
    /// [`crate::Error::Input`] where there is one member and its standard deviation was not trained.
    pub fn deviation(&self) -> Result<Deviation<'_>> {
        let config = &self.model.config;
        deviation::check(self.model.architecture.members, config.training.sampling)?;
        Deviation::new(self)
    }

    /// What the run tells of itself, in numbers.
    pub fn report(&self) -> Summary {
        Summary::new(self)
    }
}
