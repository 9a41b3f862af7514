//! How long dispatches take while a profile is being taken.
//!
//! Timestamps are written inside the compute pass, around every dispatch, so that a profiled step is the step that runs
//! otherwise: one pass, the same dispatches. That needs `TIMESTAMP_QUERY_INSIDE_PASSES`; an adapter without it (Metal on
//! Apple's chips), or one whose timestamps turn out to be nonsense, is profiled by the host's clock instead, every
//! dispatch submitted alone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::gpu::device::Device;
use crate::engine::profile::{Clock, Profile, Recorder, Span};
use crate::engine::work::Work;
use crate::error::{Error, Result};

/// Dispatches of a submit whose times can be kept; wgpu's query sets hold twice that.
const DISPATCHES: u32 = 2048;

/// A timed dispatch that waits for its ticks, or has them.
#[derive(Debug)]
struct Timed {
    kernel: String,
    work: Work,
}

/// Queries and what they have said so far.
#[derive(Debug)]
struct Queries {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    /// Dispatches of the submit under way.
    pending: Vec<Timed>,
    /// Dispatches and their ticks, begin and end.
    done: Vec<(Timed, [u64; 2])>,
    /// Host time of the first submit, seconds since the begin of the profile.
    begin: Option<f64>,
    /// Whether a submit had more dispatches than there are queries.
    overflow: bool,
}

/// The timing of a context.
#[derive(Debug, Default)]
pub struct Timing {
    recorder: Recorder,
    /// There while a profile is taken by timestamps.
    queries: Mutex<Option<Queries>>,
}

/// Begin and length of every span in seconds, the first beginning at 0.
///
/// # Errors
/// A line that says why ticks are no times: a driver that has no clock writes zeros or one number for all, and some
/// run backwards.
pub fn seconds(ticks: &[[u64; 2]], nanoseconds_a_tick: f64) -> std::result::Result<Vec<[f64; 2]>, String> {
    let Some(first) = ticks.first().map(|t| t[0]) else {
        return Ok(Vec::new());
    };
    if !(nanoseconds_a_tick > 0.0 && nanoseconds_a_tick.is_finite()) {
        return Err(format!("a tick of {nanoseconds_a_tick} ns"));
    }
    let zero = ticks.iter().flatten().filter(|&&t| t == 0).count();
    if zero > 0 {
        return Err(format!("{zero} of {} timestamps are zero", 2 * ticks.len()));
    }
    let mut before = first;
    let backwards = ticks
        .iter()
        .flatten()
        .filter(|&&t| t < std::mem::replace(&mut before, t))
        .count();
    if backwards > 0 {
        return Err(format!(
            "{backwards} of {} timestamps run backwards",
            2 * ticks.len()
        ));
    }
    if before == first {
        return Err(format!("all {} timestamps are equal", 2 * ticks.len()));
    }
    let second = |t: u64| t as f64 * nanoseconds_a_tick * 1e-9;
    Ok(ticks
        .iter()
        .map(|t| [second(t[0] - first), second(t[1] - t[0])])
        .collect())
}

impl Timing {
    /// The clock that dispatches on this device can be timed with.
    pub fn clock(device: &Device) -> Clock {
        let wanted = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES;
        if device.device.features().contains(wanted) {
            Clock::DeviceTimestamps
        } else {
            Clock::HostClock
        }
    }

    /// Begins to time every dispatch.
    ///
    /// # Errors
    /// [`Error::Failed`] if the adapter has no timestamps inside passes, or no memory for them.
    pub fn start(&self, device: &Device, clock: Clock) -> Result<()> {
        let queries = match clock {
            Clock::HostClock => None,
            Clock::DeviceTimestamps if Self::clock(device) == clock => Some(Queries::new(device)?),
            Clock::DeviceTimestamps => {
                return Err(Error::failed(format!(
                    "{}: no timestamps inside passes",
                    device.info.name
                )));
            }
        };
        *self.queries() = queries;
        self.recorder.start();
        Ok(())
    }

