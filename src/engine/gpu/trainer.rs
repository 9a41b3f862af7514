//! A training run on the GPU: pipelines, bind groups and buffers made once, then replayed step by step.
//!
//! `kernels` has what is bound on the device and the calls that make a step. Steps are queued on the host (`queue`) and
//! submitted many at a time (`submits`). What differs between them stands in one uniform buffer with dynamic offsets and one
//! buffer of batch indices. Losses come to the host behind every submit (`in_flight`), copies of the state where one is asked
//! for (`snapshot`).

mod in_flight;
mod kernels;
mod queue;
mod snapshot;
mod submits;
mod tensors;

use std::sync::Arc;
use std::time::Instant;

use crate::engine::cpu::{self, network_update::Adam};
#[cfg(feature = "verify")]
use crate::engine::gpu::defines::Shape;
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::reconstruct;
use crate::engine::gpu::recording::{IN_FLIGHT, STEPS, padded, unpadded};
use crate::engine::gpu::step::StepUniform;
use crate::engine::gpu::trainer::kernels::BoundKernels;
use crate::engine::gpu::trainer::queue::Queued;
use crate::engine::gpu::trainer::snapshot::Snapshot;
use crate::engine::gpu::trainer::submits::Submits;
use crate::engine::gpu::trainer::tensors::{Counts, tensors};
use crate::engine::step::Kernel;
use crate::engine::{
    Noise, Output, Problem, StepLosses, StepPlan, StepTensors, Trainer, TrainingSet, TrainingState,
    check_length,
};
use crate::error::{Error, Result};
use crate::random::key;

#[cfg(feature = "verify")]
pub(super) use tensors::Records;

pub(super) struct GpuTrainer<'a> {
    submits: Submits<'a>,
    linear: Vec<f32>,
    network_updates: u64,
    degradation_updates: u64,
    /// Whether PSF, SRF and observations on the device belong to the current θ and `lr_batch`.
    observed: bool,
    lr_batch: Arc<[u32]>,
    snapshot: Snapshot,
    /// Sizes of the last step, for its tensors.
    last_step: Counts,
}

/// Computes the abundances of all windows' LR pixels, members × windows × P, once and for all.
fn freeze_abundances(run: &BoundKernels, state: &TrainingState<f32>) -> Result<()> {
    let (engine, context) = (run.engine, &run.engine.context);
    let b = run.shape.msi;
    let mut lr_msi = Vec::with_capacity(run.windows * b);
    let all: Vec<u32> = (0..run.windows as u32).collect();
    let kind = Kernel::PsfBlur.file();
    let pixel = cpu::psf_blur::work(&run.problem, 1).operations as f64;
    let mut rest = &all[..];
    while !rest.is_empty() {
        let fitting = (engine.pace.fitting(kind) / pixel).max(1.0) as usize;
        let count = fitting.min(run.problem.lr_capacity.max(1)).min(rest.len());
        let (chunk, after) = rest.split_at(count);
        rest = after;
        let uniform = StepUniform {
            lr_count: count as u32,
            ..Default::default()
        };
        run.buffers.step.write(context, 0, &[uniform])?;
        run.buffers.batch.write(context, 0, chunk)?;
        let mut encoder = context.device.create_command_encoder(&Default::default());
        {
            let mut pass = context.pass(&mut encoder);
            run.dispatch_all(&mut pass, &run.observation(&Queued::observation(count)), 0)?;
        }
        let began = Instant::now();
        context.run(encoder)?;
        let seconds = began.elapsed().as_secs_f64();
        engine.pace.measured(kind, pixel * count as f64, seconds);
        let size = run.shape.observation;
        let observations: Vec<f32> = run.buffers.observations.read(context, 0, count * size)?;
        lr_msi.extend(unpadded(&observations, size, b));
    }
    let p = run.layout.abundances;
    let pixels = ndarray::Array3::from_shape_vec((run.windows, 1, b), lr_msi)
        .map_err(|e| Error::failed(format!("LR pixels: {e}")))?;
    let mut abundance = ndarray::Array3::zeros((run.windows, 1, p));
    for member in 0..run.problem.architecture.members {
        reconstruct::reconstruct(
            engine,
            &run.problem.architecture,
            state,
            pixels.view(),
            0,
            Output::Abundance {
                member: member as u32,
            },
            abundance.view_mut(),
        )?;
        let values: Vec<f32> = abundance.iter().copied().collect();
        let quads = p.next_multiple_of(4);
        run.buffers
            .abundance
            .write(context, member * run.windows * quads, &padded(&values, p, quads))?;
    }
    Ok(())
}

