//! A training run on the GPU: pipelines, bind groups and buffers made once, then replayed step by step.
//!
//! Steps are queued on the host and submitted many at a time (`queue`). What differs between them stands in one uniform
//! buffer with dynamic offsets and one buffer of batch indices. Losses come to the host behind every submit (`flights`),
//! copies of the state where one is asked for (`snapshot`).

mod flights;
mod queue;
mod snapshot;
mod tensors;

use std::sync::Arc;
use std::time::Instant;

use crate::engine::cpu::{self, network_update::Adam};
use crate::engine::gpu::blocks::blocks;
use crate::engine::gpu::defines::{Shape, keeps_tensors};
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::recording::{
    Buffers, FLIGHTS, Kernel, Recording, STEPS, Texts, padded, record, unpadded,
};
use crate::engine::gpu::step::StepUniform;
use crate::engine::gpu::trainer::flights::Flights;
use crate::engine::gpu::trainer::queue::Queue;
use crate::engine::gpu::trainer::snapshot::Snapshot;
use crate::engine::gpu::{hr_network, lr_steps, psf_blur, reconstruct};
use crate::engine::{
    Noise, Output, Precision, Problem, StepLosses, StepPlan, StepTensors, Trainer, TrainingSet,
    TrainingState, check_length,
};
use crate::error::{Error, Result};
use crate::network::Layout;
use crate::random::key;

#[cfg(feature = "verify")]
pub(super) use tensors::Records;

pub(super) struct GpuTrainer<'a> {
    engine: &'a GpuEngine,
    problem: Problem<f32>,
    layout: Layout,
    shape: Shape,
    windows: usize,
    /// Blocks of learned parameters of a member.
    blocks: usize,
    /// Parts of a window, see [`hr_network::parts`].
    parts: usize,
    buffers: Buffers,
    recording: Recording,
    /// Whether steps without an update of θ go to `lr_steps`, for comparisons; else as [`lr_steps::suits`].
    persistent: Option<bool>,
    linear: Vec<f32>,
    network_updates: u64,
    degradation_updates: u64,
    /// Whether PSF, SRF and observations on the device belong to the current θ and `lr_batch`.
    observed: bool,
    lr_batch: Arc<[u32]>,
    queue: Queue,
    /// Distance of two uniforms in bytes.
    pitch: usize,
    batch_capacity: usize,
    flights: Flights,
    snapshot: Snapshot,
    /// Losses that are on the host and were not asked for yet.
    losses: Vec<StepLosses>,
    /// LR pixels, HR windows and θ update of the last step, for its tensors.
    last_step: (usize, usize, bool),
}

impl<'a> GpuTrainer<'a> {
    pub(super) fn new(
        engine: &'a GpuEngine,
        problem: &Problem<f32>,
        data: &TrainingSet<f32>,
        state: TrainingState<f32>,
    ) -> Result<Self> {
        let architecture = &problem.architecture;
        let layout = architecture.layout();
        let shape = Shape::new(architecture, &layout, problem.geometry, keeps_tensors(problem));
        let pitch = size_of::<StepUniform>()
            .next_multiple_of(engine.context.limits.min_uniform_buffer_offset_alignment as usize);
        // Room for at least one step, and for many where batches are small.
        let one = problem.lr_capacity + problem.hr_capacity;
        let batch_capacity = one.max((one * STEPS).min(1 << 20));
        let buffers = Buffers::new(
            engine,
            problem,
            data,
            &state,
            &layout,
            &shape,
            (pitch, batch_capacity),
        )?;
        let parts = hr_network::parts(&layout, &shape, engine.target())?;
        let blocks = blocks(&layout, &shape, problem.frozen_encoder).len();
        let mut trainer = GpuTrainer {
            engine,
            problem: problem.clone(),
            layout,
            shape,
            windows: data.windows,
            blocks,
            parts,
            buffers,
            recording: Recording::default(),
            persistent: None,
            linear: state.linear.clone(),
            network_updates: state.network_updates,
            degradation_updates: state.degradation_updates,
            observed: false,
            lr_batch: Arc::from([]),
            queue: Queue::default(),
            pitch,
            batch_capacity,
            flights: Flights::new(&engine.context, 3 + architecture.members)?,
            snapshot: Snapshot::new(&engine.context, &state)?,
            losses: Vec::new(),
            last_step: (0, 0, false),
        };
        trainer.prepare(problem.lr_capacity, false)?;
        if problem.frozen_encoder {
            trainer.freeze_abundances(&state)?;
        }
        engine.context.check()?;
        Ok(trainer)
    }