    /// Ends the profile and hands out its spans; a tick of the device's clock is so many nanoseconds.
    pub fn take(&self, nanoseconds_a_tick: f32) -> Profile {
        let taken = self.queries().take();
        let spans = self.recorder.take();
        let Some(queries) = taken else {
            return Profile {
                clock: Clock::HostClock,
                spans,
                unusable: None,
            };
        };
        let ticks: Vec<[u64; 2]> = queries.done.iter().map(|(_, ticks)| *ticks).collect();
        let times = if queries.overflow {
            Err(format!("a submit of more than {DISPATCHES} dispatches"))
        } else {
            seconds(&ticks, f64::from(nanoseconds_a_tick))
        };
        let (spans, unusable) = match times {
            Err(why) => (Vec::new(), Some(why)),
            Ok(times) => {
                let offset = queries.begin.unwrap_or(0.0);
                let span = |((timed, _), [begin, seconds]): ((Timed, _), [f64; 2])| Span {
                    kernel: timed.kernel,
                    calls: 1,
                    begin: offset + begin,
                    seconds,
                    work: timed.work,
                };
                (queries.done.into_iter().zip(times).map(span).collect(), None)
            }
        };
        Profile {
            clock: Clock::DeviceTimestamps,
            spans,
            unusable,
        }
    }

    fn queries(&self) -> MutexGuard<'_, Option<Queries>> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What keeps the times that the host takes.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Whether every dispatch is to be submitted alone and timed by the host.
    pub fn is_by_host(&self) -> bool {
        self.recorder.is_on() && self.queries().is_none()
    }

    /// Puts a kernel's dispatch into the pass, between two timestamps while a profile is taken by them.
    pub fn timed(
        &self,
        pass: &mut wgpu::ComputePass,
        kernel: impl FnOnce() -> String,
        work: impl FnOnce() -> Work,
        put: impl FnOnce(&mut wgpu::ComputePass),
    ) {
        if !self.recorder.is_on() {
            put(pass);
            return;
        }
        let mut queries = self.queries();
        let Some(queries) = queries.as_mut() else {
            put(pass);
            return;
        };
        let at = queries.pending.len() as u32;
        if at == DISPATCHES {
            queries.overflow = true;
            put(pass);
            return;
        }
        pass.write_timestamp(&queries.set, 2 * at);
        put(pass);
        pass.write_timestamp(&queries.set, 2 * at + 1);
        queries.pending.push(Timed {
            kernel: kernel(),
            work: work(),
        });
    }

    /// Puts what resolves the timestamps of this submit behind it. To be followed by [`Timing::keep`].
    pub fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        if let Some(queries) = self.queries().as_mut().filter(|q| !q.pending.is_empty()) {
            queries.begin.get_or_insert_with(|| self.recorder.now());
            encoder.resolve_query_set(
                &queries.set,
                0..2 * queries.pending.len() as u32,
                &queries.resolved,
                0,
            );
        }
    }

    /// Keeps the timestamps of a submit; `read` waits for it and reads so many bytes of a buffer.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn keep(&self, read: impl FnOnce(&wgpu::Buffer, u64) -> Result<Vec<u8>>) -> Result<()> {
        let mut queries = self.queries();
        let Some(queries) = queries.as_mut().filter(|q| !q.pending.is_empty()) else {
            return Ok(());
        };
        let bytes = queries.pending.len() as u64 * size_of::<[u64; 2]>() as u64;
        let ticks: Vec<[u64; 2]> = bytemuck::pod_collect_to_vec(&read(&queries.resolved, bytes)?);
        queries.done.extend(queries.pending.drain(..).zip(ticks));
        Ok(())
    }
}

impl Queries {
    fn new(device: &Device) -> Result<Self> {
        let (set, resolved) = device.scoped("timestamp queries", || {
            let set = device.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2 * DISPATCHES,
            });
            let resolved = device.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size: u64::from(2 * DISPATCHES) * size_of::<u64>() as u64,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            });
            (set, resolved)
        })?;
        Ok(Queries {
            set,
            resolved,
            pending: Vec::new(),
            done: Vec::new(),
            begin: None,
            overflow: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn ticks_become_seconds_from_the_first() {
        let times = seconds(&[[100, 110], [110, 140]], 10.0).unwrap();
        let close = |a: f64, b: f64| (a - b).abs() < 1e-15;
        assert!(close(times[0][0], 0.0) && close(times[0][1], 1e-7));
        assert!(close(times[1][0], 1e-7) && close(times[1][1], 3e-7));
        assert_eq!(seconds(&[], 1.0), Ok(Vec::new()));
    }

    // What a driver without a clock, or with a broken one, hands out.
    #[test]
    fn ticks_that_are_no_times_are_refused() {
        for (ticks, period, word) in [
            ([[0, 5], [6, 7]], 1.0, "zero"),
            ([[5, 4], [6, 7]], 1.0, "backwards"),
            ([[5, 8], [6, 9]], 1.0, "backwards"),
            ([[5, 5], [5, 5]], 1.0, "equal"),
            ([[5, 6], [7, 8]], 0.0, "tick"),
        ] {
            let why = seconds(&ticks, period).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }
}
