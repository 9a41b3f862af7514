//! Buffers that the passes of refinement leave for the next, and how small their parts have become.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Mutex, PoisonError};

use crate::engine::gpu::buffers::GpuBuffer;

/// What passes leave for each other.
#[derive(Debug, Default)]
pub struct Kept {
    /// Buffers, by the name that the shaders have for them.
    buffers: Mutex<HashMap<&'static str, GpuBuffer>>,
    /// Times that parts were halved.
    pub(super) halvings: AtomicU32,
    /// Whether the pass that runs has given any of its result back.
    pub(super) gave: AtomicBool,
}

impl Kept {
    pub(super) fn take(&self, name: &str) -> Option<GpuBuffer> {
        let mut kept = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(name)
    }

    pub(super) fn put(&self, buffers: impl Iterator<Item = (&'static str, GpuBuffer)>) {
        let mut kept = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(buffers);
    }

    pub(super) fn clear(&self) {
        let mut kept = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clear();
    }
}
