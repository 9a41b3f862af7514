//! What one thread does of an LR step at a time: a member's whole steps, one chunk, one update.

use std::sync::Arc;

use pulp::{Simd, WithSimd};

use super::lines::Rows;
use super::lr_network::{Chunk, LrScratch, LrTask};
use super::network::{Net, TILE};
use super::network_update::update;
use super::normals::Epsilon;
use crate::engine::cpu::network::linear_path;
use crate::engine::cpu::network_update::Adam;
use crate::engine::{Noise, Problem, StepPlan, TrainingState};
use crate::network::Branch;
use crate::random::{Purpose, key};

/// The batch as the LR pass reads it.
pub(super) struct Pack {
    pub batch: Arc<[u32]>,
    /// Whether the chunks belong to `batch` and the current θ.
    pub valid: bool,
    /// Pixels of a full chunk.
    pub length: usize,
    pub chunks: Vec<Chunk>,
}

/// What the windows bring to a pack.
#[derive(Clone, Copy)]
pub(super) struct Observations<'a> {
    pub problem: &'a Problem<f32>,
    pub state: &'a TrainingState<f32>,
    pub net: &'a Net,
    /// Spectra, windows × B.
    pub lr_hsi: &'a [f32],
    /// (Y∗C)↓, windows × b; right for those of the batch.
    pub lr_msi: &'a [f32],
    /// Frozen abundances, members × windows × P.
    pub abundance: Option<&'a [f32]>,
}

impl Pack {
    pub fn fill(&mut self, from: Observations, batch: &Arc<[u32]>) {
        let architecture = &from.problem.architecture;
        let (members, p) = (architecture.members, from.net.layout.abundances);
        let (bands, b, length) = (from.net.bands, from.net.msi_bands, self.length);
        let frozen_rows = from.abundance.map_or(0, |_| members * p);
        self.chunks.resize_with(batch.len().div_ceil(length), || Chunk {
            first: 0,
            count: 0,
            msi: Rows::spread(b + 1, length),
            target: Rows::spread(bands, length),
            frozen: Rows::spread(frozen_rows, length),
        });
        let windows = from.lr_msi.len() / b;
        for ((n, chunk), batch) in self.chunks.iter_mut().enumerate().zip(batch.chunks(length)) {
            (chunk.first, chunk.count) = (n * length, batch.len());
            chunk.msi.all_mut().fill(0.0);
            for (k, &window) in batch.iter().enumerate() {
                let window = window as usize;
                let msi = &from.lr_msi[window * b..][..b];
                for (j, &y) in msi.iter().enumerate() {
                    chunk.msi.row_mut(j)[k] = y;
                }
                chunk.msi.row_mut(b)[k] = 1.0;
                for (band, &x) in from.lr_hsi[window * bands..][..bands].iter().enumerate() {
                    let linear = if architecture.linear_path {
                        linear_path(&from.state.linear, architecture.band_stride(), band, msi)
                    } else {
                        0.0
                    };
                    chunk.target.row_mut(band)[k] = x - linear;
                }
                if let Some(abundance) = from.abundance {
                    for row in 0..frozen_rows {
                        let (member, a) = (row / p, row % p);
                        chunk.frozen.row_mut(row)[k] = abundance[(member * windows + window) * p + a];
                    }
                }
            }
        }
        self.batch = batch.clone();
        self.valid = true;
    }
}

/// What all chunks, members and steps of a run share.
#[derive(Clone, Copy)]
pub(super) struct LrShared<'a> {
    pub problem: &'a Problem<f32>,
    pub net: &'a Net,
    pub pack: &'a Pack,
    /// Given ε, members × batch × B.
    pub noise: &'a [f32],
}

impl<'a> LrShared<'a> {
    /// First parameter that is learned.
    fn learned(&self) -> usize {
        if self.problem.frozen_encoder {
            self.net.layout.decoders
        } else {
            0
        }
    }

    /// The pass of one chunk for a member with these parameters.
    pub fn task(&self, chunk: &'a Chunk, member: usize, parameters: &'a [f32], step: u32) -> LrTask<'a> {
        let values = self.pack.batch.len() * self.net.bands;
        LrTask {
            net: self.net,
            chunk,
            member,
            parameters,
            scale: (self.problem.beta / values as f64) as f32,
            epsilon: match self.problem.noise {
                Noise::Off => Epsilon::Off,
                Noise::Given => Epsilon::Given(&self.noise[member * values..][..values]),
                Noise::Philox(seed) => Epsilon::Philox {
                    key: key(seed),
                    step,
                    purpose: Purpose::LowResolution as u32 + member as u32,
                    first: 0,
                },
            },
            frozen: self.problem.frozen_encoder,
        }
    }
}

