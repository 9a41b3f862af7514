//! The training set of some scenes: windows of their LR pixels, as many as may be held, and the batches over them.

use std::collections::BTreeMap;

use ndarray::Array2;

use crate::coordination::batches::{Batches, patches};
use crate::coordination::scene::Scene;
use crate::engine::{Geometry, TrainingSet};
use crate::error::{Error, Result};

/// Bytes of windows and spectra that a training set may hold: a scene with more trains on a part of its patches. Below
/// the 128 MiB that every adapter can bind.
const TRAINING_BYTES: usize = 96 << 20;

/// A training set of some scenes with the batches over it.
pub struct TrainingData {
    /// Windows of the LR pixels that take part.
    pub set: TrainingSet<f32>,
    /// The order in which steps take them.
    pub batches: Batches,
    /// Where each window of `set` lies.
    pub places: Vec<SceneWindow>,
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
        let usable = scene.usable();
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
        places,
        usable,
    })
}

/// An LR pixel: number of its scene, row and column.
pub type SceneWindow = (usize, (usize, usize));

/// As many randomly chosen patches as have at most `room` windows, and their LR pixels, renumbered. At least one
/// patch. Random, because the first rows need not look like the whole scene.
fn random_part(
    places: &[SceneWindow],
    patches: &[Vec<u32>],
    room: usize,
    seed: u64,
) -> (Vec<SceneWindow>, Vec<Vec<u32>>) {
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
