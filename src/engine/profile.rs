//! Time per kernel: spans that an engine keeps while it is being profiled, and the limits that it measures itself.
//!
//! A span stands around a whole call of a kernel, never inside it, and an engine that is not being profiled pays one
//! load of a flag a call.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use web_time::Instant;

use serde::Serialize;

use crate::engine::work::Work;
use crate::error::Result;

/// How spans are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// The device's own clock, read in the queue before and after every dispatch.
    DeviceTimestamps,
    /// The host's clock around each call; on a GPU every dispatch is then submitted alone and waited for, so its time
    /// has the launch in it.
    HostClock,
}

/// One call of a kernel, or several that an engine does not take apart.
#[derive(Debug, Clone, Serialize)]
pub struct Span {
    /// The kernel's stem; two joined by ` + ` where an engine has fused them.
    pub kernel: String,
    /// Calls in it: steps, for kernels that are called once a step.
    pub calls: u64,
    /// Begin, seconds since the profile's.
    pub begin: f64,
    /// Length in seconds.
    pub seconds: f64,
    /// Work of all calls.
    pub work: Work,
}

/// Spans in the order of their begin.
#[derive(Debug, Clone, Serialize)]
pub struct Profile {
    /// How they were timed.
    pub clock: Clock,
    /// The spans.
    pub spans: Vec<Span>,
    /// Why the device's timestamps cannot be used; there are no spans then.
    pub unusable: Option<String>,
}

/// What a device can do at most, measured on it by small probes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limits {
    /// Single-precision operations a second in multiply-adds without memory access (two operations each).
    pub operations_per_second: f64,
    /// Bytes a second of a copy between two arrays larger than caches, read and written bytes together.
    pub bytes_per_second: f64,
    /// Seconds that a call costs which has next to nothing to do.
    pub launch_seconds: f64,
}

/// What bounds a kernel: the largest of the three times that it needs at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Floating-point operations.
    Arithmetic,
    /// Bytes read and written.
    Memory,
    /// The number of calls.
    Launches,
}

impl Limits {
    /// Times that `calls` calls with `work` in all need at least for arithmetic, memory and launches, in seconds.
    pub fn least(&self, work: Work, calls: u64) -> [f64; 3] {
        [
            work.operations as f64 / self.operations_per_second,
            work.bytes as f64 / self.bytes_per_second,
            calls as f64 * self.launch_seconds,
        ]
    }

    /// What bounds `calls` calls with `work` in all.
    pub fn bound(&self, work: Work, calls: u64) -> Bound {
        let [arithmetic, memory, launches] = self.least(work, calls);
        if launches > arithmetic.max(memory) {
            Bound::Launches
        } else if memory > arithmetic {
            Bound::Memory
        } else {
            Bound::Arithmetic
        }
    }
}

/// The instruments of an engine.
pub trait Instruments {
    /// Begins a profile.
    ///
    /// # Errors
    /// [`crate::Error`] where the device cannot be asked for its time.
    fn start_profile(&self, clock: Clock) -> Result<()>;

    /// Ends the profile and hands out its spans.
    fn take_profile(&self) -> Profile;

    /// Measures the device's limits; takes about a second.
    ///
    /// # Errors
    /// [`crate::Error`] where the device fails.
    fn limits(&self) -> Result<Limits>;

    /// The clock that a profile is best taken with.
    fn clock(&self) -> Clock;

    /// Most bytes of buffers that were on the device at once since the last call; `None` where the device's memory is
    /// the host's.
    fn take_peak_memory(&self) -> Option<u64>;

    /// Bytes that went to the device, and that came from it, since the last call; `None` as above.
    fn take_moved(&self) -> Option<[u64; 2]>;
}

/// Keeps the spans of an engine while a profile is being taken.
#[derive(Debug)]
pub struct Recorder {
    on: AtomicBool,
    kept: Mutex<(Instant, Vec<Span>)>,
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder {
            on: AtomicBool::new(false),
            kept: Mutex::new((Instant::now(), Vec::new())),
        }
    }
}

impl Recorder {
    /// Whether a profile is being taken.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Begins anew.
    pub fn start(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), Vec::new());
        self.on.store(true, Ordering::Relaxed);
    }

    /// Ends and hands out the spans.
    pub fn take(&self) -> Vec<Span> {
        self.on.store(false, Ordering::Relaxed);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spans = std::mem::take(&mut kept.1);
        spans.sort_by(|a, b| a.begin.total_cmp(&b.begin));
        spans
    }

    /// Seconds since the begin of the profile.
    pub fn now(&self) -> f64 {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0.elapsed().as_secs_f64()
    }

    /// Keeps a span.
    pub fn keep(&self, span: Span) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.1.push(span);
    }

    /// Begin of a span, if a profile is being taken.
    pub fn begin(&self) -> Option<f64> {
        self.is_on().then(|| self.now())
    }

    /// Ends the span that began at `begin`: `calls` calls of `kernel`.
    pub fn end(&self, begin: Option<f64>, kernel: &str, calls: u64, work: impl FnOnce() -> Work) {
        if let Some(begin) = begin {
            let seconds = self.now() - begin;
            self.keep(Span {
                kernel: kernel.to_owned(),
                calls,
                begin,
                seconds,
                work: work(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        operations_per_second: 1e9,
        bytes_per_second: 1e8,
        launch_seconds: 1e-3,
    };

    #[test]
    fn the_largest_of_the_three_times_is_the_bound() {
        let work = |operations, bytes| Work { operations, bytes };
        assert_eq!(LIMITS.least(work(2_000_000, 100_000), 3), [2e-3, 1e-3, 3e-3]);
        assert_eq!(LIMITS.bound(work(2_000_000, 100_000), 3), Bound::Launches);
        assert_eq!(LIMITS.bound(work(2_000_000, 100_000), 1), Bound::Arithmetic);
        assert_eq!(LIMITS.bound(work(2_000_000, 900_000), 1), Bound::Memory);
    }

    #[test]
    fn spans_are_kept_only_between_start_and_take() {
        let recorder = Recorder::default();
        let call = || recorder.end(recorder.begin(), "k", 2, || Work::of::<f32>(5, 3));
        call();
        recorder.start();
        call();
        let spans = recorder.take();
        call();
        assert!(recorder.take().is_empty());
        assert_eq!(spans.len(), 1);
        assert_eq!(
            (spans[0].calls, spans[0].work),
            (
                2,
                Work {
                    operations: 5,
                    bytes: 12
                }
            )
        );
    }
}
