//! Refinement of a scene's result, held as a whole or made strip by strip.

use std::ops::Range;
use web_time::Instant;

use ndarray::{Array2, Array3};

use crate::baseline::regression::Blend;
use crate::coordination::config::{Config, Refine};
use crate::coordination::model::Model;
use crate::coordination::prior::prior_rows;
use crate::coordination::scene::Scene;
use crate::coordination::watcher::{StageTime, Watcher, stage};
use crate::cube::strips;
use crate::engine::refinement::Refiner;
use crate::engine::{Engine, Geometry};
use crate::error::Result;
use crate::refine::consistency::{Correction, Observed, Prior, correct};
use crate::refine::{RefinementReport, denoise, refine};

/// Denoises a scene where the configuration has refinement, for whose report this is the first part; the engine is asked for where there
/// is noise.
///
/// # Errors
/// As [`denoise()`], and [`crate::Error::Interrupted`] after a stop.
pub fn denoised<'e>(
    (engine, config): (&dyn Fn() -> Result<&'e dyn Engine<f32>>, &Config),
    scene: &mut Scene,
    watcher: &mut dyn Watcher,
    times: &mut Vec<StageTime>,
) -> Result<Option<RefinementReport>> {
    let mut refinement = (config.refine == Refine::Auto).then(RefinementReport::default);
    if let Some(report) = &mut refinement {
        stage("denoise", watcher, times, |_| {
            denoise_scene(|| Ok(engine()?.refiner()), scene, report)
        })?;
    }
    Ok(refinement)
}

/// Denoises the MSI of a scene, on its own pixels, where noise is independent; what is resampled from it follows.
///
/// # Errors
/// As [`denoise()`].
fn denoise_scene<'r>(
    refiner: impl FnOnce() -> Result<&'r dyn Refiner<f32>>,
    scene: &mut Scene,
    report: &mut RefinementReport,
) -> Result<()> {
    let Some(native) = &mut scene.native else {
        return denoise(
            refiner,
            &mut scene.hr_msi,
            scene.hr_valid.view(),
            &scene.store,
            report,
        );
    };
    denoise(
        refiner,
        &mut native.msi,
        native.valid.view(),
        &scene.store,
        report,
    )?;
    let (rows, columns, _) = scene.lr_hsi.dim();
    (scene.hr_msi, scene.hr_valid) = native.resampled([rows, columns], scene.scale, &scene.store)?;
    Ok(())
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

/// What is observed of a scene, as [`correct`] takes it.
fn with_observed<R>(
    scene: &Scene,
    psf: &Array2<f64>,
    work: impl FnOnce(&Observed) -> Result<R>,
) -> Result<R> {
    let geometry = Geometry {
        scale: scene.scale,
        kernel: psf.nrows(),
    };
    let usable = scene.usable();
    work(&Observed {
        lr_hsi: scene.lr_hsi.view(),
        hr_msi: scene.hr_msi.view(),
        usable: usable.view(),
        psf,
        geometry,
        strip_rows: strips::strip_rows(scene.hr_msi.dim().1, scene.lr_hsi.dim().2),
        store: &scene.store,
    })
}

/// Finds what refinement adds to the network's image without holding that; gives the seconds of the network, too.
///
/// # Errors
/// As [`correct`] and `reconstruct_rows`.
pub fn correct_strips(
    engine: &dyn Engine<f32>,
    prior: (&Model, Option<&Blend>),
    scene: &Scene,
    report: &mut RefinementReport,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(Option<Correction>, f64)> {
    let mut seconds = 0.0;
    let mut make = |range: Range<usize>, out: &mut [f32]| -> Result<()> {
        let started = Instant::now();
        prior_rows(engine, prior, scene.hr_msi.view(), range, out)?;
        seconds += started.elapsed().as_secs_f64();
        Ok(())
    };
    let correction = with_observed(scene, &prior.0.psf(), |observed| {
        correct(
            engine.refiner(),
            observed,
            &mut Prior::Made(&mut make),
            report,
            progress,
        )
    })?;
    Ok((correction, seconds))
}
