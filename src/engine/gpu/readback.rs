//! Buffers that come to the host: copied to on the device, then mapped, which the host may wait for or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::engine::gpu::device::Device;
use crate::engine::gpu::memory::Lease;
use crate::error::{Error, Result};

/// Where a mapping stands.
const UNDER_WAY: u8 = 0;
const MAPPED: u8 = 1;
const FAILED: u8 = 2;

/// A buffer of the host's memory that the device copies to.
#[derive(Debug)]
pub struct Readback {
    buffer: wgpu::Buffer,
    mapping: Arc<AtomicU8>,
    lease: Lease,
}

impl Readback {
    /// Of `bytes`, a multiple of four.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] where there is no room for it.
    pub fn new(device: &Device, bytes: u64) -> Result<Self> {
        device.check_memory("read-back", bytes)?;
        let buffer = device.scoped("read-back", || {
            device.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("read-back"),
                size: bytes,
                usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
                mapped_at_creation: false,
            })
        })?;
        Ok(Readback {
            buffer,
            mapping: Arc::default(),
            lease: device.made.buffer(bytes),
        })
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.buffer.size()
    }

    /// Records a copy of `bytes` of `from`, beginning at `offset`, to the bytes from `at` on; all multiples of four.
    pub fn copy(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        (from, offset): (&wgpu::Buffer, u64),
        at: u64,
        bytes: u64,
    ) {
        encoder.copy_buffer_to_buffer(from, offset, &self.buffer, at, bytes);
    }

    /// Asks for the first `bytes`, once the copies are submitted.
    pub fn request(&self, bytes: u64) {
        self.lease.made().moved_down(bytes);
        self.mapping.store(UNDER_WAY, Ordering::Release);
        let mapping = self.mapping.clone();
        self.buffer
            .map_async(wgpu::MapMode::Read, ..bytes, move |result| {
                mapping.store(if result.is_ok() { MAPPED } else { FAILED }, Ordering::Release);
            });
    }

    /// Whether what was asked for is here, or will never be. It comes while the device is polled or waited for.
    pub fn has_come(&self) -> bool {
        self.mapping.load(Ordering::Acquire) != UNDER_WAY
    }

    /// Hands the first `bytes` to `look` and lets go of them.
    ///
    /// # Errors
    /// [`Error::Device`] if they have not come.
    pub fn take<R>(&self, device: &Device, bytes: u64, look: impl FnOnce(&[u8]) -> R) -> Result<R> {
        if self.mapping.load(Ordering::Acquire) != MAPPED {
            return Err(Error::device(&device.info.name, "read-back failed"));
        }
        let view = self
            .buffer
            .get_mapped_range(..bytes)
            .map_err(|e| Error::device(&device.info.name, format!("read-back: {e}")))?;
        let looked = look(&view);
        drop(view);
        self.buffer.unmap();
        Ok(looked)
    }
}
