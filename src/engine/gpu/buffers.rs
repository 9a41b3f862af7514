//! Storage buffers, between guard words where checks are on.

use std::collections::VecDeque;

use bytemuck::Pod;
use rayon::prelude::*;

use crate::engine::gpu::context::Context;
use crate::engine::gpu::memory::Lease;
use crate::engine::gpu::readback::Readback;
use crate::error::{Error, Result};

/// Bytes of guard on either side; as much as any adapter wants a binding's offset aligned to.
const GUARD: u64 = 256;
const PATTERN: u8 = 0xA5;

/// A buffer and the part of it that kernels see.
#[derive(Debug)]
pub struct GpuBuffer {
    /// What it holds, for messages.
    pub name: &'static str,
    /// The whole buffer.
    pub buffer: wgpu::Buffer,
    /// First byte that kernels see.
    pub offset: u64,
    /// Bytes that kernels see.
    pub bytes: u64,
    _lease: Lease,
}

/// Bytes that come from the device at a time, of what is read by rows.
const PIECE: usize = 8 << 20;
/// Samples that a thread copies at a time: fewer are not worth the hand-off.
const COPIED: usize = 1 << 16;

/// Copies rows of `row` samples to `out` that lie `pitch` samples apart in `bytes`, on all threads.
pub(super) fn copy_rows(bytes: &[u8], row: usize, pitch: usize, out: &mut [f32]) {
    let rows = COPIED.div_ceil(row);
    let from = bytes.par_chunks(4 * rows * pitch);
    out.par_chunks_mut(rows * row).zip(from).for_each(|(out, bytes)| {
        if row == pitch {
            bytemuck::cast_slice_mut(out).copy_from_slice(bytes);
            return;
        }
        let rows = bytes.chunks_exact(4 * pitch);
        for (out, bytes) in out.chunks_exact_mut(row).zip(rows) {
            let out: &mut [u8] = bytemuck::cast_slice_mut(out);
            out.copy_from_slice(&bytes[..out.len()]);
        }
    });
}

impl GpuBuffer {
    /// A zeroed buffer of `words` 32-bit words; `hint` says what to reduce if the adapter cannot hold it.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] if it is larger than the adapter's limits allow or memory is short.
    pub fn zeroed(
        context: &Context,
        name: &'static str,
        words: usize,
        guarded: bool,
        hint: &str,
    ) -> Result<Self> {
        // An empty buffer cannot be bound.
        let bytes = 4 * words.max(4) as u64;
        let limit = context
            .limits
            .max_storage_buffer_binding_size
            .min(context.limits.max_buffer_size - 2 * GUARD);
        if bytes > limit {
            let (bytes, limit) = (bytes >> 20, limit >> 20);
            return Err(Error::device_memory(
                &context.info.name,
                format!("`{name}` would take {bytes} MiB, and a binding holds {limit} MiB: {hint}"),
            ));
        }
        let offset = if guarded { GUARD } else { 0 };
        context.check_memory(name, bytes + 2 * offset)?;
        let buffer = context.scoped(name, || {
            context.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(name),
                size: bytes + 2 * offset,
                usage: wgpu::BufferUsages::STORAGE
                    | wgpu::BufferUsages::UNIFORM
                    | wgpu::BufferUsages::COPY_DST
                    | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            })
        })?;
        if guarded {
            let guard = [PATTERN; GUARD as usize];
            context.queue.write_buffer(&buffer, 0, &guard);
            context.queue.write_buffer(&buffer, offset + bytes, &guard);
        }
        Ok(GpuBuffer {
            name,
            buffer,
            offset,
            bytes,
            _lease: context.made.buffer(bytes + 2 * offset),
        })
    }

    /// A buffer that holds `data`.
    ///
    /// # Errors
    /// As [`GpuBuffer::zeroed`].
    pub fn of<T: Pod>(
        context: &Context,
        name: &'static str,
        data: &[T],
        guarded: bool,
        hint: &str,
    ) -> Result<Self> {
        let buffer = Self::zeroed(context, name, size_of_val(data).div_ceil(4), guarded, hint)?;
        buffer.write(context, 0, data)?;
        Ok(buffer)
    }

    /// Writes `data` from word `at` on.
    ///
    /// # Errors
    /// [`Error::Failed`] if it does not fit.
    pub fn write<T: Pod>(&self, context: &Context, at: usize, data: &[T]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        if 4 * at as u64 + bytes.len() as u64 > self.bytes {
            return Err(Error::failed(format!(
                "`{}`: {} bytes do not fit",
                self.name,
                bytes.len()
            )));
        }
        context.write(&self.buffer, self.offset + 4 * at as u64, bytes)
    }

    /// Reads `count` words from word `at` on, after everything submitted.
    ///
    /// # Errors
    /// [`Error::Failed`] if the device fails or, in a guarded buffer, a kernel wrote outside of its part.
    pub fn read<T: Pod>(&self, context: &Context, at: usize, count: usize) -> Result<Vec<T>> {
        let bytes = context.read(&self.buffer, self.offset + 4 * at as u64, 4 * count as u64)?;
        self.check_guards(context)?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    /// Copies `out.len()` rows of `row` samples from the begin of the buffer, where each row has `pitch` of them, after
    /// everything submitted, on all threads.
    ///
    /// # Errors
    /// As [`GpuBuffer::read`].
    pub fn read_rows(&self, context: &Context, row: usize, pitch: usize, out: &mut [f32]) -> Result<()> {
        let rows = (PIECE / (4 * pitch)).max(1);
        let bytes = |out: &[f32]| 4 * (out.len() / row * pitch) as u64;
        let mut under_way = VecDeque::with_capacity(2);
        let mut offset = self.offset;
        // The host copies one piece while the next is on its way.
        let mut arrive = |(readback, submission, out): (Readback, wgpu::SubmissionIndex, &mut [f32])| {
            if !readback.has_come() {
                context.wait_for(submission)?;
            }
            readback.take(context, bytes(out), |bytes| copy_rows(bytes, row, pitch, out))?;
            context.keep_readback(readback);
            Ok::<(), Error>(())
        };
        for piece in out.chunks_mut(rows * row) {
            if under_way.len() == 2
                && let Some(first) = under_way.pop_front()
            {
                arrive(first)?;
            }
            let count = bytes(piece);
            let readback = context.readback(count)?;
            let mut encoder = context.device.create_command_encoder(&Default::default());
            readback.copy(&mut encoder, (&self.buffer, offset), 0, count);
            let submission = context.queue.submit([encoder.finish()]);
            readback.request(count);
            under_way.push_back((readback, submission, piece));
            offset += count;
        }
        under_way.into_iter().try_for_each(&mut arrive)?;
        context.check()?;
        self.check_guards(context)
    }

    /// Looks at the guard words, if there are any, after everything submitted.
    ///
    /// # Errors
    /// [`Error::Failed`] if a kernel wrote outside of its part or the device fails.
    pub fn check_guards(&self, context: &Context) -> Result<()> {
        if self.offset > 0 {
            for from in [0, self.offset + self.bytes] {
                let guard = context.read(&self.buffer, from, GUARD)?;
                if guard.iter().any(|&b| b != PATTERN) {
                    return Err(Error::failed(format!(
                        "`{}`: a kernel wrote outside of it",
                        self.name
                    )));
                }
            }
        }
        Ok(())
    }
}
