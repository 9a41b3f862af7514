//! Host side of `shaders/reconstruct.wgsl`: the network over an image, tile by tile.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use half::f16;
use ndarray::{ArrayView3, ArrayViewMut3};

use crate::engine::cpu;
use crate::engine::cpu::half_weights::{BLOCK, half_weights as half_weights_of};
use crate::engine::gpu::buffers::{GpuBuffer, copy_rows};
use crate::engine::gpu::defines::{self, Arithmetic, ShaderTarget, Shape, quads};
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::half_weights;
use crate::engine::gpu::pipeline::{Pipeline, spread};
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
const IN_FLIGHT: usize = 2;
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

/// A reconstruction, as far as all its tiles share it.
struct Reconstruction<'a> {
    engine: &'a GpuEngine,
    architecture: &'a Architecture,
    output: Output,
    pipeline: Arc<Pipeline>,
    target: ShaderTarget,
    network: GpuBuffer,
    /// Empty in single precision.
    weights: GpuBuffer,
    /// Channels of the result on the device.
    padded: usize,
    /// The first member that takes part, and how many do.
    members: (usize, usize),
    /// Number of the image's first pixel.
    first_pixel: u32,
}

/// The buffers of a tile that is under way, or of one to come.
struct Tile {
    uniform: GpuBuffer,
    hr_msi: GpuBuffer,
    image: GpuBuffer,
    group: wgpu::BindGroup,
    readback: Readback,
}

const HINT: &str = "use a smaller network or the setting backend cpu";

impl<'a> Reconstruction<'a> {
    fn new(
        engine: &'a GpuEngine,
        architecture: &'a Architecture,
        state: &TrainingState<f32>,
        first_pixel: u32,
        output: Output,
        channels: usize,
    ) -> Result<Self> {
        let context = &engine.context;
        let guarded = engine.pipelines.options().checked;
        let layout = architecture.layout();
        let defines = defines(architecture, &layout, output, engine.target())?;
        let pipeline = engine.pipelines.get(context, FILE, &defines)?;
        let target = adapted(output, engine.target());
        let parameters: Vec<f32> = state.network.iter().chain(&state.linear).copied().collect();
        let halves: Vec<f16> = match target.arithmetic {
            Arithmetic::Single => Vec::new(),
            _ => {
                let members = state.network.chunks_exact(layout.parameters);
                members
                    .flat_map(|member| half_weights_of(&layout, member))
                    .collect()
            }
        };
        Ok(Reconstruction {
            engine,
            architecture,
            output,
            pipeline,
            target,
            network: GpuBuffer::of(context, "network", &parameters, guarded, HINT)?,
            weights: GpuBuffer::of(context, "weights", &halves, guarded, HINT)?,
            padded: 4 * quads(channels),
            members: match output {
                Output::Mean | Output::Std => (0, architecture.members),
                Output::Sample { member, .. } | Output::Abundance { member } => (member as usize, 1),
            },
            first_pixel,
        })
    }

    /// Operations of a pixel, roughly.
    fn work(&self) -> f64 {
        2.0 * (self.members.1 * self.architecture.multiply_adds().max(1)) as f64
    }

    /// Buffers for tiles of so many pixels.
    fn tile(&self, pixels: usize) -> Result<Tile> {
        let context = &self.engine.context;
        let guarded = self.engine.pipelines.options().checked;
        let buffer = |name, words| GpuBuffer::zeroed(context, name, words, guarded, HINT);
        let uniform = buffer("step", size_of::<TileUniform>() / 4)?;
        let hr_msi = buffer("hr_msi", pixels * self.architecture.msi_bands)?;
        let image = buffer("image", pixels * self.padded)?;
        let buffers = [
            ("step", &uniform),
            ("hr_msi", &hr_msi),
            ("network", &self.network),
            ("image", &image),
            ("weights", &self.weights),
        ];
        Ok(Tile {
            group: self
                .pipeline
                .bind(context, &buffers, size_of::<TileUniform>() as u64)?,
            readback: context.readback(4 * (pixels * self.padded) as u64)?,
            uniform,
            hr_msi,
            image,
        })
    }

    /// Buffers for a few tiles of an image of so many pixels, and the pixels of each. Smaller tiles give the same bits, and
    /// need less memory on the device and for reading back.
    fn tiles(&self, pixels: usize) -> Result<(VecDeque<Tile>, usize)> {
        let widest = self.padded.max(self.architecture.msi_bands);
        let mut size = (TILE_BYTES / (4 * widest)).clamp(1, pixels.max(1));
        loop {
            let made = (0..IN_FLIGHT.min(pixels.div_ceil(size))).map(|_| self.tile(size));
            match made.collect::<Result<VecDeque<_>>>() {
                Err(Error::DeviceMemory { .. }) if size > LEAST_TILE => size = (size / 2).max(LEAST_TILE),
                made => return Ok((made?, size)),
            }
        }
    }

