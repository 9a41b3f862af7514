//! An engine that goes on where another one fails: reopened, or a different one, from the last good state.
//!
//! Whoever computes on it sees an engine like any other. A trainer remembers the state of some steps ago and what was asked
//! of it since; where its device fails it is made anew, on the same adapter first, and takes those steps again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use ndarray::{ArrayView3, ArrayViewMut3};
use rayon::prelude::*;

use crate::engine::profile::Instruments;
use crate::engine::refinement::{Guide, PlaneShape, RefinementGrid, Refiner, Strip};
use crate::engine::{
    Engine, Noise, Output, Problem, StepLosses, StepPlan, StepTensors, Trainer, TrainingSet, TrainingState,
    self_test,
};
use crate::error::{Error, Result};
use crate::network::Architecture;

/// What is asked from one remembered state to the next, at least.
const REMEMBERED: usize = 512;

/// Opens an engine.
pub type Open = Box<dyn Fn() -> Result<Box<dyn Engine<f32>>> + Send + Sync>;

/// An engine that may be gone on with.
struct Candidate {
    open: Open,
    engine: OnceLock<Box<dyn Engine<f32>>>,
    /// Number of the device: candidates of one device compute the same.
    device: usize,
    /// Whether it is tested against the reference.
    tested: bool,
}

/// Engines in the order in which they are tried.
pub struct Failover {
    candidates: Vec<Candidate>,
    current: AtomicUsize,
    /// What the self-test compares with; none: no self-test.
    reference: Option<Box<dyn Engine<f32>>>,
    /// Kinds of work that the current engine has been tested on.
    passed: Mutex<Vec<Kind>>,
    warn: Box<dyn Fn(&str) + Send + Sync>,
    /// Locked while the next engine is gone on to, so that of two threads that saw one failure only one goes on.
    mishaps: Mutex<Vec<String>>,
}

/// A kind of work with kernels of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A step, with or without an update of θ, with or without an encoder that learns.
    Step {
        degradation: bool,
        frozen: bool,
    },
    Reconstruction,
    ConsistencyResidual,
    GuidedUpdate,
    BicubicUpdate,
    /// Denoising by thresholds or by a pilot's gains.
    Denoising {
        pilot: bool,
    },
}

