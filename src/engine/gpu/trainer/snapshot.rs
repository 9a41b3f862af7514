//! Copies of the state that come to the host while steps go on.

use super::GpuTrainer;
use crate::engine::TrainingState;
use crate::engine::gpu::context::Context;
use crate::engine::gpu::landing::Landing;
use crate::error::Result;

/// A copy of φ, its moments, and θ with its moments.
pub(super) struct Snapshot {
    landing: Landing,
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
            landing: Landing::new(context, bytes)?,
            bytes,
            updates: None,
        })
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.updates.is_some()
    }

    pub(super) fn has_come(&self) -> bool {
        self.landing.has_come()
    }
}

impl GpuTrainer<'_> {
    /// Begins a copy of the state as the queued steps leave it, in the place of one that is under way.
    pub(super) fn begin_snapshot(&mut self) -> Result<()> {
        self.flush(false)?;
        let context = &self.engine.context;
        if self.snapshot.is_under_way() {
            context.wait()?;
            self.end_snapshot()?;
        }
        let context = &self.engine.context;
        let mut encoder = context.device.create_command_encoder(&Default::default());
        let mut at = 0;
        let size = 4 * (self.layout.parameters * self.problem.architecture.members) as u64;
        let theta = 4 * self.shape.theta as u64;
        for (buffer, bytes) in [
            (&self.buffers.network, size),
            (&self.buffers.moments, 2 * size),
            (&self.buffers.theta, 3 * theta),
        ] {
            let landing = &self.snapshot.landing;
            landing.copy(&mut encoder, (&buffer.buffer, buffer.offset), at, bytes);
            at += bytes;
        }
        context.submit(encoder)?;
        self.snapshot.landing.request(self.snapshot.bytes);
        self.snapshot.updates = Some([self.network_updates, self.degradation_updates]);
        Ok(())
    }

    /// The copy that has come.
    pub(super) fn end_snapshot(&mut self) -> Result<TrainingState<f32>> {
        let snapshot = &mut self.snapshot;
        let [network_updates, degradation_updates] = snapshot.updates.take().unwrap_or_default();
        let take = |bytes: &[u8]| bytemuck::pod_collect_to_vec::<u8, f32>(bytes);
        let values = snapshot
            .landing
            .take(&self.engine.context, snapshot.bytes, take)?;
        let size = self.layout.parameters * self.problem.architecture.members;
        let mut rest = &values[..];
        let mut next = |count: usize| {
            let (now, after) = rest.split_at(count);
            rest = after;
            now.to_vec()
        };
        let theta = self.shape.theta;
        Ok(TrainingState {
            network: next(size),
            network_m: next(size),
            network_v: next(size),
            linear: self.linear.clone(),
            degradation: next(theta),
            degradation_m: next(theta),
            degradation_v: next(theta),
            network_updates,
            degradation_updates,
        })
    }
}
