//! Progress of long work on standard error: a bar with the time left on a terminal, a line a long stage elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Output;
use crate::coordination::fuse::{StageTime, Watcher, stage};
use crate::engine::StepLosses;
use crate::error::Result;

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
        let shown = !self.output.quiet && std::io::stderr().is_terminal();
        let target = if shown {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        self.bar = ProgressBar::with_draw_target(None, target);
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