    /// Submits the network over `colours`, pixels of the image from `first` on; with `timed` the device is waited for.
    fn submit(
        &self,
        tile: &Tile,
        colours: &[f32],
        first: usize,
        timed: bool,
    ) -> Result<wgpu::SubmissionIndex> {
        let (engine, context) = (self.engine, &self.engine.context);
        let count = colours.len() / self.architecture.msi_bands;
        let (first_member, members) = self.members;
        let seed = match self.output {
            Output::Sample { seed, .. } => seed,
            _ => 0,
        };
        tile.hr_msi.write(context, 0, colours)?;
        let values = TileUniform {
            key: key(seed),
            step: 0,
            pixels: count as u32,
            first_pixel: self.first_pixel.wrapping_add(first as u32),
            first_member: first_member as u32,
            members: members as u32,
            share: 1.0 / members as f32,
            ..Default::default()
        };
        tile.uniform.write(context, 0, &[values])?;
        let mut encoder = context.device.create_command_encoder(&Default::default());
        {
            let mut pass = context.pass(&mut encoder);
            let together = workgroup(self.target) * self.target.pixels_an_invocation();
            let workgroups = spread(count.div_ceil(together));
            pass.dispatch(&self.pipeline, &tile.group, &[0], workgroups, || {
                cpu::reconstruct::work::<f32>(self.architecture, self.output, count)
            });
        }
        let began = Instant::now();
        if timed {
            context.run(encoder)?;
            let seconds = began.elapsed().as_secs_f64();
            engine.pace.measured(FILE, self.work() * count as f64, seconds);
            encoder = context.device.create_command_encoder(&Default::default());
        }
        let bytes = 4 * (count * self.padded) as u64;
        let from = (&tile.image.buffer, tile.image.offset);
        tile.readback.copy(&mut encoder, from, 0, bytes);
        let submission = context.submit(encoder)?;
        tile.readback.request(bytes);
        Ok(submission)
    }
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
    let (context, b, channels) = (&engine.context, architecture.msi_bands, out.dim().2);
    let pixels = hr_msi.dim().0 * hr_msi.dim().1;
    let run = Reconstruction::new(engine, architecture, state, first_pixel, output, channels)?;
    let (mut tiles, size) = run.tiles(pixels)?;
    let colours = hr_msi.as_standard_layout();
    let colours = contiguous(colours.as_slice())?;
    let mut rest = contiguous(out.as_slice_mut())?;
    let mut under_way = VecDeque::with_capacity(IN_FLIGHT);
    let mut at = 0;
    while at < pixels || !under_way.is_empty() {
        // While the device's rate is not known, or tiles are cut for it, they come one after the other and are timed.
        let fitting = (engine.pace.fitting(FILE) / run.work()).max(1.0) as usize;
        let timed = !engine.pace.knows(FILE) || engine.pace.is_climbing(FILE) || fitting < size;
        let together = if timed { 1 } else { IN_FLIGHT };
        // Tiles may be cut to more parts than there are buffers: then the oldest comes back first.
        if at < pixels
            && under_way.len() < together
            && let Some(tile) = tiles.pop_front()
        {
            let count = size.min(fitting).min(pixels - at);
            let submission = run.submit(&tile, &colours[at * b..(at + count) * b], at, timed)?;
            under_way.push_back((tile, submission, count));
            at += count;
            continue;
        }
        let Some((tile, submission, count)) = under_way.pop_front() else {
            break;
        };
        if !tile.readback.has_come() {
            context.wait_for(submission)?;
        }
        let (rows, after) = rest.split_at_mut(count * channels);
        rest = after;
        let bytes = 4 * (count * run.padded) as u64;
        tile.readback.take(context, bytes, |bytes| {
            copy_rows(bytes, channels, run.padded, rows);
        })?;
        tile.image.check_guards(context)?;
        tiles.push_back(tile);
    }
    for tile in tiles {
        context.keep_readback(tile.readback);
    }
    Ok(())
}

fn contiguous<T>(samples: Option<T>) -> Result<T> {
    samples.ok_or_else(|| Error::failed("reconstruction takes images in standard layout only"))
}
