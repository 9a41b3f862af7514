//! Host side of `shaders/reconstruct.wgsl`: the network over an image, tile by tile.

use std::time::Instant;

use half::f16;
use ndarray::{ArrayView3, ArrayViewMut3};

use crate::engine::cpu;
use crate::engine::cpu::half_weights::{BLOCK, half_weights as half_weights_of};
use crate::engine::gpu::buffers::GpuBuffer;
use crate::engine::gpu::defines::{self, Arithmetic, Shape, Target, quads};
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::half_weights;
use crate::engine::gpu::pipeline::spread;
use crate::engine::gpu::preprocessor::Defines;
use crate::engine::gpu::step::TileUniform;
use crate::engine::{Geometry, Noise, Output, TrainingState};
use crate::error::{Error, Result};
use crate::network::{Architecture, Layout};
use crate::random::{Purpose, key};

/// The shader.
pub const FILE: &str = "reconstruct.wgsl";

/// Invocations a workgroup.
const WORKGROUP: usize = 64;
/// Bytes of a tile's result at most: far below any binding's limit, and read back in one piece.
const TILE_BYTES: usize = 32 << 20;
/// Pixels of a tile that is not cut further where memory is short.
const LEAST_TILE: usize = 1024;
/// Abundances are f32 always: fine-tuning freezes them.
fn adapted(output: Output, target: Target) -> Target {
    match output {
        Output::Abundance { .. } => Target {
            arithmetic: Arithmetic::Single,
            ..target
        },
        _ => target,
    }
}

fn workgroup(target: Target) -> usize {
    match target.arithmetic {
        Arithmetic::Single => WORKGROUP,
        _ => half_weights::SUBGROUP,
    }
}

/// What its text depends on.
///
/// # Errors
/// As [`defines::network`].
pub fn defines(
    architecture: &Architecture,
    layout: &Layout,
    output: Output,
    target: Target,
) -> Result<Defines> {
    let target = adapted(output, target);
    if target.arithmetic != Arithmetic::Single {
        half_weights::fits(half_weights::memory(layout), target.workgroup_memory)?;
    }
    let geometry = Geometry { scale: 1, kernel: 1 };
    let shape = Shape::new(architecture, layout, geometry, false);
    let mut d = shape.defines(geometry);
    let (mean, std, noise) = match output {
        Output::Mean => (1, 0, Noise::Off),
        Output::Std => (0, 1, Noise::Off),
        Output::Sample { seed, .. } => (1, 1, Noise::Philox(seed)),
        Output::Abundance { .. } => (0, 0, Noise::Off),
    };
    let tile = match target.arithmetic {
        Arithmetic::Single => 8,
        _ => BLOCK / 4,
    };
    d.extend(&defines::network(architecture, layout, tile, target)?)
        .extend(&defines::noise(noise, Purpose::Inference))
        .number("WG", workgroup(target))
        .number("PIXELS", target.pixels_an_invocation())
        .number("WITH_MEAN", mean)
        .number("WITH_STD", std);
    Ok(d)
}