    /// Computes the abundances of all windows' LR pixels, members × windows × P, once and for all.
    fn freeze_abundances(&mut self, state: &TrainingState<f32>) -> Result<()> {
        let context = &self.engine.context;
        let b = self.shape.msi;
        let mut lr_msi = Vec::with_capacity(self.windows * b);
        let all: Vec<u32> = (0..self.windows as u32).collect();
        let pixel = cpu::psf_blur::work(&self.problem, 1).operations as f64;
        let mut rest = &all[..];
        while !rest.is_empty() {
            let fitting = (self.engine.pace.fitting(psf_blur::FILE) / pixel).max(1.0) as usize;
            let count = fitting.min(self.problem.lr_capacity.max(1)).min(rest.len());
            let (chunk, after) = rest.split_at(count);
            rest = after;
            let uniform = StepUniform {
                lr_count: count as u32,
                ..Default::default()
            };
            self.buffers.step.write(context, 0, &[uniform])?;
            self.buffers.batch.write(context, 0, chunk)?;
            let mut encoder = context.device.create_command_encoder(&Default::default());
            {
                let mut pass = context.pass(&mut encoder);
                self.dispatch_all(&mut pass, &self.observation(count), 0)?;
            }
            let began = Instant::now();
            context.run(encoder)?;
            let seconds = began.elapsed().as_secs_f64();
            self.engine
                .pace
                .measured(psf_blur::FILE, pixel * count as f64, seconds);
            let size = self.shape.observation;
            let observations: Vec<f32> = self.buffers.observations.read(context, 0, count * size)?;
            lr_msi.extend(unpadded(&observations, size, b));
        }
        let p = self.layout.abundances;
        let pixels = ndarray::Array3::from_shape_vec((self.windows, 1, b), lr_msi)
            .map_err(|e| Error::failed(format!("LR pixels: {e}")))?;
        let mut abundance = ndarray::Array3::zeros((self.windows, 1, p));
        for member in 0..self.problem.architecture.members {
            reconstruct::reconstruct(
                self.engine,
                &self.problem.architecture,
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
            self.buffers.abundance.write(
                context,
                member * self.windows * quads,
                &padded(&values, p, quads),
            )?;
        }
        Ok(())
    }

    /// Takes or leaves [`lr_steps`] whatever the sizes, from now on.
    pub(super) fn set_persistent(&mut self, persistent: bool) -> Result<()> {
        self.flush(false)?;
        self.persistent = Some(persistent);
        Ok(())
    }

    /// Whether the adapter has as many storage buffers as `lr_steps` binds.
    pub(super) fn can_persist(&self) -> bool {
        let there = self.engine.context.limits.max_storage_buffers_per_shader_stage;
        there >= lr_steps::bindings(self.problem.noise, self.problem.frozen_encoder)
    }

    /// Whether a step goes to `lr_steps`.
    fn is_persistent(&self, lr_count: usize, update_degradation: bool) -> bool {
        let frozen = self.problem.frozen_encoder;
        let suits = || lr_steps::suits(&self.layout, frozen, lr_count, self.engine.target());
        !update_degradation && self.can_persist() && self.persistent.unwrap_or_else(suits)
    }

    /// Compiles and binds what a step on `lr_count` LR pixels needs and no step before it did.
    fn prepare(&mut self, lr_count: usize, update_degradation: bool) -> Result<()> {
        let mut needed = vec![Kernel::Degradation, Kernel::PsfBlur];
        if self.is_persistent(lr_count, update_degradation) {
            needed.push(Kernel::LrSteps);
        } else {
            needed.extend([Kernel::LrNetwork, Kernel::NetworkUpdate]);
        }
        if update_degradation {
            if self.engine.precision() == Precision::F16 {
                needed.push(Kernel::HalfWeights);
            }
            needed.extend([
                Kernel::HrNetwork,
                Kernel::HrWindow,
                Kernel::DegradationSums,
                Kernel::DegradationUpdate,
            ]);
        }
        needed.retain(|&kernel| self.recording[kernel as usize].is_none());
        if needed.is_empty() {
            return Ok(());
        }
        let texts = Texts {
            problem: &self.problem,
            layout: &self.layout,
            shape: &self.shape,
            windows: self.windows,
            pitch: self.pitch,
            target: self.engine.target(),
        };
        let texts = needed
            .iter()
            .map(|&kernel| texts.of(kernel))
            .collect::<Result<Vec<_>>>()?;
        let recorded = record(self.engine, &self.buffers, &texts)?;
        for (kernel, recorded) in needed.into_iter().zip(recorded) {
            self.recording[kernel as usize] = Some(recorded);
        }
        Ok(())
    }

    fn check_plan(&self, plan: &StepPlan) -> Result<()> {
        let problem = &self.problem;
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
            if let Some(w) = batch.iter().find(|&&w| w as usize >= self.windows) {
                return Err(Error::failed(format!(
                    "{what} batch names window {w} of {}",
                    self.windows
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
        let (mut queued, seconds, unknown) = self.make_room(plan)?;
        self.prepare(lr, update_degradation)?;
        let lr_first = self.queue.place(0, &plan.lr_batch);
        let hr_first = if update_degradation {
            self.queue.place(1, &plan.hr_batch)
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
        let (bands, b) = (self.shape.bands, self.shape.msi);
        let block = self.problem.geometry.scale * self.problem.geometry.scale;
        let share = |n: usize| (1.0 / n as f64) as f32;
        let alpha = self.problem.alpha.map(|a| a as f32);
        let uniform = StepUniform {
            key: match self.problem.noise {
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
            lr_scale: (self.problem.beta / (lr * bands) as f64) as f32,
            blur_scale: share(hr * bands),
            response_scale: share(hr * block * b),
            observation_scale: share(lr * b),
            alpha_blur: alpha[0],
            alpha_response: alpha[1],
            alpha_observation: alpha[2],
            ..Default::default()
        };
        self.queue.push(queued, &uniform, self.pitch, seconds);
        self.lr_batch = plan.lr_batch.clone();
        self.observed = !update_degradation;
        self.last_step = (lr, hr, update_degradation);
        if unknown {
            self.flush(true)?;
        }
        Ok(())
    }

    fn losses(&mut self) -> Result<Vec<StepLosses>> {
        self.flush(false)?;
        self.land(0)?;
        self.buffers.losses.check_guards(&self.engine.context)?;
        Ok(std::mem::take(&mut self.losses))
    }

    fn arrived_losses(&mut self) -> Result<Vec<StepLosses>> {
        self.land(FLIGHTS)?;
        Ok(std::mem::take(&mut self.losses))
    }

    fn state(&mut self) -> Result<TrainingState<f32>> {
        self.begin_snapshot()?;
        self.engine.context.wait()?;
        for buffer in [&self.buffers.network, &self.buffers.moments, &self.buffers.theta] {
            buffer.check_guards(&self.engine.context)?;
        }
        self.end_snapshot()
    }

    fn arrived_state(&mut self) -> Result<Option<TrainingState<f32>>> {
        if !self.snapshot.is_under_way() {
            self.begin_snapshot()?;
            return Ok(None);
        }
        self.engine.context.poll()?;
        match self.snapshot.has_come() {
            true => self.end_snapshot().map(Some),
            false => Ok(None),
        }
    }

    fn set_degradation(&mut self, theta: &[f32]) -> Result<()> {
        check_length(theta.len(), self.shape.theta)?;
        self.flush(false)?;
        self.observed = false;
        self.buffers.theta.write(&self.engine.context, 0, theta)
    }

    fn give_noise(&mut self, hr: &[f32], lr: &[f32]) -> Result<()> {
        if self.problem.noise != Noise::Given {
            return Err(Error::failed("noise was given to a run that draws its own"));
        }
        self.flush(false)?;
        let context = &self.engine.context;
        let (bands, floats) = (self.shape.bands, 4 * self.shape.band_quads);
        self.buffers
            .hr_noise
            .write(context, 0, &padded(hr, bands, floats))?;
        self.buffers
            .lr_noise
            .write(context, 0, &padded(lr, bands, floats))
    }

    fn tensors(&mut self) -> Result<StepTensors<f32>> {
        self.last_tensors()
    }
}
