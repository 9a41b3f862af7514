//! Progress of long work on standard error: a bar with the time left on a terminal, a line a long stage elsewhere, and
//! under `--json-progress` objects for a program:
//!
//! `{"event":"begin","stage":"train"}`, `{"event":"progress","stage":"train","done":120,"total":2000,"seconds_left":1.2,
//! "loss":0.01}` a few times a second, `{"event":"end","stage":"train","seconds":1.3}`, and `{"event":"note","text":…}`.
//! An experiment has `{"event":"cells","done":3,"total":12,"next":…}` before each cell.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::Output;
use crate::coordination::watcher::{StageTime, Watcher, stage};
use crate::engine::StepLosses;
use crate::error::Result;
use crate::experiment::runner::Observer;

/// Seconds from which on a finished stage is worth a line of its own.
const WORTH_A_LINE: f64 = 0.5;
/// Time between two events of progress.
const EVENT: Duration = Duration::from_millis(250);

/// Shows stages and keeps the times of those that a command runs itself.
pub struct Stages {
    display: Display,
    /// Times of the finished stages.
    pub times: Vec<StageTime>,
}

impl Stages {
    /// Stages shown as `output` asks for.
    pub fn new(output: &Output) -> Self {
        Stages {
            display: Display {
                output: output.clone(),
                bar: ProgressBar::hidden(),
                events: Events::default(),
            },
            times: Vec::new(),
        }
    }

    /// Runs one stage; `work` may tell the watcher how far it is.
    ///
    /// # Errors
    /// Whatever `work` returns.
    pub fn run<R>(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&mut dyn Watcher) -> Result<R>,
    ) -> Result<R> {
        stage(name, &mut self.display, &mut self.times, work)
    }

    /// The watcher, for work that has stages of its own.
    pub fn watcher(&mut self) -> &mut dyn Watcher {
        &mut self.display
    }
}

struct Display {
    output: Output,
    /// Without a length, and a spinner, until a stage says how much there is to do.
    bar: ProgressBar,
    events: Events,
}

impl Display {
    fn style(&self, template: &str) {
        // The templates are constants; were one wrong, the plain style would do.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }
}

/// The stage that events are about.
struct Events {
    stage: &'static str,
    began: Instant,
    last: Option<Instant>,
}

impl Default for Events {
    fn default() -> Self {
        Events::begin("")
    }
}

impl Events {
    fn begin(stage: &'static str) -> Self {
        Events {
            stage,
            began: Instant::now(),
            last: None,
        }
    }

    /// The event of so much work, if it is time for one.
    fn progress(&mut self, done: usize, total: usize, loss: Option<f64>) -> Option<serde_json::Value> {
        let now = Instant::now();
        if self.last.is_some_and(|last| now - last < EVENT) {
            return None;
        }
        self.last = Some(now);
        let each = (now - self.began).as_secs_f64() / done.max(1) as f64;
        Some(json!({
            "event": "progress",
            "stage": self.stage,
            "done": done,
            "total": total,
            "seconds_left": each * total.saturating_sub(done) as f64,
            "loss": loss,
        }))
    }
}

/// Whether the system gives this process a thread more.
fn thread_to_spare() -> bool {
    let started = std::thread::Builder::new().spawn(|| ());
    started.is_ok_and(|thread| thread.join().is_ok())
}

impl Watcher for Display {
    fn begin(&mut self, stage: &'static str) {
        self.events = Events::begin(stage);
        self.output.event(&json!({"event": "begin", "stage": stage}));
        self.bar = ProgressBar::with_draw_target(None, target(&self.output));
        self.bar.set_prefix(stage);
        self.style("{prefix:>12} {spinner} {elapsed}");
        // The bar moves by itself on a thread of its own, and panics where the system has none to give.
        if !self.bar.is_hidden() && thread_to_spare() {
            self.bar.enable_steady_tick(Duration::from_millis(250));
        }
    }

    fn progress(&mut self, done: usize, total: usize, losses: Option<&StepLosses>) {
        if self.bar.length().is_none() {
            self.style("{prefix:>12} {wide_bar} {pos}/{len} {msg} {eta} left");
        }
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
        let loss = losses.map(|l| l.network.iter().sum::<f64>() / l.network.len().max(1) as f64);
        if let Some(loss) = loss {
            self.bar.set_message(format!("L1 {loss:.5}"));
        }
        if self.output.json_progress
            && let Some(event) = self.events.progress(done, total, loss)
        {
            self.output.event(&event);
        }
    }

    fn end(&mut self, time: &StageTime) {
        self.bar.finish_and_clear();
        let line = format!("{}: {:.2} s", time.stage, time.seconds);
        if self.output.json_progress {
            self.output
                .event(&json!({"event": "end", "stage": time.stage, "seconds": time.seconds}));
            self.output.note(&line);
        } else if time.seconds >= WORTH_A_LINE {
            self.output.say(&line);
        }
    }
}

impl Drop for Display {
    // A stage that failed leaves its bar: clear it before the error is printed.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A bar goes to a terminal, and nowhere else.
fn target(output: &Output) -> ProgressDrawTarget {
    if !output.quiet && !output.json_progress && std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    }
}

/// Shows the cells of an experiment: one bar over all of them on a terminal, a line a cell elsewhere.
pub struct Cells {
    output: Output,
    bar: ProgressBar,
    /// When the first cell began, and how many were finished then.
    first: Option<(Instant, usize)>,
    /// What the bar says besides the stage.
    left: String,
}

impl Cells {
    /// Cells shown as `output` asks for.
    pub fn new(output: &Output) -> Self {
        let bar = ProgressBar::with_draw_target(None, target(output));
        // The template is a constant; were it wrong, the plain style would do.
        if let Ok(style) = ProgressStyle::with_template("{pos}/{len} {wide_bar} {msg}") {
            bar.set_style(style);
        }
        Cells {
            output: output.clone(),
            bar,
            first: None,
            left: String::new(),
        }
    }
}

impl Observer for Cells {
    fn cells(&mut self, done: usize, total: usize, next: Option<&str>) {
        let (began, before) = *self.first.get_or_insert((Instant::now(), done));
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
        // Mean time of the cells so far: they are not alike, so this is a guess.
        self.left = match done - before {
            0 => String::new(),
            computed => {
                let each = began.elapsed().as_secs_f64() / computed as f64;
                let seconds = (each * (total - done) as f64).round() as u64;
                format!(
                    ", about {} left",
                    indicatif::HumanDuration(Duration::from_secs(seconds))
                )
            }
        };
        self.output
            .event(&json!({"event": "cells", "done": done, "total": total, "next": next}));
        match next {
            None => self.bar.finish_and_clear(),
            Some(_) if self.output.json_progress => (),
            Some(name) if self.bar.is_hidden() => {
                self.output
                    .say(&format!("{done} of {total} cells{}; {name}", self.left));
            }
            Some(_) => (),
        }
    }
}

impl Watcher for Cells {
    fn begin(&mut self, stage: &'static str) {
        self.bar.set_message(format!("{stage}{}", self.left));
    }

    fn progress(&mut self, _done: usize, _total: usize, _losses: Option<&StepLosses>) {
        self.bar.tick();
    }

    fn end(&mut self, _time: &StageTime) {}
}

impl Drop for Cells {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
