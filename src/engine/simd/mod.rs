//! The CPU engine for work: the twins' kernels over vector lanes and threads.
//!
//! Same files, same results to rounding, same random integers as `engine/cpu`, which stays the oracle. Pixels lie
//! along the lanes; the instruction set (AVX-512, AVX2 with FMA, NEON, or none) is found when the engine is made.
//! Sums over pixels are taken in chunks of fixed size, so the bits do not depend on the number of threads; they do
//! depend on the instruction set.

// Index loops over blocks of sums: an iterator that is not inlined takes them through memory (docs/PERFORMANCE.md).
#![allow(clippy::needless_range_loop)]

mod degradation_update;
mod guided_update;
mod hr_network;
mod lines;
mod lr_network;
mod lr_steps;
mod network;
mod network_update;
mod normals;
mod probes;
mod products;
mod psf_blur;
mod reconstruct;
mod trainer;

use std::sync::Arc;

use ndarray::{ArrayView3, ArrayViewMut3};
use pulp::{Arch, Simd, WithSimd};

use crate::engine::cpu;
use crate::engine::profile::{Clock, Instruments, Limits, Profile, Recorder};
use crate::engine::refinement::{Guide, PlaneShape, RefinementGrid, Refiner, Strip};
use crate::engine::{Engine, Output, Problem, Trainer, TrainingSet, TrainingState};
use crate::error::Result;
use crate::network::Architecture;

/// The vectorised CPU engine. Uses the rayon pool that it is called in, else the global one.
#[derive(Debug, Clone)]
pub struct SimdEngine {
    arch: Arch,
    recorder: Arc<Recorder>,
}

impl From<Arch> for SimdEngine {
    fn from(arch: Arch) -> Self {
        SimdEngine {
            arch,
            recorder: Arc::default(),
        }
    }
}

impl Default for SimdEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl SimdEngine {
    /// With the best instruction set of this machine.
    pub fn new() -> Self {
        Arch::new().into()
    }

    /// One engine for every instruction set that this machine can run, the plainest first: for tests.
    pub fn every_level() -> Vec<Self> {
        let wider: Vec<Option<Arch>> = vec![
            #[cfg(target_arch = "x86_64")]
            pulp::x86::V3::try_new().map(Arch::V3),
            #[cfg(target_arch = "x86_64")]
            pulp::x86::V4::try_new().map(Arch::V4),
            #[cfg(target_arch = "aarch64")]
            pulp::aarch64::Neon::try_new().map(Arch::Neon),
        ];
        let levels = [Arch::Scalar].into_iter().chain(wider.into_iter().flatten());
        levels.map(Self::from).collect()
    }

    /// Name of the instruction set.
    pub fn level(&self) -> &'static str {
        match self.arch {
            #[cfg(target_arch = "x86_64")]
            Arch::V3(_) => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Arch::V4(_) => "AVX-512",
            #[cfg(target_arch = "aarch64")]
            Arch::Neon(_) => "NEON",
            _ => "no vector instructions",
        }
    }

    /// The engine's normals for `pixels` successive pixels from `first`, in the bands `4 * quad ..`, four a pixel: what
    /// a pass draws, for comparison with [`crate::random::normals`].
    pub fn normals(
        &self,
        key: [u32; 2],
        step: u32,
        purpose: u32,
        first: u32,
        quad: u32,
        pixels: usize,
    ) -> Vec<[f32; 4]> {
        struct Draw {
            key: [u32; 2],
            step: u32,
            purpose: u32,
            first: u32,
            quad: u32,
        }
        impl WithSimd for Draw {
            type Output = Vec<[f32; 4]>;

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
                let pixels = normals::ascending(simd, self.first);
                let quad = normals::normals(simd, self.key, self.step, self.purpose, pixels, self.quad);
                let lanes = quad.map(|lanes| bytemuck::cast_slice::<_, f32>(&[lanes]).to_vec());
                (0..S::F32_LANES)
                    .map(|l| std::array::from_fn(|k| lanes[k][l]))
                    .collect()
            }
        }
        let mut out = Vec::with_capacity(pixels);
        while out.len() < pixels {
            let first = first.wrapping_add(out.len() as u32);
            out.extend(self.arch.dispatch(Draw {
                key,
                step,
                purpose,
                first,
                quad,
            }));
        }
        out.truncate(pixels);
        out
    }
}

