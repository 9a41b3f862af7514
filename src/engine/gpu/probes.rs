//! The adapter's limits, measured: the two probes in `shaders/probe_*.wgsl`, and what a dispatch costs by itself.

use std::time::{Duration, Instant};

use bytemuck::{Pod, Zeroable};

use crate::engine::gpu::buffers::GpuBuffer;
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::pipeline::{Pipeline, source, spread};
use crate::engine::gpu::preprocessor::Defines;
use crate::engine::profile::Limits;
use crate::error::Result;

/// The multiply-add probe.
pub const MULTIPLY_ADD: &str = "probe_multiply_add.wgsl";
/// The copy probe.
pub const COPY: &str = "probe_copy.wgsl";

/// Invocations a workgroup of both.
const WORKGROUP: usize = 256;
/// Operations of an invocation and iteration: eight chains, four lanes, two operations.
const OPERATIONS: usize = 8 * 4 * 2;
/// Workgroups of the multiply-add probe: more than any card runs at once.
const WORKGROUPS: usize = 4096;
/// Bytes of each of the two arrays that are copied, where a binding holds them: more than caches do.
const COPIED: u64 = 128 << 20;
/// A measurement is long enough when it takes this: launches and clocks are then below a per cent of it.
const LONG_ENOUGH: Duration = Duration::from_millis(30);

/// Twin of `Probe` in `shaders/shared/probe.wgsl`, which says what the fields mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct ProbeUniform {
    pub count: u32,
    pub factor: f32,
    pub offset: f32,
}

struct Probe<'a> {
    engine: &'a GpuEngine,
    pipeline: Pipeline,
    group: wgpu::BindGroup,
    uniform: &'a GpuBuffer,
}

impl<'a> Probe<'a> {
    fn new(
        engine: &'a GpuEngine,
        file: &str,
        uniform: &'a GpuBuffer,
        buffers: &[(&str, &GpuBuffer)],
    ) -> Result<Self> {
        let text = source(file, &Defines::default(), &[])?;
        let pipeline = engine.pipelines.compile(&engine.context, file, &text)?;
        let named: Vec<_> = buffers.iter().copied().chain([("probe", uniform)]).collect();
        let group = pipeline.bind(&engine.context, &named, size_of::<ProbeUniform>() as u64)?;
        Ok(Probe {
            engine,
            pipeline,
            group,
            uniform,
        })
    }

    /// Seconds that `dispatches` of `workgroups` take in one pass, by the host's clock.
    fn seconds(&self, count: usize, workgroups: usize, dispatches: usize) -> Result<f64> {
        let context = &self.engine.context;
        let values = ProbeUniform {
            count: count as u32,
            // A chain that stays finite however long it is: x/2 + 1 tends to 2.
            factor: 0.5,
            offset: 1.0,
        };
        self.uniform.write(context, 0, &[values])?;
        context.queue.submit([]);
        context.wait()?;
        let mut encoder = context.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            let [x, y, z] = spread(workgroups);
            pass.set_pipeline(&self.pipeline.pipeline);
            pass.set_bind_group(0, &self.group, &[0]);
            for _ in 0..dispatches {
                pass.dispatch_workgroups(x, y, z);
            }
        }
        let commands = encoder.finish();
        let begin = Instant::now();
        context.queue.submit([commands]);
        context.wait()?;
        Ok(begin.elapsed().as_secs_f64())
    }

    /// Shortest of three runs with the least `n` (a power of two up to `most`) that takes long enough; `n` with it.
    fn steady(&self, most: usize, run: impl Fn(&Self, usize) -> Result<f64>) -> Result<(usize, f64)> {
        let mut n = 1;
        while n < most && run(self, n)? < LONG_ENOUGH.as_secs_f64() {
            n *= 2;
        }
        let mut least = f64::INFINITY;
        for _ in 0..3 {
            least = least.min(run(self, n)?);
        }
        Ok((n, least))
    }
}

/// Measures the adapter.
///
/// # Errors
/// [`crate::Error::Failed`] where the device fails.
pub fn limits(engine: &GpuEngine) -> Result<Limits> {
    let context = &engine.context;
    let hint = "free memory of the adapter";
    let buffer = |name, words| GpuBuffer::zeroed(context, name, words, false, hint);
    let uniform = buffer("probe", size_of::<ProbeUniform>() / 4)?;
    let out = buffer("out", WORKGROUPS * WORKGROUP)?;
    let multiply_add = Probe::new(engine, MULTIPLY_ADD, &uniform, &[("out", &out)])?;
    let (iterations, seconds) = multiply_add.steady(1 << 16, |p, n| p.seconds(n, WORKGROUPS, 1))?;
    let operations_per_second = (iterations * WORKGROUPS * WORKGROUP * OPERATIONS) as f64 / seconds;

    let bytes = COPIED
        .min(context.limits.max_storage_buffer_binding_size)
        .min(context.limits.max_buffer_size / 2);
    let vectors = bytes as usize / 16;
    let original = buffer("original", 4 * vectors)?;
    let duplicate = buffer("duplicate", 4 * vectors)?;
    let buffers = [("original", &original), ("duplicate", &duplicate)];
    let copy = Probe::new(engine, COPY, &uniform, &buffers)?;
    let workgroups = vectors.div_ceil(WORKGROUP);
    let (copies, seconds) = copy.steady(1 << 12, |p, n| p.seconds(vectors, workgroups, n))?;
    let bytes_per_second = (copies * 2 * 16 * vectors) as f64 / seconds;

    let (launches, seconds) = copy.steady(1 << 14, |p, n| p.seconds(1, 1, n))?;
    Ok(Limits {
        operations_per_second,
        bytes_per_second,
        launch_seconds: seconds / launches as f64,
    })
}
