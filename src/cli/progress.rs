//! Progress of long work on standard error: a bar with the time left on a terminal, a line a long stage elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Output;
use crate::coordination::fuse::{StageTime, Watcher, stage};
use crate::engine::StepLosses;
use crate::error::Result;
use crate::experiment::runner::Observer;

/// Seconds from which on a finished stage is worth a line of its own.
const WORTH_A_LINE: f64 = 0.5;

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
                output: *output,
                bar: ProgressBar::hidden(),
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
    bar: ProgressBar,
}

impl Watcher for Display {
    fn begin(&mut self, stage: &'static str) {
        self.bar = ProgressBar::with_draw_target(None, target(&self.output));
        self.bar.set_prefix(stage);
        // The template is a constant; were it wrong, the plain style would do.
        if let Ok(style) =
            ProgressStyle::with_template("{prefix:>12} {wide_bar} {pos}/{len} {msg} {eta} left")
        {
            self.bar.set_style(style);
        }
        self.bar.enable_steady_tick(Duration::from_millis(250));
    }

    fn progress(&mut self, done: usize, total: usize, losses: Option<&StepLosses>) {
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
        if let Some(losses) = losses {
            let mean = losses.network.iter().sum::<f64>() / losses.network.len().max(1) as f64;
            self.bar.set_message(format!("L1 {mean:.5}"));
        }
    }

    fn end(&mut self, time: &StageTime) {
        self.bar.finish_and_clear();
        if time.seconds >= WORTH_A_LINE {
            self.output.say(&format!("{}: {:.2} s", time.stage, time.seconds));
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
    if !output.quiet && std::io::stderr().is_terminal() {
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
            output: *output,
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
        match next {
            None => self.bar.finish_and_clear(),
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
