//! Dispatches of kernels, timed while a profile is being taken.

use std::time::Instant;

use crate::engine::gpu::context::Context;
use crate::engine::gpu::pipeline::Pipeline;
use crate::engine::profile::Span;
use crate::engine::work::Work;

impl Context {
    /// Begins a compute pass.
    pub fn pass<'a>(&'a self, encoder: &'a mut wgpu::CommandEncoder) -> Pass<'a> {
        Pass {
            context: self,
            inner: (!self.timing.is_by_host()).then(|| encoder.begin_compute_pass(&Default::default())),
        }
    }
}

/// A compute pass whose dispatches are timed while a profile is being taken.
pub struct Pass<'a> {
    context: &'a Context,
    /// Missing where every dispatch is submitted alone.
    inner: Option<wgpu::ComputePass<'a>>,
}

impl Pass<'_> {
    /// Dispatches a kernel over `x`·`y`·`z` workgroups; `work` is asked for while a profile is being taken.
    pub fn dispatch(
        &mut self,
        kernel: &Pipeline,
        group: &wgpu::BindGroup,
        offsets: &[u32],
        [x, y, z]: [u32; 3],
        work: impl FnOnce() -> Work,
    ) {
        let put = |pass: &mut wgpu::ComputePass| {
            pass.set_pipeline(&kernel.pipeline);
            pass.set_bind_group(0, group, offsets);
            pass.dispatch_workgroups(x, y, z);
        };
        match &mut self.inner {
            Some(pass) => self.context.timing.timed(pass, || kernel.stem(), work, put),
            None => self.alone(kernel, work, put),
        }
    }

    /// Submits one dispatch, waits for it and keeps the time that took.
    fn alone(
        &self,
        kernel: &Pipeline,
        work: impl FnOnce() -> Work,
        put: impl FnOnce(&mut wgpu::ComputePass),
    ) {
        let (context, recorder) = (self.context, self.context.timing.recorder());
        let mut encoder = context.device.create_command_encoder(&Default::default());
        put(&mut encoder.begin_compute_pass(&Default::default()));
        let commands = encoder.finish();
        // What was written to buffers before goes ahead of the dispatch and is no part of it.
        context.queue.submit([]);
        context.wait_and_note();
        let (begin, clock) = (recorder.now(), Instant::now());
        context.queue.submit([commands]);
        context.wait_and_note();
        recorder.keep(Span {
            kernel: kernel.stem(),
            calls: 1,
            begin,
            seconds: clock.elapsed().as_secs_f64(),
            work: work(),
        });
    }
}
