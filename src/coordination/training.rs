//! The loop itself: plans step after step for a trainer, collects losses, watches for trouble.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::coordination::batches::Batches;
use crate::coordination::config::{DegradationConfig, FineTuneConfig, Guide, TrainingConfig};
use crate::coordination::revival::Revived;
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
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Every step's losses, in order.
    pub steps: Vec<StepLosses>,
    /// What was given another start on the way.
    pub revived: Vec<Revived>,
    /// Outputs (member, band) that are zero at every LR pixel at the end: their bands are lost.
    pub dead: Vec<(usize, usize)>,
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
    /// Standard error of L_θ + L_φ: what the sampling of patches and of ε leaves of uncertainty in the means. From the
    /// differences of neighbouring steps (von Neumann, 1941), so that a trend within the stretch is no noise.
    pub error: f64,
}

impl Epoch {
    /// L_θ + L_φ; L_φ alone where θ was not trained.
    pub fn objective(&self) -> f64 {
        self.degradation.unwrap_or(0.0) + self.network
    }
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
                let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
                let phi: Vec<f64> = steps.iter().map(|s| beta * mean(&s.network)).collect();
                Epoch {
                    step: steps.last().map_or(0, |s| s.step),
                    degradation: (!theta.is_empty()).then(|| mean(&theta)),
                    network: mean(&phi),
                    error: standard_error(&theta).hypot(standard_error(&phi)),
                }
            })
            .collect()
    }
}

/// Standard error of the mean of `x`, its variance taken from the differences of neighbours; 0 of fewer than two.
fn standard_error(x: &[f64]) -> f64 {
    if x.len() < 2 {
        return 0.0;
    }
    let squares: f64 = x.windows(2).map(|w| (w[1] - w[0]).powi(2)).sum();
    (squares / (2 * (x.len() - 1)) as f64 / x.len() as f64).sqrt()
}

/// Epochs (from the second on, as indices) whose objective L_θ + L_φ rose over the epoch before by more than sampling
/// noise, three standard errors of the difference, and by more than the share `floor` of it.
pub fn rises(epochs: &[Epoch], floor: f64) -> Vec<usize> {
    (1..epochs.len())
        .filter(|&k| {
            let (before, now) = (&epochs[k - 1], &epochs[k]);
            let noise = 3.0 * before.error.hypot(now.error);
            now.objective() - before.objective() > noise.max(floor * before.objective())
        })
        .collect()
}

/// Share of L_φ by which it must fall over a stretch of steps to be said to fall.
const LEAST_FALL: f64 = 1e-3;

/// Whether L_φ has come to a plateau at the newest of `steps`: whether its mean over the last `patience` of them lies
/// below that over the `patience` before by less than sampling noise (three standard errors) or a thousandth of it.
///
/// Asked at multiples of `patience` only, and answered from the losses alone, so that a run that was interrupted ends
/// where it would have. A schedule whose rate falls to its end has few plateaus before that.
pub fn on_plateau(steps: &[StepLosses], patience: u32) -> bool {
    let length = patience as usize;
    let newest = steps.last().map_or(0, |l| l.step);
    if length == 0 || steps.len() < 2 * length || !newest.is_multiple_of(patience) {
        return false;
    }
    let stretch = |steps: &[StepLosses]| {
        let losses: Vec<f64> = steps
            .iter()
            .map(|s| s.network.iter().sum::<f64>() / s.network.len().max(1) as f64)
            .collect();
        (
            losses.iter().sum::<f64>() / losses.len() as f64,
            standard_error(&losses),
        )
    };
    let (before, now) = steps[steps.len() - 2 * length..].split_at(length);
    let ((before, noise), (now, own_noise)) = (stretch(before), stretch(now));
    before - now < (3.0 * noise.hypot(own_noise)).max(LEAST_FALL * before)
}

/// The coordination loop as a run sets it up.
pub struct Coordination<'a, T> {
    /// Schedule and weights.
    pub training: &'a TrainingConfig,
    /// How θ is learned.
    pub degradation: &'a DegradationConfig,
    /// Members.
    pub members: usize,
    /// θ of the start.
    pub start: &'a [T],
}

