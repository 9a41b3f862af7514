//! Runs of the paper's own network and schedule: coordination loop, partial fine-tuning, the course of both.

use std::sync::Arc;
use std::time::Instant;

use crate::coordination::config::Config;
use crate::coordination::keeper::{Identity, Keeper};
use crate::coordination::model::Model;
use crate::coordination::reconstruct::reconstruct;
use crate::coordination::run::Run;
use crate::coordination::scene::Scene;
use crate::coordination::stages::{Epochs, fine_tune_in_epochs, train_in_epochs};
use crate::coordination::start::{Known, start_on_scenes};
use crate::coordination::training::History;
use crate::coordination::training_set::training_data;
use crate::coordination::watcher::{StageTime, Watcher, stage};
use crate::cube::Cube;
use crate::engine::{Engine, Output};
use crate::error::Result;
use crate::experiment::observed::{Made, Observed};
use crate::experiment::paper::{EPOCH, FINETUNE_EPOCH};
use crate::experiment::trace::{Point, Trace, nrmse};
use crate::metrics::{Convention, evaluate};

/// Most epochs of a traced run whose reconstruction is measured.
const MEASURED: u32 = 50;
/// A run of the paper's method on an observed scene.
pub(super) struct Task<'a> {
    /// The device.
    pub engine: &'a dyn Engine<f32>,
    /// The configuration, with the run's own laid over it.
    pub config: &'a Config,
    /// Whether the course is kept.
    pub traced: bool,
    /// The scene that is fused.
    pub observed: &'a Observed,
    /// The scenes that are trained on where they are others.
    pub others: &'a [Observed],
}

/// A model after the coordination loop.
#[derive(Clone)]
pub(super) struct Trained {
    model: Model,
    /// The scene that is fused, in the model's units.
    scene: Arc<Scene>,
    trace: Option<Trace>,
    seconds: f64,
}

impl Task<'_> {
    /// The coordination loop. It goes on from a checkpoint that `keeper` finds, unless the course is kept, which is not
    /// in checkpoints.
    ///
    /// # Errors
    /// [`Error::Input`] where a scene does not fit, [`Error::Failed`] where training diverges or the device fails,
    /// [`Error::Interrupted`] after Ctrl-C.
    pub fn train(&self, watcher: &mut dyn Watcher, mut keeper: Keeper) -> Result<Trained> {
        if self.traced {
            keeper = Keeper::none();
        }
        let mut times = Vec::new();
        let mut scene = self.observed.scene()?;
        let mut scenes = match self.others {
            [] => vec![self.observed.scene()?],
            others => others.iter().map(Observed::scene).collect::<Result<Vec<_>>>()?,
        };
        let mut kept = None;
        if keeper.keeps() {
            let mut identity = Identity::of("a cell", self.config, self.engine)?;
            for (k, scene) in scenes.iter().enumerate() {
                identity = identity.scene(&format!(" of scene {}", k + 1), scene);
            }
            kept = keeper.begin(identity)?;
        }
        let model = stage("estimate", watcher, &mut times, |_| {
            start_on_scenes(self.config, &mut scenes, &Known::default())
        })?;
        scene.calibrate(&model.calibration);
        let training = &self.config.training;
        let (patch, batch) = (training.patch, training.batch);
        let mut data = training_data(&scenes, model.geometry, patch, batch, self.config.seed)?;
        drop(scenes);
        let mut course = Course::new(self, &scene, training.steps / EPOCH);
        if self.traced {
            course.add(&model, None, true)?;
        }
        let mut run = match kept {
            Some(run) => keeper.continued(run, &model)?,
            None => Run::new(model),
        };
        stage("train", watcher, &mut times, |w| {
            let mut progress =
                |done: u32, total: u32, losses: &_| w.progress(done as usize, total as usize, Some(losses));
            let mut epochs = Epochs {
                length: EPOCH,
                at_end: &mut |model, epoch| {
                    if self.traced {
                        course.add(model, Some(epoch), model.step == training.steps)
                    } else {
                        Ok(())
                    }
                },
            };
            train_in_epochs(
                self.engine,
                &mut run,
                &mut data,
                &mut epochs,
                &mut progress,
                &mut keeper,
            )
        })?;
        let model = run.model;
        let seconds = keeper.seconds_before() + total(&times) - course.aside;
        let points = course.points;
        Ok(Trained {
            trace: self
                .traced
                .then(|| Trace::new(EPOCH, points, model.geometry.kernel)),
            model,
            scene: Arc::new(scene),
            seconds,
        })
    }

    /// Partial fine-tuning, where the configuration has it, and the result.
    ///
    /// # Errors
    /// As [`Task::train`].
    pub fn finish(&self, trained: Trained, watcher: &mut dyn Watcher) -> Result<Made> {
        let Trained {
            mut model,
            scene,
            mut trace,
            seconds,
        } = trained;
        model.config.finetune = self.config.finetune.clone();
        let mut times = Vec::new();
        let batch = self.config.training.batch.max(1024);
        let mut course = Course::new(self, &scene, 0);
        if self.config.finetune.steps > 0 {
            // As `finetune` does it: single LR pixels, all of the scene in a step where they are no more than 1,024.
            let mut data = training_data(
                std::slice::from_ref(&*scene),
                model.geometry,
                1,
                batch,
                self.config.seed,
            )?;
            if self.traced {
                course.add(&model, None, true)?;
            }
            model = stage("fine-tune", watcher, &mut times, |w| {
                let mut progress = |done: u32, total: u32, losses: &_| {
                    w.progress(done as usize, total as usize, Some(losses))
                };
                let mut at_end = |model: &Model, epoch: &History| {
                    if self.traced {
                        course.add(model, Some(epoch), true)
                    } else {
                        Ok(())
                    }
                };
                let mut epochs = Epochs {
                    length: FINETUNE_EPOCH,
                    at_end: &mut at_end,
                };
                let mut run = Run::new(model);
                fine_tune_in_epochs(
                    self.engine,
                    &mut run,
                    &mut data,
                    &mut epochs,
                    &mut progress,
                    &mut Keeper::none(),
                )?;
                Ok(run.model)
            })?;
        }
        if let Some(trace) = &mut trace {
            trace.finetuning = course.points;
        }
        let aside = course.aside;
        let samples = stage("reconstruct", watcher, &mut times, |_| {
            reconstruct(
                self.engine,
                &model,
                scene.hr_msi.view(),
                Output::Mean,
                &mut |_, _| (),
            )
        })?;
        let image = self.observed.finished(samples, &scene)?;
        Ok(Made {
            dead_bands: Some(dead_bands(&image)),
            image,
            degradation: Some((model.psf(), model.srf())),
            seconds: seconds + total(&times) - aside,
            trace,
        })
    }
}