/// A member through some steps of one batch.
pub(super) struct MemberSteps<'a> {
    pub shared: LrShared<'a>,
    pub member: usize,
    pub plans: &'a [StepPlan],
    /// φ of the member, both copies, and which of them is the newest.
    pub phi: [&'a mut [f32]; 2],
    pub current: usize,
    /// Adam's moments.
    pub moments: (&'a mut [f32], &'a mut [f32]),
    pub gradient: &'a mut [f32],
    /// Updates of φ so far.
    pub updates: u64,
    /// Σ |X̂_ds − X| of every step.
    pub losses: &'a mut [f64],
    pub scratch: &'a mut LrScratch,
}

impl WithSimd for MemberSteps<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let shared = self.shared;
        for (plan, total) in self.plans.iter().zip(&mut *self.losses) {
            let (from, to) = turn(&mut self.phi, self.current);
            self.gradient.fill(0.0);
            *total = 0.0;
            for chunk in &shared.pack.chunks {
                let task = shared.task(chunk, self.member, from, plan.step);
                *total += f64::from(task.run(simd, self.scratch, self.gradient));
            }
            if let Some(rate) = plan.network_rate {
                self.updates += 1;
                self.current = 1 - self.current;
                OneUpdate {
                    adam: Adam::new(rate, self.updates),
                    learned: shared.learned(),
                    gradient: self.gradient,
                    from,
                    to,
                    moments: (self.moments.0, self.moments.1),
                }
                .with_simd(simd);
            }
        }
    }
}

/// One chunk of one member; returns Σ |X̂_ds − X| over it.
pub(super) struct OneChunk<'a> {
    pub task: LrTask<'a>,
    pub scratch: &'a mut LrScratch,
    /// Takes the chunk's gradient in place of what it held.
    pub gradient: &'a mut [f32],
}

impl WithSimd for OneChunk<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        self.gradient.fill(0.0);
        f64::from(self.task.run(simd, self.scratch, self.gradient))
    }
}

/// Adam on one member.
pub(super) struct OneUpdate<'a> {
    pub adam: Adam,
    /// First parameter that is learned.
    pub learned: usize,
    pub gradient: &'a [f32],
    pub from: &'a [f32],
    pub to: &'a mut [f32],
    pub moments: (&'a mut [f32], &'a mut [f32]),
}

impl WithSimd for OneUpdate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let at = self.learned;
        let moments = (&mut self.moments.0[at..], &mut self.moments.1[at..]);
        let (gradient, from) = (&self.gradient[at..], &self.from[at..]);
        update(simd, self.adam, gradient, from, &mut self.to[at..], moments);
    }
}

/// Abundances of pixels (pixels × b) into `out` (pixels × P).
pub(super) struct Abundances<'a> {
    pub net: &'a Net,
    pub parameters: &'a [f32],
    pub msi: &'a [f32],
    pub out: &'a mut [f32],
}

impl WithSimd for Abundances<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (b, p) = (self.net.msi_bands, self.net.layout.abundances);
        let mut tile = Rows::dense(b, TILE);
        let mut rows = Rows::dense(self.net.layout.activations, TILE);
        for (msi, out) in self.msi.chunks(TILE * b).zip(self.out.chunks_mut(TILE * p)) {
            for j in 0..b {
                for (to, from) in tile.row_mut(j).iter_mut().zip(msi[j..].iter().step_by(b)) {
                    *to = *from;
                }
            }
            let pixels = tile.view(0, b, 0);
            let here = (0, TILE / S::F32_LANES);
            let encoder = (Branch::Encoder, false);
            self.net
                .forward(simd, encoder, self.parameters, pixels, &mut rows, here);
            for (k, out) in out.chunks_exact_mut(p).enumerate() {
                for (a, out) in out.iter_mut().enumerate() {
                    *out = rows.row(self.net.layout.abundance + a)[k];
                }
            }
        }
    }
}

/// σ of a chunk's pixels from their abundances, for a run that trains the mean alone.
pub(super) struct StdOf<'a> {
    pub net: &'a Net,
    pub parameters: &'a [f32],
    pub chunk: &'a Chunk,
    pub scratch: &'a mut LrScratch,
}

impl WithSimd for StdOf<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let msi = self.chunk.msi.view(0, self.net.msi_bands, 0);
        let rows = &mut self.scratch.activations;
        let here = (0, self.chunk.count.div_ceil(S::F32_LANES));
        self.net
            .forward(simd, (Branch::Std, false), self.parameters, msi, rows, here);
    }
}

/// The newest of two copies to read, the other to write.
pub(super) fn turn<T: AsRef<[f32]> + AsMut<[f32]>>(
    pair: &mut [T; 2],
    current: usize,
) -> (&[f32], &mut [f32]) {
    let [a, b] = pair;
    match current {
        0 => (T::as_ref(a), T::as_mut(b)),
        _ => (T::as_ref(b), T::as_mut(a)),
    }
}
