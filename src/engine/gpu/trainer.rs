//! A training run on the GPU: pipelines, bind groups and buffers made once, then replayed step by step.
//!
//! Steps are queued on the host and submitted many at a time, as many as the device was measured to do in a short while
//! (`pace`); an HR pass that takes longer is cut by windows. What differs between them stands in one uniform
//! buffer with dynamic offsets and one buffer of batch indices. Losses stay on the device until they are asked for.

mod tensors;

use std::mem::offset_of;
use std::sync::Arc;
use std::time::Instant;

use crate::engine::cpu::{self, network_update::Adam};
use crate::engine::gpu::defines::{Shape, keeps_tensors};
use crate::engine::gpu::pace::TARGET;
use crate::engine::gpu::recording::{
    Buffers, Kernel, Recording, SLOTS, STEPS, Texts, padded, record, unpadded,
};
use crate::engine::gpu::step::StepUniform;
use crate::engine::gpu::timing::Pass;
use crate::engine::gpu::{
    GpuEngine, degradation, degradation_sums, degradation_update, half_weights, hr_network, lr_network,
    lr_steps, network_update, psf_blur, reconstruct,
};
use crate::engine::work::Work;
use crate::engine::{
    Noise, Output, Precision, Problem, StepLosses, StepPlan, StepTensors, Trainer, TrainingSet,
    TrainingState, check_length,
};
use crate::error::{Error, Result};
use crate::network::Layout;
use crate::random::key;

/// Kinds of work that the device is measured by: whole steps in one workgroup a member, LR passes, HR passes.
pub(super) const PERSISTENT: &str = "lr_steps";
const SPREAD: &str = "lr_network";
const WINDOWS: &str = "hr_network";

/// A step that waits for its submit.
struct Queued {
    observe: bool,
    /// Whether `lr_steps` takes it, with those behind it that keep its batch and θ.
    persistent: bool,
    update_degradation: bool,
    lr_count: usize,
    hr_count: usize,
    /// Operations of the LR and of the HR pass, roughly.
    work: [f64; 2],
}

impl Queued {
    /// The kind of its LR pass.
    fn kind(&self) -> &'static str {
        if self.persistent { PERSISTENT } else { SPREAD }
    }
}

/// Commands that are recorded and not yet submitted.
struct Segment {
    encoder: wgpu::CommandEncoder,
    /// Kind and operations of what is to be measured; no kind where there are two.
    kind: Option<&'static str>,
    work: f64,
}

/// What is known on the host of a step whose losses are still on the device.
struct Awaited {
    step: u32,
    slot: usize,
    lr_count: usize,
    update_degradation: bool,
}

