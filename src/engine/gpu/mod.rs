//! The GPU engine: the twins' kernels as hand-written WGSL through wgpu.
//!
//! `device` speaks to the adapter, `context` reads back and times, `preprocessor` puts sizes into the shaders' text, `pipeline` compiles and binds,
//! one file a kernel says what its text depends on and how it is dispatched, `trainer` records a step and replays it.

pub mod adapters;
pub mod bicubic_update;
pub mod blocks;
pub mod buffers;
#[cfg(feature = "verify")]
pub mod compare;
pub mod consistency_residual;
pub mod context;
pub mod dct_denoise;
pub mod defines;
pub mod degradation;
pub mod degradation_sums;
pub mod degradation_update;
pub mod device;
pub mod engine;
pub mod guided_update;
pub mod half_weights;
pub mod hr_network;
pub mod hr_window;
mod kept;
pub mod lr_network;
pub mod lr_steps;
pub mod memory;
pub mod network_update;
pub mod options;
pub mod pace;
pub mod parts;
pub mod pass;
pub mod pipeline;
pub mod pipeline_cache;
pub mod preprocessor;
pub mod probes;
pub mod psf_blur;
mod readback;
pub mod reconstruct;
pub mod recording;
pub mod refinement;
pub mod shaders;
pub mod step;
pub mod timing;
mod trainer;
mod upload;
pub mod verified;

use ndarray::{ArrayView3, ArrayViewMut3};

pub use adapters::{AdapterChoice, AdapterSummary, adapters, hardware_adapters};
pub use context::Context;
pub use engine::GpuEngine;
pub use options::Options;
pub use pipeline::Pipelines;

use crate::engine::profile::{Clock, Instruments, Limits, Profile};
use crate::engine::refinement::Refiner;
use crate::engine::{Engine, Output, Problem, Trainer, TrainingSet, TrainingState};
use crate::error::Result;
use crate::network::Architecture;

impl Engine<f32> for GpuEngine {
    fn name(&self) -> String {
        self.context.name()
    }

    fn device(&self) -> String {
        let arithmetic = self.context.arithmetic_name(self.precision());
        format!("{}, {arithmetic}", self.context.name())
    }

    fn trainer<'a>(
        &'a self,
        problem: &Problem<f32>,
        data: &TrainingSet<f32>,
        state: TrainingState<f32>,
    ) -> Result<Box<dyn Trainer<f32> + 'a>> {
        Ok(Box::new(trainer::GpuTrainer::new(self, problem, data, state)?))
    }

    fn reconstruct(
        &self,
        architecture: &Architecture,
        state: &TrainingState<f32>,
        hr_msi: ArrayView3<f32>,
        first_pixel: u32,
        output: Output,
        out: ArrayViewMut3<f32>,
    ) -> Result<()> {
        reconstruct::reconstruct(self, architecture, state, hr_msi, first_pixel, output, out)
    }

    fn refiner(&self) -> &dyn Refiner<f32> {
        self
    }

    fn give_up(&self) {
        self.context.device.destroy();
    }

    fn instruments(&self) -> Option<&dyn Instruments> {
        Some(self)
    }
}

impl Instruments for GpuEngine {
    fn start_profile(&self, clock: Clock) -> Result<()> {
        self.context.start_profile(clock)
    }

    fn take_profile(&self) -> Profile {
        self.context.take_profile()
    }

    fn limits(&self) -> Result<Limits> {
        probes::limits(self)
    }

    fn clock(&self) -> Clock {
        self.context.clock()
    }

    fn take_peak_memory(&self) -> Option<u64> {
        Some(self.context.made.take_peak())
    }

    fn take_moved(&self) -> Option<[u64; 2]> {
        Some(self.context.made.take_moved())
    }
}
