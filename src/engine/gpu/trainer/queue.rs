//! Steps that wait for their submit: how many of them go together, and where one that is long is cut.
//!
//! A step is a list of calls of kernels. As many steps are submitted at a time as the device was measured to do in a short
//! while (`pace`). Where one alone takes longer, its long calls go into submits of their own, some workgroups at a time:
//! a workgroup has its own part of the result, so no bit depends on it.

use std::mem::offset_of;
use std::sync::Arc;
use std::time::Instant;

use super::GpuTrainer;
use super::flights::Load;
use crate::engine::cpu;
use crate::engine::gpu::pace::TARGET;
use crate::engine::gpu::pass::Pass;
use crate::engine::gpu::pipeline::ROW;
use crate::engine::gpu::recording::{Kernel, STEPS};
use crate::engine::gpu::step::StepUniform;
use crate::engine::gpu::{
    degradation, degradation_sums, degradation_update, half_weights, hr_network, hr_window, lr_network,
    lr_steps, network_update, psf_blur,
};
use crate::engine::work::Work;
use crate::engine::{Noise, Precision, StepPlan};
use crate::error::{Error, Result};

/// Kinds of work that the device is measured by, beside kernels alone: whole steps in one workgroup a member, and all of a
/// step but its HR pass.
const PERSISTENT: &str = lr_steps::FILE;
const SPREAD: &str = "LR pass";
/// That of an HR pass.
const WINDOWS: &str = hr_network::FILE;

/// A step that waits for its submit.
pub(super) struct Queued {
    /// Its number.
    pub(super) number: u32,
    /// Whether PSF, SRF and observations have to be made first.
    pub(super) observe: bool,
    /// Whether `lr_steps` takes it, with those behind it that keep its batch and θ.
    pub(super) persistent: bool,
    pub(super) update_degradation: bool,
    pub(super) lr_count: usize,
    pub(super) hr_count: usize,
    /// Operations of the LR and of the HR pass, roughly.
    pub(super) work: [f64; 2],
}

impl Queued {
    /// The kind of its LR pass.
    fn kind(&self) -> &'static str {
        if self.persistent { PERSISTENT } else { SPREAD }
    }
}

/// The queued steps.
pub(super) struct Queue {
    steps: Vec<Queued>,
    uniforms: Vec<u8>,
    batches: Vec<u32>,
    /// Batches of the step queued last and where they start, to be shared with the next.
    last: [(Arc<[u32]>, usize); 2],
    /// Seconds that the steps are likely to take.
    seconds: f64,
}

impl Default for Queue {
    fn default() -> Self {
        let none: Arc<[u32]> = Arc::from([]);
        Queue {
            steps: Vec::new(),
            uniforms: Vec::new(),
            batches: Vec::new(),
            last: [(none.clone(), 0), (none, 0)],
            seconds: 0.0,
        }
    }
}

impl Queue {
    /// Where a batch starts in the buffer of indices; put there unless the step before had the same.
    pub(super) fn place(&mut self, which: usize, batch: &Arc<[u32]>) -> u32 {
        let (last, at) = &self.last[which];
        if !self.steps.is_empty() && (Arc::ptr_eq(last, batch) || last == batch) {
            return *at as u32;
        }
        let at = self.batches.len();
        self.batches.extend_from_slice(batch);
        self.last[which] = (batch.clone(), at);
        at as u32
    }

    /// Queues a step that is likely to take so many seconds, its uniform padded to `pitch` bytes.
    pub(super) fn push(&mut self, step: Queued, uniform: &StepUniform, pitch: usize, seconds: f64) {
        self.steps.push(step);
        self.uniforms.extend_from_slice(bytemuck::bytes_of(uniform));
        self.uniforms.resize(self.steps.len() * pitch, 0);
        self.seconds += seconds;
    }

    /// Hands the steps over and begins anew.
    pub(super) fn hand_over(&mut self, steps: &mut Vec<Queued>) {
        steps.clear();
        std::mem::swap(&mut self.steps, steps);
        self.uniforms.clear();
        self.batches.clear();
        self.seconds = 0.0;
    }
}

/// Commands that are recorded and not yet submitted, and what they hold.
struct Segment {
    encoder: wgpu::CommandEncoder,
    load: Load,
}

impl Segment {
    fn add(&mut self, kind: &'static str, operations: f64) {
        match self.load.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, sum)) => *sum += operations,
            None => self.load.push((kind, operations)),
        }
    }
}