/// A panic of another thread leaves these lists whole.
fn locked<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Failover {
    /// Of an engine that is open and how to open it again; `reference` is what the self-test compares it with, `warn` is
    /// told of everything that went wrong.
    pub fn new(
        engine: Box<dyn Engine<f32>>,
        open: impl Fn() -> Result<Box<dyn Engine<f32>>> + Clone + Send + Sync + 'static,
        reference: Option<Box<dyn Engine<f32>>>,
        warn: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        let candidate = |engine: OnceLock<_>| Candidate {
            open: Box::new(open.clone()),
            engine,
            device: 0,
            tested: true,
        };
        Failover {
            candidates: vec![candidate(OnceLock::from(engine)), candidate(OnceLock::new())],
            current: AtomicUsize::new(0),
            reference,
            passed: Mutex::default(),
            warn: Box::new(warn),
            mishaps: Mutex::default(),
        }
    }

    /// With another device behind it, which is not tested.
    pub fn or(mut self, open: impl Fn() -> Result<Box<dyn Engine<f32>>> + Send + Sync + 'static) -> Self {
        let device = self.candidates.len();
        self.candidates.push(Candidate {
            open: Box::new(open),
            engine: OnceLock::new(),
            device,
            tested: false,
        });
        self
    }

    /// Number of the engine that is computed on.
    fn current(&self) -> usize {
        self.current.load(Ordering::SeqCst)
    }

    fn engine(&self) -> &dyn Engine<f32> {
        // The current candidate is open: `new` and `advance` see to it.
        match self.candidates[self.current()].engine.get() {
            Some(engine) => engine.as_ref(),
            None => &crate::engine::cpu::CpuEngine,
        }
    }

    /// Goes on with the next engine after `error` of the one numbered `from`; with one of another device where `apart`.
    fn advance(&self, error: Error, from: usize, apart: bool) -> Result<()> {
        let mut mishaps = locked(&self.mishaps);
        if self.current() != from {
            return Ok(());
        }
        self.engine().give_up();
        let device = self.candidates[from].device;
        for next in from + 1..self.candidates.len() {
            let candidate = &self.candidates[next];
            if apart && candidate.device == device {
                continue;
            }
            // An engine that cannot be opened is no better than one that failed.
            let Ok(engine) = (candidate.open)() else {
                continue;
            };
            let name = engine.name();
            let bits = if candidate.device == device {
                "opened again, the same bits as without the failure"
            } else {
                "not the bits that the first device would have given"
            };
            let line = format!("warning: {error}; going on from the last good state on {name}: {bits}");
            (self.warn)(&line);
            mishaps.push(line);
            locked(&self.passed).clear();
            let _ = candidate.engine.set(engine);
            self.current.store(next, Ordering::SeqCst);
            return Ok(());
        }
        Err(error)
    }

    /// Whether work of this kind is still to be tested.
    fn untested(&self, kind: Kind) -> Option<&dyn Engine<f32>> {
        let candidate = &self.candidates[self.current()];
        let reference = self.reference.as_deref().filter(|_| candidate.tested)?;
        (!locked(&self.passed).contains(&kind)).then_some(reference)
    }

    /// Takes note of what a test of the engine numbered `from` found.
    fn judge(&self, verdict: self_test::Verdict, kind: Kind, from: usize) -> Result<()> {
        match verdict {
            Ok(()) => {
                locked(&self.passed).push(kind);
                Ok(())
            }
            Err(found) => {
                let error = Error::failed(format!(
                    "{}: self-test: {found}; update the driver, use the setting backend cpu, or skip this with the setting no-self-test",
                    self.engine().name()
                ));
                self.advance(error, from, true)
            }
        }
    }

    /// Runs `work` on the current engine, and again on the next one where a device fails.
    fn with<R>(&self, mut work: impl FnMut(&dyn Engine<f32>) -> Result<R>) -> Result<R> {
        loop {
            let from = self.current();
            match work(self.engine()) {
                Err(error) if error.is_of_device() => self.advance(error, from, false)?,
                result => return result,
            }
        }
    }

    /// Runs a pass of refinement into `out`, which may begin with what is there now, `before`, and looks at the first of its
    /// kind: a pass that is wrong, or whose device fails, begins anew on the next engine.
    fn refine(
        &self,
        kind: Kind,
        (before, out): (&[f32], &mut [f32]),
        mut work: impl FnMut(&dyn Refiner<f32>, &mut [f32]) -> Result<()>,
        test: impl Fn(&dyn Refiner<f32>, &[f32]) -> Result<self_test::Verdict>,
    ) -> Result<()> {
        let mut asked = false;
        loop {
            self.with(|engine| {
                if std::mem::replace(&mut asked, true) {
                    out[..before.len()].copy_from_slice(before);
                }
                work(engine.refiner(), out)
            })?;
            let from = self.current();
            let Some(reference) = self.untested(kind) else {
                return Ok(());
            };
            let verdict = test(reference.refiner(), out)?;
            self.judge(verdict, kind, from)?;
            if self.current() == from {
                return Ok(());
            }
        }
    }
}

/// A copy of rows of an image, made by all threads.
fn copied(samples: &[f32]) -> Vec<f32> {
    samples.par_iter().with_min_len(1 << 16).copied().collect()
}

impl Engine<f32> for Failover {
    fn name(&self) -> String {
        self.engine().name()
    }

    fn device(&self) -> String {
        self.engine().device()
    }

    fn trainer<'a>(
        &'a self,
        problem: &Problem<f32>,
        data: &TrainingSet<f32>,
        state: TrainingState<f32>,
    ) -> Result<Box<dyn Trainer<f32> + 'a>> {
        let mut trainer = RecoveringTrainer {
            owner: self,
            problem: problem.clone(),
            data: data.clone(),
            inner: None,
            from: self.current(),
            good: state,
            since: Vec::new(),
            steps: 0,
            returned: 0,
            told_again: 0,
            awaited: None,
        };
        trainer.restore(None)?;
        Ok(Box::new(trainer))
    }

    fn reconstruct(
        &self,
        architecture: &Architecture,
        state: &TrainingState<f32>,
        hr_msi: ArrayView3<f32>,
        first_pixel: u32,
        output: Output,
        mut out: ArrayViewMut3<f32>,
    ) -> Result<()> {
        loop {
            self.with(|engine| {
                engine.reconstruct(architecture, state, hr_msi, first_pixel, output, out.view_mut())
            })?;
            let from = self.current();
            let Some(reference) = self.untested(Kind::Reconstruction) else {
                return Ok(());
            };
            let model = (architecture, state);
            let found = out.view();
            let verdict = self_test::reconstruction(reference, model, hr_msi, first_pixel, output, found)?;
            self.judge(verdict, Kind::Reconstruction, from)?;
            if self.current() == from {
                return Ok(());
            }
        }
    }

    fn refiner(&self) -> &dyn Refiner<f32> {
        self
    }

    fn instruments(&self) -> Option<&dyn Instruments> {
        self.engine().instruments()
    }

    fn mishaps(&self) -> Vec<String> {
        locked(&self.mishaps).clone()
    }
}

