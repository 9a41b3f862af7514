//! [`fuse`], all stages of a fusion on one scene; the training set that they take, and reconstruction. Training and
//! fine-tuning stand in [`crate::coordination::stages`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use ndarray::{Array2, Array3, ArrayView3, ArrayViewMut3, Axis, s};

use crate::coordination::batches::{Batches, patches};
use crate::coordination::config::{Config, Refine};
use crate::coordination::keeper::{Identity, Keeper};
use crate::coordination::memory::fits;
use crate::coordination::model::Model;
use crate::coordination::product::{Product, correct_strips, with_observed};
use crate::coordination::registration::registered_estimate;
use crate::coordination::scene::Scene;
use crate::coordination::stages::{Run, fine_tune, train};
use crate::coordination::start::{Known, start};
use crate::coordination::training::History;
use crate::cube::strips::strip_rows;
use crate::engine::{Engine, Geometry, Output, StepLosses, TrainingSet};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::refine::{RefinementReport, denoise, refine};
use crate::sensor::estimate::Estimate;

/// Bytes of windows and spectra that a training set may hold: a scene with more trains on a part of its patches. Below
/// the 128 MiB that every adapter can bind.
const TRAINING_BYTES: usize = 96 << 20;

/// Wall-clock time of a stage.
#[derive(Debug, Clone, serde::Serialize)]
pub struct StageTime {
    /// Name of the stage.
    pub stage: &'static str,
    /// Seconds.
    pub seconds: f64,
}

