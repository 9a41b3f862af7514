//! What a training run makes once: its buffers on the device, and its kernels compiled and bound to them.

use std::sync::Arc;

use rayon::prelude::*;

use crate::engine::cpu::half_weights;
use crate::engine::gpu::blocks::blocks;
use crate::engine::gpu::buffers::GpuBuffer;
use crate::engine::gpu::defines::{ShaderTarget, Shape};
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::pipeline::Pipeline;
use crate::engine::gpu::preprocessor::Defines;
use crate::engine::gpu::step::StepUniform;
use crate::engine::gpu::{
    degradation, degradation_sums, degradation_update, hr_network, hr_window, lr_network, lr_steps,
    network_update, psf_blur,
};
use crate::engine::step::Kernel;
use crate::engine::{Noise, Precision, Problem, TrainingSet, TrainingState};
use crate::error::Result;
use crate::network::Layout;
use crate::sensor::psf;

/// Steps of a submit at most.
pub(super) const STEPS: usize = 64;
/// Submits under way at most: one that the device works on, and two for the host to be late by.
pub(super) const IN_FLIGHT: usize = 3;

/// A kernel ready to be dispatched.
pub(super) struct Recorded {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) group: wgpu::BindGroup,
    /// Whether it reads the step's uniform.
    pub(super) stepped: bool,
}

/// Those of a step that are compiled; each is with the first step that needs it.
pub(super) type Recording = [Option<Recorded>; Kernel::COUNT];

/// What the kernels' texts depend on.
pub struct Texts<'a> {
    /// The run.
    pub problem: &'a Problem<f32>,
    /// Its network's parameters and activations.
    pub layout: &'a Layout,
    /// Its sizes on the device.
    pub shape: &'a Shape,
    /// Windows of the training set.
    pub windows: usize,
    /// Distance of two uniforms in bytes.
    pub pitch: usize,
    /// The adapter.
    pub target: ShaderTarget,
}

impl Texts<'_> {
    /// File and defines of a kernel.
    ///
    /// # Errors
    /// Where a layer or a window is larger than the adapter can hold.
    pub fn of(&self, kernel: Kernel) -> Result<(&'static str, Defines)> {
        let (problem, layout, shape, target) = (self.problem, self.layout, self.shape, self.target);
        let defines = match kernel {
            Kernel::Degradation => degradation::defines(problem, shape),
            Kernel::PsfBlur => psf_blur::defines(problem, shape),
            Kernel::LrNetwork => lr_network::defines(problem, layout, shape, self.windows, target)?,
            Kernel::NetworkUpdate => {
                let members = problem.architecture.members;
                network_update::defines(layout, shape, members, problem.frozen_encoder, target)
            }
            Kernel::LrSteps => lr_steps::defines(problem, layout, shape, (self.windows, self.pitch), target)?,
            Kernel::HalfWeights => super::half_weights::defines(layout),
            Kernel::HrNetwork => hr_network::defines(problem, layout, shape, target)?,
            Kernel::HrWindow => hr_window::defines(problem, layout, shape, target)?,
            Kernel::DegradationSums => degradation_sums::defines(problem, shape),
            Kernel::DegradationUpdate => degradation_update::defines(problem, shape),
        };
        Ok((kernel.file(), defines))
    }
}

pub(super) struct Buffers {
    pub(super) step: GpuBuffer,
    pub(super) batch: GpuBuffer,
    pub(super) hr_msi: GpuBuffer,
    pub(super) lr_hsi: GpuBuffer,
    pub(super) network: GpuBuffer,
    pub(super) moments: GpuBuffer,
    pub(super) gradient: GpuBuffer,
    pub(super) blocks: GpuBuffer,
    /// Empty in single precision, like `weights`.
    pub(super) sources: GpuBuffer,
    pub(super) weights: GpuBuffer,
    pub(super) theta: GpuBuffer,
    pub(super) sums: GpuBuffer,
    pub(super) bank: GpuBuffer,
    pub(super) srf: GpuBuffer,
    pub(super) observations: GpuBuffer,
    pub(super) pixels: GpuBuffer,
    pub(super) parts: GpuBuffer,
    pub(super) windows: GpuBuffer,
    pub(super) losses: GpuBuffer,
    pub(super) lr_noise: GpuBuffer,
    pub(super) hr_noise: GpuBuffer,
    pub(super) abundance: GpuBuffer,
}

/// Rows of `from` numbers, each padded with zeros to `to`.
pub(super) fn padded(data: &[f32], from: usize, to: usize) -> Vec<f32> {
    let mut out = vec![0.0; data.len() / from * to];
    for (to, from) in out.chunks_exact_mut(to).zip(data.chunks_exact(from)) {
        to[..from.len()].copy_from_slice(from);
    }
    out
}

/// The first `to` of every `from` numbers.
pub(super) fn unpadded(data: &[f32], from: usize, to: usize) -> Vec<f32> {
    data.chunks_exact(from)
        .flat_map(|row| row[..to].iter().copied())
        .collect()
}

