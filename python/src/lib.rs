//! `hsr_gpu._core`: the front door of the library for Python, in terms of NumPy arrays and JSON.
//!
//! What Python users see stands in `hsr_gpu/__init__.py`. Here arrays are borrowed, work runs on a thread of its own without
//! Python's lock, and this thread reports progress and looks for Ctrl-C. Settings and reports cross as JSON, so that neither
//! side has a second list of their names.

mod engines;
mod images;
mod work;

use hsr_gpu::align::register::Align;
use hsr_gpu::coordination::checkpoint;
use hsr_gpu::coordination::config::Config;
use hsr_gpu::coordination::placement::{OnGrid, Placing};
use hsr_gpu::coordination::watcher::Watcher;
use hsr_gpu::cube::Cube;
use hsr_gpu::cube::bands::BandSelection;
use hsr_gpu::cube::strips::{Cropped, Strips};
use hsr_gpu::cube::view::View;
use hsr_gpu::engine::Engine;
use hsr_gpu::metrics::{self, Convention};
use hsr_gpu::sensor::observe::Observation;
use hsr_gpu::sensor::observe_strips::{Blurred, Noisy, Responded};
use hsr_gpu::trained::{self, Work};
use hsr_gpu::{Degradation, Error, Fusion, Psf, Srf};
use std::path::Path;

use numpy::{PyArray2, PyArray3, PyReadonlyArray2};
use pyo3::prelude::*;
use serde::Deserialize;

use crate::images::{Facts, Image, Loaded, Source};
use crate::work::{python_error, run};

/// Samples and what is known of them (JSON).
type Samples<'py> = (Bound<'py, PyArray3<f32>>, String);

/// A fused image, its standard deviation (or None), what is known of its pixels (JSON), PSF, SRF and report (JSON).
type FusedParts<'py> = (
    Samples<'py>,
    Option<Bound<'py, PyArray3<f32>>>,
    Bound<'py, PyArray2<f64>>,
    Bound<'py, PyArray2<f64>>,
    String,
);

/// PSF, SRF and report (JSON).
type EstimateParts<'py> = (Bound<'py, PyArray2<f64>>, Bound<'py, PyArray2<f64>>, String);

/// A PSF or SRF: its name, or its weights.
#[derive(FromPyObject)]
enum Response<'py> {
    #[pyo3(transparent)]
    Named(String),
    #[pyo3(transparent)]
    Weights(PyReadonlyArray2<'py, f64>),
}

impl Response<'_> {
    fn psf(&self) -> PyResult<Psf> {
        match self {
            Response::Named(name) => Psf::named(name).map_err(python_error),
            Response::Weights(weights) => Ok(Psf::Kernel(weights.as_array().to_owned())),
        }
    }

    fn srf(&self) -> PyResult<Srf> {
        match self {
            Response::Named(name) => Srf::named(name).map_err(python_error),
            Response::Weights(weights) => Ok(Srf::Matrix(weights.as_array().to_owned())),
        }
    }
}

/// How a fusion is to run; what is left out is as `hsr_gpu.fuse` has it.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    preset: String,
    /// Tables and keys of a configuration that win over the preset's.
    config: toml::Table,
    seed: u64,
    backend: String,
    adapter: Option<String>,
    std: bool,
    ignore_georeference: bool,
    grid: OnGrid,
    align: Align,
    scale: Option<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            preset: "single-scene".to_owned(),
            config: toml::Table::new(),
            seed: 0,
            backend: "cpu".to_owned(),
            adapter: None,
            std: false,
            ignore_georeference: false,
            grid: OnGrid::default(),
            align: Align::default(),
            scale: None,
        }
    }
}

impl Settings {
    fn parse(json: &str) -> hsr_gpu::Result<(Settings, Config)> {
        let settings: Settings = serde_json::from_str(json)
            .map_err(|e| Error::input(format!("settings: {}", without_place(&e))))?;
        let over = toml::to_string(&settings.config)
            .map_err(|e| Error::input(format!("settings of the fusion: {e}")))?;
        let mut config = Config::load(&settings.preset, Some(("settings of the fusion", &over)))?;
        config.seed = settings.seed;
        Ok((settings, config))
    }

    /// Work on models with these settings.
    fn work<'a>(&self, engine: &'a dyn Engine<f32>, watcher: &'a mut dyn Watcher) -> Work<'a> {
        let placing = Placing {
            by_sizes: self.ignore_georeference,
            align: self.align,
            grid: OnGrid::Msi,
        };
        Work {
            engine,
            watcher,
            placing,
        }
    }

