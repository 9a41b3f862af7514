//! A training run on the GPU: pipelines, bind groups and buffers made once, then replayed step by step.
//!
//! Steps are queued on the host and submitted many at a time; what differs between them stands in one uniform
//! buffer with dynamic offsets and one buffer of batch indices. Losses stay on the device until they are asked for.

use std::mem::offset_of;
use std::sync::Arc;

use crate::engine::cpu::{self, network_update::Adam};
use crate::engine::gpu::defines::{Shape, keeps_tensors};
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
use crate::network::{Branch, Layout};
use crate::random::key;
use crate::sensor::psf;

/// Floating-point operations of a submit at most: a fifth of a second at 100 GFLOP/s, far from any watchdog.
const WORK: usize = 20_000_000_000;

/// A step that waits for its submit.
struct Queued {
    observe: bool,
    /// Whether `lr_steps` takes it, with those behind it that keep its batch and θ.
    persistent: bool,
    update_degradation: bool,
    lr_count: usize,
    hr_count: usize,
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
    queued_work: usize,
    /// Distance of two uniforms in bytes.
    pitch: usize,
    batch_capacity: usize,
    next_slot: usize,
    awaited: Vec<Awaited>,
    losses: Vec<StepLosses>,
    /// LR pixels, HR windows and θ update of the last step, for its tensors.
    last_step: (usize, usize, bool),
}

/// What kernels leave, as it lies on the device; see [`Shape`].
pub(super) struct Records {
    pub(super) bank: Vec<f32>,
    pub(super) observations: Vec<f32>,
    pub(super) pixels: Vec<f32>,
    /// Empty where the last step did not update θ.
    pub(super) windows: Vec<f32>,
    /// What `half_weights` left; empty in single precision and where `windows` is.
    pub(super) weights: Vec<half::f16>,
    /// What `degradation_sums` left; empty where `windows` is.
    pub(super) sums: Vec<f32>,
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
            queued_work: 0,
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
        self.flush()?;
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