/// Whoever watches a run: shows stages and their progress.
pub trait Watcher {
    /// A stage begins.
    fn begin(&mut self, stage: &'static str);
    /// The stage has done this much of its work; `losses` are the newest, where it has any.
    fn progress(&mut self, done: usize, total: usize, losses: Option<&StepLosses>);
    /// The stage is done.
    fn end(&mut self, time: &StageTime);
}

/// Runs one stage under the eyes of `watcher` and notes its time in `times`.
///
/// # Errors
/// Whatever `work` returns.
pub fn stage<R>(
    name: &'static str,
    watcher: &mut dyn Watcher,
    times: &mut Vec<StageTime>,
    work: impl FnOnce(&mut dyn Watcher) -> Result<R>,
) -> Result<R> {
    let started = Instant::now();
    watcher.begin(name);
    let result = work(watcher)?;
    let time = StageTime {
        stage: name,
        seconds: started.elapsed().as_secs_f64(),
    };
    watcher.end(&time);
    times.push(time);
    Ok(result)
}

/// A fused scene, in the scale of the network.
pub struct Fused {
    /// The image.
    pub product: Product,
    /// The scene, calibrated as the model's [`crate::coordination::model::Calibration`] says.
    pub scene: Scene,
    /// The model.
    pub model: Model,
    /// What was found of the degradation before training.
    pub estimate: Estimate,
    /// Shift in HR pixels (row, column) that was taken out of the MSI first.
    pub registered: Option<[f64; 2]>,
    /// Losses of the coordination loop.
    pub training: History,
    /// Losses of fine-tuning; empty where it was left out.
    pub finetuning: History,
    /// LR pixels that could be trained on, and that were.
    pub pixels: (usize, usize),
    /// What refinement found and did; `None` where it was switched off.
    pub refinement: Option<RefinementReport>,
    /// Time of each stage.
    pub times: Vec<StageTime>,
}

/// Denoises, estimates, trains, fine-tunes, reconstructs and refines one scene.
///
/// The result is held as a whole where the run then stays within `memory` bytes ([`fits`]), and else is a
/// [`Product::Strips`]: the same bits, made row by row. What else is of the size of an image lies where the scene does.
///
/// # Errors
/// [`Error::Input`] where the scene does not fit the configuration, [`Error::Interrupted`] after Ctrl-C,
/// [`Error::Failed`] where training diverges or the device fails.
pub fn fuse(
    engine: &dyn Engine<f32>,
    config: &Config,
    scene: Scene,
    known: &Known,
    memory: usize,
    watcher: &mut dyn Watcher,
) -> Result<Fused> {
    let keeper = &mut Keeper::none();
    fuse_kept(&|| Ok(engine), config, scene, known, memory, watcher, keeper)
}

/// [`fuse`] with checkpoints, going on from one where `keeper` has it: with the same bits, whenever the run that
/// wrote it ended.
///
/// What comes before training is made anew, so that a checkpoint holds no image. `engine` is asked for its engine when that
/// is needed and not before: a device may open while the images are looked at.
///
/// # Errors
/// Those of [`fuse`] and of `engine`, and [`Error::Input`] where the checkpoint is of another run.
pub fn fuse_kept<'e>(
    engine: &dyn Fn() -> Result<&'e dyn Engine<f32>>,
    config: &Config,
    mut scene: Scene,
    known: &Known,
    memory: usize,
    watcher: &mut dyn Watcher,
    keeper: &mut Keeper,
) -> Result<Fused> {
    let mut times = Vec::new();
    let kept = match keeper.keeps() {
        true => keeper.begin(
            Identity::of("a fusion", config, engine()?)?
                .scene("", &scene)
                .known(known),
        )?,
        false => None,
    };
    let mut refinement = (config.refine == Refine::Auto).then(RefinementReport::default);
    if let Some(report) = &mut refinement {
        stage("denoise", watcher, &mut times, |_| {
            denoise(
                || Ok(engine()?.refiner()),
                &mut scene.hr_msi,
                scene.hr_valid.view(),
                &scene.store,
                report,
            )
        })?;
    }
    let (estimate, registered) = stage("estimate", watcher, &mut times, |_| {
        registered_estimate(config, &mut scene, known)
    })?;
    let model = start(config, &mut scene, known, &estimate)?;
    let engine = engine()?;
    let mut run = match kept {
        Some(run) => keeper.continued(run, &model)?,
        None => Run::new(model),
    };
    let scenes = [scene];
    let (patch, batch) = (config.training.patch, config.training.batch);
    let mut data = training_data(&scenes, run.model.geometry, patch, batch, config.seed)?;
    stage("train", watcher, &mut times, |w| {
        let mut progress = |done: u32, total: u32, losses: &StepLosses| {
            w.progress(done as usize, total as usize, Some(losses));
        };
        train(engine, &mut run, &mut data, &mut progress, keeper)
    })?;
    stage("fine-tune", watcher, &mut times, |w| {
        let mut progress = |done: u32, total: u32, losses: &StepLosses| {
            w.progress(done as usize, total as usize, Some(losses));
        };
        fine_tune(engine, &mut run, &mut data, &mut progress, keeper)
    })?;
    let Run {
        model,
        training,
        tuning,
    } = run;
    let finetuning = tuning.map(|t| t.history).unwrap_or_default();
    let [scene] = scenes;
    let pixels = (data.usable, data.set.windows);
    drop(data);
    let product = if fits(&scene, memory) {
        let mut samples = stage("reconstruct", watcher, &mut times, |w| {
            reconstruct(
                engine,
                &model,
                scene.hr_msi.view(),
                Output::Mean,
                &mut |done, total| {
                    w.progress(done, total, None);
                },
            )
        })?;
        if let Some(report) = &mut refinement {
            stage("refine", watcher, &mut times, |w| {
                let mut progress = |done, total| w.progress(done, total, None);
                make_consistent(engine, &scene, &model.psf(), &mut samples, report, &mut progress)
            })?;
        }
        Product::Whole(samples)
    } else {
        let mut correction = None;
        if let Some(report) = &mut refinement {
            let mut network = 0.0;
            correction = stage("refine", watcher, &mut times, |w| {
                let mut progress = |done, total| w.progress(done, total, None);
                let (correction, seconds) = correct_strips(engine, &model, &scene, report, &mut progress)?;
                network = seconds;
                Ok(correction)
            })?;
            split_off(&mut times, "reconstruct", network);
        }
        Product::Strips(correction.map(Box::new))
    };
    Ok(Fused {
        product,
        scene,
        model,
        estimate,
        registered,
        training,
        finetuning,
        pixels,
        refinement,
        times,
    })
}