impl Buffers {
    pub(super) fn new(
        engine: &GpuEngine,
        problem: &Problem<f32>,
        data: &TrainingSet<f32>,
        state: &TrainingState<f32>,
        layout: &Layout,
        shape: &Shape,
        (pitch, batch_capacity): (usize, usize),
    ) -> Result<Self> {
        let context = &engine.context;
        let guarded = engine.pipelines.options().checked;
        let zeroed = |name, words, hint| GpuBuffer::zeroed(context, name, words, guarded, hint);
        let of = |name, data: &[f32], hint| GpuBuffer::of(context, name, data, guarded, hint);
        let members = problem.architecture.members;
        let (lr, hr) = (problem.lr_capacity, problem.hr_capacity);
        let fewer_windows = "train on fewer windows (or use the setting backend cpu)";
        let smaller_lr = "take a smaller LR batch or fewer members (or use the setting backend cpu)";
        let smaller_hr = "take a smaller HR batch (or use the setting backend cpu)";
        let smaller_network = "use a smaller network or fewer members (or use the setting backend cpu)";
        let band_floats = 4 * shape.band_quads;
        let area = shape.kernel * shape.kernel;
        let given = problem.noise == Noise::Given;

        let sources = match engine.precision() {
            Precision::F32 => Vec::new(),
            Precision::F16 => half_weights::sources(layout),
        };
        let parameters: Vec<f32> = state.network.iter().chain(&state.linear).copied().collect();
        let moments: Vec<f32> = [&state.network_m[..], &state.network_v].concat();
        let theta: Vec<f32> = [&state.degradation[..], &state.degradation_m, &state.degradation_v].concat();
        let mut bank = vec![0.0; (1 + psf::PARAMETERS) * area];
        if let Some(fixed) = &problem.fixed_psf {
            bank[..area].copy_from_slice(fixed);
        }
        let mut srf = vec![0.0; shape.msi * band_floats];
        if let Some(fixed) = &problem.fixed_srf {
            for (band, row) in fixed.chunks_exact(shape.msi).enumerate() {
                for (j, &r) in row.iter().enumerate() {
                    srf[j * band_floats + band] = r;
                }
            }
        }
        Ok(Buffers {
            // One more for the parts of a call.
            step: zeroed("step", (STEPS + 1) * pitch / 4, fewer_windows)?,
            batch: zeroed("batch", batch_capacity, smaller_lr)?,
            hr_msi: of("hr_msi", &data.hr_msi, fewer_windows)?,
            lr_hsi: of(
                "lr_hsi",
                &padded(&data.lr_hsi, shape.bands, band_floats),
                fewer_windows,
            )?,
            network: of("network", &parameters, smaller_network)?,
            moments: of("moments", &moments, smaller_network)?,
            gradient: zeroed("gradient", state.network.len(), smaller_network)?,
            blocks: GpuBuffer::of(
                context,
                "blocks",
                &blocks(layout, shape, problem.frozen_encoder),
                guarded,
                smaller_network,
            )?,
            sources: GpuBuffer::of(context, "sources", &sources, guarded, smaller_network)?,
            weights: zeroed("weights", 2 * sources.len(), smaller_network)?,
            theta: of("theta", &theta, fewer_windows)?,
            sums: zeroed("sums", degradation_update::sums(shape), fewer_windows)?,
            bank: of("bank", &bank, fewer_windows)?,
            srf: of("srf", &srf, fewer_windows)?,
            observations: zeroed("observations", lr * shape.observation, smaller_lr)?,
            pixels: zeroed("pixels", members * lr * 4 * shape.pixel_record, smaller_lr)?,
            parts: zeroed(
                "parts",
                hr * hr_network::parts(layout, shape, engine.target())? * 4 * hr_network::part_record(shape),
                smaller_hr,
            )?,
            windows: zeroed("windows", hr * 4 * shape.window_record, smaller_hr)?,
            losses: zeroed("losses", IN_FLIGHT * STEPS * (3 + members), smaller_network)?,
            lr_noise: zeroed(
                "noise",
                if given { members * lr * band_floats } else { 0 },
                smaller_lr,
            )?,
            hr_noise: zeroed(
                "noise",
                if given {
                    hr * shape.side * shape.side * band_floats
                } else {
                    0
                },
                smaller_hr,
            )?,
            abundance: zeroed(
                "abundance",
                if problem.frozen_encoder {
                    members * data.windows * layout.abundances.next_multiple_of(4)
                } else {
                    0
                },
                fewer_windows,
            )?,
        })
    }
}

/// Compiles kernels side by side and binds their buffers.
pub(super) fn record(
    engine: &GpuEngine,
    buffers: &Buffers,
    kernels: &[(&str, Defines)],
) -> Result<Vec<Recorded>> {
    let (context, b) = (&engine.context, buffers);
    kernels
        .par_iter()
        .map(|(file, defines)| {
            let pipeline = engine.pipelines.get(context, file, defines)?;
            let noise = if *file == Kernel::HrNetwork.file() {
                &b.hr_noise
            } else {
                &b.lr_noise
            };
            let named = [
                ("step", &b.step),
                // The same uniforms, all of them at once.
                ("steps", &b.step),
                ("batch", &b.batch),
                ("hr_msi", &b.hr_msi),
                ("lr_hsi", &b.lr_hsi),
                ("network", &b.network),
                ("moments", &b.moments),
                ("gradient", &b.gradient),
                ("blocks", &b.blocks),
                ("sources", &b.sources),
                ("weights", &b.weights),
                ("theta", &b.theta),
                ("sums", &b.sums),
                ("bank", &b.bank),
                ("srf", &b.srf),
                ("observations", &b.observations),
                ("pixels", &b.pixels),
                ("parts", &b.parts),
                ("windows", &b.windows),
                ("losses", &b.losses),
                ("noise", noise),
                ("abundance", &b.abundance),
            ];
            let group = pipeline.bind(context, &named, size_of::<StepUniform>() as u64)?;
            Ok(Recorded {
                pipeline,
                group,
                stepped: *file != Kernel::Degradation.file(),
            })
        })
        .collect()
}