    /// A fusion of two images with these settings, but for what it computes on.
    fn fusion<'a>(&self, config: Config, (hsi, msi): (View<'a>, View<'a>)) -> Fusion<'a, 'static> {
        let mut fusion = Fusion::new(hsi, msi)
            .config(config)
            .grid(self.grid)
            .align(self.align);
        if self.ignore_georeference {
            fusion = fusion.ignore_georeference();
        }
        match self.scale {
            Some(scale) => fusion.scale(scale),
            None => fusion,
        }
    }
}

/// Fuses two images; see `hsr_gpu.fuse`.
#[pyfunction]
fn fuse<'py>(
    py: Python<'py>,
    images: (Image<'py>, Image<'py>),
    responses: (Response<'py>, Response<'py>),
    settings: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<FusedParts<'py>> {
    let (settings, config) = Settings::parse(settings).map_err(python_error)?;
    let (psf, srf) = (responses.0.psf()?, responses.1.srf()?);
    let (hsi, msi) = (images.0.source()?, images.1.source()?);
    let (image, std, psf, srf, report) = run(py, progress, move |watcher, token| {
        let engine = engines::open(&settings.backend, settings.adapter.as_deref())?;
        let (hsi, msi) = load_pair(hsi, msi)?;
        let fusion = settings.fusion(config, (hsi.view(), msi.view()));
        let fusion = fusion.psf(psf).srf(srf).on(engine);
        let fused = fusion.watch(watcher).cancel(token).run()?;
        let std = if settings.std {
            let deviation = fused.deviation()?;
            Some(deviation.rows(0..deviation.dim().0)?.samples)
        } else {
            None
        };
        let report = json(&fused.report())?;
        let found = fused.degradation();
        Ok((fused.image()?, std, found.psf, found.srf, report))
    })?;
    Ok((
        handed_out(py, image)?,
        std.map(|std| PyArray3::from_owned_array(py, std)),
        PyArray2::from_owned_array(py, psf),
        PyArray2::from_owned_array(py, srf),
        report,
    ))
}

/// Estimates PSF and SRF; see `hsr_gpu.estimate`.
#[pyfunction]
fn estimate<'py>(
    py: Python<'py>,
    images: (Image<'py>, Image<'py>),
    responses: (Response<'py>, Response<'py>),
    settings: &str,
) -> PyResult<EstimateParts<'py>> {
    let (settings, config) = Settings::parse(settings).map_err(python_error)?;
    let (psf, srf) = (responses.0.psf()?, responses.1.srf()?);
    let (hsi, msi) = (images.0.source()?, images.1.source()?);
    let (psf, srf, report) = run(py, None, move |_, token| {
        let (hsi, msi) = load_pair(hsi, msi)?;
        let fusion = settings.fusion(config, (hsi.view(), msi.view()));
        let found = fusion.psf(psf).srf(srf).cancel(token).estimate()?;
        let Degradation { psf, srf } = found.degradation();
        Ok((psf, srf, json(&found.report())?))
    })?;
    Ok((
        PyArray2::from_owned_array(py, psf),
        PyArray2::from_owned_array(py, srf),
        report,
    ))
}

/// The MSI on the HSI's pixels divided by the ratio; see `hsr_gpu.align`. Returns samples, what is known of them (JSON) and
/// the placement (JSON).
#[pyfunction]
fn align<'py>(
    py: Python<'py>,
    images: (Image<'py>, Image<'py>),
    settings: &str,
) -> PyResult<(Samples<'py>, String)> {
    let (settings, config) = Settings::parse(settings).map_err(python_error)?;
    let (hsi, msi) = (images.0.source()?, images.1.source()?);
    let (image, placement) = run(py, None, move |_, token| {
        let (hsi, msi) = load_pair(hsi, msi)?;
        let fusion = settings.fusion(config, (hsi.view(), msi.view()));
        let found = fusion.cancel(token).aligned()?;
        Ok((found.image, json(&found.placement)?))
    })?;
    Ok((handed_out(py, image)?, placement))
}

