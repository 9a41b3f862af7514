//! Dispatches, and how long each of them takes while a profile is being taken.
//!
//! Timestamps are written inside the compute pass, around every dispatch, so that a profiled step is the step that runs
//! otherwise: one pass, the same dispatches. That needs `TIMESTAMP_QUERY_INSIDE_PASSES`; an adapter without it (Metal on
//! Apple's chips), or one whose timestamps turn out to be nonsense, is profiled by the host's clock instead, every
//! dispatch submitted alone.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::engine::gpu::context::Context;
use crate::engine::gpu::pipeline::Pipeline;
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
    /// What [`Context::start_profile`] asks for.
    fn queries(context: &Context) -> Result<Queries> {
        let (set, resolved) = context.scoped("timestamp queries", || {
            let set = context.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2 * DISPATCHES,
            });
            let resolved = context.device.create_buffer(&wgpu::BufferDescriptor {
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

impl Context {
    /// The clock that dispatches can be timed with.
    pub fn clock(&self) -> Clock {
        let wanted = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES;
        match self.device.features().contains(wanted) {
            true => Clock::DeviceTimestamps,
            false => Clock::HostClock,
        }
    }

    /// Begins to time every dispatch.
    ///
    /// # Errors
    /// [`Error::Failed`] if the adapter has no timestamps inside passes, or no memory for them.
    pub fn start_profile(&self, clock: Clock) -> Result<()> {
        let queries = match clock {
            Clock::HostClock => None,
            Clock::DeviceTimestamps if self.clock() == clock => Some(Timing::queries(self)?),
            Clock::DeviceTimestamps => {
                return Err(Error::failed(format!(
                    "{}: no timestamps inside passes",
                    self.info.name
                )));
            }
        };
        *self.timing.queries.lock().unwrap_or_else(PoisonError::into_inner) = queries;
        self.timing.recorder.start();
        Ok(())
    }

    /// Ends the profile and hands out its spans.
    pub fn take_profile(&self) -> Profile {
        let taken = self
            .timing
            .queries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let spans = self.timing.recorder.take();
        let Some(queries) = taken else {
            return Profile {
                clock: Clock::HostClock,
                spans,
                unusable: None,
            };
        };
        let ticks: Vec<[u64; 2]> = queries.done.iter().map(|(_, ticks)| *ticks).collect();
        let times = match queries.overflow {
            true => Err(format!("a submit of more than {DISPATCHES} dispatches")),
            false => seconds(&ticks, f64::from(self.queue.get_timestamp_period())),
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

    /// Begins a compute pass.
    pub fn pass<'a>(&'a self, encoder: &'a mut wgpu::CommandEncoder) -> Pass<'a> {
        let by_host = self.timing.recorder.is_on()
            && self
                .timing
                .queries
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_none();
        Pass {
            context: self,
            inner: (!by_host).then(|| encoder.begin_compute_pass(&Default::default())),
        }
    }

    /// Puts what resolves the timestamps of this submit behind it. To be followed by [`Context::keep_timestamps`].
    pub(super) fn resolve_timestamps(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut queries = self.timing.queries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queries) = queries.as_mut().filter(|q| !q.pending.is_empty()) {
            queries.begin.get_or_insert_with(|| self.timing.recorder.now());
            encoder.resolve_query_set(
                &queries.set,
                0..2 * queries.pending.len() as u32,
                &queries.resolved,
                0,
            );
        }
    }

    /// Waits for the submit and keeps its timestamps.
    ///
    /// # Errors
    /// [`Error::Failed`] if they cannot be read.
    pub(super) fn keep_timestamps(&self) -> Result<()> {
        let mut queries = self.timing.queries.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queries) = queries.as_mut().filter(|q| !q.pending.is_empty()) else {
            return Ok(());
        };
        let bytes = queries.pending.len() as u64 * size_of::<[u64; 2]>() as u64;
        let ticks: Vec<[u64; 2]> = bytemuck::pod_collect_to_vec(&self.read(&queries.resolved, 0, bytes)?);
        queries.done.extend(queries.pending.drain(..).zip(ticks));
        Ok(())
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
        let timing = &self.context.timing;
        let Some(pass) = &mut self.inner else {
            self.alone(kernel, work, put);
            return;
        };
        if !timing.recorder.is_on() {
            put(pass);
            return;
        }
        let mut queries = timing.queries.lock().unwrap_or_else(PoisonError::into_inner);
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
            kernel: kernel.stem(),
            work: work(),
        });
    }

    /// Submits one dispatch, waits for it and keeps the time that took.
    fn alone(
        &self,
        kernel: &Pipeline,
        work: impl FnOnce() -> Work,
        put: impl FnOnce(&mut wgpu::ComputePass),
    ) {
        let (context, recorder) = (self.context, &self.context.timing.recorder);
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