    /// Operations of a step, roughly: enough to bound the time of a submit.
    fn work(&self, lr_count: usize, hr_count: usize) -> usize {
        let a = &self.problem.architecture;
        let pixel = 2 * a.multiply_adds() + 40 * a.bands;
        let area = self.shape.side * self.shape.side;
        3 * pixel * lr_count * a.members + hr_count * area * (pixel + 12 * a.bands)
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

    /// Submits the queued steps.
    fn flush(&mut self) -> Result<()> {
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
        let mut encoder = context.device.create_command_encoder(&Default::default());
        let members = self.problem.architecture.members;
        let frozen = self.problem.frozen_encoder;
        for (i, step) in self.queue.iter().enumerate().filter(|&(i, _)| runs[i] > 0) {
            let offset = i * self.pitch;
            let mut pass = context.pass(&mut encoder);
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
                let groups = hr_network::workgroups(hr);
                self.dispatch(&mut pass, Kernel::HrNetwork, offset, groups, || {
                    cpu::hr_network::work(problem, hr)
                })?;
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
        context.submit(encoder, false)?;
        self.queue.clear();
        self.uniforms.clear();
        self.batches.clear();
        self.queued_work = 0;
        Ok(())
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Reads what the last step's kernels left.
    pub(super) fn records(&mut self) -> Result<Records> {
        self.flush()?;
        let (context, s, b) = (&self.engine.context, &self.shape, &self.buffers);
        let (lr, hr, updated) = self.last_step;
        let members = self.problem.architecture.members;
        let hr = if updated { hr } else { 0 };
        let bank = (1 + psf::PARAMETERS) * s.kernel * s.kernel;
        Ok(Records {
            bank: b.bank.read(context, 0, bank)?,
            observations: b.observations.read(context, 0, lr * s.observation)?,
            pixels: b.pixels.read(context, 0, members * lr * 4 * s.pixel_record)?,
            windows: b.windows.read(context, 0, hr * 4 * s.window_record)?,
            weights: match updated && self.engine.precision() == Precision::F16 {
                true => b
                    .weights
                    .read::<half::f16>(context, 0, b.weights.bytes as usize / 4)?,
                false => Vec::new(),
            },
            sums: match updated {
                true => b.sums.read(context, 4 * s.theta, degradation_sums::count(s))?,
                false => Vec::new(),
            },
        })
    }

    /// Brings the losses of all awaited steps to the host.
    fn collect_losses(&mut self) -> Result<()> {
        self.flush()?;
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
        let work = self.work(lr, if plan.degradation_rate.is_some() { hr } else { 0 });
        if self.queue.len() == STEPS
            || self.queued_work + work > WORK
            || self.batches.len() + lr + hr > self.batch_capacity
        {
            self.flush()?;
        }
        let update_degradation = plan.degradation_rate.is_some();
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
            persistent: self.is_persistent(lr, update_degradation),
            update_degradation,
            lr_count: lr,
            hr_count: hr,
        });
        self.queued_work += work;
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
        Ok(())
    }

    fn losses(&mut self) -> Result<Vec<StepLosses>> {
        self.collect_losses()?;
        Ok(std::mem::take(&mut self.losses))
    }

    fn state(&mut self) -> Result<TrainingState<f32>> {
        self.flush()?;
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
        self.flush()?;
        self.observed = false;
        self.buffers.theta.write(&self.engine.context, 0, theta)
    }

    fn give_noise(&mut self, hr: &[f32], lr: &[f32]) -> Result<()> {
        if self.problem.noise != Noise::Given {
            return Err(Error::failed("noise was given to a run that draws its own"));
        }
        self.flush()?;
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
        let records = self.records()?;
        let (context, s, b) = (&self.engine.context, &self.shape, &self.buffers);
        let members = self.problem.architecture.members;
        let area = s.kernel * s.kernel;
        let keep = keeps_tensors(&self.problem);

        let srf: Vec<f32> = b.srf.read(context, 0, s.msi * 4 * s.band_quads)?;
        let srf = (0..s.bands * s.msi)
            .map(|i| srf[(i % s.msi) * 4 * s.band_quads + i / s.msi])
            .collect();
        let observed = |at: usize| -> Vec<f32> {
            let each = records.observations.chunks_exact(s.observation);
            each.flat_map(|o| o[at..at + s.msi].to_vec()).collect()
        };
        let rows = |at: usize, length: usize| -> Vec<f32> {
            let each = records.pixels.chunks_exact(4 * s.pixel_record);
            each.flat_map(|p| p[at..at + length].to_vec()).collect()
        };
        let window = |at: usize, from: usize, to: usize, count: usize| -> Vec<f32> {
            let each = records.windows.chunks_exact(4 * s.window_record);
            each.flat_map(|w| unpadded(&w[at..at + count * from], from, to))
                .collect()
        };
        let sums: Vec<f32> = if self.last_step.2 {
            b.sums.read(context, 0, 4 * s.theta)?
        } else {
            Vec::new()
        };
        let (terms, total) = sums.split_at(sums.len() / 4 * 3);
        Ok(StepTensors {
            psf: records.bank[..area].to_vec(),
            srf,
            lr_msi: observed(0),
            srf_of_lr_hsi: observed(s.msi),
            abundance_lr: rows(self.layout.abundance, self.layout.abundances),
            mean_lr: rows(self.layout.output(Branch::Mean), s.bands),
            std_lr: match self.problem.noise {
                Noise::Off => Vec::new(),
                _ => rows(self.layout.output(Branch::Std), s.bands),
            },
            sample_lr: if keep {
                rows(4 * s.sample, s.bands)
            } else {
                Vec::new()
            },
            blur_of_sample: window(0, s.bands, s.bands, 1),
            srf_of_sample: if keep {
                let quads = 4 * s.response_quads;
                window(4 * s.response, quads, s.msi, s.side * s.side)
            } else {
                Vec::new()
            },
            network_gradient: b.gradient.read(context, 0, members * self.layout.parameters)?,
            term_gradients: terms.to_vec(),
            degradation_gradient: total.to_vec(),
        })
    }
}