/// Trains a model on pairs and writes it to `out`; see `hsr_gpu.train`. Returns the objective as JSON.
#[pyfunction]
fn train<'py>(
    py: Python<'py>,
    pairs: Vec<(Image<'py>, Image<'py>)>,
    responses: (Response<'py>, Response<'py>),
    settings: &str,
    out: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let (settings, config) = Settings::parse(settings).map_err(python_error)?;
    let (psf, srf) = (responses.0.psf()?, responses.1.srf()?);
    let sources = pairs
        .iter()
        .map(|(hsi, msi)| Ok((hsi.source()?, msi.source()?)))
        .collect::<PyResult<Vec<_>>>()?;
    run(py, progress, move |watcher, token| {
        token.during(|| {
            let engine = engines::open(&settings.backend, settings.adapter.as_deref())?;
            let loaded = sources
                .into_iter()
                .map(|(hsi, msi)| load_pair(hsi, msi))
                .collect::<hsr_gpu::Result<Vec<_>>>()?;
            let views: Vec<[View; 2]> = loaded.iter().map(|(hsi, msi)| [hsi.view(), msi.view()]).collect();
            let work = settings.work(engine, watcher);
            let made = trained::train(&views, &config, (&psf, &srf), work)?;
            checkpoint::save(Path::new(out), &made.model)?;
            json(&made.objective)
        })
    })
}

/// Tunes a model to one more pair and writes it to `out`; see `hsr_gpu.finetune`. `psf` none leaves the model's. Returns the objective as JSON.
#[pyfunction]
fn finetune<'py>(
    py: Python<'py>,
    models: (String, String),
    images: (Image<'py>, Image<'py>),
    psf: Option<Response<'py>>,
    settings: (String, Option<u32>),
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let (settings, steps) = settings;
    let (settings, _) = Settings::parse(&settings).map_err(python_error)?;
    let psf = psf.map(|psf| psf.psf()).transpose()?;
    let (hsi, msi) = (images.0.source()?, images.1.source()?);
    let (from, out) = models;
    run(py, progress, move |watcher, token| {
        token.during(|| {
            let mut model = checkpoint::load(Path::new(&from))?;
            if let Some(steps) = steps {
                model.config.finetune.steps = steps;
            }
            let engine = engines::open(&settings.backend, settings.adapter.as_deref())?;
            let (hsi, msi) = load_pair(hsi, msi)?;
            let work = settings.work(engine, watcher);
            let made = trained::fine_tune(model, [&hsi.view(), &msi.view()], psf.as_ref(), work)?;
            checkpoint::save(Path::new(&out), &made.model)?;
            json(&made.objective)
        })
    })
}

/// The image that a model makes of an MSI; see `hsr_gpu.infer`.
#[pyfunction]
fn infer<'py>(
    py: Python<'py>,
    model: &str,
    msi: Image<'py>,
    backend: &str,
    adapter: Option<String>,
) -> PyResult<Samples<'py>> {
    let source = msi.source()?;
    let image = run(py, None, move |_, token| {
        token.during(|| {
            let model = checkpoint::load(Path::new(model))?;
            let engine = engines::open(backend, adapter.as_deref())?;
            let msi = source.load("the MSI", BandSelection::All)?;
            trained::infer(&model, &msi.view(), engine)
        })
    })?;
    handed_out(py, image)
}

/// Makes both images of a reference; see `hsr_gpu.simulate`. `noise` is (SNR of the HSI, SNR of the MSI, seed). Returns
/// samples and what is known of them (JSON) of the HSI, the MSI and the part of the reference that they show.
#[pyfunction]
fn simulate<'py>(
    py: Python<'py>,
    reference: Image<'py>,
    responses: (Response<'py>, Response<'py>),
    scale: usize,
    noise: (Option<f64>, Option<f64>, u64),
) -> PyResult<[Samples<'py>; 3]> {
    let (psf, srf) = (responses.0.psf()?, responses.1.srf()?);
    let source = reference.source()?;
    let images = run(py, None, move |_, token| {
        token.during(|| {
            let blind = |what| Error::input(format!("a simulation needs the {what}; give weights or a name"));
            let reference = source.load("the reference", BandSelection::default())?;
            let reference = reference.view();
            if scale == 0 {
                return Err(Error::input("the ratio of the pixel grids is an integer from 1"));
            }
            let psf = psf.kernel(None, scale)?.ok_or_else(|| blind("PSF"))?;
            let srf = srf.response(reference.metadata(), reference.dim().2)?;
            let srf = srf.ok_or_else(|| blind("SRF"))?;
            let blurred = Blurred::within(&reference, &psf, scale)?;
            let [rows, columns] = blurred.covered();
            let seen = Cropped::new(&reference, rows, columns);
            let responded = Responded::new(&seen, &srf)?;
            let (snr_hsi, snr_msi, seed) = noise;
            let hsi = Noisy::new(&blurred, snr_hsi, seed, Observation::LrHsi)?;
            let msi = Noisy::new(&responded, snr_msi, seed, Observation::HrMsi)?;
            Ok([whole(&hsi)?, whole(&msi)?, whole(&seen)?])
        })
    })?;
    let [hsi, msi, reference] = images.map(|image| handed_out(py, image));
    Ok([hsi?, msi?, reference?])
}

