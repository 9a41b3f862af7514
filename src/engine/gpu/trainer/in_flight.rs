//! Submits of steps that are under way. Each brings its losses with it to the host, which takes them when they have come
//! and waits for the oldest only where all places are taken: the device always has a submit to go on with.

use std::collections::VecDeque;
use std::time::Instant;

use super::queue::{Load, Queue, Queued};
use crate::engine::StepLosses;
use crate::engine::gpu::buffers::GpuBuffer;
use crate::engine::gpu::context::Context;
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::readback::Readback;
use crate::engine::gpu::recording::{IN_FLIGHT, STEPS};
use crate::error::{Error, Result};

/// A submit, or a place for one.
pub(super) struct Submit {
    /// Which of the places it is: it has [`STEPS`] rows of the device's losses.
    place: usize,
    readback: Readback,
    steps: Vec<Queued>,
    submission: Option<wgpu::SubmissionIndex>,
    load: Load,
    submitted: Instant,
    /// Whether nothing was under way when it was submitted.
    alone: bool,
}

/// The places, taken and free.
pub(super) struct InFlight {
    free: Vec<Submit>,
    /// The oldest first.
    under_way: VecDeque<Submit>,
    /// When the last one ended, where that was seen.
    ended: Option<Instant>,
    /// Bytes of a step's row.
    row: u64,
}

impl InFlight {
    /// Of steps that have so many losses.
    pub(super) fn new(context: &Context, losses: usize) -> Result<Self> {
        let row = 4 * losses as u64;
        let free = (0..IN_FLIGHT).map(|place| {
            Ok(Submit {
                place,
                readback: Readback::new(context, row * STEPS as u64)?,
                steps: Vec::with_capacity(STEPS),
                submission: None,
                load: Load::new(),
                submitted: Instant::now(),
                alone: true,
            })
        });
        Ok(InFlight {
            free: free.collect::<Result<_>>()?,
            under_way: VecDeque::with_capacity(IN_FLIGHT),
            ended: None,
            row,
        })
    }
}

impl Submit {
    /// First row of the device's losses that its steps have.
    pub(super) fn first_row(&self) -> usize {
        self.place * STEPS
    }

    fn has_come(&self) -> bool {
        self.readback.has_come()
    }
}

impl InFlight {
    /// A free place for the next submit; there is one where fewer than [`IN_FLIGHT`] are under way.
    pub(super) fn free(&mut self) -> Result<Submit> {
        let free = self.free.pop();
        free.ok_or_else(|| Error::failed("a training run whose device has failed"))
    }

    /// Submits what was recorded of the queued steps and asks for their losses.
    pub(super) fn depart(
        &mut self,
        engine: &GpuEngine,
        losses: &GpuBuffer,
        queue: &mut Queue,
        (mut submit, mut encoder, load): (Submit, wgpu::CommandEncoder, Load),
    ) -> Result<()> {
        queue.hand_over(&mut submit.steps);
        let first = submit.first_row() as u64 * self.row;
        let bytes = submit.steps.len() as u64 * self.row;
        let from = (&losses.buffer, losses.offset + first);
        submit.readback.copy(&mut encoder, from, 0, bytes);
        submit.alone = self.under_way.is_empty();
        submit.load = load;
        submit.submitted = Instant::now();
        submit.submission = Some(engine.context.submit(encoder)?);
        submit.readback.request(bytes);
        self.under_way.push_back(submit);
        Ok(())
    }

    /// Takes the losses of the submits that are done, and waits until not more than `left` are under way.
    pub(super) fn land(
        &mut self,
        engine: &GpuEngine,
        left: usize,
        bands: usize,
        losses: &mut Vec<StepLosses>,
    ) -> Result<()> {
        let context = &engine.context;
        if self.under_way.is_empty() {
            return Ok(());
        }
        context.poll()?;
        while self.under_way.len() > left || self.under_way.front().is_some_and(Submit::has_come) {
            let Some(submit) = self.under_way.pop_front() else {
                break;
            };
            let mut ended = None;
            if !submit.has_come() {
                submit
                    .submission
                    .clone()
                    .map_or(Ok(()), |s| context.wait_for(s))?;
                ended = Some(Instant::now());
            }
            self.arrive(engine, bands, submit, ended, losses)?;
        }
        Ok(())
    }

    /// Takes the losses and the time of a submit that is done; `ended` is when that was, where it was waited for.
    fn arrive(
        &mut self,
        engine: &GpuEngine,
        bands: usize,
        mut submit: Submit,
        ended: Option<Instant>,
        losses: &mut Vec<StepLosses>,
    ) -> Result<()> {
        let bytes = submit.steps.len() as u64 * self.row;
        let numbers = self.row as usize / 4;
        submit.readback.take(&engine.context, bytes, |bytes| {
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(bytes);
            for (step, values) in submit.steps.iter().zip(values.chunks_exact(numbers)) {
                let mean = |&sum: &f32| f64::from(sum) / (step.lr_count * bands) as f64;
                losses.push(StepLosses {
                    step: step.number,
                    degradation: step
                        .update_degradation
                        .then(|| [values[0], values[1], values[2]].map(f64::from)),
                    network: values[3..].iter().map(mean).collect(),
                });
            }
        })?;
        // The device works on one submit after the other.
        let before = self.ended.filter(|_| !submit.alone);
        let began = before.map_or(submit.submitted, |before| before.max(submit.submitted));
        let exact = ended.is_some() && (submit.alone || before.is_some());
        let seconds = ended
            .unwrap_or_else(Instant::now)
            .duration_since(began)
            .as_secs_f64();
        engine.pace.measured_together(&submit.load, seconds, exact);
        self.ended = ended;
        submit.steps.clear();
        self.free.push(submit);
        Ok(())
    }
}
