//! The CAVE protocol as one measurement: everything that the paper's experiment computes, on made-up scenes.
//!
//! 16 training scenes of 16 × 16 LR pixels, 100 epochs of 73 steps of 32 patches; then, for each of 16 test scenes, 475
//! fine-tune steps on its 256 LR pixels and the reconstruction of its image. Files and metrics are no part of it.

use std::sync::Arc;
use std::time::Instant;

use ndarray::{Array3, ArrayView3};

use super::sizes::Sizes;
use crate::engine::workload::{self, Workload};
use crate::engine::{Engine, Noise, Output};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::network::Architecture;

/// Scenes of each half, LR pixels a scene, steps of the loop, steps of fine-tuning.
const SCENES: usize = 16;
const LR_PIXELS: usize = 256;
const STEPS: u32 = 7300;
const FINE_TUNE_STEPS: u32 = 475;

/// Seconds of the whole; `sizes` says the LR pixels of a step (and the side of an image), and what all is divided by.
pub fn run(engine: &dyn Engine<f32>, architecture: &Architecture, sizes: &Sizes) -> Result<f64> {
    let shrunk = |n: usize| (n / sizes.shrunk).max(1);
    let windows = SCENES * shrunk(LR_PIXELS);
    let train = Workload {
        windows,
        ..sizes.workload()?
    };
    let finetune = Workload {
        windows: shrunk(LR_PIXELS),
        lr_pixels: shrunk(LR_PIXELS),
        hr_windows: 0,
        noise: Noise::Philox(0),
        frozen_encoder: true,
        ..train.clone()
    };
    let side = sizes.size;
    let image = workload::samples(side * side * architecture.msi_bands, 3);
    let image = ArrayView3::from_shape((side, side, architecture.msi_bands), &image)
        .map_err(|e| Error::failed(format!("bench: image: {e}")))?;
    let mut out = Array3::zeros((side, side, architecture.bands));

    let begin = Instant::now();
    let mut trainer = train.trainer(engine)?;
    for step in 1..=shrunk(STEPS as usize) {
        // A batch is a run of windows, which begins elsewhere in every step.
        let first = step * train.lr_pixels;
        let batch: Arc<[u32]> = (first..first + train.lr_pixels)
            .map(|k| (k % windows) as u32)
            .collect();
        trainer.step(&train.plan(step as u32, &batch))?;
        if step % 100 == 0 {
            interrupt::check()?;
            trainer.losses()?;
        }
    }
    let state = trainer.state()?;
    drop(trainer);
    for _ in 0..shrunk(SCENES) {
        interrupt::check()?;
        let mut trainer = finetune.trainer(engine)?;
        let batch = finetune.batch();
        for step in 1..=shrunk(FINE_TUNE_STEPS as usize) {
            trainer.step(&finetune.plan(step as u32, &batch))?;
        }
        trainer.losses()?;
        engine.reconstruct(architecture, &state, image, 0, Output::Mean, out.view_mut())?;
    }
    Ok(begin.elapsed().as_secs_f64())
}