pub(super) struct GpuTrainer<'a> {
    engine: &'a GpuEngine,
    problem: Problem<f32>,
    layout: Layout,
    shape: Shape,
    windows: usize,
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
    queue: Vec<Queued>,
    uniforms: Vec<u8>,
    batches: Vec<u32>,
    /// Batches of the step queued last and where they start, to be shared with the next.
    last: [(Arc<[u32]>, usize); 2],
    /// Seconds that the queued steps are likely to take.
    queued_seconds: f64,
    /// Distance of two uniforms in bytes.
    pitch: usize,
    batch_capacity: usize,
    next_slot: usize,
    awaited: Vec<Awaited>,
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
        let none: Arc<[u32]> = Arc::from([]);
        let mut trainer = GpuTrainer {
            engine,
            problem: problem.clone(),
            layout,
            shape,
            windows: data.windows,
            buffers,
            recording: Recording::default(),
            persistent: None,
            linear: state.linear.clone(),
            network_updates: state.network_updates,
            degradation_updates: state.degradation_updates,
            observed: false,
            lr_batch: none.clone(),
            queue: Vec::new(),
            uniforms: Vec::new(),
            batches: Vec::new(),
            last: [(none.clone(), 0), (none, 0)],
            queued_seconds: 0.0,
            pitch,
            batch_capacity,
            next_slot: 0,
            awaited: Vec::new(),
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
        for chunk in all.chunks(self.problem.lr_capacity.max(1)) {
            let uniform = StepUniform {
                lr_count: chunk.len() as u32,
                ..Default::default()
            };
            self.buffers.step.write(context, 0, &[uniform])?;
            self.buffers.batch.write(context, 0, chunk)?;
            let mut encoder = context.device.create_command_encoder(&Default::default());
            {
                let mut pass = context.pass(&mut encoder);
                self.observe(&mut pass, chunk.len(), 0)?;
            }
            context.submit(encoder, false)?;
            let size = self.shape.observation;
            let observations: Vec<f32> = self.buffers.observations.read(context, 0, chunk.len() * size)?;
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

    /// Whether a step goes to `lr_steps`.
    fn is_persistent(&self, lr_count: usize, update_degradation: bool) -> bool {
        let bindings = self.engine.context.limits.max_storage_buffers_per_shader_stage;
        let suits = || lr_steps::suits(&self.layout, self.problem.frozen_encoder, lr_count, bindings);
        !update_degradation && self.persistent.unwrap_or_else(suits)
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

    fn dispatch(
        &self,
        pass: &mut Pass,
        kernel: Kernel,
        offset: usize,
        workgroups: [u32; 3],
        work: impl FnOnce() -> Work,
    ) -> Result<()> {
        let recorded = self.recording[kernel as usize]
            .as_ref()
            .ok_or_else(|| Error::failed(format!("{kernel:?} was not compiled for this step")))?;
        let offset = [offset as u32];
        let offsets = if recorded.stepped { &offset[..] } else { &[] };
        pass.dispatch(&recorded.pipeline, &recorded.group, offsets, workgroups, work);
        Ok(())
    }

    fn observe(&self, pass: &mut Pass, lr_count: usize, offset: usize) -> Result<()> {
        let problem = &self.problem;
        if problem.fixed_psf.is_none() || problem.fixed_srf.is_none() {
            let groups = degradation::workgroups(&self.shape);
            self.dispatch(pass, Kernel::Degradation, offset, groups, || {
                cpu::degradation::work(problem)
            })?;
        }
        let groups = psf_blur::workgroups(lr_count);
        self.dispatch(pass, Kernel::PsfBlur, offset, groups, || {
            cpu::psf_blur::work(problem, lr_count)
        })
    }

    /// Where a batch starts in the buffer of indices; put there unless the step before had the same.
    fn place(&mut self, which: usize, batch: &Arc<[u32]>) -> u32 {
        let (last, at) = &self.last[which];
        if !self.queue.is_empty() && (Arc::ptr_eq(last, batch) || last == batch) {
            return *at as u32;
        }
        let at = self.batches.len();
        self.batches.extend_from_slice(batch);
        self.last[which] = (batch.clone(), at);
        at as u32
    }

    /// Operations of a step's LR and HR pass, roughly: enough to tell how long they take.
    fn work(&self, lr_count: usize, hr_count: usize) -> [f64; 2] {
        let a = &self.problem.architecture;
        let pixel = 2 * a.multiply_adds() + 40 * a.bands;
        let area = self.shape.side * self.shape.side;
        let lr = 3 * pixel * lr_count * a.members;
        [lr as f64, (hr_count * area * (pixel + 12 * a.bands)) as f64]
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

    fn segment(&self) -> Segment {
        Segment {
            encoder: self
                .engine
                .context
                .device
                .create_command_encoder(&Default::default()),
            kind: None,
            work: 0.0,
        }
    }

    /// Submits what was recorded, and with `measure` waits for it and takes its time.
    fn submit(&self, segment: Segment, measure: bool) -> Result<()> {
        let began = Instant::now();
        self.engine.context.submit(segment.encoder, measure)?;
        if let (true, Some(kind)) = (measure, segment.kind) {
            let seconds = began.elapsed().as_secs_f64();
            self.engine.pace.measured(kind, segment.work, seconds);
        }
        Ok(())
    }

    /// The HR pass of the queued step number `index`, in submits that are short; gives room for what follows.
    fn submit_windows(&self, before: Segment, index: usize, measure: bool) -> Result<Segment> {
        self.submit(before, measure)?;
        let (context, step) = (&self.engine.context, &self.queue[index]);
        let each = step.work[1] / step.hr_count.max(1) as f64;
        let mut uniform = self.uniforms[index * self.pitch..][..size_of::<StepUniform>()].to_vec();
        let mut done = 0;
        while done < step.hr_count {
            let fitting = (self.engine.pace.fitting(WINDOWS) / each).max(1.0) as usize;
            let part = fitting.min(step.hr_count - done);
            for (field, value) in [
                (offset_of!(StepUniform, hr_offset), done),
                (offset_of!(StepUniform, hr_part), part),
            ] {
                uniform[field..field + 4].copy_from_slice(bytemuck::bytes_of(&(value as u32)));
            }
            // Taken over between the submit before and the next.
            self.buffers
                .step
                .write(context, STEPS * self.pitch / 4, &uniform)?;
            let mut segment = self.segment();
            (segment.kind, segment.work) = (Some(WINDOWS), each * part as f64);
            {
                let mut pass = context.pass(&mut segment.encoder);
                let groups = hr_network::workgroups(part);
                self.dispatch(&mut pass, Kernel::HrNetwork, STEPS * self.pitch, groups, || {
                    cpu::hr_network::work(&self.problem, part)
                })?;
            }
            self.submit(segment, measure)?;
            done += part;
        }
        Ok(self.segment())
    }

    /// Submits the queued steps. With `measure` the device is waited for and its time is taken.
    fn flush(&mut self, measure: bool) -> Result<()> {
        if self.queue.is_empty() {
            return Ok(());
        }
        // Steps that one dispatch of `lr_steps` takes from each on; those behind the first of a run have none.
        let mut runs = vec![0; self.queue.len()];
        let mut first = 0;
        for (i, step) in self.queue.iter().enumerate() {
            let goes_on = i > 0 && step.persistent && self.queue[i - 1].persistent && !step.observe;
            if !goes_on {
                first = i;
            }
            runs[first] += 1;
        }
        for (i, &run) in runs.iter().enumerate() {
            for (field, value) in [
                (offset_of!(StepUniform, index), i),
                (offset_of!(StepUniform, run), run),
            ] {
                let at = i * self.pitch + field;
                self.uniforms[at..at + 4].copy_from_slice(bytemuck::bytes_of(&(value as u32)));
            }
        }
        let context = &self.engine.context;
        self.buffers.step.write(context, 0, &self.uniforms)?;
        self.buffers.batch.write(context, 0, &self.batches)?;
        if measure {
            context.wait()?;
        }
        let mut segment = self.segment();
        let kind = self.queue.first().map(Queued::kind);
        segment.kind = kind.filter(|kind| self.queue.iter().all(|step| step.kind() == *kind));
        let members = self.problem.architecture.members;
        let frozen = self.problem.frozen_encoder;
        for (i, step) in self.queue.iter().enumerate().filter(|&(i, _)| runs[i] > 0) {
            let offset = i * self.pitch;
            segment.work += self.queue[i..i + runs[i]].iter().map(|s| s.work[0]).sum::<f64>();
            let mut pass = context.pass(&mut segment.encoder);
            let (problem, lr, hr) = (&self.problem, step.lr_count, step.hr_count);
            let with_std = problem.noise != Noise::Off;
            if step.observe {
                self.observe(&mut pass, lr, offset)?;
            }
            if step.persistent {
                let groups = lr_steps::workgroups(members);
                self.dispatch(&mut pass, Kernel::LrSteps, offset, groups, || {
                    std::iter::repeat_n(cpu::lr_steps::work(problem, lr, with_std, true), runs[i]).sum()
                })?;
                continue;
            }
            let groups = lr_network::workgroups(lr, members);
            self.dispatch(&mut pass, Kernel::LrNetwork, offset, groups, || {
                cpu::lr_network::work(problem, lr, with_std)
            })?;
            // Both updates start from the same φ and θ: the HR pass comes before Adam.
            if step.update_degradation {
                if self.engine.precision() == Precision::F16 {
                    let groups = half_weights::workgroups(&self.layout);
                    self.dispatch(&mut pass, Kernel::HalfWeights, offset, groups, || {
                        cpu::half_weights::work(&self.layout)
                    })?;
                }
                if measure || self.engine.pace.seconds(WINDOWS, step.work[1]) > TARGET {
                    drop(pass);
                    segment = self.submit_windows(segment, i, measure)?;
                    pass = context.pass(&mut segment.encoder);
                } else {
                    let groups = hr_network::workgroups(hr);
                    self.dispatch(&mut pass, Kernel::HrNetwork, offset, groups, || {
                        cpu::hr_network::work(problem, hr)
                    })?;
                }
            }
            let groups = network_update::workgroups(&self.layout, members, frozen);
            self.dispatch(&mut pass, Kernel::NetworkUpdate, offset, groups, || {
                cpu::network_update::work(problem, lr, true)
            })?;
            if step.update_degradation {
                let groups = degradation_sums::workgroups(&self.shape);
                self.dispatch(&mut pass, Kernel::DegradationSums, offset, groups, || {
                    cpu::degradation_sums::work(problem, lr, hr)
                })?;
                let groups = degradation_update::WORKGROUPS;
                self.dispatch(&mut pass, Kernel::DegradationUpdate, offset, groups, || {
                    cpu::degradation_update::work(problem)
                })?;
            }
        }
        self.submit(segment, measure)?;
        self.queue.clear();
        self.uniforms.clear();
        self.batches.clear();
        self.queued_seconds = 0.0;
        Ok(())
    }

    /// Brings the losses of all awaited steps to the host.
    fn collect_losses(&mut self) -> Result<()> {
        // Who asks for losses waits anyway.
        self.flush(true)?;
        if self.awaited.is_empty() {
            return Ok(());
        }
        let row = 3 + self.problem.architecture.members;
        let ring: Vec<f32> = self.buffers.losses.read(&self.engine.context, 0, SLOTS * row)?;
        for a in self.awaited.drain(..) {
            let values = &ring[a.slot * row..][..row];
            let mean = |sum: f32| f64::from(sum) / (a.lr_count * self.shape.bands) as f64;
            self.losses.push(StepLosses {
                step: a.step,
                degradation: a
                    .update_degradation
                    .then(|| [values[0], values[1], values[2]].map(f64::from)),
                network: values[3..].iter().map(|&sum| mean(sum)).collect(),
            });
        }
        Ok(())
    }
}

impl Trainer<f32> for GpuTrainer<'_> {
    fn step(&mut self, plan: &StepPlan) -> Result<()> {
        self.check_plan(plan)?;
        let (lr, hr) = (plan.lr_batch.len(), plan.hr_batch.len());
        if self.awaited.len() == SLOTS {
            self.collect_losses()?;
        }
        let update_degradation = plan.degradation_rate.is_some();
        let work = self.work(lr, if update_degradation { hr } else { 0 });
        let persistent = self.is_persistent(lr, update_degradation);
        let pace = &self.engine.pace;
        let kind = if persistent { PERSISTENT } else { SPREAD };
        let seconds = pace.seconds(kind, work[0]) + pace.seconds(WINDOWS, work[1]);
        let unknown = !pace.knows(kind) || (update_degradation && !pace.knows(WINDOWS));
        if self.queue.len() == STEPS
            || unknown
            || self.queued_seconds + seconds > TARGET
            || self.batches.len() + lr + hr > self.batch_capacity
        {
            self.flush(false)?;
        }
        self.prepare(lr, update_degradation)?;
        let lr_first = self.place(0, &plan.lr_batch);
        let hr_first = if update_degradation {
            self.place(1, &plan.hr_batch)
        } else {
            0
        };
        let observe = !(self.observed && self.lr_batch == plan.lr_batch);
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
            hr_part: hr as u32,
            slot: self.next_slot as u32,
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
        self.uniforms.extend_from_slice(bytemuck::bytes_of(&uniform));
        self.uniforms.resize((self.queue.len() + 1) * self.pitch, 0);
        self.queue.push(Queued {
            observe,
            persistent,
            update_degradation,
            lr_count: lr,
            hr_count: hr,
            work,
        });
        self.queued_seconds += seconds;
        self.awaited.push(Awaited {
            step: plan.step,
            slot: self.next_slot,
            lr_count: lr,
            update_degradation,
        });
        self.next_slot = (self.next_slot + 1) % SLOTS;
        self.lr_batch = plan.lr_batch.clone();
        self.observed = !update_degradation;
        self.last_step = (lr, hr, update_degradation);
        if unknown {
            self.flush(true)?;
        }
        Ok(())
    }

    fn losses(&mut self) -> Result<Vec<StepLosses>> {
        self.collect_losses()?;
        Ok(std::mem::take(&mut self.losses))
    }

    fn state(&mut self) -> Result<TrainingState<f32>> {
        self.flush(false)?;
        let context = &self.engine.context;
        let size = self.layout.parameters * self.problem.architecture.members;
        let theta = self.shape.theta;
        let mut network: Vec<f32> = self.buffers.network.read(context, 0, size)?;
        network.truncate(size);
        let moments: Vec<f32> = self.buffers.moments.read(context, 0, 2 * size)?;
        let degradation: Vec<f32> = self.buffers.theta.read(context, 0, 3 * theta)?;
        Ok(TrainingState {
            network,
            network_m: moments[..size].to_vec(),
            network_v: moments[size..].to_vec(),
            linear: self.linear.clone(),
            degradation: degradation[..theta].to_vec(),
            degradation_m: degradation[theta..2 * theta].to_vec(),
            degradation_v: degradation[2 * theta..].to_vec(),
            network_updates: self.network_updates,
            degradation_updates: self.degradation_updates,
        })
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
