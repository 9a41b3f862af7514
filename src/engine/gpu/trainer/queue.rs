//! Steps that wait for their submit.

use std::sync::Arc;

use crate::engine::gpu::step::StepUniform;

/// What a submit holds: operations of each kind of work.
pub(super) type Load = Vec<(&'static str, f64)>;

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
    /// One that makes the observations of `lr_count` LR pixels and is not submitted as a step.
    pub(super) fn observation(lr_count: usize) -> Self {
        Queued {
            number: 0,
            observe: true,
            persistent: false,
            update_degradation: false,
            lr_count,
            hr_count: 0,
            work: [0.0; 2],
        }
    }
}

/// The queued steps.
pub(super) struct Queue {
    pub(super) steps: Vec<Queued>,
    /// A uniform a step.
    pub(super) uniforms: Vec<u8>,
    /// Their batches.
    pub(super) batches: Vec<u32>,
    /// Batches of the step queued last and where they start, to be shared with the next.
    last: [(Arc<[u32]>, usize); 2],
    /// Seconds that the steps are likely to take.
    pub(super) seconds: f64,
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