impl Refiner<f32> for Failover {
    fn consistency_residual(
        &self,
        grid: &RefinementGrid,
        strip: Strip,
        psf: &[f32],
        target: &[f32],
        hr_hsi: &[f32],
        residual: &mut [f32],
    ) -> Result<()> {
        self.refine(
            Kind::ConsistencyResidual,
            (&[], residual),
            |refiner, out| refiner.consistency_residual(grid, strip, psf, target, hr_hsi, out),
            |reference, found| {
                self_test::consistency_residual(reference, (grid, strip), psf, target, hr_hsi, found)
            },
        )
    }

    fn guided_update(
        &self,
        grid: &RefinementGrid,
        strip: Strip,
        guide: Guide,
        weights: &[f32],
        lr_msi: &[f32],
        hr_msi: &[f32],
        hr_hsi: &mut [f32],
    ) -> Result<()> {
        let before = copied(hr_hsi);
        self.refine(
            Kind::GuidedUpdate,
            (&before, hr_hsi),
            |refiner, out| refiner.guided_update(grid, strip, guide, weights, lr_msi, hr_msi, out),
            |reference, found| {
                let line = grid.hr_columns() * grid.msi_bands;
                self_test::hr_update(
                    "guided_update",
                    (grid, strip),
                    (&before, found),
                    |strip, row, out| {
                        let colours = &hr_msi[row * line..(row + 1) * line];
                        reference.guided_update(grid, strip, guide, weights, lr_msi, colours, out)
                    },
                )
            },
        )
    }

    fn bicubic_update(
        &self,
        grid: &RefinementGrid,
        strip: Strip,
        residual: &[f32],
        modulation: &[f32],
        hr_hsi: &mut [f32],
    ) -> Result<()> {
        let before = copied(hr_hsi);
        self.refine(
            Kind::BicubicUpdate,
            (&before, hr_hsi),
            |refiner, out| refiner.bicubic_update(grid, strip, residual, modulation, out),
            |reference, found| {
                self_test::hr_update(
                    "bicubic_update",
                    (grid, strip),
                    (&before, found),
                    |strip, row, out| {
                        let columns = grid.hr_columns();
                        let modulation = &modulation[row * columns..][..columns];
                        reference.bicubic_update(grid, strip, residual, modulation, out)
                    },
                )
            },
        )
    }

    fn dct_denoise(
        &self,
        shape: PlaneShape,
        stride: usize,
        noisy: &[f32],
        pilot: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<()> {
        let kind = Kind::Denoising {
            pilot: pilot.is_some(),
        };
        self.refine(
            kind,
            (&[], out),
            |refiner, out| refiner.dct_denoise(shape, stride, noisy, pilot, out),
            |reference, found| self_test::dct_denoise(reference, (shape, stride), noisy, pilot, found),
        )
    }
}

/// What was asked of a trainer.
enum Asked {
    Step(StepPlan),
    Degradation(Vec<f32>),
    Noise(Vec<f32>, Vec<f32>),
}

struct RecoveringTrainer<'a> {
    owner: &'a Failover,
    problem: Problem<f32>,
    data: TrainingSet<f32>,
    inner: Option<Box<dyn Trainer<f32> + 'a>>,
    /// The engine that `inner` is on.
    from: usize,
    good: TrainingState<f32>,
    /// What was asked since.
    since: Vec<Asked>,
    /// Steps among it.
    steps: usize,
    /// Those whose losses are returned already.
    returned: usize,
    /// Losses that a trainer made anew has yet to tell again.
    told_again: usize,
    /// How much of `since`, and how many steps, a state stands behind that is on its way from the device.
    awaited: Option<(usize, usize)>,
}

impl<'a> RecoveringTrainer<'a> {
    /// Makes the trainer from the last good state and asks of it what was asked since; after `error`, on the next engine.
    fn restore(&mut self, mut error: Option<Error>) -> Result<()> {
        self.awaited = None;
        loop {
            self.inner = None;
            if let Some(error) = error.take() {
                self.owner.advance(error, self.from, false)?;
            }
            self.from = self.owner.current();
            match self.replayed() {
                Ok(trainer) => {
                    self.inner = Some(trainer);
                    self.told_again = self.returned;
                    return Ok(());
                }
                Err(e) if e.is_of_device() => error = Some(e),
                Err(e) => return Err(e),
            }
        }
    }