/// Runs these steps of the coordination loop (the first of a fresh run is 1) and adds their losses to `history`.
///
/// # Errors
/// [`Error::Interrupted`] after Ctrl-C: `history` then ends with the last step that was done. [`Error::Failed`] when a
/// loss is not finite or the device fails.
pub fn coordinate<T: Real>(
    trainer: &mut dyn Trainer<T>,
    task: &Coordination<T>,
    batches: &mut Batches,
    steps: RangeInclusive<u32>,
    history: &mut Vec<StepLosses>,
    progress: &mut Progress,
) -> Result<()> {
    let per_epoch = batches.steps_per_epoch();
    let (config, degradation) = (task.training, task.degradation);
    let learn = degradation.coordination;
    let apart = learn && degradation.guide == Guide::Start;
    let mut take = |trainer: &mut dyn Trainer<T>, step: u32| {
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
        let plan = StepPlan {
            step,
            lr_batch,
            hr_batch,
            member: (step / degradation.every) % task.members as u32,
            network_rate: Some(config.rate * factor),
            degradation_rate: with_degradation.then_some(degradation.rate * factor),
        };
        if apart {
            step_apart(trainer, &plan, task.start)
        } else {
            trainer.step(&plan)
        }
    };
    run(trainer, steps, per_epoch, &mut take, history, progress)
}

/// A step in which φ learns through the PSF of the start and θ through its own: θ first, so that both updates begin at
/// the same φ.
fn step_apart<T: Real>(trainer: &mut dyn Trainer<T>, plan: &StepPlan, start: &[T]) -> Result<()> {
    if plan.degradation_rate.is_some() {
        trainer.step(&StepPlan {
            network_rate: None,
            ..plan.clone()
        })?;
    }
    let theta = trainer.state()?.degradation;
    trainer.set_degradation(start)?;
    trainer.step(&StepPlan {
        degradation_rate: None,
        hr_batch: Arc::from([]),
        ..plan.clone()
    })?;
    trainer.set_degradation(&theta)
}

/// Partial fine-tuning of a model: its schedule, and the steps that training had taken.
pub struct FineTuning<'a> {
    /// The schedule.
    pub config: &'a FineTuneConfig,
    /// Number of the last step of training; steps, and with them the counter of ε, go on from it.
    pub before: u32,
}

/// Runs these steps of partial fine-tuning on all windows of a trainer that was made with a frozen encoder.
///
/// # Errors
/// As [`coordinate`].
pub fn fine_tune<T: Real>(
    trainer: &mut dyn Trainer<T>,
    &FineTuning { config, before }: &FineTuning,
    batches: &mut Batches,
    steps: RangeInclusive<u32>,
    history: &mut Vec<StepLosses>,
    progress: &mut Progress,
) -> Result<()> {
    let per_epoch = batches.steps_per_epoch();
    let mut take = |trainer: &mut dyn Trainer<T>, step: u32| {
        let factor = config
            .schedule
            .factor(step - before, config.steps, 1.0, config.steps.max(1));
        trainer.step(&StepPlan {
            step,
            lr_batch: batches.batch(step),
            hr_batch: Arc::from([]),
            member: 0,
            network_rate: Some(config.rate * factor),
            degradation_rate: None,
        })
    };
    run(trainer, steps, per_epoch, &mut take, history, progress)
}

/// Carries out one step of a loop.
type Step<'a, T> = dyn FnMut(&mut dyn Trainer<T>, u32) -> Result<()> + 'a;

