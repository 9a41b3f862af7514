//! The stages of a fusion, one function each: train the model on scenes, fine-tune it, reconstruct; and
//! [`fuse`], all of them on one scene.

use std::collections::BTreeMap;
use std::time::Instant;

use ndarray::{Array2, Array3, s};

use crate::coordination::batches::{Batches, patches};
use crate::coordination::config::{Config, FineTunePsf, Refine};
use crate::coordination::model::Model;
use crate::coordination::registration::registered_estimate;
use crate::coordination::scene::Scene;
use crate::coordination::start::{Known, start};
use crate::coordination::training::{History, Progress, coordinate, fine_tune};
use crate::cube::{Cube, Metadata};
use crate::engine::{Engine, Geometry, Output, StepLosses, TrainingSet};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::refine::consistency::Observed;
use crate::refine::{RefinementReport, denoise, refine};
use crate::sensor::estimate::Estimate;

/// Bytes of HR-MSI windows that a training set may hold: a scene with more trains on a part of its patches. Below
/// the 128 MiB that every adapter can bind.
const TRAINING_BYTES: usize = 96 << 20;
/// Bytes of result that are reconstructed at once.
const TILE_BYTES: usize = 32 << 20;

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
    /// H×W×B.
    pub samples: Array3<f32>,
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
/// # Errors
/// [`Error::Input`] where the scene does not fit the configuration, [`Error::Interrupted`] after Ctrl-C,
/// [`Error::Failed`] where training diverges or the device fails.
pub fn fuse(
    engine: &dyn Engine<f32>,
    config: &Config,
    mut scene: Scene,
    known: &Known,
    watcher: &mut dyn Watcher,
) -> Result<Fused> {
    let mut times = Vec::new();
    let mut refinement = (config.refine == Refine::Auto).then(RefinementReport::default);
    if let Some(report) = &mut refinement {
        stage("denoise", watcher, &mut times, |_| {
            denoise(engine.refiner(), &mut scene.hr_msi, scene.hr_valid.view(), report)
        })?;
    }
    let (estimate, registered) = stage("estimate", watcher, &mut times, |_| {
        registered_estimate(config, &mut scene, known)
    })?;
    let mut model = start(config, &mut scene, known, &estimate)?;
    let scenes = [scene];
    let (patch, batch) = (config.training.patch, config.training.batch);
    let mut data = training_data(&scenes, model.geometry, patch, batch, config.seed)?;
    let training = stage("train", watcher, &mut times, |w| {
        train(engine, &mut model, &mut data, &mut |done, total, losses| {
            w.progress(done as usize, total as usize, Some(losses));
        })
    })?;
    let finetuning = stage("fine-tune", watcher, &mut times, |w| {
        fine_tune_model(engine, &mut model, &mut data, &mut |done, total, losses| {
            w.progress(done as usize, total as usize, Some(losses));
        })
    })?;
    let [scene] = scenes;
    let mut samples = stage("reconstruct", watcher, &mut times, |w| {
        reconstruct(engine, &model, &scene.hr_msi, Output::Mean, &mut |done, total| {
            w.progress(done, total, None);
        })
    })?;
    if let Some(report) = &mut refinement {
        stage("refine", watcher, &mut times, |_| {
            make_consistent(engine, &scene, &model.psf(), &mut samples, report)
        })?;
    }
    let pixels = (data.usable, data.set.windows);
    Ok(Fused {
        samples,
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
) -> Result<()> {
    let geometry = Geometry {
        scale: scene.scale,
        kernel: psf.nrows(),
    };
    let usable = scene.usable(geometry);
    let observed = Observed {
        lr_hsi: scene.lr_hsi.view(),
        hr_msi: scene.hr_msi.view(),
        usable: usable.view(),
        psf,
        geometry,
        strip_rows: tile_rows(scene.hr_msi.dim().1, scene.lr_hsi.dim().2),
    };
    refine(engine.refiner(), &observed, samples, report)
}

/// Brings a reconstruction back to the HSI's unit and marks masked pixels with the no-data value.
pub fn finish(mut samples: Array3<f32>, scene: &Scene, metadata: Metadata) -> Cube {
    samples *= scene.hsi_unit;
    let masked = scene.hr_valid.iter().any(|&ok| !ok);
    let mut image = Cube::new(samples);
    image.metadata = metadata;
    if masked {
        let value = image.metadata.nodata.unwrap_or(f64::NAN);
        for ((r, c), &ok) in scene.hr_valid.indexed_iter() {
            if !ok {
                image.samples.slice_mut(s![r, c, ..]).fill(value as f32);
            }
        }
        image.metadata.nodata = Some(value);
        image.valid = Some(scene.hr_valid.clone());
    }
    image
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
    let window_bytes = geometry.window() * geometry.window() * msi_bands * size_of::<f32>();
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

/// Runs the coordination loop from `model.step` to the end of its schedule.
///
/// # Errors
/// As [`coordinate`]. After [`Error::Interrupted`] the model stands where the loop stopped; after any other error it
/// is as it was before the call.
pub fn train(
    engine: &dyn Engine<f32>,
    model: &mut Model,
    data: &mut TrainingData,
    progress: &mut Progress,
) -> Result<History> {
    let problem = model.problem(data.batches.capacity(), false);
    let mut trainer = engine.trainer(&problem, &data.set, model.state.clone())?;
    let mut degradation = model.config.degradation.clone();
    degradation.coordination &= model.learns_degradation();
    let mut reached = model.step;
    let first = model.step + 1;
    let result = coordinate(
        trainer.as_mut(),
        &model.config.training,
        &degradation,
        model.architecture.members,
        &mut data.batches,
        first,
        &mut |done, total, losses| {
            reached = losses.step;
            progress(done, total, losses);
        },
    );
    if matches!(result, Ok(_) | Err(Error::Interrupted(_))) {
        model.state = trainer.state()?;
        model.step = reached;
    }
    result
}

/// Partial fine-tuning of the decoders on a scene's LR pixels, with fresh moments.
///
/// # Errors
/// As [`fine_tune`]; the model is as it was before the call.
pub fn fine_tune_model(
    engine: &dyn Engine<f32>,
    model: &mut Model,
    data: &mut TrainingData,
    progress: &mut Progress,
) -> Result<History> {
    let config = model.config.finetune.clone();
    if config.steps == 0 {
        return Ok(History::default());
    }
    let problem = model.problem(data.batches.capacity(), true);
    let mut state = model.state.clone();
    if config.psf == FineTunePsf::Start {
        state.degradation = model.start.clone();
    }
    state.network_m.fill(0.0);
    state.network_v.fill(0.0);
    state.network_updates = 0;
    let mut trainer = engine.trainer(&problem, &data.set, state)?;
    let history = fine_tune(
        trainer.as_mut(),
        &config,
        &mut data.batches,
        model.step + 1,
        progress,
    )?;
    model.state.network = trainer.state()?.network;
    Ok(history)
}

/// Rows of a result of this many columns and bands that are worked on at once.
fn tile_rows(columns: usize, bands: usize) -> usize {
    (TILE_BYTES / (columns * bands * size_of::<f32>())).max(1)
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
    hr_msi: &Array3<f32>,
    output: Output,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Array3<f32>> {
    let (rows, columns, _) = hr_msi.dim();
    let bands = model.architecture.bands;
    let tile = tile_rows(columns, bands).min(rows);
    let mut out = Array3::zeros((rows, columns, bands));
    for first in (0..rows).step_by(tile) {
        interrupt::check()?;
        let end = (first + tile).min(rows);
        engine.reconstruct(
            &model.architecture,
            &model.state,
            hr_msi.slice(s![first..end, .., ..]),
            (first * columns) as u32,
            output,
            out.slice_mut(s![first..end, .., ..]),
        )?;
        progress(end, rows);
    }
    Ok(out)
}
