//! A fusion by a method of [`crate::baseline`]: the estimate of PSF and SRF, and where it is asked for denoising and refinement,
//! are those of any fusion.

use std::ops::Range;

use ndarray::{Array3, s};

use crate::baseline::{self, Inputs, Method};
use crate::coordination::fuse::Job;
use crate::coordination::fused_scene::{FusedImage, FusedScene, Maker};
use crate::coordination::memory::method_bytes;
use crate::coordination::model::{Calibration, Degradation};
use crate::coordination::native::Native;
use crate::coordination::refined::{denoised, make_consistent};
use crate::coordination::start::estimate_degradation;
use crate::coordination::watcher::{Watcher, stage};
use crate::error::{Error, Result};
use crate::evidence::agreement::agreement;
use crate::evidence::verdict::verdict;
use crate::sensor::observe::blur_samples;

/// A scene that was fused by a method.
pub struct ByMethod {
    /// What every method leaves.
    pub common: FusedScene,
    /// The method.
    pub method: Method,
    /// PSF and SRF that it went by.
    pub degradation: Degradation,
    /// The image on the pixels of the scene's Y, H×W×B, in the scale of the scene.
    pub samples: Array3<f32>,
}

/// Fuses a scene by `method`. The engine is asked for where the configuration has refinement, and not else.
///
/// # Errors
/// [`Error::Input`] where the scene does not fit the configuration or the image does not fit the job's memory, those of
/// [`baseline::fuse`], [`Error::Interrupted`] after a stop, and what the engine returns.
pub fn fuse_by(method: Method, job: Job, watcher: &mut dyn Watcher) -> Result<ByMethod> {
    let Job {
        engine,
        config,
        mut scene,
        known,
        metadata,
        memory,
    } = job;
    let needed = method_bytes(&scene, method);
    if needed > memory {
        return Err(Error::input(format!(
            "{} holds the whole image, about {} MB, and {} MB may be used; allow more, or take a part of the scene",
            method.name(),
            needed / 1_000_000,
            memory / 1_000_000
        )));
    }
    let mut times = Vec::new();
    let mut refinement = denoised((engine, config), &mut scene, watcher, &mut times)?;
    let estimate = stage("estimate", watcher, &mut times, |_| {
        estimate_degradation(config, &scene, &known)
    })?;
    scene.calibrate(&Calibration {
        hsi_unit: scene.hsi_unit,
        msi_unit: scene.msi_unit,
        gain: estimate.gain.clone(),
        offset: estimate.offset.clone(),
    });
    let degradation = Degradation {
        psf: known
            .psf
            .clone()
            .unwrap_or_else(|| estimate.psf.kernel(estimate.kernel)),
        srf: known.srf.clone().unwrap_or_else(|| estimate.response.clone()),
    };
    let usable = scene.usable();
    let mut samples = stage(method.name(), watcher, &mut times, |w| {
        let inputs = Inputs {
            hsi: scene.lr_hsi.view(),
            msi: scene.hr_msi.view(),
            scale: scene.scale,
            psf: &degradation.psf,
            response: &degradation.srf,
            usable: usable.view(),
        };
        baseline::fuse(method, &inputs, &mut |done, total| w.progress(done, total, None))
    })?;
    let lr_msi = blur_samples(scene.hr_msi.view(), &degradation.psf, scene.scale)?;
    let agreement = agreement(scene.lr_hsi.view(), lr_msi.view(), usable.view());
    if let Some(report) = &mut refinement {
        let engine = engine()?;
        stage("refine", watcher, &mut times, |w| {
            let mut progress = |done, total| w.progress(done, total, None);
            make_consistent(
                engine,
                &scene,
                &degradation.psf,
                &mut samples,
                report,
                &mut progress,
            )
        })?;
    }
    Ok(ByMethod {
        common: FusedScene {
            metadata,
            scene,
            known,
            estimate,
            verdict: verdict(agreement.as_ref(), 0.0),
            agreement,
            suspect: None,
            refinement,
            times,
            placement: None,
        },
        method,
        degradation,
        samples,
    })
}

impl ByMethod {
    /// The result strip by strip: what a writer takes. Masked pixels hold the no-data value, or NaN.
    pub fn strips(&self) -> FusedImage<'_> {
        FusedImage::new(self)
    }
}

impl Maker for ByMethod {
    fn fused(&self) -> &FusedScene {
        &self.common
    }

    fn degradation(&self) -> Degradation {
        self.degradation.clone()
    }

    fn is_held(&self) -> bool {
        true
    }

    fn on_model(&self, rows: Range<usize>) -> Result<Array3<f32>> {
        Ok(self.samples.slice(s![rows, .., ..]).to_owned())
    }

    fn on_native(&self, native: &Native, rows: Range<usize>) -> Result<Array3<f32>> {
        let scene = &self.common.scene;
        native.brought(rows, (scene.scale, scene.hr_valid.view()), &mut |rows| {
            self.on_model(rows)
        })
    }

    fn broken(&self, what: String) -> Error {
        Error::failed(format!("{}: {what}", self.method.name()))
    }
}
