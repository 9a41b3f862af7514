//! The HR pass of a window: network, sample, both degradations and their losses, tile by tile; nothing of Ẑ is kept.

use pulp::{Simd, WithSimd};

use super::lines::{LINE, Rows, View, ViewMut};
use super::network::{Net, TILE};
use super::normals::Epsilon;
use super::products::{Affine, affine, outer_lanes};
use super::psf_blur::{MAPS, Maps};
use crate::engine::cpu::psf_blur::sign;
use crate::network::Branch;
use crate::sensor::psf;

/// Working memory of the pass.
#[derive(Debug, Clone)]
pub(super) struct HrScratch {
    activations: Rows,
    response: Rows,
    signs: Rows,
    /// Partial sums, a vector each: (maps + MSI bands) × B padded.
    lanes: Rows,
}

impl HrScratch {
    pub fn new(net: &Net) -> Self {
        let sums = (MAPS + net.msi_bands) * net.bands.next_multiple_of(4);
        HrScratch {
            activations: Rows::dense(net.layout.activations, TILE),
            response: Rows::dense(net.msi_bands.next_multiple_of(4), TILE),
            signs: Rows::dense(net.msi_bands, TILE),
            lanes: Rows::dense(sums, LINE),
        }
    }
}

/// Where a window's results lie in its slot of `f32`s. Sums are neither weighted nor divided by the batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct HrSlot {
    bands: usize,
    msi_bands: usize,
}

impl HrSlot {
    pub fn new(net: &Net) -> Self {
        HrSlot {
            bands: net.bands,
            msi_bands: net.msi_bands,
        }
    }

    pub fn length(&self) -> usize {
        self.bands * (1 + self.msi_bands) + psf::PARAMETERS + 2
    }

    /// (Ẑ∗C)↓ of B values, gradient of term 1 to the PSF, gradient of term 2 to the SRF (b×B), losses 1 and 2.
    pub fn split<'a>(&self, slot: &'a [f32]) -> (&'a [f32], &'a [f32], &'a [f32], &'a [f32]) {
        let (blur, rest) = slot.split_at(self.bands);
        let (to_psf, rest) = rest.split_at(psf::PARAMETERS);
        let (to_srf, losses) = rest.split_at(self.bands * self.msi_bands);
        (blur, to_psf, to_srf, losses)
    }

    fn split_mut<'a>(
        &self,
        slot: &'a mut [f32],
    ) -> (&'a mut [f32], &'a mut [f32], &'a mut [f32], &'a mut [f32]) {
        let (blur, rest) = slot.split_at_mut(self.bands);
        let (to_psf, rest) = rest.split_at_mut(psf::PARAMETERS);
        let (to_srf, losses) = rest.split_at_mut(self.bands * self.msi_bands);
        (blur, to_psf, to_srf, losses)
    }
}

/// What all windows of a pass share.
#[derive(Clone, Copy)]
pub(super) struct HrPass<'a> {
    pub net: &'a Net,
    /// φ of the member that Ẑ is drawn from.
    pub parameters: &'a [f32],
    /// The linear path's map; none where it is off.
    pub linear: Option<&'a [f32]>,
    pub maps: &'a Maps,
    /// Maps that are not all zero, from the first.
    pub wanted: usize,
    /// The SRF as a map of B inputs to b outputs padded to a multiple of four, bias zero.
    pub srf: &'a [f32],
    /// Counter of the batch's first pixel is 0.
    pub epsilon: Epsilon<'a>,
    /// Pixels of a window, S·S.
    pub pixels: usize,
}

/// One window.
pub(super) struct HrWindow<'a> {
    pub pass: HrPass<'a>,
    /// Its place in the batch.
    pub index: usize,
    /// Its MSI bands, S·S samples a row.
    pub planes: &'a [f32],
    /// Its spectrum in the LR-HSI.
    pub spectrum: &'a [f32],
    pub scratch: &'a mut HrScratch,
    /// [`HrSlot`].
    pub slot: &'a mut [f32],
    /// Takes Ẑ·R (S·S × b) where it is wanted.
    pub response: Option<&'a mut [f32]>,
}

impl WithSimd for HrWindow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = S::F32_LANES;
        self.scratch.lanes.all_mut().fill(0.0);
        let mut loss = simd.splat_f32s(0.0);
        for at in (0..self.pass.pixels).step_by(TILE) {
            let count = (self.pass.pixels - at).min(TILE).div_ceil(lanes);
            self.sample(simd, at, count);
            loss = self.respond(simd, at, count, loss);
            self.sum(simd, at, count);
        }
        let loss = simd.reduce_sum_f32s(loss);
        self.finish(simd, loss);
    }
}