/// Runs the network over `hr_msi` into `out`; see [`crate::engine::Engine::reconstruct`].
///
/// # Errors
/// [`crate::Error::Failed`] where the device fails.
pub fn reconstruct(
    engine: &GpuEngine,
    architecture: &Architecture,
    state: &TrainingState<f32>,
    hr_msi: ArrayView3<f32>,
    first_pixel: u32,
    output: Output,
    mut out: ArrayViewMut3<f32>,
) -> Result<()> {
    let context = &engine.context;
    let guarded = engine.pipelines.options().checked;
    let layout = architecture.layout();
    let pipeline = engine.pipelines.get(
        context,
        FILE,
        &defines(architecture, &layout, output, engine.target())?,
    )?;
    let channels = out.dim().2;
    let padded = 4 * quads(channels);
    let (first_member, members) = match output {
        Output::Mean | Output::Std => (0, architecture.members),
        Output::Sample { member, .. } | Output::Abundance { member } => (member as usize, 1),
    };
    let pixels = hr_msi.dim().0 * hr_msi.dim().1;
    let work = 2.0 * (members * architecture.multiply_adds().max(1)) as f64;
    let mut tile = (TILE_BYTES / (4 * padded.max(architecture.msi_bands))).clamp(1, pixels.max(1));

    let hint = "use a smaller network or the setting backend cpu";
    let parameters: Vec<f32> = state.network.iter().chain(&state.linear).copied().collect();
    let network = GpuBuffer::of(context, "network", &parameters, guarded, hint)?;
    let target = adapted(output, engine.target());
    let halves: Vec<f16> = match target.arithmetic {
        Arithmetic::Single => Vec::new(),
        _ => {
            let members = state.network.chunks_exact(layout.parameters);
            members
                .flat_map(|member| half_weights_of(&layout, member))
                .collect()
        }
    };
    let weights = GpuBuffer::of(context, "weights", &halves, guarded, hint)?;
    let uniform = GpuBuffer::zeroed(context, "step", size_of::<TileUniform>() / 4, guarded, hint)?;
    // Smaller tiles give the same bits, and need less memory on the device and for reading back.
    let (msi_buffer, image) = loop {
        let buffers = || -> Result<_> {
            let msi_buffer =
                GpuBuffer::zeroed(context, "hr_msi", tile * architecture.msi_bands, guarded, hint)?;
            let image = GpuBuffer::zeroed(context, "image", tile * padded, guarded, hint)?;
            context.reserve(4 * (tile * padded) as u64)?;
            Ok((msi_buffer, image))
        };
        match buffers() {
            Err(Error::DeviceMemory(_)) if tile > LEAST_TILE => tile = (tile / 2).max(LEAST_TILE),
            made => break made?,
        }
    };
    let group = pipeline.bind(
        context,
        &[
            ("step", &uniform),
            ("hr_msi", &msi_buffer),
            ("network", &network),
            ("image", &image),
            ("weights", &weights),
        ],
        size_of::<TileUniform>() as u64,
    )?;
    let seed = match output {
        Output::Sample { seed, .. } => seed,
        _ => 0,
    };
    let mut from = hr_msi.iter().copied();
    let mut to = out.iter_mut();
    let mut at = 0;
    while at < pixels {
        let fitting = (engine.pace.fitting(FILE) / work).max(1.0) as usize;
        let count = tile.min(fitting).min(pixels - at);
        let msi: Vec<f32> = from.by_ref().take(count * architecture.msi_bands).collect();
        msi_buffer.write(context, 0, &msi)?;
        let values = TileUniform {
            key: key(seed),
            step: 0,
            pixels: count as u32,
            first_pixel: first_pixel.wrapping_add(at as u32),
            first_member: first_member as u32,
            members: members as u32,
            share: 1.0 / members as f32,
            ..Default::default()
        };
        uniform.write(context, 0, &[values])?;
        let mut encoder = context.device.create_command_encoder(&Default::default());
        {
            let mut pass = context.pass(&mut encoder);
            let workgroups = spread(count.div_ceil(workgroup(target) * target.pixels_an_invocation()));
            pass.dispatch(&pipeline, &group, &[0], workgroups, || {
                cpu::reconstruct::work::<f32>(architecture, output, count)
            });
        }
        let began = Instant::now();
        context.run(encoder)?;
        let seconds = began.elapsed().as_secs_f64();
        engine.pace.measured(FILE, work * count as f64, seconds);
        let values: Vec<f32> = image.read(context, 0, count * padded)?;
        for row in values.chunks_exact(padded) {
            for &value in &row[..channels] {
                if let Some(to) = to.next() {
                    *to = value;
                }
            }
        }
        at += count;
    }
    Ok(())
}