/// Keeps the course of a stage.
struct Course<'a> {
    task: &'a Task<'a>,
    scene: &'a Scene,
    points: Vec<Point>,
    /// Epochs from one measured to the next.
    every: usize,
    /// Seconds spent on looking.
    aside: f64,
}

impl<'a> Course<'a> {
    fn new(task: &'a Task<'a>, scene: &'a Scene, epochs: u32) -> Self {
        Course {
            task,
            scene,
            points: Vec::new(),
            every: epochs.div_ceil(MEASURED).max(1) as usize,
            aside: 0.0,
        }
    }

    /// Adds the model as it stands after `epoch`; its reconstruction is measured in its turn, or if it `must` be.
    fn add(&mut self, model: &Model, epoch: Option<&History>, must: bool) -> Result<()> {
        let began = Instant::now();
        let training = &model.config.training;
        let losses = epoch.and_then(|h| h.epochs(u32::MAX, training.alpha, training.beta).pop());
        let observed = self.task.observed;
        let measured = must || self.points.len().is_multiple_of(self.every);
        let image = if measured { Some(self.image(model)?) } else { None };
        let scores = |image: &Cube| evaluate(&observed.reference, image, observed.scale, Convention::Strict);
        let psf = model.gaussian().map_or(Vec::new(), |g| g.parameters().to_vec());
        self.points.push(Point {
            step: losses.as_ref().map_or(model.step, |l| l.step),
            degradation: losses.as_ref().and_then(|l| l.degradation),
            network: losses.as_ref().map(|l| l.network),
            error: losses.as_ref().map(|l| l.error),
            psf,
            psf_nrmse: nrmse(&model.psf(), &observed.psf),
            srf_nrmse: observed.srf.as_ref().map(|srf| nrmse(&model.srf(), srf)),
            scores: image.as_ref().map(scores).transpose()?,
            dead_bands: image.as_ref().map(dead_bands),
        });
        self.aside += began.elapsed().as_secs_f64();
        Ok(())
    }

    fn image(&self, model: &Model) -> Result<Cube> {
        let samples = reconstruct(
            self.task.engine,
            model,
            self.scene.hr_msi.view(),
            Output::Mean,
            &mut |_, _| (),
        )?;
        self.task.observed.finished(samples, self.scene)
    }
}

/// Bands that are zero everywhere.
fn dead_bands(image: &Cube) -> usize {
    let bands = image.samples.axis_iter(ndarray::Axis(2));
    bands.filter(|band| band.iter().all(|&x| x == 0.0)).count()
}

fn total(times: &[StageTime]) -> f64 {
    times.iter().map(|t| t.seconds).sum()
}