/// A call of a kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    kernel: Kernel,
    /// Workgroups of the whole call.
    groups: [u32; 3],
    /// The same in one line, which may be dispatched a few at a time, and how many stand beside each of it.
    line: [u32; 2],
    /// LR pixels, HR windows and steps that it is for.
    lr_count: usize,
    hr_count: usize,
    run: usize,
}

impl GpuTrainer<'_> {
    /// Operations of a step's LR and HR pass, roughly: enough to tell how long they take.
    fn work(&self, lr_count: usize, hr_count: usize) -> [f64; 2] {
        let a = &self.problem.architecture;
        let pixel = 2 * a.multiply_adds() + 40 * a.bands;
        let lr = 3 * pixel * lr_count * a.members;
        let hr = match hr_count {
            0 => 0,
            _ => cpu::hr_network::work(&self.problem, hr_count).operations,
        };
        [lr as f64, hr as f64]
    }

    /// Makes room for a step of these sizes; returns what is to be queued, the seconds that it is likely to take, and
    /// whether nothing like it was measured yet.
    pub(super) fn make_room(&mut self, plan: &StepPlan) -> Result<(Queued, f64, bool)> {
        let (lr_count, hr_count) = (plan.lr_batch.len(), plan.hr_batch.len());
        let update_degradation = plan.degradation_rate.is_some();
        let work = self.work(lr_count, if update_degradation { hr_count } else { 0 });
        let step = Queued {
            number: plan.step,
            observe: true,
            persistent: self.is_persistent(lr_count, update_degradation),
            update_degradation,
            lr_count,
            hr_count,
            work,
        };
        let pace = &self.engine.pace;
        let seconds = pace.seconds(step.kind(), work[0]) + pace.seconds(WINDOWS, work[1]);
        let unknown = !pace.knows(step.kind()) || (update_degradation && !pace.knows(WINDOWS));
        let long = self.queue.seconds + seconds > TARGET;
        if self.queue.steps.len() == STEPS
            || unknown
            || long
            || self.queue.batches.len() + lr_count + hr_count > self.batch_capacity
        {
            let climbing = |step: &Queued| {
                pace.is_climbing(step.kind()) || (step.update_degradation && pace.is_climbing(WINDOWS))
            };
            let measure = long && self.queue.steps.iter().any(climbing);
            self.flush(measure)?;
        }
        Ok((step, seconds, unknown))
    }

    fn call(&self, kernel: Kernel, step: &Queued, run: usize) -> Call {
        let (problem, layout) = (&self.problem, &self.layout);
        let (lr, hr, members) = (step.lr_count, step.hr_count, problem.architecture.members);
        let groups = match kernel {
            Kernel::Degradation => degradation::workgroups(&self.shape),
            Kernel::PsfBlur => psf_blur::workgroups(lr),
            Kernel::LrSteps => lr_steps::workgroups(members),
            Kernel::LrNetwork => lr_network::workgroups(&self.shape, lr, members),
            Kernel::NetworkUpdate => network_update::workgroups(self.blocks, members),
            Kernel::HalfWeights => half_weights::workgroups(layout),
            Kernel::HrNetwork => hr_network::workgroups(hr, self.parts),
            Kernel::HrWindow => hr_window::workgroups(hr),
            Kernel::DegradationSums => degradation_sums::workgroups(&self.shape),
            Kernel::DegradationUpdate => degradation_update::WORKGROUPS,
        };
        let line = match kernel {
            Kernel::PsfBlur => [lr as u32, 1],
            Kernel::HrNetwork => [(hr * self.parts) as u32, 1],
            _ => [groups[0], groups[1]],
        };
        Call {
            kernel,
            groups,
            line,
            lr_count: lr,
            hr_count: hr,
            run,
        }
    }

    /// The calls that make PSF, SRF and the observations of so many LR pixels.
    pub(super) fn observation(&self, lr_count: usize) -> Vec<Call> {
        let step = Queued {
            number: 0,
            observe: true,
            persistent: false,
            update_degradation: false,
            lr_count,
            hr_count: 0,
            work: [0.0; 2],
        };
        let parametric = self.problem.fixed_psf.is_none() || self.problem.fixed_srf.is_none();
        let degradation = parametric.then_some(Kernel::Degradation);
        degradation
            .into_iter()
            .chain([Kernel::PsfBlur])
            .map(|kernel| self.call(kernel, &step, 1))
            .collect()
    }

    /// The calls of a step, and with `lr_steps` of the `run` steps from it on.
    fn calls(&self, step: &Queued, run: usize) -> Vec<Call> {
        let mut calls = match step.observe {
            true => self.observation(step.lr_count),
            false => Vec::new(),
        };
        let mut add = |kernels: &[Kernel]| calls.extend(kernels.iter().map(|&k| self.call(k, step, run)));
        if step.persistent {
            add(&[Kernel::LrSteps]);
            return calls;
        }
        add(&[Kernel::LrNetwork]);
        // Both updates start from the same φ and θ: the HR pass comes before Adam.
        if step.update_degradation {
            if self.engine.precision() == Precision::F16 {
                add(&[Kernel::HalfWeights]);
            }
            add(&[Kernel::HrNetwork, Kernel::HrWindow]);
        }
        add(&[Kernel::NetworkUpdate]);
        if step.update_degradation {
            add(&[Kernel::DegradationSums, Kernel::DegradationUpdate]);
        }
        calls
    }

    /// Work of a call.
    fn work_of(&self, call: &Call) -> Work {
        let (problem, lr, hr) = (&self.problem, call.lr_count, call.hr_count);
        let with_std = problem.noise != Noise::Off;
        match call.kernel {
            Kernel::Degradation => cpu::degradation::work(problem),
            Kernel::PsfBlur => cpu::psf_blur::work(problem, lr),
            Kernel::LrSteps => {
                let step = cpu::lr_steps::work(problem, lr, with_std, true);
                std::iter::repeat_n(step, call.run).sum()
            }
            Kernel::LrNetwork => cpu::lr_network::work(problem, lr, with_std),
            Kernel::NetworkUpdate => cpu::network_update::work(problem, lr, true),
            Kernel::HalfWeights => cpu::half_weights::work(&self.layout),
            Kernel::HrNetwork => cpu::hr_network::work(problem, hr),
            Kernel::HrWindow => cpu::hr_window::work(problem, hr),
            Kernel::DegradationSums => cpu::degradation_sums::work(problem, lr, hr),
            Kernel::DegradationUpdate => cpu::degradation_update::work(problem),
        }
    }

    /// Dispatches `groups` of a call, by the uniform at `offset`.
    fn dispatch(
        &self,
        pass: &mut Pass,
        call: &Call,
        groups: [u32; 3],
        offset: usize,
        work: impl FnOnce() -> Work,
    ) -> Result<()> {
        let kernel = call.kernel;
        let recorded = self.recording[kernel as usize]
            .as_ref()
            .ok_or_else(|| Error::failed(format!("{kernel:?} was not compiled for this step")))?;
        let offset = [offset as u32];
        let offsets = if recorded.stepped { &offset[..] } else { &[] };
        pass.dispatch(&recorded.pipeline, &recorded.group, offsets, groups, work);
        Ok(())
    }

    /// Dispatches calls one behind the other.
    pub(super) fn dispatch_all(&self, pass: &mut Pass, calls: &[Call], offset: usize) -> Result<()> {
        for call in calls {
            self.dispatch(pass, call, call.groups, offset, || self.work_of(call))?;
        }
        Ok(())
    }

    fn segment(&self) -> Segment {
        let device = &self.engine.context.device;
        Segment {
            encoder: device.create_command_encoder(&Default::default()),
            load: Load::new(),
        }
    }

    /// Submits what was recorded, waits for it and takes its time; returns that in seconds.
    fn run(&self, segment: Segment) -> Result<f64> {
        let began = Instant::now();
        self.engine.context.run(segment.encoder)?;
        let seconds = began.elapsed().as_secs_f64();
        self.engine.pace.measured_together(&segment.load, seconds, true);
        Ok(seconds)
    }

    /// Submits a call of the queued step number `index` in parts that are short; returns how long they took.
    fn submit_in_parts(&self, call: &Call, index: usize) -> Result<f64> {
        let context = &self.engine.context;
        let work = self.work_of(call);
        let kind = call.kernel.file();
        let [count, beside] = call.line;
        let each = work.operations as f64 / f64::from(count.max(1));
        let mut uniform = self.queue.uniforms[index * self.pitch..][..size_of::<StepUniform>()].to_vec();
        let (mut done, mut seconds) = (0, 0.0);
        while done < count {
            let fitting = (self.engine.pace.fitting(kind) / each.max(1.0)).max(1.0);
            let part = (fitting as u32).min(ROW).min(count - done);
            let field = offset_of!(StepUniform, first_group);
            uniform[field..field + 4].copy_from_slice(bytemuck::bytes_of(&done));
            // The submit before has been waited for.
            self.buffers
                .step
                .write(context, STEPS * self.pitch / 4, &uniform)?;
            let mut segment = self.segment();
            segment.add(kind, each * f64::from(part));
            {
                let mut pass = context.pass(&mut segment.encoder);
                self.dispatch(&mut pass, call, [part, beside, 1], STEPS * self.pitch, || {
                    work.share(done..done + part, count)
                })?;
            }
            seconds += self.run(segment)?;
            done += part;
        }
        Ok(seconds)
    }

    /// Steps that one dispatch of `lr_steps` takes from each queued step on; those behind the first of a run have none.
    fn runs(&self) -> Vec<usize> {
        let steps = &self.queue.steps;
        let mut runs = vec![0; steps.len()];
        let mut first = 0;
        for (i, step) in steps.iter().enumerate() {
            let goes_on = i > 0 && step.persistent && steps[i - 1].persistent && !step.observe;
            if !goes_on {
                first = i;
            }
            runs[first] += 1;
        }
        runs
    }

    /// Submits the queued steps. With `measure` the device is waited for and its time is taken.
    pub(super) fn flush(&mut self, measure: bool) -> Result<()> {
        if self.queue.steps.is_empty() {
            return Ok(());
        }
        let pace = &self.engine.pace;
        let long = |step: &Queued| {
            [
                !step.persistent && pace.seconds(SPREAD, step.work[0]) > TARGET,
                pace.seconds(WINDOWS, step.work[1]) > TARGET,
            ]
        };
        let long: Vec<[bool; 2]> = self.queue.steps.iter().map(long).collect();
        // Waiting costs nothing where a step takes so long.
        let measure = measure || long.iter().any(|long| long.contains(&true));
        if measure {
            self.land(0)?;
        }
        let flight = self.place()?;
        let runs = self.runs();
        for (i, &run) in runs.iter().enumerate() {
            for (field, value) in [
                (offset_of!(StepUniform, index), i),
                (offset_of!(StepUniform, run), run),
                (offset_of!(StepUniform, slot), flight.first_row() + i),
            ] {
                let at = i * self.pitch + field;
                self.queue.uniforms[at..at + 4].copy_from_slice(bytemuck::bytes_of(&(value as u32)));
            }
        }
        let context = &self.engine.context;
        self.buffers.step.write(context, 0, &self.queue.uniforms)?;
        self.buffers.batch.write(context, 0, &self.queue.batches)?;
        let steps = &self.queue.steps;
        let mut segment = self.segment();
        for (i, step) in steps.iter().enumerate().filter(|&(i, _)| runs[i] > 0) {
            let long_lr = long[i][0];
            if !long_lr {
                let operations = steps[i..i + runs[i]].iter().map(|s| s.work[0]).sum();
                segment.add(step.kind(), operations);
            }
            if !measure {
                segment.add(WINDOWS, step.work[1]);
            }
            let apart = |call: &Call| match call.kernel {
                Kernel::PsfBlur | Kernel::LrNetwork | Kernel::NetworkUpdate | Kernel::DegradationSums => {
                    long_lr
                }
                Kernel::HrNetwork => measure,
                _ => false,
            };
            let mut seconds = 0.0;
            let calls = self.calls(step, runs[i]);
            let mut rest = &calls[..];
            while !rest.is_empty() {
                let together = rest.iter().position(apart).unwrap_or(rest.len());
                let (now, after) = rest.split_at(together);
                if !now.is_empty() {
                    let mut pass = context.pass(&mut segment.encoder);
                    self.dispatch_all(&mut pass, now, i * self.pitch)?;
                }
                rest = after;
                if let Some((call, after)) = rest.split_first() {
                    self.run(segment)?;
                    let took = self.submit_in_parts(call, i)?;
                    if call.kernel != Kernel::HrNetwork {
                        seconds += took;
                    }
                    segment = self.segment();
                    rest = after;
                }
            }
            if long_lr {
                self.engine.pace.measured(SPREAD, step.work[0], seconds);
            }
        }
        let Segment { encoder, load } = segment;
        self.depart(flight, encoder, load)?;
        if measure {
            self.land(0)?;
        }
        Ok(())
    }
}