/// Indices of an estimate as JSON; see `hsr_gpu.evaluate`.
#[pyfunction]
fn evaluate(
    py: Python<'_>,
    images: (Image<'_>, Image<'_>),
    scale: Option<usize>,
    convention: &str,
) -> PyResult<String> {
    let convention: Convention = convention.parse().map_err(python_error)?;
    let (reference, estimate) = (images.0.source()?, images.1.source()?);
    run(py, None, move |_, token| {
        token.during(|| {
            let reference = reference.load("the reference", BandSelection::default())?;
            let estimate = estimate.load("the estimate", BandSelection::default())?;
            let scores = metrics::evaluate(
                &reference.view(),
                &estimate.view(),
                scale.unwrap_or(1),
                convention,
            )?;
            json(&scores)
        })
    })
}

/// Reads an image file: samples and what is known of them as JSON.
#[pyfunction]
fn read<'py>(py: Python<'py>, path: &str) -> PyResult<Samples<'py>> {
    let path = path.to_owned();
    let image: Cube = run(py, None, move |_, token| {
        token.during(|| hsr_gpu::io::read_image(&path, None))
    })?;
    handed_out(py, image)
}

/// Writes an image file; see `hsr_gpu.Fused.write`.
#[pyfunction]
fn write(py: Python<'_>, image: Image<'_>, path: &str) -> PyResult<()> {
    let (source, path) = (image.source()?, path.to_owned());
    run(py, None, move |_, token| {
        token.during(|| {
            hsr_gpu::io::write_cube(&path, &source.load("the image", BandSelection::All)?.into_cube()?)
        })
    })
}

/// The GPU adapters of this machine as JSON.
#[pyfunction]
fn devices(py: Python<'_>) -> PyResult<String> {
    run(py, None, |_, _| json(&hsr_gpu::engine::gpu::adapters()))
}

/// Both images of a pair; of an HSI's file the bands are left out that it marks as bad, as the program does.
fn load_pair<'a>(hsi: Source<'a>, msi: Source<'a>) -> hsr_gpu::Result<(Loaded<'a>, Loaded<'a>)> {
    Ok((
        hsi.load("the HSI", BandSelection::default())?,
        msi.load("the MSI", BandSelection::All)?,
    ))
}

/// All rows of an image.
fn whole(image: &dyn Strips) -> hsr_gpu::Result<Cube> {
    image.rows(0..image.dim().0)
}

/// An image as Python has it.
fn handed_out(py: Python<'_>, image: Cube) -> PyResult<Samples<'_>> {
    let facts = json(&Facts::of(&image)).map_err(python_error)?;
    Ok((PyArray3::from_owned_array(py, image.samples), facts))
}

/// An error of JSON without its line and column, of which the user wrote none.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.split_once(" at line ") {
        Some((what, _)) => what.to_owned(),
        None => text,
    }
}

fn json<T: serde::Serialize>(value: &T) -> hsr_gpu::Result<String> {
    serde_json::to_string(value).map_err(|e| Error::failed(format!("a report as JSON: {e}")))
}

/// The module.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(fuse, module)?)?;
    module.add_function(wrap_pyfunction!(estimate, module)?)?;
    module.add_function(wrap_pyfunction!(align, module)?)?;
    module.add_function(wrap_pyfunction!(train, module)?)?;
    module.add_function(wrap_pyfunction!(finetune, module)?)?;
    module.add_function(wrap_pyfunction!(infer, module)?)?;
    module.add_function(wrap_pyfunction!(simulate, module)?)?;
    module.add_function(wrap_pyfunction!(evaluate, module)?)?;
    module.add_function(wrap_pyfunction!(read, module)?)?;
    module.add_function(wrap_pyfunction!(write, module)?)?;
    module.add_function(wrap_pyfunction!(devices, module)?)
}