/// Refines `samples` (H×W×B, in the scale of `scene`) towards the LR-HSI through `psf` (K×K).
///
/// # Errors
/// As [`refine`].
pub fn make_consistent(
    engine: &dyn Engine<f32>,
    scene: &Scene,
    psf: &Array2<f64>,
    samples: &mut Array3<f32>,
    report: &mut RefinementReport,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<()> {
    with_observed(scene, psf, |observed| {
        refine(engine.refiner(), observed, samples, report, progress)
    })
}

/// Moves `seconds` of the last stage into a stage of their own before it.
pub fn split_off(times: &mut Vec<StageTime>, stage: &'static str, seconds: f64) {
    if let Some(last) = times.pop() {
        times.push(StageTime { stage, seconds });
        times.push(StageTime {
            seconds: last.seconds - seconds,
            ..last
        });
    }
}

/// A training set of some scenes with the batches over it.
pub struct TrainingData {
    /// Windows of the LR pixels that take part.
    pub set: TrainingSet<f32>,
    /// The order in which steps take them.
    pub batches: Batches,
    /// Usable LR pixels of all scenes; more than `set` holds where not all fit.
    pub usable: usize,
}

/// Cuts scenes into windows and patches of side `patch`, `batch` of them a step.
///
/// # Errors
/// [`Error::Input`] where no patch is free of masked pixels.
pub fn training_data(
    scenes: &[Scene],
    geometry: Geometry,
    patch: usize,
    batch: usize,
    seed: u64,
) -> Result<TrainingData> {
    let mut found: Vec<Vec<u32>> = Vec::new();
    let mut places = Vec::new();
    for (index, scene) in scenes.iter().enumerate() {
        let usable = scene.usable(geometry);
        let numbers = Array2::from_shape_fn(usable.dim(), |at| {
            usable[at].then(|| {
                places.push((index, at));
                places.len() as u32 - 1
            })
        });
        found.extend(patches(&numbers, patch));
    }
    if found.is_empty() {
        return Err(Error::input(format!(
            "no patch of {patch} x {patch} LR pixels without masked pixels; the scene is too small or too much of it is masked"
        )));
    }
    let msi_bands = scenes.first().map_or(1, |s| s.hr_msi.dim().2);
    let bands = scenes.first().map_or(1, |s| s.lr_hsi.dim().2);
    let window_bytes = (geometry.window() * geometry.window() * msi_bands + bands) * size_of::<f32>();
    let room = (TRAINING_BYTES / window_bytes).max(1);
    let usable = places.len();
    if usable > room {
        (places, found) = random_part(&places, &found, room, seed);
    }
    let mut set = TrainingSet {
        lr_hsi: Vec::new(),
        hr_msi: Vec::new(),
        windows: 0,
    };
    for &(scene, at) in &places {
        scenes[scene].append(geometry, at, &mut set);
    }
    Ok(TrainingData {
        set,
        batches: Batches::new(found, batch, seed),
        usable,
    })
}

/// An LR pixel: number of its scene, row and column.
type Place = (usize, (usize, usize));

/// As many randomly chosen patches as have at most `room` windows, and their LR pixels, renumbered. At least one
/// patch. Random, because the first rows need not look like the whole scene.
fn random_part(
    places: &[Place],
    patches: &[Vec<u32>],
    room: usize,
    seed: u64,
) -> (Vec<Place>, Vec<Vec<u32>>) {
    let mut order = Batches::new((0..patches.len() as u32).map(|p| vec![p]).collect(), 1, seed);
    let mut numbers = BTreeMap::new();
    let mut chosen: Vec<&Vec<u32>> = Vec::new();
    for step in 1..=patches.len() as u32 {
        let candidate = &patches[order.batch(step)[0] as usize];
        let new = candidate.iter().filter(|w| !numbers.contains_key(*w)).count();
        if numbers.len() + new > room && !chosen.is_empty() {
            break;
        }
        numbers.extend(candidate.iter().map(|&w| (w, 0)));
        chosen.push(candidate);
    }
    for (new, number) in numbers.values_mut().enumerate() {
        *number = new as u32;
    }
    let renumbered = chosen
        .iter()
        .map(|p| p.iter().map(|w| numbers[w]).collect())
        .collect();
    (numbers.keys().map(|&w| places[w as usize]).collect(), renumbered)
}

/// Runs the network over an HR-MSI (rows × columns × b, scaled as the training data) tile by tile.
///
/// `progress` is told rows done and rows in all.
///
/// # Errors
/// [`Error::Interrupted`] after Ctrl-C, [`Error::Failed`] where the device fails.
pub fn reconstruct(
    engine: &dyn Engine<f32>,
    model: &Model,
    hr_msi: ArrayView3<f32>,
    output: Output,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Array3<f32>> {
    let (rows, columns, _) = hr_msi.dim();
    let bands = model.architecture.bands;
    let mut out = Array3::zeros((rows, columns, bands));
    let tile = strip_rows(columns, bands);
    for (k, mut part) in out.axis_chunks_iter_mut(Axis(0), tile).enumerate() {
        let range = k * tile..k * tile + part.dim().0;
        // A chunk of rows of an array in standard layout is contiguous.
        let part = part.as_slice_mut().unwrap_or_default();
        reconstruct_rows(engine, model, hr_msi, range.clone(), output, part)?;
        progress(range.end, rows);
    }
    Ok(out)
}

/// [`reconstruct`] of some rows of an HR-MSI, into room for them.
///
/// # Errors
/// As [`reconstruct`].
pub fn reconstruct_rows(
    engine: &dyn Engine<f32>,
    model: &Model,
    hr_msi: ArrayView3<f32>,
    rows: Range<usize>,
    output: Output,
    out: &mut [f32],
) -> Result<()> {
    interrupt::check()?;
    let columns = hr_msi.dim().1;
    let shape = (rows.len(), columns, model.architecture.bands);
    let out = ArrayViewMut3::from_shape(shape, out)
        .map_err(|e| Error::failed(format!("room for {} rows of a result: {e}", rows.len())))?;
    engine.reconstruct(
        &model.architecture,
        &model.state,
        hr_msi.slice(s![rows.clone(), .., ..]),
        (rows.start * columns) as u32,
        output,
        out,
    )
}
