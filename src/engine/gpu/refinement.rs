//! The passes of refinement on the GPU, each with smaller parts where the device's memory is short.

use std::sync::atomic::Ordering;

use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::{bicubic_update, consistency_residual, dct_denoise, guided_update};
use crate::engine::refinement::{Guide, PlaneShape, RefinementGrid, Refiner, Strip};
use crate::error::{Error, Result};

/// Times that parts are halved where memory is short: 64 KiB are left of 32 MiB.
const HALVINGS: u32 = 9;

impl GpuEngine {
    /// Runs a pass, with smaller parts where memory is short. A pass that has given a part of its result back cannot be
    /// run again on it.
    fn in_parts(&self, mut pass: impl FnMut() -> Result<()>) -> Result<()> {
        loop {
            self.kept.gave.store(false, Ordering::Relaxed);
            let result = pass();
            let gave = self.kept.gave.load(Ordering::Relaxed);
            match result {
                Err(Error::DeviceMemory { .. })
                    if !gave && self.kept.halvings.load(Ordering::Relaxed) < HALVINGS =>
                {
                    self.kept.halvings.fetch_add(1, Ordering::Relaxed);
                    self.kept.clear();
                }
                result => return result,
            }
        }
    }
}

impl Refiner<f32> for GpuEngine {
    fn consistency_residual(
        &self,
        grid: &RefinementGrid,
        strip: Strip,
        psf: &[f32],
        target: &[f32],
        hr_hsi: &[f32],
        residual: &mut [f32],
    ) -> Result<()> {
        self.in_parts(|| {
            consistency_residual::consistency_residual(self, grid, strip, psf, target, hr_hsi, residual)
        })
    }

    fn guided_update(
        &self,
        grid: &RefinementGrid,
        strip: Strip,
        guide: Guide,
        weights: &[f32],
        lr_msi: &[f32],
        hr_msi: &[f32],
        hr_hsi: &mut [f32],
    ) -> Result<()> {
        self.in_parts(|| {
            guided_update::guided_update(self, grid, strip, guide, weights, lr_msi, hr_msi, hr_hsi)
        })
    }

    fn bicubic_update(
        &self,
        grid: &RefinementGrid,
        strip: Strip,
        residual: &[f32],
        modulation: &[f32],
        hr_hsi: &mut [f32],
    ) -> Result<()> {
        self.in_parts(|| bicubic_update::bicubic_update(self, grid, strip, residual, modulation, hr_hsi))
    }

    fn dct_denoise(
        &self,
        shape: PlaneShape,
        stride: usize,
        noisy: &[f32],
        pilot: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<()> {
        self.in_parts(|| dct_denoise::dct_denoise(self, shape, stride, noisy, pilot, out))
    }
}
