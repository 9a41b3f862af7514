//! Host side of `shaders/reconstruct.wgsl`: the network over an image, tile by tile.

use std::collections::VecDeque;
use std::time::Instant;

use half::f16;
use ndarray::{ArrayView3, ArrayViewMut3};

use crate::engine::cpu;
use crate::engine::cpu::half_weights::{BLOCK, half_weights as half_weights_of};
use crate::engine::gpu::buffers::{GpuBuffer, copy_rows};
use crate::engine::gpu::defines::{self, Arithmetic, ShaderTarget, Shape, quads};
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::half_weights;
use crate::engine::gpu::pipeline::spread;
use crate::engine::gpu::preprocessor::Defines;
use crate::engine::gpu::readback::Readback;
use crate::engine::gpu::step::TileUniform;
use crate::engine::{Geometry, Noise, Output, TrainingState};
use crate::error::{Error, Result};
use crate::network::{Architecture, Layout};
use crate::random::{Purpose, key};

/// The shader.
pub const FILE: &str = "reconstruct.wgsl";

/// Invocations a workgroup.
const WORKGROUP: usize = 64;
/// Bytes of a tile's result at most: far below any binding's limit, and so small that the host copies one out while the
/// device makes the next.
const TILE_BYTES: usize = 8 << 20;
/// Tiles under way at most.
const FLIGHTS: usize = 2;
/// Pixels of a tile that is not cut further where memory is short.
const LEAST_TILE: usize = 1024;
/// Abundances are f32 always: fine-tuning freezes them.
fn adapted(output: Output, target: ShaderTarget) -> ShaderTarget {
    match output {
        Output::Abundance { .. } => ShaderTarget {
            arithmetic: Arithmetic::Single,
            ..target
        },
        _ => target,
    }
}

fn workgroup(target: ShaderTarget) -> usize {
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
    target: ShaderTarget,
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
        Arithmetic::Single if target.software => 8,
        Arithmetic::Single => target.accumulators(target.pixels),
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
    let b = architecture.msi_bands;
    let pixels = hr_msi.dim().0 * hr_msi.dim().1;
    let work = 2.0 * (members * architecture.multiply_adds().max(1)) as f64;
    let mut tile = (TILE_BYTES / (4 * padded.max(b))).clamp(1, pixels.max(1));

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
    // Smaller tiles give the same bits, and need less memory on the device and for reading back.
    let mut flights = loop {
        let made = (0..FLIGHTS.min(pixels.div_ceil(tile))).map(|_| {
            let buffer = |name, words| GpuBuffer::zeroed(context, name, words, guarded, hint);
            let uniform = buffer("step", size_of::<TileUniform>() / 4)?;
            let (hr_msi, image) = (buffer("hr_msi", tile * b)?, buffer("image", tile * padded)?);
            let buffers = [
                ("step", &uniform),
                ("hr_msi", &hr_msi),
                ("network", &network),
                ("image", &image),
                ("weights", &weights),
            ];
            Ok(Flight {
                group: pipeline.bind(context, &buffers, size_of::<TileUniform>() as u64)?,
                readback: context.readback(4 * (tile * padded) as u64)?,
                uniform,
                hr_msi,
                image,
            })
        });
        match made.collect::<Result<VecDeque<_>>>() {
            Err(Error::DeviceMemory { .. }) if tile > LEAST_TILE => tile = (tile / 2).max(LEAST_TILE),
            made => break made?,
        }
    };
    let seed = match output {
        Output::Sample { seed, .. } => seed,
        _ => 0,
    };
    let colours = hr_msi.as_standard_layout();
    let colours = contiguous(colours.as_slice())?;
    let mut rest = contiguous(out.as_slice_mut())?;
    let mut under_way = VecDeque::with_capacity(FLIGHTS);
    let mut at = 0;
    while at < pixels || !under_way.is_empty() {
        // While the device's rate is not known, or tiles are cut for it, they come one after the other and are timed.
        let fitting = (engine.pace.fitting(FILE) / work).max(1.0) as usize;
        let timed = !engine.pace.knows(FILE) || engine.pace.is_climbing(FILE) || fitting < tile;
        let together = if timed { 1 } else { FLIGHTS };
        // Tiles may be cut to more parts than there are buffers: then the oldest comes back first.
        if at < pixels
            && under_way.len() < together
            && let Some(flight) = flights.pop_front()
        {
            let count = tile.min(fitting).min(pixels - at);
            flight
                .hr_msi
                .write(context, 0, &colours[at * b..(at + count) * b])?;
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
            flight.uniform.write(context, 0, &[values])?;
            let mut encoder = context.device.create_command_encoder(&Default::default());
            {
                let mut pass = context.pass(&mut encoder);
                let workgroups = spread(count.div_ceil(workgroup(target) * target.pixels_an_invocation()));
                pass.dispatch(&pipeline, &flight.group, &[0], workgroups, || {
                    cpu::reconstruct::work::<f32>(architecture, output, count)
                });
            }
            let began = Instant::now();
            if timed {
                context.run(encoder)?;
                let seconds = began.elapsed().as_secs_f64();
                engine.pace.measured(FILE, work * count as f64, seconds);
                encoder = context.device.create_command_encoder(&Default::default());
            }
            let bytes = 4 * (count * padded) as u64;
            let from = (&flight.image.buffer, flight.image.offset);
            flight.readback.copy(&mut encoder, from, 0, bytes);
            let submission = context.submit(encoder)?;
            flight.readback.request(bytes);
            under_way.push_back((flight, submission, count));
            at += count;
            continue;
        }
        let Some((flight, submission, count)) = under_way.pop_front() else {
            break;
        };
        if !flight.readback.has_come() {
            context.wait_for(submission)?;
        }
        let (rows, after) = rest.split_at_mut(count * channels);
        rest = after;
        let bytes = 4 * (count * padded) as u64;
        flight
            .readback
            .take(context, bytes, |bytes| copy_rows(bytes, channels, padded, rows))?;
        flight.image.check_guards(context)?;
        flights.push_back(flight);
    }
    for flight in flights {
        context.keep_readback(flight.readback);
    }
    Ok(())
}

/// The buffers of a tile that is under way, or of one to come.
struct Flight {
    uniform: GpuBuffer,
    hr_msi: GpuBuffer,
    image: GpuBuffer,
    group: wgpu::BindGroup,
    readback: Readback,
}

fn contiguous<T>(samples: Option<T>) -> Result<T> {
    samples.ok_or_else(|| Error::failed("reconstruction takes images in standard layout only"))
}
