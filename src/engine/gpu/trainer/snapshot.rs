//! Copies of the state that come to the host while steps go on.

use super::kernels::BoundKernels;
use crate::engine::TrainingState;
use crate::engine::gpu::context::Context;
use crate::engine::gpu::readback::Readback;
use crate::error::Result;

/// A copy of φ, its moments, and θ with its moments.
pub(super) struct Snapshot {
    readback: Readback,
    bytes: u64,
    /// Updates of φ and θ when it was begun; none while there is none under way.
    updates: Option<[u64; 2]>,
}

impl Snapshot {
    /// Of states like this one.
    pub(super) fn new(context: &Context, state: &TrainingState<f32>) -> Result<Self> {
        let bytes = size_of_val(&state.network[..]) + size_of_val(&state.degradation[..]);
        let bytes = 3 * bytes as u64;
        Ok(Snapshot {
            readback: Readback::new(context, bytes)?,
            bytes,
            updates: None,
        })
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.updates.is_some()
    }

    pub(super) fn has_come(&self) -> bool {
        self.readback.has_come()
    }

    /// Begins a copy of the state as the submitted steps leave it, in the place of one that is under way. `updates` are
    /// those of φ and θ so far.
    pub(super) fn begin(&mut self, run: &BoundKernels, updates: [u64; 2]) -> Result<()> {
        let context = &run.engine.context;
        if self.is_under_way() {
            context.wait()?;
            self.take(run)?;
        }
        let mut encoder = context.device.create_command_encoder(&Default::default());
        let mut at = 0;
        let size = 4 * (run.layout.parameters * run.problem.architecture.members) as u64;
        let theta = 4 * run.shape.theta as u64;
        for (buffer, bytes) in [
            (&run.buffers.network, size),
            (&run.buffers.moments, 2 * size),
            (&run.buffers.theta, 3 * theta),
        ] {
            let from = (&buffer.buffer, buffer.offset);
            self.readback.copy(&mut encoder, from, at, bytes);
            at += bytes;
        }
        context.submit(encoder)?;
        self.readback.request(self.bytes);
        self.updates = Some(updates);
        Ok(())
    }

    /// Takes the copy that has come; its linear path is empty.
    pub(super) fn take(&mut self, run: &BoundKernels) -> Result<TrainingState<f32>> {
        let [network_updates, degradation_updates] = self.updates.take().unwrap_or_default();
        let take = |bytes: &[u8]| bytemuck::pod_collect_to_vec::<u8, f32>(bytes);
        let values = self.readback.take(&run.engine.context, self.bytes, take)?;
        let size = run.layout.parameters * run.problem.architecture.members;
        let mut rest = &values[..];
        let mut next = |count: usize| {
            let (now, after) = rest.split_at(count);
            rest = after;
            now.to_vec()
        };
        let theta = run.shape.theta;
        Ok(TrainingState {
            network: next(size),
            network_m: next(size),
            network_v: next(size),
            linear: Vec::new(),
            degradation: next(theta),
            degradation_m: next(theta),
            degradation_v: next(theta),
            network_updates,
            degradation_updates,
        })
    }
}
