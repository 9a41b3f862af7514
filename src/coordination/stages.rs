//! Training and fine-tuning as stages of a run: where the loop is held to look for dead outputs, to end an epoch and to
//! leave a checkpoint. None of these stops changes a bit of what comes out.

use crate::coordination::keeper::Keeper;
use crate::coordination::model::Model;
use crate::coordination::revival::{Witnesses, checks, mortal};
use crate::coordination::run::{Run, Tuning};
use crate::coordination::training::{
    self, Coordination, FineTuning, History, Progress, coordinate, on_plateau,
};
use crate::coordination::training_set::TrainingData;
use crate::engine::{Engine, StepLosses, TrainingState};
use crate::error::{Error, Result};

/// Told at the end of every epoch: the model as it stands and the epoch's losses.
pub type EpochEnd<'a> = dyn FnMut(&Model, &History) -> Result<()> + 'a;

/// Epochs of a stage.
pub struct Epochs<'a> {
    /// Steps of an epoch.
    pub length: u32,
    /// What is done at its end.
    pub at_end: &'a mut EpochEnd<'a>,
}

impl Epochs<'_> {
    /// Last step of the epoch that comes after `step`.
    fn end(&self, step: u32) -> u32 {
        let length = self.length.max(1);
        (step / length).saturating_add(1).saturating_mul(length)
    }

    /// Ends an epoch at the newest of `steps`, numbered from `before` + 1.
    fn finish(&mut self, model: &Model, steps: &[StepLosses], before: u32) -> Result<()> {
        let last = steps.last().map_or(0, |l| l.step - before);
        let first = last.saturating_sub(1) / self.length.max(1) * self.length.max(1);
        let from = steps.partition_point(|l| l.step - before <= first);
        let epoch = History {
            steps: steps[from..].to_vec(),
            ..History::default()
        };
        (self.at_end)(model, &epoch)
    }
}

/// Runs the coordination loop from `run.model.step` to the end of its schedule, or to a plateau of L_φ where it is
/// configured to end there.
///
/// # Errors
/// As [`train_in_epochs`].
pub fn train(
    engine: &dyn Engine<f32>,
    run: &mut Run,
    data: &mut TrainingData,
    progress: &mut Progress,
    keeper: &mut Keeper,
) -> Result<()> {
    let mut epochs = Epochs {
        length: u32::MAX,
        at_end: &mut |_, _| Ok(()),
    };
    train_in_epochs(engine, run, data, &mut epochs, progress, keeper)
}

/// [`train`] in epochs. The result is the same; their ends may look at the model in between.
///
/// # Errors
/// As [`coordinate`], [`Error::Failed`] where parameters are no numbers any more, and what an epoch's end and the
/// checkpoint return. After [`Error::Interrupted`] the model stands where the loop stopped, after any other error
/// where it was held last.
pub fn train_in_epochs(
    engine: &dyn Engine<f32>,
    run: &mut Run,
    data: &mut TrainingData,
    epochs: &mut Epochs,
    progress: &mut Progress,
    keeper: &mut Keeper,
) -> Result<()> {
    let problem = run.model.problem(data.batches.capacity(), false);
    let mut degradation = run.model.config.degradation.clone();
    degradation.coordination &= run.model.learns_degradation();
    let (schedule, start) = (run.model.config.training.clone(), run.model.start.clone());
    let (before, last) = (run.model.step, schedule.steps);
    if before >= last {
        return Ok(());
    }
    let mut trainer = engine.trainer(&problem, &data.set, run.model.state.clone())?;
    let task = Coordination {
        training: &schedule,
        degradation: &degradation,
        members: run.model.architecture.members,
        start: &start,
    };
    let checks = if schedule.revive {
        checks(&run.model.architecture, last)
    } else {
        Vec::new()
    };
    let patience = schedule.patience;
    let stretch = |step: u32| (step.checked_div(patience)).map_or(last, |k| (k + 1).saturating_mul(patience));
    let _shield = keeper.watch();
    while run.model.step < last && !on_plateau(&run.training.steps, patience) {
        let step = run.model.step;
        let next = checks.iter().find(|(check, _)| *check > step);
        let next = next.map_or(last, |(check, _)| *check);
        let end = epochs
            .end(step)
            .min(keeper.next(step))
            .min(next)
            .min(stretch(step))
            .min(last);
        let outcome = coordinate(
            trainer.as_mut(),
            &task,
            &mut data.batches,
            step + 1..=end,
            &mut run.training.steps,
            &mut |_, _, losses| progress(losses.step - before, last - before, losses),
        );
        if !matches!(outcome, Ok(()) | Err(Error::Interrupted(_))) {
            return outcome.map_err(|e| keeper.explained(e));
        }
        let state = trainer.state()?;
        let reached = run.training.steps.last().map_or(step, |l| l.step.max(step));
        finite(&state, reached).map_err(|e| keeper.explained(e))?;
        (run.model.state, run.model.step) = (state, reached);
        let over = reached == last || on_plateau(&run.training.steps, patience);
        if reached == epochs.end(step) || over {
            epochs.finish(&run.model, &run.training.steps, 0)?;
        }
        // An interrupted run goes on behind this step: what belongs to the step is done before it stops.
        let check = checks.iter().find(|(check, _)| *check == reached && !over);
        if let Some(&(_, members_too)) = check {
            let revived = witnesses(&run.model, data).revive(
                &run.model.architecture,
                run.model.config.network.initialisation,
                &mut run.model.state,
                (run.model.config.seed, reached),
                members_too,
            )?;
            if !revived.is_empty() {
                trainer = engine.trainer(&problem, &data.set, run.model.state.clone())?;
                run.training.revived.push(revived);
            }
        }
        if over && mortal(&run.model.architecture) {
            run.training.dead =
                witnesses(&run.model, data).dead(&run.model.architecture, &run.model.state)?;
        }
        keeper.offer(run, engine, outcome.is_err())?;
        outcome.map_err(|e| keeper.explained(e))?;
    }
    Ok(())
}