impl Engine<f32> for SimdEngine {
    fn name(&self) -> String {
        format!("CPU, {} threads, {}", rayon::current_num_threads(), self.level())
    }

    fn device(&self) -> String {
        format!("CPU, {}", self.level())
    }

    fn trainer<'a>(
        &'a self,
        problem: &Problem<f32>,
        data: &TrainingSet<f32>,
        state: TrainingState<f32>,
    ) -> Result<Box<dyn Trainer<f32> + 'a>> {
        let recorder = self.recorder.clone();
        Ok(Box::new(trainer::SimdTrainer::new(
            self.arch, recorder, problem, data, state,
        )))
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
        let pixels = hr_msi.dim().0 * hr_msi.dim().1;
        let begin = self.recorder.begin();
        reconstruct::reconstruct(self.arch, architecture, state, hr_msi, first_pixel, output, out);
        self.recorder.end(begin, "reconstruct", 1, || {
            cpu::reconstruct::work::<f32>(architecture, output, pixels)
        });
        Ok(())
    }

    fn refiner(&self) -> &dyn Refiner<f32> {
        self
    }

    fn instruments(&self) -> Option<&dyn Instruments> {
        Some(self)
    }
}

/// The guided update takes most of refinement's time and has a kernel of its own; the twins of the others run on all
/// threads and wait for memory.
impl Refiner<f32> for SimdEngine {
    fn consistency_residual(
        &self,
        grid: &RefinementGrid,
        strip: Strip,
        psf: &[f32],
        target: &[f32],
        hr_hsi: &[f32],
        residual: &mut [f32],
    ) -> Result<()> {
        let begin = self.recorder.begin();
        cpu::consistency_residual::consistency_residual(grid, strip, psf, target, hr_hsi, residual);
        self.recorder.end(begin, "consistency_residual", 1, || {
            let lr = strip.lr_row..strip.lr_row + residual.len() / (grid.columns * grid.bands);
            cpu::consistency_residual::work::<f32>(grid, &lr, &grid.hr_rows_of(&lr))
        });
        Ok(())
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
        let begin = self.recorder.begin();
        guided_update::guided_update(self.arch, grid, strip, guide, weights, lr_msi, hr_msi, hr_hsi);
        self.recorder.end(begin, "guided_update", 1, || {
            let rows = strip.hr_row..strip.hr_row + hr_hsi.len() / (grid.hr_columns() * grid.bands);
            cpu::guided_update::work::<f32>(grid, &rows, guide, grid.bands)
        });
        Ok(())
    }

    fn bicubic_update(
        &self,
        grid: &RefinementGrid,
        strip: Strip,
        residual: &[f32],
        modulation: &[f32],
        hr_hsi: &mut [f32],
    ) -> Result<()> {
        let begin = self.recorder.begin();
        cpu::bicubic_update::bicubic_update(grid, strip, residual, modulation, hr_hsi);
        self.recorder.end(begin, "bicubic_update", 1, || {
            let rows = hr_hsi.len() / (grid.hr_columns() * grid.bands);
            cpu::bicubic_update::work::<f32>(grid, rows, residual.len() / (grid.columns * grid.bands))
        });
        Ok(())
    }

    fn dct_denoise(
        &self,
        shape: PlaneShape,
        stride: usize,
        noisy: &[f32],
        pilot: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<()> {
        let begin = self.recorder.begin();
        cpu::dct_denoise::dct_denoise(shape, stride, noisy, pilot, out);
        self.recorder.end(begin, "dct_denoise", 1, || {
            cpu::dct_denoise::work::<f32>(shape, stride, pilot.is_some())
        });
        Ok(())
    }
}

impl Instruments for SimdEngine {
    /// The host's clock is the device's: both kinds of profile are the same.
    fn start_profile(&self, _: Clock) -> Result<()> {
        self.recorder.start();
        Ok(())
    }

    fn take_profile(&self) -> Profile {
        Profile {
            clock: Clock::HostClock,
            spans: self.recorder.take(),
            unusable: None,
        }
    }

    fn limits(&self) -> Result<Limits> {
        Ok(probes::limits(self.arch))
    }

    fn clock(&self) -> Clock {
        Clock::HostClock
    }

    fn take_peak_memory(&self) -> Option<u64> {
        None
    }

    fn take_moved(&self) -> Option<[u64; 2]> {
        None
    }
}
