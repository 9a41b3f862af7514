//! Buffers that go from the host: written by all threads where they are mapped, then copied on the device.
//!
//! wgpu's own way makes a buffer for every write, which for an image takes longer than the copy; these are kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rayon::prelude::*;

use crate::engine::gpu::device::Device;
use crate::engine::gpu::memory::Lease;
use crate::error::{Error, Result};

/// Bytes that a thread copies at a time: fewer are not worth the hand-off.
const PIECE: usize = 256 << 10;

/// Where a mapping stands.
const UNDER_WAY: u8 = 0;
const MAPPED: u8 = 1;
const FAILED: u8 = 2;

/// A buffer of the host's memory that the device copies from.
#[derive(Debug)]
pub struct Upload {
    buffer: wgpu::Buffer,
    mapping: Arc<AtomicU8>,
    _lease: Lease,
}

impl Upload {
    /// Of `bytes`, a multiple of eight.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] where there is no room for it.
    pub fn new(device: &Device, bytes: u64) -> Result<Self> {
        device.check_memory("upload", bytes)?;
        let buffer = device.scoped("upload", || {
            device.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("upload"),
                size: bytes,
                usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: true,
            })
        })?;
        Ok(Upload {
            buffer,
            mapping: Arc::new(AtomicU8::new(MAPPED)),
            _lease: device.made.buffer(bytes),
        })
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.buffer.size()
    }

    /// Puts `data` at `offset` of `to`, before everything that is submitted after this.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub fn write(&self, device: &Device, (to, offset): (&wgpu::Buffer, u64), data: &[u8]) -> Result<()> {
        // The copy before this one may be under way still.
        if self.mapping.load(Ordering::Acquire) == UNDER_WAY {
            device.wait()?;
        }
        let failed = |what: &str| Error::device(&device.info.name, format!("upload: {what}"));
        if self.mapping.load(Ordering::Acquire) == FAILED {
            return Err(failed("the buffer cannot be mapped"));
        }
        let bytes = data.len() as u64;
        {
            let view = |(k, piece): (usize, &[u8])| {
                let (at, length) = ((k * PIECE) as u64, piece.len() as u64);
                let view = self.buffer.get_mapped_range_mut(at..at + length);
                view.map_err(|e| failed(&e.to_string()))
            };
            let pieces: Vec<&[u8]> = data.chunks(PIECE).collect();
            let mut views = pieces
                .iter()
                .copied()
                .enumerate()
                .map(view)
                .collect::<Result<Vec<_>>>()?;
            views
                .par_iter_mut()
                .zip(pieces)
                .for_each(|(view, piece)| view.slice(..).copy_from_slice(piece));
        }
        self.buffer.unmap();
        let mut encoder = device.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&self.buffer, 0, to, offset, bytes);
        device.queue.submit([encoder.finish()]);
        self.mapping.store(UNDER_WAY, Ordering::Release);
        let mapping = self.mapping.clone();
        self.buffer.map_async(wgpu::MapMode::Write, .., move |result| {
            mapping.store(if result.is_ok() { MAPPED } else { FAILED }, Ordering::Release);
        });
        device.check()
    }
}
