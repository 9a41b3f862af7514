//! Members that have not seen all of a scene: for every fold of the LR pixels some are trained on the others, for several
//! lengths of training. What they say of the pixels that they have not seen is what predictions are weighed by, and their
//! mean is as good a prediction as that of members that have seen everything.
//!
//! They take half of the members' number, so a run costs what it costs without them. They train after the model, on the
//! degradation that it ended with, and are not in checkpoints: a resumed run trains them anew, with the same bits.

use ndarray::{Array2, ArrayView3};

use crate::coordination::config::{Config, Refine};
use crate::coordination::model::Model;
use crate::coordination::scene::Scene;
use crate::coordination::start::linear_path;
use crate::coordination::training::{Coordination, Progress, coordinate};
use crate::coordination::training_set::TrainingData;
use crate::engine::{Engine, StepLosses, TrainingState};
use crate::error::Result;
use crate::evidence::folds::{FOLDS, folds};
use crate::network::{MOST_MEMBERS, initial_parameters};

/// Lengths of training in shares of the schedule. On few LR pixels the short ones predict better what was not seen.
const LENGTHS: [f64; 3] = [0.06, 0.24, 1.0];

/// Cross-fitted members of a scene.
#[derive(Debug, Clone)]
pub struct CrossFit {
    /// The fold of every LR pixel, h×w.
    pub folds: Array2<u8>,
    /// One a length of training, the longest last.
    pub lengths: Vec<Length>,
}

/// Members of one length of training.
#[derive(Debug, Clone)]
pub struct Length {
    /// Steps.
    pub steps: u32,
    /// For every fold the members that have not seen it.
    pub folds: Vec<Model>,
}

/// Members that a run with cross-fitted ones gives to the model itself, of those that the configuration asks for: the other half
/// is cross-fitted.
pub fn own_members(members: usize) -> usize {
    // The shorter trainings have a member a fold each.
    let fitted = members / 2 + (LENGTHS.len() - 1) * FOLDS;
    members
        .div_ceil(2)
        .min(MOST_MEMBERS - fitted.min(MOST_MEMBERS - 1))
}

/// Whether a run of this configuration has cross-fitted members: where each fold gets at least one of half the members.
pub fn asked_for(config: &Config, members: usize) -> bool {
    config.refine == Refine::Auto && members / 2 >= FOLDS
}

/// Trains members on all folds but one each, `members` of them for the longest training over all folds.
///
/// # Errors
/// As [`coordinate`].
pub fn cross_fit(
    engine: &dyn Engine<f32>,
    model: &Model,
    members: usize,
    (scene, lr_msi): (&Scene, ArrayView3<f32>),
    data: &TrainingData,
    progress: &mut Progress,
) -> Result<CrossFit> {
    let (rows, columns) = scene.lr_valid.dim();
    let dealt = folds(rows * columns, model.config.seed);
    let folds = Array2::from_shape_fn((rows, columns), |(r, c)| dealt[r * columns + c]);
    let usable = scene.usable();
    let schedule = &model.config.training;
    let steps = LENGTHS.map(|share| ((f64::from(schedule.steps) * share).round() as u32).max(1));
    let total = steps.iter().sum::<u32>() * FOLDS as u32;
    let mut lengths: Vec<Length> = steps
        .map(|steps| Length {
            steps,
            folds: Vec::new(),
        })
        .into();
    let mut done = 0;
    for fold in 0..FOLDS {
        let seen = |at: (usize, usize)| usize::from(folds[at]) != fold;
        let own = |window: u32| data.places.get(window as usize).is_some_and(|&(_, at)| seen(at));
        // Of fewer LR pixels than folds some fold holds all there are: then nothing is held out.
        let mut batches = data.batches.of_part(own).unwrap_or_else(|| data.batches.clone());
        let mut pixels = usable.clone();
        pixels.indexed_iter_mut().for_each(|(at, ok)| *ok &= seen(at));
        let linear = if model.architecture.linear_path && pixels.iter().any(|&ok| ok) {
            linear_path(&model.architecture, scene, lr_msi, pixels.view())?
        } else {
            model.state.linear.clone()
        };
        for (number, length) in lengths.iter_mut().enumerate() {
            let mut part = model.clone();
            part.config.training.steps = length.steps;
            part.architecture.members = if number + 1 == LENGTHS.len() {
                (members / FOLDS).max(1)
            } else {
                1
            };
            // Seeds of their own, so that no member starts as another.
            let seed = model.config.seed.wrapping_add((1 + number * FOLDS + fold) as u64) ^ (1 << 40);
            let start = initial_parameters(&part.architecture, part.config.network.initialisation, seed);
            part.state = TrainingState::start(&part.architecture, start, model.state.degradation.clone());
            part.state.linear = linear.clone();
            let problem = part.problem(batches.capacity(), false);
            let mut trainer = engine.trainer(&problem, &data.set, part.state.clone())?;
            let mut degradation = part.config.degradation.clone();
            degradation.coordination = false;
            let task = Coordination {
                training: &part.config.training,
                degradation: &degradation,
                members: part.architecture.members,
                start: &model.start,
            };
            let mut report = |step: u32, _: u32, losses: &StepLosses| progress(done + step, total, losses);
            coordinate(
                trainer.as_mut(),
                &task,
                &mut batches,
                1..=length.steps,
                &mut Vec::new(),
                &mut report,
            )?;
            part.state = trainer.state()?;
            part.step = length.steps;
            done += length.steps;
            length.folds.push(part);
        }
    }
    Ok(CrossFit { folds, lengths })
}
