//! The LR pass of one member over a chunk of the batch: forward, loss, backward and the gradient of the weights.
//!
//! A chunk goes forward and back tile by tile; its activations and deltas stay in the second-level cache, and the
//! products of the two that make the gradient run over the whole chunk.

use pulp::{Simd, WithSimd};

use super::lines::{LINE, Rows, View, ViewMut};
use super::network::{Net, TILE};
use super::normals::Epsilon;
use super::products::{outer, transposed};
use crate::network::Branch;

/// Pixels of a chunk: fixed, so that bits do not depend on threads; enough that the sums over lanes, one for each
/// weight and chunk, do not count.
pub(super) const CHUNK: usize = 256;

/// What a chunk's pixels bring: packed once for a batch and a PSF, used by all members and steps.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    /// Number of the first pixel in the batch.
    pub first: usize,
    /// Pixels.
    pub count: usize,
    /// (Y∗C)↓ band by band, then a row of ones; zero beyond the last pixel.
    pub msi: Rows,
    /// X less the linear path, B rows.
    pub target: Rows,
    /// Frozen abundances, P rows a member; none where the encoder learns.
    pub frozen: Rows,
}

/// Working memory of the pass.
#[derive(Debug, Clone)]
pub(super) struct LrScratch {
    /// Activations, one row a unit.
    pub activations: Rows,
    /// Gradients to the layers' affine outputs; rows of padding stay zero.
    pub deltas: Rows,
    /// X̂_ds − X.
    pub residual: Rows,
}

impl LrScratch {
    pub fn new(net: &Net, length: usize) -> Self {
        LrScratch {
            activations: Rows::spread(net.layout.activations, length),
            deltas: Rows::spread(net.layout.activations, length),
            residual: Rows::spread(net.bands, length),
        }
    }
}

/// Inputs of the pass.
#[derive(Clone, Copy)]
pub(super) struct LrTask<'a> {
    pub net: &'a Net,
    pub chunk: &'a Chunk,
    pub member: usize,
    /// φ of the member.
    pub parameters: &'a [f32],
    /// β / (n B): what a sign weighs.
    pub scale: f32,
    pub epsilon: Epsilon<'a>,
    pub frozen: bool,
}

impl LrTask<'_> {
    /// Whether σ takes part: without noise its output is multiplied by zero.
    fn with_std(&self) -> bool {
        !matches!(self.epsilon, Epsilon::Off)
    }

    /// Runs the pass, adds to `gradient` (one member's) and returns Σ |X̂_ds − X|.
    #[inline(always)]
    pub fn run<S: Simd>(&self, simd: S, scratch: &mut LrScratch, gradient: &mut [f32]) -> f32 {
        let vectors = self.chunk.count.div_ceil(S::F32_LANES);
        let tile = TILE / S::F32_LANES;
        if self.frozen {
            let (net, p) = (self.net, self.net.layout.abundances);
            for k in 0..p {
                let from = self.chunk.frozen.row(self.member * p + k);
                scratch.activations.row_mut(net.layout.abundance + k)[..from.len()].copy_from_slice(from);
            }
        }
        let mut loss = 0.0;
        for first in (0..vectors).step_by(tile) {
            let here = (first * S::F32_LANES, tile.min(vectors - first));
            self.forward(simd, scratch, here);
            loss += simd.vectorize(Residual {
                task: *self,
                scratch,
                at: here.0,
                count: here.1,
            });
            self.backward(simd, scratch, here);
        }
        self.outer(simd, scratch, vectors, gradient);
        loss
    }

    #[inline(always)]
    fn forward<S: Simd>(&self, simd: S, scratch: &mut LrScratch, here: (usize, usize)) {
        let msi = self.chunk.msi.view(0, self.net.msi_bands, here.0);
        for branch in [Branch::Encoder, Branch::Mean, Branch::Std] {
            let needed = match branch {
                Branch::Encoder => !self.frozen,
                Branch::Mean => true,
                Branch::Std => self.with_std(),
            };
            if needed {
                let rows = &mut scratch.activations;
                self.net
                    .forward(simd, (branch, false), self.parameters, msi, rows, here);
            }
        }
    }

    #[inline(always)]
    fn backward<S: Simd>(&self, simd: S, scratch: &mut LrScratch, (at, count): (usize, usize)) {
        let stride = scratch.activations.stride();
        for wired in self.net.layers().iter().rev() {
            let layer = &wired.layer;
            let Some(offset) = wired.offset else { continue };
            let into_encoder = layer.branch == Branch::Encoder || layer.index == 0;
            if (layer.branch == Branch::Std && !self.with_std()) || (self.frozen && into_encoder) {
                continue;
            }
            let (before, rest) = scratch.deltas.all_mut().split_at_mut(layer.activation * stride);
            let deltas = View::<S>::new(&rest[..layer.outputs * stride], stride, at);
            let inputs = scratch.activations.view::<S>(offset, wired.own(), at);
            let to_inputs = ViewMut::new(&mut before[offset * stride..], stride, at);
            // Both decoders read the abundance; std, the last layer, comes first on the way back.
            let add = layer.branch == Branch::Mean && layer.index == 0 && self.with_std();
            let map = wired.map(self.parameters);
            transposed(simd, map, deltas, (inputs, wired.below), to_inputs, (count, add));
        }
    }

    #[inline(always)]
    fn outer<S: Simd>(&self, simd: S, scratch: &LrScratch, count: usize, gradient: &mut [f32]) {
        for wired in self.net.layers() {
            let layer = &wired.layer;
            if (layer.branch == Branch::Std && !self.with_std())
                || (layer.branch == Branch::Encoder && self.frozen)
            {
                continue;
            }
            let deltas = scratch.deltas.view::<S>(layer.activation, layer.stride, 0);
            if let Some(offset) = wired.offset {
                let own = scratch.activations.view::<S>(offset, wired.own(), 0);
                outer(
                    simd,
                    own,
                    deltas,
                    count,
                    &mut gradient[layer.weight..],
                    layer.stride,
                );
            }
            // The concatenated MSI bands, and the row of ones, which makes the bias's gradient.
            let rest =
                self.chunk
                    .msi
                    .view::<S>(self.net.msi_bands - layer.msi_inputs, layer.msi_inputs + 1, 0);
            let at = layer.weight + wired.own() * layer.stride;
            outer(simd, rest, deltas, count, &mut gradient[at..], layer.stride);
        }
    }
}