fn run<T: Real>(
    trainer: &mut dyn Trainer<T>,
    steps: RangeInclusive<u32>,
    per_epoch: u32,
    take: &mut Step<T>,
    history: &mut Vec<StepLosses>,
    progress: &mut Progress,
) -> Result<()> {
    let (first, last) = steps.into_inner();
    let (mut queued, mut per_look, mut looked) = (0_u32, 1_u32, Instant::now());
    for step in first..=last {
        take(trainer, step)?;
        queued += 1;
        if queued >= per_look || step == last {
            let stop = interrupt::check();
            // The device is waited for at the end alone: until then it always has steps to go on with.
            let losses = if stop.is_err() || step == last {
                trainer.losses()?
            } else {
                trainer.arrived_losses()?
            };
            losses.iter().try_for_each(|l| finite(l, per_epoch))?;
            if let Some(newest) = losses.last() {
                let newest = StepLosses {
                    degradation: losses.iter().rev().find_map(|l| l.degradation),
                    ..newest.clone()
                };
                progress(newest.step - first + 1, last - first + 1, &newest);
            }
            losses.into_iter().for_each(|next| append(history, next));
            stop?;
            let seconds = looked.elapsed().as_secs_f64().max(1e-6);
            let fitting = f64::from(queued) * LOOK.as_secs_f64() / seconds;
            // At most twice as many as before: the first step of a run pays for start-up.
            per_look = fitting
                .min(2.0 * f64::from(per_look))
                .clamp(1.0, MOST_STEPS_PER_LOOK) as u32;
            (queued, looked) = (0, Instant::now());
        }
    }
    Ok(())
}

/// Adds the losses of a step, one entry a step: where φ and θ learned apart, the θ terms of the one and the L_φ of the
/// other.
fn append(history: &mut Vec<StepLosses>, next: StepLosses) {
    match history.last_mut() {
        Some(last) if last.step == next.step => last.network = next.network,
        _ => history.push(next),
    }
}

/// Refuses losses that are not numbers; `per_epoch` is for the message.
fn finite(losses: &StepLosses, per_epoch: u32) -> Result<()> {
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
                "step {} (epoch {}): {name} is {loss}; training has diverged, try a smaller learning rate",
                losses.step,
                losses.step.div_ceil(per_epoch.max(1))
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
        // 40 epochs of 50 steps that fall slowly under uniform noise of ±0.05, whose standard error is about 0.004.
        let mut state = 7_u32;
        let mut noise = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24) - 0.5
        };
        let mut history = History {
            steps: (1..=2000)
                .map(|step| StepLosses {
                    step,
                    degradation: None,
                    network: vec![2.0 + 20.0 / f64::from(step + 20) + 0.1 * noise()],
                })
                .collect(),
            ..History::default()
        };
        let epochs = |history: &History| history.epochs(50, [0.0; 3], 1.0);
        let error = epochs(&history)[30].error;
        assert!((0.003..0.006).contains(&error), "{error}");
        assert_eq!(rises(&epochs(&history), 0.0), [] as [usize; 0]);
        for step in &mut history.steps[1500..1550] {
            step.network[0] += 0.05;
        }
        assert_eq!(rises(&epochs(&history), 0.0), [30]);
        assert_eq!(rises(&epochs(&history), 0.05), [] as [usize; 0]);
    }

    #[test]
    fn a_loss_that_is_not_finite_is_named() {
        let losses = StepLosses {
            step: 7,
            degradation: Some([0.1, f64::NAN, 0.2]),
            network: vec![0.1],
        };
        let message = finite(&losses, 3).unwrap_err().to_string();
        assert!(
            message.contains("step 7 (epoch 3)") && message.contains("term 2"),
            "{message}"
        );
    }

    #[test]
    fn a_plateau_is_told_from_a_slope() {
        let course = |loss: &dyn Fn(u32) -> f64, steps: u32| -> Vec<StepLosses> {
            let losses = (1..=steps).map(|step| StepLosses {
                step,
                degradation: None,
                network: vec![loss(step), loss(step)],
            });
            losses.collect()
        };
        let falling = |step: u32| 1.0 / f64::from(step);
        let flat = |step: u32| 0.5 + if step.is_multiple_of(2) { 0.01 } else { 0.0 };
        assert!(!on_plateau(&course(&falling, 200), 50));
        assert!(on_plateau(&course(&flat, 200), 50));
        // Neither in the middle of a stretch, nor before there are two, nor where it is not asked for.
        assert!(!on_plateau(&course(&flat, 199), 50));
        assert!(!on_plateau(&course(&flat, 50), 50));
        assert!(!on_plateau(&course(&flat, 200), 0));
        // A fall smaller than the noise of the means is none.
        let slow = |step: u32| flat(step) - 1e-6 * f64::from(step);
        assert!(on_plateau(&course(&slow, 200), 50));
    }
}
