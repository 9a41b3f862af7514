//! Whoever watches a run, and the time of its stages.

use web_time::Instant;

use crate::engine::StepLosses;
use crate::error::Result;

/// Wall-clock time of a stage.
#[derive(Debug, Clone, serde::Serialize)]
pub struct StageTime {
    /// Name of the stage.
    pub stage: &'static str,
    /// Seconds.
    pub seconds: f64,
}

/// Whoever watches a run: shows stages and their progress.
pub trait Watcher {
    /// A stage begins.
    fn begin(&mut self, stage: &'static str);
    /// The stage has done this much of its work; `losses` are the newest, where it has any.
    fn progress(&mut self, done: usize, total: usize, losses: Option<&StepLosses>);
    /// The stage is done.
    fn end(&mut self, time: &StageTime);
}

/// A watcher that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Watcher for Silent {
    fn begin(&mut self, _: &'static str) {}
    fn progress(&mut self, _: usize, _: usize, _: Option<&StepLosses>) {}
    fn end(&mut self, _: &StageTime) {}
}

/// Runs one stage under the eyes of `watcher` and notes its time in `times`.
///
/// # Errors
/// Whatever `work` returns.
pub fn stage<R>(
    name: &'static str,
    watcher: &mut dyn Watcher,
    times: &mut Vec<StageTime>,
    work: impl FnOnce(&mut dyn Watcher) -> Result<R>,
) -> Result<R> {
    let started = Instant::now();
    watcher.begin(name);
    let result = work(watcher)?;
    let time = StageTime {
        stage: name,
        seconds: started.elapsed().as_secs_f64(),
    };
    watcher.end(&time);
    times.push(time);
    Ok(result)
}

/// Moves `seconds` of the last stage into a stage of their own before it.
pub fn split_off(times: &mut Vec<StageTime>, stage: &'static str, seconds: f64) {
    if let Some(last) = times.pop() {
        times.push(StageTime { stage, seconds });
        times.push(StageTime {
            seconds: last.seconds - seconds,
            ..last
        });
    }
}
