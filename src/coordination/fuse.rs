//! [`fuse`], all stages of a fusion on one scene.

use ndarray::Array2;

use crate::coordination::config::{Config, Robust};
use crate::coordination::crossfit::{self, cross_fit};
use crate::coordination::fused_scene::FusedScene;
use crate::coordination::held_out::weigh;
use crate::coordination::keeper::{Identity, Keeper};
use crate::coordination::memory::fits;
use crate::coordination::prior::{MixedPrior, whole_prior};
use crate::coordination::product::{Fused, Product};
use crate::coordination::refined::{correct_strips, denoised, make_consistent};
use crate::coordination::run::Run;
use crate::coordination::scene::Scene;
use crate::coordination::stages::{fine_tune, train};
use crate::coordination::start::{Known, estimate_degradation, start, usable_pixels};
use crate::coordination::training_set::training_data;
use crate::coordination::watcher::{Watcher, split_off, stage};
use crate::cube::Metadata;
use crate::engine::{Engine, StepLosses};
use crate::error::Result;
use crate::evidence::agreement::agreement;
use crate::evidence::suspects::suspects;
use crate::evidence::verdict::verdict;
use crate::sensor::observe::blur_samples;
use crate::sensor::psf::GaussianPsf;

/// A fusion to be done.
pub struct Job<'a, 'e> {
    /// Asked for the engine when that is needed and not before: a device may open while the images are looked at.
    pub engine: &'a dyn Fn() -> Result<&'e dyn Engine<f32>>,
    /// What decides the result besides the data.
    pub config: &'a Config,
    /// The two images.
    pub scene: Scene,
    /// What is known of the degradation.
    pub known: Known,
    /// What the result is to carry.
    pub metadata: Metadata,
    /// Bytes to stay below where that is possible ([`fits`]).
    pub memory: usize,
}

/// Denoises, estimates, trains, fine-tunes, reconstructs and refines one scene; goes on from a checkpoint where `keeper` has
/// one, with the same bits, whenever the run that wrote it ended.
///
/// The result is held as a whole where the run then stays within `memory` bytes ([`fits`]), and else is a
/// [`Product::Strips`]: the same bits, made row by row. What else is of the size of an image lies where the scene does.
/// What comes before training is made anew, so that a checkpoint holds no image.
///
/// # Errors
/// [`crate::Error::Input`] where the scene does not fit the configuration or the checkpoint is of another run,
/// [`crate::Error::Interrupted`] after a stop, [`crate::Error::Failed`] where training diverges or the device fails, and what
/// `engine` returns.
pub fn fuse<'e>(job: Job<'_, 'e>, watcher: &mut dyn Watcher, keeper: &mut Keeper) -> Result<Fused<'e>> {
    let Job {
        engine,
        config,
        mut scene,
        known,
        metadata,
        memory,
    } = job;
    let mut times = Vec::new();
    let kept = if keeper.keeps() {
        keeper.begin(Identity::of_fusion(config, engine()?, &scene, &known)?)?
    } else {
        None
    };
    let mut refinement = denoised((engine, config), &mut scene, watcher, &mut times)?;
    let suspect = match config.robust {
        Robust::Off => None,
        Robust::Auto => stage("suspects", watcher, &mut times, |_| {
            leave_out_suspects(&mut scene, &known)
        })?,
    };
    let estimate = stage("estimate", watcher, &mut times, |_| {
        estimate_degradation(config, &scene, &known)
    })?;
    let asked = config.settled(usable_pixels(&scene));
    let members = asked.network.members;
    let crossed = crossfit::asked_for(&asked, members);
    let mut own = asked;
    if crossed {
        own.network.members = crossfit::own_members(members);
    }
    let model = start(&own, &mut scene, &known, &estimate)?;
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
        mut model,
        training,
        tuning,
    } = run;
    model.wavelengths = metadata.wavelengths.clone();
    let finetuning = tuning.map(|t| t.history).unwrap_or_default();
    let [scene] = scenes;
    let pixels = (data.usable, data.set.windows);
    let lr_msi = blur_samples(scene.hr_msi.view(), &model.psf(), scene.scale)?;
    let usable = scene.usable();
    let share = suspect.as_ref().map_or(0.0, |marks: &Array2<u8>| {
        marks.iter().filter(|m| **m > 0).count() as f64 / marks.len().max(1) as f64
    });
    let found = agreement(scene.lr_hsi.view(), lr_msi.view(), usable.view());
    let verdict = verdict(found.as_ref(), share);
    let prior = match refinement {
        None => MixedPrior::plain(model),
        Some(_) => {
            let seen = (&scene, lr_msi.view());
            let fit = if crossed {
                Some(stage("cross-fit", watcher, &mut times, |w| {
                    let mut progress = |done: u32, total: u32, losses: &StepLosses| {
                        w.progress(done as usize, total as usize, Some(losses));
                    };
                    cross_fit(engine, &model, members / 2, seen, &data, &mut progress)
                })?)
            } else {
                None
            };
            stage("weigh", watcher, &mut times, |_| {
                weigh(engine, model, seen, fit.as_ref())
            })?
        }
    };
    drop(data);
    let MixedPrior {
        model,
        blend,
        folds,
        report: mixture,
    } = prior;
    let product = if fits(&scene, memory) {
        let mut samples = stage("reconstruct", watcher, &mut times, |w| {
            whole_prior(
                engine,
                (&model, blend.as_ref()),
                scene.hr_msi.view(),
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
                let (correction, seconds) =
                    correct_strips(engine, (&model, blend.as_ref()), &scene, report, &mut progress)?;
                network = seconds;
                Ok(correction)
            })?;
            split_off(&mut times, "reconstruct", network);
        }
        Product::Strips(correction.map(Box::new))
    };
    let common = FusedScene {
        metadata,
        scene,
        known,
        estimate,
        agreement: found,
        verdict,
        suspect,
        refinement,
        times,
        placement: None,
    };
    Ok(Fused {
        common,
        engine,
        product,
        model,
        blend,
        folds,
        mixture,
        training,
        finetuning,
        pixels,
    })
}

/// Variances, LR pixels squared, of the PSFs that suspects are looked for with where none is known: widths of 0.4 to 1.8 LR pixels.
const PLAUSIBLE: [f64; 5] = [0.03, 0.07, 0.18, 0.35, 0.6];

/// Finds LR pixels that the others cannot explain, and masks them in the LR-HSI: what is estimated, trained and refined goes
/// without them. The PSF is not known yet, so several are tried; what lies off is measured by what most pixels do.
fn leave_out_suspects(scene: &mut Scene, known: &Known) -> Result<Option<Array2<u8>>> {
    let scale = scene.scale;
    let psfs = match &known.psf {
        Some(psf) => vec![psf.clone()],
        None => {
            let of = |variance: f64| {
                let precision = 1.0 / (variance.sqrt() * scale as f64);
                let gaussian = GaussianPsf {
                    factor: [precision, 0.0, precision],
                    centre: [0.0; 2],
                };
                gaussian.kernel(3 * scale)
            };
            PLAUSIBLE.map(of).to_vec()
        }
    };
    let blurred = psfs
        .iter()
        .map(|psf| blur_samples(scene.hr_msi.view(), psf, scale));
    let lr_msis = blurred.collect::<Result<Vec<_>>>()?;
    let marks = suspects(scene.lr_hsi.view(), &lr_msis, scene.usable().view());
    if let Some(marks) = &marks {
        scene.lr_valid.zip_mut_with(marks, |ok, &mark| *ok &= mark == 0);
    }
    Ok(marks)
}