/// The residual of a tile as one function to the compiler; returns Σ |X̂_ds − X|.
struct Residual<'a, 's> {
    task: LrTask<'a>,
    scratch: &'s mut LrScratch,
    at: usize,
    count: usize,
}

impl WithSimd for Residual<'_, '_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let Residual {
            task,
            scratch,
            at,
            count,
        } = self;
        let (net, bands, with_std) = (task.net, task.net.bands, task.with_std());
        let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
        let scale = simd.splat_f32s(task.scale);
        let mean_slope = simd.splat_f32s(net.last_slope(Branch::Mean));
        let std_slope = simd.splat_f32s(net.last_slope(Branch::Std));
        let stride = scratch.activations.stride();
        let activations = View::<S>::new(scratch.activations.all(), stride, at);
        let target = task.chunk.target.view::<S>(0, bands, at);
        let ones = task.chunk.msi.view::<S>(net.msi_bands, 1, at).row(0, count);
        let mut deltas = ViewMut::<S>::new(scratch.deltas.all_mut(), stride, at);
        let residual_stride = scratch.residual.stride();
        let mut residuals = ViewMut::<S>::new(scratch.residual.all_mut(), residual_stride, at);
        let mut loss = zero;
        for quad in 0..bands.div_ceil(4) {
            for v in 0..count {
                let pixel = task.chunk.first + at + v * S::F32_LANES;
                let epsilon = task.epsilon.quad(simd, pixel, quad, bands);
                for k in 0..(bands - 4 * quad).min(4) {
                    let band = 4 * quad + k;
                    let mean = activations.row(net.mean_at + band, count)[v];
                    let mut residual = simd.sub_f32s(mean, target.row(band, count)[v]);
                    let mut std = zero;
                    if with_std {
                        std = activations.row(net.std_at + band, count)[v];
                        residual = simd.mul_add_e_f32s(std, epsilon[k], residual);
                    }
                    residuals.row(band, count)[v] = residual;
                    let size = simd.max_f32s(residual, simd.sub_f32s(zero, residual));
                    loss = simd.mul_add_e_f32s(size, ones[v], loss);
                    let up = simd.select_f32s(simd.greater_than_f32s(residual, zero), scale, zero);
                    let down = simd.select_f32s(simd.less_than_f32s(residual, zero), scale, zero);
                    let gradient = simd.mul_f32s(simd.sub_f32s(up, down), ones[v]);
                    let slope = simd.select_f32s(simd.greater_than_f32s(mean, zero), one, mean_slope);
                    deltas.row(net.mean_at + band, count)[v] = simd.mul_f32s(gradient, slope);
                    if with_std {
                        let slope = simd.select_f32s(simd.greater_than_f32s(std, zero), one, std_slope);
                        let gradient = simd.mul_f32s(gradient, epsilon[k]);
                        deltas.row(net.std_at + band, count)[v] = simd.mul_f32s(gradient, slope);
                    }
                }
            }
        }
        simd.reduce_sum_f32s(loss)
    }
}

/// Samples that hold `pixels` pixels of a chunk, rounded up to whole lines.
pub(super) fn chunk_length(pixels: usize) -> usize {
    pixels.min(CHUNK).next_multiple_of(LINE)
}