impl<'a> GpuTrainer<'a> {
    pub(super) fn new(
        engine: &'a GpuEngine,
        problem: &Problem<f32>,
        data: &TrainingSet<f32>,
        state: TrainingState<f32>,
    ) -> Result<Self> {
        // Room for at least one step, and for many where batches are small.
        let one = problem.lr_capacity + problem.hr_capacity;
        let batch_capacity = one.max((one * STEPS).min(1 << 20));
        let mut run = BoundKernels::new(engine, problem, data, &state, batch_capacity)?;
        let mut first = Queued::observation(problem.lr_capacity);
        first.persistent = run.is_persistent(first.lr_count, false);
        run.prepare(&first)?;
        if problem.frozen_encoder {
            freeze_abundances(&run, &state)?;
        }
        engine.context.check()?;
        Ok(GpuTrainer {
            submits: Submits::new(run, batch_capacity)?,
            snapshot: Snapshot::new(&engine.context, &state)?,
            linear: state.linear,
            network_updates: state.network_updates,
            degradation_updates: state.degradation_updates,
            observed: false,
            lr_batch: Arc::from([]),
            last_step: (0, 0, false),
        })
    }

    /// Takes or leaves `lr_steps` whatever the sizes, from now on.
    #[cfg(feature = "verify")]
    pub(super) fn set_persistent(&mut self, persistent: bool) -> Result<()> {
        self.submits.flush(false)?;
        self.submits.kernels.persistent = Some(persistent);
        Ok(())
    }

    /// Whether the adapter has as many storage buffers as `lr_steps` binds.
    #[cfg(feature = "verify")]
    pub(super) fn can_persist(&self) -> bool {
        self.submits.kernels.can_persist()
    }

    #[cfg(feature = "verify")]
    pub(super) fn shape(&self) -> Shape {
        self.submits.kernels.shape
    }

    /// Reads what the last step's kernels left.
    #[cfg(feature = "verify")]
    pub(super) fn records(&mut self) -> Result<Records> {
        self.submits.flush(false)?;
        Records::read(&self.submits.kernels, self.last_step)
    }

    /// Begins a copy of the state as the queued steps leave it.
    fn begin_snapshot(&mut self) -> Result<()> {
        self.submits.flush(false)?;
        let updates = [self.network_updates, self.degradation_updates];
        self.snapshot.begin(&self.submits.kernels, updates)
    }

    /// The copy of the state that has come.
    fn end_snapshot(&mut self) -> Result<TrainingState<f32>> {
        let state = self.snapshot.take(&self.submits.kernels)?;
        Ok(TrainingState {
            linear: self.linear.clone(),
            ..state
        })
    }

    fn check_plan(&self, plan: &StepPlan) -> Result<()> {
        let problem = &self.submits.kernels.problem;
        for (what, batch, capacity) in [
            ("LR", &plan.lr_batch, problem.lr_capacity),
            ("HR", &plan.hr_batch, problem.hr_capacity),
        ] {
            if batch.len() > capacity {
                return Err(Error::failed(format!(
                    "{what} batch of {} exceeds the run's capacity of {capacity}",
                    batch.len()
                )));
            }
            if let Some(w) = batch
                .iter()
                .find(|&&w| w as usize >= self.submits.kernels.windows)
            {
                return Err(Error::failed(format!(
                    "{what} batch names window {w} of {}",
                    self.submits.kernels.windows
                )));
            }
        }
        if plan.member as usize >= problem.architecture.members {
            return Err(Error::failed(format!(
                "step draws from member {} of {}",
                plan.member, problem.architecture.members
            )));
        }
        Ok(())
    }
}