    fn replayed(&self) -> Result<Box<dyn Trainer<f32> + 'a>> {
        let engine = self.owner.engine();
        let mut trainer = engine.trainer(&self.problem, &self.data, self.good.clone())?;
        for asked in &self.since {
            match asked {
                Asked::Step(plan) => trainer.step(plan)?,
                Asked::Degradation(theta) => trainer.set_degradation(theta)?,
                Asked::Noise(hr, lr) => trainer.give_noise(hr, lr)?,
            }
        }
        Ok(trainer)
    }

    /// Asks something of the trainer, anew where its device fails.
    fn ask<R>(&mut self, mut work: impl FnMut(&mut dyn Trainer<f32>) -> Result<R>) -> Result<R> {
        loop {
            let result = match &mut self.inner {
                Some(trainer) => work(trainer.as_mut()),
                None => Err(Error::failed("a trainer whose device has failed")),
            };
            match result {
                Err(error) if error.is_of_device() => self.restore(Some(error))?,
                result => return result,
            }
        }
    }

    /// [`RecoveringTrainer::ask`] of what changes the state; `asked` is remembered.
    fn change(&mut self, asked: Asked) -> Result<()> {
        let result = match (&mut self.inner, &asked) {
            (Some(trainer), Asked::Step(plan)) => trainer.step(plan),
            (Some(trainer), Asked::Degradation(theta)) => trainer.set_degradation(theta),
            (Some(trainer), Asked::Noise(hr, lr)) => trainer.give_noise(hr, lr),
            (None, _) => Err(Error::failed("a trainer whose device has failed")),
        };
        self.steps += usize::from(matches!(asked, Asked::Step(_)));
        self.since.push(asked);
        match result {
            // What was just remembered is asked again with the rest.
            Err(error) if error.is_of_device() => self.restore(Some(error)),
            result => result,
        }
    }

    /// Of losses from the trainer those that were not told before it was made anew.
    fn untold(&mut self, mut losses: Vec<StepLosses>) -> Vec<StepLosses> {
        let again = self.told_again.min(losses.len());
        losses.drain(..again);
        self.told_again -= again;
        self.returned += losses.len();
        losses
    }

    /// A state to go on from, if one was asked for and has come. Asks for one where much was asked since the last.
    fn next_state(&mut self) -> Result<Option<TrainingState<f32>>> {
        let Some(trainer) = &mut self.inner else {
            return Ok(None);
        };
        if self.awaited.is_none() && self.since.len() < REMEMBERED {
            return Ok(None);
        }
        self.awaited.get_or_insert((self.since.len(), self.steps));
        match trainer.arrived_state() {
            Err(error) if error.is_of_device() => self.restore(Some(error)).map(|()| None),
            state => state,
        }
    }

    /// Compares the first step of its kind with the reference before it is taken.
    fn test(&mut self, plan: &StepPlan) -> Result<()> {
        let kind = Kind::Step {
            degradation: plan.degradation_rate.is_some(),
            frozen: self.problem.frozen_encoder,
        };
        while self.problem.noise != Noise::Given
            && let Some(reference) = self.owner.untested(kind)
        {
            let engine = self.owner.engine();
            let run = (&self.problem, &self.data);
            match self_test::step(engine, reference, run, &self.good, plan) {
                Ok(verdict) => {
                    self.owner.judge(verdict, kind, self.from)?;
                    if self.owner.current() != self.from {
                        self.restore(None)?;
                    }
                }
                Err(error) if error.is_of_device() => self.restore(Some(error))?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Trainer<f32> for RecoveringTrainer<'_> {
    fn step(&mut self, plan: &StepPlan) -> Result<()> {
        self.test(plan)?;
        self.change(Asked::Step(plan.clone()))
    }

    fn losses(&mut self) -> Result<Vec<StepLosses>> {
        let losses = self.ask(|trainer| trainer.losses())?;
        Ok(self.untold(losses))
    }

    fn arrived_losses(&mut self) -> Result<Vec<StepLosses>> {
        // The state first: when it has come, so have the losses of the steps that it stands behind.
        let state = self.next_state()?;
        let losses = self.ask(|trainer| trainer.arrived_losses())?;
        let losses = self.untold(losses);
        if let Some(state) = state
            && let Some((asked, steps)) = self.awaited.take()
            && steps <= self.returned
        {
            self.good = state;
            self.since.drain(..asked);
            self.steps -= steps;
            self.returned -= steps;
        }
        Ok(losses)
    }

    fn state(&mut self) -> Result<TrainingState<f32>> {
        let state = self.ask(|trainer| trainer.state())?;
        self.awaited = None;
        if self.returned == self.steps {
            self.good = state.clone();
            self.since.clear();
            (self.steps, self.returned) = (0, 0);
        }
        Ok(state)
    }

    fn set_degradation(&mut self, theta: &[f32]) -> Result<()> {
        self.change(Asked::Degradation(theta.to_vec()))
    }

    fn give_noise(&mut self, hr: &[f32], lr: &[f32]) -> Result<()> {
        self.change(Asked::Noise(hr.to_vec(), lr.to_vec()))
    }

    fn tensors(&mut self) -> Result<StepTensors<f32>> {
        self.ask(|trainer| trainer.tensors())
    }
}
