//! What a context has made: bytes of buffers on the device, and a count of everything that a step must not make.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of a context, shared with what it made.
#[derive(Debug, Default)]
pub struct Made {
    bytes: AtomicU64,
    peak: AtomicU64,
    objects: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    /// Bytes of buffers that may be held at once.
    most: Option<u64>,
}

impl Made {
    /// Counts of a context that may hold so many bytes of buffers at once.
    pub fn within(most: Option<u64>) -> Self {
        Made {
            most,
            ..Made::default()
        }
    }

    /// Whether `bytes` more may be held; else how many may be in all.
    pub fn room_for(&self, bytes: u64) -> Result<(), u64> {
        match self.most {
            Some(most) if self.bytes.load(Ordering::Relaxed) + bytes > most => Err(most),
            _ => Ok(()),
        }
    }

    /// Counts bytes that went to the device.
    pub fn moved_up(&self, bytes: u64) {
        self.up.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that came from the device.
    pub fn moved_down(&self, bytes: u64) {
        self.down.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that went to the device, and that came from it, since the last call.
    pub fn take_moved(&self) -> [u64; 2] {
        [&self.up, &self.down].map(|moved| moved.swap(0, Ordering::Relaxed))
    }

    /// Counts one buffer, bind group or pipeline.
    pub fn object(&self) {
        self.objects.fetch_add(1, Ordering::Relaxed);
    }

    /// Buffers, bind groups and pipelines made so far.
    pub fn objects(&self) -> u64 {
        self.objects.load(Ordering::Relaxed)
    }

    /// Most bytes held at once since the last call.
    pub fn take_peak(&self) -> u64 {
        let now = self.bytes.load(Ordering::Relaxed);
        self.peak.swap(now, Ordering::Relaxed)
    }

    /// Counts a buffer for as long as the lease lives.
    pub fn buffer(self: &Arc<Self>, bytes: u64) -> Lease {
        self.object();
        let now = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(now, Ordering::Relaxed);
        Lease {
            made: self.clone(),
            bytes,
        }
    }
}

/// Bytes that count until this is dropped.
#[derive(Debug)]
pub struct Lease {
    made: Arc<Made>,
    bytes: u64,
}

impl Lease {
    /// The counts that it is part of.
    pub fn made(&self) -> &Made {
        &self.made
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.made.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_of_buffers_that_lived_together() {
        let made = Arc::new(Made::default());
        let first = made.buffer(100);
        drop(made.buffer(50));
        drop(first);
        let second = made.buffer(30);
        assert_eq!((made.take_peak(), made.take_peak()), (150, 30));
        drop(second);
        assert_eq!((made.take_peak(), made.take_peak()), (30, 0));
        assert_eq!(made.objects(), 3);
    }
}
