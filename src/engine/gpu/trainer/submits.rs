//! How many queued steps go to the device together, and where one that is long is cut.
//!
//! A step is a list of calls of kernels. As many steps are submitted at a time as the device was measured to do in a short
//! while (`pace`). Where one alone takes longer, its long calls go into submits of their own, some workgroups at a time:
//! a workgroup has its own part of the result, so no bit depends on it.

use std::mem::offset_of;
use std::time::Instant;

use super::in_flight::InFlight;
use super::kernels::{BoundKernels, Call};
use super::queue::{Load, Queue, Queued};
use crate::engine::cpu;
use crate::engine::gpu::pace::TARGET;
use crate::engine::gpu::pipeline::ROW;
use crate::engine::gpu::recording::{IN_FLIGHT, STEPS};
use crate::engine::gpu::step::StepUniform;
use crate::engine::step::Kernel;
use crate::engine::{StepLosses, StepPlan};
use crate::error::Result;

/// Kinds of work that the device is measured by, beside kernels alone: whole steps in one workgroup a member, and all of a
/// step but its HR pass.
const PERSISTENT: &str = Kernel::LrSteps.file();
const SPREAD: &str = "LR pass";
/// That of an HR pass.
const WINDOWS: &str = Kernel::HrNetwork.file();

/// The kind of a step's LR pass.
fn kind(step: &Queued) -> &'static str {
    if step.persistent { PERSISTENT } else { SPREAD }
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

/// The way from queued steps to their losses.
pub(super) struct Submits<'a> {
    pub(super) kernels: BoundKernels<'a>,
    pub(super) queue: Queue,
    in_flight: InFlight,
    /// Losses that are on the host and were not asked for yet.
    pub(super) losses: Vec<StepLosses>,
    batch_capacity: usize,
}

impl<'a> Submits<'a> {
    /// Of a run whose steps' batches have so much room.
    pub(super) fn new(kernels: BoundKernels<'a>, batch_capacity: usize) -> Result<Self> {
        let losses = 3 + kernels.problem.architecture.members;
        Ok(Submits {
            in_flight: InFlight::new(&kernels.engine.context, losses)?,
            kernels,
            queue: Queue::default(),
            losses: Vec::new(),
            batch_capacity,
        })
    }

    /// Takes the losses of the submits that are done, and waits until not more than `left` are under way.
    pub(super) fn land(&mut self, left: usize) -> Result<()> {
        let kernels = &self.kernels;
        let bands = kernels.shape.bands;
        self.in_flight.land(kernels.engine, left, bands, &mut self.losses)
    }

    /// Operations of a step's LR and HR pass, roughly: enough to tell how long they take.
    fn work(&self, lr_count: usize, hr_count: usize) -> [f64; 2] {
        let a = &self.kernels.problem.architecture;
        let pixel = 2 * a.multiply_adds() + 40 * a.bands;
        let lr = 3 * pixel * lr_count * a.members;
        let hr = match hr_count {
            0 => 0,
            _ => cpu::hr_network::work(&self.kernels.problem, hr_count).operations,
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
            persistent: self.kernels.is_persistent(lr_count, update_degradation),
            update_degradation,
            lr_count,
            hr_count,
            work,
        };
        let pace = &self.kernels.engine.pace;
        let seconds = pace.seconds(kind(&step), work[0]) + pace.seconds(WINDOWS, work[1]);
        let unknown = !pace.knows(kind(&step)) || (update_degradation && !pace.knows(WINDOWS));
        let long = self.queue.seconds + seconds > TARGET;
        if self.queue.steps.len() == STEPS
            || unknown
            || long
            || self.queue.batches.len() + lr_count + hr_count > self.batch_capacity
        {
            let climbing = |step: &Queued| {
                pace.is_climbing(kind(step)) || (step.update_degradation && pace.is_climbing(WINDOWS))
            };
            let measure = long && self.queue.steps.iter().any(climbing);
            self.flush(measure)?;
        }
        Ok((step, seconds, unknown))
    }

