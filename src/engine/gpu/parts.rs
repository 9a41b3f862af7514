//! What the passes of refinement share on the GPU: their uniform, their buffers, and how an image is cut into parts.
//!
//! Images come from the host and go back to it, strip by strip. A strip is cut further where a binding would not hold it;
//! where the device's memory is short, parts become smaller. A part is dispatched a few workgroups at a time where it
//! would take long (`pace`). The bits of a row depend on none of it.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytemuck::{Pod, Zeroable};

use crate::engine::gpu::buffers::GpuBuffer;
use crate::engine::gpu::engine::GpuEngine;
use crate::engine::gpu::pipeline::{Pipeline, ROW};
use crate::engine::refinement::RefinementGrid;
use crate::engine::work::Work;
use crate::error::{Error, Result};

/// Bytes of a part of an image at most.
const PART_BYTES: u64 = 32 << 20;
/// Where a binding does not hold one row of an image.
const HINT: &str = "use the setting refine off or the setting backend cpu";

/// Twin of `Part` in `shaders/shared/part.wgsl`, which says what the fields mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct PartUniform {
    pub hr_row: u32,
    pub hr_rows: u32,
    pub hr_height: u32,
    pub hr_columns: u32,
    pub lr_row: u32,
    pub lr_rows: u32,
    pub lr_height: u32,
    pub lr_columns: u32,
    pub quad: u32,
    pub quads: u32,
    pub reach: u32,
    pub radius: f32,
    pub sharpness: f32,
    pub first_group: u32,
    pub zero: u32,
}

impl PartUniform {
    /// Of whole grids.
    pub(super) fn of(grid: &RefinementGrid) -> Self {
        PartUniform {
            hr_height: grid.hr_rows() as u32,
            hr_columns: grid.hr_columns() as u32,
            lr_height: grid.rows as u32,
            lr_columns: grid.columns as u32,
            ..Default::default()
        }
    }
}

/// Rows of `row` 32-bit words that a part has, at least one.
pub(super) fn rows_of_part(engine: &GpuEngine, row: usize) -> usize {
    let bytes = engine.pipelines.options().part_bytes.unwrap_or(PART_BYTES);
    let bytes = bytes >> engine.kept.halvings.load(Ordering::Relaxed);
    let limit = engine.context.limits.max_storage_buffer_binding_size;
    (bytes.min(limit) / (4 * row.max(1)) as u64).max(1) as usize
}

/// The buffers of a pass; the engine keeps them for the next one.
pub(super) struct Buffers<'e> {
    engine: &'e GpuEngine,
    taken: HashMap<&'static str, GpuBuffer>,
}

impl<'e> Buffers<'e> {
    pub fn of(engine: &'e GpuEngine) -> Self {
        Buffers {
            engine,
            taken: HashMap::new(),
        }
    }

    /// Room for `words` 32-bit words under `name`.
    pub fn room(&mut self, name: &'static str, words: usize) -> Result<&GpuBuffer> {
        let guarded = self.engine.pipelines.options().checked;
        let bytes = 4 * words.max(4) as u64;
        // Between guard words a buffer has no room to spare: what lies behind it is what is guarded.
        let fits = |b: &GpuBuffer| b.bytes == bytes || (!guarded && b.bytes > bytes);
        let there = self.taken.remove(name).or_else(|| self.engine.kept.take(name));
        let buffer = match there.filter(fits) {
            Some(buffer) => buffer,
            None => GpuBuffer::zeroed(&self.engine.context, name, words, guarded, HINT)?,
        };
        Ok(self.taken.entry(name).or_insert(buffer))
    }

    /// Puts `data` under `name`.
    pub fn write<T: Pod>(&mut self, name: &'static str, data: &[T]) -> Result<()> {
        let engine = self.engine;
        self.room(name, size_of_val(data) / 4)?
            .write(&engine.context, 0, data)
    }

    /// Runs so many workgroups of a kernel over the buffers that its shader names, `work` in all: as many at a time as
    /// the device was measured to do in a short while. `kind` is what it is measured as.
    pub fn run(
        &mut self,
        pipeline: &Pipeline,
        part: PartUniform,
        workgroups: usize,
        kind: &'static str,
        work: Work,
    ) -> Result<()> {
        let count = u32::try_from(workgroups)
            .map_err(|_| Error::failed(format!("{kind}: {workgroups} workgroups for a part of an image")))?;
        let each = work.operations as f64 / f64::from(count.max(1));
        let mut done = 0;
        while done < count {
            let fitting = (self.engine.pace.fitting(kind) / each.max(1.0)).max(1.0);
            let now = (fitting as u32).min(ROW).min(count - done);
            let part = PartUniform {
                first_group: done,
                ..part
            };
            let measured = (kind, each * f64::from(now));
            self.run_measured(pipeline, part, [now, 1, 1], measured, || {
                work.share(done..done + now, count)
            })?;
            done += now;
        }
        Ok(())
    }

    /// Runs a kernel for so many operations, whose time is taken for the next part.
    pub fn run_measured(
        &mut self,
        pipeline: &Pipeline,
        part: PartUniform,
        workgroups: [u32; 3],
        (kind, operations): (&'static str, f64),
        work: impl FnOnce() -> Work,
    ) -> Result<()> {
        let encoder = self.recorded(pipeline, part, workgroups, work)?;
        let context = &self.engine.context;
        // What was queued before is not of this part.
        context.wait()?;
        let began = Instant::now();
        context.run(encoder)?;
        let seconds = began.elapsed().as_secs_f64();
        self.engine.pace.measured(kind, operations, seconds);
        Ok(())
    }

    fn recorded(
        &mut self,
        pipeline: &Pipeline,
        part: PartUniform,
        workgroups: [u32; 3],
        work: impl FnOnce() -> Work,
    ) -> Result<wgpu::CommandEncoder> {
        self.write("step", &[part])?;
        let context = &self.engine.context;
        let named: Vec<_> = self.taken.iter().map(|(name, buffer)| (*name, buffer)).collect();
        let group = pipeline.bind(context, &named, size_of::<PartUniform>() as u64)?;
        let mut encoder = context.device.create_command_encoder(&Default::default());
        {
            let mut pass = context.pass(&mut encoder);
            pass.dispatch(pipeline, &group, &[0], workgroups, work);
        }
        Ok(encoder)
    }

    /// Waits, and copies what lies under `name` into `out`.
    pub fn read(&self, name: &str, out: &mut [f32]) -> Result<()> {
        if let Some(buffer) = self.taken.get(name) {
            buffer.read_rows(&self.engine.context, 1, 1, out)?;
            self.engine.kept.gave.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Drop for Buffers<'_> {
    fn drop(&mut self) {
        self.engine.kept.put(self.taken.drain());
    }
}
