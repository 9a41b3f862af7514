//! The stages of a fusion, one function each: train the model on scenes, fine-tune it, reconstruct.

use std::collections::BTreeMap;

use ndarray::{Array2, Array3, s};

use crate::coordination::batches::{Batches, patches};
use crate::coordination::config::FineTunePsf;
use crate::coordination::model::Model;
use crate::coordination::scene::Scene;
use crate::coordination::training::{History, Progress, coordinate, fine_tune};
use crate::engine::{Engine, Geometry, Output, TrainingSet};
use crate::error::{Error, Result};
use crate::interrupt;

/// Bytes of HR-MSI windows that a training set may hold: a scene with more trains on a part of its patches. Below
/// the 128 MiB that every adapter can bind.
const TRAINING_BYTES: usize = 96 << 20;
/// Bytes of result that are reconstructed at once.
const TILE_BYTES: usize = 32 << 20;

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
    let tile = (TILE_BYTES / (columns * bands * size_of::<f32>())).clamp(1, rows);
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
