//! The CPU reference engine: every kernel's twin, composed by the same loop, on threads.
//!
//! A twin stands in the file of its shader's stem, in the shader's order of operations, generic over `f32` and
//! `f64`. Sums over pixels are taken in chunks of a fixed number, so the bits do not depend on the number of
//! threads.

pub mod bicubic_update;
pub mod consistency_residual;
pub mod dct_denoise;
pub mod degradation;
pub mod degradation_sums;
pub mod degradation_update;
pub mod guided_update;
pub mod half_weights;
pub mod hr_network;
pub mod hr_window;
pub mod lr_network;
pub mod lr_steps;
pub mod network;
pub mod network_update;
pub mod psf_blur;
pub mod reconstruct;
mod trainer;

pub(crate) use trainer::CpuTrainer;

use ndarray::{ArrayView3, ArrayViewMut3};

use crate::engine::refinement::{Guide, PlaneShape, RefinementGrid, Refiner, Strip};
use crate::engine::step::LrKernels;
use crate::engine::{Engine, Output, Precision, Problem, Trainer, TrainingSet, TrainingState};
use crate::error::Result;
use crate::network::Architecture;
use crate::real::Real;

/// The CPU engine. Uses rayon's global thread pool.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuEngine;

impl<T: Real> Engine<T> for CpuEngine {
    fn name(&self) -> String {
        format!(
            "CPU, {} threads, {}",
            rayon::current_num_threads(),
            std::any::type_name::<T>()
        )
    }

    fn device(&self) -> String {
        format!("CPU, {}", std::any::type_name::<T>())
    }

    fn trainer<'a>(
        &'a self,
        problem: &Problem<T>,
        data: &TrainingSet<T>,
        state: TrainingState<T>,
    ) -> Result<Box<dyn Trainer<T> + 'a>> {
        Ok(Box::new(CpuTrainer::new(
            problem,
            data,
            state,
            Precision::F32,
            LrKernels::Spread,
        )))
    }

    fn reconstruct(
        &self,
        architecture: &Architecture,
        state: &TrainingState<T>,
        hr_msi: ArrayView3<T>,
        first_pixel: u32,
        output: Output,
        out: ArrayViewMut3<T>,
    ) -> Result<()> {
        reconstruct::reconstruct(
            Precision::F32,
            architecture,
            state,
            hr_msi,
            first_pixel,
            output,
            out,
        );
        Ok(())
    }

    fn refiner(&self) -> &dyn Refiner<T> {
        self
    }
}

impl<T: Real> Refiner<T> for CpuEngine {
    fn consistency_residual(
        &self,
        grid: &RefinementGrid,
        strip: Strip,
        psf: &[T],
        target: &[T],
        hr_hsi: &[T],
        residual: &mut [T],
    ) -> Result<()> {
        consistency_residual::consistency_residual(grid, strip, psf, target, hr_hsi, residual);
        Ok(())
    }

    fn guided_update(
        &self,
        grid: &RefinementGrid,
        strip: Strip,
        guide: Guide,
        weights: &[T],
        lr_msi: &[T],
        hr_msi: &[T],
        hr_hsi: &mut [T],
    ) -> Result<()> {
        guided_update::guided_update(grid, strip, guide, weights, lr_msi, hr_msi, hr_hsi);
        Ok(())
    }

    fn bicubic_update(
        &self,
        grid: &RefinementGrid,
        strip: Strip,
        residual: &[T],
        modulation: &[T],
        hr_hsi: &mut [T],
    ) -> Result<()> {
        bicubic_update::bicubic_update(grid, strip, residual, modulation, hr_hsi);
        Ok(())
    }

    fn dct_denoise(
        &self,
        shape: PlaneShape,
        stride: usize,
        noisy: &[T],
        pilot: Option<&[T]>,
        out: &mut [T],
    ) -> Result<()> {
        dct_denoise::dct_denoise(shape, stride, noisy, pilot, out);
        Ok(())
    }
}
