//! The loop itself: plans step after step for a trainer, collects losses, watches for trouble.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::coordination::batches::Batches;
use crate::coordination::config::{DegradationConfig, FineTuneConfig, TrainingConfig};
use crate::engine::{StepLosses, StepPlan, Trainer};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::real::Real;

/// Time between two looks at the losses, at Ctrl-C and at the clock; the number of steps queued in between follows
/// from how long the last ones took. Results do not depend on it.
const LOOK: Duration = Duration::from_millis(200);
/// Most steps between two looks.
const MOST_STEPS_PER_LOOK: f64 = 500.0;

/// Told after every look at the losses: steps done, steps in all, the newest losses. Those of θ, which is not updated
/// every step, are the newest since the last look.
pub type Progress<'a> = dyn FnMut(u32, u32, &StepLosses) + 'a;

/// Losses of a stage.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Every step's losses, in order.
    pub steps: Vec<StepLosses>,
}

/// The objective L_θ + L_φ over one stretch of steps.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Epoch {
    /// Last step of the stretch.
    pub step: u32,
    /// Mean of L_θ over the steps that had it; `None` where none had.
    pub degradation: Option<f64>,
    /// Mean of L_φ over steps and members.
    pub network: f64,
}

impl History {
    /// Means over stretches of `length` steps; the paper's epochs, or any other length.
    pub fn epochs(&self, length: u32, alpha: [f64; 3], beta: f64) -> Vec<Epoch> {
        self.steps
            .chunks(length.max(1) as usize)
            .map(|steps| {
                let theta: Vec<f64> = steps
                    .iter()
                    .filter_map(|s| s.degradation)
                    .map(|terms| terms.iter().zip(alpha).map(|(t, a)| t * a).sum())
                    .collect();
                let phi: Vec<f64> = steps
                    .iter()
                    .flat_map(|s| s.network.iter().map(|l| l * beta))
                    .collect();
                let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
                Epoch {
                    step: steps.last().map_or(0, |s| s.step),
                    degradation: (!theta.is_empty()).then(|| mean(&theta)),
                    network: mean(&phi),
                }
            })
            .collect()
    }
}

/// Epochs (from the second on, as indices) whose L_φ rose by more than sampling noise: more than five of the
/// median change between neighbouring epochs, and more than 5 % of the epoch before.
pub fn rises(epochs: &[Epoch]) -> Vec<usize> {
    let change = |k: usize| epochs[k].network - epochs[k - 1].network;
    let mut sizes: Vec<f64> = (1..epochs.len()).map(|k| change(k).abs()).collect();
    if sizes.is_empty() {
        return Vec::new();
    }
    sizes.sort_by(f64::total_cmp);
    let limit = 5.0 * sizes[sizes.len() / 2];
    (1..epochs.len())
        .filter(|&k| change(k) > limit.max(0.05 * epochs[k - 1].network))
        .collect()
}

/// The coordination loop, from step `first` (1 for a fresh run) to the last of `config`.
///
/// # Errors
/// [`Error::Interrupted`] after Ctrl-C, [`Error::Failed`] when a loss is not finite or the device fails.
pub fn coordinate<T: Real>(
    trainer: &mut dyn Trainer<T>,
    config: &TrainingConfig,
    degradation: &DegradationConfig,
    members: usize,
    batches: &mut Batches,
    first: u32,
    progress: &mut Progress,
) -> Result<History> {
    let learn = degradation.coordination;
    let mut plan = |step: u32| {
        let factor = config
            .schedule
            .factor(step, config.steps, config.decay, config.decay_every);
        let lr_batch = batches.batch(step);
        let with_degradation = learn && step.is_multiple_of(degradation.every);
        let hr_batch = match degradation.windows {
            _ if !with_degradation => Arc::from([]),
            0 => lr_batch.clone(),
            // Turn by turn through the batch, so that a full batch is gone through as well.
            n => {
                let n = n.min(lr_batch.len());
                let from = (step / degradation.every) as usize * n % lr_batch.len();
                (from..from + n).map(|k| lr_batch[k % lr_batch.len()]).collect()
            }
        };
        StepPlan {
            step,
            lr_batch,
            hr_batch,
            member: (step / degradation.every) % members as u32,
            network_rate: Some(config.rate * factor),
            degradation_rate: with_degradation.then_some(degradation.rate * factor),
        }
    };
    run(trainer, first, config.steps, &mut plan, progress)
}