fn witnesses(model: &Model, data: &TrainingData) -> Witnesses {
    Witnesses::new(&model.architecture, model.geometry, &model.psf(), &data.set)
}

/// Refuses parameters that are no numbers: an update may break them before any loss shows it.
fn finite(state: &TrainingState<f32>, step: u32) -> Result<()> {
    let (phi, theta) = ("L_phi", "L_theta");
    for (values, what, loss) in [
        (&state.network, "the network", phi),
        (&state.network_m, "a moment of the network", phi),
        (&state.network_v, "a moment of the network", phi),
        (&state.degradation, "the degradation", theta),
        (&state.degradation_m, "a moment of the degradation", theta),
        (&state.degradation_v, "a moment of the degradation", theta),
    ] {
        if let Some(x) = values.iter().find(|x| !x.is_finite()) {
            return Err(Error::failed(format!(
                "step {step}: a parameter of {what} became {x} by the gradient of {loss}; training has diverged, try a \
                 smaller learning rate"
            )));
        }
    }
    Ok(())
}

/// Partial fine-tuning of the decoders on a scene's LR pixels, with fresh moments.
///
/// # Errors
/// As [`fine_tune_in_epochs`].
pub fn fine_tune(
    engine: &dyn Engine<f32>,
    run: &mut Run,
    data: &mut TrainingData,
    progress: &mut Progress,
    keeper: &mut Keeper,
) -> Result<()> {
    let mut epochs = Epochs {
        length: u32::MAX,
        at_end: &mut |_, _| Ok(()),
    };
    fine_tune_in_epochs(engine, run, data, &mut epochs, progress, keeper)
}

/// [`fine_tune`] in epochs. The result is the same; their ends may look at the model in between.
///
/// # Errors
/// As [`train_in_epochs`].
pub fn fine_tune_in_epochs(
    engine: &dyn Engine<f32>,
    run: &mut Run,
    data: &mut TrainingData,
    epochs: &mut Epochs,
    progress: &mut Progress,
    keeper: &mut Keeper,
) -> Result<()> {
    let config = run.model.config.finetune.clone();
    let (before, last) = (run.model.step, config.steps);
    if last == 0 {
        return Ok(());
    }
    let beginning = run.tuning.take().unwrap_or_else(|| Tuning::of(&run.model));
    let tuning = run.tuning.insert(beginning);
    let done = tuning.step;
    if done < last {
        let problem = run.model.problem(data.batches.capacity(), true);
        let mut trainer = engine.trainer(&problem, &data.set, tuning.state.clone())?;
        let config = &config;
        let task = FineTuning { config, before };
        let _shield = keeper.watch();
        while let Some(tuning) = run.tuning.as_mut().filter(|t| t.step < last) {
            let step = tuning.step;
            let end = epochs.end(step).min(keeper.next(step)).min(last);
            let outcome = training::fine_tune(
                trainer.as_mut(),
                &task,
                &mut data.batches,
                before + step + 1..=before + end,
                &mut tuning.history.steps,
                &mut |_, _, losses| progress(losses.step - before - done, last - done, losses),
            );
            if !matches!(outcome, Ok(()) | Err(Error::Interrupted(_))) {
                return outcome.map_err(|e| keeper.explained(e));
            }
            let state = trainer.state()?;
            let newest = tuning.history.steps.last();
            let reached = newest.map_or(step, |l| (l.step - before).max(step));
            finite(&state, before + reached).map_err(|e| keeper.explained(e))?;
            (tuning.state, tuning.step) = (state, reached);
            if reached == epochs.end(step) || reached == last {
                run.model.state.network = tuning.state.network.clone();
                epochs.finish(&run.model, &tuning.history.steps, before)?;
            }
            keeper.offer(run, engine, outcome.is_err())?;
            outcome.map_err(|e| keeper.explained(e))?;
        }
    }
    if let Some(tuning) = &run.tuning {
        run.model.state.network = tuning.state.network.clone();
    }
    Ok(())
}