    fn segment(&self) -> Segment {
        let device = &self.kernels.engine.context.device;
        Segment {
            encoder: device.create_command_encoder(&Default::default()),
            load: Load::new(),
        }
    }

    /// Submits what was recorded, waits for it and takes its time; returns that in seconds.
    fn run(&self, segment: Segment) -> Result<f64> {
        let began = Instant::now();
        self.kernels.engine.context.run(segment.encoder)?;
        let seconds = began.elapsed().as_secs_f64();
        self.kernels
            .engine
            .pace
            .measured_together(&segment.load, seconds, true);
        Ok(seconds)
    }

    /// Submits a call of the queued step number `index` in parts that are short; returns how long they took.
    fn submit_in_parts(&self, call: &Call, index: usize) -> Result<f64> {
        let context = &self.kernels.engine.context;
        let work = self.kernels.work_of(call);
        let kind = call.kernel.file();
        let [count, beside] = call.line;
        let each = work.operations as f64 / f64::from(count.max(1));
        let mut uniform =
            self.queue.uniforms[index * self.kernels.pitch..][..size_of::<StepUniform>()].to_vec();
        let (mut done, mut seconds) = (0, 0.0);
        while done < count {
            let fitting = (self.kernels.engine.pace.fitting(kind) / each.max(1.0)).max(1.0);
            let part = (fitting as u32).min(ROW).min(count - done);
            let field = offset_of!(StepUniform, first_group);
            uniform[field..field + 4].copy_from_slice(bytemuck::bytes_of(&done));
            // The submit before has been waited for.
            self.kernels
                .buffers
                .step
                .write(context, STEPS * self.kernels.pitch / 4, &uniform)?;
            let mut segment = self.segment();
            segment.add(kind, each * f64::from(part));
            {
                let mut pass = context.pass(&mut segment.encoder);
                self.kernels.dispatch(
                    &mut pass,
                    call,
                    [part, beside, 1],
                    STEPS * self.kernels.pitch,
                    || work.share(done..done + part, count),
                )?;
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
        let pace = &self.kernels.engine.pace;
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
        self.land(IN_FLIGHT - 1)?;
        let submit = self.in_flight.free()?;
        let runs = self.runs();
        for (i, &run) in runs.iter().enumerate() {
            for (field, value) in [
                (offset_of!(StepUniform, index), i),
                (offset_of!(StepUniform, run), run),
                (offset_of!(StepUniform, slot), submit.first_row() + i),
            ] {
                let at = i * self.kernels.pitch + field;
                self.queue.uniforms[at..at + 4].copy_from_slice(bytemuck::bytes_of(&(value as u32)));
            }
        }
        let context = &self.kernels.engine.context;
        self.kernels
            .buffers
            .step
            .write(context, 0, &self.queue.uniforms)?;
        self.kernels
            .buffers
            .batch
            .write(context, 0, &self.queue.batches)?;
        let steps = &self.queue.steps;
        let mut segment = self.segment();
        for (i, step) in steps.iter().enumerate().filter(|&(i, _)| runs[i] > 0) {
            let long_lr = long[i][0];
            if !long_lr {
                let operations = steps[i..i + runs[i]].iter().map(|s| s.work[0]).sum();
                segment.add(kind(step), operations);
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
            let calls = self.kernels.calls(step, runs[i]);
            let mut rest = &calls[..];
            while !rest.is_empty() {
                let together = rest.iter().position(apart).unwrap_or(rest.len());
                let (now, after) = rest.split_at(together);
                if !now.is_empty() {
                    let mut pass = context.pass(&mut segment.encoder);
                    self.kernels
                        .dispatch_all(&mut pass, now, i * self.kernels.pitch)?;
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
                self.kernels.engine.pace.measured(SPREAD, step.work[0], seconds);
            }
        }
        let Segment { encoder, load } = segment;
        let kernels = &self.kernels;
        self.in_flight.depart(
            kernels.engine,
            &kernels.buffers.losses,
            &mut self.queue,
            (submit, encoder, load),
        )?;
        if measure {
            self.land(0)?;
        }
        Ok(())
    }
}