impl HrWindow<'_> {
    /// Ẑ of a tile, in the rows of the mean.
    #[inline(always)]
    fn sample<S: Simd>(&mut self, simd: S, at: usize, count: usize) {
        let pass = &self.pass;
        let (net, bands) = (pass.net, pass.net.bands);
        let msi = View::<S>::new(self.planes, pass.maps.bank.stride(), at);
        let with_std = !matches!(pass.epsilon, Epsilon::Off);
        let rows = &mut self.scratch.activations;
        for branch in [Branch::Encoder, Branch::Mean, Branch::Std] {
            if branch != Branch::Std || with_std {
                net.forward(simd, (branch, false), pass.parameters, msi, rows, (0, count));
            }
        }
        let stride = rows.stride();
        let (before, rest) = rows.all_mut().split_at_mut(net.std_at * stride);
        if let Some(linear) = pass.linear {
            let map = Affine {
                weights: linear,
                stride: bands.next_multiple_of(4),
                slope: 1.0,
            };
            let z = ViewMut::new(&mut before[net.mean_at * stride..], stride, 0);
            affine(simd, map, [msi, View::empty()], z, count, true);
        }
        if with_std {
            let std = View::<S>::new(rest, stride, 0);
            let z = ViewMut::new(&mut before[net.mean_at * stride..], stride, 0);
            let first = self.index * pass.pixels + at;
            pass.epsilon.add_scaled(simd, first, std, z, (count, bands));
        }
    }

    /// Ẑ·R of a tile, the signs of its residual on the block, and the loss so far.
    #[inline(always)]
    fn respond<S: Simd>(&mut self, simd: S, at: usize, count: usize, mut loss: S::f32s) -> S::f32s {
        let pass = &self.pass;
        let (net, b) = (pass.net, pass.net.msi_bands);
        let z = self.scratch.activations.view::<S>(net.mean_at, net.bands, 0);
        let map = Affine {
            weights: pass.srf,
            stride: b.next_multiple_of(4),
            slope: 1.0,
        };
        let stride = self.scratch.response.stride();
        let out = ViewMut::new(self.scratch.response.all_mut(), stride, 0);
        affine(simd, map, [z, View::empty()], out, count, false);

        let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
        let msi = View::<S>::new(self.planes, pass.maps.bank.stride(), at);
        let block = pass.maps.block.view::<S>(0, 1, at).row(0, count);
        let response = self.scratch.response.view::<S>(0, b, 0);
        let mut signs = ViewMut::<S>::new(self.scratch.signs.all_mut(), stride, 0);
        for j in 0..b {
            let values = msi.row(j, count).iter().zip(response.row(j, count));
            for (((y, response), block), to) in values.zip(block).zip(signs.row(j, count)) {
                let residual = simd.sub_f32s(*y, *response);
                loss = simd.mul_add_e_f32s(
                    simd.max_f32s(residual, simd.sub_f32s(zero, residual)),
                    *block,
                    loss,
                );
                let up = simd.select_f32s(simd.greater_than_f32s(residual, zero), one, zero);
                let down = simd.select_f32s(simd.less_than_f32s(residual, zero), one, zero);
                *to = simd.mul_f32s(simd.sub_f32s(up, down), *block);
            }
        }
        if let Some(to) = &mut self.response {
            for j in 0..b {
                let here = &mut to[at * b..];
                let row = self.scratch.response.row(j);
                for (to, from) in here
                    .iter_mut()
                    .skip(j)
                    .step_by(b)
                    .zip(&row[..count * S::F32_LANES])
                {
                    *to = *from;
                }
            }
        }
        loss
    }

    /// Adds a tile to the sums over the window: Ẑ times each map, and Ẑ times each sign.
    #[inline(always)]
    fn sum<S: Simd>(&mut self, simd: S, at: usize, count: usize) {
        let pass = &self.pass;
        let (net, columns) = (pass.net, pass.net.bands.next_multiple_of(4));
        let z = self.scratch.activations.view::<S>(net.mean_at, columns, 0);
        let lanes = self.scratch.lanes.all_mut();
        let (to_maps, to_signs) = lanes.split_at_mut(MAPS * columns * S::F32_LANES);
        let maps = pass.maps.bank.view::<S>(0, pass.wanted, at);
        outer_lanes(simd, maps, z, count, to_maps, columns);
        let signs = self.scratch.signs.view::<S>(0, net.msi_bands, 0);
        outer_lanes(simd, signs, z, count, to_signs, columns);
    }

    /// Adds up the lanes; losses and gradients of the window into its slot.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S, response_loss: f32) {
        let pass = &self.pass;
        let (bands, b) = (pass.net.bands, pass.net.msi_bands);
        let columns = bands.next_multiple_of(4);
        let lanes = S::as_simd_f32s(self.scratch.lanes.all()).0;
        let total = |row: usize, band: usize| simd.reduce_sum_f32s(lanes[row * columns + band]);
        let (blur, to_psf, to_srf, losses) = HrSlot::new(pass.net).split_mut(self.slot);
        losses[1] = response_loss;
        losses[0] = 0.0;
        to_psf.fill(0.0);
        for (band, blur) in blur.iter_mut().enumerate() {
            *blur = total(0, band);
            let residual = self.spectrum[band] - *blur;
            losses[0] += residual.abs();
            for (p, gradient) in to_psf.iter_mut().enumerate() {
                *gradient -= sign(residual) * total(1 + p, band);
            }
        }
        for j in 0..b {
            for band in 0..bands {
                to_srf[j * bands + band] = -total(MAPS + j, band);
            }
        }
    }
}