/// Partial fine-tuning on all windows of a trainer that was made with a frozen encoder.
///
/// `first` is the number of its first step: the counter of ε goes on from the loop's.
///
/// # Errors
/// As [`coordinate`].
pub fn fine_tune<T: Real>(
    trainer: &mut dyn Trainer<T>,
    config: &FineTuneConfig,
    batches: &mut Batches,
    first: u32,
    progress: &mut Progress,
) -> Result<History> {
    let mut plan = |step: u32| StepPlan {
        step,
        lr_batch: batches.batch(step),
        hr_batch: Arc::from([]),
        member: 0,
        network_rate: Some(
            config.rate
                * config
                    .schedule
                    .factor(step - first + 1, config.steps, 1.0, config.steps.max(1)),
        ),
        degradation_rate: None,
    };
    run(trainer, first, first + config.steps - 1, &mut plan, progress)
}

fn run<T: Real>(
    trainer: &mut dyn Trainer<T>,
    first: u32,
    last: u32,
    plan: &mut dyn FnMut(u32) -> StepPlan,
    progress: &mut Progress,
) -> Result<History> {
    let mut history = History::default();
    let (mut queued, mut per_look, mut looked) = (0_u32, 1_u32, Instant::now());
    for step in first..=last {
        trainer.step(&plan(step))?;
        queued += 1;
        if queued >= per_look || step == last {
            let losses = trainer.losses()?;
            losses.iter().try_for_each(finite)?;
            if let Some(newest) = losses.last() {
                let newest = StepLosses {
                    degradation: losses.iter().rev().find_map(|l| l.degradation),
                    ..newest.clone()
                };
                progress(step - first + 1, last - first + 1, &newest);
            }
            history.steps.extend(losses);
            interrupt::check()?;
            let seconds = looked.elapsed().as_secs_f64().max(1e-6);
            let fitting = f64::from(queued) * LOOK.as_secs_f64() / seconds;
            // At most twice as many as before: the first step of a run pays for start-up.
            per_look = fitting
                .min(2.0 * f64::from(per_look))
                .clamp(1.0, MOST_STEPS_PER_LOOK) as u32;
            (queued, looked) = (0, Instant::now());
        }
    }
    Ok(history)
}

fn finite(losses: &StepLosses) -> Result<()> {
    let named = losses
        .degradation
        .iter()
        .flat_map(|terms| {
            terms
                .iter()
                .zip(["term 1 of L_theta", "term 2 of L_theta", "term 3 of L_theta"])
        })
        .chain(losses.network.iter().map(|l| (l, "L_phi")));
    for (loss, name) in named {
        if !loss.is_finite() {
            return Err(Error::failed(format!(
                "step {}: {name} is {loss}; training has diverged, try a smaller learning rate",
                losses.step
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_is_told_from_noise() {
        let epoch = |step, network| Epoch {
            step,
            degradation: None,
            network,
        };
        let falling: Vec<Epoch> = (0..40)
            .map(|k| epoch(k, 1.0 / f64::from(k + 1) + 0.001 * f64::from(k % 3)))
            .collect();
        assert!(rises(&falling).is_empty());
        let mut risen = falling;
        risen[30].network = 0.3;
        assert_eq!(rises(&risen), [30]);
    }

    #[test]
    fn a_loss_that_is_not_finite_is_named() {
        let losses = StepLosses {
            step: 7,
            degradation: Some([0.1, f64::NAN, 0.2]),
            network: vec![0.1],
        };
        let message = finite(&losses).unwrap_err().to_string();
        assert!(
            message.contains("step 7") && message.contains("term 2"),
            "{message}"
        );
    }
}