impl Trainer<f32> for GpuTrainer<'_> {
    fn step(&mut self, plan: &StepPlan) -> Result<()> {
        self.check_plan(plan)?;
        let (lr, hr) = (plan.lr_batch.len(), plan.hr_batch.len());
        let update_degradation = plan.degradation_rate.is_some();
        let (mut queued, seconds, unknown) = self.submits.make_room(plan)?;
        self.submits.kernels.prepare(&queued)?;
        let lr_first = self.submits.queue.place(0, &plan.lr_batch);
        let hr_first = if update_degradation {
            self.submits.queue.place(1, &plan.hr_batch)
        } else {
            0
        };
        queued.observe = !(self.observed && self.lr_batch == plan.lr_batch);
        let adam = |rate: Option<f64>, updates: &mut u64| {
            rate.map(|rate| {
                *updates += 1;
                Adam::new(rate, *updates)
            })
        };
        let network = adam(plan.network_rate, &mut self.network_updates);
        let degradation = adam(plan.degradation_rate, &mut self.degradation_updates);
        let constants =
            |adam: Option<Adam>| adam.map_or((0.0, 0.0), |a| (a.step_size as f32, a.root_correction as f32));
        let (network_step, network_root) = constants(network);
        let (degradation_step, degradation_root) = constants(degradation);
        let run = &self.submits.kernels;
        let (bands, b) = (run.shape.bands, run.shape.msi);
        let block = run.problem.geometry.scale * run.problem.geometry.scale;
        let share = |n: usize| (1.0 / n as f64) as f32;
        let alpha = run.problem.alpha.map(|a| a as f32);
        let uniform = StepUniform {
            key: match run.problem.noise {
                Noise::Philox(seed) => key(seed),
                Noise::Given | Noise::Off => [0; 2],
            },
            step: plan.step,
            member: plan.member,
            lr_first,
            lr_count: lr as u32,
            hr_first,
            hr_count: hr as u32,
            update_network: u32::from(network.is_some()),
            network_step,
            network_root,
            degradation_step,
            degradation_root,
            lr_scale: (run.problem.beta / (lr * bands) as f64) as f32,
            blur_scale: share(hr * bands),
            response_scale: share(hr * block * b),
            observation_scale: share(lr * b),
            alpha_blur: alpha[0],
            alpha_response: alpha[1],
            alpha_observation: alpha[2],
            ..Default::default()
        };
        let pitch = run.pitch;
        self.submits.queue.push(queued, &uniform, pitch, seconds);
        self.lr_batch = plan.lr_batch.clone();
        self.observed = !update_degradation;
        self.last_step = (lr, hr, update_degradation);
        if unknown {
            self.submits.flush(true)?;
        }
        Ok(())
    }

    fn losses(&mut self) -> Result<Vec<StepLosses>> {
        self.submits.flush(false)?;
        self.submits.land(0)?;
        let run = &self.submits.kernels;
        run.buffers.losses.check_guards(&run.engine.context)?;
        Ok(std::mem::take(&mut self.submits.losses))
    }

    fn arrived_losses(&mut self) -> Result<Vec<StepLosses>> {
        self.submits.land(IN_FLIGHT)?;
        Ok(std::mem::take(&mut self.submits.losses))
    }

    fn state(&mut self) -> Result<TrainingState<f32>> {
        self.begin_snapshot()?;
        let run = &self.submits.kernels;
        run.engine.context.wait()?;
        for buffer in [&run.buffers.network, &run.buffers.moments, &run.buffers.theta] {
            buffer.check_guards(&run.engine.context)?;
        }
        self.end_snapshot()
    }

    fn arrived_state(&mut self) -> Result<Option<TrainingState<f32>>> {
        if !self.snapshot.is_under_way() {
            self.begin_snapshot()?;
            return Ok(None);
        }
        self.submits.kernels.engine.context.poll()?;
        if self.snapshot.has_come() {
            self.end_snapshot().map(Some)
        } else {
            Ok(None)
        }
    }

    fn set_degradation(&mut self, theta: &[f32]) -> Result<()> {
        check_length(theta.len(), self.submits.kernels.shape.theta)?;
        self.submits.flush(false)?;
        self.observed = false;
        let run = &self.submits.kernels;
        run.buffers.theta.write(&run.engine.context, 0, theta)
    }

    fn give_noise(&mut self, hr: &[f32], lr: &[f32]) -> Result<()> {
        if self.submits.kernels.problem.noise != Noise::Given {
            return Err(Error::failed("noise was given to a run that draws its own"));
        }
        self.submits.flush(false)?;
        let run = &self.submits.kernels;
        let (bands, floats) = (run.shape.bands, 4 * run.shape.band_quads);
        for (buffer, noise) in [(&run.buffers.hr_noise, hr), (&run.buffers.lr_noise, lr)] {
            buffer.write(&run.engine.context, 0, &padded(noise, bands, floats))?;
        }
        Ok(())
    }

    fn tensors(&mut self) -> Result<StepTensors<f32>> {
        self.submits.flush(false)?;
        tensors(&self.submits.kernels, self.last_step)
    }
}
